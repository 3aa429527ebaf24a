"""Biases: what positions (or contents) add to the scores, [T,S] in at least float32."""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, NonNegative, Positive, PositiveInt, accumulation_dtype, check_shapes

STRIP = 8  # rows, at most, that are cut out of one line of offsets one by one: measured, with the gradient


def alibi(query_positions: Array, key_positions: Array, /, *, slope: Array | NonNegative) -> Array:
    """Lowers a score in proportion to the distance, to either side, by a slope that differs from head to head.

      bₜₛ = −slope · |i − j|        i, j = the positions of query t and key s

    Args:
      query_positions: [T] int32.  key_positions: [S] int32.
      slope: [], of this head; `alibi_slopes` gives the usual ones.
    Returns: [T,S].
    Raises: ValueError when slope is not [].
    References: Press et al. 2021, arXiv:2108.12409.
    """
    check_shapes(slope=(slope, ""))
    (slope,) = _together(slope)
    return -slope * _distance(query_positions, key_positions, slope.dtype)


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


def t5(
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    table: Array,
    bidirectional: bool = True,
    maximum_distance: PositiveInt = 128,
) -> Array:
    """Looks the distance up in a table of trained numbers: near distances one by one, far ones in growing buckets.

      bₜₛ = table[bucket(j − i)]        bucket: `t5_buckets`

    Args:
      query_positions: [T] int32.  key_positions: [S] int32.
      table: [P], a number per bucket.
      bidirectional: whether the two directions have half of the buckets each; else the future shares bucket 0.
      maximum_distance: from which all share the last bucket.
    Returns: [T,S]. The scores of T5 itself are not scaled: use `scores.dot` with it.
    Raises: ValueError when table is not [P].
    References: Raffel et al. 2019, arXiv:1910.10683.
    """
    check_shapes(table=(table, "P"))
    table = jnp.asarray(table)  # one of NumPy cannot be looked up in at traced places

    def looked_up(offset: Array) -> Array:
        return table[t5_buckets(offset, table.shape[0], bidirectional, maximum_distance)]

    return of_offsets(looked_up, query_positions, key_positions)


def t5_buckets(offset: Array, buckets: int, bidirectional: bool, maximum_distance: int) -> Array:
    """The bucket of a distance j − i: exact up to half of them, then logarithmic.

      n < E: n        n ≥ E: min(E + ⌊ln(n/E) / ln(maximum_distance/E) · (N − E)⌋, N − 1)        E = ⌊N/2⌋

    Args:
      offset: int32, j − i, of any shape.
      buckets: of the table; N is half of them if bidirectional.  bidirectional, maximum_distance: as for `t5`.
    Returns: int32, in offset's shape; keys after the query have the second half, or share bucket 0.
    Raises: ValueError for fewer than 2 buckets a direction, or a maximum_distance within the exact ones.
    """
    side = buckets // 2 if bidirectional else buckets
    if side < 2 or maximum_distance <= side // 2:
        raise ValueError(
            f"t5 needs at least 2 buckets a direction and a maximum_distance above half of them, got {side} and "
            f"{maximum_distance}"
        )
    later = jnp.where(offset > 0, side, 0) if bidirectional else jnp.zeros_like(offset)
    distance = jnp.abs(offset) if bidirectional else jnp.maximum(-offset, 0)
    # A binary search in a handful of edges, written as a sum: it has no data-dependent indexing.
    return later + sum((distance >= edge).astype(jnp.int32) for edge in _t5_edges(side, maximum_distance))


@functools.cache
def _t5_edges(side: int, maximum_distance: int) -> tuple[int, ...]:
    """The smallest distance of every bucket but the first, in whole numbers: a logarithm would slip at exact powers."""
    exact = side // 2
    steps = side - exact
    edges, distance = list(range(1, exact + 1)), exact
    for step in range(1, steps):
        # (distance / exact)^steps ≥ (maximum_distance / exact)^step
        while distance**steps * exact**step < maximum_distance**step * exact**steps:
            distance += 1
        edges.append(distance)
    return tuple(edges[: side - 1])


