"""What the linear recurrences with decay share: what is hidden, sums of decays, chunks, and the states between them.

Exponents are sums of decays over a stretch, never differences of sums: all are at most 0, and none loses its digits to
a large one before it.
"""

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.visible import visible_of
from selfattn_jax.shapes import Array, accumulation_dtype, check_shapes

CHUNK = 64
FASTEST = -1e5  # a decay below it leaves nothing either, and sums of it stay finite


def short_convolution(vectors: Array, /, *, kernel: Array, key_mask: Array | None = None) -> Array:
    """Convolves every number with its last few, before a recurrence sees it.

      yₜ = silu(Σ_w kernel_w ⊙ x_{t − W + 1 + w})        x is 0 before the start and where hidden

    Args:
      vectors: [T,K].
      kernel: [W,K].
      key_mask: [T] bool, True = holds data.
    Returns: [T,K], in at least float32.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Dao & Gu 2024, arXiv:2405.21060.
    """
    check_shapes(vectors=(vectors, "TK"), kernel=(kernel, "WK"))
    length, taps, dtype = vectors.shape[0], kernel.shape[0], accumulation_dtype(vectors)
    shown = jnp.where(visible_of(length, key_mask)[:, None], vectors.astype(dtype), 0)
    padded, kernel = jnp.pad(shown, ((taps - 1, 0), (0, 0))), jnp.asarray(kernel, dtype)
    summed = sum(padded[tap : tap + length] * kernel[tap][None, :] for tap in range(taps))
    return jax.nn.silu(jnp.asarray(summed))


def shown_triple(query: Array, key: Array, value: Array, key_mask: Array | None) -> tuple[Array, Array, Array]:
    """Query, key and value in at least float32; keys and values that are hidden are 0."""
    check_shapes(query=(query, "TK"), key=(key, "TK"), value=(value, "TV"))
    visible, dtype = visible_of(key.shape[0], key_mask)[:, None], accumulation_dtype(query, key, value)
    query = query.astype(dtype)
    return (
        # The query of a hidden position reads the state too, unless it would harm it going backward.
        jnp.where(visible | jnp.isfinite(query), query, 0),
        jnp.where(visible, key.astype(dtype), 0),
        jnp.where(visible, value.astype(dtype), 0),
    )


def scaled(query: Array, key: Array, value: Array, key_mask: Array | None) -> tuple[Array, Array, Array]:
    """Query over √K, key and value, in at least float32; keys and values that are hidden are 0."""
    query, key, value = shown_triple(query, key, value, key_mask)
    return query * key.shape[1] ** -0.5, key, value


def decays_of(log_decay: Array | float, key: Array, key_mask: Array | None, letters: str) -> Array:
    """Decays [T] or [T,K] for every position, 0 where hidden; without T, the same for all."""
    length, dtype = key.shape[0], accumulation_dtype(key)
    check_shapes({"T": length, "K": key.shape[1]}, log_decay=(log_decay, letters))
    decays, visible = jnp.asarray(log_decay, dtype), visible_of(length, key_mask)
    decays = decays if "T" in letters else jnp.broadcast_to(decays, (length,))
    visible = visible[:, None] if "K" in letters else visible
    # Not the maximum, whose derivative shares between equals and takes a pass over memory of its own.
    return jnp.where(visible, jnp.where(decays < FASTEST, FASTEST, decays), 0)


def start_of(state: Array | None, query: Array, key: Array, value: Array) -> Array:
    """The state before the first position."""
    del query
    sizes = {"K": key.shape[1], "V": value.shape[1]}
    if state is None:
        return jnp.zeros((sizes["K"], sizes["V"]), key.dtype)
    check_shapes(sizes, initial_state=(state, "KV"))
    return jnp.asarray(state, key.dtype)


def answer(found: tuple[Array, Array], value: Array) -> tuple[Array, Array]:
    """Output, in value's dtype, and final state."""
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


def running(decays: Array) -> tuple[Array, Array]:
    """Sums of decays [n,C,…]: from the start of each chunk up to a position, and from behind it to the end."""
    last = jnp.zeros_like(decays[:, :1])
    behind = jnp.cumsum(decays[:, :0:-1], axis=1)[:, ::-1]
    return jnp.cumsum(decays, axis=1), jnp.concatenate([behind, last], axis=1)


def states_between(faded: Array, written: Array, start: Array) -> tuple[Array, Array]:
    """The states before every chunk [n,K,V], and the last; faded [n,K or 1,1], written [n,K,V]."""

    def step(state: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        return at[0] * state + at[1], state

    final, states = jax.lax.scan(step, start, (faded, written))
    return states, final


def with_units(query: Array, key: Array) -> tuple[Array, Array, Array]:
    """Query and key in at least float32, and as values the unit vectors: what comes out are the weights."""
    dtype = accumulation_dtype(query, key)
    return query.astype(dtype), key.astype(dtype), jnp.eye(key.shape[0], dtype=dtype)
