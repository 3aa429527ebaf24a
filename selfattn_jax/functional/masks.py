"""Masks: may this query attend to this key? Boolean, True = may attend; they combine with & | ~.

    masks.causal & bind(masks.window, left=8) | bind(masks.prefix, length=4)

A mask is a predicate over positions (causal, window, prefix; patterns in `patterns`), or holds data with leading T or S
(padding, segments, tree, array). Your own is any function of (query_positions, key_positions): wrap it in `Mask` to
combine it. `materialize` and `density` show what a mask lets through.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from selfattn_jax.functional.bind import Bound, Lead, bind, call, lead, register
from selfattn_jax.shapes import Array, NonNegativeInt, PositiveInt, check_shapes


@register
class Mask(Bound):
    """A bound mask; & means both, | means either, ~ means not."""

    def __and__(self, other: Any) -> "Mask":
        return Mask(all_of, {"first": self, "second": as_mask(other)})

    def __or__(self, other: Any) -> "Mask":
        return Mask(any_of, {"first": self, "second": as_mask(other)})

    def __invert__(self) -> "Mask":
        return Mask(none_of, {"mask": self})

    def shift(self, queries: int = 0, keys: int = 0) -> "Mask":
        """The mask as it looks from positions moved on: `causal.shift(queries=1)` sees one key further.

        Args:
          queries: added to the positions of the queries.  keys: added to those of the keys.
        Returns: the mask.
        """
        return Mask(shifted, {"mask": self, "queries": queries, "keys": keys})


def as_mask(mask: Any) -> Mask:
    """Makes a mask of what a user passes: a mask, a predicate, or a boolean array.

    Args:
      mask: a Mask, a function of (query_positions, key_positions), a bool array [T,S], or `lead(bool array, letters)`.

    Returns: the mask.
    Raises: TypeError for an array that is not boolean; ValueError for one that is not [T,S] and does not say its axes.
    """
    if isinstance(mask, Mask):
        return mask
    if isinstance(mask, Bound) or (callable(mask) and not hasattr(mask, "dtype")):
        bound = bind(mask)
        return Mask(bound.function, bound.knobs)
    values = jnp.asarray(mask.array if isinstance(mask, Lead) else mask)
    if values.dtype != jnp.bool_:
        raise TypeError(
            f"mask must be boolean (True = may attend), got {values.dtype}: compare it first, or pass an additive mask "
            "as a bias"
        )
    if not isinstance(mask, Lead) and values.ndim != 2:
        raise ValueError(
            f"mask must be [T,S], got shape {list(values.shape)}: say which leading axes it carries, such as "
            'lead(mask, "BTS") or lead(mask, "BHTS")'
        )
    return Mask(array.function, {"values": mask if isinstance(mask, Lead) else lead(values, "TS")})


def evaluate(mask: Mask, query_positions: Array, key_positions: Array) -> Array:
    """The mask as a boolean array [T,S].

    Args:
      mask: any mask.
      query_positions: [T] int32.  key_positions: [S] int32.
    Returns: [T,S] bool.
    Raises: TypeError or ValueError when the predicate returns something else.
    """
    pairs = call(mask, "mask", query_positions=query_positions, key_positions=key_positions)
    shape = (query_positions.shape[0], key_positions.shape[0])
    if pairs.dtype != jnp.bool_:
        raise TypeError(f"mask {mask.__name__} must return booleans (True = may attend), got {pairs.dtype}")
    if pairs.ndim != 2 or any(axis not in (1, size) for axis, size in zip(pairs.shape, shape, strict=True)):
        raise ValueError(f"mask {mask.__name__} must return [T={shape[0]},S={shape[1]}], got shape {list(pairs.shape)}")
    return jnp.broadcast_to(pairs, shape)


def materialize(mask: Any, queries: int, keys: int, *, block: int | None = None) -> Array:
    """What a mask of one head and one sequence lets through, pair by pair or block by block.

    Args:
      mask: what `as_mask` takes; data of one example, without B and H.
      queries: T.  keys: S.
      block: the side of a square block; None = single pairs.
    Returns: [T,S] bool; or with blocks int32 [⌈T/block⌉,⌈S/block⌉]: 0 = empty, 1 = partial, 2 = full.
    Raises: ValueError when block is not positive.
    """
    pairs = evaluate(as_mask(mask), jnp.arange(queries, dtype=jnp.int32), jnp.arange(keys, dtype=jnp.int32))
    if block is None:
        return pairs
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    rows, columns = -(-queries // block), -(-keys // block)

    def blocks(filler: bool) -> Array:
        padding = ((0, rows * block - queries), (0, columns * block - keys))
        return jnp.pad(pairs, padding, constant_values=filler).reshape(rows, block, columns, block)

    # What overhangs the last row and column of blocks makes no block partial.
    some, every = jnp.any(blocks(False), axis=(1, 3)), jnp.all(blocks(True), axis=(1, 3))
    return some.astype(jnp.int32) + every.astype(jnp.int32)


def density(mask: Any, queries: int, keys: int) -> Array:
    """The share of the pairs that a mask lets through.

    Args:
      mask: what `as_mask` takes; data of one example, without B and H.
      queries: T.  keys: S.
    Returns: [] float32 in [0, 1].
    """
    return jnp.mean(materialize(mask, queries, keys).astype(jnp.float32))


EMPTY, PARTIAL, FULL = 0, 1, 2
Range = tuple[int, int]  # positions, both ends included

# What a mask lets through of a tile, by its function: (query range, key range, **knobs) → EMPTY, PARTIAL or FULL.
_CLASSIFIERS: dict[Callable, Callable[..., int]] = {}


def classifies(mask: Mask) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Says how a mask's tiles are classified without looking at their pairs; knobs are those of the mask."""

    def register_classifier(classifier: Callable[..., int]) -> Callable[..., int]:
        _CLASSIFIERS[mask.function] = classifier
        return classifier

    return register_classifier


