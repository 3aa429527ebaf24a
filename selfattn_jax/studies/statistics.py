"""What a handful of seeds can say: intervals, the choice of a learning rate, and one row of a study's table.

A run diverged if its `diverged_at` is set or its score is not a finite number. It is never dropped: it counts as
unsolved, and enters every mean with the worst score that the metric knows, 0 for an accuracy and ∞ for an error.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

LEVEL = 0.95

#: What table.json says about its intervals.
INTERVAL = "95 % Student's t over seeds, cut to the metric's range; solve rate: 95 % Wilson"

#: The range of every metric. One with a finite upper end is better when higher, one without when lower.
BOUNDS: Mapping[str, tuple[float, float]] = {"accuracy": (0.0, 1.0), "mean_squared_error": (0.0, math.inf)}


def mean_interval(
    scores: Sequence[float | None], *, level: float = LEVEL, bounds: tuple[float, float] = (0.0, 1.0)
) -> tuple[float, float, float]:
    """The mean over seeds and its Student's t interval, cut to the range of the metric.

        x̄ ± t₍ₙ₋₁, ₍₁₊level₎⁄₂₎ · s ⁄ √n

    Outcomes are bimodal and seeds few, so the interval is wide, and that is the truth; a bootstrap over three to five
    seeds would be too narrow. Seeds that all agree give an interval without width: read the solve rate beside it.

    Args:
      scores: one per seed; None, NaN or ±∞ is a diverged run and enters with the worst score: `bounds[0]` where the
        range has an upper end (accuracy), else ∞ (an error), which makes the mean ∞.
      level: the confidence level.
      bounds: the range of the metric, (0, 1) or (0, ∞).

    Returns: (mean, low, high). With one seed, or a mean that is not finite, low and high are NaN (None in JSON):
      nothing is known about the spread.
    Raises: ValueError for no scores at all.
    """
    if len(scores) == 0:
        raise ValueError("scores is empty: an interval needs at least one seed")
    least, greatest = bounds
    values = np.asarray(scores, dtype=np.float64)
    values = np.where(np.isfinite(values), values, least if math.isfinite(greatest) else math.inf)
    mean, count = float(values.mean()), len(values)
    if count == 1 or not math.isfinite(mean):
        return mean, math.nan, math.nan
    half = float(stats.t.ppf((1 + level) / 2, count - 1) * values.std(ddof=1) / math.sqrt(count))
    return mean, max(mean - half, least), min(mean + half, greatest)


def solve_interval(solved: int, seeds: int, *, level: float = LEVEL) -> tuple[float, float, float]:
    """The share of seeds that solved the task and its Wilson interval, which stays wide even at 0 or all of them.

    Args:
      solved: how many seeds solved the task.
      seeds: how many were tried.
      level: the confidence level.

    Returns: (rate, low, high).
    Raises: ValueError unless 0 ≤ solved ≤ seeds and seeds ≥ 1.
    """
    if not 0 <= solved <= seeds or seeds < 1:
        raise ValueError(f"solved must lie in 0…seeds with seeds ≥ 1, got solved={solved}, seeds={seeds}")
    interval = stats.binomtest(solved, seeds).proportion_ci(confidence_level=level, method="wilson")
    return solved / seeds, float(interval.low), float(interval.high)


def select(runs: Sequence[Mapping[str, Any]], *, higher_is_better: bool) -> float:
    """The learning rate with the best mean validation score over seeds; the test scores are not looked at.

    A diverged run enters with the worst score (0 where higher is better, else ∞). Equal means go to the learning rate
    with fewer diverged runs, then to the smaller one.

    Args:
      runs: the `runs` of a result.json, each with learning_rate, validation_score and diverged_at.
      higher_is_better: the direction of the metric.

    Raises: ValueError for no runs.
    """
    if not runs:
        raise ValueError("runs is empty: there is no learning rate to choose from")

    def badness(learning_rate: float) -> tuple[float, int, float]:
        group = [run for run in runs if run["learning_rate"] == learning_rate]
        scores = [_score(run, "validation_score") for run in group]
        worst = 0.0 if higher_is_better else math.inf
        mean = sum(worst if score is None else score for score in scores) / len(group)
        return -mean if higher_is_better else mean, scores.count(None), learning_rate

    return min({float(run["learning_rate"]) for run in runs}, key=badness)


def summarise(result: Mapping[str, Any]) -> dict[str, Any]:
    """Turns one run folder's result.json into the numeric fields of one row of table.json.

    Args:
      result: the parsed result.json.

    Returns: learning_rate, seeds (how many), scores (the test score per seed, ordered by seed; None = diverged), mean,
      low, high, solved (how many), solve_low, solve_high, diverged (how many), parameters, forward_flops, seconds.
      Every number that is not finite is None, so that the row is strict JSON.
    Raises: ValueError for a metric without a known range, or no runs.
    """
    bounds = _bounds(result["metric"])
    higher_is_better = math.isfinite(bounds[1])
    learning_rate = select(result["runs"], higher_is_better=higher_is_better)
    chosen = [run for run in result["runs"] if run["learning_rate"] == learning_rate]
    chosen.sort(key=lambda run: run["seed"])
    scores = [_score(run, "test_score") for run in chosen]
    threshold = result["solved_at"]
    solved = sum(
        score is not None and (score >= threshold if higher_is_better else score <= threshold) for score in scores
    )
    mean, low, high = mean_interval(scores, bounds=bounds)
    _, solve_low, solve_high = solve_interval(solved, len(scores))
    return {
        "learning_rate": learning_rate,
        "seeds": len(scores),
        "scores": scores,
        "mean": _finite(mean),
        "low": _finite(low),
        "high": _finite(high),
        "solved": solved,
        "solve_low": solve_low,
        "solve_high": solve_high,
        "diverged": scores.count(None),
    } | {key: _finite(result.get(key)) for key in ("parameters", "forward_flops", "seconds")}


def _bounds(metric: str) -> tuple[float, float]:
    if metric not in BOUNDS:
        raise ValueError(f"no range is known for the metric {metric!r}; known: {', '.join(BOUNDS)}")
    return BOUNDS[metric]


def _score(run: Mapping[str, Any], key: str) -> float | None:
    """The score of a run, or None if the run diverged."""
    return None if run.get("diverged_at") is not None else _finite(run.get(key))


def _finite(number: Any) -> Any:
    return number if number is not None and math.isfinite(number) else None
