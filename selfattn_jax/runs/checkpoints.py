"""Checkpoints of a run folder: Orbax, wrapped in one place. A kill at any moment leaves the last whole one readable."""

from pathlib import Path
from typing import Any

from orbax.checkpoint import v1 as ocp

KEPT = 2


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
    """
    with _checkpointer(folder) as checkpointer:
        return checkpointer.load(step, like)


def _checkpointer(folder: Path) -> ocp.training.Checkpointer:
    policy: Any = ocp.training.preservation_policies.LatestN(KEPT)  # two of Orbax's own types disagree here
    return ocp.training.Checkpointer(str((folder / "checkpoints").absolute()), preservation_policy=policy)
