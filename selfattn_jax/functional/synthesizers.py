"""Synthesizers: scores that compare no query with a key, but say from the query, or from nothing, where to look."""

import jax
import jax.numpy as jnp

from selfattn_jax.functional.embeddings import learned
from selfattn_jax.shapes import Array, accumulation_dtype, check_shapes


def synthesizer_dense(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    hidden_weight: Array,
    output_weight: Array,
) -> Array:
    """Scores every position by a small network of the query alone.

      xₜₛ = (relu(qₜ hidden_weight) output_weight)[j]

    Args:
      query: [T,K].  key: [S,K], not read.
      query_positions: [T] int32, not read.  key_positions: [S] int32, below N; one outside gives NaN.
      hidden_weight: [K,F].  output_weight: [F,N].
    Returns: [T,S], in at least float32.
    Raises: ValueError naming the argument whose shape is off.
    References: Tay et al. 2021, arXiv:2005.00743.
    """
    check_shapes(query=(query, "TK"), hidden_weight=(hidden_weight, "KF"), output_weight=(output_weight, "FN"))
    dtype = accumulation_dtype(query, key)
    hidden = jax.nn.relu(query.astype(dtype) @ jnp.asarray(hidden_weight, dtype))
    # The columns first: a tile of keys needs no others.
    return hidden @ learned(key_positions, table=jnp.asarray(output_weight, dtype).T).T


def synthesizer_random(
    query: Array, key: Array, query_positions: Array, key_positions: Array, /, *, table: Array
) -> Array:
    """Scores a pair of positions by a trained number, the same in every sequence.

      xₜₛ = table[i, j]

    Args:
      query: [T,K].  key: [S,K]; neither is read.
      query_positions: [T] int32.  key_positions: [S] int32; below N, one outside gives NaN.
      table: [N,N].
    Returns: [T,S], in at least float32.
    Raises: ValueError when table is not [N,N].
    References: Tay et al. 2021, arXiv:2005.00743.
    """
    check_shapes(table=(table, "NN"))
    rows = learned(query_positions, table=jnp.asarray(table, accumulation_dtype(query, key)))
    return learned(key_positions, table=rows.T).T


def synthesizer_factorised(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    query_factors: Array,
    key_factors: Array,
) -> Array:
    """Scores a pair of positions by the inner product of two trained vectors, the same in every sequence.

      xₜₛ = query_factors[i]·key_factors[j]

    Args:
      query: [T,K].  key: [S,K]; neither is read.
      query_positions: [T] int32.  key_positions: [S] int32; below N, one outside gives NaN.
      query_factors: [N,F].  key_factors: [N,F].
    Returns: [T,S], in at least float32.
    Raises: ValueError naming the argument whose shape is off.
    References: Tay et al. 2021, arXiv:2005.00743.
    """
    check_shapes(query_factors=(query_factors, "NF"), key_factors=(key_factors, "NF"))
    dtype = accumulation_dtype(query, key)
    of_query, of_key = (
        learned(positions, table=jnp.asarray(factors, dtype))
        for positions, factors in ((query_positions, query_factors), (key_positions, key_factors))
    )
    return of_query @ of_key.T
