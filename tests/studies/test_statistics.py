"""Intervals against numbers worked by hand, and against what they promise: coverage."""

import json
import math
from typing import Any

import numpy as np
import pytest

from selfattn_jax.studies import statistics
from selfattn_jax.studies.statistics import mean_interval, select, solve_interval, summarise


def run(seed: int = 0, rate: float = 1e-3, validation: Any = 1.0, test: Any = 1.0, diverged: int | None = None) -> dict:
    return {
        "run": 0,
        "seed": seed,
        "learning_rate": rate,
        "validation_score": validation,
        "test_score": test,
        "test_loss": 0.0,
        "diverged_at": diverged,
    }


def result(runs: list[dict], *, metric: str = "accuracy", solved_at: float = 0.9) -> dict[str, Any]:
    costs = {"parameters": 1200, "forward_flops": 3.4e6, "seconds": 5.6}
    return {"metric": metric, "solved_at": solved_at, "runs": runs} | costs


def test_mean_interval_by_hand():
    """Scores 0.4, 0.5, 0.6: s = 0.1, t₂ at 97.5 % = 4.3027, half width = 4.3027 · 0.1 ⁄ √3 = 0.24841."""
    assert mean_interval([0.4, 0.5, 0.6]) == pytest.approx((0.5, 0.25159, 0.74841), abs=1e-5)


def test_mean_interval_at_another_level():
    """t₃ at 95 % = 2.35336; 1, 2, 3, 4 has s = 1.29099, so the half width is 1.51908."""
    interval = mean_interval([1, 2, 3, 4], level=0.9, bounds=(0.0, math.inf))
    assert interval == pytest.approx((2.5, 2.5 - 1.51908, 2.5 + 1.51908), abs=1e-5)


def test_mean_interval_is_cut_to_the_range():
    mean, low, high = mean_interval([0.0, 1.0, 1.0])
    assert (mean, low, high) == (pytest.approx(2 / 3), 0.0, 1.0)
    assert mean_interval([0.0, 10.0], bounds=(0.0, math.inf))[1] == 0.0


def test_one_seed_has_no_interval():
    mean, low, high = mean_interval([0.7])
    assert mean == 0.7 and math.isnan(low) and math.isnan(high)


def test_seeds_that_agree_have_an_interval_without_width():
    assert mean_interval([1.0, 1.0, 1.0]) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize("diverged", [math.nan, None, math.inf])
def test_a_diverged_run_enters_with_the_worst_score(diverged: float | None):
    assert mean_interval([1.0, 1.0, diverged]) == mean_interval([1.0, 1.0, 0.0])
    mean, low, high = mean_interval([0.1, 0.2, diverged], bounds=(0.0, math.inf))
    assert mean == math.inf and math.isnan(low) and math.isnan(high)


def test_no_seeds_is_an_error():
    with pytest.raises(ValueError, match="at least one seed"):
        mean_interval([])


def test_the_t_interval_covers_what_it_promises():
    """Of 3,000 draws of four normal scores, 95 % ± 1.2 % of the intervals hold the mean (three standard errors)."""
    draws = np.random.default_rng(0).normal(0.5, 0.02, size=(3000, 4))
    intervals = [mean_interval(list(draw)) for draw in draws]
    assert np.mean([low <= 0.5 <= high for _, low, high in intervals]) == pytest.approx(0.95, abs=0.012)


def test_solve_interval_by_hand():
    """Wilson with z² = 3.84146: 4 of 4 gives 4 ⁄ (4 + z²) = 0.51011 … 1; 0 of 4 is its mirror image."""
    assert solve_interval(4, 4) == pytest.approx((1.0, 0.51011, 1.0), abs=1e-5)
    assert solve_interval(0, 4) == pytest.approx((0.0, 0.0, 0.48989), abs=1e-5)
    assert solve_interval(2, 4) == pytest.approx((0.5, 0.15004, 0.84996), abs=1e-5)


