"""Ratios, slopes, tables and JSON of a record whose numbers are set by hand."""

import io

import pytest
from rich.console import Console

from selfattn_jax.bench.plots import bench_plot, memory_lines, time_lines
from selfattn_jax.bench.record import Bench, Row, Times
from selfattn_jax.bench.tables import bench_table, missing, power, slope_table
from tests.bench.fake import empty_bench

PNG = b"\x89PNG\r\n"


def row(label: str, seconds: float, memory: int | None = None) -> Row:
    times = Times.of([seconds, 2 * seconds, 3 * seconds])
    return Row(variant=label, forward=Times.of([seconds]), forward_backward=times, temporary_bytes=memory)


def bench() -> Bench:
    """`a` grows as T in time and T² in memory; `b` as T², and fails at the longest length."""
    record = empty_bench("a", "b", lengths="16,32,64")
    for length in (16, 32):
        rows = [row("a", 1e-3 * length, 10 * length**2), row("b", 1e-4 * length**2)]
        record = record.with_length(length, rows)
    return record.with_length(64, [row("a", 0.064, 40960), Row(variant="b", reason="too large")])


def printed(*tables: object) -> str:
    text = io.StringIO()
    Console(width=120, file=text).print(*tables)
    return text.getvalue()


def test_ratios_are_of_the_medians():
    first, second, third = bench().lengths
    assert [one.forward_backward_ratio for one in first.rows] == pytest.approx([1.0, 1.6])
    assert [one.forward_ratio for one in second.rows] == pytest.approx([1.0, 3.2])
    assert third.rows[1].forward_ratio is None and third.rows[0].forward_ratio == 1.0


def test_without_the_reference_there_is_no_ratio():
    record = empty_bench("a", "b").with_length(16, [Row(variant="a", reason="gone"), row("b", 1.0)])
    assert [one.forward_ratio for one in record.lengths[0].rows] == [None, None]


def test_slopes_are_of_the_lengths_that_a_variant_has():
    a, b = bench().slopes
    assert (a.forward, a.forward_backward, a.memory) == pytest.approx((1.0, 1.0, 2.0))
    assert b.forward_backward == pytest.approx(2.0) and b.memory is None


def test_a_record_is_the_same_after_json():
    record = bench()
    assert Bench.model_validate_json(record.model_dump_json(indent=2)) == record


def test_the_tables_hold_every_figure_in_units_fit_for_reading():
    record = bench()
    text = printed(bench_table(record))
    for word in ("16", "32 ms", "1.60", "51.2 ms", "2.56 kB", "41 kB", "over the time of a", "float32"):
        assert word in text
    text = printed(slope_table(record))
    assert "T^1.00" in text and "T^2.00" in text and power(None) == "–"
    assert missing(record) == ["b at 64: too large"]


def test_without_gradients_the_tables_have_no_columns_for_them():
    record = empty_bench("a", backward=False).with_length(16, [Row(variant="a", forward=Times.of([1.0]))])
    assert "backward" not in printed(bench_table(record), slope_table(record))
    assert time_lines(record)[0].values == [1.0]


def test_the_plot_has_a_line_for_every_variant_that_has_points():
    record = bench()
    a, b = time_lines(record)
    assert (a.label, list(a.lengths), a.slope) == ("a", [16, 32, 64], pytest.approx(1.0))
    assert a.values == pytest.approx([0.032, 0.064, 0.128]) and a.low == pytest.approx([0.024, 0.048, 0.096])
    assert list(b.lengths) == [16, 32]
    assert [list(line.lengths) for line in memory_lines(record)] == [[16, 32, 64], []]
    svg = bench_plot(record, format="svg").decode()
    for word in ("a   T^1.00", "b   T^2.00", "a   T^2.00", "length T", "100 ms", "10 kB"):
        assert f">{word}<" in svg
    assert bench_plot(record).startswith(PNG) and bench_plot(record, format="svg").decode() == svg


def test_a_plot_of_nothing_says_so():
    record = empty_bench("a").with_length(16, [Row(variant="a", reason="gone")])
    assert "nothing measured" in bench_plot(record, format="svg").decode()


def test_the_growth_that_the_catalogue_claims_stands_beside_the_growth_found():
    record = bench()
    claimed = [one.model_copy(update={"time_power": 1, "memory_power": 2}) for one in record.variants[:1]]
    text = printed(slope_table(record.model_copy(update={"variants": (*claimed, *record.variants[1:])})))
    assert [line.split() for line in text.splitlines() if line.strip()[:2] in ("a ", "b ")] == [
        ["a", "T^1.00", "T^1.00", "T^1.00", "T^2.00", "T^2.00"],
        ["b", "T^2.00", "T^2.00", "–", "–", "–"],
    ]