def kerple_log(
    query_positions: Array, key_positions: Array, /, *, amplitude: Array | Positive, rate: Array | Positive
) -> Array:
    """Lowers a score by the logarithm of the distance: a kernel with two learned numbers a head.

      bₜₛ = −amplitude · ln(1 + rate · |i − j|)

    Args:
      query_positions: [T] int32.  key_positions: [S] int32.
      amplitude: [], above 0.  rate: [], above 0.
    Returns: [T,S].
    Raises: ValueError when a knob is not [].
    References: Chi et al. 2022, arXiv:2205.09921.
    """
    check_shapes(amplitude=(amplitude, ""), rate=(rate, ""))
    amplitude, rate = _together(amplitude, rate)

    def lowered(offset: Array) -> Array:
        return -amplitude * jnp.log1p(rate * jnp.abs(offset).astype(rate.dtype))

    return of_offsets(lowered, query_positions, key_positions)


def kerple_power(
    query_positions: Array, key_positions: Array, /, *, amplitude: Array | Positive, exponent: Array | Positive
) -> Array:
    """Lowers a score by a power of the distance: a kernel with two learned numbers a head.

      bₜₛ = −amplitude · |i − j|^exponent

    Args:
      query_positions: [T] int32.  key_positions: [S] int32.
      amplitude: [], above 0.  exponent: [], above 0 and at most 2.
    Returns: [T,S].
    Raises: ValueError when a knob is not [].
    References: Chi et al. 2022, arXiv:2205.09921.
    """
    check_shapes(amplitude=(amplitude, ""), exponent=(exponent, ""))
    amplitude, exponent = _together(amplitude, exponent)

    def lowered(offset: Array) -> Array:
        distance = jnp.abs(offset).astype(exponent.dtype)
        # The derivative by the exponent has log 0 at the diagonal, where the power is 0 whatever the exponent.
        away = distance > 0
        return -amplitude * jnp.where(away, jnp.where(away, distance, 1) ** exponent, 0)

    return of_offsets(lowered, query_positions, key_positions)


def fire(
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    hidden_weight: Array,
    hidden_bias: Array,
    readout: Array,
    readout_bias: Array,
    curvature: Array | float = 0.1,
    threshold: Array | float = 512.0,
    epsilon: Positive = 1e-6,
) -> Array:
    """A small network of the distance, relative to how far back a query can look: it interpolates to longer sequences.

      bₜₛ = readoutᵀ relu(hidden_weight · u + hidden_bias) + readout_bias
      u = ψ(|i − j|) / (ψ(max(i, |threshold|)) + epsilon)        ψ(x) = ln(|curvature| · x + 1)

    Args:
      query_positions: [T] int32.  key_positions: [S] int32.
      hidden_weight: [F].  hidden_bias: [F].  readout: [F], of this head.  readout_bias: [], of this head.
      curvature: [], of ψ.  threshold: [], the position below which the distance is no longer relative.
      epsilon: keeps the denominator from 0.
    Returns: [T,S]. Holds [T,S,F] while it computes.
    Raises: ValueError naming the knob whose shape is off.
    References: Li et al. 2023, arXiv:2310.04418.
    """
    check_shapes(
        hidden_weight=(hidden_weight, "F"),
        hidden_bias=(hidden_bias, "F"),
        readout=(readout, "F"),
        readout_bias=(readout_bias, ""),
        curvature=(curvature, ""),
        threshold=(threshold, ""),
    )
    hidden_weight, hidden_bias, readout, readout_bias, curvature, threshold = _together(
        hidden_weight, hidden_bias, readout, readout_bias, curvature, threshold
    )
    dtype = readout.dtype

    def psi(distance: Array) -> Array:
        return jnp.log1p(jnp.abs(curvature) * distance)

    reach = jnp.maximum(query_positions.astype(dtype), jnp.abs(threshold))
    share = psi(_distance(query_positions, key_positions, dtype)) / (psi(reach) + jnp.asarray(epsilon, dtype))[:, None]
    hidden = jax.nn.relu(share[:, :, None] * hidden_weight[None, None, :] + hidden_bias[None, None, :])
    return hidden @ readout + readout_bias


