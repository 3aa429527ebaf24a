"""Aggregation: weights [T,S] and value [S,V] → output [T,V]; linear in the weights."""

from selfattn_jax.shapes import Array, check_shapes


def matmul(weights: Array, value: Array, /) -> Array:
    """Averages the values by their weights.

      yₜ = Σₛ wₜₛ vₛ

    Args:
      weights: [T,S], in at least float32.  value: [S,V].
    Returns: [T,V], in value's dtype.
    Raises: ValueError naming the argument whose shape is off.
    References: Vaswani et al. 2017, arXiv:1706.03762.
    """
    check_shapes(weights=(weights, "TS"), value=(value, "SV"))
    return (weights @ value.astype(weights.dtype)).astype(value.dtype)
