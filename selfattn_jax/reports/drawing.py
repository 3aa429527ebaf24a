"""What every plot shares: colours that colour-blind eyes can tell apart, and the same bytes for the same data."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import matplotlib
from matplotlib.figure import Figure

Format = Literal["svg", "png"]

#: One colour per series, and its like on a dark ground; chosen to differ under every common colour blindness.
SERIES = ("#0068b0", "#c44900", "#00957a", "#d07ab0", "#a88600", "#4a98d8", "#5b2a9a", "#4a4a4a")
SERIES_DARK = ("#4a9ae0", "#f2792b", "#2fb48f", "#e9a0cf", "#efd75f", "#b5e0ff", "#a46cf7", "#a8a29a")
INK, MUTED, RULE = "#1d1d1f", "#6d6d72", "#e3e3df"
INK_DARK, MUTED_DARK, RULE_DARK = "#ebe9e4", "#9c9b98", "#303136"

STYLE: dict[Any, Any] = {
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "svg.fonttype": "none",
    "svg.hashsalt": "selfattn_jax",
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.titlecolor": MUTED,
    "axes.titlesize": 9,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}


@contextmanager
def style() -> Iterator[None]:
    """Draws in the report's style, and takes any text: a letter without a glyph is no reason to warn."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def colour(index: int) -> str:
    """The colour of a series; the ninth is the first again."""
    return SERIES[index % len(SERIES)]


def image(figure: Figure, format: Format) -> bytes:
    """The figure as SVG or PNG bytes: no date, no version, no background."""
    buffer = io.BytesIO()
    empty = ("Date", "Creator", "Format", "Type") if format == "svg" else ("Software",)
    figure.savefig(buffer, format=format, dpi=160, transparent=format == "svg", metadata=dict.fromkeys(empty))
    return buffer.getvalue()


def label(text: object, limit: int) -> str:
    """Text that fits and that XML can hold: one line, printable, shortened in the middle."""
    line = "".join(letter if letter.isprintable() else "·" for letter in " ".join(str(text).split()))
    if len(line) <= limit:
        return line
    head = (limit - 1) // 2
    return f"{line[:head]}…{line[len(line) - (limit - 1 - head) :]}"


def spread(positions: list[float], gap: float, low: float, high: float) -> list[float]:
    """Moves positions apart until neighbours are `gap` away, as little as that takes, within low…high if they fit."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    clusters: list[tuple[list[int], float]] = []  # (members, bottom)
    for index in order:
        members, bottom = [index], positions[index]
        while True:
            height = gap * (len(members) - 1)
            bottom = max(low, min(bottom, high - height))
            if not clusters or clusters[-1][1] + gap * len(clusters[-1][0]) <= bottom + 1e-12:
                break
            members = clusters.pop()[0] + members
            centre = sum(positions[member] for member in members) / len(members)
            bottom = centre - gap * (len(members) - 1) / 2
        clusters.append((members, bottom))
    moved = list(positions)
    for members, bottom in clusters:
        for offset, member in enumerate(members):
            moved[member] = bottom + gap * offset
    return moved
