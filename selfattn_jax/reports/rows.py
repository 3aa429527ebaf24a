"""The rows that every table, plot and page shows: one per variant of a study, or one per learning rate of a run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from selfattn_jax.reports import formats
from selfattn_jax.reports.formats import finite
from selfattn_jax.reports.reading import RunRecord

#: The fields of a row that are plain numbers, or missing.
NUMBERS = ("learning_rate", "mean", "low", "high", "solve_low", "solve_high", "parameters", "forward_flops", "seconds")


@dataclass(frozen=True)
class Row:
    """One line of a comparison; None stands for what is not known."""

    label: str
    folder: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    learning_rate: float | None = None
    validation: float | None = None
    scores: Sequence[float | None] = ()  # one per seed; None = diverged
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    solved: int = 0
    solve_low: float | None = None
    solve_high: float | None = None
    diverged: int = 0
    parameters: float | None = None
    forward_flops: float | None = None
    seconds: float | None = None

    @property
    def seeds(self) -> int:
        """How many seeds were run."""
        return len(self.scores)

    @property
    def has_interval(self) -> bool:
        """Whether the mean has an interval (one seed gives none)."""
        return self.low is not None and self.high is not None

    @property
    def solved_text(self) -> str:
        """Such as 3/4, or a dash where nothing ran."""
        return f"{self.solved}/{self.seeds}" if self.seeds else formats.MISSING

    @property
    def diverged_text(self) -> str:
        """Such as "1 diverged", or nothing."""
        return f"{self.diverged} diverged" if self.diverged else ""


def higher_is_better(metric: str) -> bool:
    """The direction of a metric: an error or a loss is better when lower."""
    return not metric.endswith(("error", "loss"))


def study_rows(table: Mapping[str, Any]) -> list[Row]:
    """The rows of a table.json, best first; variants without a mean (all is lost) come last."""
    better = higher_is_better(str(table.get("metric", "")))
    rows = [_study_row(row) for row in table.get("rows", [])]
    return sorted(rows, key=lambda row: (_badness(row.mean, better), row.label))


def run_rows(record: RunRecord) -> list[Row]:
    """One row per learning rate, ordered by mean validation score: the first is the one that counts.

    A diverged run enters a mean with the worst score, 0 for an accuracy and ∞ for an error.
    """
    result = record.result or {}
    better = higher_is_better(str(result.get("metric", "")))
    runs = result.get("runs", [])
    rates = sorted({finite(run.get("learning_rate")) or 0.0 for run in runs})
    rows = [_rate_row(rate, result, better) for rate in rates]
    return sorted(rows, key=lambda row: (_badness(row.validation, better), row.diverged, row.learning_rate))


@dataclass(frozen=True)
class Further:
    """What one further test found: other lengths or difficulties than the ones that count."""

    knobs: str  # what it changes in the task
    scores: Sequence[float]  # one per seed that did not diverge
    baselines: Sequence[tuple[str, float]]  # shortcuts there, best first

    @property
    def mean(self) -> float | None:
        """Over the seeds that are left."""
        return sum(self.scores) / len(self.scores) if self.scores else None


def shown_rate(record: RunRecord, rate: float | None = None) -> float | None:
    """The learning rate at which a run folder is shown: the one given, or the best on validation data."""
    if rate is not None:
        return rate
    return next((row.learning_rate for row in run_rows(record)), None)


def further(record: RunRecord, rate: float | None = None) -> list[Further]:
    """The further tests of a run folder, at one learning rate; None = at the one that counts."""
    result = record.result or {}
    rate = shown_rate(record, rate)
    better = higher_is_better(str(result.get("metric", "")))
    found = []
    for test in result.get("also") or []:
        pairs = zip(result["runs"], test["runs"], strict=True)
        scores = [finite(score) for run, score in pairs if rate is None or run.get("learning_rate") == rate]
        knobs = ", ".join(f"{name} = {formats.plain(value)}" for name, value in test["knobs"].items())
        known = [score for score in scores if score is not None]
        found.append(Further(knobs, known, ranked_baselines(test.get("baselines") or {}, better)))
    return found


def cost_row(record: RunRecord) -> Row:
    """What a run folder cost as a whole."""
    result = record.result or {}
    return Row(
        label=record.name,
        parameters=finite(result.get("parameters")),
        forward_flops=finite(result.get("forward_flops")),
        seconds=finite(result.get("seconds")),
    )


def overlapping(rows: Sequence[Row]) -> list[Row]:
    """The first row and every other that cannot be told from it: their intervals overlap, or one has none.

    One row alone stands for a clear winner. Rows without any score are told apart by having none.
    """
    scored = [row for row in rows if row.mean is not None]
    if not scored:
        return []
    first = scored[0]
    return [first] + [row for row in scored[1:] if not _apart(first, row)]


def winner(rows: Sequence[Row]) -> Row | None:
    """The first row, if its interval lies apart from all others; None if it does not, or there is nobody to beat."""
    together = overlapping(rows)
    return together[0] if len(together) == 1 and len(rows) > 1 and together[0].has_interval else None


def clears(row: Row, score: float, better: bool) -> bool:
    """Whether the whole interval of a row (or its only score) is better than a score."""
    worst_end = row.low if better else row.high
    value = row.mean if worst_end is None else worst_end
    return value is not None and (value > score if better else value < score)


def best_baseline(baselines: Mapping[str, Any], better: bool) -> tuple[str, float] | None:
    """The name and score of the best shortcut."""
    ranked = ranked_baselines(baselines, better)
    return ranked[0] if ranked else None


def ranked_baselines(baselines: Mapping[str, Any], better: bool) -> list[tuple[str, float]]:
    """The shortcuts that have a score, best first."""
    known = [(str(name), number) for name, value in baselines.items() if (number := finite(value)) is not None]
    return sorted(known, key=lambda pair: (_badness(pair[1], better), pair[0]))


def _study_row(row: Mapping[str, Any]) -> Row:
    scores = tuple(finite(score) for score in row.get("scores") or ())
    label = str(row.get("variant", "?"))
    return Row(
        label=label,
        folder=PurePosixPath(str(row.get("folder") or label)).name,
        settings=row.get("settings") or {},
        scores=scores,
        solved=int(finite(row.get("solved")) or 0),
        diverged=int(finite(row.get("diverged")) or 0),
        **{name: finite(row.get(name)) for name in NUMBERS},
    )


def _rate_row(rate: float, result: Mapping[str, Any], better: bool) -> Row:
    runs = [run for run in result["runs"] if run.get("learning_rate") == rate]
    runs = sorted(runs, key=lambda run: finite(run.get("seed")) or 0.0)
    lost = [run.get("diverged_at") is not None for run in runs]
    validation, scores = (
        [None if gone else finite(run.get(key)) for run, gone in zip(runs, lost, strict=True)]
        for key in ("validation_score", "test_score")
    )
    threshold = finite(result.get("solved_at"))
    bar = -math.inf if threshold is None else _badness(threshold, better)  # without a threshold nothing is solved
    return Row(
        label=formats.learning_rate(rate),
        learning_rate=rate,
        validation=_mean(validation, better),
        scores=tuple(scores),
        mean=_mean(scores, better),
        solved=sum(_badness(score, better) <= bar for score in scores if score is not None),
        diverged=scores.count(None),
    )


def _mean(scores: Sequence[float | None], better: bool) -> float | None:
    worst = 0.0 if better else math.inf
    return finite(sum(worst if score is None else score for score in scores) / len(scores)) if scores else None


def _badness(score: float | None, better: bool) -> float:
    return math.inf if score is None else -score if better else score


def _apart(one: Row, other: Row) -> bool:
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low > other.high or other.low > one.high
