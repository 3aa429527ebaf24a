"""Progress of long work: a live bar with the time left on a terminal, a plain line now and then anywhere else."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class RunProgress:
    """Shows how far the work is.

    Args:
      console: where to show it.
      total: steps of all the work.
    """

    def __init__(self, console: Console, total: int):
        self.console, self.total, self.done, self.skipped, self.label = console, total, 0, 0, ""
        self.started = self.spoken = time.monotonic()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self.bar = Progress(*columns, console=console) if console.is_terminal else None
        self.task = self.bar.add_task("", total=total, note="") if self.bar else None

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self.bar:
            self.bar.stop()

    def begin(self, label: str) -> None:
        """Says what is being worked on."""
        self.label = label
        self.note("compiling")

    def note(self, note: str) -> None:
        """Shows a short remark beside the bar."""
        if self.bar and self.task is not None:
            self.bar.update(self.task, description=self.label, note=note)

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        self.console.print(line, highlight=False)

    def making(self, what: str, done: int, total: int) -> None:
        """Shows how far the making of a task's data is."""
        self.note(f"making {what}, {done:,} of {total:,}")
        now = time.monotonic()
        if self.bar is None and now - self.spoken >= SECONDS_BETWEEN_LINES:
            self.say(f"{self.label}: making {what}, {done:,} of {total:,}")
            self.spoken = now

    def skip(self, steps: int, note: str) -> None:
        """Counts steps as done that were done before; how fast the work goes they do not tell."""
        self.skipped += steps
        self._count(steps, note)

    def advance(self, steps: int, note: str) -> None:
        """Counts steps as done."""
        self._count(steps, note)
        now = time.monotonic()
        if self.bar is None and now - self.spoken >= SECONDS_BETWEEN_LINES:
            left = (self.total - self.done) * (now - self.started) / (self.done - self.skipped)
            self.say(f"{self.label}: {self.done}/{self.total} steps, {note}, about {left:.0f} s left")
            self.spoken = now

    def _count(self, steps: int, note: str) -> None:
        self.done += steps
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=self.done, note=note)
