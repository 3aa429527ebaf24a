"""Scores along an axis, a line per variant: by the distance of a target, the length of its sequence, its difficulty.

Beside them stands the best shortcut in every bin: what a score there is worth.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from selfattn_jax.reports import drawing
from selfattn_jax.reports.drawing import MUTED, RULE, Format, colour
from selfattn_jax.reports.plots import annotate, scale_scores
from selfattn_jax.reports.reading import RunRecord
from selfattn_jax.reports.rows import best_baseline

TITLES = {
    "distance": "by the distance of what the answer depends on, in positions",
    "length": "by the length of the sequence, in positions",
    "difficulty": "by difficulty, in the task's own unit",
}


@dataclass(frozen=True)
class Line:
    """The test score of one variant in bins along an axis, over its seeds at one learning rate."""

    label: str
    low: np.ndarray  # the bounds of the bins, both included
    high: np.ndarray
    mean: np.ndarray
    worst: np.ndarray
    best: np.ndarray
    trained: int  # the largest value among examples drawn as those of the training
    colour_index: int = 0


@dataclass(frozen=True)
class Shortcut:
    """The best shortcut in each bin along an axis, and what it scores there; None where none is known."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    best: tuple[tuple[str, float] | None, ...]

    @property
    def names(self) -> list[str]:
        """The shortcuts that are the best somewhere, first the one that is so most often."""
        found = Counter(one[0] for one in self.best if one)
        return [name for name, _ in found.most_common()]

    @property
    def scores(self) -> np.ndarray:
        """The score in each bin, NaN where none is known."""
        return np.array([one[1] if one else np.nan for one in self.best])


def shortcut(record: RunRecord, axis: str, better: bool) -> Shortcut | None:
    """The best shortcuts of a run folder along an axis; None where it holds none, as one of an earlier version does."""
    found: dict[str, Any] = ((record.result or {}).get("axes") or {}).get(axis) or {}
    scores: dict[str, Any] = found.get("shortcuts") or {}
    best = tuple(
        best_baseline({name: values[index] for name, values in scores.items()}, better)
        for index in range(len(found.get("low", ())))
    )
    return Shortcut(tuple(found["low"]), tuple(found["high"]), best) if any(best) else None


def line(record: RunRecord, axis: str, learning_rate: float | None, label: str, colour_index: int = 0) -> Line | None:
    """The line of a run folder along an axis at one learning rate (None: over all of them), or None without one."""
    result = record.result or {}
    found: dict[str, Any] | None = (result.get("axes") or {}).get(axis)
    runs = result.get("runs") or []
    if not found:
        return None
    chosen = [
        scores
        for run, scores in zip(runs, found["runs"], strict=True)
        if learning_rate is None or run.get("learning_rate") == learning_rate
    ]
    scores = np.array(chosen, dtype=np.float64)
    scores = scores[np.isfinite(scores).all(axis=1)] if scores.size else scores
    if not scores.size:
        return None
    low, high = np.array(found["low"]), np.array(found["high"])
    spread = scores.mean(axis=0), scores.min(axis=0), scores.max(axis=0)
    return Line(label, low, high, *spread, trained=int(found["trained"]), colour_index=colour_index)


def along(
    lines: Sequence[Line],
    axis: str,
    *,
    metric: str,
    shortcuts: Mapping[str, Shortcut] | None = None,
    size: tuple[float, float] = (9.0, 3.4),
    format: Format = "svg",
) -> bytes:
    """Test score against an axis for every variant.

    The best shortcut in every bin is a thin dashed line; an upright one stands where the training data end.

    Args:
      lines: at least one, all along the axis.
      axis: distance, length or difficulty.
      metric: the metric's name, which decides the other axis.
      shortcuts: label → the best shortcuts of one set of tests.
      size: width and height in inches, of which the labels take what they need on the right.
      format: "svg" or "png".
    Returns: the picture's bytes, the same for the same data.
    """
    floors, limit = dict(shortcuts or {}), 28 if size[0] > 6 else 18
    names = [drawing.label(one.label, limit) for one in lines]
    names += [_label_of_shortcut(name, one, limit) for name, one in floors.items()]
    right, left, bottom, top = 0.3 + 0.082 * max(map(len, names)), 0.55, 0.45, 0.35
    inside = size[0] - left - right, size[1] - bottom - top
    with drawing.style():
        figure = Figure(figsize=size)
        axes = figure.add_axes((left / size[0], bottom / size[1], inside[0] / size[0], inside[1] / size[1]))
        for one in lines:
            middle, tint = (one.low + one.high) / 2, colour(one.colour_index)
            axes.fill_between(middle, one.worst, one.best, color=tint, alpha=0.12, linewidth=0)
            axes.plot(middle, one.mean, color=tint, linewidth=1.8, marker="o", markersize=3.5)
        for floor in floors.values():
            middle = (np.array(floor.low) + np.array(floor.high)) / 2
            axes.plot(middle, floor.scores, color=MUTED, linewidth=0.8, dashes=(4, 3), marker=".", markersize=3.5)
        _scale_axis(axes, lines)
        known = [float(score) for floor in floors.values() for score in floor.scores if np.isfinite(score)]
        scale_scores(axes, [float(value) for one in lines for value in (*one.worst, *one.best)], known, metric)
        axes.grid(axis="y", color=RULE, linewidth=0.8)
        for side in ("left", "right", "top"):
            axes.spines[side].set_visible(False)
        axes.set_title(f"test {metric.replace('_', ' ')} {TITLES[axis]}", loc="left", pad=10, parse_math=False)
        ends = [float(one.mean[-1]) for one in lines]
        ends += [next(one[1] for one in reversed(floor.best) if one) for floor in floors.values()]
        tints = [colour(one.colour_index) for one in lines] + [MUTED] * len(floors)
        annotate(axes, names, ends, tints, inside)
        return drawing.image(figure, format)


def _label_of_shortcut(name: str, shortcut: Shortcut, limit: int) -> str:
    """Its names, if they fit; several that do not would be cut to something that nobody can read."""
    several = len(shortcut.names) > 1
    return "best shortcut" if several and len(name) > limit else drawing.label(name, limit)


def _scale_axis(axes: Axes, lines: Sequence[Line]) -> None:
    """The axis along which scores are known, by powers of two where it reaches far, and where the training data end."""
    low, high = min(one.low[0] for one in lines), max(one.high[-1] for one in lines)
    if high > 8 * low:
        axes.set_xscale("log", base=2)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    trained = max(one.trained for one in lines)
    if trained < high:
        axes.axvline(trained, color=MUTED, linewidth=0.8, dashes=(4, 3))
