"""Costs as formulas: values and degrees by hand."""

import pytest

from selfattn_jax import catalogue
from selfattn_jax.formulas import degree, evaluate

SIZES = {"T": 8, "S": 4, "K": 3, "V": 2}


@pytest.mark.parametrize(
    ("formula", "value", "power"),
    [
        ("", 0, 0),
        ("K·V", 6, 0),
        ("T·S", 32, 2),
        ("(T+S)·K·V", 72, 1),
        ("2·T·K + V", 50, 1),
        ("T·log T·V", 48, 1),
        ("T·(S+K)·V", 112, 2),
        ("T·T·S", 256, 3),
        ("S·√S·K", 24, 1.5),
    ],
)
def test_by_hand(formula, value, power):
    assert evaluate(formula, SIZES) == value
    assert degree(formula) == power


def test_what_cannot_be_read_is_named():
    with pytest.raises(ValueError, match="'t' is no letter"):
        evaluate("t·S", SIZES)
    with pytest.raises(ValueError, match="M has no size; there are T, S, K, V"):
        evaluate("T·M", SIZES)


def test_every_cost_of_the_catalogue_can_be_read():
    for entry in catalogue.entries:
        for formula in (entry.cost, entry.memory, entry.carries, entry.learned):
            assert degree(formula) in (0, 1, 1.5, 2), entry.name
