import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfattn_jax.tasks import adding
from tests.tasks import solvers
from tests.tasks.checks import SIZE, assert_likely, assert_shortcuts, assert_solved, build, draw


@pytest.mark.parametrize("knobs", [{}, {"length": 2}, {"length": 9}])
def test_a_solver_finds_every_answer(knobs: dict[str, int]) -> None:
    assert_solved(draw(build(adding, **knobs)), solvers.adding)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(length=st.integers(2, 200))
def test_any_size_that_fits_is_well_formed(length: int) -> None:
    examples = draw(build(adding, length=length), 100)
    assert_solved(examples, solvers.adding)
    values, markers = np.moveaxis(examples.inputs, 2, 0)
    assert values.min() >= 0
    assert values.max() < 1
    assert np.isin(markers, (0, 1)).all()
    assert all((half.sum(axis=1) == 1).all() for half in np.split(markers, [length // 2], axis=1))


def test_markers_are_uniform_within_their_half() -> None:
    counts = draw(build(adding, length=9)).inputs[..., 1].sum(axis=0)
    assert_likely(counts[:4], np.ones(4))
    assert_likely(counts[4:], np.ones(5))


def test_shortcuts_score_as_documented() -> None:
    # With u, v uniform: the variances of (u + v − 1)² and of (v − 1/2)² are 7/180 and 1/180.
    documented = {
        "predict_one": (1 / 6, np.sqrt(7 / 180 / SIZE)),
        "first_marked": (1 / 12, np.sqrt(1 / 180 / SIZE)),
    }
    assert_shortcuts(build(adding), documented)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="length=1: length must be at least 2"):
        adding(length=1)
