"""Biases of the distance, cut out of one line: every length and place, their gradients, what they keep."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from selfattn_jax.functional import biases

LENGTHS = st.integers(1, 70)


def places(length: int, first: int = 0, step: int = 1) -> jax.Array:
    return first + step * jnp.arange(length, dtype=jnp.int32)


def squared(offset: jax.Array) -> jax.Array:
    return offset * offset + offset


@settings(max_examples=15, deadline=None)
@given(LENGTHS, LENGTHS, st.integers(-50, 50), st.sampled_from([1, 2]))
def test_a_function_of_the_offset_is_that_of_every_pair(queries: int, keys: int, first: int, step: int) -> None:
    rows, columns = places(queries, first, step), places(keys)
    found = biases.of_offsets(squared, rows, columns)
    assert_array_equal(found, squared(columns[None, :] - rows[:, None]))


@settings(max_examples=8, deadline=None)
@given(LENGTHS, LENGTHS)
def test_the_gradient_of_a_table_counts_the_pairs_of_each_bucket(queries: int, keys: int) -> None:
    table = jnp.zeros(8)

    def total(table: jax.Array) -> jax.Array:
        return biases.t5(places(queries), places(keys), table=table, maximum_distance=20).sum()

    offsets = places(keys)[None, :] - places(queries)[:, None]
    buckets = np.asarray(biases.t5_buckets(offsets, 8, True, 20))
    assert_array_equal(jax.grad(total)(table), np.bincount(buckets.ravel(), minlength=8))


@pytest.mark.parametrize("name", ["t5", "kerple_log", "kerple_power"])
def test_nothing_of_every_pair_is_kept_for_the_backward_pass(name: str) -> None:
    knobs = {
        "t5": {"table": jnp.zeros(8)},
        "kerple_log": {"amplitude": jnp.ones(()), "rate": jnp.ones(())},
        "kerple_power": {"amplitude": jnp.ones(()), "exponent": jnp.ones(())},
    }[name]
    _, pull = jax.vjp(lambda knobs: getattr(biases, name)(places(50), places(60), **knobs), knobs)
    assert max(leaf.size for leaf in jax.tree.leaves(pull)) <= 60
