from collections.abc import Callable, Mapping

import numpy as np
import pytest

from selfattn_jax.tasks import Task
from selfattn_jax.tasks.sorting import bucket_sort, histogram, most_frequent, sort
from tests.tasks import solvers_copying as solvers
from tests.tasks.checks import SIZE, assert_answered, assert_likely, assert_shortcuts, build, draw

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


# The figures of the docstrings, which were measured on 40,000 examples.
FIGURES: dict[Callable[..., Task], Mapping[str, float]] = {
    sort: {"chance": 0.04, "identity": 0.13, "by_rank": 0.17, "most_common": 0.19},
    bucket_sort: {"chance": 0.20, "identity": 0.24, "by_rank": 0.72, "most_common": 0.31},
    histogram: {"one": 0.62, "mean": 0.62},
    most_frequent: {"chance": 0.04, "identity": 0.32, "first_letter": 0.12, "most_common": 0.12},
}


@pytest.mark.parametrize("function", TASKS)
def test_shortcuts_score_as_documented(function: Callable[..., Task]) -> None:
    """Within four standard errors of a score that is 0 or 1 for a whole example: those of fewer are smaller."""
    error = 0.5 / np.sqrt(SIZE)
    assert_shortcuts(build(function), {name: (figure, error) for name, figure in FIGURES[function].items()})


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
