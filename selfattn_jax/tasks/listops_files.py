"""The published ListOps files of Long Range Arena, read once and kept."""

import hashlib
from functools import partial
from pathlib import Path

import numpy as np

from selfattn_jax.tasks.host_cache import Arrays, Tell, cached_arrays
from selfattn_jax.tasks.listops_formulas import ALPHABET, CLOSE, FIRST_DIGIT, FIRST_OPERATOR

FILES = {"train": "basic_train.tsv", "validation": "basic_val.tsv", "test": "basic_test.tsv"}
GROUPING = ("(", ")")
TOKENS = {word: token for token, word in enumerate(ALPHABET) if token > 0}


def files_of(folder: Path) -> dict[str, Path]:
    """The three files of a folder, by split.

    Raises: ValueError naming those that are missing.
    """
    paths = {split: folder / name for split, name in FILES.items()}
    missing = [path.name for path in paths.values() if not path.is_file()]
    if missing:
        raise ValueError(f"folder={str(folder)!r}: has no {', '.join(missing)}; wanted are {', '.join(FILES.values())}")
    return paths


def read_split(path: Path, longest: int) -> Arrays:
    """The formulas of a file, cut off behind `longest` tokens: inputs, targets and levels as of `formulas`.

    Raises: ValueError naming the line that is no formula with its value.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    content = {"version": 1, "sha256": digest, "longest": longest}
    return cached_arrays("listops_files", content, partial(_read, path, longest))


def _read(path: Path, longest: int, tell: Tell) -> Arrays:
    lines = path.read_text(encoding="utf-8").splitlines()[1:]  # the first names the columns
    inputs = np.zeros((len(lines), longest), np.uint8)
    targets, levels = np.zeros(len(lines), np.uint8), np.zeros(len(lines), np.uint8)
    for at, line in enumerate(lines):
        source, _, target = line.partition("\t")
        words = [word for word in source.split() if word not in GROUPING]
        unknown = [word for word in words if word not in TOKENS]
        if unknown or not words or target.strip() not in ALPHABET[FIRST_DIGIT:]:
            raise ValueError(
                f"{path}, line {at + 2}: must be a formula of {' '.join(ALPHABET[1:])}, a tab and a digit, got "
                f"{(unknown or [line])[0][:60]!r}"
            )
        tokens = np.array([TOKENS[word] for word in words], np.uint8)
        opens = (tokens >= FIRST_OPERATOR) & (tokens < FIRST_DIGIT)
        inside = np.cumsum(opens.astype(int)) - np.cumsum(tokens == CLOSE)
        inputs[at, : min(tokens.size, longest)], targets[at] = tokens[:longest], int(target)
        levels[at] = (inside + (tokens >= FIRST_DIGIT)).max()
        if at % 1000 == 0:
            tell(f"formulas of {path.name}", at, len(lines))
    return {"inputs": inputs, "targets": targets, "levels": levels}
