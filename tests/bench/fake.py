"""Contestants, clocks and records that take no time."""

from collections.abc import Callable
from typing import Any

from selfattn_jax.bench.contestants import Contestant
from selfattn_jax.bench.programs import Compiled, Data
from selfattn_jax.bench.record import Bench, Variant
from selfattn_jax.bench.settings import BenchSettings, Step, read_settings


class Clock:
    """Stands still unless it is told how long something takes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def takes(self, seconds: float, call: Callable[[], Any] = lambda: None) -> Callable[[], None]:
        """A call that takes so many seconds."""

        def timed() -> None:
            self.now += seconds
            call()

        return timed


class Silent:
    """Hears how far a bench is."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.notes: list[str] = []

    def note(self, note: str) -> None:
        self.notes.append(note)

    def say(self, line: str) -> None:
        self.lines.append(line)


def settings(lengths: str = "16,32", **changes: Any) -> BenchSettings:
    sizes = {"batch": 1, "heads": 2, "width": 8, "repeats": 2}
    return read_settings({"lengths": lengths} | sizes | changes)


def contestant(label: str, call: Callable[[Step, int], Callable[[], Any]], compiling: Callable[[], Any]) -> Contestant:
    """A contestant whose programs are given: of a step and a length."""

    def compile(step: Step, settings: BenchSettings, data: Data) -> Compiled:
        compiling()
        return Compiled(call(step, data.query.shape[1]), 0.5, 1000, 3)

    return Contestant(label, label, compile)


def empty_bench(*labels: str, **changes: Any) -> Bench:
    """A record in which nothing is measured yet; ratios refer to the first label."""
    variants = tuple(Variant(label=label, source=label, mixer=None, absent=None) for label in labels)
    facts: dict[str, Any] = {"date": "2026-01-01T00:00:00+00:00", "versions": {"jax": "1", "torch": None}}
    facts |= {"device": "cpu: any", "cores": 2, "against": labels[0], "variants": variants}
    return Bench(settings=settings(**changes), **facts)
