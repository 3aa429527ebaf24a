"""Order and positions: what is not positional cannot tell the order of the keys, what is depends on nothing else."""

import numpy as np
from numpy.testing import assert_allclose

from tests.exam import sitting
from tests.exam.sitting import S, ask, build_piece, every_piece, expected, question

PERMUTATION = np.random.default_rng(3).permutation(S)
SHIFT = 17


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
