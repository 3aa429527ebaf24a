"""Reads run and study folders as they lie on disk, finished or not."""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

RUN_FILES = ("config.yaml", "metrics.jsonl", "result.json")


class ReportError(Exception):
    """What went wrong, where, and what to do about it."""

    def __init__(self, what: str, where: Path, remedy: str):
        super().__init__(f"{what}: {where}\n  {remedy}")
        self.what, self.where, self.remedy = what, where, remedy


@dataclass(frozen=True)
class RunRecord:
    """One run folder: all seeds and learning rates of one config."""

    name: str
    folder: Path
    config: str  # the text of config.yaml
    metrics: Sequence[dict[str, Any]]
    result: dict[str, Any] | None  # None: the run has not finished
    attention: dict[str, np.ndarray] | None  # weights [layers,H,T,S], inputs [T] or [T,F]
    notes: Sequence[str] = ()

    @property
    def finished(self) -> bool:
        """Whether the run wrote its result."""
        return self.result is not None


@dataclass(frozen=True)
class StudyRecord:
    """One study folder: its table and its trials, by folder name."""

    name: str
    folder: Path
    config: str  # the text of study.yaml
    table: dict[str, Any]
    trials: dict[str, RunRecord] = field(default_factory=dict)


def is_study(folder: Path | str) -> bool:
    """Whether the folder looks like a study's."""
    return any((Path(folder) / name).exists() for name in ("study.yaml", "table.json", "trials"))


def is_run(folder: Path | str) -> bool:
    """Whether the folder looks like a run's."""
    return any((Path(folder) / name).exists() for name in RUN_FILES)


def read_run(folder: Path | str) -> RunRecord:
    """Reads a run folder; one without result.json is an unfinished run.

    Raises: ReportError for a folder that holds no run, or a file that is damaged.
    """
    folder = Path(folder)
    _check_exists(folder)
    if not is_run(folder):
        remedy = f"A run folder holds {', '.join(RUN_FILES)}. "
        remedy += "This is a study folder: read it as one." if is_study(folder) else "Give the folder of a run."
        raise ReportError("Not a run folder", folder, remedy)
    return _run(folder)


def read_study(folder: Path | str) -> StudyRecord:
    """Reads a study folder with all its trials; without table.json its table has no rows yet.

    Raises: ReportError for a folder that holds no study, or a file that is damaged.
    """
    folder = Path(folder)
    _check_exists(folder)
    if not is_study(folder):
        remedy = "A study folder holds study.yaml, table.json, trials/. "
        remedy += "This is a run folder: read it as one." if is_run(folder) else "Give the folder of a study."
        raise ReportError("Not a study folder", folder, remedy)
    table = _json(folder / "table.json") or {}
    if not isinstance(table.get("rows", []), list):
        raise ReportError("rows must be a list", folder / "table.json", "Let the study write its table again.")
    trials = sorted(path for path in (folder / "trials").glob("*") if path.is_dir())
    return StudyRecord(
        name=str(table.get("name") or folder.resolve().name),
        folder=folder,
        config=_text(folder / "study.yaml"),
        table=table,
        trials={path.name: _run(path) for path in trials},
    )


def _run(folder: Path) -> RunRecord:
    attention, notes = _attention(folder / "attention.npz")
    return RunRecord(
        name=folder.resolve().name,
        folder=folder,
        config=_text(folder / "config.yaml"),
        metrics=_json_lines(folder / "metrics.jsonl"),
        result=_json(folder / "result.json"),
        attention=attention,
        notes=notes,
    )


def _check_exists(folder: Path) -> None:
    if not folder.is_dir():
        raise ReportError("No such folder", folder, "Give the folder that a run or a study has written.")


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file, or None if there is no file."""
    if not path.is_file():
        return None
    try:
        value = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ReportError(f"Damaged JSON ({error})", path, "Run it again, or remove the file.") from error
    if not isinstance(value, dict):
        raise ReportError("Not a JSON object", path, "Run it again, or remove the file.")
    return value


def _json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines; a last line cut off while it was being written is left out."""
    lines = [(number, line) for number, line in enumerate(_text(path).split("\n"), start=1) if line.strip()]
    values = []
    for number, line in lines:
        try:
            value = json.loads(line)
            if not isinstance(value, dict):
                raise TypeError("not a JSON object")
        except (ValueError, TypeError) as error:
            if number == lines[-1][0]:
                break
            raise ReportError(f"Damaged line {number} ({error})", path, "Remove the line, or run it again.") from error
        values.append(value)
    return values


def _attention(path: Path) -> tuple[dict[str, np.ndarray] | None, tuple[str, ...]]:
    """The arrays of attention.npz, or None with a note why they cannot be shown."""
    if not path.is_file():
        return None, ()
    try:
        with path.open("rb") as file, np.load(file) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None, ("attention.npz cannot be read.",)
    if "weights" not in arrays:  # not every mixer has an attention matrix to show
        return None, ()
    if arrays["weights"].ndim != 4 or arrays["weights"].size == 0:
        return None, (f"attention.npz: weights must be [layers,H,T,S], got {list(arrays['weights'].shape)}.",)
    return arrays, ()
