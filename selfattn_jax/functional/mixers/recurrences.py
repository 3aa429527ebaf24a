"""Linear recurrences with decay: a state [K,V] that fades, is written to and is read, one position after another.

  Sₜ = diag(exp(gₜ)) Sₜ₋₁ + kₜ vₜᵀ        yₜ = qₜᵀ Sₜ

The steps are the definition. Chunks are the same by matrix products: what positions of a chunk tell each other, what
the state before it tells them, and what it adds to the state. Exponents are sums of decays over a stretch, never
differences of sums: all are at most 0, and none loses its digits to a large one before it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from selfattn_jax.functional.mixers.visible import visible_of
from selfattn_jax.shapes import Array, PositiveInt, accumulation_dtype, check_shapes

CHUNK = 64
PART = 16  # of a chunk, inside which decays by feature are summed for every pair
FASTEST = -1e5  # a decay below it leaves nothing either, and sums of it stay finite

# Retention.


def retention(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array | float,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """Remembers with a decay that is fixed for the head.

      Sₜ = exp(log_decay) Sₜ₋₁ + kₜ vₜᵀ        yₜ = qₜᵀ Sₜ / √K

    Args:
      query: [T,K].  key: [T,K].  value: [T,V], of one sequence.
      key_mask: [T] bool, True = holds data; a hidden position leaves the state as it is, and may hold anything.
      initial_state: [K,V]; None = zeros.
      log_decay: [], at most 0.
      chunk: C, positions that are computed at once.
    Returns: [T,V], in value's dtype.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Sun et al. 2023, arXiv:2307.08621.
    """
    situation = {"key_mask": key_mask, "initial_state": initial_state}
    return retention_chunks(query, key, value, **situation, log_decay=log_decay, chunk=chunk)[0]


def retention_steps(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array | float,
) -> tuple[Array, Array]:
    """`retention` with its final state [K,V], one position after another: its definition."""
    arrays, decays = scaled(query, key, value, key_mask), decays_of(log_decay, key, key_mask, "")
    return _answer(_scalar_steps(*arrays, decays, start_of(initial_state, *arrays)), value)


def retention_chunks(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array | float,
    chunk: PositiveInt = CHUNK,
) -> tuple[Array, Array]:
    """`retention` with its final state [K,V], by chunks."""
    arrays, decays = scaled(query, key, value, key_mask), decays_of(log_decay, key, key_mask, "")
    return _answer(_scalar_chunks(*arrays, decays, start_of(initial_state, *arrays), chunk), value)


def retention_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: None = None,
    log_decay: Array | float,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """The matrix [T,T] that `retention` applies without a state to begin with, in at least float32: wₜₛ of yₜ = Σₛ wₜₛ vₛ."""
    del initial_state
    unit = jnp.eye(key.shape[0], dtype=accumulation_dtype(query, key))
    return retention(query, key, unit, key_mask=key_mask, log_decay=log_decay, chunk=chunk)


# Simple gated.


def simple_gated(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """Remembers with one decay for every position: the linear limit of forgetting attention.

      Sₜ = exp(log_decayₜ) Sₜ₋₁ + kₜ vₜᵀ        yₜ = qₜᵀ Sₜ / √K

    Args:
      query: [T,K].  key: [T,K].  value: [T,V], of one sequence.
      key_mask: [T] bool, True = holds data; a hidden position leaves the state as it is, and may hold anything.
      initial_state: [K,V]; None = zeros.
      log_decay: [T], at most 0.
      chunk: C, positions that are computed at once.
    Returns: [T,V], in value's dtype.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Dao & Gu 2024, arXiv:2405.21060; Lin et al. 2025, arXiv:2503.02130.
    """
    situation = {"key_mask": key_mask, "initial_state": initial_state}
    return simple_gated_chunks(query, key, value, **situation, log_decay=log_decay, chunk=chunk)[0]


def simple_gated_steps(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array,
) -> tuple[Array, Array]:
    """`simple_gated` with its final state [K,V], one position after another: its definition."""
    arrays, decays = scaled(query, key, value, key_mask), decays_of(log_decay, key, key_mask, "T")
    return _answer(_scalar_steps(*arrays, decays, start_of(initial_state, *arrays)), value)


def simple_gated_chunks(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array,
    chunk: PositiveInt = CHUNK,
) -> tuple[Array, Array]:
    """`simple_gated` with its final state [K,V], by chunks."""
    arrays, decays = scaled(query, key, value, key_mask), decays_of(log_decay, key, key_mask, "T")
    return _answer(_scalar_chunks(*arrays, decays, start_of(initial_state, *arrays), chunk), value)


def simple_gated_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: None = None,
    log_decay: Array,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """The matrix [T,T] that `simple_gated` applies without a state to begin with, in at least float32: wₜₛ of yₜ = Σₛ wₜₛ vₛ."""
    del initial_state
    unit = jnp.eye(key.shape[0], dtype=accumulation_dtype(query, key))
    return simple_gated(query, key, unit, key_mask=key_mask, log_decay=log_decay, chunk=chunk)


# Ssd.


def ssd(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    step: Array,
    rate: Array | float,
    skip: Array | float,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """Runs a state space of Mamba-2: the step says how much is written, and how much fades.

      Sₜ = exp(−rate·stepₜ) Sₜ₋₁ + stepₜ kₜ vₜᵀ        yₜ = qₜᵀ Sₜ + skip vₜ

    Args:
      query: [T,K].  key: [T,K].  value: [T,V], of one sequence.
      key_mask: [T] bool, True = holds data; a hidden position leaves the state as it is, and may hold anything.
      initial_state: [K,V]; None = zeros.
      step: [T], above 0.
      rate: [], above 0.  skip: [].
      chunk: C, positions that are computed at once.
    Returns: [T,V], in value's dtype.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Dao & Gu 2024, arXiv:2405.21060.
    """
    situation = {"key_mask": key_mask, "initial_state": initial_state}
    return ssd_chunks(query, key, value, **situation, step=step, rate=rate, skip=skip, chunk=chunk)[0]


def ssd_steps(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    step: Array,
    rate: Array | float,
    skip: Array | float,
) -> tuple[Array, Array]:
    """`ssd` with its final state [K,V], one position after another: its definition."""
    arrays, decays, passed = _of_ssd(query, key, value, key_mask, step, rate, skip)
    output, final = _scalar_steps(*arrays, decays, start_of(initial_state, *arrays))
    return _answer((output + passed, final), value)


def ssd_chunks(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    step: Array,
    rate: Array | float,
    skip: Array | float,
    chunk: PositiveInt = CHUNK,
) -> tuple[Array, Array]:
    """`ssd` with its final state [K,V], by chunks."""
    arrays, decays, passed = _of_ssd(query, key, value, key_mask, step, rate, skip)
    output, final = _scalar_chunks(*arrays, decays, start_of(initial_state, *arrays), chunk)
    return _answer((output + passed, final), value)


def ssd_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: None = None,
    step: Array,
    rate: Array | float,
    skip: Array | float,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """The matrix [T,T] that `ssd` applies without a state to begin with, in at least float32: wₜₛ of yₜ = Σₛ wₜₛ vₛ."""
    del initial_state
    unit = jnp.eye(key.shape[0], dtype=accumulation_dtype(query, key))
    return ssd(query, key, unit, key_mask=key_mask, step=step, rate=rate, skip=skip, chunk=chunk)


def _of_ssd(
    query: Array,
    key: Array,
    value: Array,
    key_mask: Array | None,
    step: Array,
    rate: Array | float,
    skip: Array | float,
) -> tuple[tuple[Array, Array, Array], Array, Array]:
    """What the recurrence is of: query, key times step, value; the decays; and what passes it by."""
    query, key, value = _shown(query, key, value, key_mask)
    check_shapes({"T": key.shape[0]}, step=(step, "T"))
    visible = visible_of(key.shape[0], key_mask)
    step = jnp.where(visible, jnp.asarray(step, key.dtype), 0)
    decays = jnp.maximum(-jnp.asarray(rate, key.dtype) * step, FASTEST)
    return (query, step[:, None] * key, value), decays, jnp.asarray(skip, key.dtype) * value


# Gated linear.


def gated_linear(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """Remembers with a decay for every feature of every position.

      Sₜ = diag(exp(log_decayₜ)) Sₜ₋₁ + kₜ vₜᵀ        yₜ = qₜᵀ Sₜ / √K

    Args:
      query: [T,K].  key: [T,K].  value: [T,V], of one sequence.
      key_mask: [T] bool, True = holds data; a hidden position leaves the state as it is, and may hold anything.
      initial_state: [K,V]; None = zeros.
      log_decay: [T,K], at most 0.
      chunk: C, positions that are computed at once.
    Returns: [T,V], in value's dtype.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Yang et al. 2023, arXiv:2312.06635.
    """
    situation = {"key_mask": key_mask, "initial_state": initial_state}
    return gated_linear_chunks(query, key, value, **situation, log_decay=log_decay, chunk=chunk)[0]


def gated_linear_steps(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array,
) -> tuple[Array, Array]:
    """`gated_linear` with its final state [K,V], one position after another: its definition."""
    arrays, decays = scaled(query, key, value, key_mask), decays_of(log_decay, key, key_mask, "TK")
    return _answer(_vector_steps(*arrays, decays, start_of(initial_state, *arrays)), value)


def gated_linear_chunks(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array,
    chunk: PositiveInt = CHUNK,
) -> tuple[Array, Array]:
    """`gated_linear` with its final state [K,V], by chunks."""
    arrays, decays = scaled(query, key, value, key_mask), decays_of(log_decay, key, key_mask, "TK")
    return _answer(_vector_chunks(*arrays, decays, start_of(initial_state, *arrays), chunk), value)


def gated_linear_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: None = None,
    log_decay: Array,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """The matrix [T,T] that `gated_linear` applies without a state to begin with, in at least float32: wₜₛ of yₜ = Σₛ wₜₛ vₛ."""
    del initial_state
    unit = jnp.eye(key.shape[0], dtype=accumulation_dtype(query, key))
    return gated_linear(query, key, unit, key_mask=key_mask, log_decay=log_decay, chunk=chunk)


# Rwkv.


def rwkv(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array,
    bonus: Array,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """Remembers with decays by feature, which the present does not pass: it has a bonus of its own (RWKV-6).

      yₜ = qₜᵀ (Sₜ₋₁ + diag(bonus) kₜ vₜᵀ)        Sₜ = diag(exp(log_decayₜ)) Sₜ₋₁ + kₜ vₜᵀ

    Args:
      query: [T,K].  key: [T,K].  value: [T,V], of one sequence.
      key_mask: [T] bool, True = holds data; a hidden position leaves the state as it is, and may hold anything.
      initial_state: [K,V]; None = zeros.
      log_decay: [T,K], at most 0.
      bonus: [K].
      chunk: C, positions that are computed at once.
    Returns: [T,V], in value's dtype.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Peng et al. 2024, arXiv:2404.05892.
    """
    situation = {"key_mask": key_mask, "initial_state": initial_state}
    return rwkv_chunks(query, key, value, **situation, log_decay=log_decay, bonus=bonus, chunk=chunk)[0]


def rwkv_steps(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array,
    bonus: Array,
) -> tuple[Array, Array]:
    """`rwkv` with its final state [K,V], one position after another: its definition."""
    arrays, decays = _shown(query, key, value, key_mask), decays_of(log_decay, key, key_mask, "TK")
    passed = _of_present(*arrays, bonus)

    def step(state: Array, at: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        query, key, value, decay = at
        return jnp.exp(decay)[:, None] * state + jnp.outer(key, value), query @ state

    final, output = jax.lax.scan(step, start_of(initial_state, *arrays), (*arrays, decays))
    return _answer((output + passed, final), value)


def rwkv_chunks(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array,
    bonus: Array,
    chunk: PositiveInt = CHUNK,
) -> tuple[Array, Array]:
    """`rwkv` with its final state [K,V], by chunks."""
    arrays, decays = _shown(query, key, value, key_mask), decays_of(log_decay, key, key_mask, "TK")
    passed = _of_present(*arrays, bonus)
    # What is read is the state before: that of keys, values and decays which come one position later.
    late = (jnp.pad(array, ((1, 0), (0, 0))) for array in (*arrays[1:], decays))
    asking = jnp.pad(arrays[0], ((0, 1), (0, 0)))
    output, final = _vector_chunks(asking, *late, start_of(initial_state, *arrays), chunk)
    return _answer((output[: query.shape[0]] + passed, final), value)


def rwkv_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: None = None,
    log_decay: Array,
    bonus: Array,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """The matrix [T,T] that `rwkv` applies without a state to begin with, in at least float32: wₜₛ of yₜ = Σₛ wₜₛ vₛ."""
    del initial_state
    unit = jnp.eye(key.shape[0], dtype=accumulation_dtype(query, key))
    return rwkv(query, key, unit, key_mask=key_mask, log_decay=log_decay, bonus=bonus, chunk=chunk)


def _of_present(query: Array, key: Array, value: Array, bonus: Array) -> Array:
    """qₜᵀ diag(bonus) kₜ vₜᵀ."""
    check_shapes({"K": key.shape[1]}, bonus=(bonus, "K"))
    return jnp.sum(query * jnp.asarray(bonus, key.dtype)[None, :] * key, axis=1, keepdims=True) * value


# What they share.


def short_convolution(vectors: Array, /, *, kernel: Array, key_mask: Array | None = None) -> Array:
    """Convolves every number with its last few, before a recurrence sees it.

      yₜ = silu(Σ_w kernel_w ⊙ x_{t − W + 1 + w})        x is 0 before the start and where hidden

    Args:
      vectors: [T,K].
      kernel: [W,K].
      key_mask: [T] bool, True = holds data.
    Returns: [T,K], in vectors' dtype.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Dao & Gu 2024, arXiv:2405.21060.
    """
    check_shapes(vectors=(vectors, "TK"), kernel=(kernel, "WK"))
    length, taps, dtype = vectors.shape[0], kernel.shape[0], accumulation_dtype(vectors)
    shown = jnp.where(visible_of(length, key_mask)[:, None], vectors.astype(dtype), 0)
    padded, kernel = jnp.pad(shown, ((taps - 1, 0), (0, 0))), jnp.asarray(kernel, dtype)
    summed = sum(padded[tap : tap + length] * kernel[tap][None, :] for tap in range(taps))
    return jax.nn.silu(jnp.asarray(summed)).astype(vectors.dtype)


def _shown(query: Array, key: Array, value: Array, key_mask: Array | None) -> tuple[Array, Array, Array]:
    """Query, key and value in at least float32; keys and values that are hidden are 0."""
    check_shapes(query=(query, "TK"), key=(key, "TK"), value=(value, "TV"))
    visible, dtype = visible_of(key.shape[0], key_mask)[:, None], accumulation_dtype(query, key, value)
    return (
        query.astype(dtype),
        jnp.where(visible, key.astype(dtype), 0),
        jnp.where(visible, value.astype(dtype), 0),
    )


def scaled(query: Array, key: Array, value: Array, key_mask: Array | None) -> tuple[Array, Array, Array]:
    query, key, value = _shown(query, key, value, key_mask)
    return query * key.shape[1] ** -0.5, key, value


def decays_of(log_decay: Array | float, key: Array, key_mask: Array | None, letters: str) -> Array:
    """Decays [T] or [T,K] for every position, 0 where hidden; without T, the same for all."""
    length, dtype = key.shape[0], accumulation_dtype(key)
    check_shapes({"T": length, "K": key.shape[1]}, log_decay=(log_decay, letters))
    decays, visible = jnp.asarray(log_decay, dtype), visible_of(length, key_mask)
    decays = decays if "T" in letters else jnp.broadcast_to(decays, (length,))
    visible = visible[:, None] if "K" in letters else visible
    return jnp.maximum(jnp.where(visible, decays, 0), FASTEST)


def start_of(state: Array | None, query: Array, key: Array, value: Array) -> Array:
    """The state before the first position."""
    del query
    sizes = {"K": key.shape[1], "V": value.shape[1]}
    if state is None:
        return jnp.zeros((sizes["K"], sizes["V"]), key.dtype)
    check_shapes(sizes, initial_state=(state, "KV"))
    return jnp.asarray(state, key.dtype)


def _answer(found: tuple[Array, Array], value: Array) -> tuple[Array, Array]:
    return found[0].astype(value.dtype), found[1]


def chunked(array: Array, chunk: int) -> Array:
    """[T,…] → [n,C,…]; what is added at the end is 0: it neither fades nor writes."""
    padding = [(0, -array.shape[0] % chunk)] + [(0, 0)] * (array.ndim - 1)
    return jnp.pad(array, padding).reshape(-1, chunk, *array.shape[1:])


def stretches(decays: Array) -> Array:
    """Sums of decays between positions: Σ_{s < r ≤ t} gᵣ for every t ≥ s, [C] → [C,C]; −∞ where s > t.

    By a product with ones and not as a difference of sums, in which a large decay drowns the small ones after it.
    """
    ones = jnp.tril(jnp.ones((decays.shape[0],) * 2, decays.dtype))
    sums = ones @ (decays[:, None] * (ones - jnp.eye(decays.shape[0], dtype=decays.dtype)))
    return jnp.where(ones > 0, sums, -jnp.inf)


def _scalar_steps(query: Array, key: Array, value: Array, decays: Array, start: Array) -> tuple[Array, Array]:
    def step(state: Array, at: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        query, key, value, decay = at
        state = jnp.exp(decay) * state + jnp.outer(key, value)
        return state, query @ state

    final, output = jax.lax.scan(step, start, (query, key, value, decays))
    return output, final


def _scalar_chunks(
    query: Array, key: Array, value: Array, decays: Array, start: Array, chunk: int
) -> tuple[Array, Array]:
    length = query.shape[0]
    chunk = min(chunk, max(length, 1))
    query, key, value, decays = (chunked(array, chunk) for array in (query, key, value, decays))
    before, after = running(decays)
    inside = (query @ jnp.swapaxes(key, 1, 2)) * jnp.exp(jax.vmap(stretches)(decays))
    written = jnp.swapaxes(key * jnp.exp(after)[..., None], 1, 2) @ value
    states, final = _states(jnp.exp(before[:, -1])[:, None, None], written, start)
    output = inside @ value + (query * jnp.exp(before)[..., None]) @ states
    return output.reshape(-1, value.shape[-1])[:length], final


def running(decays: Array) -> tuple[Array, Array]:
    """Sums of decays [n,C,…]: from the start of each chunk up to a position, and from behind it to the end."""
    last = jnp.zeros_like(decays[:, :1])
    behind = jnp.cumsum(decays[:, :0:-1], axis=1)[:, ::-1]
    return jnp.cumsum(decays, axis=1), jnp.concatenate([behind, last], axis=1)


def _states(faded: Array, written: Array, start: Array) -> tuple[Array, Array]:
    """The states before every chunk [n,K,V], and the last; faded [n,K or 1,1], written [n,K,V]."""

    def step(state: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        return at[0] * state + at[1], state

    final, states = jax.lax.scan(step, start, (faded, written))
    return states, final


def _vector_steps(query: Array, key: Array, value: Array, decays: Array, start: Array) -> tuple[Array, Array]:
    def step(state: Array, at: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        query, key, value, decay = at
        state = jnp.exp(decay)[:, None] * state + jnp.outer(key, value)
        return state, query @ state

    final, output = jax.lax.scan(step, start, (query, key, value, decays))
    return output, final


def _vector_chunks(
    query: Array, key: Array, value: Array, decays: Array, start: Array, chunk: int
) -> tuple[Array, Array]:
    length = query.shape[0]
    chunk = min(chunk, max(length, 1))
    parts = -(-chunk // PART)
    chunk = -(-chunk // parts) * parts
    query, key, value, decays = (chunked(array, chunk) for array in (query, key, value, decays))
    before, after = running(decays)
    inside = jax.vmap(lambda query, key, decays: _pairs(query, key, decays, parts))(query, key, decays)
    written = jnp.swapaxes(key * jnp.exp(after), 1, 2) @ value
    states, final = _states(jnp.exp(before[:, -1])[..., None], written, start)
    output = inside @ value + (query * jnp.exp(before)) @ states
    return output.reshape(-1, value.shape[-1])[:length], final


def _pairs(query: Array, key: Array, decays: Array, parts: int) -> Array:
    """Σₖ qₜₖ kₛₖ exp(Σ_{s < r ≤ t} gᵣₖ) for s ≤ t in a chunk [C,K], else 0: [C,C].

    Inside a part pair by pair; between parts as a product of two factors that are at most 1, since both count from
    the first position of the query's part.
    """
    side, width = query.shape[0] // parts, query.shape[1]
    of_query, of_key, by_part = (array.reshape(parts, side, width) for array in (query, key, decays))
    places = np.arange(side)
    between = (places[None, :, None] < places) & (places <= places[:, None, None])  # [t,s,r]
    sums = (between.reshape(side**2, side).astype(query.dtype) @ by_part).reshape(parts, side, side, width)
    own = of_query[:, :, None] * of_key[:, None] * jnp.exp(sums)
    own = jnp.where(np.tri(side, dtype=bool)[None], own.sum(axis=-1), 0)
    # From every part to every later one: all of the parts that lie between them.
    numbers = np.arange(parts)
    skipped = (numbers[None, :, None] < numbers) & (numbers < numbers[:, None, None])  # [to,from,between]
    up_to, behind = running(by_part)
    gap = jnp.einsum("abu,uk->abk", skipped.astype(query.dtype), up_to[:, -1])
    factor = jnp.where((numbers[:, None] > numbers)[:, :, None], jnp.exp(gap), 0)
    telling = (of_key * jnp.exp(behind))[None] * factor[:, :, None, :]
    across = jnp.einsum("aik,abjk->aibj", of_query * jnp.exp(up_to), telling)
    inside = own[:, :, None, :] * np.eye(parts, dtype=query.dtype)[:, None, :, None]
    return (across + inside).reshape(query.shape[0], query.shape[0])
