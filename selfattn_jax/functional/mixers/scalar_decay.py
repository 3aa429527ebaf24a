"""Linear recurrences with one decay for every position: what fades is the whole state [K,V].

  Sₜ = exp(gₜ) Sₜ₋₁ + kₜ vₜᵀ        yₜ = qₜᵀ Sₜ

The steps are the definition. Chunks are the same by matrix products: what positions of a chunk tell each other, what
the state before it tells them, and what it adds to the state.
"""

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.decays import (
    CHUNK,
    FASTEST,
    answer,
    chunked,
    decays_of,
    running,
    scaled,
    shown_triple,
    start_of,
    states_between,
    stretches,
    with_units,
)
from selfattn_jax.functional.mixers.visible import visible_of
from selfattn_jax.shapes import Array, PositiveInt, check_shapes

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
    return answer(_scalar_steps(*arrays, decays, start_of(initial_state, *arrays)), value)


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
    return answer(_scalar_chunks(*arrays, decays, start_of(initial_state, *arrays), chunk), value)


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
    """The matrix [T,T] that `retention` applies without a state to begin with: yₜ = Σₛ wₜₛ vₛ."""
    del initial_state
    return retention(*with_units(query, key), key_mask=key_mask, log_decay=log_decay, chunk=chunk)


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
    return answer(_scalar_steps(*arrays, decays, start_of(initial_state, *arrays)), value)


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
    return answer(_scalar_chunks(*arrays, decays, start_of(initial_state, *arrays), chunk), value)


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
    """The matrix [T,T] that `simple_gated` applies without a state to begin with: yₜ = Σₛ wₜₛ vₛ."""
    del initial_state
    return simple_gated(*with_units(query, key), key_mask=key_mask, log_decay=log_decay, chunk=chunk)


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
    return answer((output + passed, final), value)


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
    return answer((output + passed, final), value)


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
    """The matrix [T,T] that `ssd` applies without a state to begin with: yₜ = Σₛ wₜₛ vₛ."""
    del initial_state
    return ssd(*with_units(query, key), key_mask=key_mask, step=step, rate=rate, skip=skip, chunk=chunk)


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
    query, key, value = shown_triple(query, key, value, key_mask)
    check_shapes({"T": key.shape[0]}, step=(step, "T"))
    visible = visible_of(key.shape[0], key_mask)
    step = jnp.where(visible, jnp.asarray(step, key.dtype), 0)
    decays = jnp.maximum(-jnp.asarray(rate, key.dtype) * step, FASTEST)
    return (query, step[:, None] * key, value), decays, jnp.asarray(skip, key.dtype) * value


# The two forms.


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
    states, final = states_between(jnp.exp(before[:, -1])[:, None, None], written, start)
    output = inside @ value + (query * jnp.exp(before)[..., None]) @ states
    return output.reshape(-1, value.shape[-1])[:length], final
