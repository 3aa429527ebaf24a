"""What the tests of several tasks share."""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from selfattn_jax.tasks import Task, evaluation_set, is_solved, shortcut_scores
from tests.tasks.answers import Answer

SIZE = 4000  # examples in most tests: one size means one program to compile

Knobs = Mapping[str, int | float]


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
    """A solver that sees the inputs alone finds all that is said of the first 1,000 examples, none of them padded."""
    _assert_same_answers([solver(inputs) for inputs in examples.inputs[:1000]], examples)
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


def assert_answered(
    function: Callable[..., Task], solver: Callable[..., Answer], knobs: Knobs, size: int = SIZE
) -> None:
    """A solver that sees the inputs and the knobs finds all that is said of the first 1,000 examples.

    Padding is at the end, holds the token 0, and is there just when the task says so.
    """
    task = build(function, **knobs)
    examples = draw(task, size)
    _assert_same_answers([solver(inputs, **knobs) for inputs in examples.inputs[:1000]], examples)
    np.testing.assert_array_equal(examples.key_mask, examples.inputs != 0)
    assert not (np.diff(examples.key_mask.astype(int), axis=1) > 0).any()
    assert task.padded == (not examples.key_mask.all())
    assert task.alphabet is not None
    assert len(task.alphabet) == task.vocabulary == examples.inputs.max() + 1


def assert_solved_unpadded(function: Callable[..., Task], solver: Callable[..., Answer], knobs: Knobs) -> None:
    """As `assert_answered`, for a task in which 0 is a blank, and nothing is padding."""
    assert_solved(draw(build(function, **knobs)), partial(solver, **knobs))


def assert_documented(
    function: Callable[..., Task], figures: Mapping[str, float], shortcuts: Mapping[str, tuple[float, float]]
) -> None:
    """At the defaults shortcuts score what the docstring says (figures), and so does a formula or a simulation.

    shortcuts: name → (figure, standard error).
    """
    assert list(figures) == list(shortcuts)
    np.testing.assert_allclose(list(figures.values()), [figure for figure, _ in shortcuts.values()], atol=0.01)
    assert_shortcuts(build(function), shortcuts)


def by_formula(figure: float) -> tuple[float, float]:
    """A probability, and the standard error of the share of SIZE examples in which the thing happens."""
    return figure, np.sqrt(figure * (1 - figure) / SIZE)


def by_simulation(right: np.ndarray, asked: np.ndarray) -> tuple[float, float]:
    """The share of right answers in simulated sequences, and the standard error of its difference from the like of
    SIZE examples.

    right, asked: [n], how many answers of each sequence are right, and how many are asked.
    """
    figure = right.sum() / asked.sum()
    deviation = np.std(right - figure * asked) / asked.mean()
    return float(figure), float(deviation * np.sqrt(1 / SIZE + 1 / right.size))


def assert_strings(examples: Drawn, probabilities: Mapping[str, float]) -> None:
    """No string but these is drawn, and each as often as it should be.

    probabilities: the tokens without the padding, as digits → how likely they are.
    """
    counts = Counter("".join(map(str, inputs[inputs != 0])) for inputs in examples.inputs)
    assert set(counts) == set(probabilities)
    assert_likely(np.array([counts[string] for string in probabilities]), np.array(list(probabilities.values())))


def _assert_same_answers(answers: list[Answer], examples: Drawn) -> None:
    wanted = Answer(*(np.stack(leaves) for leaves in zip(*answers, strict=True)))
    for name, leaf in wanted._asdict().items():
        np.testing.assert_array_equal(leaf, getattr(examples, name)[:1000], name)
