from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pytest

from selfattn_jax.tasks import Task, evaluation_set
from selfattn_jax.tasks.memory import compression, memorization, memorized_values
from tests.tasks import solvers_recall as solvers
from tests.tasks.checks import (
    SIZE,
    assert_documented,
    assert_likely,
    assert_solved,
    assert_solved_unpadded,
    assert_strings,
    build,
    by_simulation,
    draw,
)

COMPRESSION = [{}, {"length": 3, "vocabulary": 3}, {"length": 100, "vocabulary": 50}]
MEMORIZATION = [{}, {"length": 2, "vocabulary": 4}, {"length": 100, "vocabulary": 1000}]


@pytest.mark.parametrize("knobs", COMPRESSION)
def test_a_solver_reads_off_every_token(knobs: dict[str, int]) -> None:
    assert_solved_unpadded(compression, solvers.compression, knobs)
    task, length = build(compression, **knobs), knobs.get("length", 32)
    assert (task.answers, task.length) == (length, length + 1)
    assert task.alphabet is not None
    assert len(task.alphabet) == task.vocabulary == draw(task).inputs.max() + 1 == task.outputs + 1


@pytest.mark.parametrize("knobs", MEMORIZATION)
def test_a_solver_with_the_map_finds_every_value(knobs: dict[str, int]) -> None:
    task, vocabulary = build(memorization, **knobs), knobs.get("vocabulary", 256)
    assert_solved(draw(task), partial(solvers.memorization, table=memorized_values(vocabulary), vocabulary=vocabulary))
    assert task.alphabet is not None
    assert len(set(task.alphabet)) == task.vocabulary == draw(task).inputs.max() + 1 == task.outputs + 1


# What is drawn.


def test_tokens_to_compress_are_uniform() -> None:
    examples = draw(build(compression, **COMPRESSION[1]))
    strings = {"".join(tokens) + "4": 1 / 27 for tokens in product("123", repeat=3)}
    assert_strings(examples._replace(inputs=examples.inputs + 1), strings)  # token 0 is no padding here


def test_keys_are_uniform() -> None:
    keys = draw(build(memorization)).inputs[:, 0::2]
    assert_likely(np.bincount(keys.ravel(), minlength=128), np.ones(128))


@pytest.mark.parametrize("vocabulary", [4, 6, 256])
def test_the_map_is_one_to_one(vocabulary: int) -> None:
    half = vocabulary // 2
    np.testing.assert_array_equal(np.sort(memorized_values(vocabulary)), np.arange(half, vocabulary))


def test_the_map_is_the_drawn_one() -> None:
    np.testing.assert_array_equal(memorized_values(6), [5, 4, 3])


def test_every_seed_and_stream_has_the_same_map() -> None:
    task, table = build(memorization), memorized_values(256)
    for stream, seed in (("train", 1), ("test", 2)):
        examples = evaluation_set(task, stream, SIZE, seed)
        np.testing.assert_array_equal(examples.targets[:, 1::2], table[np.asarray(examples.inputs[:, 0::2])])


# Shortcuts.


def test_shortcuts_of_compression_score_as_documented() -> None:
    tokens = np.random.default_rng(0).integers(16, size=(SIZE, 32))
    commonest = np.array([np.bincount(row).max() for row in tokens])
    documented = {
        "chance": (1 / 16, np.sqrt(1 / 16 * 15 / 16 / (32 * SIZE))),
        "most_frequent": by_simulation(commonest, np.full(SIZE, 32)),
    }
    assert_documented(compression, {"chance": 0.06, "most_frequent": 0.15}, documented)


def test_the_shortcut_of_memorization_scores_as_documented() -> None:
    guess = 1 / 128
    documented = {"chance": (guess, np.sqrt(guess * (1 - guess) / (16 * SIZE)))}
    assert_documented(memorization, {"chance": 0.008}, documented)


# Refusals.


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (partial(compression, length=0), "length=0: length must be at least 1"),
        (partial(compression, vocabulary=1), "vocabulary=1: vocabulary must be at least 2"),
        (partial(memorization, length=31), "length=31: length must be even"),
        (partial(memorization, length=0), "length=0: length must be at least 2"),
        (partial(memorization, vocabulary=255), "vocabulary=255: vocabulary must be even"),
        (partial(memorization, vocabulary=2), "vocabulary=2: vocabulary must be at least 4"),
    ],
)
def test_what_does_not_fit_is_refused(function: Callable[[], Task], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function()
