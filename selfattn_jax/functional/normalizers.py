"""Normalisers: scores [T,S] and mask [T,S] → weights [T,S]; a masked pair has weight exactly 0, a dead row all 0.

Masked scores may be NaN or infinite: they are replaced before any arithmetic, so neither the weights nor a gradient
sees them. Four families: *exponential* (a softmax of something: they also have a log-normaliser, log Zₜ, whose gradient
is exact), *rectified* (`softpick`), *pointwise* (a pair by itself: `sigmoid`, `relu`, `squared_relu`, `identity`), and
the others, which need a whole row.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from selfattn_jax.functional.simplex import entmax15_rows, entmax_rows, sparsemax_rows
from selfattn_jax.shapes import AboveOne, Array, Positive, PositiveInt, check_shapes

# For every exponential normaliser, what makes its exponents and its sink: (scores[, visible, …], knobs) → (x, sink).
_EXPONENTS: dict[Callable, Callable] = {}


def exponential(terms: Callable) -> Callable:
    """Makes a normaliser exp(x) / (exp(sink) + Σ exp(x)) of a function that gives x [T,S] and the sink [].

    Args:
      terms: scores, mask, what else it needs, and knobs → (x, sink); a sink of −∞ is none. A masked x may be anything.
    Returns: the normaliser, with the signature and the docstring of `terms`.
    """

    @functools.wraps(terms)
    def normalizer(scores: Array, mask: Array, *needs: Array | None, **knobs: Array | float) -> Array:
        scores, sink = terms(scores, mask, *needs, **knobs)
        return _exponential(scores, mask, sink)[0]

    normalizer.__signature__ = inspect.signature(terms).replace(return_annotation=Array)  # pyright: ignore
    _EXPONENTS[normalizer] = terms
    return normalizer


# The normalisers whose weight of a pair depends on that pair alone (and on its row's number of visible keys).
_POINTWISE: set[Callable] = set()


def pointwise(normalizer: Callable) -> Callable:
    """Declares that a normaliser weights every pair by itself."""
    _POINTWISE.add(normalizer)
    return normalizer


class Shares(NamedTuple):
    """Weights that are shares of a sum over their row, as what can be added up a part of the row at a time.

    wₜₛ = numerator(xₜₛ) / (start + Σᵣ magnitude(xₜᵣ) + rest · exp(mₜ))        mₜ = max(lowest, maxᵣ xₜᵣ)
    """

    exponents: Callable  # (scores, mask[, …], knobs) → x [T,S] and the level []: log start, or rest
    parts: Callable  # (x, base) → numerator and magnitude, both divided by exp(base)
    hidden: float  # the x of a pair that adds nothing
    begin: Callable  # level → the first largest x, what the sum starts with (divided by its exponential), and the rest


def _exponential_parts(exponents: Array, base: Array) -> tuple[Array, Array]:
    terms = jnp.exp(exponents - base)
    return terms, terms


def _rectified_parts(exponents: Array, base: Array) -> tuple[Array, Array]:
    # exp(x − m) − exp(−m) loses all digits of a small x; written with expm1 where that cannot overflow, it does not.
    rises = jnp.where(
        exponents < 1,
        jnp.exp(-base) * jnp.expm1(jnp.minimum(exponents, 1)),
        jnp.exp(exponents - base) - jnp.exp(-base),
    )
    # The size by two rectifiers: its derivative at 0, where a hidden pair stands, is 0; that of `abs` is 1 in JAX.
    return jax.nn.relu(rises), jax.nn.relu(rises) + jax.nn.relu(-rises)


def shares(normalizer: Callable) -> Shares | None:
    """A normaliser as shares of a sum over the row; None for one that is not."""
    if normalizer in _EXPONENTS:
        return Shares(
            _EXPONENTS[normalizer],
            _exponential_parts,
            -jnp.inf,
            lambda sink: (sink, jnp.where(sink > -jnp.inf, jnp.ones_like(sink), 0), jnp.zeros_like(sink)),
        )
    if normalizer is softpick:
        nothing = jnp.zeros_like
        return Shares(
            lambda scores, mask, *, epsilon=1e-6: (scores, epsilon),
            _rectified_parts,
            0.0,
            lambda epsilon: (nothing(epsilon), nothing(epsilon), epsilon),
        )
    return None


def streaming(normalizer: Callable) -> Literal["exponential", "rectified", "pointwise"] | None:
    """How a normaliser can be computed a part of a row at a time; None = it needs the whole row."""
    if normalizer in _EXPONENTS:
        return "exponential"
    if shares(normalizer) is not None:
        return "rectified"
    return "pointwise" if normalizer in _POINTWISE else None


def _exponential(scores: Array, mask: Array, sink: Array | float) -> tuple[Array, Array]:
    """Weights and log-normaliser [T] of the exponential family, with exp(sink) added to every denominator."""
    sink = jnp.asarray(sink, scores.dtype)
    largest = jnp.maximum(jnp.max(scores, axis=-1, initial=-jnp.inf, where=mask), sink)
    # A dead row has no largest score: any finite number will do, its weights are zero.
    largest = jax.lax.stop_gradient(jnp.where(jnp.isfinite(largest), largest, 0))
    exponents = jnp.where(mask, scores, largest[:, None]) - largest[:, None]
    terms = jnp.where(mask, jnp.exp(exponents), 0)
    total = jnp.sum(terms, axis=-1) + jnp.exp(sink - largest)
    alive = total > 0
    total = jnp.where(alive, total, 1)
    return terms / total[:, None], jnp.where(alive, jnp.log(total) + largest, -jnp.inf)


def log_normalizer(
    normalizer: Callable, scores: Array, mask: Array, /, *needs: Array | None, **knobs: Array | float
) -> Array:
    """The logarithm of an exponential normaliser's denominator, with exact gradients.

      log Zₜ = log (exp(sink) + Σᵣ exp(xₜᵣ))

    Args:
      normalizer: an exponential one: softmax, softmax_one, sink, scalable_softmax, gumbel_softmax.
      scores: [T,S].  mask: [T,S] bool.
      *needs: what else the normaliser takes by position, such as visible [T] int32.
      **knobs: the normaliser's own.
    Returns: [T]; −∞ for a dead row (with a sink: the sink).
    Raises: ValueError for a normaliser that is not exponential.
    """
    if normalizer not in _EXPONENTS:
        name = getattr(normalizer, "__name__", repr(normalizer))
        known = ", ".join(function.__name__ for function in _EXPONENTS)
        raise ValueError(f"{name} has no log-normaliser; these have: {known}")
    scores, sink = _EXPONENTS[normalizer](scores, mask, *needs, **knobs)
    return _exponential(scores, mask, sink)[1]


@exponential
def softmax(scores: Array, mask: Array, /) -> tuple[Array, float]:
    """Weights that are positive and sum to 1.

      wₜₛ = exp(xₜₛ) / Σᵣ exp(xₜᵣ)

    Args:
      scores: [T,S].  mask: [T,S] bool.
    Returns: [T,S].
    References: Bridle 1990; Vaswani et al. 2017, arXiv:1706.03762.
    """
    return scores, -jnp.inf


@exponential
def softmax_one(scores: Array, mask: Array, /) -> tuple[Array, float]:
    """Softmax that may attend to nothing: a sink at 0.

      wₜₛ = exp(xₜₛ) / (1 + Σᵣ exp(xₜᵣ))

    Args:
      scores: [T,S].  mask: [T,S] bool.
    Returns: [T,S], summing to less than 1.
    References: Miller 2023, "Attention is off by one".
    """
    return scores, 0.0


@exponential
def sink(scores: Array, mask: Array, /, *, sink: Array | float = 0.0) -> tuple[Array, Array | float]:
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
    return scores, sink


@exponential
def scalable_softmax(
    scores: Array, mask: Array, visible: Array, /, *, scale: Array | float = 1.0
) -> tuple[Array, float]:
    """Softmax that sharpens with the number of visible keys, biases included, so that it does not fade with length.

      wₜₛ = exp(aₜ xₜₛ) / Σᵣ exp(aₜ xₜᵣ)        aₜ = scale · ln nₜ,  nₜ = keys that row t may see

    Args:
      scores: [T,S].  mask: [T,S] bool.  visible: [T] int32.
      scale: [].
    Returns: [T,S].
    Raises: ValueError when scale is not [].
    References: Nakanishi 2025, arXiv:2501.19399.
    """
    check_shapes(scale=(scale, ""))
    sharpness = jnp.asarray(scale, scores.dtype) * jnp.log(jnp.maximum(visible, 1).astype(scores.dtype))
    return sharpness[:, None] * jnp.where(mask, scores, 0), -jnp.inf


@exponential
def gumbel_softmax(
    scores: Array, mask: Array, uniform: Array | None, /, *, temperature: Array | Positive = 1.0
) -> tuple[Array, float]:
    """Softmax of noisy scores: a differentiable draw of one key, the harder the lower the temperature.

      wₜ = softmax((xₜ + gₜ) / temperature)        gₜₛ = −ln(−ln uₜₛ),  uₜₛ uniform in (0, 1)

    Args:
      scores: [T,S].  mask: [T,S] bool.
      uniform: [T,S] in (0, 1); None (no random key was given) = no noise.
      temperature: [], above 0.
    Returns: [T,S].
    Raises: ValueError when temperature is not [].
    References: Jang et al. 2016, arXiv:1611.01144.
    """
    check_shapes(temperature=(temperature, ""))
    noise = 0.0 if uniform is None else -jnp.log(-jnp.log(uniform.astype(scores.dtype)))
    return (jnp.where(mask, scores, 0) + noise) / jnp.asarray(temperature, scores.dtype), -jnp.inf


@pointwise
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


@pointwise
def relu(scores: Array, mask: Array, /, *, maximum_length: PositiveInt) -> Array:
    """Weights a pair by its positive part: sparse, and nothing is shared out along the row.

      wₜₛ = max(xₜₛ, 0) / n        n = maximum_length

    Args:
      scores: [T,S].  mask: [T,S] bool.
      maximum_length: the longest sequence, fixed for training and test, so that padding changes nothing.
    Returns: [T,S], at least 0, not summing to 1.
    References: Wortsman et al. 2023, arXiv:2309.08586.
    """
    return jax.nn.relu(jnp.where(mask, scores, 0)) / maximum_length


@pointwise
def squared_relu(scores: Array, mask: Array, /, *, maximum_length: PositiveInt) -> Array:
    """Weights a pair by the square of its positive part.

      wₜₛ = max(xₜₛ, 0)² / n        n = maximum_length

    Args:
      scores: [T,S].  mask: [T,S] bool.
      maximum_length: the longest sequence, fixed for training and test, so that padding changes nothing.
    Returns: [T,S], at least 0, not summing to 1.
    References: Wortsman et al. 2023, arXiv:2309.08586; Hua et al. 2022, arXiv:2202.10447.
    """
    return jnp.square(jax.nn.relu(jnp.where(mask, scores, 0))) / maximum_length


@pointwise
def identity(scores: Array, mask: Array, /) -> Array:
    """Leaves the scores as they are: with `scores.dot`, linear attention without a feature map.

      wₜₛ = xₜₛ

    Args:
      scores: [T,S].  mask: [T,S] bool.
    Returns: [T,S], of either sign, not summing to 1.
    References: Schlag et al. 2021, arXiv:2102.11174.
    """
    return jnp.where(mask, scores, 0)


def softpick(scores: Array, mask: Array, /, *, epsilon: Positive = 1e-6) -> Array:
    """A rectified softmax: scores below 0 get weight 0, and a row may attend to nothing; no sink arises.

      wₜₛ = relu(exp(xₜₛ) − 1) / (Σᵣ |exp(xₜᵣ) − 1| + epsilon · exp(m))        m = max(0, max xₜ)

    Args:
      scores: [T,S].  mask: [T,S] bool.
      epsilon: keeps the denominator from 0.
    Returns: [T,S], at least 0, summing to at most 1.
    References: Zuhri et al. 2025, arXiv:2504.20966.
    """
    scores = jnp.where(mask, scores, 0)
    largest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, initial=0))[:, None]
    raised, sizes = _rectified_parts(scores, largest)
    return raised / (jnp.sum(sizes, axis=-1, keepdims=True) + jnp.asarray(epsilon, scores.dtype))


def sparsemax(scores: Array, mask: Array, /) -> Array:
    """The nearest point of the simplex: low scores get weight exactly 0.

      wₜ = argmin_{p ∈ Δ} ‖p − xₜ‖² = max(xₜ − τₜ, 0)        τₜ such that Σₛ wₜₛ = 1

    Args:
      scores: [T,S].  mask: [T,S] bool.
    Returns: [T,S], summing to 1.
    References: Martins & Astudillo 2016, arXiv:1602.02068.
    """
    return sparsemax_rows(_below_zero(scores, mask))


def entmax15(scores: Array, mask: Array, /) -> Array:
    """Halfway between softmax and sparsemax: low scores get weight exactly 0, more gently.

      wₜ = max(xₜ / 2 − τₜ, 0)²        τₜ such that Σₛ wₜₛ = 1

    Args:
      scores: [T,S].  mask: [T,S] bool.
    Returns: [T,S], summing to 1.
    References: Peters et al. 2019, arXiv:1905.05702.
    """
    return entmax15_rows(_below_zero(scores, mask))


def entmax(scores: Array, mask: Array, /, *, alpha: Array | AboveOne = 1.5) -> Array:
    """From softmax (alpha → 1) over entmax15 (1.5) to sparsemax (2) and beyond: how sparse can be learned.

      wₜ = max((alpha − 1) xₜ − τₜ, 0)^(1/(alpha−1))        τₜ such that Σₛ wₜₛ = 1

    Args:
      scores: [T,S].  mask: [T,S] bool.
      alpha: [], above 1.
    Returns: [T,S], summing to 1.
    Raises: ValueError when alpha is not [].
    References: Correia et al. 2019, arXiv:1909.00015.
    """
    check_shapes(alpha=(alpha, ""))
    return entmax_rows(_below_zero(scores, mask), jnp.asarray(alpha, scores.dtype))


def top_k(scores: Array, mask: Array, /, *, count: PositiveInt) -> Array:
    """Softmax over the largest scores of a row; ties at the edge all stay.

      wₜ = softmax of xₜ over {s : xₜₛ ≥ the count-th largest visible score}

    Args:
      scores: [T,S].  mask: [T,S] bool.
      count: how many keys stay; a row with fewer keeps all.
    Returns: [T,S], summing to 1.
    References: Zhao et al. 2019, arXiv:1912.11637.
    """
    return _exponential(scores, _largest(scores, mask, count), -jnp.inf)[0]


@jax.custom_jvp
def hard(scores: Array, mask: Array, /) -> Array:
    """All weight on the largest score (shared by ties), with the derivative of softmax: straight-through.

      wₜₛ = [xₜₛ = max xₜ] / ties        ∂w := ∂softmax(x)

    Args:
      scores: [T,S].  mask: [T,S] bool.
    Returns: [T,S], summing to 1.
    References: Bengio et al. 2013, arXiv:1308.3432.
    """
    chosen = _largest(scores, mask, 1)
    return chosen.astype(scores.dtype) / jnp.maximum(jnp.sum(chosen, axis=-1, keepdims=True), 1).astype(scores.dtype)


@hard.defjvp
def _hard_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    scores, mask = primals
    _, tangent = jax.jvp(lambda scores: softmax(scores, mask), (scores,), (tangents[0],))
    return hard(scores, mask), tangent


def _largest(scores: Array, mask: Array, count: int) -> Array:
    """Where the count largest visible scores of every row are [T,S], and those equal to the last of them."""
    # Compared with each other as they leave the sort. The scores themselves may be computed twice by a compiled
    # program, once for the sort and once for the comparison, and rounded differently: the edge would then fall out.
    places = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 1)
    present = jax.lax.stop_gradient(jnp.where(mask, scores, -jnp.inf))
    falling, order = jax.lax.sort((-present, places), num_keys=1)
    edge = min(count, scores.shape[-1])
    among = falling <= falling[:, edge - 1 : edge]
    return mask & jax.lax.sort((order, among), num_keys=1)[1]


def _below_zero(scores: Array, mask: Array) -> Array:
    """Scores moved so that a row's largest is 0, and −∞ where masked."""
    largest = jax.lax.stop_gradient(jnp.max(scores, axis=-1, initial=-jnp.inf, where=mask, keepdims=True))
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    return jnp.where(mask, scores - largest, -jnp.inf)
