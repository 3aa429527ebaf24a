"""Encodings: query, key → query, key, once and in O(T), before the scores.

The rotary family turns pairs of coordinates by angles that grow with position, so that q·k depends on i − j alone. Its
members differ in their angular frequencies ωₚ, p = 0 … R/2 − 1:

  rope               ωₚ = base^(−2p/R)
  rope_linear        ωₚ / factor
  rope_ntk           the base raised, so that the slowest pair turns `factor` times slower
  rope_dynamic_ntk   the same by as much as the sequence exceeds its original length
  rope_yarn          fast pairs kept, slow ones divided by factor, a ramp between; and sharper scores
  rope_llama3        fast pairs kept, slow ones divided by factor, a blend between
"""

import math
from typing import Literal

import jax.numpy as jnp

from selfattn_jax.shapes import Array, AtLeastOne, Positive, PositiveInt, accumulation_dtype, check_shapes

Layout = Literal["half", "interleaved"]
Pair = tuple[Array, Array]


def rope(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    base: Positive = 10000.0,
    layout: Layout = "half",
    rotated: PositiveInt | None = None,
) -> Pair:
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
    frequency = _frequency(query, rotated, base)
    return _rotate_both(query, key, query_positions, key_positions, frequency, layout)


def rope_linear(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    factor: AtLeastOne = 2.0,
    base: Positive = 10000.0,
    layout: Layout = "half",
    rotated: PositiveInt | None = None,
) -> Pair:
    """Rotary positions, all divided by a factor: a longer sequence is squeezed into the trained range.

      θₚ = position / factor · base^(−2p/R)

    Args:
      query: [T,K].  key: [S,K].
      query_positions: [T] int32.  key_positions: [S] int32.
      factor: how many times longer sequences may become, at least 1.
      base, layout, rotated: as for `rope`.
    Returns: query [T,K] and key [S,K].
    Raises: ValueError when R is odd or above K.
    References: Chen et al. 2023, arXiv:2306.15595.
    """
    frequency = _frequency(query, rotated, base)
    return _rotate_both(
        query, key, query_positions, key_positions, frequency / jnp.asarray(factor, frequency.dtype), layout
    )


def rope_ntk(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    factor: AtLeastOne = 2.0,
    base: Positive = 10000.0,
    layout: Layout = "half",
    rotated: PositiveInt | None = None,
) -> Pair:
    """Rotary positions with a larger base: the slowest pair turns `factor` times slower, the fastest as before.

      θₚ = position · (base · factor^(R/(R−2)))^(−2p/R)

    Args:
      query: [T,K].  key: [S,K].
      query_positions: [T] int32.  key_positions: [S] int32.
      factor: how many times longer sequences may become, at least 1.
      base, layout, rotated: as for `rope`.
    Returns: query [T,K] and key [S,K].
    Raises: ValueError when R is odd or above K.
    References: bloc97 2023, "NTK-aware scaled RoPE"; Peng et al. 2023, arXiv:2309.00071.
    """
    frequency = _ntk_frequency(query, rotated, base, factor)
    return _rotate_both(query, key, query_positions, key_positions, frequency, layout)


def rope_dynamic_ntk(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    length: Array,
    /,
    *,
    original_length: PositiveInt,
    factor: AtLeastOne = 2.0,
    base: Positive = 10000.0,
    layout: Layout = "half",
    rotated: PositiveInt | None = None,
) -> Pair:
    """Rotary positions as they come up to the trained length, and past it with a base that grows with the length.

      as rope_ntk with max(1, factor · length / original_length − (factor − 1)) in the place of factor

    Args:
      query: [T,K].  key: [S,K].
      query_positions: [T] int32.  key_positions: [S] int32.
      length: [] int32, one past the largest position that takes part.
      original_length: up to which nothing changes.
      factor: how strongly the base grows, at least 1.
      base, layout, rotated: as for `rope`.
    Returns: query [T,K] and key [S,K].
    Raises: ValueError when R is odd or above K.
    References: emozilla 2023, "Dynamically scaled RoPE"; Peng et al. 2023, arXiv:2309.00071.
    """
    dtype = accumulation_dtype(query)
    strength = jnp.asarray(factor, dtype)
    grown = jnp.maximum(strength * length.astype(dtype) / original_length - (strength - 1), 1)
    frequency = _ntk_frequency(query, rotated, base, grown)
    return _rotate_both(query, key, query_positions, key_positions, frequency, layout)


