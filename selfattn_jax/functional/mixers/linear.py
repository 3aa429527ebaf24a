"""Linear attention: a feature map in place of softmax, so that keys and values are summed once for all queries."""

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, Positive, accumulation_dtype, check_shapes

CHUNK = 64


def linear(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    epsilon: Positive = 1e-6,
) -> Array:
    """Attends in O(T) by replacing softmax with a positive feature map φ.

      yₜ = φ(qₜ)ᵀ Σₛ φ(kₛ) vₛᵀ / (φ(qₜ)ᵀ Σₛ φ(kₛ) + epsilon)        φ(x) = elu(x) + 1,  s ≤ t when causal

    Args:
      query: [T,K].  key: [S,K].  value: [S,V].
      causal: sums over s ≤ t alone, chunk by chunk.
      key_mask: [S] bool, True = may be attended to; a hidden key may hold anything, NaN included.
      epsilon: added to the denominator.
    Returns: [T,V], in value's dtype; 0 for a query that may attend to nothing.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Katharopoulos et al. 2020, arXiv:2006.16236.
    """
    features_query, features_key = _features(query, key, key_mask)
    sizes = check_shapes(query=(query, "TK"), key=(key, "SK"), value=(value, "SV"))
    if key_mask is not None:
        value = jnp.where(key_mask[:, None], value, 0)
    # A last value of 1 carries the denominator along with the numerators.
    ones = jnp.ones((sizes["S"], 1), features_key.dtype)
    extended = jnp.concatenate([value.astype(features_key.dtype), ones], axis=1)
    sums = _causal_sums if causal else _full_sums
    total = sums(features_query, features_key, extended)
    return (total[:, :-1] / (total[:, -1:] + jnp.asarray(epsilon, total.dtype))).astype(value.dtype)


def linear_weights(
    query: Array,
    key: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    epsilon: Positive = 1e-6,
) -> Array:
    """The attention matrix that `linear` applies without ever forming it.

      wₜₛ = φ(qₜ)·φ(kₛ) / (Σᵣ φ(qₜ)·φ(kᵣ) + epsilon)

    Args: those of `linear`.
    Returns: [T,S], in at least float32.
    """
    features_query, features_key = _features(query, key, key_mask)
    products = features_query @ features_key.T
    if causal:
        products = jnp.tril(products)
    return products / (jnp.sum(products, axis=1, keepdims=True) + jnp.asarray(epsilon, products.dtype))


def _features(query: Array, key: Array, key_mask: Array | None) -> tuple[Array, Array]:
    """φ(q) and φ(k), where a hidden key has features 0."""
    sizes = check_shapes(query=(query, "TK"), key=(key, "SK"))
    dtype = accumulation_dtype(query, key)
    features_query, features_key = (jax.nn.elu(vectors.astype(dtype)) + 1 for vectors in (query, key))
    if key_mask is not None:
        if key_mask.shape != (sizes["S"],) or key_mask.dtype != jnp.bool_:
            raise ValueError(f"key_mask must be bool [S={sizes['S']}], got {key_mask.dtype} {list(key_mask.shape)}")
        # Before the feature map, or NaN in a hidden key would survive in the gradient.
        hidden = jnp.where(key_mask[:, None], key.astype(dtype), 0)
        features_key = jnp.where(key_mask[:, None], jax.nn.elu(hidden) + 1, 0)
    return features_query, features_key


def _full_sums(query: Array, key: Array, value: Array) -> Array:
    return query @ (key.T @ value)


def _causal_sums(query: Array, key: Array, value: Array) -> Array:
    """Σ_{s ≤ t} (qₜ·kₛ) vₛ: quadratic inside a chunk, one state [K,V] from chunk to chunk."""
    length, sources = query.shape[0], key.shape[0]
    chunk = min(CHUNK, max(length, sources))
    padded = -(-max(length, sources) // chunk) * chunk

    def chunked(array: Array) -> Array:
        return jnp.pad(array, ((0, padded - array.shape[0]), (0, 0))).reshape(-1, chunk, array.shape[1])

    def step(state: Array, chunks: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        queries, keys, values = chunks
        inside = jnp.tril(queries @ keys.T) @ values
        return state + keys.T @ values, inside + queries @ state

    state = jnp.zeros((key.shape[1], value.shape[1]), value.dtype)
    _, outputs = jax.lax.scan(step, state, (chunked(query), chunked(key), chunked(value)))
    return outputs.reshape(padded, -1)[:length]
