"""Scores along an axis: by a target's distance, its sequence's length, how hard it is; and by depth and length."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from selfattn_jax.tasks import Example

AXES = ("distance", "length", "difficulty")
BINS = 12
DEPTHS = 10


class Marked(NamedTuple):
    """Examples [N,…], what every answer of R runs to them scored (points [R,N,…]), and of each shortcut ([N,…])."""

    examples: Example
    points: np.ndarray
    shortcuts: Mapping[str, np.ndarray]


class Asked(NamedTuple):
    """What is asked in one set of examples: the distance, length and difficulty of A targets, and rows of points [.,A].

    The rows are the runs, then the shortcuts in the order of their names; one that the set does not know is NaN.
    """

    values: Mapping[str, np.ndarray]
    points: np.ndarray


def scores_along(marked: Sequence[Marked]) -> dict[str, dict[str, Any]]:
    """The mean score of each run and shortcut in bins along every axis on which targets differ, over sets of examples.

    Args:
      marked: the sets; the first is drawn as the training data are.
    Returns: axis → low and high (the bounds of each bin, both included), count (targets in it), runs ([R][bins] mean
      scores), shortcuts (name → [bins]), trained (the largest value in the first set). A mean is None where a run
      diverged, or where the bin holds targets of a set whose task has no such shortcut.
    """
    names = _shortcut_names(marked)
    asked = [_asked(one, names) for one in marked]
    points = np.concatenate([one.points for one in asked], axis=1)
    found = {}
    for axis in AXES:
        values = np.concatenate([one.values[axis] for one in asked])
        known = values > 0
        if np.unique(values[known]).size > 1:
            trained = int(asked[0].values[axis].max(initial=0))
            found[axis] = _binned(values[known], points[:, known], names) | {"trained": trained}
    return found


def scores_by_depth(marked: Sequence[Marked]) -> dict[str, Any] | None:
    """The mean score of each run and shortcut by depth and length, over sets of examples of several lengths.

        depth = 1 − distance / length

    It is 0 where what a target depends on lies a whole length away, and 1 where it lies beside it: of a question at the
    end it is the place in the sequence.

    Args:
      marked: the sets; the first is drawn as the training data are.
    Returns: low and high (the bounds of each bin of lengths, both included), count ([DEPTHS][bins] targets), runs
      ([R][DEPTHS][bins] mean scores), shortcuts (name → [DEPTHS][bins]), trained (the largest length in the first set);
      a mean is None where nothing was asked, too. None where there is one length, or a length tells the depth.
    """
    names = _shortcut_names(marked)
    asked = [_asked(one, names) for one in marked]
    distance, length = (np.concatenate([one.values[axis] for one in asked]) for axis in ("distance", "length"))
    points = np.concatenate([one.points for one in asked], axis=1)
    known = distance > 0
    distance, length, points = distance[known], length[known], points[:, known]
    lengths = np.unique(length).size
    # In whole numbers: 1 − 7 / 10 is less than 3 / 10. What lies further than a sequence is long lies at its beginning.
    depth = np.maximum(DEPTHS * (length - distance) // np.maximum(length, 1), 0)
    if lengths < 2 or np.unique(DEPTHS * length + depth).size == lengths:
        return None
    low, high = bins(length)
    column = np.searchsorted(low, length, side="right") - 1
    count, means = _means(depth * low.size + column, DEPTHS * low.size, points)
    count, means = count.reshape(DEPTHS, -1), means.reshape(len(means), DEPTHS, -1)
    kept = count.any(axis=0)
    numbers: Mapping[str, np.ndarray] = {"low": low[kept], "high": high[kept], "count": count[:, kept]}
    trained = int(asked[0].values["length"].max(initial=0))
    lists = {name: array.tolist() for name, array in numbers.items()}
    return lists | _named(means[:, :, kept], names) | {"trained": trained}


def _shortcut_names(marked: Iterable[Marked]) -> list[str]:
    """The shortcuts that any of the sets knows, in their order."""
    return list(dict.fromkeys(name for one in marked for name in one.shortcuts))


def _asked(marked: Marked, names: Sequence[str]) -> Asked:
    examples, asked = marked.examples, np.asarray(marked.examples.weights) > 0
    lengths = np.asarray(examples.key_mask).sum(axis=1)
    values = {
        "distance": np.asarray(examples.distance),
        "length": np.broadcast_to(lengths.reshape(-1, *[1] * (asked.ndim - 1)), asked.shape),
        "difficulty": np.asarray(examples.difficulty),
    }
    unknown = np.full(asked.shape, np.nan, np.float32)
    rows = [*marked.points, *(marked.shortcuts.get(name, unknown) for name in names)]
    return Asked({axis: each[asked] for axis, each in values.items()}, np.stack([row[asked] for row in rows]))


def _binned(values: np.ndarray, points: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    low, high = bins(values)
    count, means = _means(np.searchsorted(low, values, side="right") - 1, low.size, points)
    kept = count > 0
    numbers: Mapping[str, np.ndarray] = {"low": low[kept], "high": high[kept], "count": count[kept]}
    return {name: array.tolist() for name, array in numbers.items()} | _named(means[:, kept], names)


def _means(index: np.ndarray, size: int, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many targets each bin holds [size], and the mean of each row of points there [.,size]; NaN without any."""
    count = np.bincount(index, minlength=size)
    sums = np.stack([np.bincount(index, weights=row, minlength=size) for row in points])
    return count, np.where(count > 0, sums / np.maximum(count, 1), np.nan)


def _named(means: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Rows of means as runs and shortcuts, in lists that JSON can hold."""
    rows = [_listed(row) for row in means]
    runs = len(rows) - len(names)
    return {"runs": rows[:runs], "shortcuts": dict(zip(names, rows[runs:], strict=True))}


def _listed(means: np.ndarray) -> list[Any]:
    """The same in lists, None for what is not finite."""
    if means.ndim > 1:
        return [_listed(row) for row in means]
    return [float(mean) if np.isfinite(mean) else None for mean in means]


def bins(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds, both included, of bins that hold all values (positive integers): every value by itself, if they are few.

    Args:
      values: at least one.
    Returns: the lowest and the highest value of each bin; steps that grow like the values where these reach far.
    """
    different = np.unique(values)
    if different.size <= BINS:
        return different, different
    first, last = int(different[0]), int(different[-1])
    spaced = np.geomspace if last > 8 * first else np.linspace
    edges = np.unique(np.round(spaced(first, last + 1, BINS + 1)).astype(int))
    return edges[:-1], edges[1:] - 1