def rope_yarn(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    original_length: PositiveInt,
    factor: AtLeastOne = 2.0,
    fast: Positive = 32.0,
    slow: Positive = 1.0,
    base: Positive = 10000.0,
    layout: Layout = "half",
    rotated: PositiveInt | None = None,
) -> Pair:
    """Rotary positions by YaRN: pairs that turn often stay, those that turn less than once are slowed, a ramp between.

      θₚ = position · ωₚ · (1 − rampₚ + rampₚ / factor)        rampₚ = clip((p − low) / (high − low), 0, 1)
      low = ⌊pair(fast)⌋,  high = ⌈pair(slow)⌉,  pair(n) = R ln(original_length / 2πn) / (2 ln base)
      q, k ← (0.1 ln factor + 1) · (q, k) where they turn, so that their product is scaled by its square

    Args:
      query: [T,K].  key: [S,K].
      query_positions: [T] int32.  key_positions: [S] int32.
      original_length: of the training.
      factor: how many times longer sequences may become, at least 1.
      fast: turns within the original length from which a pair stays.  slow: turns below which it is slowed in full.
      base, layout, rotated: as for `rope`.
    Returns: query [T,K] and key [S,K].
    Raises: ValueError when R is odd or above K.
    References: Peng et al. 2023, arXiv:2309.00071.
    """
    frequency = _frequency(query, rotated, base)
    dtype, pairs = frequency.dtype, frequency.shape[0]
    log_base, slower = jnp.log(jnp.asarray(base, dtype)), jnp.asarray(factor, dtype)

    def pair(turns: Array | float) -> Array:
        turns = jnp.asarray(turns, dtype)
        return pairs * jnp.log(original_length / (2 * math.pi * turns)) / log_base

    low, high = jnp.maximum(jnp.floor(pair(fast)), 0), jnp.minimum(jnp.ceil(pair(slow)), 2 * pairs - 1)
    high = jnp.where(low == high, high + jnp.asarray(0.001, dtype), high)
    ramp = jnp.clip((jnp.arange(pairs, dtype=dtype) - low) / (high - low), 0, 1)
    frequency = frequency * (1 - ramp + ramp / slower)
    sharper = 0.1 * jnp.log(slower) + 1
    return _rotate_both(query, key, query_positions, key_positions, frequency, layout, sharper)


def rope_llama3(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    original_length: PositiveInt,
    factor: AtLeastOne = 8.0,
    low: Positive = 1.0,
    high: Positive = 4.0,
    base: Positive = 10000.0,
    layout: Layout = "half",
    rotated: PositiveInt | None = None,
) -> Pair:
    """Rotary positions by Llama 3: pairs of short wavelength stay, those of long are slowed, with a blend between.

      θₚ = position · ωₚ · (s + (1 − s) / factor)
      s = clip((original_length · ωₚ / 2π − low) / (high − low), 0, 1)

    Args:
      query: [T,K].  key: [S,K].
      query_positions: [T] int32.  key_positions: [S] int32.
      original_length: of the training.
      factor: how many times longer sequences may become, at least 1.
      low: turns within the original length up to which a pair is slowed in full.
      high: turns from which it stays; above low.
      base, layout, rotated: as for `rope`.
    Returns: query [T,K] and key [S,K].
    Raises: ValueError when R is odd or above K.
    References: Llama Team 2024, arXiv:2407.21783.
    """
    frequency = _frequency(query, rotated, base)
    slower, few, many = (jnp.asarray(knob, frequency.dtype) for knob in (factor, low, high))
    turns = original_length * frequency / (2 * math.pi)
    kept = jnp.clip((turns - few) / (many - few), 0, 1)
    return _rotate_both(query, key, query_positions, key_positions, frequency * (kept + (1 - kept) / slower), layout)


def xpos(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    length: Array,
    /,
    *,
    base: Positive = 10000.0,
    layout: Layout = "half",
    scale_base: Positive = 512.0,
    gamma: Positive = 0.4,
) -> Pair:
    """Rotary positions with a decay of each pair's share with i − j. For causal attention: it grows with j − i.

      qₚ ← rope(q)ₚ · ζₚ^((i − c) / scale_base),  kₚ ← rope(k)ₚ · ζₚ^((c − j) / scale_base)
      ζₚ = (2p/K + gamma) / (1 + gamma),  c = ⌊length / 2⌋

    Args:
      query: [T,K].  key: [S,K].
      query_positions: [T] int32.  key_positions: [S] int32.
      length: [] int32, one past the largest position that takes part; c cancels in q·k, and keeps the powers small.
      base, layout: as for `rope`.
      scale_base: the decay's scale, in positions.
      gamma: above 0; the smaller, the faster the pairs that turn fastest decay.
    Returns: query [T,K] and key [S,K].
    Raises: ValueError when K is odd.
    References: Sun et al. 2022, arXiv:2212.10554.
    """
    frequency = _frequency(query, None, base)
    dtype, pairs = frequency.dtype, frequency.shape[0]
    least = jnp.asarray(gamma, dtype)
    decay = jnp.log((jnp.arange(pairs, dtype=dtype) / pairs + least) / (1 + least))
    middle = length // 2

    def scale(positions: Array) -> Array:
        return (positions - middle).astype(dtype)[:, None] / jnp.asarray(scale_base, dtype) * decay[None, :]

    return (
        _rotate(query, query_positions, frequency, layout, jnp.exp(scale(query_positions))),
        _rotate(key, key_positions, frequency, layout, jnp.exp(-scale(key_positions))),
    )


