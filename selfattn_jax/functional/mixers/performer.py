"""Performer: random features that are positive, whose exponents are kept in range without changing the result."""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.sums import CHUNK as CHUNK  # the exam of lengths asks each file for its chunk
from selfattn_jax.functional.mixers.sums import again, divide, full_sums, prepare, prepare_pairs, scan_chunks
from selfattn_jax.shapes import Array, check_shapes

FeatureMap = Literal["positive", "hyperbolic"]


def performer(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    projection: Array,
    features: FeatureMap = "positive",
) -> Array:
    """Softmax attention in O(T), estimated without bias of its numerators by positive random features.

      yₜ = Σₛ φ(qₜ)·φ(kₛ) vₛ / Σₛ φ(qₜ)·φ(kₛ)        s ≤ t when causal,  x' = x K^(−¼),  ω = projection
      φ(x) = exp(ω x' − ‖x'‖²/2) / √M                                         features "positive"
      φ(x) = [exp(ω x' − ‖x'‖²/2), exp(−ω x' − ‖x'‖²/2)] / √(2M)              features "hyperbolic"

    Exponents are taken off the largest there is of each feature (so far, when causal), and of each query: what they are
    divided by cancels, so that no denominator underflows and none needs an epsilon.

    Args:
      query: [T,K].  key: [S,K].  value: [S,V].
      causal: sums over s ≤ t alone, chunk by chunk.
      key_mask: [S] bool, True = may be attended to; a hidden key may hold anything, NaN included.
      projection: [M,K], rows drawn from the normal distribution; orthogonal ones estimate better.
      features: positive, or hyperbolic, which pairs every row of the projection with its negative.
    Returns: [T,V], in value's dtype; 0 for a query that may attend to nothing.
    Raises: ValueError naming the argument whose shape or dtype is off, or unknown features.
    References: Choromanski et al. 2020, arXiv:2009.14794.
    """
    exponents = _performer_exponents(projection, features, query)
    query, key, extended = prepare(query, key, value, key_mask)
    sums = (_causal_exponential_sums if causal else _full_exponential_sums)(query, key, extended, exponents)
    return divide(sums[:, :-1], sums[:, -1:]).astype(value.dtype)


def performer_weights(
    query: Array,
    key: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    projection: Array,
    features: FeatureMap = "positive",
) -> Array:
    """The attention matrix that `performer` applies without ever forming it.

      wₜₛ = φ(qₜ)·φ(kₛ) / Σᵣ φ(qₜ)·φ(kᵣ)

    Args: those of `performer`.
    Returns: [T,S], in at least float32.
    """
    exponents = _performer_exponents(projection, features, query)
    query, key, visible = prepare_pairs(query, key, causal, key_mask)
    products, _ = _exponential_products(exponents(query), exponents(key), visible)
    return divide(products, jnp.sum(products, axis=1, keepdims=True))


def _performer_exponents(projection: Array, features: FeatureMap, query: Array) -> Callable[[Array], Array]:
    """The logarithms of φ(x) for vectors [T,K], less the constant."""
    check_shapes(query=(query, "TK"), projection=(projection, "MK"))
    if features not in ("positive", "hyperbolic"):
        raise ValueError(f"features must be positive or hyperbolic, got {features!r}")
    signs = (1, -1) if features == "hyperbolic" else (1,)

    def exponents(vectors: Array) -> Array:
        scaled = vectors * vectors.shape[1] ** -0.25
        projected = scaled @ jnp.asarray(projection, vectors.dtype).T
        both = jnp.concatenate([sign * projected for sign in signs], axis=1)
        return both - jnp.sum(scaled * scaled, axis=1, keepdims=True) / 2

    return exponents


def _full_exponential_sums(query: Array, key: Array, extended: Array, exponents: Callable) -> Array:
    """Σₛ φ(qₜ)·φ(kₛ) [vₛ, 1] with φ = exp(exponents), every row divided by a number of its own.

    A query's largest term of Σₘ φₘ(q) maxₛ φₘ(kₛ) becomes 1: the denominator is between 1 and S·M.
    """
    of_query, of_key = exponents(query), _shown_exponents(exponents(key), extended)
    peak = _largest(of_key, 0)
    of_query = of_query + peak
    return full_sums(jnp.exp(of_query - _largest(of_query, 1)), jnp.exp(of_key - peak), extended)


def _causal_exponential_sums(query: Array, key: Array, extended: Array, exponents: Callable) -> Array:
    """The same over s ≤ t: the state is divided by each feature's largest value so far, and again as that grows."""

    def step(state: tuple[Array, Array], chunks: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (past, peak), (queries, keys, values) = state, chunks
        of_query, of_key = exponents(queries), _shown_exponents(exponents(keys), values)
        products, near_scale = _exponential_products(of_query, of_key, jnp.tri(len(queries), dtype=bool))
        near = products @ values
        far_scale = _largest(of_query + peak, 1)
        far = jnp.exp(of_query + peak - far_scale) @ past.T
        # The nearer sum's own size, not the bound it was scaled by, is what may outweigh the other.
        size = jax.lax.stop_gradient(jnp.maximum(near[:, -1:], jnp.finfo(near.dtype).tiny))
        scale = jnp.maximum(near_scale + jnp.log(size), far_scale)
        higher = jnp.maximum(peak, _largest(of_key, 0))
        past = past * jnp.exp(peak - higher) + values.T @ jnp.exp(of_key - higher)
        return (past, higher), near * jnp.exp(near_scale - scale) + far * jnp.exp(far_scale - scale)

    length, width = query.shape[0], jax.eval_shape(exponents, key).shape[1]
    past, peak = jnp.zeros((extended.shape[1], width), key.dtype), jnp.full((1, width), _lowest(key.dtype))
    return scan_chunks(again(step), (past, peak), query, key[:length], extended[:length])


def _exponential_products(of_query: Array, of_key: Array, visible: Array) -> tuple[Array, Array]:
    """exp(of_query)·exp(of_key) [T,S], every row divided by a number of its own, and that number's logarithm [T,1]."""
    rows, columns = _largest(of_query, 1), _largest(of_key, 1)
    products = jnp.exp(of_query - rows) @ jnp.exp(of_key - columns).T
    shifts = jnp.where(visible, columns.T, _lowest(of_key.dtype))
    top = _largest(shifts, 1)
    return jnp.where(visible, products * jnp.exp(shifts - top), 0), rows + top


def _largest(exponents: Array, axis: int) -> Array:
    """A number to take off exponents; it cancels, and so has no derivative."""
    return jax.lax.stop_gradient(jnp.max(exponents, axis=axis, keepdims=True))


def _shown_exponents(exponents: Array, extended: Array) -> Array:
    """The exponents [S,M] of keys, where hidden so low that none is the largest of anything."""
    return jnp.where(extended[:, -1:] > 0, exponents, _lowest(exponents.dtype))


def _lowest(dtype: jnp.dtype) -> Array:
    """An exponent of 0 that can still be added to."""
    return jnp.asarray(jnp.finfo(dtype).min / 4, dtype)
