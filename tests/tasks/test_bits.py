from collections.abc import Callable
from functools import partial
from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfattn_jax.tasks import Task
from selfattn_jax.tasks.bits import cumulative_parity, even_pairs, first, majority, parity
from tests.tasks import solvers_languages as solvers
from tests.tasks.checks import (
    SIZE,
    assert_answered,
    assert_documented,
    assert_strings,
    build,
    by_formula,
    by_simulation,
    draw,
)

TASKS = [parity, cumulative_parity, majority, even_pairs, first]
SMALL = {"shortest": 2, "longest": 4}
LARGE = {"shortest": 30, "longest": 100}


@pytest.mark.parametrize("knobs", [{}, SMALL, LARGE], ids=["default", "small", "large"])
@pytest.mark.parametrize("function", TASKS)
def test_a_solver_finds_every_answer(function: Callable[..., Task], knobs: dict[str, int]) -> None:
    assert_answered(function, getattr(solvers, function.__name__), knobs)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(shortest=st.integers(1, 50), more=st.integers(0, 50))
def test_any_length_fits(shortest: int, more: int) -> None:
    assert_answered(majority, solvers.majority, {"shortest": shortest, "longest": shortest + more}, size=200)


# What is drawn.


def bit_strings(size: int) -> list[str]:
    return ["".join(bits) for bits in product("12", repeat=size)]


@pytest.mark.parametrize("function", [parity, cumulative_parity, even_pairs, first])
def test_lengths_and_bits_are_uniform(function: Callable[..., Task]) -> None:
    begin = "3" if function is first else ""
    probabilities = {begin + bits: 1 / 3 / 2**size for size in (2, 3, 4) for bits in bit_strings(size)}
    assert_strings(draw(build(function, **SMALL)), probabilities)


def test_every_number_of_ones_but_half_and_every_order_is_as_likely() -> None:
    probabilities = {
        bits + "3": 1 / 3 / {2: 2, 3: 4, 4: 4}[size] / comb(size, bits.count("2"))
        for size in (2, 3, 4)
        for bits in bit_strings(size)
        if 2 * bits.count("2") != size
    }
    assert_strings(draw(build(majority, **SMALL)), probabilities)


# Shortcuts.

EVEN = by_formula(1 / 2)
ONLY_BIT = by_formula((1 + 39 / 2) / 40)  # right where there is but one bit


def test_shortcuts_of_parity_score_as_documented() -> None:
    figures = {"majority": 0.5, "last_bit": 0.51, "first_bit": 0.51}
    assert_documented(parity, figures, {"majority": EVEN, "last_bit": ONLY_BIT, "first_bit": ONLY_BIT})


def test_shortcuts_of_cumulative_parity_score_as_documented() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 41, size=SIZE)
    bits = rng.integers(2, size=(SIZE, 40))
    odd = bits.cumsum(axis=1) % 2
    there = np.arange(40) < sizes[:, None]
    simulated = {
        "always_zero": by_simulation(((odd == 0) & there).sum(axis=1), sizes),
        "this_bit": by_simulation(((odd == bits) & there).sum(axis=1), sizes),
    }
    assert_documented(cumulative_parity, {"always_zero": 0.5, "this_bit": 0.52}, simulated)


def test_shortcuts_of_majority_score_as_documented() -> None:
    one_of_the_more = np.mean(
        [
            np.mean([max(ones, size - ones) / size for ones in range(size + 1) if 2 * ones != size])
            for size in range(1, 41)
        ]
    )
    bit = by_formula(float(one_of_the_more))
    figures = {"always_zero": 0.5, "first_bit": 0.79, "last_bit": 0.79}
    assert_documented(majority, figures, {"always_zero": EVEN, "first_bit": bit, "last_bit": bit})


def test_shortcuts_of_even_pairs_score_as_documented() -> None:
    assert_documented(even_pairs, {"always_zero": 0.5, "last_bit": 0.5}, {"always_zero": EVEN, "last_bit": EVEN})


def test_shortcuts_of_first_score_as_documented() -> None:
    hits = [(bits.count("2") > 5) == (bits[0] == "2") for bits in bit_strings(10)]
    figures = {"always_zero": 0.5, "last_bit": 0.5, "majority_bit": 0.62}
    shortcuts = {"always_zero": EVEN, "last_bit": EVEN, "majority_bit": by_formula(float(np.mean(hits)))}
    assert_documented(first, figures, shortcuts)


# Refusals.


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (partial(parity, shortest=0), "shortest=0: shortest must be at least 1"),
        (partial(cumulative_parity, shortest=41), "longest=40: longest must be at least shortest = 41"),
        (partial(majority, shortest=0), "shortest=0: shortest must be at least 1"),
        (partial(even_pairs, shortest=1), "shortest=1: shortest must be at least 2"),
        (partial(first, longest=9), "longest=9: longest must be at least shortest = 10"),
    ],
)
def test_what_does_not_fit_is_refused(function: Callable[[], Task], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function()
