"""Attention of low rank: to projected keys, by way of landmarks, or by way of a few learned vectors."""

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.sums import divide
from selfattn_jax.functional.mixers.visible import check_key_mask, shown
from selfattn_jax.functional.normalizers import softmax
from selfattn_jax.shapes import Array, PositiveInt, accumulation_dtype, check_shapes


def linformer(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    key_projection: Array,
    value_projection: Array,
) -> Array:
    """Attends to M learned mixtures of the keys in place of all S.

      y = softmax(q (Eᵀk)ᵀ/√K) (Fᵀv)        E = key_projection, F = value_projection, of both the first S rows

    Args:
      query: [T,K].  key: [S,K].  value: [S,V].
      key_mask: [S] bool, True = may be attended to; a hidden key may hold anything, NaN included, and counts as 0.
      key_projection: [N,M].  value_projection: [N,M]; N is the largest S.
    Returns: [T,V], in value's dtype; 0 where no key is visible.
    Raises: ValueError naming the argument whose shape or dtype is off, or an N below S.
    References: Wang et al. 2020, arXiv:2006.04768.
    """
    weights, values = _linformer(query, key, key_mask, key_projection, value_projection)
    check_shapes(key=(key, "SK"), value=(value, "SV"))
    return (weights @ (values.T @ shown(value.astype(weights.dtype), key_mask))).astype(value.dtype)


def linformer_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    key_projection: Array,
    value_projection: Array,
) -> Array:
    """The matrix that `linformer` applies without ever forming it; its entries may be negative.

      w = softmax(q (Eᵀk)ᵀ/√K) Fᵀ, 0 where hidden

    Args: those of `linformer`.
    Returns: [T,S], in at least float32.
    """
    weights, values = _linformer(query, key, key_mask, key_projection, value_projection)
    return weights @ shown(values, key_mask).T


def _linformer(
    query: Array, key: Array, key_mask: Array | None, key_projection: Array, value_projection: Array
) -> tuple[Array, Array]:
    """The weights [T,M] of the mixtures, and of what the values of each are mixed [S,M]."""
    sizes = check_shapes(query=(query, "TK"), key=(key, "SK"))
    check_key_mask(key_mask, sizes["S"])
    sizes = check_shapes(sizes, key_projection=(key_projection, "NM"), value_projection=(value_projection, "NM"))
    if sizes["N"] < sizes["S"]:
        raise ValueError(f"key_projection must have a row for each of the {sizes['S']} keys, got N={sizes['N']}")
    dtype = accumulation_dtype(query, key)
    keys, values = (jnp.asarray(each, dtype)[: sizes["S"]] for each in (key_projection, value_projection))
    return _attention(query.astype(dtype), keys.T @ shown(key.astype(dtype), key_mask)), values


def nystrom(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    landmarks: PositiveInt = 32,
    iterations: PositiveInt = 6,
) -> Array:
    """Softmax attention from what it is between everything and M landmarks, the means of segments.

      y = softmax(q k̃ᵀ/√K) Z softmax(q̃ kᵀ/√K) v        q̃ⱼ, k̃ⱼ: means over {i : ⌊rankᵢ M/n⌋ = j},  rankᵢ = 0 … n − 1
      Z ≈ A⁻¹,  A = softmax(q̃ k̃ᵀ/√K):  Z ← Aᵀ/(‖A‖₁ ‖A‖∞), then Z ← ¼ Z (13 − AZ (15 − AZ (7 − AZ))) `iterations` times

    Args:
      query: [T,K].  key: [T,K].  value: [T,V], all of one sequence.
      key_mask: [T] bool, True = holds data: one of n positions. What is hidden may be anything, NaN included, and is in
        no segment. A hidden query has an output too, as if it were 0 if it is not finite.
      landmarks: M, or T if that is less; of fewer positions than landmarks, each is one.
      iterations: how often the inverse of A is improved.
    Returns: [T,V], in value's dtype; 0 where no key is visible.
    Raises: ValueError naming the argument whose shape or dtype is off, or landmarks below 1.
    References: Xiong et al. 2021, arXiv:2102.03902.
    """
    to_landmarks, inverse, from_landmarks = _nystrom(query, key, key_mask, landmarks, iterations)
    check_shapes(key=(key, "TK"), value=(value, "TV"))
    values = shown(value.astype(inverse.dtype), key_mask)
    return (to_landmarks @ (inverse @ (from_landmarks @ values))).astype(value.dtype)


def nystrom_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    landmarks: PositiveInt = 32,
    iterations: PositiveInt = 6,
) -> Array:
    """The matrix that `nystrom` applies without ever forming it; its entries may be negative.

      w = softmax(q k̃ᵀ/√K) Z softmax(q̃ kᵀ/√K)

    Args: those of `nystrom`.
    Returns: [T,T], in at least float32.
    """
    to_landmarks, inverse, from_landmarks = _nystrom(query, key, key_mask, landmarks, iterations)
    return to_landmarks @ (inverse @ from_landmarks)


