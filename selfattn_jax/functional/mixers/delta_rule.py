"""The delta rule: a state [K,V] that is written to with what it does not yet say of a key.

  S′ = exp(gₜ) Sₜ₋₁        Sₜ = S′ + writeₜ k̂ₜ (vₜ − S′ᵀ k̂ₜ)ᵀ        yₜ = qₜᵀ Sₜ / √K        k̂ = k/‖k‖

The steps are the definition. In a chunk each error depends on those before it: a triangular system, solved for all
chunks at once; what is left from chunk to chunk is three products.
"""

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.decays import (
    CHUNK,
    chunked,
    decays_of,
    running,
    scaled,
    start_of,
    stretches,
    with_units,
)
from selfattn_jax.functional.mixers.visible import visible_of
from selfattn_jax.functional.scores import unit
from selfattn_jax.shapes import Array, PositiveInt, check_shapes

SMALL = 8  # rows of a triangle, up to which it is inverted row by row: products so small would be all overhead


def delta(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    write: Array,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """Writes to the state what it does not yet say of a key (DeltaNet).

      Sₜ = Sₜ₋₁ + writeₜ k̂ₜ (vₜ − Sₜ₋₁ᵀ k̂ₜ)ᵀ        yₜ = qₜᵀ Sₜ / √K        k̂ = k/‖k‖

    Args:
      query: [T,K].  key: [T,K].  value: [T,V], of one sequence.
      key_mask: [T] bool, True = holds data; a hidden position leaves the state as it is, and may hold anything.
      initial_state: [K,V]; None = zeros.
      write: [T], from 0 (nothing) to 1 (what is said of the key is replaced), or to 2.
      chunk: C, positions that are computed at once.
    Returns: [T,V], in value's dtype.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Yang et al. 2024, arXiv:2406.06484.
    """
    situation = {"key_mask": key_mask, "initial_state": initial_state}
    return delta_chunks(query, key, value, **situation, write=write, chunk=chunk)[0]


def delta_steps(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    write: Array,
) -> tuple[Array, Array]:
    """`delta` with its final state [K,V], one position after another: its definition."""
    situation = {"key_mask": key_mask, "initial_state": initial_state}
    return gated_delta_steps(query, key, value, **situation, log_decay=jnp.zeros(key.shape[0]), write=write)


def delta_chunks(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    write: Array,
    chunk: PositiveInt = CHUNK,
) -> tuple[Array, Array]:
    """`delta` with its final state [K,V], by chunks."""
    situation = {"key_mask": key_mask, "initial_state": initial_state, "chunk": chunk}
    return gated_delta_chunks(query, key, value, **situation, log_decay=jnp.zeros(key.shape[0]), write=write)


def delta_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: None = None,
    write: Array,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """The matrix [T,T] that `delta` applies without a state to begin with, in at least float32: yₜ = Σₛ wₜₛ vₛ."""
    del initial_state
    return delta(*with_units(query, key), key_mask=key_mask, write=write, chunk=chunk)


def gated_delta(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array,
    write: Array,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """Forgets, then writes to the state what it does not yet say of a key (gated DeltaNet).

      S′ = exp(log_decayₜ) Sₜ₋₁        Sₜ = S′ + writeₜ k̂ₜ (vₜ − S′ᵀ k̂ₜ)ᵀ        yₜ = qₜᵀ Sₜ / √K        k̂ = k/‖k‖

    Args:
      query: [T,K].  key: [T,K].  value: [T,V], of one sequence.
      key_mask: [T] bool, True = holds data; a hidden position leaves the state as it is, and may hold anything.
      initial_state: [K,V]; None = zeros.
      log_decay: [T], at most 0.
      write: [T], from 0 (nothing) to 1 (what is said of the key is replaced), or to 2.
      chunk: C, positions that are computed at once.
    Returns: [T,V], in value's dtype.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Yang et al. 2024, arXiv:2412.06464.
    """
    situation = {"key_mask": key_mask, "initial_state": initial_state}
    return gated_delta_chunks(query, key, value, **situation, log_decay=log_decay, write=write, chunk=chunk)[0]


def gated_delta_steps(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array,
    write: Array,
) -> tuple[Array, Array]:
    """`gated_delta` with its final state [K,V], one position after another: its definition."""
    arrays, decays, writes = _of(query, key, value, key_mask, log_decay, write)

    def step(state: Array, at: tuple[Array, ...]) -> tuple[Array, Array]:
        query, key, value, decay, write = at
        faded = jnp.exp(decay) * state
        state = faded + write * jnp.outer(key, value - key @ faded)
        return state, query @ state

    final, output = jax.lax.scan(step, start_of(initial_state, *arrays), (*arrays, decays, writes))
    return output.astype(value.dtype), final


def gated_delta_chunks(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_decay: Array,
    write: Array,
    chunk: PositiveInt = CHUNK,
) -> tuple[Array, Array]:
    """`gated_delta` with its final state [K,V], by chunks."""
    arrays, decays, writes = _of(query, key, value, key_mask, log_decay, write)
    length, chunk = query.shape[0], min(chunk, max(query.shape[0], 1))
    asked, keys, values, decays, writes = (chunked(array, chunk) for array in (*arrays, decays, writes))
    before, after = running(decays)
    fading = jnp.exp(jax.vmap(stretches)(decays))
    likeness = jnp.tril(keys @ jnp.swapaxes(keys, 1, 2) * fading, -1) * writes[..., None]
    # What is written, U − W S, solves (I + likeness) X = write ⊙ (V − exp(before) K S).
    wanted = jnp.concatenate([values, keys * jnp.exp(before)[..., None]], axis=2) * writes[..., None]
    solved = inverse_of_unit_lower(likeness) @ wanted
    new, erased = solved[..., : values.shape[2]], solved[..., values.shape[2] :]
    kept, telling = jnp.exp(before[:, -1]), jnp.swapaxes(keys * jnp.exp(after)[..., None], 1, 2)

    # A chunk takes S to kept S + telling (U − W S): what stands before S is known at once, and a step is one product.
    through = kept[:, None, None] * jnp.eye(keys.shape[2], dtype=keys.dtype)[None] - telling @ erased

    def step(state: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        through, added = at
        return through @ state + added, state

    final, states = jax.lax.scan(step, start_of(initial_state, *arrays), (through, telling @ new))
    written = new - erased @ states
    inside = (asked @ jnp.swapaxes(keys, 1, 2)) * fading
    output = (asked * jnp.exp(before)[..., None]) @ states + inside @ written
    return output.reshape(-1, value.shape[1])[:length].astype(value.dtype), final


def gated_delta_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: None = None,
    log_decay: Array,
    write: Array,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """The matrix [T,T] that `gated_delta` applies without a state to begin with: yₜ = Σₛ wₜₛ vₛ."""
    del initial_state
    return gated_delta(*with_units(query, key), key_mask=key_mask, log_decay=log_decay, write=write, chunk=chunk)


@jax.custom_jvp
def inverse_of_unit_lower(below: Array) -> Array:
    """(I + below)⁻¹ of each strictly lower triangular `below` [N,C,C], by products alone: from halves to the whole.

      ⎡ A  0 ⎤⁻¹   ⎡     A⁻¹        0  ⎤
      ⎣ B  D ⎦   = ⎣ −D⁻¹ B A⁻¹    D⁻¹ ⎦

    Not `triangular_solve`: on a CPU it waits, within a thread of the pool, for that same pool; as many of them at once
    as there are threads, which a backward pass or two devices suffice for, wait for ever (jaxlib 0.10).
    """
    size = below.shape[-1]
    whole = 1 << max(size - 1, 0).bit_length()
    below = jnp.pad(below, ((0, 0), (0, whole - size), (0, whole - size)))
    inverses = _inverses_of_small(_diagonal_blocks(below, min(SMALL, whole)))
    while (half := inverses.shape[-1]) < whole:
        corners = _diagonal_blocks(below, 2 * half)[:, :, half:, :half]
        above, under = inverses[:, 0::2], inverses[:, 1::2]
        upper = jnp.concatenate([above, jnp.zeros_like(above)], axis=-1)
        lower = jnp.concatenate([-under @ corners @ above, under], axis=-1)
        inverses = jnp.concatenate([upper, lower], axis=-2)
    return inverses[:, 0, :size, :size]


def _diagonal_blocks(matrices: Array, size: int) -> Array:
    """[N,C,C] → [N,C/size,size,size]."""
    count, whole, _ = matrices.shape
    blocks = matrices.reshape(count, whole // size, size, whole // size, size)
    return jnp.moveaxis(jnp.diagonal(blocks, axis1=1, axis2=3), -1, 1)


def _inverses_of_small(below: Array) -> Array:
    """(I + below)⁻¹ of small blocks [...,c,c], row after row: rowᵢ = eᵢ − Σⱼ belowᵢⱼ rowⱼ."""
    identity = jnp.broadcast_to(jnp.eye(below.shape[-1], dtype=below.dtype), below.shape)
    rows: list[Array] = []
    for place in range(below.shape[-1]):
        known = [below[..., place, earlier, None] * row for earlier, row in enumerate(rows)]
        rows.append(identity[..., place, :] - sum(known))
    return jnp.stack(rows, axis=-2)


@inverse_of_unit_lower.defjvp
def _inverse_of_unit_lower_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    inverse = inverse_of_unit_lower(*primals)
    return inverse, -inverse @ jnp.tril(tangents[0], -1) @ inverse


def _of(
    query: Array, key: Array, value: Array, key_mask: Array | None, log_decay: Array, write: Array
) -> tuple[tuple[Array, Array, Array], Array, Array]:
    """Scaled query, unit key and value; decays and writes, 0 where hidden."""
    query, key, value = scaled(query, key, value, key_mask)
    check_shapes({"T": key.shape[0]}, write=(write, "T"))
    writes = jnp.where(visible_of(key.shape[0], key_mask), jnp.asarray(write, key.dtype), 0)
    return (query, unit(key), value), decays_of(log_decay, key, key_mask, "T"), writes