def classify(mask: Mask, queries: Range, keys: Range) -> int:
    """What a mask lets through of a tile of positions, known before anything runs.

    Args:
      mask: any mask.
      queries: first and last position of the queries.  keys: of the keys.
    Returns: EMPTY (nothing), FULL (everything) or PARTIAL (it must be looked at: also for every mask that holds data,
      and for a predicate of which nothing is known).
    """
    classifier = _CLASSIFIERS.get(mask.function)
    known = {name: knob for name, knob in mask.knobs.items() if isinstance(knob, (int, Mask))}
    if classifier is None or len(known) < len(mask.knobs):
        return PARTIAL
    return classifier(queries, keys, **known)


def within(lowest: int, highest: int, least: int, most: int) -> int:
    """The class of a tile whose offsets go from lowest to highest, where those from least to most may attend."""
    if highest < least or lowest > most:
        return EMPTY
    return FULL if least <= lowest and highest <= most else PARTIAL


def all_of(query_positions: Array, key_positions: Array, /, *, first: Mask, second: Mask) -> Array:
    """Both masks: `first & second`."""
    return _part(first, query_positions, key_positions) & _part(second, query_positions, key_positions)


def any_of(query_positions: Array, key_positions: Array, /, *, first: Mask, second: Mask) -> Array:
    """Either mask: `first | second`."""
    return _part(first, query_positions, key_positions) | _part(second, query_positions, key_positions)


def none_of(query_positions: Array, key_positions: Array, /, *, mask: Mask) -> Array:
    """Not the mask: `~mask`."""
    return ~_part(mask, query_positions, key_positions)


def shifted(query_positions: Array, key_positions: Array, /, *, mask: Mask, queries: int, keys: int) -> Array:
    """The mask at other positions: `mask.shift(queries, keys)`."""
    return _part(mask, query_positions + queries, key_positions + keys)


def _part(mask: Callable, query_positions: Array, key_positions: Array) -> Array:
    return call(mask, "mask", query_positions=query_positions, key_positions=key_positions)


@Mask
def causal(query_positions: Array, key_positions: Array, /) -> Array:
    """Sees itself and what came before.

      j ≤ i

    Args:
      query_positions: [T] int32, i.  key_positions: [S] int32, j.
    Returns: [T,S] bool.
    References: Vaswani et al. 2017, arXiv:1706.03762.
    """
    return key_positions[None, :] <= query_positions[:, None]


@Mask
def window(
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    left: Array | NonNegativeInt,
    right: Array | NonNegativeInt = 0,
) -> Array:
    """Sees a stretch around itself, both ends included.

      i − left ≤ j ≤ i + right

    Args:
      query_positions: [T] int32, i.  key_positions: [S] int32, j.
      left: keys before its own.  right: keys after its own. `lead(int32 [H], "H")` for one per head.
    Returns: [T,S] bool.
    References: Beltagy et al. 2020, arXiv:2004.05150.
    """
    offset = key_positions[None, :] - query_positions[:, None]
    return (offset >= -left) & (offset <= right)


