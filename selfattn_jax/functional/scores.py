"""Scores: how alike are a query and a key. Each owns its scale and returns [T,S] in at least float32."""

import jax
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


def concat(query: Array, key: Array, /, *, weight: Array, readout: Array) -> Array:
    """Scores by a small network that reads a query and a key side by side: `additive` with its matrices stacked.

      xₜₛ = readoutᵀ tanh(weightᵀ [qₜ; kₛ])

    Args:
      query: [T,K].  key: [S,K].
      weight: [2K,F], the query's rows first.  readout: [F].
    Returns: [T,S], in at least float32. Holds [T,S,F] while it computes.
    Raises: ValueError naming the argument whose shape is off.
    References: Luong et al. 2015, arXiv:1508.04025.
    """
    width = query.shape[-1]
    if jnp.ndim(weight) != 2 or weight.shape[0] != 2 * width:
        raise ValueError(f"weight must be [2K={2 * width},F], got shape {list(jnp.shape(weight))}")
    return additive(query, key, query_weight=weight[:width], key_weight=weight[width:], readout=readout)


def bilinear(query: Array, key: Array, /, *, weight: Array) -> Array:
    """Scores by a learned inner product ("general" attention).

      xₜₛ = qₜᵀ weight kₛ

    Args:
      query: [T,K].  key: [S,K].
      weight: [K,K], the query's side first.
    Returns: [T,S], in at least float32.
    Raises: ValueError naming the argument whose shape is off.
    References: Luong et al. 2015, arXiv:1508.04025.
    """
    check_shapes(query=(query, "TK"), key=(key, "SK"))
    check_shapes({"K": query.shape[-1], "L": query.shape[-1]}, weight=(weight, "KL"))
    dtype = accumulation_dtype(query, key)
    return (query.astype(dtype) @ weight.astype(dtype)) @ key.astype(dtype).T


def squared_distance(query: Array, key: Array, /) -> Array:
    """Scores by nearness: minus the squared distance over the square root of the width.

      xₜₛ = −‖qₜ − kₛ‖² / √K

    Args:
      query: [T,K].  key: [S,K].
    Returns: [T,S], in at least float32; at most 0.
    Raises: ValueError naming the argument whose shape is off.
    References: Kim et al. 2020, arXiv:2006.04710.
    """
    return -_squared_distances(query, key) * query.shape[-1] ** -0.5


def gaussian(query: Array, key: Array, /, *, bandwidth: Array | Positive = 1.0) -> Array:
    """Scores by a Gaussian kernel (RBF) of the distance; with the normaliser `identity`, attention without softmax.

      xₜₛ = exp(−‖qₜ − kₛ‖² / 2 bandwidth²)

    Args:
      query: [T,K].  key: [S,K].
      bandwidth: [], above 0.
    Returns: [T,S], in at least float32; in (0, 1].
    Raises: ValueError naming the argument whose shape is off.
    References: Lu et al. 2021 (SOFT, with bandwidth K^¼), arXiv:2110.11945.
    """
    check_shapes(bandwidth=(bandwidth, ""))
    distances = _squared_distances(query, key)
    bandwidth = jnp.asarray(bandwidth, distances.dtype)
    return jnp.exp(-distances / (2 * bandwidth * bandwidth))


def _squared_distances(query: Array, key: Array) -> Array:
    """‖q − k‖² [T,S] as ‖q‖² + ‖k‖² − 2 q·k: one matmul, no [T,S,K]; rounding must not make it negative."""
    products = dot(query, key)
    query, key = query.astype(products.dtype), key.astype(products.dtype)
    squares = jnp.sum(query * query, axis=-1)[:, None] + jnp.sum(key * key, axis=-1)[None, :]
    return _not_below_zero(squares - 2 * products)


@jax.custom_jvp
def _not_below_zero(distances: Array) -> Array:
    """max(distances, 0), with derivative 1 also at 0, where the distance is smooth and the maximum is not."""
    return jnp.maximum(distances, 0)


@_not_below_zero.defjvp
def _not_below_zero_jvp(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    return _not_below_zero(primals[0]), tangents[0]


def zero(query: Array, key: Array, /) -> Array:
    """Ignores content: what is left is what positions and masks say. For ablations.

      xₜₛ = 0

    Args:
      query: [T,K].  key: [S,K].
    Returns: [T,S], in at least float32.
    References: Tay et al. 2020 (Synthesizer), arXiv:2005.00743.
    """
    return jnp.zeros((query.shape[0], key.shape[0]), accumulation_dtype(query, key))
