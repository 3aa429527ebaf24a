"""Linear recurrences with a decay for every feature: every row of the state [K,V] fades at a pace of its own.

  Sₜ = diag(exp(gₜ)) Sₜ₋₁ + kₜ vₜᵀ        yₜ = qₜᵀ Sₜ

The steps are the definition. In a chunk every pair is computed by a product of two factors that are at most 1.
"""

import jax
import jax.numpy as jnp
import numpy as np

from selfattn_jax.functional.mixers.decays import (
    CHUNK,
    answer,
    chunked,
    decays_of,
    running,
    scaled,
    shown_triple,
    start_of,
    states_between,
    with_units,
)
from selfattn_jax.shapes import Array, PositiveInt, check_shapes

SMALL = 8  # chunks of so few positions are computed at all levels in one go

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
    return answer(_vector_steps(*arrays, decays, start_of(initial_state, *arrays)), value)


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
    return answer(_vector_chunks(*arrays, decays, start_of(initial_state, *arrays), chunk), value)


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
    """The matrix [T,T] that `gated_linear` applies without a state to begin with: yₜ = Σₛ wₜₛ vₛ."""
    del initial_state
    return gated_linear(*with_units(query, key), key_mask=key_mask, log_decay=log_decay, chunk=chunk)


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
    arrays, decays = shown_triple(query, key, value, key_mask), decays_of(log_decay, key, key_mask, "TK")
    passed = _of_present(*arrays, bonus)

    def step(state: Array, at: tuple[Array, Array, Array, Array]) -> tuple[Array, Array]:
        query, key, value, decay = at
        return jnp.exp(decay)[:, None] * state + jnp.outer(key, value), query @ state

    final, output = jax.lax.scan(step, start_of(initial_state, *arrays), (*arrays, decays))
    return answer((output + passed, final), value)


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
    arrays, decays = shown_triple(query, key, value, key_mask), decays_of(log_decay, key, key_mask, "TK")
    passed = _of_present(*arrays, bonus)
    # What is read is the state before: that of keys, values and decays which come one position later.
    keys, values, fading = (jnp.pad(array, ((1, 0), (0, 0)))[:-1] for array in (*arrays[1:], decays))
    output, state = _vector_chunks(arrays[0], keys, values, fading, start_of(initial_state, *arrays), chunk)
    final = jnp.exp(decays[-1])[:, None] * state + jnp.outer(arrays[1][-1], arrays[2][-1])
    return answer((output + passed, final), value)


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
    """The matrix [T,T] that `rwkv` applies without a state to begin with: yₜ = Σₛ wₜₛ vₛ."""
    del initial_state
    return rwkv(*with_units(query, key), key_mask=key_mask, log_decay=log_decay, bonus=bonus, chunk=chunk)


def _of_present(query: Array, key: Array, value: Array, bonus: Array) -> Array:
    """qₜᵀ diag(bonus) kₜ vₜᵀ."""
    check_shapes({"K": key.shape[1]}, bonus=(bonus, "K"))
    return jnp.sum(query * jnp.asarray(bonus, key.dtype)[None, :] * key, axis=1, keepdims=True) * value


# The two forms.


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
    query, key, value, decays = (chunked(array, chunk) for array in (query, key, value, decays))
    before, after = running(decays)
    written = jnp.swapaxes(key * jnp.exp(after), 1, 2) @ value
    states, final = states_between(jnp.exp(before[:, -1])[..., None], written, start)
    output = _inside(query, key, value, decays) + (query * jnp.exp(before)) @ states
    return output.reshape(-1, value.shape[-1])[:length], final


def _inside(query: Array, key: Array, value: Array, decays: Array) -> Array:
    """What every position [n,C,…] reads of its own chunk, up to itself: [n,C,V].

    Each half of a chunk by itself, and the right one reads the left one: decays by feature do not factor out of the
    product, but for the middle they do. What fades up to it belongs to the key, what fades from there on to the query.
    """
    arrays, size = (query, key, value, decays), query.shape[1]
    if size <= SMALL or size % 2:
        return jax.vmap(_pairs)(query, key, decays) @ value
    halves = [array.reshape(-1, size // 2, array.shape[-1]) for array in arrays]
    (_, asked), (offered, _), (held, _), (first, second) = ((half[::2], half[1::2]) for half in halves)
    faded_query, faded_key = asked * jnp.exp(running(second)[0]), offered * jnp.exp(running(first)[1])
    read = (faded_query @ jnp.swapaxes(faded_key, 1, 2)) @ held
    return jnp.concatenate([jnp.zeros_like(read), read], axis=1) + _inside(*halves).reshape(value.shape)


def _pairs(query: Array, key: Array, decays: Array) -> Array:
    """Σₖ qₜₖ kₛₖ exp(Σ_{s < r ≤ t} gᵣₖ) for s ≤ t in a chunk [C,K], else 0: [C,C].

    Of the blocks of 2, 4, 8 … positions that s and t share, the smallest has one of them in each half: its middle is
    where the decays between them factor. All levels are products of the whole chunk, which must be small.
    """
    chunk = query.shape[0]
    pairs = jnp.where(np.eye(chunk, dtype=bool), jnp.sum(query * key, axis=1)[:, None], 0)
    for meets, fading in _halves(chunk):
        faded = jnp.exp(fading.astype(query.dtype) @ decays)
        pairs = pairs + jnp.where(meets, (query * faded) @ (key * faded).T, 0)
    return pairs


def _halves(chunk: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """For blocks of 2, 4, 8 …: who of the right half meets whom of the left, and which decays lie up to the middle."""
    places, found = np.arange(chunk), []
    for level in range((chunk - 1).bit_length()):
        half, block = places >> level, places >> (level + 1)
        right = half % 2 == 1
        meets = (block[:, None] == block[None, :]) & right[:, None] & ~right[None, :]
        same = half[:, None] == half[None, :]
        before = places[None, :] <= places[:, None]
        fading = same & np.where(right[:, None], before, ~before)
        found.append((meets, fading))
    return found
