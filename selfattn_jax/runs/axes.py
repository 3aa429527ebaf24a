"""Scores along an axis: by the distance of a target, the length of its sequence, or how hard it is."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from selfattn_jax.tasks import Example

AXES = ("distance", "length", "difficulty")
BINS = 12


class Marked(NamedTuple):
    """Examples [N,…] and what every answer of R runs to them scored: points [R,N,…]."""

    examples: Example
    points: np.ndarray


def scores_along(marked: Sequence[Marked]) -> dict[str, dict[str, Any]]:
    """The mean score of each run in bins along every axis on which targets differ, over several sets of examples.

    Args:
      marked: the sets; the first is drawn as the training data are.
    Returns: axis → low and high (the bounds of each bin, both included), count (targets in it), runs ([R][bins] mean
      scores), trained (the largest value in the first set).
    """
    found = {}
    for axis in AXES:
        parts = [_asked(one, axis) for one in marked]
        values = np.concatenate([values for values, _ in parts])
        points = np.concatenate([points for _, points in parts], axis=1)
        known = values > 0
        if np.unique(values[known]).size > 1:
            first = parts[0][0]
            found[axis] = _binned(values[known], points[:, known]) | {"trained": int(first.max(initial=0))}
    return found


def _asked(marked: Marked, axis: str) -> tuple[np.ndarray, np.ndarray]:
    """The axis' value of every target that is asked [A], and its points [R,A]."""
    examples, asked = marked.examples, np.asarray(marked.examples.weights) > 0
    if axis == "length":
        lengths = np.asarray(examples.key_mask).sum(axis=1)
        values = np.broadcast_to(lengths.reshape(-1, *[1] * (asked.ndim - 1)), asked.shape)
    else:
        values = np.asarray(getattr(examples, axis))
    return values[asked], marked.points[:, asked]


def _binned(values: np.ndarray, points: np.ndarray) -> dict[str, Any]:
    low, high = bins(values)
    index = np.searchsorted(low, values, side="right") - 1
    count = np.bincount(index, minlength=low.size)
    kept = count > 0
    sums = np.stack([np.bincount(index, weights=row, minlength=low.size) for row in points])
    means = sums[:, kept] / count[kept]
    numbers: Mapping[str, np.ndarray] = {"low": low[kept], "high": high[kept], "count": count[kept]}
    return {name: array.tolist() for name, array in numbers.items()} | {
        "runs": [[float(mean) if np.isfinite(mean) else None for mean in row] for row in means]
    }


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
