"""Low rank: numbers worked by hand, when it is softmax attention, and how fast it becomes that."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from selfattn_jax.functional import mixers
from tests.exam.sitting import quick_jit
from tests.functional.mixers.test_kernels import draw, slope

T, K = 96, 4
linformer = quick_jit(mixers.linformer)
nystrom = quick_jit(mixers.nystrom, static_argnames=("landmarks", "iterations"))


def softmax_weights(query, key):
    return jax.nn.softmax(query @ key.T / query.shape[1] ** 0.5)


def smooth(length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Query, key and value of one sequence whose neighbours are alike."""
    times = (np.arange(length) + 0.5)[:, None] / length
    waves = np.arange(1, K + 1)
    return np.sin(4 * times * waves), np.cos(3 * times * waves + waves), np.sin(5 * times + waves[:3])


def pooling(length: int, count: int) -> np.ndarray:
    """The mean of every segment, as a projection."""
    return np.repeat(np.eye(count), length // count, axis=0) * count / length


def test_linformer_of_the_identity_is_softmax_attention():
    query, key, value = map(jnp.array, draw(5, 7))
    identity = {"key_projection": np.eye(7), "value_projection": np.eye(7)}
    assert_allclose(mixers.linformer_weights(query, key, **identity), softmax_weights(query, key), atol=1e-6)
    assert_allclose(mixers.linformer(query, key, value, **identity), softmax_weights(query, key) @ value, atol=1e-6)


def test_linformer_by_pooling_becomes_softmax_attention_of_a_smooth_sequence():
    """The mean of a segment is its middle, up to the second order in its length."""
    query, key, value = map(jnp.array, smooth(T))
    exact, sizes, errors = softmax_weights(query, key) @ value, [6, 12, 24, 48], []
    for size in sizes:
        # The mixture of values is that of weights equal in a segment: the softmax is over its segments.
        means = {"key_projection": pooling(T, size), "value_projection": pooling(T, size)}
        errors.append(float(jnp.sqrt(jnp.mean((linformer(query, key, value, **means) - exact) ** 2))))
    assert abs(slope(sizes, errors) + 2) < 0.3


def test_linformer_refuses_more_keys_than_it_has_rows():
    query, key, value = map(jnp.array, draw(3, 9))
    with pytest.raises(ValueError, match="key_projection must have a row for each of the 9 keys, got N=8"):
        mixers.linformer(query, key, value, key_projection=np.ones((8, 2)), value_projection=np.ones((8, 2)))


def test_nystrom_with_a_landmark_for_every_position_is_softmax_attention():
    query, key, value = draw(12, 12)
    with jax.enable_x64(True):
        query, key, value = (jnp.array(array) for array in (3 * query, 3 * key, value))
        for landmarks in (12, 50):
            output = nystrom(query, key, value, landmarks=landmarks, iterations=60)
            assert_allclose(output, softmax_weights(query, key) @ value, atol=1e-9)


def test_nystrom_becomes_softmax_attention_with_more_landmarks():
    """On a smooth sequence faster than by any low power: its attention is nearly of low rank."""
    query, key, value = smooth(T)
    sizes, errors = [2, 4, 8, 16], []
    with jax.enable_x64(True):
        query, key, value = (jnp.array(array) for array in (query / 2, key / 2, value))
        exact = softmax_weights(query, key) @ value
        for size in sizes:
            output = nystrom(query, key, value, landmarks=size, iterations=20)
            errors.append(float(jnp.sqrt(jnp.mean((output - exact) ** 2))))
    assert all(after < before for before, after in itertools.pairwise(errors))
    assert slope(sizes, errors) < -2


def test_nystrom_with_one_landmark_attends_by_the_mean_query():
    query, key, value = map(jnp.array, draw(6, 6))
    mean = softmax_weights(jnp.mean(query, axis=0, keepdims=True), key) @ value
    assert_allclose(nystrom(query, key, value, landmarks=1), jnp.tile(mean, (6, 1)), atol=1e-6)


@pytest.mark.parametrize("landmarks", [3, 5])
def test_nystrom_of_hidden_positions_is_nystrom_of_the_rest(landmarks):
    """Also of fewer positions than landmarks."""
    query, key, value = map(jnp.array, draw(6, 6))
    seen = np.array([0, 1, 4, 5])
    key_mask = jnp.zeros(6, bool).at[seen].set(True)
    whole = nystrom(query, key, value, key_mask=key_mask, landmarks=landmarks)
    rest = nystrom(query[seen], key[seen], value[seen], landmarks=landmarks)
    assert_allclose(whole[seen], rest, atol=1e-6)


def test_nystrom_is_not_harmed_by_a_hidden_query():
    arrays = [np.float32(array) for array in draw(7, 7)]
    key_mask = np.arange(7) != 2
    cotangent = np.where(key_mask[:, None], np.float32(draw(7, 7, seed=1)[2]), 0)

    @quick_jit
    def run(*arrays):
        output, pull = jax.vjp(lambda *a: mixers.nystrom(*a, key_mask=jnp.array(key_mask), landmarks=3), *arrays)
        return output, *pull(cotangent)

    before = jax.block_until_ready(run(*arrays))
    arrays[0][2] = np.nan
    for was, now in zip(before, run(*arrays), strict=True):
        assert_array_equal(now[key_mask], was[key_mask])
        assert np.isfinite(now).all()


def test_nystrom_names_what_is_not_of_one_sequence():
    query, key, value = map(jnp.array, draw(5, 6))
    with pytest.raises(ValueError, match="key must be \\[T=5,K=4\\], got shape \\[6, 4\\]"):
        mixers.nystrom(query, key, value, landmarks=2)
    with pytest.raises(ValueError, match="landmarks must be at least 1, got 0"):
        mixers.nystrom(key, key, value, landmarks=0)


def test_one_packed_query_gives_everyone_what_it_found():
    query, key, value = map(jnp.array, draw(5, 7))
    one = np.random.default_rng(1).normal(size=(1, K))
    found = jnp.tile(softmax_weights(jnp.array(one), key) @ value, (5, 1))
    assert_allclose(mixers.luna(query, key, value, packed_query=one), found, atol=1e-6)
    assert_allclose(mixers.latent_bottleneck(query, key, value, latent_query=one, latent_key=one), found, atol=1e-6)


def test_latents_that_copy_the_keys_are_softmax_attention_when_they_are_sharp():
    """Latent queries that each find one key hand on its value."""
    query, value = (jnp.array(draw(5, K)[at]) for at in (0, 2))
    key = jnp.eye(K)
    latents = {"latent_query": 100 * np.eye(K), "latent_key": np.eye(K)}
    output = mixers.latent_bottleneck(query, key, value, **latents)
    assert_allclose(output, softmax_weights(query, key) @ value, atol=1e-6)