@pytest.mark.parametrize(("solved", "seeds"), [(1, 0), (0, 0), (3, 2), (-1, 2)])
def test_solve_interval_rejects_impossible_counts(solved: int, seeds: int):
    with pytest.raises(ValueError, match=f"solved={solved}, seeds={seeds}"):
        solve_interval(solved, seeds)


def test_select_looks_at_validation_alone():
    runs = [run(0, 1e-3, 0.6, 1.0), run(1, 1e-3, 0.6, 1.0), run(0, 3e-3, 0.9, 0.1), run(1, 3e-3, 0.5, 0.1)]
    assert select(runs, higher_is_better=True) == 3e-3
    assert select(runs, higher_is_better=False) == 1e-3


@pytest.mark.parametrize("broken", [{"validation": None}, {"validation": math.nan}, {"validation": 1.0, "diverged": 7}])
@pytest.mark.parametrize("higher_is_better", [True, False])
def test_select_counts_a_diverged_run_as_worst(broken: dict, higher_is_better: bool):
    steady = 0.6 if higher_is_better else 9.0
    runs = [run(0, 1e-2, 1.0), run(1, 1e-2, **broken), run(0, 1e-3, steady), run(1, 1e-3, steady)]
    assert select(runs, higher_is_better=higher_is_better) == 1e-3


def test_one_diverged_seed_does_not_condemn_an_accuracy():
    runs = [run(seed, 1e-2, 1.0, diverged=5 if seed == 0 else None) for seed in range(5)]
    assert select(runs + [run(seed, 1e-3, 0.3) for seed in range(5)], higher_is_better=True) == 1e-2


def test_select_breaks_ties_by_divergence_then_by_the_smaller_rate():
    assert select([run(0, 3e-3), run(0, 1e-3), run(0, 1e-2)], higher_is_better=True) == 1e-3
    twice = [run(0, 1e-3, None), run(1, 1e-3, None)]
    assert select([*twice, run(0, 1e-2, None), run(1, 1e-2, 0.1)], higher_is_better=False) == 1e-2


def test_select_needs_runs():
    with pytest.raises(ValueError, match="no learning rate"):
        select([], higher_is_better=True)


def test_summarise_gives_one_row():
    runs = [run(1, 1e-3, 0.9, 0.6), run(0, 1e-3, 0.9, 0.4), run(2, 1e-3, 0.9, 0.5), run(0, 1e-2, 0.2, 1.0)]
    row = summarise(result(runs, solved_at=0.5))
    assert row["learning_rate"] == 1e-3 and row["seeds"] == 3 and row["scores"] == [0.4, 0.6, 0.5]
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((0.5, 0.25159, 0.74841), abs=1e-5)
    assert row["solved"] == 2 and row["diverged"] == 0
    assert (row["solve_low"], row["solve_high"]) == pytest.approx(solve_interval(2, 3)[1:])
    assert (row["parameters"], row["forward_flops"], row["seconds"]) == (1200, 3.4e6, 5.6)


def test_summarise_counts_a_diverged_run_as_unsolved_even_if_it_left_a_score():
    row = summarise(result([run(0), run(1, test=1.0, diverged=40), run(2, test=math.nan)]))
    assert row["scores"] == [1.0, None, None] and row["solved"] == 1 and row["diverged"] == 2
    assert row["mean"] == pytest.approx(1 / 3)


def test_summarise_of_an_error_is_better_when_lower():
    row = summarise(result([run(0, test=0.01), run(1, test=0.03)], metric="mean_squared_error", solved_at=0.02))
    assert row["solved"] == 1 and row["low"] == 0.0


def test_rows_are_strict_json():
    one = summarise(result([run(0, test=0.2)]))
    lost = summarise(result([run(0, test=None), run(1, test=0.1)], metric="mean_squared_error"))
    assert one["low"] is None and one["high"] is None and lost["mean"] is None
    json.dumps([one, lost], allow_nan=False)


def test_an_unknown_metric_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match=f"perplexity.*{next(iter(statistics.BOUNDS))}"):
        summarise(result([run()], metric="perplexity"))
