"""A config file, read, overridden and checked, with the means to say where in it something is wrong."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike, fspath

from selfattn_jax.config.errors import ConfigError, Origin, Path, Problem, shown_file, wrong
from selfattn_jax.config.reading import Document, read
from selfattn_jax.config.schema import Config
from selfattn_jax.config.validating import validate

STUDY_KEYS = ("base", "config", "variants", "grid")


def load(path: str | PathLike[str], overrides: Sequence[str] = ()) -> tuple[Config, Document]:
    """Reads a config file.

    Args:
      path: of the file.  overrides: `key.path=value`, in order.
    Returns: the config, and the document that knows where each of its keys was set.
    Raises: ConfigError with every problem at once.
    """
    document = read(path, overrides)
    study = next((key for key in STUDY_KEYS if key in document.data), None)
    if study and "task" not in document.data:
        message = f"is a key of a study, this command takes a config: selfattn compare {shown_file(fspath(path))}"
        raise wrong(document.where((study,)), study, message)
    config = validate(document, Config)
    check_sweep(config, overrides)
    return config, document


def check_sweep(config: Config, overrides: Sequence[str]) -> None:
    """Refuses an override of a setting that the sweep gives values to: it would change nothing.

    Raises: ConfigError naming the override.
    """
    swept = {key: values for key, values in config.runs.sweep.model_dump(by_alias=True).items() if values}
    problems = [
        Problem(
            where=f"command line: {override}",
            path=key,
            message=f"is swept by runs.sweep, which would win; write runs.sweep.{key}=[…], or =[] to end the sweep",
        )
        for override in overrides
        if (key := override.partition("=")[0].strip()) in swept
    ]
    if problems:
        raise ConfigError(problems)


@contextmanager
def located(document: Document) -> Iterator[None]:
    """Adds the place to what building from a document finds wrong: file, line and column, or the override."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError([replace(p, where=p.where or _place(document, p)) for p in error.problems]) from error


def _place(document: Document, problem: Problem) -> str:
    """Where to change what building refuses.

    It refuses a piece as a whole, but an override or a study may have set a key inside it: the keys that the message
    names count most, then whatever the command line sets there, then the piece itself.
    """
    path: Path = tuple(problem.path.split("."))
    own = document.where(path)
    words = re.findall(r"\w+", problem.message)
    inside = {at: origin for at, origin in document.origins.items() if at[: len(path)] == path and len(at) > len(path)}
    elsewhere = {at: origin for at, origin in inside.items() if isinstance(origin, str) or not _beside(origin, own)}
    named = [origin for at, origin in elsewhere.items() if at[-1] in words]
    chosen = named or [origin for origin in elsewhere.values() if isinstance(origin, str)]
    return ", ".join(dict.fromkeys(map(str, chosen))) or own


def _beside(origin: Origin, place: str) -> bool:
    return place.startswith(f"{shown_file(origin.file)}:")
