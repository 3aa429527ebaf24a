from collections.abc import Callable, Mapping
from functools import partial
from math import comb

import numpy as np
import pytest

from selfattn_jax.tasks import Task
from selfattn_jax.tasks.copying import copy, duplicate, missing_duplicate, odds_first, reverse, selective_copy
from tests.tasks import solvers_copying as solvers
from tests.tasks.checks import (
    SIZE,
    assert_answered,
    assert_documented,
    assert_likely,
    assert_solved_unpadded,
    build,
    by_formula,
    by_simulation,
    draw,
)

# The answers to one word [M], and what is guessed instead: name → [M], or the same for all.
Round = tuple[np.ndarray, Mapping[str, np.ndarray | int]]
Play = Callable[[np.random.Generator], Round]

WORDS: dict[str, dict[str, int]] = {
    "default": {},
    "small": {"shortest": 2, "longest": 4, "letters": 3},
    "large": {"shortest": 10, "longest": 60, "letters": 30},
}
BLANKS: dict[Callable[..., Task], list[dict[str, int]]] = {
    copy: [{}, {"tokens": 2, "blanks": 0, "letters": 2}, {"tokens": 20, "blanks": 200, "letters": 40}],
    selective_copy: [{}, {"length": 3, "tokens": 3, "letters": 2}, {"length": 200, "tokens": 20, "letters": 40}],
}


@pytest.mark.parametrize("knobs", WORDS.values(), ids=WORDS)
@pytest.mark.parametrize("function", [reverse, odds_first, duplicate, missing_duplicate])
def test_a_solver_finds_every_answer(function: Callable[..., Task], knobs: dict[str, int]) -> None:
    assert_answered(function, getattr(solvers, function.__name__), knobs)


@pytest.mark.parametrize(
    ("function", "knobs"), [(function, knobs) for function in BLANKS for knobs in BLANKS[function]]
)
def test_a_solver_finds_every_letter_among_blanks(function: Callable[..., Task], knobs: dict[str, int]) -> None:
    assert_solved_unpadded(function, getattr(solvers, function.__name__), knobs)


# What is drawn.


def test_gaps_and_starts_of_copy_are_uniform() -> None:
    examples = draw(build(copy, tokens=1, blanks=4, letters=2))
    start = (examples.inputs != 0).argmax(axis=1)
    gap = examples.distance.max(axis=1) - 1
    counts = np.zeros((5, 5), int)
    np.add.at(counts, (gap, start), 1)
    probabilities = np.array([[1 / 5 / (5 - gap) if start <= 4 - gap else 0 for start in range(5)] for gap in range(5)])
    assert not counts[probabilities == 0].any()
    assert_likely(counts[probabilities > 0], probabilities[probabilities > 0])


def test_places_of_selective_copy_are_any_selection() -> None:
    examples = draw(build(selective_copy, length=5, tokens=2, letters=2))
    chosen = (examples.inputs[:, :5] != 0) @ (1 << np.arange(5))
    counts = np.bincount(chosen, minlength=32)
    allowed = np.array([number for number in range(32) if number.bit_count() == 2])
    assert counts[allowed].sum() == SIZE
    assert_likely(counts[allowed], np.ones(10))


@pytest.mark.parametrize("function", BLANKS)
def test_letters_among_blanks_are_uniform(function: Callable[..., Task]) -> None:
    task = build(function)
    examples = draw(task)
    marker = task.outputs - 1
    letters = examples.inputs[(examples.inputs > 0) & (examples.inputs < marker)]
    assert_likely(np.bincount(letters, minlength=marker)[1:], np.ones(marker - 1))


def test_lengths_letters_and_holes_are_uniform() -> None:
    examples = draw(build(missing_duplicate, **WORDS["small"]))
    sizes = examples.key_mask.sum(axis=1) // 2
    assert_likely(np.bincount(sizes)[2:], np.ones(3))
    letters = examples.inputs[examples.key_mask]
    assert_likely(np.bincount(letters)[1:4], np.ones(3))
    holes = (examples.inputs[sizes == 3] == 4).argmax(axis=1)
    assert_likely(np.bincount(holes)[3:], np.ones(3))


# Shortcuts: the figures of the docstrings, and NumPy's, which plays the same guesses on words of its own.

