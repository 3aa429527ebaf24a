"""Kernels beside those of `linear` and `performer`: decay by cosine, random waves, Taylor's series, learned features.

The sums of a kernel κ(q,k) are found by `sums`; a weight of a mixer's effective attention matrix is κ(qₜ,kₛ) over the
same denominator as in its output.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.sums import (
    CHUNK,
    causal_sums,
    expanded_sums,
    full_sums,
    over_denominator,
    over_row_sum,
    prepare,
    prepare_pairs,
)
from selfattn_jax.functional.scores import unit
from selfattn_jax.shapes import Array, Positive, PositiveInt, check_shapes

# Many features make a large state, which going backward is held once for every chunk.
EXPANDED_CHUNK = 4 * CHUNK


# Cosformer.


def cosformer(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    maximum: PositiveInt,
    epsilon: Positive = 1e-6,
) -> Array:
    """Attends in O(T) by rectified products that fade with the distance, as its cosine.

      yₜ = Σₛ κₜₛ vₛ / (Σₛ κₜₛ + epsilon)        κₜₛ = relu(qₜ)·relu(kₛ) cos(π(t − s) / (2 maximum)),  s ≤ t when causal

    Args:
      query: [T,K].  key: [S,K].  value: [S,V]; queries and keys are numbered from 0.
      causal: sums over s ≤ t alone, chunk by chunk.
      key_mask: [S] bool, True = may be attended to; a hidden key may hold anything, NaN included.
      maximum: the distance at which nothing is left, at least T and S.
      epsilon: added to the denominator.
    Returns: [T,V], in value's dtype; 0 for a query that may attend to nothing.
    Raises: ValueError naming the argument whose shape or dtype is off, or a maximum below T or S.
    References: Qin et al. 2022, arXiv:2202.08791.
    """
    query, key, extended = prepare(query, key, value, key_mask)
    sums = (causal_sums if causal else full_sums)(*_cosformer_features(query, key, maximum), extended)
    return over_denominator(sums, epsilon).astype(value.dtype)


def cosformer_weights(
    query: Array,
    key: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    maximum: PositiveInt,
    epsilon: Positive = 1e-6,
) -> Array:
    """The attention matrix that `cosformer` applies without ever forming it.

      wₜₛ = κₜₛ / (Σᵣ κₜᵣ + epsilon)

    Args: those of `cosformer`.
    Returns: [T,S], in at least float32.
    """
    query, key, visible = prepare_pairs(query, key, causal, key_mask)
    of_query, of_key = _cosformer_features(query, key, maximum)
    return over_row_sum(of_query @ of_key.T, visible, epsilon)


def _cosformer_features(query: Array, key: Array, maximum: int) -> tuple[Array, Array]:
    """cos(a − b) = cos a cos b + sin a sin b makes a feature of each."""
    longest = max(query.shape[0], key.shape[0])
    if maximum < longest:
        raise ValueError(f"maximum must be at least T and S, got {maximum} for a length of {longest}")

    def features(vectors: Array) -> Array:
        angles = jnp.arange(vectors.shape[0], dtype=vectors.dtype)[:, None] * (math.pi / (2 * maximum))
        rectified = jax.nn.relu(vectors)
        return jnp.concatenate([rectified * jnp.cos(angles), rectified * jnp.sin(angles)], axis=1)

    return features(query), features(key)


# Random Fourier features.


def random_feature(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    projection: Array,
    epsilon: Positive = 1e-2,
) -> Array:
    """Attends in O(T) by an estimate of the Gaussian kernel between directions, with random sines and cosines.

      yₜ = Σₛ φ(qₜ)·φ(kₛ) vₛ / max(Σₛ φ(qₜ)·φ(kₛ), epsilon)        s ≤ t when causal
      φ(x) = [sin(ω x/‖x‖), cos(ω x/‖x‖)] / √M        ω = projection;  x/‖x‖ is 0 where x is

    Args:
      query: [T,K].  key: [S,K].  value: [S,V].
      causal: sums over s ≤ t alone, chunk by chunk.
      key_mask: [S] bool, True = may be attended to; a hidden key may hold anything, NaN included.
      projection: [M,K], rows drawn from a normal distribution, whose inverse width is that of the kernel.
      epsilon: the least denominator; the estimate of a small one may be negative.
    Returns: [T,V], in value's dtype; 0 for a query that may attend to nothing.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Peng et al. 2021, arXiv:2103.02143.
    """
    features = _random_features(projection, query)
    query, key, extended = prepare(query, key, value, key_mask)
    sums = (causal_sums if causal else full_sums)(features(query), features(key), extended)
    return (sums[:, :-1] / jnp.maximum(sums[:, -1:], jnp.asarray(epsilon, sums.dtype))).astype(value.dtype)


def random_feature_weights(
    query: Array,
    key: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    projection: Array,
    epsilon: Positive = 1e-2,
) -> Array:
    """The matrix that `random_feature` applies without ever forming it; some of its entries may be negative.

      wₜₛ = φ(qₜ)·φ(kₛ) / max(Σᵣ φ(qₜ)·φ(kᵣ), epsilon)

    Args: those of `random_feature`.
    Returns: [T,S], in at least float32.
    """
    features = _random_features(projection, query)
    query, key, visible = prepare_pairs(query, key, causal, key_mask)
    products = jnp.where(visible, features(query) @ features(key).T, 0)
    return products / jnp.maximum(jnp.sum(products, axis=1, keepdims=True), jnp.asarray(epsilon, products.dtype))


def _random_features(projection: Array, query: Array) -> Callable[[Array], Array]:
    count = check_shapes(query=(query, "TK"), projection=(projection, "MK"))["M"]

    def features(vectors: Array) -> Array:
        angles = unit(vectors) @ jnp.asarray(projection, vectors.dtype).T
        return jnp.concatenate(_sine_and_cosine(angles), axis=1) * count**-0.5

    return features


@jax.custom_jvp
def _sine_and_cosine(angles: Array) -> tuple[Array, Array]:
    """sin and cos to the last digit or two, for angles that are not huge.

    On a CPU those of XLA take eleven times as long, and would be most of the time of the mixer.
    """
    quarters = jnp.round(angles * (2 / math.pi))
    # A quarter turn in three parts, of which a multiple of the first two is exact.
    rest = angles - quarters * 1.5703125 - quarters * 4.837512969970703125e-4 - quarters * 7.54978995489188216e-8
    sine = rest * _series(rest * rest, [(-1) ** n / math.factorial(2 * n + 1) for n in range(9)])
    cosine = _series(rest * rest, [(-1) ** n / math.factorial(2 * n) for n in range(9)])
    turn = quarters.astype(jnp.int32) % 4
    sine, cosine = jnp.where(turn % 2 == 1, cosine, sine), jnp.where(turn % 2 == 1, sine, cosine)
    return jnp.where(turn >= 2, -sine, sine), jnp.where((turn == 1) | (turn == 2), -cosine, cosine)


@_sine_and_cosine.defjvp
def _sine_and_cosine_jvp(primals: tuple, tangents: tuple) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    sine, cosine = _sine_and_cosine(*primals)
    return (sine, cosine), (cosine * tangents[0], -sine * tangents[0])


def _series(x: Array, coefficients: list[float]) -> Array:
    """Σₙ coefficientₙ xⁿ."""
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total


# Taylor's series.


def taylor(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    epsilon: Positive = 1e-6,
) -> Array:
    """Attends in O(T) by the exponential's series up to its square, which is never negative.

      yₜ = Σₛ κ(qₜ,kₛ) vₛ / (Σₛ κ(qₜ,kₛ) + epsilon)        κ(q,k) = 1 + x + x²/2,  x = q·k/√K,  s ≤ t when causal

    κ has 1 + K + K(K+1)/2 features. They are held for one chunk at a time, and what fits into one is done without them.

    Args:
      query: [T,K].  key: [S,K].  value: [S,V].
      causal: sums over s ≤ t alone, chunk by chunk.
      key_mask: [S] bool, True = may be attended to; a hidden key may hold anything, NaN included.
      epsilon: added to the denominator.
    Returns: [T,V], in value's dtype; 0 for a query that may attend to nothing.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Arora et al. 2024, arXiv:2402.18668.
    """
    query, key, extended = prepare(query, key, value, key_mask)
    maps = {"features": _taylor_features, "product": _taylor_products}
    sums = expanded_sums(query, key, extended, **maps, causal=causal, chunk=EXPANDED_CHUNK)
    return over_denominator(sums, epsilon).astype(value.dtype)


def taylor_weights(
    query: Array,
    key: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    epsilon: Positive = 1e-6,
) -> Array:
    """The attention matrix that `taylor` applies without ever forming it.

      wₜₛ = κ(qₜ,kₛ) / (Σᵣ κ(qₜ,kᵣ) + epsilon)

    Args: those of `taylor`.
    Returns: [T,S], in at least float32.
    """
    query, key, visible = prepare_pairs(query, key, causal, key_mask)
    return over_row_sum(_taylor_products(query, key), visible, epsilon)


def _taylor_products(query: Array, key: Array) -> Array:
    scores = query @ key.T * query.shape[1] ** -0.5
    return 1 + scores + scores * scores / 2


def _taylor_features(vectors: Array) -> Array:
    """[1, x, xᵢxⱼ for i < j, xᵢ²/√2] for x = vectors K^(−¼): [C,K] → [C, 1 + K + K(K+1)/2].

    The products of x and x turned round by d = 0 … ⌊K/2⌋ are those of all pairs, once; at d = K/2 half of them are left
    out, which come twice. A row of length K + 1 of x repeated begins one further round than the row before it.
    """
    count, width = vectors.shape
    scaled = vectors * width**-0.25
    turns = width // 2 + 1
    repeated = jnp.tile(scaled, (1, -(-turns * (width + 1) // width)))[:, : turns * (width + 1)]
    turned = repeated.reshape(count, turns, width + 1)[:, :, :width]
    once = jnp.asarray([math.sqrt(0.5)] + [1.0] * (turns - 1), vectors.dtype)
    pairs = scaled[:, None, :] * turned * once[None, :, None]
    second = pairs.reshape(count, turns * width)[:, : width * (width + 1) // 2]
    return jnp.concatenate([jnp.ones((count, 1), vectors.dtype), scaled, second], axis=1)


# Hedgehog.


def hedgehog(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    query_weight: Array,
    key_weight: Array,
    epsilon: Positive = 1e-6,
) -> Array:
    """Attends in O(T) by learned features that are as spiky as softmax: softmaxes over themselves.

      yₜ = Σₛ φ_q(qₜ)·φ_k(kₛ) vₛ / (Σₛ φ_q(qₜ)·φ_k(kₛ) + epsilon)        s ≤ t when causal
      φ_q(x) = [softmax(x query_weight), softmax(−x query_weight)],  φ_k likewise with key_weight

    Args:
      query: [T,K].  key: [S,K].  value: [S,V].
      causal: sums over s ≤ t alone, chunk by chunk.
      key_mask: [S] bool, True = may be attended to; a hidden key may hold anything, NaN included.
      query_weight: [K,F].  key_weight: [K,F].
      epsilon: added to the denominator.
    Returns: [T,V], in value's dtype; 0 for a query that may attend to nothing.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Zhang et al. 2024, arXiv:2402.04347.
    """
    check_shapes(query=(query, "TK"), query_weight=(query_weight, "KF"), key_weight=(key_weight, "KF"))
    query, key, extended = prepare(query, key, value, key_mask)
    features = _hedgehog_features(query, query_weight), _hedgehog_features(key, key_weight)
    sums = (causal_sums if causal else full_sums)(*features, extended)
    return over_denominator(sums, epsilon).astype(value.dtype)


def hedgehog_weights(
    query: Array,
    key: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    query_weight: Array,
    key_weight: Array,
    epsilon: Positive = 1e-6,
) -> Array:
    """The attention matrix that `hedgehog` applies without ever forming it.

      wₜₛ = φ_q(qₜ)·φ_k(kₛ) / (Σᵣ φ_q(qₜ)·φ_k(kᵣ) + epsilon)

    Args: those of `hedgehog`.
    Returns: [T,S], in at least float32.
    """
    check_shapes(query=(query, "TK"), query_weight=(query_weight, "KF"), key_weight=(key_weight, "KF"))
    query, key, visible = prepare_pairs(query, key, causal, key_mask)
    products = _hedgehog_features(query, query_weight) @ _hedgehog_features(key, key_weight).T
    return over_row_sum(products, visible, epsilon)


def _hedgehog_features(vectors: Array, weight: Array) -> Array:
    projected = vectors @ jnp.asarray(weight, vectors.dtype)
    return jnp.concatenate([jax.nn.softmax(projected), jax.nn.softmax(-projected)], axis=1)
