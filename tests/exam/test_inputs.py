"""Positions that are added to the inputs of a model."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.exam import sitting
from tests.exam.marking import oracle_of
from tests.exam.sitting import build_piece, every

every_input = every(lambda entry: entry.kind == "positions" and entry.acts_on == "inputs")
POSITIONS = np.int32([2, 0, 1, 2, 0])


@every_input
@pytest.mark.parametrize("off_default", [False, True], ids=["as_it_comes", "every_knob_moved"])
def test_equals_its_oracle(entry, off_default):
    piece = build_piece(entry, off_default=off_default)
    wanted = oracle_of(entry.kind, entry.name)(POSITIONS, **sitting.own_knobs(piece, 0, 0))
    vectors = piece(POSITIONS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(POSITIONS), sitting.SIZES["width"])
    assert_allclose(vectors, wanted, atol=1e-6)


@every_input
def test_every_position_has_its_own_vector_wherever_it_stands(entry):
    vectors = np.asarray(build_piece(entry)(POSITIONS))
    assert_allclose(vectors[[0, 1]], vectors[[3, 4]], rtol=0, atol=0)
    assert len(np.unique(vectors.round(4), axis=0)) == 3


@every(lambda entry: entry.acts_on == "inputs" and entry.learns)
def test_a_position_without_a_vector_gives_nan(entry):
    """A neighbour's vector in its place would train, and be wrong in silence."""
    length = sitting.SIZES["length"]
    vectors = build_piece(entry)(np.int32([-1, 0, length - 1, length, 1000]))
    np.testing.assert_array_equal(np.isnan(vectors).all(axis=1), [True, False, False, True, True])
    np.testing.assert_array_equal(np.isnan(vectors).any(axis=1), [True, False, False, True, True])
