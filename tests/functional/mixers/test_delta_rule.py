"""The inverses by which the delta rule undoes what the errors of a chunk owe to one another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from selfattn_jax.functional.mixers.delta_rule import inverse_of_unit_lower
from tests.exam.test_gradients import check_grads


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 33, 64])
def test_the_inverse_of_a_unit_triangle_of_any_size(size):
    below = np.tril(np.random.default_rng(size).uniform(-0.3, 0.3, (3, size, size)), -1)
    found = inverse_of_unit_lower(jnp.asarray(below, jnp.float32))
    assert_allclose(found, np.linalg.inv(np.eye(size) + below), atol=1e-6)


def test_an_inverse_by_hand():
    found = inverse_of_unit_lower(jnp.asarray([[[0.0, 0, 0], [2, 0, 0], [3, 5, 0]]]))
    assert_allclose(found[0], [[1, 0, 0], [-2, 1, 0], [7, -5, 1]])


def test_keys_that_are_all_alike_stay_exact():
    """Written in full each time: an error is that of the position before alone."""
    below = jnp.tril(jnp.ones((1, 64, 64)), -1)
    assert_allclose(inverse_of_unit_lower(below)[0], np.eye(64) - np.eye(64, k=-1), atol=1e-6)


def test_derivatives_of_the_inverse():
    with jax.enable_x64(True):
        below = jnp.asarray(np.random.default_rng(0).normal(size=(2, 5, 5)))
        check_grads(lambda below: inverse_of_unit_lower(jnp.tril(below, -1)), (below,), 2)
