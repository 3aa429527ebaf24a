"""Position embeddings: positions [T] → [T,D], added to a model's inputs."""

import jax
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


def sinusoidal_2d(positions: Array, /, *, width: PositiveInt, columns: PositiveInt, base: Positive = 10000.0) -> Array:
    """Writes the row of a pixel as sines and cosines in one half of the vector, its column in the other.

      e = [sinusoidal(row), sinusoidal(column)]        position = row · columns + column

    Args:
      positions: [T] int32.
      width: D, which 4 divides.
      columns: of the image.
      base: of the geometric series of wavelengths, in rows and columns.
    Returns: [T,D] float32.
    Raises: ValueError when 4 does not divide D.
    References: Wang & Liu 2019, arXiv:1908.11415.
    """
    if width % 4:
        raise ValueError(f"sinusoidal_2d needs a width that 4 divides, got {width}")
    halves = (positions // columns, positions % columns)
    return jnp.concatenate([sinusoidal(half, width=width // 2, base=base) for half in halves], axis=-1)


def learned_2d(positions: Array, /, *, row_table: Array, column_table: Array) -> Array:
    """Looks the row and the column of a pixel up, each in a table of trained vectors of half the width.

      e = [row_table[row], column_table[column]]        position = row · columns + column

    Args:
      positions: [T] int32; one outside the image gives NaN.
      row_table: [R,E], R rows.  column_table: [C,E], C columns.
    Returns: [T,2E].
    Raises: ValueError naming the table whose shape is off.
    References: Dosovitskiy et al. 2020, arXiv:2010.11929.
    """
    check_shapes(row_table=(row_table, "RE"), column_table=(column_table, "CE"))
    rows, columns = row_table.shape[0], column_table.shape[0]
    outside = (positions < 0) | (positions >= rows * columns)
    row, column = jnp.where(outside, rows, positions // columns), jnp.where(outside, columns, positions % columns)
    return jnp.concatenate([learned(row, table=row_table), learned(column, table=column_table)], axis=-1)


def randomised(rng: Array, /, *, length: PositiveInt, maximum: PositiveInt) -> Array:
    """Draws positions at random, in order: a model that has seen large positions in short sequences can go further.

      positions = a sorted random subset of 0 … maximum − 1, of size T

    Args:
      rng: a typed key.
      length: T.
      maximum: from how many positions to draw, at least T.
    Returns: [T] int32, ascending.
    Raises: ValueError when maximum is below length.
    References: Ruoss et al. 2023, arXiv:2305.16843.
    """
    if maximum < length:
        raise ValueError(f"maximum must be at least the length {length}, got {maximum}: positions must differ")
    return jnp.sort(jax.random.permutation(rng, jnp.arange(maximum, dtype=jnp.int32))[:length])
