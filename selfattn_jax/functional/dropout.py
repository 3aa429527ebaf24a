"""Random numbers for pairs by a stated integer hash, so that every form draws the same; dropout of weights by them."""

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array


def keep(rng: Array, rows: Array, columns: Array, rate: Array | float) -> Array:
    """Which pairs survive dropout: a hash of the key, the row and the column alone, whatever the tiling.

      h = mix(key₀ ⊕ row · 9E3779B1₁₆),  h ← mix(h ⊕ column · 85EBCA77₁₆ ⊕ key₁)
      keep = h ≥ ⌊rate · 2³²⌋ (rate in float32)

    Args:
      rng: a typed key.
      rows: [T] int32, indices of the queries.  columns: [S] int32, indices of the keys.
      rate: in [0, 1).
    Returns: [T,S] bool. `mix` is the finaliser of MurmurHash3.
    """
    bits = _bits(rng, rows, columns)
    # 2³² · rate would overflow uint32 for a rate that rounds to 1.
    threshold = jnp.minimum(jnp.asarray(rate, jnp.float32) * jnp.float32(2.0**32), jnp.float32(2.0**32 - 256))
    return bits >= threshold.astype(jnp.uint32)


def uniform(rng: Array, rows: Array, columns: Array) -> Array:
    """Numbers in (0, 1), a pair each: 23 bits of the same hash, under a key of their own.

      u = (⌊h / 2⁹⌋ + ½) / 2²³

    Args:
      rng: a typed key.
      rows: [T] int32, indices of the queries.  columns: [S] int32, indices of the keys.
    Returns: [T,S] float32.
    """
    # Not the bits that decide on dropout: a pair's noise and its survival are independent.
    bits = _bits(jax.random.fold_in(rng, 1), rows, columns) >> jnp.uint32(9)
    # With a 24th bit, the half would not fit in a float32, and the largest would round to 1.
    return (bits.astype(jnp.float32) + 0.5) / jnp.float32(2.0**23)


def _bits(rng: Array, rows: Array, columns: Array) -> Array:
    words = jax.random.key_data(rng).ravel()
    row = _mix(words[0] ^ (rows.astype(jnp.uint32) * jnp.uint32(0x9E3779B1)))
    column = columns.astype(jnp.uint32) * jnp.uint32(0x85EBCA77)
    return _mix(row[:, None] ^ column[None, :] ^ words[-1])


def _mix(bits: Array) -> Array:
    bits = (bits ^ (bits >> jnp.uint32(16))) * jnp.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> jnp.uint32(13))) * jnp.uint32(0xC2B2AE35)
    return bits ^ (bits >> jnp.uint32(16))


def dropout(weights: Array, rng: Array, rows: Array, columns: Array, rate: Array | float) -> Array:
    """Sets weights to 0 with probability `rate` and scales the others up, so that the mean stays.

      wₜₛ ← keepₜₛ · wₜₛ / (1 − rate)

    Args:
      weights: [T,S].
      rng: a typed key.
      rows: [T] int32, indices of the queries.  columns: [S] int32, indices of the keys.
      rate: in [0, 1).
    Returns: [T,S].
    References: Srivastava et al. 2014.
    """
    return jnp.where(keep(rng, rows, columns, rate), weights / (1 - jnp.asarray(rate, weights.dtype)), 0)
