from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pytest

from selfattn_jax.tasks import Task
from selfattn_jax.tasks.sorting import bucket_sort, histogram, most_frequent, sort
from tests.tasks import solvers_copying as solvers
from tests.tasks.checks import SIZE, assert_answered, assert_documented, assert_likely, build, by_simulation, draw

# The answers to one word [M], and what is guessed instead: name → [M], or the same for all.
Round = tuple[np.ndarray, Mapping[str, np.ndarray | int]]
Play = Callable[[np.random.Generator], Round]

SIZES: dict[str, dict[str, int]] = {
    "default": {},
    "small": {"shortest": 2, "longest": 4, "letters": 3},
    "large": {"shortest": 10, "longest": 60, "letters": 30},
}
TASKS = [sort, bucket_sort, histogram, most_frequent]


@pytest.mark.parametrize("knobs", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("function", TASKS)
def test_a_solver_finds_every_answer(function: Callable[..., Task], knobs: dict[str, int]) -> None:
    assert_answered(function, getattr(solvers, function.__name__), knobs)


def test_lengths_and_letters_are_uniform() -> None:
    examples = draw(build(sort, **SIZES["small"]))
    assert_likely(np.bincount(examples.key_mask.sum(axis=1))[2:], np.ones(3))
    assert_likely(np.bincount(examples.inputs[examples.key_mask])[1:], np.ones(3))


# The figures of the docstrings, and NumPy's, which plays the same guesses on words of its own.
FIGURES: dict[Callable[..., Task], Mapping[str, float]] = {
    sort: {"chance": 0.04, "identity": 0.13, "by_rank": 0.17, "most_common": 0.19},
    bucket_sort: {"chance": 0.20, "identity": 0.24, "by_rank": 0.72, "most_common": 0.31},
    histogram: {"one": 0.62, "mean": 0.62},
    most_frequent: {"chance": 0.04, "identity": 0.31, "first_letter": 0.12, "most_common": 0.12},
}


@pytest.mark.parametrize("function", TASKS)
def test_shortcuts_score_as_documented(function: Callable[..., Task]) -> None:
    assert_documented(function, FIGURES[function], simulated(PLAYS[function]))


def simulated(play: Play) -> dict[str, tuple[float, float]]:
    """What guesses score on words that NumPy draws, and the standard errors."""
    rng = np.random.default_rng(0)
    rounds = [play(rng) for _ in range(SIZE)]
    asked = np.array([answers.size for answers, _ in rounds])
    right = {name: np.array([(answers == guesses[name]).sum() for answers, guesses in rounds]) for name in rounds[0][1]}
    return {name: by_simulation(right[name], asked) for name in right}


def commonest(tokens: np.ndarray) -> int:
    """The most frequent of tokens, the least of equals."""
    return int(np.bincount(tokens).argmax())


def play_sort(rng: np.random.Generator, longest: int, letters: int) -> Round:
    word, chance = rng.integers(1, letters + 1, (2, rng.integers(1, longest + 1)))
    by_rank = 1 + np.floor((np.arange(word.size) + 0.5) * letters / word.size)
    return np.sort(word), {"chance": chance, "identity": word, "by_rank": by_rank, "most_common": commonest(word)}


def play_histogram(rng: np.random.Generator) -> Round:
    word = rng.integers(1, 27, rng.integers(1, 21))
    return (word[:, None] == word).sum(axis=1), {"one": 1, "mean": max(1, round(word.size / 26))}


def play_most_frequent(rng: np.random.Generator) -> Round:
    word = rng.integers(1, 27, rng.integers(1, 21))
    answers = np.array([letter for letter, _ in Counter(word.tolist()).most_common()])  # equals as they first appear
    chance = rng.integers(1, 27, answers.size)
    guesses = {"identity": word[: answers.size], "first_letter": word[0], "most_common": commonest(word)}
    return answers, {"chance": chance, **guesses}


PLAYS: dict[Callable[..., Task], Play] = {
    sort: partial(play_sort, longest=20, letters=26),
    bucket_sort: partial(play_sort, longest=40, letters=5),
    histogram: play_histogram,
    most_frequent: play_most_frequent,
}


def test_a_letter_stands_alone_as_often_as_the_formula_says() -> None:
    sizes = np.arange(1, 21)
    alone = (sizes * (25 / 26) ** (sizes - 1)).sum() / sizes.sum()
    assert abs(alone - FIGURES[histogram]["one"]) < 0.005


@pytest.mark.parametrize("function", TASKS)
@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"shortest": 0}, "shortest=0: shortest must be at least 1"),
        ({"shortest": 4, "longest": 3}, "longest=3: longest must be at least shortest = 4"),
        ({"letters": 1}, "letters=1: letters must be at least 2"),
    ],
)
def test_what_does_not_fit_is_refused(function: Callable[..., Task], knobs: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(**knobs)
