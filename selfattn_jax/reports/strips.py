"""Strips: the scores of one row on a line, every seed a dot, with its mean and interval, all on one scale."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from selfattn_jax.reports import formats
from selfattn_jax.reports.formats import finite
from selfattn_jax.reports.rows import Row, best_baseline, higher_is_better, ranked_baselines

#: The strip's height in pixels, of which dots that lie on each other may be stacked over ROOM.
HEIGHT, ROOM = 40, 24
#: Dots nearer than this, in percent of the width, are stacked.
NEAR = 1.4


@dataclass(frozen=True)
class Scale:
    """Scores → percent of the width."""

    low: float
    high: float
    logarithmic: bool = False

    def place(self, score: float) -> float:
        """Where a score lies, 0…100, cut at the ends."""
        if self.logarithmic:
            fraction = math.log(max(score, self.low) / self.low) / math.log(self.high / self.low)
        else:
            fraction = (score - self.low) / (self.high - self.low)
        return round(100 * min(1.0, max(0.0, fraction)), 2)

    def ticks(self) -> list[float]:
        """A few round scores from end to end."""
        if not self.logarithmic:
            return [self.low + (self.high - self.low) * quarter / 4 for quarter in range(5)]
        exponents = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
        return [10.0**exponent for exponent in exponents][:: max(1, len(exponents) // 4)]


@dataclass(frozen=True)
class Strip:
    """What one strip draws; all places in percent of the width, heights in pixels."""

    text: str
    dots: Sequence[tuple[float, float]] = ()
    crosses: Sequence[tuple[float, float]] = ()  # diverged seeds, at the worst end
    mean: float | None = None
    band: tuple[float, float] | None = None  # (start, width)
    diamond: float | None = None  # a shortcut's score


@dataclass(frozen=True)
class Guides:
    """Lines through every strip, and the ticks of their common axis."""

    ticks: Sequence[tuple[float, str]]
    solved_at: float | None
    shortcut: float | None


def common_scale(rows: Sequence[Row], metric: str, baselines: Mapping[str, Any], solved_at: Any) -> Scale:
    """0…1 for an accuracy; for an error from 0 to the largest, or logarithmic where they differ by much."""
    if metric == "accuracy":
        return Scale(0.0, 1.0)
    marks = [score for row in rows for score in (*row.scores, row.mean) if score is not None]
    marks += [score for _, score in ranked_baselines(baselines, True)]
    marks += [threshold] if (threshold := finite(solved_at)) is not None else []
    ends = marks + [row.high for row in rows if row.high is not None]
    if marks and min(marks) > 0 and max(marks) > 50 * min(marks):
        low, high = (math.floor(math.log10(min(marks))), math.ceil(math.log10(max(ends))))
        return Scale(10.0**low, 10.0**high, logarithmic=True)
    low, high = min([0.0, *marks]), max(ends, default=1.0)
    return Scale(low, _round_up(high - low) + low if high > low else low + 1.0)


def row_strip(row: Row, scale: Scale, metric: str) -> Strip:
    """The strip of one row."""
    worst = 0.0 if higher_is_better(metric) else 100.0
    places = [worst if score is None else scale.place(score) for score in row.scores]
    points = list(zip(places, _stacked(places), strict=True))
    lost = [score is None for score in row.scores]
    band = None
    if row.low is not None and row.high is not None:
        start = scale.place(row.low)
        band = (start, max(0.4, round(scale.place(row.high) - start, 2)))
    return Strip(
        text=_text(row, metric),
        dots=[point for point, gone in zip(points, lost, strict=True) if not gone],
        crosses=[point for point, gone in zip(points, lost, strict=True) if gone],
        mean=None if row.mean is None else scale.place(row.mean),
        band=band,
    )


def shortcut_strip(name: str, score: float, scale: Scale, metric: str) -> Strip:
    """The strip of one shortcut baseline."""
    return Strip(text=f"{name}: {formats.score(score, metric)}", diamond=scale.place(score))


def guides(scale: Scale, metric: str, baselines: Mapping[str, Any], solved_at: Any) -> Guides:
    """The lines and ticks behind all strips of a table."""
    threshold, best = finite(solved_at), best_baseline(baselines, higher_is_better(metric))
    return Guides(
        ticks=[(scale.place(tick), _tick(tick, metric)) for tick in scale.ticks()],
        solved_at=None if threshold is None else scale.place(threshold),
        shortcut=None if best is None else scale.place(best[1]),
    )


def _tick(score: float, metric: str) -> str:
    """The number at a tick; of an accuracy, the last alone says percent."""
    return f"{score:g}" if metric != "accuracy" else f"{100 * score:.0f}{' %' if score == 1 else ''}"


def _stacked(places: Sequence[float]) -> list[float]:
    """The height of every dot: in the middle, or stacked evenly around it where dots would hide each other."""
    order = sorted(range(len(places)), key=lambda index: places[index])
    stacks: list[list[int]] = []
    for index in order:
        if stacks and places[index] - places[stacks[-1][0]] < NEAR:
            stacks[-1].append(index)
        else:
            stacks.append([index])
    heights = [HEIGHT / 2.0] * len(places)
    for stack in stacks:
        gap = min(6.5, ROOM / max(1, len(stack) - 1))
        for level, index in enumerate(sorted(stack)):
            heights[index] = round(HEIGHT / 2 + gap * (level - (len(stack) - 1) / 2), 2)
    return heights


def _round_up(value: float) -> float:
    """The next 1, 2, 4, 5, 8 or 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 8, 10, 20) if step * power >= value * (1 - 1e-9))


def _text(row: Row, metric: str) -> str:
    """The strip in words."""
    seeds = ", ".join("diverged" if score is None else formats.score(score, metric) for score in row.scores)
    return f"{row.label}: {formats.score_interval(row.mean, row.low, row.high, metric)}. Seeds: {seeds or 'none'}."
