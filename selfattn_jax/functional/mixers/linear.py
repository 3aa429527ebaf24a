"""Linear attention: a feature map in place of softmax, so that keys and values are summed once for all queries."""

import jax

from selfattn_jax.functional.mixers.sums import CHUNK as CHUNK  # the exam of lengths asks each file for its chunk
from selfattn_jax.functional.mixers.sums import (
    causal_sums,
    full_sums,
    over_denominator,
    over_row_sum,
    prepare,
    prepare_pairs,
)
from selfattn_jax.shapes import Array, Positive


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
    query, key, extended = prepare(query, key, value, key_mask)
    sums = (causal_sums if causal else full_sums)(_features(query), _features(key), extended)
    return over_denominator(sums, epsilon).astype(value.dtype)


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
    query, key, visible = prepare_pairs(query, key, causal, key_mask)
    return over_row_sum(_features(query) @ _features(key).T, visible, epsilon)


def _features(vectors: Array) -> Array:
    return jax.nn.elu(vectors) + 1
