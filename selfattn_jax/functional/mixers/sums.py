"""Sums over keys for attention by a kernel: what is known of κ decides how Σₛ κ(qₜ,kₛ) vₛ is found in O(T).

κ is a product of features, κ(q,k) = φ(q)·φ(k), so that keys and values are summed once for all queries. Every value is
extended by a last 1, which carries the denominator Σₛ κ(qₜ,kₛ) along with the numerators; where a key is hidden, both
are 0. Causal sums go from chunk to chunk: quadratic inside one, a state of F·(V+1) numbers between them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.visible import check_key_mask, shown
from selfattn_jax.shapes import Array, accumulation_dtype, check_shapes

CHUNK = 64

Features = Callable[[Array], Array]


def prepare(query: Array, key: Array, value: Array, key_mask: Array | None) -> tuple[Array, Array, Array]:
    """Query, key and extended value in the dtype of sums, a hidden key and its extended value 0.

    Args:
      query: [T,K].  key: [S,K].  value: [S,V].  key_mask: [S] bool.
    Returns: [T,K], [S,K] and [S,V+1].
    Raises: ValueError naming the argument whose shape or dtype is off.
    """
    sizes = check_shapes(query=(query, "TK"), key=(key, "SK"))
    check_key_mask(key_mask, sizes["S"])
    check_shapes(sizes, value=(value, "SV"))
    dtype = accumulation_dtype(query, key)
    extended = jnp.concatenate([value.astype(dtype), jnp.ones((sizes["S"], 1), dtype)], axis=1)
    return query.astype(dtype), shown(key.astype(dtype), key_mask), shown(extended, key_mask)


def prepare_pairs(query: Array, key: Array, causal: bool, key_mask: Array | None) -> tuple[Array, Array, Array]:
    """Query and key in the dtype of sums, a hidden key 0, and which of them meet: [T,K], [S,K] and [T,S] bool.

    Raises: ValueError naming the argument whose shape or dtype is off.
    """
    sizes = check_shapes(query=(query, "TK"), key=(key, "SK"))
    check_key_mask(key_mask, sizes["S"])
    dtype = accumulation_dtype(query, key)
    visible = jnp.ones((sizes["T"], sizes["S"]), bool)
    visible = jnp.tril(visible) if causal else visible
    visible = visible if key_mask is None else visible & key_mask[None, :]
    return query.astype(dtype), shown(key.astype(dtype), key_mask), visible


def over_denominator(sums: Array, epsilon: Array | float) -> Array:
    """Sums [T,V+1] of extended values as averages [T,V]: over the last of them, with epsilon added."""
    return sums[:, :-1] / (sums[:, -1:] + jnp.asarray(epsilon, sums.dtype))


def over_row_sum(products: Array, visible: Array, epsilon: Array | float) -> Array:
    """A kernel of pairs [T,S] as weights, 0 where not visible: over the sum of their row, with epsilon added."""
    products = jnp.where(visible, products, 0)
    return products / (jnp.sum(products, axis=1, keepdims=True) + jnp.asarray(epsilon, products.dtype))


def divide(numerators: Array, denominators: Array) -> Array:
    """Numerators [T,…] by denominators [T,1], and 0 where the denominator is 0."""
    nonzero = denominators != 0
    return jnp.where(nonzero, numerators / jnp.where(nonzero, denominators, 1), 0)


def full_sums(query: Array, key: Array, extended: Array) -> Array:
    """Σₛ (qₜ·kₛ) [vₛ, 1] for features query [T,F] and key [S,F]."""
    return query @ (key.T @ extended)


def causal_sums(query: Array, key: Array, extended: Array) -> Array:
    """Σ_{s ≤ t} (qₜ·kₛ) [vₛ, 1] for features query [T,F] and key [S,F]."""

    def step(state: Array, chunks: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        queries, keys, values = chunks
        inside = jnp.tril(queries @ keys.T) @ values
        return state + keys.T @ values, inside + queries @ state

    length = query.shape[0]
    if length <= CHUNK:
        return jnp.tril(query @ key.T) @ extended
    start = jnp.zeros((key.shape[1], extended.shape[1]), key.dtype)
    return scan_chunks(step, start, query, key[:length], extended[:length])


def expanded_sums(
    query: Array, key: Array, extended: Array, *, features: Features, product: Callable, causal: bool, chunk: int
) -> Array:
    """Σₛ κ(qₜ,kₛ) [vₛ, 1] where features are many: they are held for one chunk at a time, and again going backward.

    Args:
      query: [T,K].  key: [S,K].  extended: [S,V+1].
      features: vectors [C,K] → [C,F].
      product: the same kernel without features: queries [C,K], keys [C,K] → [C,C].
      causal: whether the sum is over s ≤ t alone.
      chunk: C; fewer queries and keys than that meet without features.
    Returns: [T,V+1].
    """
    if max(query.shape[0], key.shape[0]) <= chunk:
        products = product(query, key)
        return (jnp.tril(products) if causal else products) @ extended

    def write(state: Array, chunks: tuple[Array, Array]) -> tuple[Array, None]:
        keys, values = chunks
        return state + values.T @ features(keys), None

    def read(state: Array, queries: Array) -> Array:
        return features(queries) @ state.T

    def step(state: Array, chunks: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        queries, keys, values = chunks
        inside = jnp.tril(product(queries, keys)) @ values
        return write(state, (keys, values))[0], inside + read(state, queries)

    length, width = query.shape[0], jax.eval_shape(features, key).shape[1]
    start = jnp.zeros((extended.shape[1], width), key.dtype)
    if causal:
        return scan_chunks(again(step), start, query, key[:length], extended[:length], chunk=chunk)
    state, _ = jax.lax.scan(again(write), start, (in_chunks(key, chunk), in_chunks(extended, chunk)))
    return scan_chunks(again(lambda _, chunks: (None, read(state, *chunks))), None, query, chunk=chunk)


def again(step: Callable) -> Callable:
    """A step of a scan whose intermediate results are computed a second time going backward, not kept."""
    return jax.checkpoint(step, prevent_cse=False)


def scan_chunks(step: Callable, start: object, query: Array, *others: Array, chunk: int = CHUNK) -> Array:
    """Scans over queries [T,…] and what goes with them, a chunk at a time.

    Args:
      step: (state, (queries, …)) → (state, outputs [C,…]).
      start: the state before the first chunk.
      query: [T,…].  others: each [≤ T,…], filled up with zeros.
      chunk: C.
    Returns: the outputs [T,…].
    """
    length = query.shape[0]
    filled = [jnp.pad(array, ((0, length - array.shape[0]), (0, 0))) for array in (query, *others)]
    if length <= chunk:
        return step(start, tuple(filled))[1]
    _, outputs = jax.lax.scan(step, start, tuple(in_chunks(array, chunk) for array in filled))
    return outputs.reshape(-1, outputs.shape[-1])[:length]


def in_chunks(array: Array, chunk: int) -> Array:
    """[T,…] as [⌈T/C⌉,C,…], filled up with zeros."""
    length, width = array.shape
    count = -(-length // chunk)
    return jnp.pad(array, ((0, count * chunk - length), (0, 0))).reshape(count, chunk, width)
