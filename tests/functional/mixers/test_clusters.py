"""Clustered attention: clusters worked by hand, and the limits of one cluster and of one for every query."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from selfattn_jax.functional import mixers
from tests.exam.sitting import quick_jit
from tests.functional.mixers.test_kernels import draw

clustered = quick_jit(mixers.clustered, static_argnames=("clusters", "iterations"))


def softmax_attention(query, key, value):
    return jax.nn.softmax(query @ key.T / query.shape[1] ** 0.5) @ value


def test_a_cluster_for_every_query_is_softmax_attention():
    query, key, value = map(jnp.array, draw(9, 9))
    for clusters in (9, 20):
        got = clustered(query, key, value, clusters=clusters, iterations=3)
        assert_allclose(got, softmax_attention(query, key, value), atol=1e-6)


def test_one_cluster_attends_with_the_mean_query():
    query, key, value = map(jnp.array, draw(9, 9))
    mean = softmax_attention(query.mean(axis=0, keepdims=True), key, value)
    assert_allclose(clustered(query, key, value, clusters=1), jnp.broadcast_to(mean, (9, 3)), atol=1e-6)


def test_clusters_are_those_that_are_seen():
    """Centroids begin at 0 and 1; the second assignment parts {0, 1} from {8, 9}."""
    query = jnp.array([[0.0], [8.0], [1.0], [9.0]])
    key, value = jnp.array([[0.0], [1.0], [-1.0], [2.0]]), jnp.eye(4)
    got = clustered(query, key, value, clusters=2)
    by_mean = softmax_attention(jnp.array([[0.5], [8.5], [0.5], [8.5]]), key, value)
    assert_allclose(got, by_mean, atol=1e-6)


def test_a_hidden_query_follows_the_nearest_centroid_and_moves_none():
    query, key, value = map(jnp.array, draw(6, 6))
    visible = jnp.arange(6) != 2
    got = clustered(query, key, value, clusters=2, key_mask=visible)
    far = clustered(query.at[2].set(query[4] + 1e-3), key, value, clusters=2, key_mask=visible)
    assert_array_equal(far[visible], got[visible])
    assert_array_equal(far[2], got[4])


def test_equal_queries_share_the_first_of_their_clusters():
    query = jnp.ones((5, 3))
    key, value = (jnp.array(array) for array in draw(5, 5, width=3)[1:])
    assert_allclose(clustered(query, key, value, clusters=4), softmax_attention(query, key, value), atol=1e-6)


def test_the_derivative_of_a_mean_is_shared_by_its_members():
    query = jnp.array([[0.0], [8.0], [1.0], [9.0]])
    key, value = jnp.array([[0.0], [1.0], [-1.0], [2.0]]), jnp.eye(4)[:, :3]
    gradient = jax.grad(lambda query: mixers.clustered(query, key, value, clusters=2)[0, 0])(query)
    assert gradient[0] == gradient[2] != 0
    assert_array_equal(gradient[np.array([1, 3])], np.zeros((2, 1)))


def test_there_is_a_cluster():
    query, key, value = map(jnp.array, draw(4, 4))
    with pytest.raises(ValueError, match="clusters must be at least 1, got 0"):
        mixers.clustered(query, key, value, clusters=0)
