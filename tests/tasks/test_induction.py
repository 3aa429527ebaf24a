import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfattn_jax.tasks import induction
from tests.tasks import solvers
from tests.tasks.checks import SIZE, assert_likely, assert_shortcuts, assert_solved, build, draw

DEFAULT: dict[str, int] = {}
SMALL = {"length": 8, "vocabulary": 4}
LARGE = {"length": 100, "vocabulary": 50}


@pytest.mark.parametrize("knobs", [DEFAULT, SMALL, LARGE])
def test_a_solver_finds_every_answer(knobs: dict[str, int]) -> None:
    assert_solved(draw(build(induction, **knobs)), solvers.induction)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(length=st.integers(3, 70), vocabulary=st.integers(3, 300))
def test_any_size_that_fits_is_well_formed(length: int, vocabulary: int) -> None:
    examples = draw(build(induction, length=length, vocabulary=vocabulary), 100)
    assert_solved(examples, solvers.induction)
    assert examples.inputs.min() >= 0
    assert examples.inputs.max() < vocabulary


def test_triggers_answers_and_lags_are_uniform() -> None:
    examples = draw(build(induction, **SMALL))
    triggers, answers = examples.inputs[:, -1], examples.targets[:, -1]
    pairs = np.bincount(4 * triggers + answers, minlength=16).reshape(4, 4)
    assert not pairs.diagonal().any()
    assert_likely(pairs[~np.eye(4, dtype=bool)], np.ones(12))
    lags = np.bincount(examples.distance[:, -1], minlength=7)
    assert lags[0] == 0
    assert_likely(lags[1:], np.ones(6))


def test_shortcuts_score_as_documented() -> None:
    guess, others = 1 / 15, 29
    figures = {
        "chance": guess,
        "context_token": (1 + others * guess) / 31,
        "previous_token": (1 + others * guess) / 30,
        "most_frequent": most_frequent_by_simulation(),
    }
    np.testing.assert_allclose(list(figures.values()), [0.067, 0.095, 0.098, 0.16], atol=0.005)
    documented = {name: (figure, np.sqrt(2 * figure * (1 - figure) / SIZE)) for name, figure in figures.items()}
    assert_shortcuts(build(induction), documented)


def most_frequent_by_simulation() -> float:
    """How often one of 30 tokens of 15 kinds is of the commonest kind."""
    tokens = np.random.default_rng(0).integers(15, size=(SIZE, 30))
    return float(np.mean([np.bincount(row).max() / 30 for row in tokens]))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"length": 2}, "length=2: length must be at least 3"),
        ({"vocabulary": 2}, "vocabulary=2: vocabulary must be at least 3"),
    ],
)
def test_what_does_not_fit_is_refused(knobs: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        induction(**knobs)
