"""Learning curves: a line per variant, a band from the worst seed to the best, labels beside the lines."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from selfattn_jax.reports import drawing
from selfattn_jax.reports.drawing import MUTED, RULE, Format, colour
from selfattn_jax.reports.formats import finite
from selfattn_jax.reports.reading import RunRecord
from selfattn_jax.reports.rows import higher_is_better, ranked_baselines


@dataclass(frozen=True)
class Curve:
    """The validation score of one variant at one learning rate, over the seeds that have not diverged."""

    label: str
    steps: np.ndarray
    mean: np.ndarray
    low: np.ndarray  # the lowest seed
    high: np.ndarray  # the highest seed
    stops: Sequence[tuple[float, float]] = ()  # (step, last score) of every diverged seed
    colour_index: int = 0


def curve(record: RunRecord, learning_rate: float | None, label: str, colour_index: int = 0) -> Curve:
    """The learning curve of a run folder at one learning rate (None: at all of them)."""
    seeds: dict[Any, list[tuple[float, float]]] = {}
    diverged: set[Any] = set()
    for line in record.metrics:
        if learning_rate is not None and finite(line.get("learning_rate")) != learning_rate:
            continue
        run = line.get("run", (line.get("learning_rate"), line.get("seed")))
        step, score = finite(line.get("step")), finite(line.get("validation_score"))
        if line.get("diverged_at") is not None or score is None:
            diverged.add(run)
        elif step is not None:
            seeds.setdefault(run, []).append((step, score))
    by_step: dict[float, list[float]] = {}
    for step, score in (point for points in seeds.values() for point in points):
        by_step.setdefault(step, []).append(score)
    steps = sorted(by_step)
    means, lows, highs = ([float(reduce(by_step[step])) for step in steps] for reduce in (np.mean, np.min, np.max))
    return Curve(
        label=label,
        steps=np.array(steps),
        mean=np.array(means),
        low=np.array(lows),
        high=np.array(highs),
        stops=[max(seeds[run]) for run in sorted(diverged, key=str) if run in seeds],
        colour_index=colour_index,
    )


def learning_rates(record: RunRecord) -> list[float]:
    """The learning rates that a run folder tries, ascending."""
    lines = [*record.metrics, *((record.result or {}).get("runs") or [])]
    return sorted({rate for line in lines if (rate := finite(line.get("learning_rate"))) is not None})


def latest_learning_rate(record: RunRecord, better: bool) -> float | None:
    """The learning rate with the best mean validation score so far: what an unfinished run is shown at."""
    latest: dict[Any, tuple[float, float]] = {}
    for line in record.metrics:
        rate, score = finite(line.get("learning_rate")), finite(line.get("validation_score"))
        worst = 0.0 if better else math.inf
        if rate is not None:
            latest[line.get("run"), rate] = rate, worst if score is None else score
    groups = {rate: [score for other, score in latest.values() if other == rate] for rate in learning_rates(record)}
    means = {rate: sum(scores) / len(scores) for rate, scores in groups.items() if scores}
    return min(means, key=lambda rate: -means[rate] if better else means[rate], default=None)


def learning_curves(
    curves: Sequence[Curve],
    *,
    metric: str,
    baselines: Mapping[str, Any] | None = None,
    size: tuple[float, float] = (9.0, 4.2),
    format: Format = "svg",
) -> bytes:
    """Validation score against step for every curve; shortcuts are thin dashed lines; × marks where a seed diverged.

    Args:
      curves: those without a point are left out.
      metric: the metric's name, which decides the axis.
      baselines: shortcut name → score.
      size: width and height in inches, of which the labels take what they need on the right.
      format: "svg" or "png".

    Returns: the picture's bytes, the same for the same data.
    """
    drawn = [one for one in curves if one.steps.size]
    shortcuts = ranked_baselines(baselines or {}, higher_is_better(metric))
    limit = 26 if size[0] > 6 else 18
    names = [drawing.label(one.label, limit) for one in drawn] + [drawing.label(name, limit) for name, _ in shortcuts]
    with drawing.style():
        figure = Figure(figsize=size)
        right = 0.3 + 0.082 * max(map(len, names), default=0)
        left, bottom, top = 0.55, 0.45, 0.35
        axes = figure.add_axes(
            (left / size[0], bottom / size[1], 1 - (left + right) / size[0], 1 - (bottom + top) / size[1])
        )
        for one in drawn:
            _draw(axes, one, alpha=0.14 if len(drawn) <= 4 else 0.09)
        for _, score in shortcuts:
            axes.axhline(score, color=MUTED, linewidth=0.8, dashes=(4, 3))
        _dress(axes, drawn, [score for _, score in shortcuts], metric)
        ends = [float(one.mean[-1]) for one in drawn] + [score for _, score in shortcuts]
        tints = [colour(one.colour_index) for one in drawn] + [MUTED] * len(shortcuts)
        annotate(axes, names, ends, tints, (size[0] - left - right, size[1] - bottom - top))
        return drawing.image(figure, format)


def _draw(axes: Axes, one: Curve, *, alpha: float) -> None:
    tint = colour(one.colour_index)
    marker = "o" if one.steps.size == 1 else None
    dots = one.colour_index >= len(drawing.SERIES)  # the ninth variant repeats the first's colour
    axes.fill_between(one.steps, one.low, one.high, color=tint, alpha=alpha, linewidth=0)
    axes.plot(one.steps, one.mean, ":" if dots else "-", color=tint, linewidth=1.8, marker=marker, markersize=4)
    for step, score in one.stops:
        axes.plot([step], [score], color=tint, marker="x", markersize=7, markeredgewidth=1.8, clip_on=False)


def _dress(axes: Axes, curves: Sequence[Curve], shortcuts: Sequence[float], metric: str) -> None:
    """Axes, ticks, grid and title."""
    steps = [float(step) for one in curves for step in (one.steps[0], one.steps[-1])]
    first, last = min([0.0, *steps]), max(steps, default=1.0)
    axes.set_xlim(first, last if last > first else first + 1.0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    scale_scores(axes, _flatten(curves), shortcuts, metric)
    axes.grid(axis="y", color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.set_title(f"validation {metric.replace('_', ' ') or 'score'}", loc="left", pad=10, parse_math=False)
    axes.set_xlabel("training step")


def scale_scores(axes: Axes, values: Sequence[float], shortcuts: Sequence[float], metric: str) -> None:
    """The axis of scores: 0…100 % for an accuracy; from 0 for an error, or logarithmic where it falls by much."""
    if metric == "accuracy":
        axes.set_ylim(0.0, 1.0)
        axes.yaxis.set_major_formatter(PercentFormatter(xmax=1.0, decimals=0, symbol=" %"))
        return
    positive = [value for value in (*values, *shortcuts) if value > 0]
    if positive and min([*values, *shortcuts]) > 0 and max(positive) > 50 * min(positive):
        axes.set_yscale("log")
        axes.set_ylim(min(positive) / 1.3, max(positive) * 1.3)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    else:
        axes.set_ylim(min([0.0, *values]), 1.05 * max([*values, *shortcuts], default=1.0) or 1.0)


def annotate(
    axes: Axes, names: Sequence[str], ends: Sequence[float], tints: Sequence[str], inside: tuple[float, float]
) -> None:
    """Writes each name beside the end of its line, moved apart where lines end together.

    `inside` is the width and height of the axes in inches.
    """
    width, height = inside
    heights = [float(axes.transAxes.inverted().transform(axes.transData.transform((0.0, end)))[1]) for end in ends]
    gap = min(0.165 / height, 1.1 / max(1, len(ends)))
    places = drawing.spread(heights, gap, 0.02, 1.04)
    for name, start, place, tint in zip(names, heights, places, tints, strict=True):
        axes.plot(
            [1.0, 1 + 0.06 / width, 1 + 0.14 / width],
            [start, place, place],
            color=tint,
            linewidth=0.8,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text(
            1 + 0.19 / width,
            place,
            name,
            color=tint,
            transform=axes.transAxes,
            verticalalignment="center_baseline",
            parse_math=False,
        )


def _flatten(curves: Iterable[Curve]) -> list[float]:
    return [float(value) for one in curves for value in (*one.low, *one.high)]
