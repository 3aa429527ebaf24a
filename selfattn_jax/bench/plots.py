"""Time and memory over length, both logarithmic: a line per variant, and how steep it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from selfattn_jax.bench.record import Bench
from selfattn_jax.bench.settings import Step
from selfattn_jax.bench.tables import power
from selfattn_jax.reports import drawing
from selfattn_jax.reports.drawing import INK, MUTED, RULE, SERIES, Format, colour
from selfattn_jax.reports.formats import quantity, short_time

MARKERS = "osD^v<>p"  # beside the colour: two lines can be told apart in grey too
THICKNESS = (3.6, 2.2, 1.2)  # the thin ones in front: where two lines are the same, both are seen
WIDTH, AXES_HEIGHT = 11.0, 3.7  # inches
TOP, BOTTOM, LEGEND_ROW = 0.45, 0.6, 0.2  # inches


@dataclass(frozen=True)
class Line:
    """One variant in one panel: its points, the quartiles around them where there are some, and its slope."""

    label: str
    lengths: Sequence[int]
    values: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    slope: float | None
    index: int


def time_lines(bench: Bench) -> list[Line]:
    """The medians and quartiles of the last program of settings: forward + backward, unless that was left out."""
    step: Step = bench.settings.steps[-1]
    lines = []
    for index, slopes in enumerate(bench.slopes):
        points = {
            one.length: times
            for one in bench.lengths
            for row in one.rows
            if row.variant == slopes.variant
            and (times := row.forward if step == "forward" else row.forward_backward) is not None
        }
        figures = points.values()
        median, low, high = ([getattr(times, name) for times in figures] for name in ("median", "low", "high"))
        lines.append(Line(slopes.variant, list(points), median, low, high, getattr(slopes, step), index))
    return lines


def memory_lines(bench: Bench) -> list[Line]:
    """Temporary bytes; a variant that needs none has no place on a logarithmic axis."""
    lines = []
    for index, slopes in enumerate(bench.slopes):
        rows = [(one.length, row) for one in bench.lengths for row in one.rows if row.variant == slopes.variant]
        points = {length: float(row.temporary_bytes) for length, row in rows if row.temporary_bytes}
        values = list(points.values())
        lines.append(Line(slopes.variant, list(points), values, values, values, slopes.memory, index))
    return lines


def bench_plot(bench: Bench, format: Format = "png") -> bytes:
    """Two panels: time on the left, memory on the right.

    Args:
      bench: what was measured.
      format: "svg" or "png".
    Returns: the picture's bytes, the same for the same record.
    """
    panels = [[line for line in lines if line.lengths] for lines in (time_lines(bench), memory_lines(bench))]
    columns = 2 if max(len(line.label) for lines in panels for line in lines or [_NOTHING]) <= 22 else 1
    rows = max(-(-max(map(len, panels)) // columns), 1)
    height = TOP + AXES_HEIGHT + BOTTOM + LEGEND_ROW * rows
    what = "forward + backward" if bench.settings.backward else "forward"
    with drawing.style():
        figure = Figure(figsize=(WIDTH, height))
        for left, lines, title, format_ in (
            (0.065, panels[0], f"time, {what}   (bars: quartiles; T^p: fitted growth)", short_time),
            (0.565, panels[1], f"temporary memory, {what}   (T^p: fitted growth)", lambda value: quantity(value, "B")),
        ):
            bottom = (BOTTOM + LEGEND_ROW * rows) / height
            axes = figure.add_axes((left, bottom, 0.405, AXES_HEIGHT / height))
            for line in lines:
                _draw(axes, line)
            _dress(axes, lines, title, [one.length for one in bench.lengths])
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _, write=format_: write(value)))
            _legend(axes, lines, columns)
        return drawing.image(figure, format)


_NOTHING = Line("", (), (), (), (), None, 0)


def _draw(axes: Axes, line: Line) -> None:
    tint, marker = colour(line.index), MARKERS[line.index % len(MARKERS)]
    thick = THICKNESS[line.index % len(THICKNESS)]
    dashes = "-" if line.index < len(SERIES) else "--"  # the ninth variant repeats the first's colour
    name = f"{drawing.label(line.label, 48)}   {power(line.slope) if line.slope is not None else ''}".rstrip()
    axes.plot(
        line.lengths, line.values, dashes, color=tint, linewidth=thick, marker=marker, markersize=3.5 + 1.3 * thick,
        label=name, markeredgecolor="white", markeredgewidth=0.6, clip_on=False, zorder=9 - thick,
    )  # fmt: skip
    axes.vlines(line.lengths, line.low, line.high, color=tint, linewidth=1.0, alpha=0.7, zorder=2)


def _dress(axes: Axes, lines: Sequence[Line], title: str, lengths: Sequence[int]) -> None:
    """Logarithmic axes with a tick at every length, a light grid and a title."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xlim(min(lengths, default=1) / 1.08, max(lengths, default=2) * 1.08)
    values = [value for line in lines for value in (*line.low, *line.high) if value > 0]
    low, high = min(values, default=1.0) / 1.25, max(values, default=10.0) * 1.25
    axes.set_ylim(low, high)
    axes.xaxis.set_major_locator(FixedLocator(_spaced(lengths)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    # Within a decade or two, the powers of ten alone would be too few to read a value off.
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if math.log10(high / low) < 2.5 else (1.0,)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(color=RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("left", "right", "top", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(title, loc="left", pad=10, color=INK)
    axes.set_xlabel("length T")
    if not lines:
        axes.text(0.5, 0.5, "nothing measured", transform=axes.transAxes, ha="center", color=MUTED)


def _spaced(lengths: Sequence[int]) -> list[int]:
    """The lengths that have room for a label: each at least a ninth of the axis from the one before."""
    if not lengths:
        return []
    gap = (max(lengths) / min(lengths)) ** (1 / 9)
    kept = [lengths[0]]
    for length in lengths[1:]:
        if length >= kept[-1] * gap:
            kept.append(length)
    return kept


def _legend(axes: Axes, lines: Sequence[Line], columns: int) -> None:
    """Below the axis: every variant with its slope."""
    if not lines:
        return
    drawn = axes.legend(
        loc="upper left", bbox_to_anchor=(-0.02, -0.135), ncols=columns, frameon=False, fontsize=9, labelcolor=INK,
        borderaxespad=0.0, handlelength=3.0, labelspacing=0.35, columnspacing=2.0,
    )  # fmt: skip
    for text in drawn.get_texts():
        text.set_parse_math(False)
