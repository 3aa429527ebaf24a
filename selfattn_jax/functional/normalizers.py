"""Normalisers: scores [T,S] and mask [T,S] → weights [T,S]; a masked pair has weight exactly 0, a dead row all 0.

Masked scores may be NaN or infinite: they are replaced before any arithmetic, so neither the weights nor a gradient
sees them. The exponential family also has a log-normaliser, log Zₜ, whose gradient is exact.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, PositiveInt, check_shapes


def _exponential(scores: Array, mask: Array, sink: Array) -> tuple[Array, Array]:
    """Weights and log-normaliser [T] of the exponential family, with exp(sink) added to every denominator."""
    largest = jnp.maximum(jnp.max(scores, axis=-1, initial=-jnp.inf, where=mask), sink)
    # A dead row has no largest score: any finite number will do, its weights are zero.
    largest = jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0))
    exponents = jnp.where(mask, scores, largest[:, None]) - largest[:, None]
    terms = jnp.where(mask, jnp.exp(exponents), 0)
    total = jnp.sum(terms, axis=-1) + jnp.exp(sink - largest)
    alive = total > 0
    total = jnp.where(alive, total, 1)
    return terms / total[:, None], jnp.where(alive, jnp.log(total) + largest, -jnp.inf)


def softmax(scores: Array, mask: Array, /) -> Array:
    """Weights that are positive and sum to 1.

      wₜₛ = exp(xₜₛ) / Σᵣ exp(xₜᵣ)

    Args:
      scores: [T,S].  mask: [T,S] bool.
    Returns: [T,S].
    References: Bridle 1990; Vaswani et al. 2017, arXiv:1706.03762.
    """
    return _exponential(scores, mask, _no_sink(scores))[0]


def sink(scores: Array, mask: Array, /, *, sink: Array | float = 0.0) -> Array:
    """Softmax with one more score that holds no value: attention that a row does not want can go there.

      wₜₛ = exp(xₜₛ) / (exp(sink) + Σᵣ exp(xₜᵣ))

    Args:
      scores: [T,S].  mask: [T,S] bool; it never hides the sink.
      sink: [], a score.
    Returns: [T,S], summing to less than 1.
    Raises: ValueError when sink is not [].
    References: Xiao et al. 2023, arXiv:2309.17453; OpenAI 2025, arXiv:2508.10925.
    """
    check_shapes(sink=(sink, ""))
    return _exponential(scores, mask, jnp.asarray(sink, scores.dtype))[0]


def softmax_one(scores: Array, mask: Array, /) -> Array:
    """Softmax that may attend to nothing: a sink at 0.

      wₜₛ = exp(xₜₛ) / (1 + Σᵣ exp(xₜᵣ))

    Args:
      scores: [T,S].  mask: [T,S] bool.
    Returns: [T,S], summing to less than 1.
    References: Miller 2023, "Attention is off by one".
    """
    return sink(scores, mask, sink=0.0)


def sigmoid(scores: Array, mask: Array, /, *, maximum_length: PositiveInt) -> Array:
    """Weights a pair by itself: nothing is shared out along the row.

      wₜₛ = σ(xₜₛ − log n)        n = maximum_length

    Args:
      scores: [T,S].  mask: [T,S] bool.
      maximum_length: the longest sequence, fixed for training and test, so that padding changes nothing.
    Returns: [T,S], each in (0, 1), not summing to 1.
    References: Ramapuram et al. 2024, arXiv:2409.04431.
    """
    shift = jnp.log(jnp.asarray(maximum_length, scores.dtype))
    return jnp.where(mask, jax.nn.sigmoid(jnp.where(mask, scores, 0) - shift), 0)


def sparsemax(scores: Array, mask: Array, /) -> Array:
    """The nearest point of the simplex: low scores get weight exactly 0.

      wₜ = argmin_{p ∈ Δ} ‖p − xₜ‖² = max(xₜ − τₜ, 0)        τₜ such that Σₛ wₜₛ = 1

    Args:
      scores: [T,S].  mask: [T,S] bool.
    Returns: [T,S], summing to 1.
    References: Martins & Astudillo 2016, arXiv:1602.02068.
    """
    largest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, initial=-jnp.inf, where=mask, keepdims=True))
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    return _project(jnp.where(mask, scores - largest, -jnp.inf))


@jax.custom_jvp
def _project(scores: Array) -> Array:
    """Projects rows of scores [T,S] on the simplex; −∞ = not there; a row of −∞ gives zeros."""
    ordered = -jnp.sort(-scores, axis=-1)
    rank = jnp.arange(1, scores.shape[-1] + 1, dtype=scores.dtype)[None, :]
    total = jnp.cumsum(ordered, axis=-1)
    support = jnp.sum(1 + rank * ordered > total, axis=-1, keepdims=True)
    at = jnp.maximum(support - 1, 0)
    threshold = (jnp.take_along_axis(total, at, axis=-1) - 1) / jnp.maximum(support, 1).astype(scores.dtype)
    return jnp.where(support > 0, jnp.maximum(scores - threshold, 0), 0)


@_project.defjvp
def _project_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    # Plain differentiation of the sort gives NaN at ties and at −∞; the Jacobian is diag(s) − ssᵀ/Σs, s = 1[p > 0].
    weights, tangent = _project(primals[0]), tangents[0]
    support = weights > 0
    size = jnp.maximum(jnp.sum(support, axis=-1, keepdims=True), 1).astype(weights.dtype)
    inside = jnp.where(support, tangent, 0)
    return weights, jnp.where(support, inside - jnp.sum(inside, axis=-1, keepdims=True) / size, 0)


def _no_sink(scores: Array) -> Array:
    return jnp.asarray(-jnp.inf, scores.dtype)


def log_normalizer(normalizer: Callable, scores: Array, mask: Array, /, **knobs: Array | float) -> Array:
    """The logarithm of an exponential normaliser's denominator, with exact gradients.

      log Zₜ = log (exp(sink) + Σᵣ exp(xₜᵣ))

    Args:
      normalizer: softmax, softmax_one or sink.
      scores: [T,S].  mask: [T,S] bool.
      **knobs: the normaliser's own.
    Returns: [T]; −∞ for a dead row (with a sink: the sink).
    Raises: ValueError for a normaliser that is not exponential.
    """
    if normalizer not in _SINKS:
        name = getattr(normalizer, "__name__", repr(normalizer))
        known = ", ".join(function.__name__ for function in _SINKS)
        raise ValueError(f"{name} has no log-normaliser; these have: {known}")
    return _exponential(scores, mask, jnp.asarray(_SINKS[normalizer](**knobs), scores.dtype))[1]


# What each exponential normaliser adds to its denominator, as a score.
_SINKS: dict[Callable, Callable] = {
    softmax: lambda: -jnp.inf,
    softmax_one: lambda: 0.0,
    sink: lambda sink=0.0: sink,
}
