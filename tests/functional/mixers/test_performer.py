"""Performer: numbers worked by hand, the rate at which it becomes softmax attention, and exponents of any size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from selfattn_jax.functional import mixers
from selfattn_jax.functional.mixers.performer import CHUNK
from selfattn_jax.modules.mixers.kernels import orthogonal
from tests.exam.sitting import quick_jit
from tests.functional.mixers.test_kernels import draw, mean_errors, slope


def test_one_feature_by_hand():
    """φ(k) = exp(ω k − k²/2) with ω = 1: whatever the query is, it cancels."""
    key = jnp.array([[0.0], [1.0], [2.0]])
    weights = mixers.performer_weights(jnp.array([[3.0], [-1.0]]), key, projection=np.array([[1.0]]))
    features = np.exp([0, 0.5, 0])
    assert_allclose(weights, np.tile(features / features.sum(), (2, 1)), rtol=1e-6)


def test_hyperbolic_features_by_hand():
    """φ(q)·φ(k) is proportional to cosh(ω (q + k)) exp(−k²/2)."""
    key = np.array([0.0, 1.0, -2.0])
    kernel = np.cosh(3 * (0.5 + key)) * np.exp(-(key**2) / 2)
    knobs = {"projection": np.array([[3.0]]), "features": "hyperbolic"}
    weights = mixers.performer_weights(jnp.array([[0.5]]), jnp.array(key[:, None]), **knobs)
    assert_allclose(weights, kernel[None] / kernel.sum(), rtol=1e-5)


def test_features_that_are_unknown_are_named():
    with pytest.raises(ValueError, match="features must be positive or hyperbolic, got 'relu'"):
        mixers.performer(*map(jnp.array, draw(3, 4)), projection=np.ones((2, 4)), features="relu")


def errors_of(sizes: list[int], draws: int, projected) -> list[float]:
    """The mean squared errors of its output against softmax attention, over draws of so many features."""
    query, key, value = map(jnp.array, draw(8, 16, width=8))
    query, key = query / 2, key / 2
    exact = jax.nn.softmax(query @ key.T / 8**0.5) @ value

    def error(rng, size):
        return jnp.mean((mixers.performer(query, key, value, projection=projected(rng, size)) - exact) ** 2)

    return mean_errors(error, sizes, draws)


def independent(rng, size):
    return jax.random.normal(rng, (size, 8))


def orthogonal_rows(rng, size):
    return orthogonal(rng, (1, size, 8))[0]


@pytest.mark.parametrize("projected", [independent, orthogonal_rows])
def test_the_squared_error_is_inverse_to_the_features(projected):
    sizes = [64, 256, 1024]
    assert abs(slope(sizes, errors_of(sizes, 50, projected)) + 1) < 0.3


def test_orthogonal_rows_estimate_better():
    (apart,), (together,) = (errors_of([8], 200, projected) for projected in (independent, orthogonal_rows))
    assert together < 0.95 * apart


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("order", [1, -1], ids=["growing", "shrinking"])
def test_no_denominator_underflows(causal, order):
    """Keys whose features differ by more than float32 can hold, many of them hidden; exact by sums of exponents."""
    query, key, value = draw(2 * CHUNK + 9, 2 * CHUNK + 9)
    key = key * np.geomspace(0.01, 30, len(key))[::order, None]
    projection = np.random.default_rng(3).normal(size=(16, 4))
    key_mask = np.random.default_rng(4).random(len(key)) < 0.4
    visible = key_mask[None, :] & (np.tri(len(key), dtype=bool) | (not causal))
    scaled = query / 4**0.25, key / 4**0.25
    exponents = [each @ projection.T - (each**2).sum(axis=1, keepdims=True) / 2 for each in scaled]
    logs = np.where(visible, np.logaddexp.reduce(exponents[0][:, None] + exponents[1][None], axis=2), -np.inf)
    seeing = visible.any(axis=1)
    weights = np.exp(logs[seeing] - logs[seeing].max(axis=1, keepdims=True))
    arrays = (np.float32(array) for array in (query, key, value))
    run = functools.partial(mixers.performer, causal=causal, key_mask=jnp.array(key_mask), projection=projection)
    output = np.asarray(quick_jit(run)(*arrays))
    assert_allclose(output[seeing], weights @ value / weights.sum(axis=1, keepdims=True), atol=2e-3)
    assert not output[~seeing].any()


@pytest.mark.parametrize("causal", [False, True])
def test_what_is_taken_off_the_exponents_has_no_derivative(causal):
    """The gradients are those of the weights' own formula, which takes off something else."""
    query, key, value = draw(CHUNK + 5, CHUNK + 5)
    projection = np.random.default_rng(3).normal(size=(6, 4))
    knobs = {"causal": causal, "projection": projection}

    def by_weights(query, key, value):
        return jnp.sum(jnp.sin(mixers.performer_weights(query, key, **knobs) @ value))

    def by_sums(query, key, value):
        return jnp.sum(jnp.sin(mixers.performer(query, key, value, **knobs)))

    with jax.enable_x64(True):
        wanted, got = (quick_jit(jax.grad(f, argnums=(0, 1, 2)))(query, key, value) for f in (by_weights, by_sums))
    for one, other in zip(got, wanted, strict=True):
        assert_allclose(one, other, rtol=0, atol=1e-11)
