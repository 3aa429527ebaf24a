"""Calls timed in turns, so that what else the machine does meets all of them alike; medians and quartiles."""

import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

Name = TypeVar("Name", bound=Hashable)
Clock = Callable[[], float]

#: What ends a variant, not the bench: what a form cannot compute, what does not fit, what has no kernel here.
FAILURES = (ValueError, TypeError, RuntimeError, MemoryError, ImportError)
SHORT = 0.1  # seconds: what comes before a call matters to it


class Summary(NamedTuple):
    """Of some samples, in seconds: the median, and the quartiles below and above it."""

    median: float
    low: float
    high: float


def interleaved(
    calls: Mapping[Name, Callable[[], Any]], repeats: int, *, clock: Clock = time.perf_counter
) -> tuple[dict[Name, list[float]], dict[Name, str]]:
    """Gives every call a turn, then every call another one: round after round, in their order.

    In its turn a short call is made twice and the second time counts: the first finds the caches full of what the call
    before left there, and its own threads asleep.

    Args:
      calls: name → what is timed; it returns when it is done.
      repeats: rounds.
      clock: seconds.
    Returns: name → seconds of each round; name → reason for a call that failed, which is not called again.
    """
    samples: dict[Name, list[float]] = {name: [] for name in calls}
    failures: dict[Name, str] = {}
    for _ in range(repeats):
        for name, call in calls.items():
            if name in failures:
                continue
            try:
                seconds = seconds_of(call, clock)
                samples[name].append(seconds_of(call, clock) if seconds < SHORT else seconds)
            except FAILURES as error:
                failures[name] = reason(error)
    return {name: times for name, times in samples.items() if name not in failures}, failures


def seconds_of(call: Callable[[], Any], clock: Clock) -> float:
    """How long a call takes."""
    began = clock()
    call()
    return clock() - began


def summary(samples: list[float]) -> Summary:
    """The median and the quartiles, interpolated between samples.

    Args:
      samples: at least one.
    Returns: the summary.
    """
    low, median, high = np.percentile(samples, [25, 50, 75])
    return Summary(float(median), float(low), float(high))


def reason(error: BaseException) -> str:
    """An error in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= 240 else f"{line[:239]}…"


def expected(fixed: float, call: float, repeats: int, growth: float = 1.0) -> float:
    """How long a variant will take at one length.

    Args:
      fixed: seconds until its programs are ready.
      call: seconds of one call of each of them.
      repeats: rounds, beside the one that warms up.
      growth: how much longer a call will take than that.
    Returns: seconds.
    """
    return fixed + (1 + repeats) * call * growth
