"""Synthesizers: scores worked by hand, and positions that no table has."""

import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_array_equal

from selfattn_jax.functional import synthesizers

QUERY = jnp.array([[1.0, 0.0], [0.0, -1.0]])
KEY = jnp.zeros((3, 2))
PLACES = jnp.array([2, 0]), jnp.array([0, 2, 5])
NAN = np.nan


def test_a_query_says_where_to_look():
    """Its hidden numbers are relu(q): 1, 0 and 0, 0."""
    scores = synthesizers.synthesizer_dense(
        QUERY, KEY, *PLACES, hidden_weight=np.eye(2), output_weight=np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    )
    assert_array_equal(scores, [[1, 3, NAN], [0, 0, NAN]])


def test_a_table_says_where_to_look():
    table = np.arange(9.0).reshape(3, 3)
    assert_array_equal(synthesizers.synthesizer_random(QUERY, KEY, *PLACES, table=table), [[6, 8, NAN], [0, 2, NAN]])


def test_factors_say_where_to_look():
    factors = {"query_factors": np.array([[1.0], [2.0], [3.0]]), "key_factors": np.array([[10.0], [20.0], [30.0]])}
    scores = synthesizers.synthesizer_factorised(QUERY, KEY, *PLACES, **factors)
    assert_array_equal(scores, [[30, 90, NAN], [10, 30, NAN]])
