"""What the tests of several tasks share."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from selfattn_jax.tasks import Task, evaluation_set, is_solved, shortcut_scores
from tests.tasks.solvers import Answer

SIZE = 4000  # examples in most tests: one size means one program to compile


class Drawn(NamedTuple):
    """An Example [N,…] as NumPy arrays."""

    inputs: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    key_mask: np.ndarray
    distance: np.ndarray
    difficulty: np.ndarray


@cache
def build(function: Callable[..., Task], **knobs: int) -> Task:
    """The one task of these knobs: a second task of the same knobs would compile its program again."""
    return function(**knobs)


def draw(task: Task, size: int = SIZE) -> Drawn:
    """The first training examples of seed 0."""
    return Drawn(*map(np.asarray, evaluation_set(task, "train", size, 0)))


def assert_solved(examples: Drawn, solver: Callable[[np.ndarray], Answer]) -> None:
    """A solver that sees the inputs alone finds every target, weight and distance of the first 1,000 examples."""
    answers = [solver(inputs) for inputs in examples.inputs[:1000]]
    wanted = Answer(*(np.stack(leaves) for leaves in zip(*answers, strict=True)))
    np.testing.assert_array_equal(wanted.targets, examples.targets[:1000])
    np.testing.assert_array_equal(wanted.weights, examples.weights[:1000])
    np.testing.assert_array_equal(wanted.distance, examples.distance[:1000])
    assert examples.key_mask.all()


def assert_shortcuts(task: Task, documented: Mapping[str, tuple[float, float]]) -> None:
    """On SIZE test examples every shortcut lies within four standard errors of its figure, and none solves the task.

    documented: name → (figure, standard error).
    """
    scores = shortcut_scores(task, evaluation_set(task, "test", SIZE, 0), 0)
    assert list(scores) == list(documented)
    for name, (figure, standard_error) in documented.items():
        assert abs(scores[name] - figure) <= 4 * standard_error, (name, scores[name], figure, standard_error)
        assert not is_solved(task, scores[name])


def assert_likely(counts: np.ndarray, probabilities: np.ndarray) -> None:
    """Pearson's χ² of counts lies within five standard deviations, √(2·df) each, of its mean, df."""
    expected = counts.sum() * probabilities / probabilities.sum()
    freedom = counts.size - 1
    assert ((counts - expected) ** 2 / expected).sum() < freedom + 5 * np.sqrt(2 * freedom)
