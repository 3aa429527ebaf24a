"""Checkpoints of a run folder: Orbax, wrapped in one place. A kill at any moment leaves the last whole one readable."""

import gc
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jax.errors import JaxRuntimeError
from orbax.checkpoint import v1 as ocp

from selfattn_jax.runs.folder import FolderError

KEPT = 2
# What Orbax says of the half checkpoints that a kill leaves: it passes over them and removes them, nobody need act.
NOISE = ("Metadata file does not exist", "Attempted to create temporary directory")


def save(folder: Path, step: int, states: Any) -> None:
    """Writes the states [R] after `step` steps, and drops all but the newest checkpoints.

    Args:
      folder: of the run.  step: how many steps were taken.  states: a pytree of NumPy arrays.
    """
    with _checkpointer(folder) as checkpointer:
        if checkpointer.latest is None or checkpointer.latest.step != step:
            checkpointer.save(step, states)


def latest_step(folder: Path) -> int | None:
    """The step of the newest whole checkpoint, or None if there is none."""
    if not (folder / "checkpoints").is_dir():
        return None
    with _checkpointer(folder) as checkpointer:
        return None if checkpointer.latest is None else checkpointer.latest.step


def restore(folder: Path, step: int, like: Any) -> Any:
    """Reads the states [R] of a checkpoint.

    Args:
      folder: of the run.  step: from `latest_step`.
      like: states of the same structure and shapes; Orbax forgets named tuples unless told what to build.
    Returns: the states, in NumPy: they do not remember the devices that they were on.
    Raises: FolderError for a checkpoint that cannot be read, saying why and what to do.
    """
    with _silence():
        try:
            with _checkpointer(folder) as checkpointer:
                return checkpointer.load(step, like)
        except (MemoryError, JaxRuntimeError):  # no fault of the checkpoint
            raise
        except Exception as error:  # Orbax has no error of its own: KeyError, ValueError, OSError … by what is missing
            first = next(iter(str(error).splitlines()), "")
            reason = f"{type(error).__name__}: {first[:160]}"
        # Reads under way fail a moment later, and tasks that failed say so when freed: let it be while nobody listens.
        time.sleep(0.5)
        gc.collect()
    path = folder / "checkpoints" / str(step)
    earlier = [int(other.name) for other in path.parent.iterdir() if other.name.isdecimal() and int(other.name) < step]
    then = f"goes on from step {max(earlier)}" if earlier else "begins again"
    raise FolderError(
        f"{path}: this checkpoint is damaged, or of another version: remove it, and the same command {then} ({reason})"
    )


@contextmanager
def _checkpointer(folder: Path) -> Iterator[ocp.training.Checkpointer]:
    policy: Any = ocp.training.preservation_policies.LatestN(KEPT)  # two of Orbax's own types disagree here
    place = str((folder / "checkpoints").absolute())
    with (
        _without(logging.getLogger("absl"), NOISE),
        ocp.training.Checkpointer(place, preservation_policy=policy) as one,
    ):
        yield one


@contextmanager
def _without(logger: logging.Logger, beginnings: tuple[str, ...]) -> Iterator[None]:
    """Drops what a logger says with one of these beginnings."""

    def heard(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(beginnings)

    logger.addFilter(heard)
    try:
        yield
    finally:
        logger.removeFilter(heard)


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing but our own error tells of a damaged checkpoint: not the loggers, nor the callbacks of the event loop."""
    everything = ("",)
    absl, asyncio = logging.getLogger("absl"), logging.getLogger("asyncio")
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: None
    try:
        with _without(absl, everything), _without(asyncio, everything):
            yield
    finally:
        sys.unraisablehook = before
