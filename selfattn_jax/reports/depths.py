"""Accuracy by depth and length, a heat map per variant: how deep in how long a sequence an answer is still found."""

from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from selfattn_jax.reports import drawing, formats
from selfattn_jax.reports.drawing import INK, MUTED, Format
from selfattn_jax.reports.reading import RunRecord
from selfattn_jax.reports.rows import best_baseline

#: Perceptually uniform, to colour-blind eyes too; always 0 … 100 %, so that maps can be compared.
COLOURS = matplotlib.colormaps["viridis"]
#: Up to this many lengths the cells are labelled.
LABELLED = 12
#: Inches: between two cells, and around them.
GAP, LEFT, RIGHT, BOTTOM, TOP = 0.025, 0.6, 0.1, 0.45, 0.3
#: Inches that a letter is wide and that turned lengths need below.
LETTER, TURNED = 0.07, 0.85


@dataclass(frozen=True)
class DepthMap:
    """The test accuracy of one variant, or of the best shortcut, in cells of depth (rows) and length (columns).

    A depth is 1 − distance / length, cut into even parts from 0 to 1; a cell in which nothing was asked is NaN.
    """

    label: str
    low: tuple[int, ...]  # the bounds of each bin of lengths, both included
    high: tuple[int, ...]
    scores: np.ndarray
    trained: int  # the largest length among examples drawn as those of the training

    @property
    def lengths(self) -> list[str]:
        """Each bin of lengths in words."""
        return [str(low) if low == high else f"{low}–{high}" for low, high in zip(self.low, self.high, strict=True)]


def depth_map(record: RunRecord, learning_rate: float | None, label: str) -> DepthMap | None:
    """The mean over the seeds of a run folder at one learning rate (None: over all runs), those left out that diverged.

    Returns: the map; None where the folder holds none, as one of an earlier version or of a single length does.
    """
    found = _found(record)
    runs = (record.result or {}).get("runs") or []
    if not found:
        return None
    asked = np.array(found["count"]) > 0
    scores = [
        np.array(cells, dtype=np.float64)
        for run, cells in zip(runs, found["runs"], strict=True)
        if learning_rate is None or run.get("learning_rate") == learning_rate
    ]
    scores = [cells for cells in scores if np.isfinite(cells[asked]).all()]
    return _map(found, label, np.mean(scores, axis=0)) if scores else None


def shortcut_map(record: RunRecord, better: bool) -> DepthMap | None:
    """The best shortcut in each cell, labelled with the names of those that are the best in any."""
    found = _found(record)
    shortcuts: dict[str, Any] = (found or {}).get("shortcuts") or {}
    if not found or not shortcuts:
        return None
    shape = np.shape(found["count"])
    best = [
        best_baseline({name: cells[row][column] for name, cells in shortcuts.items()}, better)
        for row, column in np.ndindex(shape)
    ]
    names = sorted({cell[0] for cell in best if cell})
    scores = np.array([cell[1] if cell else np.nan for cell in best]).reshape(shape)
    return _map(found, ", ".join(names), scores) if names else None


def _found(record: RunRecord) -> dict[str, Any] | None:
    return (record.result or {}).get("depths")


def _map(found: dict[str, Any], label: str, scores: np.ndarray) -> DepthMap:
    return DepthMap(label, tuple(found["low"]), tuple(found["high"]), scores, int(found["trained"]))


def in_words(shown: DepthMap) -> str:
    """What a map shows, for those who do not see it: at each length the worst score with its depth, and the best."""
    said = []
    for length, column in zip(shown.lengths, shown.scores.T, strict=True):
        if not np.isfinite(column).any():
            continue
        worst, best = int(np.nanargmin(column)), float(np.nanmax(column))
        lowest = formats.score(float(column[worst]), "accuracy")
        if column[worst] == best:
            said.append(f"length {length}: {lowest} at every depth asked")
        else:
            low, high = (round(100 * edge / len(column)) for edge in (worst, worst + 1))
            said.append(
                f"length {length}: from {lowest} at depths of {low}–{high} % to {formats.score(best, 'accuracy')}"
            )
    return f"Test accuracy by depth and length, {shown.label}. {'; '.join(said)}."


