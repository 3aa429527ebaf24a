"""A config file, read, overridden and checked, with the means to say where in it something is wrong."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike

from selfattn_jax.config.errors import ConfigError, Problem
from selfattn_jax.config.reading import Document, read
from selfattn_jax.config.schema import Config
from selfattn_jax.config.validating import validate


def load(path: str | PathLike[str], overrides: Sequence[str] = ()) -> tuple[Config, Document]:
    """Reads a config file.

    Args:
      path: of the file.  overrides: `key.path=value`, in order.
    Returns: the config, and the document that knows where each of its keys was set.
    Raises: ConfigError with every problem at once.
    """
    document = read(path, overrides)
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
    """Adds file, line and column to what building from a document finds wrong."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(
            [replace(p, where=p.where or document.where(tuple(p.path.split(".")))) for p in error.problems]
        ) from error
