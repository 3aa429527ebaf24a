"""Scores: how alike are a query and a key. Each owns its scale and returns [T,S] in at least float32."""

import jax.numpy as jnp

from selfattn_jax.shapes import Array, Positive, accumulation_dtype, check_shapes


def dot(query: Array, key: Array, /) -> Array:
    """Scores by the plain inner product.

      xₜₛ = qₜ·kₛ

    Args:
      query: [T,K].  key: [S,K].
    Returns: [T,S], in at least float32.
    Raises: ValueError naming the argument whose shape is off.
    References: Luong et al. 2015, arXiv:1508.04025.
    """
    check_shapes(query=(query, "TK"), key=(key, "SK"))
    dtype = accumulation_dtype(query, key)
    return jnp.einsum("tk,sk->ts", query, key, preferred_element_type=dtype)


def scaled_dot(query: Array, key: Array, /) -> Array:
    """Scores by the inner product over the square root of the width.

      xₜₛ = qₜ·kₛ / √K

    Args:
      query: [T,K].  key: [S,K].
    Returns: [T,S], in at least float32.
    Raises: ValueError naming the argument whose shape is off.
    References: Vaswani et al. 2017, arXiv:1706.03762.
    """
    return dot(query, key) * query.shape[-1] ** -0.5


def cosine(query: Array, key: Array, /, *, temperature: Array | Positive = 0.1) -> Array:
    """Scores by the angle between a query and a key.

      xₜₛ = (qₜ·kₛ) / (‖qₜ‖ ‖kₛ‖ temperature)

    Args:
      query: [T,K].  key: [S,K].  A zero vector has cosine 0 with everything, and gradient 0.
      temperature: [], above 0.
    Returns: [T,S], in at least float32.
    Raises: ValueError naming the argument whose shape is off.
    References: Henry et al. 2020, arXiv:2010.04245; Liu et al. 2021 (Swin v2), arXiv:2111.09883.
    """
    check_shapes(query=(query, "TK"), key=(key, "SK"), temperature=(temperature, ""))
    dtype = accumulation_dtype(query, key)
    similarity = jnp.einsum("tk,sk->ts", unit(query.astype(dtype)), unit(key.astype(dtype)))
    return similarity / jnp.asarray(temperature, dtype)


def unit(vectors: Array) -> Array:
    """Scales vectors [..., K] to length 1; a zero vector stays zero, with gradient 0 (x/‖x‖ has none there)."""
    squares = jnp.sum(vectors * vectors, axis=-1, keepdims=True)
    nonzero = squares > 0
    # The inner `where` keeps 1/0 out of the backward pass, which an outer one alone would not.
    return jnp.where(nonzero, vectors / jnp.sqrt(jnp.where(nonzero, squares, 1)), 0)


def additive(query: Array, key: Array, /, *, query_weight: Array, key_weight: Array, readout: Array) -> Array:
    """Scores by a small network with one hidden layer.

      xₜₛ = readoutᵀ tanh(query_weightᵀ qₜ + key_weightᵀ kₛ)

    Args:
      query: [T,K].  key: [S,K].
      query_weight: [K,F].  key_weight: [K,F].  readout: [F].
    Returns: [T,S], in at least float32. Holds [T,S,F] while it computes.
    Raises: ValueError naming the argument whose shape is off.
    References: Bahdanau et al. 2014, arXiv:1409.0473.
    """
    check_shapes(
        query=(query, "TK"),
        key=(key, "SK"),
        query_weight=(query_weight, "KF"),
        key_weight=(key_weight, "KF"),
        readout=(readout, "F"),
    )
    dtype = accumulation_dtype(query, key)
    hidden_query = query.astype(dtype) @ query_weight.astype(dtype)
    hidden_key = key.astype(dtype) @ key_weight.astype(dtype)
    return jnp.tanh(hidden_query[:, None, :] + hidden_key[None, :, :]) @ readout.astype(dtype)
