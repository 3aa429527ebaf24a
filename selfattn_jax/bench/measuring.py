"""Measures every variant at one length after the other: all are compiled and warmed up first, then timed in turns."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from selfattn_jax.bench.contestants import Contestant
from selfattn_jax.bench.fitting import growth
from selfattn_jax.bench.programs import Data, draw
from selfattn_jax.bench.record import Row, Times
from selfattn_jax.bench.settings import BenchSettings, Step
from selfattn_jax.bench.timing import FAILURES, Clock, expected, interleaved, reason, seconds_of
from selfattn_jax.reports.formats import duration

Note = Callable[[str], None]


@dataclass
class Started:
    """A variant made ready at one length: what to time, and what is known before.

    Attributes:
      calls: step → program that has run once; empty where none is to be timed.
      ready_seconds: until its programs were compiled.
      call_seconds: of one call of each of them.
    """

    calls: dict[Step, Callable[[], Any]] = field(default_factory=dict)
    ready_seconds: float = 0.0
    call_seconds: float = 0.0
    compile_seconds: float | None = None
    temporary_bytes: int | None = None
    parameters: int = 0
    reason: str | None = None


class Budget:
    """Knows which variants have become too slow.

    Args:
      seconds: that a variant may take at one length.
      repeats: how often each program is timed.
    """

    def __init__(self, seconds: float, repeats: int):
        self.seconds, self.repeats = seconds, repeats
        self.known: dict[str, list[tuple[int, float]]] = {}
        self.ready: dict[str, float] = {}

    def keep(self, label: str, length: int, started: Started) -> None:
        """Remembers how long a variant took."""
        if started.call_seconds > 0:
            self.known.setdefault(label, []).append((length, started.call_seconds))
            self.ready[label] = started.ready_seconds

    def refusal(self, label: str, length: int) -> str | None:
        """Why a variant is left out at a length, or None: what it took at shorter ones tells."""
        if label not in self.known:
            return None
        before = self.known[label]
        needed = expected(self.ready[label], before[-1][1], self.repeats, growth(before, length))
        return self.too_long(needed)

    def too_long(self, needed: float) -> str | None:
        """The reason why so many seconds are too many, or None."""
        if needed <= self.seconds:
            return None
        return f"left out: it would take about {duration(needed)}, the budget is {duration(self.seconds)} (--budget)"


def measure(
    found: Sequence[Contestant], settings: BenchSettings, note: Note, *, clock: Clock = time.perf_counter
) -> Iterator[tuple[int, list[Row]]]:
    """Measures length after length.

    Args:
      found: who takes part.
      settings: what is measured.
      note: told what is being worked on.
      clock: seconds.
    Returns: (length, a row for every variant), as soon as a length is finished.
    """
    budget = Budget(settings.budget, settings.repeats)
    for length in settings.lengths:
        data = jax.block_until_ready(draw(settings, length))
        started = {}
        for one in found:
            note(f"length {length}: compiling {one.label}")
            started[one.label] = _begin(one, settings, data, budget, clock)
        note(f"length {length}: timing")
        calls = {(label, step): call for label, ready in started.items() for step, call in ready.calls.items()}
        samples, failures = interleaved(calls, settings.repeats, clock=clock)
        yield length, [_row(label, ready, samples, failures) for label, ready in started.items()]


def _begin(one: Contestant, settings: BenchSettings, data: Data, budget: Budget, clock: Clock) -> Started:
    """Makes a variant ready, unless it would take too long."""
    length = data.query.shape[1]
    refusal = budget.refusal(one.label, length)
    if refusal is not None:
        return Started(reason=refusal)
    started = start(one, settings, data, clock)
    budget.keep(one.label, length, started)
    refusal = budget.too_long(expected(started.ready_seconds, started.call_seconds, settings.repeats))
    if refusal is not None and started.calls:
        started.calls, started.reason = {}, refusal
    return started


def start(one: Contestant, settings: BenchSettings, data: Data, clock: Clock) -> Started:
    """Compiles the programs of a variant and runs each once; the first that fails leaves its reason.

    Args:
      one: the variant.  settings: what is measured.  data: of one length.  clock: seconds.
    Returns: what is ready; compile time, memory and parameters are of the last program of settings.
    """
    started = Started()
    for step in settings.steps:
        try:
            began = clock()
            program = one.compile(step, settings, data)
            started.ready_seconds += clock() - began
            if step == settings.steps[-1]:
                started.compile_seconds, started.temporary_bytes = program.seconds, program.temporary_bytes
            started.parameters = program.parameters
            first = warm = seconds_of(program.call, clock)
            if program.seconds is None:  # it may have compiled in that call
                warm = seconds_of(program.call, clock)
        except FAILURES as error:
            started.reason = reason(error)
            break
        started.ready_seconds += max(0.0, first - warm)
        started.call_seconds += warm
        started.calls[step] = program.call
    return started


def _row(
    label: str,
    ready: Started,
    samples: dict[tuple[str, Step], list[float]],
    failures: dict[tuple[str, Step], str],
) -> Row:
    """The row of a variant at one length."""
    forward, both = samples.get((label, "forward")), samples.get((label, "forward_backward"))
    failed = next((why for (name, _), why in failures.items() if name == label), None)
    return Row(
        variant=label,
        forward=Times.of(forward) if forward else None,
        forward_backward=Times.of(both) if both else None,
        compile_seconds=ready.compile_seconds,
        temporary_bytes=ready.temporary_bytes,
        parameters=ready.parameters,
        reason=ready.reason or failed,
    )
