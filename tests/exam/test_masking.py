"""What is hidden stays hidden: from the output, from the gradients, and whatever it holds."""

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from tests.exam import sitting
from tests.exam.sitting import B, S, T, ask, build_piece, every, every_piece, expected, leaves, question

HIDDEN = [1, 4]


@every_piece
def test_keys_that_no_query_sees_may_hold_anything(entry):
    piece, asked = build_piece(entry), question(entry)
    asked.mask[:, :, HIDDEN] = False
    before = ask(entry, piece, asked)
    asked.key[:, HIDDEN] = [[[np.nan]], [[np.inf]]]
    asked.value[:, HIDDEN] = [[[-np.inf]], [[np.nan]]]
    after = ask(entry, piece, asked)
    for was, now in zip(leaves(before), leaves(after), strict=True):
        assert_array_equal(now, was)
        assert np.isfinite(now).all()
    _, _, by_key, by_value = after.gradients
    assert not by_key[:, HIDDEN].any()
    assert not by_value[:, HIDDEN].any()
    assert not after.weights[..., HIDDEN].any()


@every_piece
def test_a_hidden_pair_leaks_nothing(entry):
    """Whatever stands in a key, the rows that do not see it keep every bit; those that see it change."""
    piece, asked = build_piece(entry), question(entry)
    blind, seeing = [1, 3], [0, 2, 4]
    asked.mask[:, :, 3] = True
    asked.mask[:, blind, 3] = False
    before = ask(entry, piece, asked)
    random = np.random.default_rng(1)
    asked.key[:, 3], asked.value[:, 3] = (
        1e4 * random.normal(size=a.shape) for a in (asked.key[:, 3], asked.value[:, 3])
    )
    after = ask(entry, piece, asked)
    for was, now in ((before.output, after.output), (before.weights.swapaxes(1, 2), after.weights.swapaxes(1, 2))):
        assert_array_equal(now[:, blind], was[:, blind])
    assert not np.allclose(after.output[:, seeing], before.output[:, seeing])


@every_piece
def test_a_query_that_may_attend_to_nothing_gets_zero_and_harms_nobody(entry):
    piece, asked = build_piece(entry), question(entry)
    unharmed = ask(entry, piece, asked)
    asked.mask[0, 2] = False
    asked.query[0, 2] = np.nan
    answer = ask(entry, piece, asked)
    assert not answer.output[0, 2].any()
    assert not answer.weights[0, :, 2].any()
    assert not answer.gradients[1][0, 2].any()
    assert all(np.isfinite(leaf).all() for leaf in leaves(answer))
    others = np.arange(T) != 2
    assert_array_equal(answer.output[:, others], unharmed.output[:, others])


@every_piece
def test_an_empty_example_gets_zero_and_harms_nobody(entry):
    piece, asked = build_piece(entry), question(entry)
    unharmed = ask(entry, piece, asked)
    asked.lengths[1] = 0
    for array in (asked.query, asked.key, asked.value):
        array[1] = np.nan
    answer = ask(entry, piece, asked)
    for leaf in (answer.output, answer.weights, *answer.gradients[1:]):
        assert not leaf[1].any()
    assert all(np.isfinite(leaf).all() for leaf in leaves(answer))
    assert_array_equal(answer.output[0], unharmed.output[0])


@every(lambda entry: sitting.slot_of(entry) and entry.causal)
def test_causal_means_no_derivative_by_what_comes_later(entry):
    """The rows of the Jacobian one at a time: those of query t, by every key and value, and by every other query."""
    piece, asked = build_piece(entry), question(entry)
    asked.mask[:] = np.tri(T, S, dtype=bool)
    cotangent, seen = asked.cotangent.copy(), 0.0
    for t in range(T):
        asked.cotangent[:] = 0
        asked.cotangent[:, t] = cotangent[:, t]
        _, by_query, by_key, by_value = ask(entry, piece, asked).gradients
        assert not by_key[:, t + 1 :].any()
        assert not by_value[:, t + 1 :].any()
        assert not by_query[:, np.arange(T) != t].any()
        seen += np.abs(by_value).sum()
    assert seen > 0


@every_piece
def test_padding_changes_nothing(entry):
    """Garbage past `lengths`, NaN or large, against the oracle's answer to the arrays cut there."""
    piece, asked = build_piece(entry), question(entry)
    asked.lengths[:] = [S - 2, S - 3]
    for garbage in (1e4, np.nan):
        for example in range(B):
            asked.key[example, asked.lengths[example] :] = garbage
            asked.value[example, asked.lengths[example] :] = -garbage
        answer = ask(entry, piece, asked)
        assert all(np.isfinite(leaf).all() for leaf in leaves(answer))
        for example in range(B):
            length = asked.lengths[example]
            kept = slice(None, length)
            wanted = expected(entry, sitting.with_keys(piece, kept), sitting.with_keys(asked, kept))
            assert_allclose(answer.output[example], wanted["output"][example], rtol=0, atol=2e-5)
            assert_allclose(answer.weights[example, ..., :length], wanted["weights"][example], rtol=0, atol=2e-5)
            assert not answer.weights[example, ..., length:].any()
