"""Progress of a bench: on a terminal what it is doing right now, everywhere a line for every length."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.text import Text


class BenchProgress:
    """Shows how far a bench is.

    Args:
      console: where to show it.
    """

    def __init__(self, console: Console):
        self.console, self.status = console, console.status("")

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.status.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.status.stop()

    def note(self, note: str) -> None:
        """Shows what is being worked on."""
        self.status.update(Text(note))

    def say(self, line: str) -> None:
        """Prints a line that stays."""
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
