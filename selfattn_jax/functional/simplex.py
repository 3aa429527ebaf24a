"""Projections of rows on the simplex with exact derivatives: what `sparsemax`, `entmax15` and `entmax` are made of.

Each takes rows [T,S] whose largest entry is 0, −∞ where nothing is, and gives rows that sum to 1; a row of −∞ gives 0.
Plain differentiation of a sort or a bisection gives NaN at ties and at −∞, so each has its own rule:

  ∂p = diag(s) ∂x − s (s·∂x) / Σs        s = p^(2−α) where p > 0, else 0
"""

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array


def _along(sensitivity: Array, tangent: Array) -> Array:
    """The tangent of the weights, for a tangent of the scores and the sensitivities s."""
    total = jnp.sum(sensitivity, axis=-1, keepdims=True)
    # What is not there may have any tangent, NaN included.
    moved = jnp.where(sensitivity > 0, sensitivity * jnp.where(sensitivity > 0, tangent, 0), 0)
    mean = jnp.sum(moved, axis=-1, keepdims=True) / jnp.where(total > 0, total, 1)
    return moved - sensitivity * mean


@jax.custom_jvp
def sparsemax_rows(scores: Array) -> Array:
    """max(x − τ, 0), Σ = 1."""
    ordered = -jnp.sort(-scores, axis=-1)
    rank = jnp.arange(1, scores.shape[-1] + 1, dtype=scores.dtype)[None, :]
    total = jnp.cumsum(ordered, axis=-1)
    support = jnp.sum(1 + rank * ordered > total, axis=-1, keepdims=True)
    at = jnp.maximum(support - 1, 0)
    threshold = (jnp.take_along_axis(total, at, axis=-1) - 1) / jnp.maximum(support, 1).astype(scores.dtype)
    return jnp.where(support > 0, jnp.maximum(scores - threshold, 0), 0)


@sparsemax_rows.defjvp
def _sparsemax_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    weights = sparsemax_rows(primals[0])
    return weights, _along((weights > 0).astype(weights.dtype), tangents[0])


@jax.custom_jvp
def entmax15_rows(scores: Array) -> Array:
    """max(x/2 − τ, 0)², Σ = 1: τₖ = meanₖ − √((1 − ssₖ)/k) over the k largest, for the largest k with τₖ ≤ xₖ/2."""
    ordered = -jnp.sort(-scores / 2, axis=-1)
    present = ordered > -jnp.inf
    ordered = jnp.where(present, ordered, 0)
    rank = jnp.arange(1, scores.shape[-1] + 1, dtype=scores.dtype)[None, :]
    mean = jnp.cumsum(ordered, axis=-1) / rank
    # The spread, summed around the mean: Σx² − (Σx)²/k would cancel.
    spread = rank * jnp.maximum(jnp.cumsum(ordered * ordered, axis=-1) / rank - mean * mean, 0)
    thresholds = mean - jnp.sqrt(jnp.maximum((1 - spread) / rank, 0))
    support = jnp.sum(present & (thresholds <= ordered), axis=-1, keepdims=True)
    threshold = jnp.take_along_axis(thresholds, jnp.maximum(support - 1, 0), axis=-1)
    return jnp.where(support > 0, jnp.square(jnp.maximum(scores / 2 - threshold, 0)), 0)


@entmax15_rows.defjvp
def _entmax15_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    weights = entmax15_rows(primals[0])
    return weights, _along(_power(weights, 0.5), tangents[0])


@jax.custom_jvp
def entmax_rows(scores: Array, alpha: Array) -> Array:
    """max((α−1)x − τ, 0)^(1/(α−1)), Σ = 1: τ by bisection between −1 and 0."""
    scaled = (alpha - 1) * scores
    power = 1 / (alpha - 1)

    def weights(threshold: Array) -> Array:
        above = scaled - threshold
        return jnp.where(above > 0, jnp.where(above > 0, above, 1) ** power, 0)

    def halve(_: Array, interval: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = interval
        middle = (low + high) / 2
        enough = jnp.sum(weights(middle), axis=-1, keepdims=True) >= 1
        return jnp.where(enough, middle, low), jnp.where(enough, high, middle)

    # The largest entry is 0: at τ = −1 it alone weighs 1, at τ = 0 nothing does.
    edge = jnp.zeros_like(scores[:, :1])
    halvings = jnp.finfo(scores.dtype).nmant  # the interval has length 1: down to its last bit
    low, _ = jax.lax.fori_loop(0, halvings, halve, (edge - 1, edge))
    found = weights(low)
    total = jnp.sum(found, axis=-1, keepdims=True)
    return found / jnp.where(total > 0, total, 1)


@entmax_rows.defjvp
def _entmax_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    scores, alpha = primals
    by_scores, by_alpha = tangents
    weights = entmax_rows(scores, alpha)
    there = weights > 0
    sensitivity = _power(weights, 2 - alpha)
    moved = _along(sensitivity, by_scores)
    # Correia et al. 2019, proposition 1.
    total = jnp.sum(sensitivity, axis=-1, keepdims=True)
    share = sensitivity / jnp.where(total > 0, total, 1)
    surprise = jnp.where(there, weights * jnp.log(jnp.where(there, weights, 1)), 0)
    entropy = jnp.sum(surprise, axis=-1, keepdims=True)
    slope = (weights - share) / (alpha - 1) ** 2 - (surprise - share * entropy) / (alpha - 1)
    return weights, moved + jnp.where(there, slope, 0) * by_alpha


def _power(weights: Array, exponent: Array | float) -> Array:
    """weights^exponent where positive, else 0, with a finite derivative there."""
    there = weights > 0
    return jnp.where(there, jnp.where(there, weights, 1) ** exponent, 0)
