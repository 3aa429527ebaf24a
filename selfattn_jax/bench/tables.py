"""A bench for the terminal: a section per length, then how the figures grow, then what is missing and why."""

from collections.abc import Iterable

from rich.box import HORIZONTALS
from rich.table import Table
from rich.text import Text

from selfattn_jax.bench.record import Bench, Row
from selfattn_jax.reports.formats import MISSING, listed, quantity, short_time


def bench_table(bench: Bench) -> Table:
    """The figures of every variant at every length; the reference's row is bold.

    Args:
      bench: with at least one length.
    Returns: the table.
    """
    settings = bench.settings
    sizes = f"batch {settings.batch}, {settings.heads} heads of width {settings.width}, {settings.dtype}"
    causal = ", causal" if settings.causal else ""
    caption = f"{sizes}{causal}; medians of {settings.repeats}; ×: over the time of {bench.against}."
    view = Table(title=Text(bench.device, style="bold"), caption=Text(caption), box=HORIZONTALS)
    view.title_justify = view.caption_justify = "left"
    view.add_column("length", justify="right")
    view.add_column("variant", overflow="fold")
    for name in _columns(bench):
        view.add_column(name, justify="right", no_wrap=True)
    for one in bench.lengths:
        for index, row in enumerate(one.rows):
            cells = (f"{one.length:,}" if index == 0 else "", row.variant, *_cells(bench, row))
            view.add_row(*map(Text, cells), style="bold" if row.variant == bench.against else None)
        view.add_section()
    return view


def slope_table(bench: Bench) -> Table:
    """The exponents with which time and memory grow with length, beside those that the catalogue's formulas claim.

    Args:
      bench: with at least one length.
    Returns: the table.
    """
    view = Table(title=Text("growth with length T", style="bold"), box=HORIZONTALS)
    view.title_justify = "left"
    view.add_column("variant", overflow="fold")
    both = ("forward + backward",) if bench.settings.backward else ()
    claimed = {one.label: (one.time_power, one.memory_power) for one in bench.variants}
    for name in ("forward", *both, "claimed", "memory", "claimed"):
        view.add_column(name, justify="right", no_wrap=True)
    for one in bench.slopes:
        backward = (one.forward_backward,) if bench.settings.backward else ()
        of_time, of_memory = map(power, claimed[one.variant])
        cells = (one.variant, *map(power, (one.forward, *backward)), of_time, power(one.memory), of_memory)
        view.add_row(*map(Text, cells))
    return view


def missing(bench: Bench) -> list[str]:
    """What is not there, and why: a line for each variant and reason, with the lengths that it holds for."""
    lines = [f"{one.label}: {one.absent}" for one in bench.variants if one.absent is not None]
    lengths: dict[tuple[str, str], list[int]] = {}
    for one in bench.lengths:
        for row in one.rows:
            if row.reason is not None:
                lengths.setdefault((row.variant, row.reason), []).append(one.length)
    return lines + [f"{label} at {_listed(there)}: {why}" for (label, why), there in lengths.items()]


def power(exponent: float | None) -> str:
    """An exponent as a power of the length, such as T^1.98."""
    return MISSING if exponent is None else f"T^{exponent:.2f}"


def _columns(bench: Bench) -> tuple[str, ...]:
    both = ("forward + backward", "×") if bench.settings.backward else ()
    return ("forward", "×", *both, "compile", "memory")


def _cells(bench: Bench, row: Row) -> tuple[str, ...]:
    both = (short_time(row.median("forward_backward")), _ratio(row.forward_backward_ratio))
    return (
        short_time(row.median("forward")),
        _ratio(row.forward_ratio),
        *(both if bench.settings.backward else ()),
        short_time(row.compile_seconds),
        quantity(row.temporary_bytes, "B"),
    )


def _ratio(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"


def _listed(lengths: Iterable[int]) -> str:
    return listed([f"{length:,}" for length in lengths])
