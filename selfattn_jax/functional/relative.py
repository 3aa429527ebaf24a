"""Relative positions that meet the content: each takes the place of the score, `shaw_value` that of the aggregate.

A bias adds what positions say; these let a query (or a key) say something to a distance, qₜ·r(i − j).
"""

import jax.numpy as jnp

from selfattn_jax.functional.aggregate import matmul
from selfattn_jax.functional.scores import dot
from selfattn_jax.shapes import Array, Positive, accumulation_dtype, check_shapes


def shaw(query: Array, key: Array, query_positions: Array, key_positions: Array, /, *, table: Array) -> Array:
    """Scores with a trained key vector for every clipped distance.

      xₜₛ = qₜ·(kₛ + table[clip(j − i, −m, m) + m]) / √K

    Args:
      query: [T,K].  key: [S,K].
      query_positions: [T] int32.  key_positions: [S] int32.
      table: [2m+1,K], from −m to m.
    Returns: [T,S], in at least float32.
    Raises: ValueError naming the argument whose shape is off.
    References: Shaw et al. 2018, arXiv:1803.02155.
    """
    check_shapes(query=(query, "TK"), key=(key, "SK"), table=(table, "PK"))
    by_distance = dot(query, table.astype(query.dtype))
    column = _clipped(key_positions[None, :] - query_positions[:, None], table)
    return (dot(query, key) + jnp.take_along_axis(by_distance, column, axis=-1)) * query.shape[-1] ** -0.5


def shaw_value(weights: Array, value: Array, query_positions: Array, key_positions: Array, /, *, table: Array) -> Array:
    """Averages the values, each with a trained vector for its clipped distance.

      yₜ = Σₛ wₜₛ (vₛ + table[clip(j − i, −m, m) + m])

    Args:
      weights: [T,S], in at least float32.  value: [S,V].
      query_positions: [T] int32.  key_positions: [S] int32.
      table: [2m+1,V], from −m to m.
    Returns: [T,V], in value's dtype.
    Raises: ValueError naming the argument whose shape is off.
    References: Shaw et al. 2018, arXiv:1803.02155.
    """
    check_shapes(weights=(weights, "TS"), value=(value, "SV"), table=(table, "PV"))
    column = _clipped(key_positions[None, :] - query_positions[:, None], table)
    # The weights of every distance, summed where they share one: [T,2m+1] instead of [T,S,V].
    distances = jnp.arange(table.shape[0], dtype=jnp.int32)
    shares = jnp.where(column[:, :, None] == distances[None, None, :], weights[:, :, None], 0).sum(axis=1)
    relative = shares @ table.astype(weights.dtype)
    return (matmul(weights, value.astype(weights.dtype)) + relative).astype(value.dtype)


def transformer_xl(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    content_bias: Array,
    position_bias: Array,
    weight: Array,
    base: Positive = 10000.0,
) -> Array:
    """Scores with a projected sinusoid of the distance, and two trained biases in the query's place.

      xₜₛ = ((qₜ + content_bias)·kₛ + (qₜ + position_bias)·weightᵀ e(i − j)) / √K
      e(n) = [sin nω₀ …, cos nω₀ …]        ωₚ = base^(−2p/E)

    Args:
      query: [T,K].  key: [S,K].
      query_positions: [T] int32.  key_positions: [S] int32.
      content_bias: [K].  position_bias: [K].
      weight: [E,K], E even.
      base: of the geometric series of wavelengths, in positions.
    Returns: [T,S], in at least float32. Holds no [T,S,K]: the sinusoid of a difference is a product of two.
    Raises: ValueError naming the argument whose shape is off, or when E is odd.
    References: Dai et al. 2019, arXiv:1901.02860.
    """
    check_shapes(
        query=(query, "TK"),
        key=(key, "SK"),
        content_bias=(content_bias, "K"),
        position_bias=(position_bias, "K"),
        weight=(weight, "EK"),
    )
    if weight.shape[0] % 2:
        raise ValueError(f"weight must be [E,K] with E even (sines, then cosines), got shape {list(weight.shape)}")
    dtype = accumulation_dtype(query, key)
    query, key, weight = query.astype(dtype), key.astype(dtype), weight.astype(dtype)
    pairs = weight.shape[0] // 2
    frequency = jnp.asarray(base, dtype) ** -(jnp.arange(pairs, dtype=dtype) / pairs)
    by_query, by_key = (
        positions.astype(dtype)[:, None] * frequency[None, :] for positions in (query_positions, key_positions)
    )
    projected = (query + position_bias.astype(dtype)[None, :]) @ weight.T
    of_sin, of_cos = projected[:, :pairs], projected[:, pairs:]
    # sin(a − b) = sin a cos b − cos a sin b,  cos(a − b) = cos a cos b + sin a sin b
    sin, cos = jnp.sin(by_query), jnp.cos(by_query)
    with_cos, with_sin = of_sin * sin + of_cos * cos, of_cos * sin - of_sin * cos
    by_position = with_cos @ jnp.cos(by_key).T + with_sin @ jnp.sin(by_key).T
    by_content = (query + content_bias.astype(dtype)[None, :]) @ key.T
    return (by_content + by_position) * query.shape[-1] ** -0.5


def deberta(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    key_table: Array | None = None,
    query_table: Array | None = None,
) -> Array:
    """Scores content against content, content against position (c2p) and position against content (p2c).

      xₜₛ = (qₜ·kₛ + qₜ·key_table[δ(i, j)] + kₛ·query_table[δ(j, i)]) / √(K · terms)
      δ(a, b) = clip(a − b + m, 0, 2m − 1)        terms = 1 + the number of tables

    Args:
      query: [T,K].  key: [S,K].
      query_positions: [T] int32.  key_positions: [S] int32.
      key_table: [2m,K], for c2p; None = without.
      query_table: [2m,K], for p2c; None = without.
    Returns: [T,S], in at least float32.
    Raises: ValueError without any table, or naming the argument whose shape is off.
    References: He et al. 2020, arXiv:2006.03654.
    """
    if key_table is None and query_table is None:
        raise ValueError("deberta needs key_table (c2p), query_table (p2c) or both")
    check_shapes(query=(query, "TK"), key=(key, "SK"))
    offset = query_positions[:, None] - key_positions[None, :]
    scores, terms = dot(query, key), 1
    if key_table is not None:
        check_shapes(query=(query, "TK"), key_table=(key_table, "PK"))
        by_distance = dot(query, key_table.astype(query.dtype))
        scores += jnp.take_along_axis(by_distance, _shifted(offset, key_table), axis=-1)
        terms += 1
    if query_table is not None:
        check_shapes(key=(key, "SK"), query_table=(query_table, "PK"))
        by_distance = dot(key, query_table.astype(key.dtype))
        scores += jnp.take_along_axis(by_distance, _shifted(-offset.T, query_table), axis=-1).T
        terms += 1
    return scores * (query.shape[-1] * terms) ** -0.5


def _clipped(offset: Array, table: Array) -> Array:
    """The row of a table [2m+1,…] for a distance."""
    furthest = table.shape[0] // 2
    return jnp.clip(offset, -furthest, furthest) + furthest


def _shifted(offset: Array, table: Array) -> Array:
    """The row of a table [2m,…] for a distance."""
    middle = table.shape[0] // 2
    return jnp.clip(offset + middle, 0, 2 * middle - 1)
