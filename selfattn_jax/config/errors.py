"""What is wrong with a config, where it stands, and what may have been meant."""

import difflib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Origin:
    """A place in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{shown_file(self.file)}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and where.

    Args:
      where: `file:line:column`, or `command line: key=value` for an override.
      path: the dotted key, such as `model.mixer.biases.0.name`; empty for the whole file.
      message: what is wrong, in plain words.
      suggestion: what may have been meant, or None.
    """

    where: str
    path: str
    message: str
    suggestion: str | None = None


class ConfigError(Exception):
    """Every problem of a config at once; `str()` prints one per line.

    Args:
      problems: at least one, in the order in which they are printed.
    """

    def __init__(self, problems: Sequence[Problem]):
        super().__init__(problems)
        self.problems = list(problems)

    def __str__(self) -> str:
        where = max((len(problem.where) for problem in self.problems), default=0)
        path = max((len(problem.path) for problem in self.problems), default=0)
        return "\n".join(_line(problem, where, path) for problem in self.problems)


def _line(problem: Problem, where: int, path: int) -> str:
    columns = [problem.where.ljust(where), problem.path.ljust(path) if path else "", problem.message]
    if problem.suggestion is not None:
        columns.append(f"did you mean {problem.suggestion}?")
    return "  ".join(column for column in columns if column)


def wrong(place: Origin | str, path: str, message: str, suggestion: str | None = None) -> ConfigError:
    """An error of one problem, to be raised."""
    return ConfigError([Problem(str(place), path, message, suggestion)])


def gathered(function: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """The function of every item. Raises: ConfigError with the problems of all items that have some."""
    results, problems = [], []
    for item in items:
        try:
            results.append(function(item))
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(problems)
    return results


def shown_file(file: str) -> str:
    """The file's path, relative to the current directory where that is shorter."""
    return min(os.path.relpath(file), os.path.abspath(file), key=len)


def dotted(path: Path) -> str:
    """The path as a key that an override can use: `("biases", 0, "slope")` → `biases.0.slope`."""
    return ".".join(str(part) for part in path)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that looks most like this one, or None when none does."""
    lowered = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(word.lower(), lowered, n=1)
    return lowered[found[0]] if found else None


def shown(value: Any) -> str:
    """A value as it would stand in a config: text in quotes, cut when long; `true`, `null`, `a mapping`."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…{text[0] if isinstance(value, str) else ''}"
