"""Encodings: query, key → query, key, once and in O(T), before the scores."""

from typing import Literal

import jax.numpy as jnp

from selfattn_jax.shapes import Array, Positive, PositiveInt, accumulation_dtype


def rope(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    base: Positive = 10000.0,
    layout: Literal["half", "interleaved"] = "half",
    rotated: PositiveInt | None = None,
) -> tuple[Array, Array]:
    """Rotates pairs of coordinates by angles that grow with position, so that q·k depends on i − j alone.

      (a, b) ← (a cos θ − b sin θ, b cos θ + a sin θ)        θₚ = position · base^(−2p/R),  p = 0 … R/2 − 1

    Args:
      query: [T,K].  key: [S,K].
      query_positions: [T] int32.  key_positions: [S] int32.
      base: of the geometric series of wavelengths, in positions.
      layout: which coordinates make a pair: p and p + R/2 ("half") or 2p and 2p + 1 ("interleaved").
      rotated: R, how many coordinates turn, from the first; even and at most K; None = all.
    Returns: query [T,K] and key [S,K], each in its own dtype; the angles are float32.
    Raises: ValueError when R is odd or above K.
    References: Su et al. 2021, arXiv:2104.09864.
    """
    width = query.shape[-1]
    rotated = width if rotated is None else rotated
    if rotated % 2 or rotated > width:
        raise ValueError(f"rope turns pairs of coordinates: rotated must be even and at most K={width}, got {rotated}")
    return (
        _rotate(query, query_positions, rotated, base, layout),
        _rotate(key, key_positions, rotated, base, layout),
    )


def _rotate(vectors: Array, positions: Array, rotated: int, base: float, layout: str) -> Array:
    dtype = accumulation_dtype(vectors)
    frequency = jnp.asarray(base, dtype) ** -(jnp.arange(0, rotated, 2, dtype=dtype) / rotated)
    angle = positions.astype(dtype)[:, None] * frequency[None, :]
    turning, rest = vectors[:, :rotated].astype(dtype), vectors[:, rotated:]
    pairs = turning.reshape((-1, 2, rotated // 2) if layout == "half" else (-1, rotated // 2, 2))
    axis = 1 if layout == "half" else 2
    first, second = jnp.take(pairs, 0, axis=axis), jnp.take(pairs, 1, axis=axis)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turned = jnp.stack([first * cos - second * sin, second * cos + first * sin], axis=axis)
    return jnp.concatenate([turned.reshape(turning.shape).astype(vectors.dtype), rest], axis=-1)
