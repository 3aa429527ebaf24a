"""One length after the other: who is ready, who is left out and why."""

from collections.abc import Callable
from typing import Any

import pytest

from selfattn_jax.bench.contestants import contestants
from selfattn_jax.bench.measuring import measure
from selfattn_jax.bench.record import Row
from tests.bench.fake import Clock, contestant, settings


def rows_of(found: list, changed: Any, clock: Clock) -> dict[int, dict[str, Row]]:
    return {
        length: {row.variant: row for row in rows}
        for length, rows in measure(found, changed, lambda note: None, clock=clock)
    }


def test_all_are_compiled_and_warmed_up_before_any_is_timed():
    clock, order = Clock(), []

    def programs(label: str) -> Callable:
        return lambda step, length: clock.takes(0.2, lambda: order.append(label + step[7:8]))

    found = [contestant(label, programs(label), lambda label=label: order.append("!" + label)) for label in "ab"]
    rows = rows_of(found, settings("16"), clock)[16]
    begun = ["!a", "a", "!a", "a_", "!b", "b", "!b", "b_"]
    assert order == begun + ["a", "a_", "b", "b_"] * 2
    assert rows["a"].forward is not None and rows["a"].forward.samples == pytest.approx((0.2, 0.2))
    assert (rows["a"].compile_seconds, rows["a"].temporary_bytes, rows["a"].parameters) == (0.5, 1000, 3)


def test_what_a_form_cannot_compute_leaves_its_reason_and_the_others_go_on():
    found = contestants(["bad={implementation: blockwise, normalizer: sparsemax}", "dense"])
    ((length, (bad, dense)),) = measure(found, settings("16"), lambda note: None)
    assert length == 16 and bad.forward is None and bad.compile_seconds is None
    assert bad.reason is not None and bad.reason.startswith("sparsemax needs")
    assert dense.reason is None and dense.forward is not None and dense.forward_backward is not None


def test_what_cannot_be_differentiated_keeps_its_forward_time():
    clock = Clock()

    def no_gradient(step: str, length: int) -> Callable:
        def call() -> None:
            clock.now += 0.2
            if step == "forward_backward":
                raise NotImplementedError("no gradient here")

        return call

    row = rows_of([contestant("one", no_gradient, lambda: None)], settings("16"), clock)[16]["one"]
    assert row.forward is not None and row.forward_backward is None and row.reason == "no gradient here"


def test_longer_lengths_past_the_budget_are_left_out_and_said_so():
    clock = Clock()

    def square(step: str, length: int) -> Callable:
        return clock.takes((length / 16) ** 2)

    found = [contestant("slow", square, clock.takes(1.0)), contestant("quick", lambda *_: clock.takes(0.1), str)]
    # At 32: 2 s to compile and (1 + 2) · 2 · 4 s; at 64: 2 + 3 · 2 · 16 s.
    rows = rows_of(found, settings("16,32,64", budget=30.0), clock)
    assert rows[32]["slow"].forward is not None
    assert rows[64]["slow"].forward is None and rows[64]["slow"].compile_seconds is None
    assert rows[64]["slow"].reason == "left out: it would take about 98 s, the budget is 30 s (--budget)"
    assert rows[64]["quick"].forward is not None


def test_the_first_length_is_left_out_too_once_it_is_known_to_take_too_long():
    clock = Clock()
    slow = contestant("slow", lambda *_: clock.takes(10.0), lambda: None)
    row = rows_of([slow], settings("16", budget=59.0), clock)[16]["slow"]
    assert clock.now == 20.0  # one call of each program, none that is timed
    assert row.forward is None and row.temporary_bytes == 1000
    assert row.reason == "left out: it would take about 60 s, the budget is 59.0 s (--budget)".replace("59.0", "59")


def test_forward_alone():
    ((_, (row,)),) = measure(contestants(["linear"]), settings("16", backward=False), lambda note: None)
    assert row.forward is not None and row.forward_backward is None and row.reason is None
    assert row.compile_seconds is not None
