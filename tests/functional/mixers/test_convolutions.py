"""Convolutions: delays, and what the filters of the long one are."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from selfattn_jax.functional import mixers
from selfattn_jax.modules.mixers import LongConvolution

ROWS = jnp.array([[1.0, -1.0], [2.0, -2.0], [3.0, -3.0], [4.0, -4.0], [5.0, -5.0]])


def test_the_first_of_two_taps_is_a_delay_when_causal():
    kernel = np.stack([np.eye(2), np.zeros((2, 2))])
    assert_array_equal(mixers.convolution(ROWS, kernel=kernel, causal=True)[:, 0], [0, 1, 2, 3, 4])
    assert_array_equal(mixers.convolution(ROWS, kernel=kernel, causal=True, dilation=3)[:, 0], [0, 0, 0, 1, 2])
    assert_array_equal(mixers.convolution(ROWS, kernel=kernel)[:, 0], [1, 2, 3, 4, 5])


def test_three_taps_see_both_neighbours_and_nothing_hidden():
    kernel = np.stack([np.eye(2)] * 3)
    shown = jnp.array([True, True, False, True, True])
    assert_array_equal(mixers.convolution(ROWS, kernel=kernel)[:, 0], [3, 6, 9, 12, 9])
    assert_array_equal(mixers.convolution(ROWS, kernel=kernel, key_mask=shown)[:, 0], [3, 3, 0, 9, 9])


def test_a_long_filter_of_one_distance_is_a_delay_between_gates():
    ones = jnp.ones_like(ROWS)
    filters, skip = np.zeros((7, 2)), np.array([0.0, 10.0])
    filters[2] = 1
    output = mixers.long_convolution(2 * ones, ones, ROWS, filters=filters, skip=skip)
    assert_allclose(output[:, 0], [0, 0, 2, 4, 6], atol=1e-5)
    assert_allclose(output[:, 1], [-20, -40, -62, -84, -106], atol=1e-4)


def test_filters_are_as_long_as_the_task_or_longer():
    assert LongConvolution(2, 3, 5, rngs=nnx.Rngs(0)).filters().shape == (2, 5, 3)
    assert LongConvolution(2, 3, 5, maximum=9, rngs=nnx.Rngs(0)).filters().shape == (2, 9, 3)
    with pytest.raises(ValueError, match="maximum must be at least the length of the task, 5, got 4"):
        LongConvolution(2, 3, 5, maximum=4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="filters must hold at least T=5 distances, got 4"):
        mixers.long_convolution(ROWS, ROWS, ROWS, filters=np.ones((4, 2)), skip=np.ones(2))
