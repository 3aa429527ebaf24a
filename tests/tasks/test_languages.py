from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfattn_jax.tasks import Task
from selfattn_jax.tasks.languages import dyck, flip_flop
from tests.tasks import solvers_languages as solvers
from tests.tasks.checks import (
    SIZE,
    Knobs,
    assert_answered,
    assert_documented,
    assert_likely,
    assert_strings,
    build,
    by_simulation,
    draw,
)

SIZES: list[tuple[Callable[..., Task], Knobs]] = [
    (dyck, {}),
    (dyck, {"length": 9, "kinds": 5, "depth": 1}),
    (dyck, {"length": 150, "kinds": 3, "depth": 20}),
    (flip_flop, {}),
    (flip_flop, {"length": 8, "ignore": 0}),
    (flip_flop, {"length": 200, "ignore": 0.9}),
]


@pytest.mark.parametrize(("function", "knobs"), SIZES)
def test_a_solver_finds_every_answer(function: Callable[..., Task], knobs: Knobs) -> None:
    assert_answered(function, getattr(solvers, function.__name__), knobs)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(length=st.integers(2, 60), kinds=st.integers(2, 9), depth=st.integers(1, 60))
def test_brackets_of_any_number_fit(length: int, kinds: int, depth: int) -> None:
    examples = draw(build(dyck, length=length, kinds=kinds, depth=depth), 200)
    assert examples.difficulty.max() <= depth
    for inputs, *answer in zip(examples.inputs, *examples[1:3], *examples[4:], strict=True):
        np.testing.assert_array_equal(solvers.dyck(inputs, kinds=kinds), answer)


def test_brackets_open_and_close_evenly_between_the_bounds() -> None:
    probabilities = {"": 1.0}
    for _ in range(5):
        probabilities = {
            string + bracket: probability * share
            for string, probability in probabilities.items()
            for bracket, share in brackets_to_come(string, depth=2).items()
        }
    assert_strings(draw(build(dyck, length=5, kinds=2, depth=2)), probabilities)


def brackets_to_come(string: str, depth: int) -> dict[str, float]:
    """How likely each of ( [ ) ], written 1 2 3 4, is after a string of them."""
    still_open: list[str] = []
    for bracket in string:
        if bracket in "12":
            still_open.append(bracket)
        else:
            still_open.pop()
    opens = 1.0 if not still_open else 0.0 if len(still_open) == depth else 0.5
    closing = {{"1": "3", "2": "4"}[still_open[-1]]: 1 - opens} if opens < 1 else {}
    return closing | ({"1": opens / 2, "2": opens / 2} if opens > 0 else {})


def test_flip_flop_shares_its_instructions_and_bits_as_told() -> None:
    inputs = draw(build(flip_flop)).inputs
    instructions, bits = inputs[:, 0::2], inputs[:, 1::2] - 4
    assert (instructions[:, 0] == 1).all()
    assert (instructions[:, -1] == 2).all()
    assert_likely(np.bincount(instructions[:, 1:-1].ravel(), minlength=4)[1:], np.array([0.1, 0.1, 0.8]))
    for instruction in (1, 3):
        assert_likely(np.bincount(bits[instructions == instruction]), np.ones(2))


# Shortcuts.


def test_shortcuts_of_dyck_score_as_documented() -> None:
    rng = np.random.default_rng(0)
    right, asked = np.zeros(SIZE), np.zeros(SIZE)
    open_now, latest_opened = np.zeros(SIZE, int), np.zeros(SIZE, bool)
    for _ in range(64):
        opens = (open_now == 0) | (open_now < 3) & (rng.integers(2, size=SIZE) == 0)
        same_kind = latest_opened | (rng.integers(2, size=SIZE) == 0)  # as that of the bracket that opened last
        right += ~opens & same_kind
        asked += ~opens
        open_now += np.where(opens, 1, -1)
        latest_opened = opens
    figures = {"chance": 0.5, "latest_open": 0.84}
    chance, deviation = 0.5, 0.5 / np.sqrt(asked.mean() * SIZE)
    assert_documented(dyck, figures, {"chance": (chance, deviation), "latest_open": by_simulation(right, asked)})


def test_shortcuts_of_flip_flop_score_as_documented() -> None:
    rng = np.random.default_rng(0)
    instructions = rng.choice(["write", "read", "ignore"], size=(SIZE, 32), p=[0.1, 0.1, 0.8])
    instructions[:, 0], instructions[:, -1] = "write", "read"
    reads = instructions[:, 1:] == "read"
    by_luck = rng.integers(2, size=reads.shape) == 0
    right = (reads & ((instructions[:, :-1] != "ignore") | by_luck)).sum(axis=1)
    asked = reads.sum(axis=1)
    figures = {"chance": 0.5, "latest_bit": 0.61}
    chance, deviation = 0.5, 0.5 / np.sqrt(asked.sum())
    assert_documented(flip_flop, figures, {"chance": (chance, deviation), "latest_bit": by_simulation(right, asked)})


def test_brackets_are_written_as_usual() -> None:
    assert build(dyck).alphabet == ("·", "(", "[", ")", "]")
    assert build(dyck, length=9, kinds=5, depth=1).classes == (")", "]", "}", ">", ")4")


# Refusals.


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (partial(dyck, length=1), "length=1: length must be at least 2"),
        (partial(dyck, kinds=1), "kinds=1: kinds must be at least 2"),
        (partial(dyck, depth=0), "depth=0: depth must be at least 1"),
        (partial(flip_flop, length=7), "length=7: length must be even"),
        (partial(flip_flop, length=2), "length=2: length must be at least 4"),
        (partial(flip_flop, ignore=1.0), "ignore=1.0: ignore must be at least 0 and below 1"),
    ],
)
def test_what_does_not_fit_is_refused(function: Callable[[], Task], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function()
