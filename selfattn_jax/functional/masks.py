"""Masks: may this query attend to this key? Boolean, True = may attend; they combine with & | ~.

    masks.causal & bind(masks.window, left=8) | bind(masks.prefix, length=4)

A mask is a predicate over positions (causal, window, prefix), or holds data with leading T or S (padding, segments,
array). Your own is any function of (query_positions, key_positions): wrap it in `Mask` to combine it.
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


def all_of(query_positions: Array, key_positions: Array, /, *, first: Mask, second: Mask) -> Array:
    """Both masks: `first & second`."""
    return _part(first, query_positions, key_positions) & _part(second, query_positions, key_positions)


def any_of(query_positions: Array, key_positions: Array, /, *, first: Mask, second: Mask) -> Array:
    """Either mask: `first | second`."""
    return _part(first, query_positions, key_positions) | _part(second, query_positions, key_positions)


def none_of(query_positions: Array, key_positions: Array, /, *, mask: Mask) -> Array:
    """Not the mask: `~mask`."""
    return ~_part(mask, query_positions, key_positions)


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
    query_positions: Array, key_positions: Array, /, *, left: NonNegativeInt, right: NonNegativeInt = 0
) -> Array:
    """Sees a stretch around itself, both ends included.

      i − left ≤ j ≤ i + right

    Args:
      query_positions: [T] int32, i.  key_positions: [S] int32, j.
      left: keys before its own.  right: keys after its own.
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
def array(*, values: Array) -> Array:
    """Sees what a given array allows.

      valuesₜₛ

    Args:
      values: [T,S] bool; `lead(values, "BHTS")` for one per example and head.
    Returns: [T,S] bool.
    """
    check_shapes(values=(values, "TS"))
    return values