def forgetting(query_positions: Array, key_positions: Array, /, *, query_sum: Array, key_sum: Array) -> Array:
    """Lowers a score by what has been forgotten since: a forget gate at every position, computed from its content.

      bₜₛ = Σ_{j < l ≤ i} ln fₗ = query_sumₜ − key_sumₛ        (for a key after the query: key_sumₛ − query_sumₜ)

    Args:
      query_positions: [T] int32.  key_positions: [S] int32.
      query_sum: [T], Σ_{l ≤ i} ln fₗ at the queries.  key_sum: [S], the same at the keys; `lead(…, "BHT")` and
        `lead(…, "BHS")` for one per example and head.
    Returns: [T,S].
    Raises: ValueError naming the knob whose shape is off.
    References: Lin et al. 2025, arXiv:2503.02130.
    """
    check_shapes(
        query_positions=(query_positions, "T"),
        key_positions=(key_positions, "S"),
        query_sum=(query_sum, "T"),
        key_sum=(key_sum, "S"),
    )
    query_sum, key_sum = _together(query_sum, key_sum)
    difference = query_sum[:, None] - key_sum[None, :]
    return jnp.where(key_positions[None, :] <= query_positions[:, None], difference, -difference)


def of_offsets(function: Callable[[Array], Array], query_positions: Array, key_positions: Array) -> Array:
    """A function of j − i, evaluated T + S times instead of T · S where the positions on both sides are consecutive.

      bₜₛ = function(j − i)

    Looking a pair up in a table is slow, and the gradient of that (a sum into the table, pair by pair) slower still:
    along a diagonal all is the same.

    Args:
      function: elementwise, of an int32 array of any shape.
      query_positions: [T] int32, i.  key_positions: [S] int32, j.
    Returns: [T,S].
    """
    queries, keys = query_positions.shape[0], key_positions.shape[0]

    def every_pair() -> Array:
        return function(key_positions[None, :] - query_positions[:, None])

    def every_diagonal() -> Array:
        rows, halvings = queries, 0
        while rows > STRIP:
            rows, halvings = -(-rows // 2), halvings + 1
        below = rows << halvings
        # A strip of r rows and S columns is one line of r − 1 + S offsets: the row below begins one earlier. The upper
        # half of its rows is the line without its first r / 2, the lower half that without its last.
        strips = function(key_positions[0] - query_positions[0] + jnp.arange(1 - below, keys, dtype=jnp.int32))[None]
        for _ in range(halvings):
            below //= 2
            strips = jnp.stack([strips[:, below:], strips[:, :-below]], axis=1).reshape(2 * len(strips), -1)
        lines = [strips[:, rows - 1 - row : rows - 1 - row + keys] for row in range(rows)]
        return jnp.stack(lines, axis=1).reshape(-1, keys)[:queries]

    if min(queries, keys) < 2:
        return every_pair()
    consecutive = jnp.all(jnp.diff(query_positions) == 1) & jnp.all(jnp.diff(key_positions) == 1)
    # Checkpointed: each branch would else fill, with zeros, what the other keeps for the backward pass, [T,S] of it.
    return jax.lax.cond(consecutive, jax.checkpoint(every_diagonal), jax.checkpoint(every_pair))


def _distance(query_positions: Array, key_positions: Array, dtype: jnp.dtype) -> Array:
    return jnp.abs(query_positions[:, None] - key_positions[None, :]).astype(dtype)


def _together(*knobs: Array | float) -> tuple[Array, ...]:
    """Knobs in one dtype, at least float32: a distance has more digits than bfloat16 holds."""
    dtype = accumulation_dtype(*knobs)
    return tuple(jnp.asarray(knob, dtype) for knob in knobs)


def array(*, values: Array) -> Array:
    """Adds a given array to the scores: the way to use a precomputed additive bias.

      bₜₛ = valuesₜₛ

    Args:
      values: [T,S]; `lead(values, "HTS")` for one per head.
    Returns: [T,S].
    """
    return values