def _nystrom(
    query: Array, key: Array, key_mask: Array | None, landmarks: int, iterations: int
) -> tuple[Array, Array, Array]:
    """The attention from queries to landmarks [T,M], the inverse of that between landmarks, that from landmarks."""
    length = check_shapes(query=(query, "TK"), key=(key, "TK"))["T"]
    check_key_mask(key_mask, length)
    if landmarks < 1:
        raise ValueError(f"landmarks must be at least 1, got {landmarks}")
    dtype = accumulation_dtype(query, key)
    query, key = query.astype(dtype), shown(key.astype(dtype), key_mask)
    visible = jnp.ones(length, bool) if key_mask is None else key_mask
    count, rank = min(landmarks, length), jnp.cumsum(visible) - 1
    segment = rank * count // jnp.maximum(jnp.sum(visible), 1)
    members = (visible[None, :] & (segment[None, :] == jnp.arange(count)[:, None])).astype(dtype)
    size = jnp.sum(members, axis=1, keepdims=True)
    members, live = divide(members, size), size[:, 0] > 0
    query_landmarks, key_landmarks = members @ shown(query, key_mask), members @ key
    between = _attention(query_landmarks, key_landmarks, live, live)
    # A hidden query that is NaN would otherwise be met by others' gradients, on the way to a common landmark.
    query = shown(query, visible | jnp.all(jnp.isfinite(query), axis=1))
    to_landmarks = _attention(query, key_landmarks, live)
    return to_landmarks, _inverse(between, iterations), _attention(query_landmarks, key, visible, live)


def _inverse(matrix: Array, iterations: int) -> Array:
    """Nearly the inverse of a matrix [M,M] of weights; rows and columns of 0 stay so."""
    identity = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    norms = jnp.max(jnp.sum(matrix, axis=0)) * jnp.max(jnp.sum(matrix, axis=1))

    def improve(_: int, inverse: Array) -> Array:
        product = matrix @ inverse
        inner = 15 * identity - product @ (7 * identity - product)
        return inverse @ (13 * identity - product @ inner) / 4

    return jax.lax.fori_loop(0, iterations, improve, matrix.T / jnp.where(norms > 0, norms, 1))


def luna(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    packed_query: Array,
) -> Array:
    """Attends to M averages of keys and values, which learned queries have packed them into.

      P = softmax(packed_query kᵀ/√K),  y = softmax(q (P k)ᵀ/√K) (P v)

    Args:
      query: [T,K].  key: [S,K].  value: [S,V].
      key_mask: [S] bool, True = may be attended to; a hidden key may hold anything, NaN included.
      packed_query: [M,K].
    Returns: [T,V], in value's dtype; 0 where no key is visible.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Ma et al. 2021, arXiv:2106.01540.
    """
    unpack, pack = _luna(query, key, key_mask, packed_query)
    return _twice(unpack, pack, key, value, key_mask)


def luna_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    packed_query: Array,
) -> Array:
    """The attention matrix that `luna` applies without ever forming it.

      w = softmax(q (P k)ᵀ/√K) P

    Args: those of `luna`.
    Returns: [T,S], in at least float32.
    """
    unpack, pack = _luna(query, key, key_mask, packed_query)
    return unpack @ pack


def _luna(query: Array, key: Array, key_mask: Array | None, packed_query: Array) -> tuple[Array, Array]:
    sizes = check_shapes(query=(query, "TK"), key=(key, "SK"), packed_query=(packed_query, "MK"))
    check_key_mask(key_mask, sizes["S"])
    dtype = accumulation_dtype(query, key)
    key = shown(key.astype(dtype), key_mask)
    pack = _attention(jnp.asarray(packed_query, dtype), key, key_mask)
    return _attention(query.astype(dtype), pack @ key), pack


def latent_bottleneck(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    latent_query: Array,
    latent_key: Array,
) -> Array:
    """Attends to M learned latents, whose values are what they themselves attended to.

      y = softmax(q latent_keyᵀ/√K) (softmax(latent_query kᵀ/√K) v)

    Args:
      query: [T,K].  key: [S,K].  value: [S,V].
      key_mask: [S] bool, True = may be attended to; a hidden key may hold anything, NaN included.
      latent_query: [M,K].  latent_key: [M,K].
    Returns: [T,V], in value's dtype; 0 where no key is visible.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Lee et al. 2018, arXiv:1810.00825; Jaegle et al. 2021, arXiv:2103.03206.
    """
    read, write = _latent_bottleneck(query, key, key_mask, latent_query, latent_key)
    return _twice(read, write, key, value, key_mask)


def latent_bottleneck_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    latent_query: Array,
    latent_key: Array,
) -> Array:
    """The attention matrix that `latent_bottleneck` applies without ever forming it.

      w = softmax(q latent_keyᵀ/√K) softmax(latent_query kᵀ/√K)

    Args: those of `latent_bottleneck`.
    Returns: [T,S], in at least float32.
    """
    read, write = _latent_bottleneck(query, key, key_mask, latent_query, latent_key)
    return read @ write


def _latent_bottleneck(
    query: Array, key: Array, key_mask: Array | None, latent_query: Array, latent_key: Array
) -> tuple[Array, Array]:
    latents = {"latent_query": (latent_query, "MK"), "latent_key": (latent_key, "MK")}
    sizes = check_shapes(query=(query, "TK"), key=(key, "SK"), **latents)
    check_key_mask(key_mask, sizes["S"])
    dtype = accumulation_dtype(query, key)
    write = _attention(jnp.asarray(latent_query, dtype), shown(key.astype(dtype), key_mask), key_mask)
    return _attention(query.astype(dtype), jnp.asarray(latent_key, dtype)), write


def _attention(query: Array, key: Array, visible: Array | None = None, live: Array | None = None) -> Array:
    """softmax(q kᵀ/√K) [T,S] over visible keys [S], for live queries [T]; 0 elsewhere."""
    scores = query @ key.T * query.shape[1] ** -0.5
    mask = jnp.ones(scores.shape, bool)
    mask = mask if visible is None else mask & visible[None, :]
    return softmax(scores, mask if live is None else mask & live[:, None])


def _twice(read: Array, write: Array, key: Array, value: Array, key_mask: Array | None) -> Array:
    """Weights [T,M] of weights [M,S] of values [S,V]."""
    check_shapes(key=(key, "SK"), value=(value, "SV"))
    return (read @ (write @ shown(value.astype(read.dtype), key_mask))).astype(value.dtype)
