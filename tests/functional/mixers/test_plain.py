"""Mixers without a choice: numbers worked by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from selfattn_jax.functional import mixers


def test_a_bag_averages_what_is_visible():
    rows, shown = jnp.array([[2.0], [4.0], [9.0], [6.0]]), jnp.array([True, True, False, True])
    assert_allclose(mixers.bag(rows, key_mask=shown), [[4], [4], [0], [4]])
    assert_allclose(mixers.bag(rows, key_mask=shown, causal=True), [[2], [3], [0], [4]])


def test_waves_of_a_constant_and_of_a_pulse():
    constant, pulse = jnp.ones((4, 3)), jnp.zeros((4, 3)).at[0, 0].set(1.0)
    assert_allclose(mixers.fourier(constant), 12 * pulse, atol=1e-5)
    assert_allclose(mixers.fourier(pulse), constant, atol=1e-6)
    alternating = jnp.array([[1.0], [-1.0], [1.0], [-1.0]])
    assert_allclose(mixers.fourier(alternating), [[0], [0], [4], [0]], atol=1e-6)


def test_an_mlp_along_the_sequence_shares_its_weights_among_the_numbers():
    up, down = np.array([[1.0], [1.0], [0.0]]), np.array([[0.0, 0.0, 2.0]])
    biases = {"up_bias": np.array([1.0]), "down_bias": np.array([0.0, 5.0, 0.0])}
    rows = jnp.array([[1.0, 0.0], [2.0, 0.0], [9.0, 9.0]])
    gelu = jax.nn.gelu(jnp.array([4.0, 1.0]))
    wanted = jnp.stack([jnp.zeros(2), jnp.full(2, 5.0), 2 * gelu])
    assert_allclose(mixers.mlp_mixer(rows, up=up, down=down, **biases), wanted, rtol=1e-6)
    with pytest.raises(ValueError, match=r"inputs must be \[N=3,D\], got shape \[2, 2\]"):
        mixers.mlp_mixer(rows[:2], up=up, down=down, **biases)


def test_nothing_is_mixed():
    assert_array_equal(mixers.none(jnp.full((3, 2), jnp.nan)), np.zeros((3, 2)))
