"""Biases: what positions (or contents) add to the scores, [T,S] in at least float32."""

import math

import jax.numpy as jnp

from selfattn_jax.shapes import Array, NonNegative, PositiveInt, check_shapes


def alibi(query_positions: Array, key_positions: Array, /, *, slope: Array | NonNegative) -> Array:
    """Lowers a score in proportion to the distance, by a slope that differs from head to head.

      bₜₛ = −slope · |i − j|        i, j = the positions of query t and key s

    Args:
      query_positions: [T] int32.  key_positions: [S] int32.
      slope: [], of this head; `alibi_slopes` gives the usual ones.
    Returns: [T,S].
    Raises: ValueError when slope is not [].
    References: Press et al. 2021, arXiv:2108.12409.
    """
    check_shapes(slope=(slope, ""))
    slope = jnp.asarray(slope)
    distance = jnp.abs(query_positions[:, None] - key_positions[None, :])
    return -slope * distance.astype(slope.dtype)


def alibi_slopes(heads: PositiveInt) -> Array:
    """The slopes of ALiBi: a geometric series from 2^(−8/H), interleaved when H is no power of two.

    Args:
      heads: H.
    Returns: [H] float32.
    References: Press et al. 2021, arXiv:2108.12409.
    """
    power = 2 ** math.floor(math.log2(heads))
    slopes = [2.0 ** (-8.0 * (head + 1) / power) for head in range(power)]
    between = [2.0 ** (-4.0 * (head + 1) / power) for head in range(0, 2 * (heads - power), 2)]
    return jnp.asarray(slopes + between)


def array(*, values: Array) -> Array:
    """Adds a given array to the scores: the way to use a precomputed additive bias.

      bₜₛ = valuesₜₛ

    Args:
      values: [T,S]; `lead(values, "HTS")` for one per head.
    Returns: [T,S].
    """
    return values
