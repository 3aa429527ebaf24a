"""What a table says, in sentences that claim no more than the intervals allow."""

from collections.abc import Mapping, Sequence
from typing import Any

from selfattn_jax.reports import formats
from selfattn_jax.reports.formats import listed
from selfattn_jax.reports.rows import Row, best_baseline, clears, higher_is_better, overlapping


def study_verdict(rows: Sequence[Row], metric: str, baselines: Mapping[str, Any]) -> list[str]:
    """The headline first, then what a reader must know to trust it."""
    if not rows:
        return ["No variant has finished yet."]
    sentences = [_headline(rows, metric)]
    if against := _against_baseline(rows, metric, baselines):
        sentences.append(against)
    lost = [f"{row.label} in {row.diverged} of {row.seeds} seeds" for row in rows if row.diverged]
    if lost:
        sentences.append(f"Diverged: {listed(lost)}. A diverged seed counts as unsolved, with the worst score.")
    return sentences


def run_verdict(rows: Sequence[Row], metric: str, baselines: Mapping[str, Any]) -> list[str]:
    """What the learning rate chosen on validation gives on the test stream."""
    if not rows:
        return ["This run has not finished yet."]
    row = rows[0]
    choice = f"the learning rate {row.label}"
    if len(rows) > 1:
        choice += f", the best of {len(rows)} on validation data"
    headline = f"{_score(row, metric)} with {choice}: {_solved(row)}."
    lost = f"{row.diverged} of {row.seeds} seeds diverged there, and count as unsolved." if row.diverged else ""
    return [sentence for sentence in (headline, _against_baseline(rows[:1], metric, baselines), lost) if sentence]


def _headline(rows: Sequence[Row], metric: str) -> str:
    first = rows[0]
    if first.mean is None:
        return "No variant has a score: every one diverged."
    if len(rows) == 1:
        return f"{first.label} reaches {_score(first, metric)}: {_solved(first)}."
    together = overlapping(rows)
    if not first.has_interval:
        return (
            f"{first.label} has the best score, {_score(first, metric)}, but without an interval "
            "this does not rank the variants: run more seeds."
        )
    if len(together) == 1:
        return f"{first.label} is ahead with {_score(first, metric)}: no other interval overlaps with its own."
    if len(together) == len(rows):
        return f"No winner: no interval lies apart from that of the best mean, {first.label}, {_score(first, metric)}."
    names = [row.label for row in together]
    names = listed(names if len(names) <= 4 else [*names[:3], f"{len(names) - 3} more"])
    return f"No single winner: {names} cannot be told apart, as their intervals overlap."


def _against_baseline(rows: Sequence[Row], metric: str, baselines: Mapping[str, Any]) -> str:
    better = higher_is_better(metric)
    best = best_baseline(baselines, better)
    if best is None:
        return ""
    shortcut = f"the best shortcut, {best[0]} ({formats.score(best[1], metric)})"
    below = [row.label for row in rows if not clears(row, best[1], better)]
    if not below:
        return f"{'Every variant clears' if len(rows) > 1 else 'It clears'} {shortcut}."
    if len(below) == len(rows):
        return f"{'No variant clears' if len(rows) > 1 else 'It does not clear'} {shortcut}."
    return f"{listed(below)} {'do' if len(below) > 1 else 'does'} not clear {shortcut}."


def _score(row: Row, metric: str) -> str:
    if row.mean is None:
        return "No score"
    return formats.score_interval(row.mean, row.low, row.high, metric)


def _solved(row: Row) -> str:
    if row.seeds == 1:
        return "its one seed solved the task" if row.solved else "its one seed did not solve the task"
    return f"{row.solved} of {row.seeds} seeds solved the task"