FIGURES: dict[Callable[..., Task], Mapping[str, float]] = {
    copy: {"chance": 0.125, "first_letter": 0.21, "most_common": 0.30},
    selective_copy: {"chance": 0.07, "first_letter": 0.13, "most_common": 0.20},
    reverse: {"chance": 0.04, "identity": 0.08, "most_common": 0.19},
    odds_first: {"chance": 0.50, "identity": 0.57, "most_common": 0.62},
    duplicate: {"chance": 0.50, "last_letter": 0.55, "most_common": 0.62},
    missing_duplicate: {"chance": 0.50, "previous_letter": 0.50, "most_common": 0.57},
}


@pytest.mark.parametrize("function", [copy, selective_copy, reverse, odds_first, duplicate])
def test_shortcuts_score_as_documented(function: Callable[..., Task]) -> None:
    assert_documented(function, FIGURES[function], simulated(PLAYS[function]))


def test_shortcuts_of_missing_duplicate_score_as_formulas_say() -> None:
    formulas = {"chance": 1 / 2, "previous_letter": 1 / 2, "most_common": commonest_fills_the_hole()}
    shortcuts = {name: by_formula(figure) for name, figure in formulas.items()}
    assert_documented(missing_duplicate, FIGURES[missing_duplicate], shortcuts)


def commonest_fills_the_hole() -> float:
    """How often one of two letters, in a word of 2 to 20, is in the majority once it is missing from the second copy.

    If k of the other n − 1 letters are like it, 2k + 1 of what is shown are, and 2·(n − 1 − k) are not: never a tie.
    """
    likelihoods = [
        sum(comb(size - 1, like) for like in range(size) if 2 * like + 1 > 2 * (size - 1 - like)) / 2 ** (size - 1)
        for size in range(2, 21)
    ]
    return float(np.mean(likelihoods))


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


def play_in_order(rng: np.random.Generator, tokens: int, letters: int) -> Round:
    word, chance = rng.integers(1, letters + 1, (2, tokens))
    return word, {"chance": chance, "first_letter": word[0], "most_common": commonest(word)}


def play_reverse(rng: np.random.Generator) -> Round:
    word, chance = rng.integers(1, 27, (2, rng.integers(1, 21)))
    return word[::-1], {"chance": chance, "identity": word, "most_common": commonest(word)}


def play_odds_first(rng: np.random.Generator) -> Round:
    word, chance = rng.integers(1, 3, (2, rng.integers(1, 21)))
    answers = np.concatenate([word[::2], word[1::2]])
    return answers, {"chance": chance, "identity": word, "most_common": commonest(word)}


def play_duplicate(rng: np.random.Generator) -> Round:
    word = rng.integers(1, 3, rng.integers(1, 21))
    answers = np.tile(word, 2)
    chance = rng.integers(1, 3, answers.size)
    return answers, {"chance": chance, "last_letter": word[-1], "most_common": commonest(word)}


PLAYS: dict[Callable[..., Task], Play] = {
    copy: partial(play_in_order, tokens=10, letters=8),
    selective_copy: partial(play_in_order, tokens=16, letters=14),
    reverse: play_reverse,
    odds_first: play_odds_first,
    duplicate: play_duplicate,
}


# Refusals.


@pytest.mark.parametrize(
    ("function", "knobs", "message"),
    [
        (copy, {"tokens": 0}, "tokens=0: tokens must be at least 1"),
        (copy, {"blanks": -1}, "blanks=-1: blanks must be at least 0"),
        (copy, {"letters": 1}, "letters=1: letters must be at least 2"),
        (selective_copy, {"tokens": 65}, "tokens=65: tokens must be at least 1 and at most length = 64"),
        (selective_copy, {"letters": 1}, "letters=1: letters must be at least 2"),
        (reverse, {"shortest": 21}, "longest=20: longest must be at least shortest = 21"),
        (odds_first, {"shortest": 0}, "shortest=0: shortest must be at least 1"),
        (duplicate, {"letters": 1}, "letters=1: letters must be at least 2"),
        (missing_duplicate, {"letters": 1}, "letters=1: letters must be at least 2"),
        (missing_duplicate, {"shortest": 0}, "shortest=0: shortest must be at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(function: Callable[..., Task], knobs: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(**knobs)
