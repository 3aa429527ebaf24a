"""Linear recurrences with a decay for every feature: every row of the state [K,V] fades at a pace of its own.

  Sₜ = diag(exp(gₜ)) Sₜ₋₁ + kₜ vₜᵀ        yₜ = qₜᵀ Sₜ

The steps are the definition; `feature_chunks` computes the chunks.
"""

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.decays import (
    CHUNK,
    answer,
    chunked,
    decays_of,
    scaled,
    shown_triple,
    start_of,
    with_units,
)
from selfattn_jax.functional.mixers.feature_chunks import read_chunks, whole_chunk
from selfattn_jax.shapes import Array, PositiveInt, check_shapes

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
      chunk: C, positions that are computed at once; rounded up to a power of 2.
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
    return answer(_vector_chunks(arrays, decays, start_of(initial_state, *arrays), chunk), value)


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
      chunk: C, positions that are computed at once; rounded up to a power of 2.
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
    check_shapes({"K": key.shape[1]}, bonus=(bonus, "K"))
    bonus = jnp.asarray(bonus, arrays[1].dtype)
    return answer(_vector_chunks(arrays, decays, start_of(initial_state, *arrays), chunk, bonus), value)


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
    arrays: tuple[Array, Array, Array], decays: Array, start: Array, chunk: int, bonus: Array | None = None
) -> tuple[Array, Array]:
    length, width = arrays[2].shape
    chunk = whole_chunk(chunk, length)
    output, final = read_chunks(*(chunked(array, chunk) for array in (*arrays, decays)), start, bonus)
    return output.reshape(-1, width)[:length], final
