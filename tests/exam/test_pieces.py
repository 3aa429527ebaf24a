"""What holds for every piece of a composition: its oracle's numbers, and the semantics that all of them share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import selfattn_jax as sa
from selfattn_jax.functional.bind import bind, is_lead
from tests.exam import sitting
from tests.exam.marking import expected
from tests.exam.sitting import B, H, S, T, ask, build_piece, every, every_piece, leaves, question

HIDDEN = [1, 4]
PERMUTATION = np.random.default_rng(3).permutation(S)
SHIFT = 17


@every_piece
def test_equals_its_oracle(entry):
    """Output, and all that can be seen inside: weights, scores and log-normaliser; one row of one example is dead."""
    piece, asked = build_piece(entry), question(entry)
    asked.mask[0, 2] = False
    answer, wanted = ask(entry, piece, asked), expected(entry, piece, asked)
    assert_allclose(answer.output, wanted["output"], rtol=0, atol=2e-5)
    assert_allclose(answer.weights, wanted["weights"], rtol=0, atol=2e-5)
    for name in sitting.extras_of(entry):
        assert_allclose(getattr(answer.seen, name), wanted[name], rtol=0, atol=2e-5)


@pytest.mark.slow
@every_piece
def test_compiled_is_eager_whatever_is_asked_for(entry):
    """One program is asked for output, extras and gradients; eagerly, for the output alone."""
    piece, asked = build_piece(entry), question(entry)
    own, head = sitting.one_head(piece, 1, 3), sitting.asked_of_head(asked, 1, 3)
    arrays = (jnp.asarray(array) for array in head[:3])
    eager = sa.attend(*arrays, **sitting.slots(entry, own, sa.bind(sa.masks.array, values=head.mask)))
    assert_allclose(ask(entry, piece, asked).output[1, :, 3], eager, rtol=0, atol=2e-6)


@pytest.mark.slow
@every_piece
def test_the_lift_is_a_loop_over_examples_and_heads(entry):
    """Output, extras and gradients; a dead row, and garbage past the lengths."""
    piece, asked = build_piece(entry), question(entry)
    asked.mask[0, 2] = False
    asked.lengths[:] = [S - 2, S - 1]
    asked.key[0, S - 1], asked.value[0, S - 1] = np.nan, np.inf
    lifted, looped = sitting.ask_lifted(entry, piece, asked), ask(entry, piece, asked)
    jax.tree.map(lambda a, b: assert_allclose(a, b, rtol=2e-6, atol=2e-6), lifted.seen, looped.seen)
    for got, wanted in zip(lifted.gradients[1:], looped.gradients[1:], strict=True):
        assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@every_piece
def test_rebuilt_pieces_do_not_retrace(entry):
    asked = question(entry)
    before = len(sitting.traced)
    for seed in range(3):
        ask(entry, build_piece(entry, seed=seed), asked)
    assert len(sitting.traced) - before <= 1


@every(lambda entry: sitting.slot_of(entry) and any(map(is_lead, build_piece(entry).knobs.values())))
def test_an_array_knob_that_lost_its_axes_is_refused(entry):
    """[H] where one head has []: with H = T = S = 4 it would broadcast, wrong and in silence."""
    whole = build_piece(entry)
    bare = bind(whole.function, **{name: knob.array if is_lead(knob) else knob for name, knob in whole.knobs.items()})
    query = key = value = jax.ShapeDtypeStruct((H, sitting.K), np.float32)
    pieces = sitting.slots(entry, bare, None if entry.kind != "masks" else sa.masks.causal)
    with jax.numpy_rank_promotion("allow"), pytest.raises(ValueError, match=r" must (be|return) \["):
        jax.eval_shape(lambda *arrays: sa.attend(*arrays, **pieces), query, key, value)


@every_piece
def test_gradients_are_finite_everywhere(entry):
    """At zero vectors, at ties, at dead rows, at large scores, and where all is zero."""
    piece, asked = build_piece(entry), question(entry)
    for wicked in sitting.wicked(asked):
        assert all(np.isfinite(leaf).all() for leaf in leaves(ask(entry, piece, wicked)))


# What is hidden stays hidden: from the output, from the gradients, and whatever it holds.


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


# Order and positions.


@every_piece
def test_the_order_of_the_keys_matters_exactly_where_declared(entry):
    """Keys, values, masks and data are permuted together; positions are not."""
    piece, asked = build_piece(entry), question(entry)
    before = ask(entry, piece, asked)
    permuted = sitting.with_keys(asked, PERMUTATION)._replace(key_positions=asked.key_positions)
    after = ask(entry, sitting.with_keys(piece, PERMUTATION), permuted)
    if entry.positional:
        assert np.abs(after.output - before.output).max() > 1e-3
    else:
        assert_allclose(after.output, before.output, rtol=0, atol=2e-6)
        assert_allclose(after.weights, np.asarray(before.weights)[..., PERMUTATION], rtol=0, atol=2e-6)


@every_piece
def test_positions_are_inputs(entry):
    """Any positions give the oracle's numbers; where a common shift changes nothing there, it changes nothing here."""
    piece, asked = build_piece(entry), question(entry)
    random = np.random.default_rng(5)
    asked.query_positions[:], asked.key_positions[:] = (random.permutation(9)[: len(a)] for a in asked[5:7])
    before, was = ask(entry, piece, asked), expected(entry, piece, asked)["output"]
    assert_allclose(before.output, was, rtol=0, atol=2e-5)
    asked.query_positions[:] += SHIFT
    asked.key_positions[:] += SHIFT
    after, wanted = ask(entry, piece, asked), expected(entry, piece, asked)["output"]
    assert_allclose(after.output, wanted, rtol=0, atol=2e-5)
    if np.allclose(wanted, was, rtol=0, atol=1e-9):
        assert_allclose(after.output, before.output, rtol=0, atol=2e-5)
