"""Costs as formulas: values by hand, and what letters stand for."""

import numpy as np
import pytest

from selfattn_jax import catalogue
from selfattn_jax.formulas import evaluate, letters_of
from selfattn_jax.functional import mixers

SIZES = {"T": 8, "S": 4, "K": 3, "V": 2}


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("", 0),
        ("K·V", 6),
        ("T·S", 32),
        ("(T+S)·K·V", 72),
        ("2·T·K + V", 50),
        ("T·log T·V", 48),
        ("T·(S+K)·V", 112),
        ("T·T·S", 256),
        ("S·√S·K", 24),
    ],
)
def test_by_hand(formula, value):
    assert evaluate(formula, SIZES) == value


def test_what_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="'t' is no letter"):
        evaluate("t·S", SIZES)
    with pytest.raises(ValueError, match="M has no size; there are T, S, K, V"):
        evaluate("T·M", SIZES)


def test_every_cost_of_the_catalogue_can_be_read():
    letters = dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 1.0)
    for entry in catalogue.entries:
        for formula in (entry.cost, entry.memory, entry.carries, entry.learned):
            assert evaluate(formula, letters) > 0 or not formula, entry.name


def test_letters_are_those_that_the_docstring_says():
    knobs = {"rotations": np.zeros((4, 3, 5)), "finer": np.zeros((4, 3, 2)), "chunk": 16}
    assert letters_of(mixers.reformer, knobs) == {"R": 4, "K": 3, "H": 5, "G": 2, "C": 16}


def test_a_letter_of_an_absent_array_alone_is_0():
    """R and K are known from the rotations, T from the query."""
    knobs = {"rotations": np.zeros((4, 3, 5)), "chunk": 16}
    assert letters_of(mixers.reformer, knobs) == {"R": 4, "K": 3, "H": 5, "G": 0, "C": 16}
