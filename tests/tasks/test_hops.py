from collections.abc import Callable
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfattn_jax.tasks import Task
from selfattn_jax.tasks.hops import induction_extrapolation, k_hop
from selfattn_jax.tasks.sampling import latest_earlier
from tests.tasks import solvers_recall as solvers
from tests.tasks.checks import (
    SIZE,
    assert_documented,
    assert_likely,
    assert_solved,
    assert_solved_unpadded,
    assert_strings,
    build,
    by_formula,
    by_simulation,
    draw,
)

SIZES: list[tuple[Callable[..., Task], dict[str, int]]] = [
    (induction_extrapolation, {}),
    (induction_extrapolation, {"length": 8, "vocabulary": 4}),
    (induction_extrapolation, {"length": 500, "vocabulary": 50}),
    (k_hop, {}),
    (k_hop, {"length": 4, "hops": 1, "letters": 3}),
    (k_hop, {"length": 130, "hops": 3, "letters": 30}),
]


@pytest.mark.parametrize(("function", "knobs"), SIZES)
def test_a_solver_finds_every_answer(function: Callable[..., Task], knobs: dict[str, int]) -> None:
    assert_solved_unpadded(function, getattr(solvers, function.__name__), knobs)
    task = build(function, **knobs)
    assert task.alphabet is not None
    assert len(set(task.alphabet)) == task.vocabulary == draw(task).inputs.max() + 1 == task.outputs


@settings(max_examples=3, deadline=None, derandomize=True)
@given(length=st.integers(2, 60), hops=st.integers(1, 20), letters=st.integers(2, 9))
def test_hops_of_any_number_fit(length: int, hops: int, letters: int) -> None:
    task = build(k_hop, length=length, hops=hops, letters=letters)
    assert_solved(draw(task, 200), partial(solvers.k_hop, hops=hops))


# What is drawn.


def test_answers_and_lags_of_induction_are_uniform() -> None:
    examples = draw(build(induction_extrapolation, **SIZES[1][1]))
    assert ((examples.inputs == 0).sum(axis=1) == 2).all()
    counts = np.zeros((6, 3), int)
    np.add.at(counts, (examples.distance[:, -1] - 1, examples.targets[:, -1] - 1), 1)
    assert_likely(counts.ravel(), np.ones(18))
    assert_likely(np.bincount(examples.inputs.ravel())[1:], np.ones(3))


def test_letters_to_hop_on_are_uniform() -> None:
    examples = draw(build(k_hop, **SIZES[4][1]))
    strings = {"".join(letters): 1 / 81 for letters in product("123", repeat=4)}
    assert_strings(examples._replace(inputs=examples.inputs + 1), strings)  # token 0 is no padding here


# Shortcuts.


def test_shortcuts_of_induction_score_as_documented() -> None:
    tokens = np.random.default_rng(0).integers(15, size=(SIZE, 254))
    commonest = np.array([np.bincount(row).max() for row in tokens])
    frequent = float(commonest.mean() / 254)
    documented = {
        "chance": by_formula(1 / 15),
        "previous_token": by_formula(1 / 254 + 253 / 254 / 15),
        "most_frequent": by_formula(frequent),  # the mean of as many sequences adds next to nothing to its error
    }
    figures = {"chance": 0.067, "previous_token": 0.070, "most_frequent": 0.093}
    assert_documented(induction_extrapolation, figures, documented)


def test_shortcuts_of_k_hop_score_as_documented() -> None:
    letters = np.random.default_rng(0).integers(4, size=(SIZE, 100))
    one = np.full((SIZE, 100), -1)
    for position in range(1, 100):
        for earlier in range(position):
            one[:, position] = np.where(letters[:, earlier] == letters[:, position], earlier + 1, one[:, position])
    two = np.where(one < 0, -1, np.take_along_axis(one, one, axis=1))
    asked = two >= 0
    answers = np.take_along_axis(letters, two, axis=1)
    commonest = np.stack([(letters == letter).cumsum(axis=1) for letter in range(4)]).argmax(axis=0)
    guesses = {
        "previous_token": np.roll(letters, 1, axis=1),
        "most_frequent": commonest,
        "one_hop": np.take_along_axis(letters, one, axis=1),
    }
    documented = {"chance": (1 / 4, np.sqrt(1 / 4 * 3 / 4 / asked.sum()))}
    for name, guess in guesses.items():
        documented[name] = by_simulation((asked & (guess == answers)).sum(axis=1), asked.sum(axis=1))
    figures = {"chance": 0.25, "previous_token": 0.36, "most_frequent": 0.34, "one_hop": 0.27}
    assert_documented(k_hop, figures, documented)


def test_one_hop_is_no_shortcut_to_itself() -> None:
    assert "one_hop" not in build(k_hop, **SIZES[4][1]).shortcuts


# Refusals.


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (partial(induction_extrapolation, length=2), "length=2: length must be at least 3"),
        (partial(induction_extrapolation, vocabulary=2), "vocabulary=2: vocabulary must be at least 3"),
        (partial(k_hop, length=1), "length=1: length must be at least 2"),
        (partial(k_hop, hops=0), "hops=0: hops must be at least 1"),
        (partial(k_hop, letters=1), "letters=1: letters must be at least 2"),
    ],
)
def test_what_does_not_fit_is_refused(function: Callable[[], Task], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function()


def test_more_tokens_than_can_be_numbered_are_refused() -> None:
    look_back = partial(latest_earlier, kinds=2**20)
    jax.eval_shape(look_back, jax.ShapeDtypeStruct((2**11,), jnp.int32))
    with pytest.raises(ValueError, match=r"length=2049: length must be at most 2\^31 / 1048576"):
        jax.eval_shape(look_back, jax.ShapeDtypeStruct((2**11 + 1,), jnp.int32))
