"""The folder of a run: what it holds, who may write it, and how nothing half-written stays in it."""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from selfattn_jax.config import from_mapping, read, to_yaml, validate
from selfattn_jax.config.errors import ConfigError, dotted
from selfattn_jax.config.schema import Config

LOCK = ".lock"


class FolderError(Exception):
    """An output folder that cannot take this run; the message says why and what to do."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a whole file or none: to a neighbour first, flushed to the disk, then renamed."""
    data = content.encode() if isinstance(content, str) else content
    neighbour = _neighbour(path)
    with neighbour.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    neighbour.replace(path)


def _neighbour(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


@contextmanager
def open_folder(
    folder: Path, name: str, resolved: dict[str, Any], holds: str, same: Sequence[str] = ()
) -> Iterator[None]:
    """Makes an output folder ready for a run or a study, or finds the same one begun there.

    For as long as it lasts no other process can open the folder. The operating system gives the lock back when a
    process dies, however it dies; the file `.lock` stays and means nothing by itself.

    Args:
      folder: where to write; made if missing.
      name: of the file that tells what the folder holds, such as config.yaml.
      resolved: what to hold: every key with its value.
      holds: "run" or "study", for the message.
      same: the keys that must not differ from what is there; empty = all. Other keys are written anew.
    Raises: FolderError when the folder cannot be written, is being written, or holds something else.
    """
    with ExitStack() as held:
        try:
            if folder.is_file():
                raise FolderError(f"{folder}: is a file, not a folder: choose another --out")
            folder.mkdir(parents=True, exist_ok=True)
            _check(folder, name, resolved, holds, same)  # before there is a lock: a stranger's folder stays as it is
            held.enter_context(FileLock(folder / LOCK, timeout=0))
            _check(folder, name, resolved, holds, same)  # again: what was there before the lock may have changed
            write_atomically(folder / name, to_yaml(resolved))
        except Timeout:
            message = f"{folder}: is being written by another process: wait for it, or choose another --out"
            raise FolderError(message) from None
        except OSError as error:
            reason = error.strerror or error
            raise FolderError(f"{folder}: cannot write there ({reason}): choose another --out") from error
        yield


def _check(folder: Path, name: str, resolved: dict[str, Any], holds: str, same: Sequence[str]) -> None:
    if (folder / name).exists():
        _refuse_others(folder / name, resolved, holds, same or list(resolved))
    else:
        _refuse_strangers(folder, name, holds)


def _refuse_others(path: Path, resolved: dict[str, Any], holds: str, same: Sequence[str]) -> None:
    there, here = map(_with_defaults, (read(path).data, json.loads(json.dumps(resolved))))
    lines = [line for key in same for line in _differences(there.get(key), here.get(key), (key,))]
    if lines:
        shown = "\n".join(f"  {line}" for line in lines[:5])
        more = f"\n  … and {len(lines) - 5} more" if len(lines) > 5 else ""
        message = f"{path.parent}: already holds a different {holds}: choose another --out, or remove it"
        raise FolderError(f"{message}\n{shown}{more}")


def _with_defaults(data: dict[str, Any]) -> dict[str, Any]:
    """What a file holds; a config that was written before a key existed has that key's default."""
    try:
        return validate(from_mapping(data), Config).resolved()
    except ConfigError:
        return data


def _refuse_strangers(folder: Path, name: str, holds: str) -> None:
    ours = (LOCK, _neighbour(folder / name).name)  # all that a kill at the very beginning leaves
    found = sorted(path.name for path in folder.iterdir() if path.name not in ours)
    if found:
        shown = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
        raise FolderError(f"{folder}: is not empty ({shown}) and holds no {holds}: choose another --out, or empty it")


def _differences(there: Any, here: Any, path: tuple = ()) -> Iterable[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        for key in dict.fromkeys([*there, *here]):
            yield from _differences(there.get(key), here.get(key), (*path, key))
    elif there != here:
        yield f"{dotted(path)}: there {_shown(there)}, here {_shown(here)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"


def read_config(folder: Path) -> Config:
    """The resolved config of a run folder."""
    return validate(read(folder / "config.yaml"), Config)


def append_metrics(folder: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Adds lines to metrics.jsonl."""
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, allow_nan=False) + "\n" for row in rows)


def truncate_metrics(folder: Path, step: int) -> None:
    """Drops what metrics.jsonl says of later steps than the checkpoint from which a run goes on."""
    path = folder / "metrics.jsonl"
    if not path.exists():
        return
    kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
    write_atomically(path, "".join(line + "\n" for line in kept))


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except json.JSONDecodeError:  # a line cut off by a kill
        return float("inf")


def read_result(folder: Path) -> dict[str, Any] | None:
    """result.json of a finished run, or None."""
    path = folder / "result.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
