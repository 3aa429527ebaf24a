"""What hides positions refuses a mask that is not one, and says what was wanted."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from selfattn_jax.functional.mixers.visible import shown, visible_of


def test_what_is_hidden_becomes_zero_whatever_it_was():
    vectors = jnp.array([[1.0, 2.0], [jnp.nan, jnp.inf]])
    assert_array_equal(shown(vectors, jnp.array([True, False])), [[1, 2], [0, 0]])


@pytest.mark.parametrize("key_mask", [np.ones(3, bool), np.ones(2, np.float32), np.ones((2, 1), bool)])
def test_a_mask_of_another_shape_or_dtype_is_refused(key_mask):
    with pytest.raises(ValueError, match=r"key_mask must be bool \[T=2\], got "):
        shown(jnp.ones((2, 2)), key_mask)
    with pytest.raises(ValueError, match=r"key_mask must be bool \[T=2\], got "):
        visible_of(2, key_mask)