@Mask
def prefix(query_positions: Array, key_positions: Array, /, *, length: PositiveInt) -> Array:
    """Sees the whole prefix, and past it what came before.

      j < length  or  j ≤ i

    Args:
      query_positions: [T] int32, i.  key_positions: [S] int32, j.
      length: of the prefix, in positions.
    Returns: [T,S] bool.
    References: Raffel et al. 2019, arXiv:1910.10683.
    """
    return (key_positions[None, :] < length) | (key_positions[None, :] <= query_positions[:, None])


@Mask
def padding(*, key_valid: Array) -> Array:
    """Sees the keys that hold data.

      validₛ

    Args:
      key_valid: [S] bool, True = holds data; `lead(key_valid, "BS")` for one per example.
    Returns: [1,S] bool.
    """
    check_shapes(key_valid=(key_valid, "S"))
    return key_valid[None, :]


@Mask
def segments(*, query_segments: Array, key_segments: Array) -> Array:
    """Sees its own segment: several documents packed into one sequence do not mix.

      segmentₜ = segmentₛ

    Args:
      query_segments: [T] int32.  key_segments: [S] int32; `lead(…, "BT")`, `lead(…, "BS")` for one per example.
    Returns: [T,S] bool.
    References: Krell et al. 2021, arXiv:2107.02027.
    """
    check_shapes(query_segments=(query_segments, "T"), key_segments=(key_segments, "S"))
    return query_segments[:, None] == key_segments[None, :]


@Mask
def tree(*, parents: Array, query_nodes: Array) -> Array:
    """Sees its own node of a tree and that node's ancestors: several continuations of one text in one sequence.

      s = query_nodesₜ, or s is an ancestor of it

    Args:
      parents: [S] int32, the key that comes before each; −1 = none.
      query_nodes: [T] int32, the key that each query is; `lead(…, "BS")`, `lead(…, "BT")` for one per example.
    Returns: [T,S] bool.
    References: Miao et al. 2023 (SpecInfer), arXiv:2305.09781.
    """
    check_shapes(parents=(parents, "S"), query_nodes=(query_nodes, "T"))
    nodes = jnp.arange(parents.shape[0], dtype=parents.dtype)
    reached = (nodes[:, None] == nodes[None, :]) | (parents[:, None] == nodes[None, :])
    # Ancestors up to 2ⁿ generations after n squarings.
    for _ in range(max(parents.shape[0] - 1, 0).bit_length()):
        paths = reached.astype(jnp.float32)
        reached = paths @ paths > 0
    return jnp.take(reached, query_nodes, axis=0, mode="fill", fill_value=False)


@Mask
def array(*, values: Array) -> Array:
    """Sees what a given array allows.

      valuesₜₛ

    Args:
      values: [T,S] bool; `lead(values, "BHTS")` for one per example and head.
    Returns: [T,S] bool.
    """
    check_shapes(values=(values, "TS"))
    return values


@classifies(causal)
def _causal_tile(queries: Range, keys: Range) -> int:
    return EMPTY if keys[0] > queries[1] else FULL if keys[1] <= queries[0] else PARTIAL


@classifies(window)
def _window_tile(queries: Range, keys: Range, *, left: int, right: int = 0) -> int:
    return within(keys[0] - queries[1], keys[1] - queries[0], -left, right)


@classifies(prefix)
def _prefix_tile(queries: Range, keys: Range, *, length: int) -> int:
    return FULL if keys[1] < length else max(_causal_tile(queries, keys), PARTIAL if keys[0] < length else EMPTY)


@classifies(Mask(all_of))
def _all_tile(queries: Range, keys: Range, *, first: Mask, second: Mask) -> int:
    return min(classify(first, queries, keys), classify(second, queries, keys))


@classifies(Mask(any_of))
def _any_tile(queries: Range, keys: Range, *, first: Mask, second: Mask) -> int:
    return max(classify(first, queries, keys), classify(second, queries, keys))


@classifies(Mask(none_of))
def _none_tile(queries: Range, keys: Range, *, mask: Mask) -> int:
    return FULL - classify(mask, queries, keys)


@classifies(Mask(shifted))
def _shifted_tile(queries_: Range, keys_: Range, *, mask: Mask, queries: int, keys: int) -> int:
    moved = [(low + by, high + by) for (low, high), by in ((queries_, queries), (keys_, keys))]
    return classify(mask, *moved)
