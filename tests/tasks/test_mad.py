from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfattn_jax.tasks import Task
from selfattn_jax.tasks.mad import fuzzy_recall, noisy_recall, recall
from tests.tasks import solvers_recall as solvers
from tests.tasks.checks import (
    SIZE,
    Drawn,
    Knobs,
    assert_documented,
    assert_likely,
    assert_solved,
    assert_solved_unpadded,
    assert_strings,
    build,
    by_simulation,
    draw,
)

SIZES: list[tuple[Callable[..., Task], Knobs]] = [
    (recall, {}),
    (recall, {"length": 4, "vocabulary": 4}),
    (recall, {"length": 300, "vocabulary": 200}),
    (noisy_recall, {}),
    (noisy_recall, {"length": 5, "vocabulary": 4, "noise_tokens": 2, "noise": 0.2}),
    (noisy_recall, {"length": 300, "vocabulary": 100, "noise_tokens": 50, "noise": 0.8}),
    (fuzzy_recall, {}),
    (fuzzy_recall, {"length": 4, "vocabulary": 4, "entries": 3, "longest": 2}),
    (fuzzy_recall, {"length": 301, "vocabulary": 30, "entries": 20, "longest": 4}),
]


@pytest.mark.parametrize(("function", "knobs"), SIZES)
def test_a_solver_finds_every_answer(function: Callable[..., Task], knobs: Knobs) -> None:
    assert_solved_unpadded(function, getattr(solvers, function.__name__), knobs)
    task = build(function, **knobs)
    assert task.alphabet is not None
    assert len(set(task.alphabet)) == task.vocabulary == task.outputs > draw(task).inputs.max()


