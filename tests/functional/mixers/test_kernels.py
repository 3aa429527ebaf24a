"""Kernels: numbers worked by hand, limits, sums from chunk to chunk, and what is held at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from selfattn_jax.functional import mixers
from selfattn_jax.functional.mixers import kernels
from selfattn_jax.functional.mixers.kernels import CHUNK, EXPANDED_CHUNK
from tests.exam.sitting import quick_jit

K, V = 4, 3
PROJECTION = np.random.default_rng(5).normal(size=(6, K))
WEIGHTS = {name: np.random.default_rng(6).normal(size=(K, 5)) for name in ("query_weight", "key_weight")}
KERNELS = [
    ("linear", {}),
    ("performer", {"projection": PROJECTION}),
    ("performer", {"projection": PROJECTION, "features": "hyperbolic"}),
    ("cosformer", {"maximum": 2 * EXPANDED_CHUNK + 1}),
    ("random_feature", {"projection": PROJECTION}),
    ("taylor", {}),
    ("hedgehog", WEIGHTS),
]


def draw(queries: int, keys: int, width: int = K, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return tuple(random.normal(size=shape) for shape in ((queries, width), (keys, width), (keys, V)))


def slope(sizes: list[int], errors: list[float]) -> float:
    """Of the logarithm of an error by the logarithm of a size."""
    return float(np.polyfit(np.log(sizes), np.log(errors), 1)[0])


def mean_errors(error: Callable, sizes: list[int], draws: int) -> list[float]:
    """The mean of an error (rng, size) over many draws, for every size."""
    rngs = jax.random.split(jax.random.key(0), draws)
    return [
        float(quick_jit(lambda size=size: jnp.mean(jax.vmap(lambda rng: error(rng, size))(rngs)))()) for size in sizes
    ]


def test_cosformer_by_hand():
    """At half the maximum the cosine is √½; a negative coordinate counts as 0."""
    vectors = jnp.array([[1.0, -3.0], [2.0, -1.0]])
    near, far = np.array([[1, 2], [2, 4]]), np.array([[1, 0.5**0.5], [0.5**0.5, 1]])
    weights = mixers.cosformer_weights(vectors, vectors, maximum=2)
    assert_allclose(weights, near * far / (near * far).sum(axis=1, keepdims=True), rtol=1e-5)


def test_cosformer_is_linear_attention_without_an_end():
    query, key = np.abs(draw(5, 5)[:2])
    products = query @ key.T
    weights = mixers.cosformer_weights(jnp.array(query), jnp.array(key), maximum=10**6)
    assert_allclose(weights, products / products.sum(axis=1, keepdims=True), atol=1e-5)


def test_cosformer_refuses_what_reaches_beyond_its_maximum():
    query, key, value = map(jnp.array, draw(3, 9))
    with pytest.raises(ValueError, match="maximum must be at least T and S, got 8 for a length of 9"):
        mixers.cosformer(query, key, value, maximum=8)


def test_taylor_by_hand():
    """κ(2, 1) = 1 + 2 + 2 and κ(2, −1) = 1 − 2 + 2."""
    weights = mixers.taylor_weights(jnp.array([[2.0]]), jnp.array([[1.0], [-1.0]]))
    assert_allclose(weights, [[5 / 6, 1 / 6]], rtol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 3, 6])
def test_taylor_has_no_feature_twice(width):
    query, key, _ = draw(3, 5, width)
    features = [kernels._taylor_features(jnp.array(vectors)) for vectors in (query, key)]
    assert features[0].shape == (3, 1 + width + width * (width + 1) // 2)
    assert_allclose(features[0] @ features[1].T, kernels._taylor_products(query, key), rtol=1e-5, atol=1e-6)


def test_taylor_is_softmax_for_small_scores():
    """What is left out is of the third order."""
    query, key, _ = draw(5, 7)
    sizes, errors = [1, 2, 4, 8], []
    with jax.enable_x64(True):
        for size in sizes:
            softmax = jax.nn.softmax(query * size / 40 @ key.T / K**0.5)
            weights = mixers.taylor_weights(jnp.array(query) * size / 40, jnp.array(key), epsilon=1e-15)
            errors.append(float(np.abs(weights - softmax).max()))
    assert abs(slope(sizes, errors) - 3) < 0.2


def test_random_features_are_a_gaussian_kernel_of_directions_when_there_are_many():
    """Its squared error is the variance of a mean."""
    query, key, _ = draw(6, 9)
    cosines = kernels.unit(jnp.array(query)) @ kernels.unit(jnp.array(key)).T
    sizes = [32, 128, 512]

    def error(rng, size):
        projection = jax.random.normal(rng, (size, K))
        weights = mixers.random_feature_weights(jnp.array(query), jnp.array(key), projection=projection)
        return jnp.mean((weights - jax.nn.softmax(cosines)) ** 2)

    assert abs(slope(sizes, mean_errors(error, sizes, draws=30)) + 1) < 0.3


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 2e-7), (np.float64, 4e-16)])
def test_its_sines_and_cosines_are_those_of_numpy(dtype, tolerance):
    angles = np.linspace(-60, 60, 20001).astype(dtype)
    with jax.enable_x64(True):
        found = quick_jit(kernels._sine_and_cosine)(angles)
        turned = quick_jit(lambda x: jax.jvp(kernels._sine_and_cosine, (x,), (jnp.ones_like(x),))[1])(angles)
    exact = np.sin(angles.astype(np.float64)), np.cos(angles.astype(np.float64))
    for got, wanted in zip((*found, *turned), (*exact, exact[1], -exact[0]), strict=True):
        assert got.dtype == dtype
        assert_allclose(got, wanted, rtol=0, atol=tolerance)


def test_hedgehog_of_large_weights_compares_the_largest_and_the_smallest_coordinate():
    vectors = jnp.array([[3.0, 1.0, 2.0], [3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    shared = np.array([[2, 1, 0], [1, 2, 0], [0, 0, 2]])
    weights = mixers.hedgehog_weights(vectors, vectors, query_weight=100 * np.eye(3), key_weight=100 * np.eye(3))
    assert_allclose(weights, shared / shared.sum(axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(("name", "knobs"), KERNELS, ids=lambda given: given if isinstance(given, str) else "")
@pytest.mark.parametrize(
    ("queries", "keys", "causal"),
    [
        (CHUNK, CHUNK, True),
        (2 * CHUNK + 1, CHUNK - 1, True),
        (CHUNK + 1, 2 * CHUNK + 1, True),
        (EXPANDED_CHUNK + 1, EXPANDED_CHUNK, True),
        (EXPANDED_CHUNK + 1, 2, False),
        (2, EXPANDED_CHUNK + 1, False),
    ],
)
def test_chunks_of_any_length_are_weights_times_values(name, knobs, queries, keys, causal):
    query, key, value = draw(queries, keys)
    key_mask = np.random.default_rng(2).random(keys) < 0.6
    knobs = knobs | {"causal": causal, "key_mask": jnp.array(key_mask)}

    @quick_jit
    def run(query, key, value):
        weights = getattr(mixers, f"{name}_weights")(query, key, **knobs)
        return weights, getattr(mixers, name)(query, key, value, **knobs)

    with jax.enable_x64(True):
        weights, output = map(np.asarray, run(query, key, value))
    assert not weights[:, ~key_mask].any() and not (causal and np.triu(weights, 1).any())
    assert_allclose(output, weights @ value, rtol=0, atol=1e-11)


@pytest.mark.parametrize("causal", [False, True])
def test_taylor_never_holds_the_features_of_a_whole_sequence(causal):
    length, width = 16 * EXPANDED_CHUNK, 32
    shapes = [jax.ShapeDtypeStruct((length, size), jnp.float32) for size in (width, width, V)]
    compiled = jax.jit(lambda *arrays: mixers.taylor(*arrays, causal=causal)).lower(*shapes).compile()
    held = compiled.memory_analysis().temp_size_in_bytes
    assert held < length * width * (width + 1) / 2 * 4 / 2
