"""Tasks in which something is looked up: association, recall all along, hops, and what memory holds."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
import pytest

from selfattn_jax.tasks import Task, evaluation_set, mad, sampling
from selfattn_jax.tasks.associative import associative_recall, needle
from selfattn_jax.tasks.hops import induction_extrapolation, k_hop
from selfattn_jax.tasks.mad import fuzzy_recall, noisy_recall, recall
from selfattn_jax.tasks.memory import compression, memorization
from tests.tasks import solvers_recall as solvers
from tests.tasks.checks import SIZE, assert_likely, assert_shortcuts, assert_solved_unpadded, build, draw

Knobs = dict[str, Any]

SIZES: dict[Callable[..., Task], list[Knobs]] = {
    associative_recall: [{}, {"pairs": 1, "vocabulary": 4}, {"pairs": 60, "vocabulary": 100}],
    needle: [
        {},
        {"length": 3, "fillers": 1, "keys": 1, "distractors": 0},
        {"length": 201, "fillers": 40, "keys": 30, "distractors": 20},
    ],
    recall: [{}, {"length": 4, "vocabulary": 4}, {"length": 300, "vocabulary": 100}],
    noisy_recall: [{}, {"length": 7, "vocabulary": 4, "noise": 0.3}, {"length": 200, "vocabulary": 60, "noise": 0.8}],
    fuzzy_recall: [
        {},
        {"length": 4, "vocabulary": 4, "entries": 2, "longest": 1},
        {"length": 200, "vocabulary": 20, "entries": 15, "longest": 4},
    ],
    induction_extrapolation: [{}, {"length": 3, "vocabulary": 3}, {"length": 600, "vocabulary": 100}],
    k_hop: [{}, {"length": 6, "letters": 2}, {"length": 150, "hops": 5, "letters": 8}],
    compression: [{}, {"length": 1, "vocabulary": 2}, {"length": 100, "vocabulary": 300}],
}


@pytest.mark.parametrize(("function", "knobs"), [(function, knobs) for function in SIZES for knobs in SIZES[function]])
def test_a_solver_finds_every_answer(function: Callable[..., Task], knobs: Knobs) -> None:
    assert_solved_unpadded(function, getattr(solvers, function.__name__), knobs)


@pytest.mark.parametrize("knobs", [{}, {"length": 2, "vocabulary": 4}, {"length": 100, "vocabulary": 1000}])
def test_what_was_seen_once_is_known_for_ever(knobs: Knobs) -> None:
    """The map is read off one stream of one seed; all others keep to it."""
    task = build(memorization, **knobs)
    half = knobs.get("vocabulary", 256) // 2
    seen = evaluation_set(task, "train", 20_000, 5)
    table = np.full(half, -1)
    table[np.asarray(seen.inputs[:, 0])] = np.asarray(seen.targets[:, 1])
    assert sorted(table) == list(range(half, 2 * half))  # one-to-one
    assert_solved_unpadded(memorization, partial(solvers.memorization, table=table), knobs)


# What is drawn.


def test_probes_of_associative_recall_are_those_of_uniform_pairs() -> None:
    examples = draw(build(associative_recall, pairs=3, vocabulary=4))
    keys, probe = examples.inputs[:, :-1:2], examples.inputs[:, -1]
    times = (keys == probe[:, None]).sum(axis=1)
    expected = np.array([3 * 2 * (1 / 3), 3 * 2 * (2 / 3), 2])  # of 8 strings of keys
    assert_likely(np.bincount(times, minlength=4)[1:], expected)


def test_the_needle_lies_at_every_depth() -> None:
    examples = draw(build(needle))
    assert_likely(np.bincount(examples.distance[:, -1])[2::2], np.ones(31))
    assert set(np.unique(examples.difficulty[:, -1])) == set(range(1, 11))
    assert_likely(np.bincount(examples.targets[:, -1])[32:], np.ones(16))


def test_noise_stands_anywhere_between_pairs_and_is_as_much_as_said() -> None:
    examples = draw(build(noisy_recall, length=8, vocabulary=4, noise_tokens=3, noise=0.25))
    noise = examples.inputs >= 4
    assert (noise.sum(axis=1) == 2).all()
    orders = (noise @ (1 << np.arange(8))).tolist()
    counts = np.unique(orders, return_counts=True)[1]
    assert counts.size == 10  # of 3 pairs and 2 tokens of noise
    assert_likely(counts, np.ones(10))
    assert_likely(np.bincount(examples.inputs[noise])[4:], np.ones(3))


def test_keys_of_fuzzy_recall_differ_and_are_uniform() -> None:
    bits = jax.random.bits(jax.random.key(0), (SIZE, 3), jax.numpy.uint32)
    motifs = np.asarray(jax.vmap(lambda bits: mad._motifs(bits, 3, 2))(bits))  # keys of 1, 2 and 1 tokens
    assert (motifs[:, 0, 1] == 0).all()
    assert (motifs[:, 1] > 0).all()
    assert (motifs[:, 0, 0] != motifs[:, 2, 0]).all()
    pairs = 3 * (motifs[:, 0, 0] - 1) + motifs[:, 2, 0] - 1
    assert_likely(np.bincount(pairs, minlength=9)[[1, 2, 3, 5, 6, 7]], np.ones(6))
    assert_likely(np.bincount(motifs[:, 1, 0] * 3 + motifs[:, 1, 1])[4:], np.ones(9))


def test_the_place_of_the_trigger_is_uniform() -> None:
    examples = draw(build(induction_extrapolation, length=10, vocabulary=5))
    assert_likely(np.bincount(examples.distance[:, -1])[1:], np.ones(8))
    assert_likely(np.bincount(examples.targets[:, -1])[1:], np.ones(4))


# Helpers.


@pytest.mark.parametrize("seed", range(3))
def test_the_latest_earlier_place_is_that_of_a_loop(seed: int) -> None:
    tokens = np.random.default_rng(seed).integers(0, 5, 40).astype(np.int32)
    wanted = [max((j for j in range(i) if tokens[j] == tokens[i]), default=-1) for i in range(40)]
    np.testing.assert_array_equal(sampling.latest_earlier(jax.numpy.asarray(tokens), 5), wanted)


# Shortcuts: the figures of the docstrings, which were measured on 20,000 examples.

FIGURES: dict[Callable[..., Task], Mapping[str, float]] = {
    associative_recall: {"chance": 0.10, "latest_value": 0.23, "commonest_value": 0.33},
    needle: {"chance": 0.0625, "latest_value": 0.25, "least_value": 0.25},
    recall: {"chance": 0.125, "latest_value": 0.25, "commonest_value": 0.35},
    noisy_recall: {"chance": 0.125, "latest_value": 0.25, "commonest_value": 0.36},
    fuzzy_recall: {"chance": 0.125, "latest_value": 0.16, "commonest_value": 0.31},
    induction_extrapolation: {"chance": 0.067, "previous_token": 0.067, "commonest": 0.09},
    k_hop: {"chance": 0.25, "previous_token": 0.36, "one_hop": 0.27},
    compression: {"chance": 0.0625, "commonest": 0.15},
    memorization: {"chance": 1 / 128},
}


@pytest.mark.parametrize("function", FIGURES)
def test_shortcuts_score_as_documented(function: Callable[..., Task]) -> None:
    """Within four standard errors of a score that is 0 or 1 for a whole example: those of fewer are smaller."""
    error = 0.5 / np.sqrt(SIZE)
    assert_shortcuts(build(function), {name: (figure, error) for name, figure in FIGURES[function].items()})


def test_the_last_value_is_right_by_its_key_or_by_chance() -> None:
    same_key = 1 / 20 + (19 / 20) / 10
    assert abs(same_key + (1 - same_key) / 10 - FIGURES[associative_recall]["latest_value"]) < 0.005


# Refusals.


@pytest.mark.parametrize(
    ("function", "knobs", "message"),
    [
        (associative_recall, {"vocabulary": 5}, "vocabulary=5: vocabulary must be even and at least 4"),
        (needle, {"length": 8}, r"length=8: length must be at least 2 \* \(distractors \+ 1\) \+ 1 = 9"),
        (needle, {"keys": 3}, r"keys=3: keys must be at least distractors \+ 1 = 4"),
        (recall, {"length": 7}, "length=7: length must be even and at least 4"),
        (recall, {"vocabulary": 2}, "vocabulary=2: vocabulary must be even and at least 4"),
        (noisy_recall, {"noise": 1.0}, "noise=1.0: noise must be at least 0 and below 1"),
        (noisy_recall, {"length": 4, "noise": 0.5}, "length=4: length must be enough for two pairs"),
        (fuzzy_recall, {"vocabulary": 4, "entries": 9}, "entries=9: entries must be such that 2 keys of 1 tokens"),
        (fuzzy_recall, {"longest": 11}, "longest=11: longest must be at least 1, and"),
        (induction_extrapolation, {"length": 2}, "length=2: length must be at least 3"),
        (k_hop, {"hops": 1}, "hops=1: hops must be at least 2"),
        (k_hop, {"length": 3}, r"length=3: length must be at least hops \+ 2 = 4"),
        (compression, {"vocabulary": 1}, "vocabulary=1: vocabulary must be at least 2"),
        (memorization, {"length": 3}, "length=3: length must be even and at least 2"),
    ],
)
def test_what_does_not_fit_is_refused(function: Callable[..., Task], knobs: Knobs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function(**knobs)