def axial_rope(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    columns: PositiveInt,
    base: Positive = 100.0,
    layout: Layout = "half",
) -> Pair:
    """Rotary positions for images: half of the coordinates turn with the row, the other half with the column.

      position = row · columns + column

    Args:
      query: [T,K].  key: [S,K].
      query_positions: [T] int32.  key_positions: [S] int32.
      columns: of the image.
      base, layout: as for `rope`, within each half.
    Returns: query [T,K] and key [S,K].
    Raises: ValueError when 4 does not divide K.
    References: Heo et al. 2024, arXiv:2403.13298.
    """
    width = query.shape[-1]
    if width % 4:
        raise ValueError(f"axial_rope turns pairs in each half of the coordinates: 4 must divide K, got K={width}")
    frequency = _frequency(query, width // 2, base)

    def turned(vectors: Array, positions: Array) -> Array:
        by_row, by_column = vectors[:, : width // 2], vectors[:, width // 2 :]
        return jnp.concatenate(
            [
                _rotate(by_row, positions // columns, frequency, layout),
                _rotate(by_column, positions % columns, frequency, layout),
            ],
            axis=-1,
        )

    return turned(query, query_positions), turned(key, key_positions)


def qk_norm(
    query: Array,
    key: Array,
    /,
    *,
    query_gain: Array,
    key_gain: Array,
    epsilon: Positive = 1e-6,
) -> Pair:
    """Normalises queries and keys before the scores, so that their scale cannot run away.

      q ← query_gain ⊙ q / √(mean(q²) + epsilon),  k ← key_gain ⊙ k / √(mean(k²) + epsilon)

    Args:
      query: [T,K].  key: [S,K].
      query_gain: [K].  key_gain: [K].
      epsilon: keeps a zero vector at zero.
    Returns: query [T,K] and key [S,K].
    Raises: ValueError naming the argument whose shape is off.
    References: Dehghani et al. 2023, arXiv:2302.05442.
    """
    check_shapes(query=(query, "TK"), key=(key, "SK"), query_gain=(query_gain, "K"), key_gain=(key_gain, "K"))
    dtype = accumulation_dtype(query, key)

    def normalised(vectors: Array, gain: Array) -> Array:
        wide = vectors.astype(dtype)
        mean = jnp.mean(wide * wide, axis=-1, keepdims=True)
        scaled = wide / jnp.sqrt(mean + jnp.asarray(epsilon, dtype)) * gain.astype(dtype)[None, :]
        return scaled.astype(vectors.dtype)

    return normalised(query, query_gain), normalised(key, key_gain)


def _frequency(vectors: Array, rotated: int | None, base: Array | float) -> Array:
    """ωₚ = base^(−2p/R) [R/2], in at least float32."""
    width = vectors.shape[-1]
    rotated = width if rotated is None else rotated
    if rotated % 2 or rotated > width:
        raise ValueError(f"rope turns pairs of coordinates: rotated must be even and at most K={width}, got {rotated}")
    dtype = accumulation_dtype(vectors)
    return jnp.asarray(base, dtype) ** -(jnp.arange(0, rotated, 2, dtype=dtype) / rotated)


def _ntk_frequency(vectors: Array, rotated: int | None, base: Array | float, factor: Array | float) -> Array:
    """ωₚ · factor^(−2p/(R−2)): one pair alone is the fastest, and keeps its frequency."""
    frequency = _frequency(vectors, rotated, base)
    pairs, dtype = frequency.shape[0], frequency.dtype
    return frequency * jnp.asarray(factor, dtype) ** -(jnp.arange(pairs, dtype=dtype) / max(pairs - 1, 1))


def _rotate_both(
    query: Array,
    key: Array,
    query_positions: Array,
    key_positions: Array,
    frequency: Array,
    layout: Layout,
    scale: Array | None = None,
) -> Pair:
    return (
        _rotate(query, query_positions, frequency, layout, scale),
        _rotate(key, key_positions, frequency, layout, scale),
    )


def _rotate(vectors: Array, positions: Array, frequency: Array, layout: Layout, scale: Array | None = None) -> Array:
    """Turns the first R coordinates, pair p by the angle position · frequencyₚ, and multiplies them by a scale."""
    dtype, pairs = frequency.dtype, frequency.shape[0]
    angle = positions.astype(dtype)[:, None] * frequency[None, :]
    turning, rest = vectors[:, : 2 * pairs].astype(dtype), vectors[:, 2 * pairs :]
    paired = turning.reshape((-1, 2, pairs) if layout == "half" else (-1, pairs, 2))
    axis = 1 if layout == "half" else 2
    first, second = jnp.take(paired, 0, axis=axis), jnp.take(paired, 1, axis=axis)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    if scale is not None:
        cos, sin = cos * scale, sin * scale
    turned = jnp.stack([first * cos - second * sin, second * cos + first * sin], axis=axis)
    return jnp.concatenate([turned.reshape(turning.shape).astype(vectors.dtype), rest], axis=-1)