@settings(max_examples=3, deadline=None, derandomize=True)
@given(pairs=st.integers(3, 30), noise=st.floats(0, 0.8), half=st.integers(2, 20), noise_tokens=st.integers(1, 20))
def test_noise_of_any_share_fits(pairs: int, noise: float, half: int, noise_tokens: int) -> None:
    length = int(2 * pairs / (1 - noise)) // 2 * 2
    knobs = {"length": length, "vocabulary": 2 * half, "noise_tokens": noise_tokens, "noise": noise}
    examples = draw(build(noisy_recall, **knobs), 200)
    assert_solved(examples, partial(solvers.noisy_recall, **knobs))
    inputs = examples.inputs
    loud = (inputs >= 2 * half).sum(axis=1)
    assert (loud == int(noise * length) // 2 * 2).all()
    is_key = inputs < half
    is_value = ~is_key & (inputs < 2 * half)
    np.testing.assert_array_equal(is_value[:, 1:], is_key[:, :-1])


@settings(max_examples=3, deadline=None, derandomize=True)
@given(length=st.integers(4, 90), half=st.integers(2, 20), longest=st.integers(1, 5), data=st.data())
def test_entries_of_any_number_fit(length: int, half: int, longest: int, data: st.DataObject) -> None:
    entries = data.draw(st.integers(1, half * longest))
    knobs = {"length": length, "vocabulary": 2 * half, "entries": entries, "longest": longest}
    examples = draw(build(fuzzy_recall, **knobs), 200)
    assert_solved(examples, partial(solvers.fuzzy_recall, **knobs))
    assert examples.inputs.min() >= 1


# What is drawn.


def one_up(examples: Drawn) -> Drawn:
    """The examples with token 0, which is no padding here, as a digit to be compared."""
    return examples._replace(inputs=examples.inputs + 1)


def maps_and_keys() -> list[list[str]]:
    """Two pairs of any of two keys, 1 and 2, with a map of any values, 3 and 4."""
    drawn = product(product("34", repeat=2), product((0, 1), repeat=2))
    return [[f"{1 + key}{values[key]}" for key in keys] for values, keys in drawn]


def test_maps_and_keys_are_uniform() -> None:
    probabilities: dict[str, float] = defaultdict(float)
    for pairs in maps_and_keys():
        probabilities["".join(pairs)] += 1 / 16
    assert_strings(one_up(draw(build(recall, length=4, vocabulary=4))), probabilities)


def test_noise_is_uniform_and_stands_anywhere_but_within_a_pair() -> None:
    probabilities: dict[str, float] = defaultdict(float)
    for (first, second), noise in product(maps_and_keys(), "56"):
        for string in (noise + first + second, first + noise + second, first + second + noise):
            probabilities[string] += 1 / 96
    drawn = draw(build(noisy_recall, length=5, vocabulary=4, noise_tokens=2, noise=0.2))
    assert_strings(one_up(drawn), probabilities)


def test_orders_of_pairs_and_noise_are_all_as_likely() -> None:
    inputs = draw(build(noisy_recall, length=6, vocabulary=4, noise_tokens=1, noise=0.4)).inputs
    kinds = np.where(inputs < 2, 0, np.where(inputs < 4, 1, 2))  # key, value, noise
    _, counts = np.unique(kinds, axis=0, return_counts=True)
    assert counts.size == 6  # of two pairs and two noise tokens
    assert_likely(counts, np.ones(6))


def test_motifs_and_units_are_drawn_as_told() -> None:
    """Three entries, of the keys (a), (b c), (d) with a ≠ d, and cut after four tokens."""
    probabilities: dict[str, float] = defaultdict(float)
    motifs = ["".join(motif) for size in (1, 2) for motif in product("34", repeat=size)]
    chance = {motif: 0.5 * 0.5 ** len(motif) for motif in motifs}
    for singles, double in product(("12", "21"), product("12", repeat=2)):
        keys = (singles[0], "".join(double), singles[1])
        for values in product(motifs, repeat=3):
            likely = 1 / 8 * np.prod([chance[value] for value in values])
            for first, second in product(range(3), repeat=2):
                string = keys[first] + values[first] + keys[second] + values[second]
                probabilities[string[:4]] += likely / 9
    drawn = draw(build(fuzzy_recall, length=4, vocabulary=4, entries=3, longest=2))
    assert_strings(drawn, probabilities)


# Shortcuts.


@pytest.mark.parametrize(("function", "pairs"), [(recall, 64), (noisy_recall, 52)])
def test_shortcuts_of_recall_score_as_documented(function: Callable[..., Task], pairs: int) -> None:
    """Noise changes nothing, for the shortcuts do not look at it."""
    rng = np.random.default_rng(0)
    value_of = rng.integers(8, size=(SIZE, 8))
    every = np.arange(SIZE)
    seen, counts = np.zeros((SIZE, 8), bool), np.zeros((SIZE, 8), int)
    asked, latest_right, frequent_right = np.zeros(SIZE), np.zeros(SIZE), np.zeros(SIZE)
    latest = np.zeros(SIZE, int)
    for _ in range(pairs):
        key = rng.integers(8, size=SIZE)
        known, value = seen[every, key], value_of[every, key]
        asked += known
        latest_right += known & (latest == value)
        frequent_right += known & (counts.argmax(axis=1) == value)
        seen[every, key] = True
        counts[every, value] += 1
        latest = value
    documented = {
        "chance": by_luck(1 / 8, asked),
        "latest_value": by_simulation(latest_right, asked),
        "most_frequent_value": by_simulation(frequent_right, asked),
    }
    assert_documented(function, {"chance": 0.125, "latest_value": 0.25, "most_frequent_value": 0.32}, documented)


def by_luck(figure: float, asked: np.ndarray) -> tuple[float, float]:
    """A probability, and its standard error where as many independent guesses are made as are asked."""
    return figure, np.sqrt(figure * (1 - figure) / asked.sum())


def test_shortcuts_of_fuzzy_recall_score_as_documented() -> None:
    rng = np.random.default_rng(0)
    right, asked = np.zeros(SIZE), np.zeros(SIZE)
    for example in range(SIZE):
        values = rng.integers(8, size=(6, 3))
        sizes = rng.integers(1, 4, size=6)
        seen: set[int] = set()
        position, latest = 0, 0
        while position < 128:
            entry = int(rng.integers(6))
            position += 1 + entry % 3
            for value in values[entry, : sizes[entry]]:
                if position < 128 and entry in seen:
                    asked[example] += 1
                    right[example] += value == latest
                position, latest = position + 1, value
            seen.add(entry)
    figures = {"chance": 0.125, "latest_value": 0.15}
    documented = {"chance": by_luck(1 / 8, asked), "latest_value": by_simulation(right, asked)}
    assert_documented(fuzzy_recall, figures, documented)


# Refusals.


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (partial(recall, vocabulary=15), "vocabulary=15: vocabulary must be even"),
        (partial(recall, vocabulary=2), "vocabulary=2: vocabulary must be at least 4"),
        (partial(recall, length=127), "length=127: length must be even"),
        (partial(recall, length=2), "length=2: length must be at least 4"),
        (partial(noisy_recall, vocabulary=15), "vocabulary=15: vocabulary must be even"),
        (partial(noisy_recall, noise_tokens=0), "noise_tokens=0: noise_tokens must be at least 1"),
        (partial(noisy_recall, noise=1.0), "noise=1.0: noise must be at least 0 and below 1"),
        (partial(noisy_recall, noise=-0.1), "noise=-0.1: noise must be at least 0 and below 1"),
        (partial(noisy_recall, length=7, noise=0.1), "length=7: length must be even where there is no noise"),
        (partial(noisy_recall, length=10, noise=0.8), "length=10: length must be so great .* leaves 2 pairs, not 1"),
        (partial(fuzzy_recall, vocabulary=15), "vocabulary=15: vocabulary must be even"),
        (partial(fuzzy_recall, length=3), "length=3: length must be at least 4"),
        (partial(fuzzy_recall, longest=0), "longest=0: longest must be at least 1"),
        (partial(fuzzy_recall, longest=9), r"longest=9: longest must be so small that 8\^longest is at most 2\^24"),
        (partial(fuzzy_recall, entries=0), "entries=0: entries must be at least 1"),
        (partial(fuzzy_recall, entries=25), r"entries=25: entries must be .* longest \* vocabulary / 2 = 24"),
    ],
)
def test_what_does_not_fit_is_refused(function: Callable[[], Task], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function()
