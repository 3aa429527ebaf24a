"""Attention maps of one test example: a panel per layer, one colour scale for all, tokens beside short sequences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize, PowerNorm
from matplotlib.figure import Figure

from selfattn_jax.reports import drawing
from selfattn_jax.reports.drawing import MUTED, RULE, Format

#: More layers than this are thinned out evenly, keeping the first and the last.
PANELS = 4
#: A longer side is shown in this many cells, each the largest weight that it covers.
CELLS = 96
#: Sequences up to this length get their tokens written along the axes.
TOKENS = 64

#: From the page's own white to ink: in dark mode a page can invert it.
SEQUENTIAL = LinearSegmentedColormap.from_list("weights", ("#ffffff", "#b9d3ec", "#4a8fca", "#0f4c8a", "#04152b"))
DIVERGING = LinearSegmentedColormap.from_list("signed", ("#8c2d04", "#ec9a5e", "#ffffff", "#4a8fca", "#0f3c75"))
UNKNOWN = "#d8d8d4"


@dataclass(frozen=True)
class Panel:
    """One layer's attention as a picture."""

    title: str
    note: str  # what a reader must know about this panel's colours and cells, or ""
    image: bytes
    tokens: int  # how many tokens are written along an axis: they want room


def attention_panels(attention: Mapping[str, np.ndarray] | None, *, format: Format = "svg") -> list[Panel]:
    """One panel per layer (at most PANELS of them), the mean over heads.

    Every panel without negative weights has the same colour scale, the square root of 0…1, so that panels and variants
    can be compared and small weights are seen. One with negative weights, or weights above 1, gets its own and says so.

    Args:
      attention: weights [layers,H,T,S] and perhaps inputs [T] or [T,F]; None gives no panels.
      format: "svg" or "png".
    """
    if attention is None:
        return []
    weights = np.array(attention["weights"], dtype=np.float64)
    weights[~np.isfinite(weights)] = np.nan
    layers, heads = weights.shape[:2]
    chosen = sorted({round(index) for index in np.linspace(0, layers - 1, min(layers, PANELS))})
    tokens = _tokens(attention.get("inputs"), weights.shape[2:])
    panels = []
    for layer in chosen:
        cells, factor = _pooled(weights[layer].mean(axis=0))
        colours, norm, note = _colours(cells)
        if factor > 1:
            note = f"{note} A cell shows the largest of {factor} × {factor} weights.".strip()
        title = f"layer {layer + 1} of {layers}" + (f", mean of {heads} heads" if heads > 1 else "")
        image = _panel(cells, weights.shape[2:], tokens, colours, norm, format)
        panels.append(Panel(title, note, image, len(tokens)))
    return panels


def colour_scale(*, format: Format = "svg") -> bytes:
    """The colour scale that panels share, as a thin bar with numbers."""
    with drawing.style():
        figure = Figure(figsize=(3.2, 0.42))
        axes = figure.add_axes((0.04, 0.55, 0.92, 0.4))
        _image(axes, np.linspace(0, 1, 65)[None], (0, 1, 0, 1), SEQUENTIAL, Normalize(0, 1))
        ticks = (0.0, 0.01, 0.1, 0.25, 0.5, 1.0)
        axes.set_xticks([math.sqrt(tick) for tick in ticks], [f"{tick:g}" for tick in ticks], fontsize=8)
        axes.set_yticks([])
        _frame(axes)
        return drawing.image(figure, format)


def _panel(
    cells: np.ndarray,
    shape: tuple[int, ...],
    tokens: Sequence[str],
    colours: Colormap,
    norm: Normalize,
    format: Format,
) -> bytes:
    """Queries from top to bottom, keys from left to right."""
    queries, keys = shape
    side = 5.4 if len(tokens) > TOKENS // 2 else 3.6
    margin = 0.3 if tokens else 0.42
    with drawing.style():
        figure = Figure(figsize=(side, side))
        axes = figure.add_axes((margin / side, margin / side, 1 - (margin + 0.1) / side, 1 - (margin + 0.1) / side))
        _image(axes, cells, (-0.5, keys - 0.5, queries - 0.5, -0.5), colours, norm)
        if tokens:
            _write(axes, tokens, size=min(7.5, 72 * (side - margin - 0.1) / len(tokens) * 0.9))
        else:
            axes.set_xlabel("key", labelpad=1, fontsize=8)
            axes.set_ylabel("query", labelpad=1, fontsize=8)
            axes.tick_params(labelsize=8, pad=2)
        _frame(axes)
        return drawing.image(figure, format)


def _write(axes: Axes, tokens: Sequence[str], *, size: float) -> None:
    """Writes the tokens along both axes: plain text, as ticks of matplotlib cost several times as much."""
    axes.set_xticks([])
    axes.set_yticks([])
    below, beside = axes.get_xaxis_transform(), axes.get_yaxis_transform()
    for place, token in enumerate(tokens):
        style: dict[str, Any] = {"fontsize": size, "color": MUTED, "parse_math": False}
        axes.text(place, -0.008, token, style, transform=below, rotation=90, ha="center", va="top")
        axes.text(-0.008, place, token, style, transform=beside, ha="right", va="center")


def _image(
    axes: Axes, cells: np.ndarray, extent: tuple[float, float, float, float], colours: Colormap, norm: Normalize
) -> None:
    axes.imshow(cells, cmap=colours, norm=norm, aspect="auto", extent=extent, interpolation="none")


def _frame(axes: Axes) -> None:
    axes.tick_params(left=False, bottom=False, labelcolor=MUTED)
    for spine in axes.spines.values():
        spine.set_color(RULE)


def _colours(cells: np.ndarray) -> tuple[Colormap, Normalize, str]:
    """Colours, scale, and a note where the scale is not the shared one."""
    known = cells[np.isfinite(cells)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    note = "" if known.size == cells.size else "Grey: not a number."
    if low < -1e-6:
        size = max(-low, high)
        note = f"Weights may be negative: orange −{size:.2g}, white 0, blue {size:.2g}. {note}".strip()
        return DIVERGING.with_extremes(bad=UNKNOWN), Normalize(-size, size), note
    if high > 1.001:
        note = f"Weights exceed 1: the darkest is {high:.2g}. {note}".strip()
    return SEQUENTIAL.with_extremes(bad=UNKNOWN), PowerNorm(0.5, 0.0, high if high > 1.001 else 1.0, clip=True), note


def _pooled(weights: np.ndarray) -> tuple[np.ndarray, int]:
    """Weights in at most CELLS × CELLS cells, each the entry of largest size in its block, and the block's side."""
    factor = math.ceil(max(weights.shape) / CELLS)
    if factor == 1:
        return weights, 1
    queries, keys = (math.ceil(size / factor) for size in weights.shape)
    padded = np.zeros((queries * factor, keys * factor))
    padded[: weights.shape[0], : weights.shape[1]] = weights
    blocks = padded.reshape(queries, factor, keys, factor).swapaxes(1, 2).reshape(queries, keys, -1)
    largest = np.abs(np.nan_to_num(blocks, nan=np.inf)).argmax(axis=-1)
    return np.take_along_axis(blocks, largest[..., None], axis=-1)[..., 0], factor


def _tokens(inputs: np.ndarray | None, shape: tuple[int, ...]) -> list[str]:
    """The labels of the axes, or none for long or continuous inputs, or ones that do not fit the weights."""
    if inputs is None or inputs.ndim != 1 or not np.issubdtype(inputs.dtype, np.integer):
        return []
    fits = len(inputs) <= TOKENS and shape == (len(inputs), len(inputs))
    return [str(token) for token in inputs] if fits else []
