from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfattn_jax.tasks import Task
from selfattn_jax.tasks.associative import associative_recall, needle
from tests.tasks import solvers_recall as solvers
from tests.tasks.checks import (
    SIZE,
    Drawn,
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
    (associative_recall, {}),
    (associative_recall, {"pairs": 2, "vocabulary": 4}),
    (associative_recall, {"pairs": 100, "vocabulary": 200}),
    (needle, {}),
    (needle, {"length": 7, "fillers": 1, "keys": 3, "distractors": 1}),
    (needle, {"length": 300, "fillers": 50, "keys": 60, "distractors": 40}),
]


@pytest.mark.parametrize(("function", "knobs"), SIZES)
def test_a_solver_finds_every_answer(function: Callable[..., Task], knobs: dict[str, int]) -> None:
    assert_solved_unpadded(function, getattr(solvers, function.__name__), knobs)
    task = build(function, **knobs)
    assert task.alphabet is not None
    assert len(set(task.alphabet)) == task.vocabulary == task.outputs > draw(task).inputs.max()


@settings(max_examples=3, deadline=None, derandomize=True)
@given(distractors=st.integers(0, 9), spare=st.integers(0, 30), spare_keys=st.integers(1, 9), fillers=st.integers(1, 9))
def test_any_needle_that_fits_is_well_formed(distractors: int, spare: int, spare_keys: int, fillers: int) -> None:
    keys, length = distractors + spare_keys + 1, 2 * distractors + 3 + spare
    knobs = {"length": length, "fillers": fillers, "keys": keys, "distractors": distractors}
    examples = draw(build(needle, **knobs), 200)
    assert_solved(examples, solvers.needle)
    for start in (fillers, fillers + keys):  # of the keys, of the values
        tokens = examples.inputs[:, :-1]
        found = np.stack([(tokens == token).sum(axis=1) for token in range(start, start + keys)])
        assert found.max() == 1
        assert (found.sum(axis=0) == distractors + 1).all()


# What is drawn.


def one_up(examples: Drawn) -> Drawn:
    """The examples with token 0, which is no padding here, as a digit to be compared."""
    return examples._replace(inputs=examples.inputs + 1)


def test_maps_keys_and_the_pair_asked_are_uniform() -> None:
    probabilities: dict[str, float] = defaultdict(float)
    for values, keys, asked in product(product((3, 4), repeat=2), product((0, 1), repeat=2), (0, 1)):
        tokens = [token for key in keys for token in (1 + key, values[key])]
        probabilities["".join(map(str, [*tokens, 1 + keys[asked]]))] += 1 / 32
    assert_strings(one_up(draw(build(associative_recall, pairs=2, vocabulary=4))), probabilities)


def test_slots_keys_and_values_of_a_needle_are_any_different_ones() -> None:
    probabilities: dict[str, float] = defaultdict(float)
    for slots, keys, values in product(permutations(range(3), 2), permutations((2, 3, 4), 2), permutations("567", 2)):
        places = ["11"] * 3
        for slot, key, value in zip(slots, keys, values, strict=True):
            places[slot] = f"{key}{value}"
        probabilities["".join([*places, str(keys[0])])] += 1
    assert_strings(one_up(draw(build(needle, length=7, fillers=1, keys=3, distractors=1))), probabilities)


def test_fillers_are_uniform_and_depth_tells_the_tenth() -> None:
    examples = draw(build(needle))
    assert_likely(np.bincount(examples.inputs[examples.inputs < 16]), np.ones(16))
    depths = np.bincount(examples.difficulty[:, -1], minlength=11)
    assert depths[0] == 0
    assert_likely(depths[1:], np.bincount(1 + 10 * np.arange(31) // 31)[1:])


# Shortcuts.


def test_shortcuts_of_associative_recall_score_as_documented() -> None:
    same_key = 1 / 20 + 19 / 20 / 10
    documented = {
        "chance": by_formula(1 / 10),
        "latest_value": by_formula(same_key + (1 - same_key) / 10),
        "most_frequent_value": most_frequent_value_by_simulation(),
    }
    figures = {"chance": 0.1, "latest_value": 0.23, "most_frequent_value": 0.33}
    assert_documented(associative_recall, figures, documented)


def most_frequent_value_by_simulation() -> tuple[float, float]:
    rng = np.random.default_rng(0)
    right = np.zeros(SIZE)
    for example in range(SIZE):
        values = rng.integers(10, size=10)[rng.integers(10, size=20)]
        right[example] = np.bincount(values).argmax() == values[rng.integers(20)]
    return by_simulation(right, np.ones(SIZE))


def test_shortcuts_of_needle_score_as_documented() -> None:
    figures = {"chance": 0.06, "latest_value": 0.25, "context_value": 0.25}
    documented = {"chance": by_formula(1 / 16), "latest_value": by_formula(1 / 4), "context_value": by_formula(1 / 4)}
    assert_documented(needle, figures, documented)


# Refusals.


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (partial(associative_recall, pairs=0), "pairs=0: pairs must be at least 1"),
        (partial(associative_recall, vocabulary=5), "vocabulary=5: vocabulary must be even"),
        (partial(associative_recall, vocabulary=2), "vocabulary=2: vocabulary must be at least 4"),
        (partial(needle, distractors=-1), "distractors=-1: distractors must be at least 0"),
        (partial(needle, fillers=0), "fillers=0: fillers must be at least 1"),
        (partial(needle, keys=3), "keys=3: keys must be at least 4"),
        (partial(needle, keys=1, distractors=0), "keys=1: keys must be at least 2"),
        (partial(needle, length=8), r"length=8: length must be at least 2 \* distractors \+ 3 = 9"),
    ],
)
def test_what_does_not_fit_is_refused(function: Callable[[], Task], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function()
