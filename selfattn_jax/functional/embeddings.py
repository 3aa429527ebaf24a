"""Position embeddings: positions [T] → [T,D], added to a model's inputs."""

import jax.numpy as jnp

from selfattn_jax.shapes import Array, Positive, PositiveInt, accumulation_dtype, check_shapes


def sinusoidal(positions: Array, /, *, width: PositiveInt, base: Positive = 10000.0) -> Array:
    """Writes a position as sines and cosines of geometrically spaced wavelengths.

      e₂ₚ = sin θₚ,  e₂ₚ₊₁ = cos θₚ        θₚ = position · base^(−2p/D)

    Args:
      positions: [T] int32.
      width: D.
      base: of the geometric series of wavelengths, in positions.
    Returns: [T,D] float32.
    References: Vaswani et al. 2017, arXiv:1706.03762.
    """
    dtype = accumulation_dtype(base)
    columns = jnp.arange(width)
    frequency = jnp.asarray(base, dtype) ** -((columns // 2 * 2).astype(dtype) / width)
    angle = positions.astype(dtype)[:, None] * frequency[None, :]
    return jnp.where(columns[None, :] % 2 == 0, jnp.sin(angle), jnp.cos(angle))


def learned(positions: Array, /, *, table: Array) -> Array:
    """Looks a position up in a table of trained vectors.

      e = table[position]

    Args:
      positions: [T] int32, below P; one outside the table gives NaN rather than a neighbour's vector.
      table: [P,D].
    Returns: [T,D].
    Raises: ValueError when table is not [P,D].
    References: Gehring et al. 2017, arXiv:1705.03122.
    """
    check_shapes(table=(table, "PD"))
    # A negative position would count from the end of the table.
    outside = jnp.where(positions < 0, table.shape[0], positions)
    return jnp.take(table, outside, axis=0, mode="fill", fill_value=jnp.nan)
