"""Clustered attention: queries that are alike share one row of weights."""

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.visible import check_key_mask, shown
from selfattn_jax.functional.normalizers import softmax
from selfattn_jax.shapes import Array, NonNegativeInt, PositiveInt, accumulation_dtype, check_shapes


def clustered(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    clusters: PositiveInt = 32,
    iterations: NonNegativeInt = 10,
) -> Array:
    """Attends with the means of clusters of queries, found by k-means, in place of the queries themselves.

      yₜ = softmax(c kᵀ/√K) v        c: the mean of the visible queries in the cluster of t

    Centroid j begins at the visible query of rank ⌊j n/m⌋ of n, m = min(clusters, T). Then, `iterations` times, every
    query joins the nearest centroid (the first of those as near), and a centroid becomes the mean of its visible
    queries, or stays where it has none. A last assignment decides. The choice of a cluster has no derivative.

    Args:
      query: [T,K].  key: [T,K].  value: [T,V], all of one sequence.
      key_mask: [T] bool, True = holds data; what is hidden may be anything, NaN included, and moves no centroid. A
        hidden query has an output too, that of the nearest.
      clusters: M, the number of means.
      iterations: I, of k-means.
    Returns: [T,V], in value's dtype; 0 where no key is visible.
    Raises: ValueError naming the argument whose shape or dtype is off, or clusters below 1.
    References: Vyas et al. 2020, arXiv:2007.04825.
    """
    chosen, weights = _clustered(query, key, key_mask, clusters, iterations)
    check_shapes(key=(key, "TK"), value=(value, "TV"))
    return (chosen @ (weights @ shown(value.astype(weights.dtype), key_mask))).astype(value.dtype)


def clustered_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    clusters: PositiveInt = 32,
    iterations: NonNegativeInt = 10,
) -> Array:
    """The attention matrix that `clustered` applies without ever forming it.

      wₜ = softmax(c kᵀ/√K)        c: the mean of the visible queries in the cluster of t

    Args: those of `clustered`.
    Returns: [T,T], in at least float32.
    """
    chosen, weights = _clustered(query, key, key_mask, clusters, iterations)
    return chosen @ weights


def _clustered(query: Array, key: Array, key_mask: Array | None, clusters: int, iterations: int) -> tuple[Array, Array]:
    """Whose cluster a query is in, as 0 and 1 [T,m], and the weights of the clusters [m,T]."""
    sizes = check_shapes(query=(query, "TK"), key=(key, "TK"))
    check_key_mask(key_mask, sizes["T"])
    if clusters < 1:
        raise ValueError(f"clusters must be at least 1, got {clusters}")
    dtype = accumulation_dtype(query, key)
    visible = jnp.ones(sizes["T"], bool) if key_mask is None else key_mask
    query, shown_query = query.astype(dtype), shown(query.astype(dtype), key_mask)
    still, shown_still = jax.lax.stop_gradient((query, shown_query))
    nearest, members = _k_means(still, shown_still, visible, clusters, iterations)
    centroids = _means(members, shown_query)
    scores = centroids @ shown(key.astype(dtype), key_mask).T * sizes["K"] ** -0.5
    chosen = (nearest[:, None] == jnp.arange(members.shape[0])[None, :]).astype(dtype)
    return chosen, softmax(scores, jnp.broadcast_to(visible[None, :], scores.shape))


def _k_means(query: Array, shown_query: Array, visible: Array, clusters: int, iterations: int) -> tuple[Array, Array]:
    """The last assignment [T], and of whom every centroid is the mean by it, as 0 and 1 [m,T].

    Those whose mean a centroid is are kept rather than the centroid: it may be that of an earlier assignment, if the
    last leaves it nobody, and its derivative is that of their mean.
    """
    length, count = query.shape[0], min(clusters, query.shape[0])
    indices = jnp.arange(length)
    order = jnp.sort(jnp.where(visible, indices, length + indices)) % length
    starts = order[jnp.arange(count) * jnp.sum(visible) // count]

    def assign(members: Array) -> tuple[Array, Array]:
        nearest = _nearest(query, _means(members, shown_query))
        joined = (nearest[None, :] == jnp.arange(count)[:, None]) & visible[None, :]
        own = jnp.any(joined, axis=1, keepdims=True)
        return nearest, jnp.where(own, joined.astype(members.dtype), members)

    members = ((starts[:, None] == indices[None, :]) & visible[None, :]).astype(query.dtype)
    members, _ = jax.lax.scan(lambda members, _: (assign(members)[1], None), members, length=iterations)
    return assign(members)


def _means(members: Array, query: Array) -> Array:
    """The mean of the members of every cluster, [m,T] of [T,K]; 0 without any."""
    return (members @ query) / jnp.maximum(jnp.sum(members, axis=1, keepdims=True), 1)


def _nearest(query: Array, centroids: Array) -> Array:
    """The index of the nearest centroid, the first of those as near, by ‖c‖² − 2 q·c."""
    distances = jnp.sum(centroids * centroids, axis=1)[None, :] - 2 * query @ centroids.T
    # Centroids that are the same must not be told apart by rounding: of those, only the first is ever nearest.
    same = jnp.all(centroids[:, None, :] == centroids[None, :, :], axis=2)
    again = jnp.any(jnp.tril(same, -1), axis=1)
    return jnp.argmin(jnp.where(again[None, :], jnp.inf, distances), axis=1)