def draw(shown: DepthMap, *, size: tuple[float, float] = (4.6, 3.5), format: Format = "svg") -> bytes:
    """The map as a picture: depth from top to bottom, length from left to right; a dashed line ends what was trained.

    Args:
      shown: the map.
      size: width and height in inches.
      format: "svg" or "png".
    Returns: the picture's bytes, the same for the same data.
    """
    width, height = size
    rows, columns = shown.scores.shape
    turned = columns * (LETTER * max(map(len, shown.lengths)) + 0.05) > width - LEFT - RIGHT
    bottom = TURNED if turned else BOTTOM
    inside = width - LEFT - RIGHT, height - bottom - TOP
    with drawing.style():
        figure = Figure(figsize=size)
        axes = figure.add_axes((LEFT / width, bottom / height, inside[0] / width, inside[1] / height))
        axes.set_xlim(0, columns)
        axes.set_ylim(rows, 0)
        gap = GAP * columns / inside[0], GAP * rows / inside[1]
        for row, column in np.argwhere(np.isfinite(shown.scores)):
            _cell(axes, row, column, float(shown.scores[row, column]), gap, columns <= LABELLED)
        _scale(axes, shown, turned)
        for spine in axes.spines.values():
            spine.set_visible(False)
        return drawing.image(figure, format)


def colour_scale(*, format: Format = "svg") -> bytes:
    """The colour scale that all maps share, as a thin bar with percentages."""
    with drawing.style():
        figure = Figure(figsize=(3.2, 0.42))
        axes = figure.add_axes((0.04, 0.55, 0.88, 0.4))
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        for edge in np.arange(0, 1, 0.02):  # shapes, not an image: a page in dark mode turns the colours of images
            axes.add_patch(Rectangle((edge, 0), min(0.025, 1 - edge), 1, color=COLOURS(edge + 0.01), linewidth=0))
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"], fontsize=8)
        axes.set_yticks([])
        for spine in axes.spines.values():
            spine.set_visible(False)
        return drawing.image(figure, format)


def percent(score: float) -> str:
    """A share in whole percent; never rounded to a 0 or a 100 that it is not."""
    return f"{100 * score:.0f}" if score in (0.0, 1.0) else str(min(99, max(1, round(100 * score))))


def _cell(axes: Axes, row: int, column: int, score: float, gap: tuple[float, float], labelled: bool) -> None:
    tint = COLOURS(score)
    place = column + gap[0] / 2, row + gap[1] / 2
    axes.add_patch(Rectangle(place, 1 - gap[0], 1 - gap[1], facecolor=tint, linewidth=0))
    if labelled:
        light = float(np.dot(np.power(tint[:3], 2.2), (0.2126, 0.7152, 0.0722))) > 0.18  # where contrasts are equal
        style: dict[str, Any] = {"ha": "center", "va": "center_baseline", "fontsize": 8}
        axes.text(column + 0.5, row + 0.5, percent(score), style, color="#101014" if light else "#ffffff")


def _scale(axes: Axes, shown: DepthMap, turned: bool) -> None:
    """Lengths below, turned where they are long, depths beside, and where the lengths end that were trained."""
    rows, columns = shown.scores.shape
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if turned else {}
    axes.set_xticks(np.arange(columns) + 0.5, shown.lengths, fontsize=8, **slant)
    axes.set_yticks(np.linspace(0, rows, 6), [f"{share} %" for share in range(0, 101, 20)], fontsize=8)
    axes.set_xlabel("length", labelpad=3)
    axes.set_ylabel("depth", labelpad=3)
    trained = sum(low <= shown.trained for low in shown.low)
    if 0 < trained < columns:
        axes.axvline(trained, color=INK, linewidth=1.2, dashes=(3, 2), ymin=-0.02, ymax=1.02, clip_on=False)
        note = f"trained up to {shown.trained}"
        above: dict[str, Any] = {"ha": "right" if 2 * trained > columns else "left", "va": "bottom", "fontsize": 8}
        axes.text(trained, 1.03, note, above, color=MUTED, transform=axes.get_xaxis_transform())
