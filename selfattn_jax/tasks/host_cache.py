"""Arrays that take the host long to make: made once, and kept in the user's cache folder for every later process."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

Arrays = dict[str, np.ndarray]
Tell = Callable[[str, int, int], None]


def _say_nothing(what: str, done: int, total: int) -> None:
    del what, done, total


_tell: ContextVar[Tell] = ContextVar("tell", default=_say_nothing)


@contextmanager
def told(tell: Tell) -> Iterator[None]:
    """For as long as it lasts, `tell` hears how far the making of arrays is: (what, done, total)."""
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


def cached_arrays(name: str, content: Mapping[str, Any], make: Callable[[Tell], Arrays]) -> Arrays:
    """Arrays by what they are made of: read from the cache folder, or made and put there.

    The file is named by a hash of `content`, so that other knobs or another version are another file. Whoever comes
    while another process makes it waits for that; a file that was cut off or changed is made anew.

    Args:
      name: of the task, the beginning of the file's name.
      content: all that the arrays depend on, such as version and knobs; goes through JSON.
      make: makes the arrays; is handed what to tell of its progress.

    Returns: the arrays by name.
    """
    described = json.dumps({"name": name, **content}, sort_keys=True)
    digest = hashlib.sha256(described.encode()).hexdigest()[:16]
    path = cache_folder() / "tasks" / f"{name}-{digest}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        found = _read(path)
        if found is None:
            found = make(_tell.get())
            _write(path, found)
    return found


def cache_folder() -> Path:
    """Where this user's files are that can be made again: SELFATTN_CACHE, or selfattn_jax in XDG_CACHE_HOME."""
    own = os.environ.get("SELFATTN_CACHE")
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selfattn_jax"


def _read(path: Path) -> Arrays | None:
    """The arrays of a file, or None where there is none or it is not whole: every member has a checksum."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None


def _write(path: Path, arrays: Arrays) -> None:
    """Writes a whole file or none."""
    neighbour = path.with_suffix(".partial")
    with neighbour.open("wb") as file:
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]  an array may have any name
        file.flush()
        os.fsync(file.fileno())
    neighbour.replace(path)
