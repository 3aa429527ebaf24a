"""Attention-free transformers: averages worked by hand, exponents of any size, and sums over blocks and halves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from selfattn_jax.functional import mixers
from selfattn_jax.functional.mixers.attention_free import KEYS, PAIRS, STEPS
from tests.exam.sitting import quick_jit

K = 3
aft_full, aft_simple = (quick_jit(each, static_argnames="causal") for each in (mixers.aft_full, mixers.aft_simple))


def draw(queries: int, keys: int) -> tuple[np.ndarray, ...]:
    """Query, key, value and factors for all positions."""
    random = np.random.default_rng(queries + keys)
    longest = max(queries, keys)
    return tuple(random.normal(size=(rows, K)) for rows in (queries, keys, keys, longest, longest))


def direct(query, key, value, bias, causal):
    """The definition, all pairs and channels at once."""
    exponents = key[None] + bias[:, :, None]
    if causal:
        exponents = np.where(np.tri(len(query), len(key), dtype=bool)[:, :, None], exponents, -np.inf)
    weights = np.exp(exponents - exponents.max(axis=1, keepdims=True))
    return (weights * value[None]).sum(axis=1) / weights.sum(axis=1) / (1 + np.exp(-query))


def test_keys_alike_average_the_past():
    query, key, value = jnp.zeros((3, 1)), jnp.full((3, 1), 7.0), jnp.array([[1.0], [3.0], [8.0]])
    assert_allclose(aft_simple(query, key, value, causal=True), [[0.5], [1.0], [2.0]], rtol=1e-6)
    assert_allclose(aft_simple(query, key, value), np.full((3, 1), 2.0), rtol=1e-6)


def test_without_a_bias_it_is_the_simple_one():
    query, key, value = (jnp.array(each) for each in draw(7, 7)[:3])
    zeros = {"query_factors": np.zeros((9, 2)), "key_factors": np.ones((9, 2))}
    for causal in (False, True):
        simple = aft_simple(query, key, value, causal=causal)
        assert_allclose(aft_full(query, key, value, causal=causal, **zeros), simple, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(
    ("queries", "keys"),
    [
        (1, 1),
        (PAIRS, PAIRS),
        (2 * PAIRS + 1, 2 * PAIRS + 1),
        (STEPS + 1, STEPS - 1),
        (3, 2 * STEPS),
        (KEYS + 2, KEYS + 1),
    ],
)
def test_any_lengths_around_the_blocks_give_the_definition(queries, keys, causal):
    query, key, value, *factors = draw(queries, keys)
    bias = factors[0][:queries] @ factors[1][:keys].T
    named = dict(zip(("query_factors", "key_factors"), factors, strict=True))
    with jax.enable_x64(True):
        full = aft_full(query, key, value, causal=causal, **named)
        simple = aft_simple(query, key, value, causal=causal)
    assert_allclose(full, direct(query, key, value, bias, causal), atol=1e-12)
    assert_allclose(simple, direct(query, key, value, 0 * bias, causal), atol=1e-12)


def test_a_later_key_of_any_size_changes_nothing_before_it():
    query, key, value, *factors = (jnp.array(each, jnp.float32) for each in draw(20, 20))
    named = dict(zip(("query_factors", "key_factors"), factors, strict=True))
    for function, knobs in ((aft_full, named), (aft_simple, {})):
        before = function(query, key, value, causal=True, **knobs)
        for size in (1e3, 1e30):
            after = function(query, key.at[13].set(size), value, causal=True, **knobs)
            assert_array_equal(after[:13], before[:13])
            assert_allclose(after[13:15], jax.nn.sigmoid(query[13:15]) * value[13:14], rtol=1e-6)


def test_bias_tables_that_are_too_short_are_refused():
    query, key, value, *_ = (jnp.array(each) for each in draw(4, 6))
    with pytest.raises(ValueError, match="must have a row for each of 6 positions, got N=5"):
        mixers.aft_full(query, key, value, query_factors=np.ones((5, 2)), key_factors=np.ones((5, 2)))


@pytest.mark.parametrize("causal", [False, True])
def test_no_number_is_held_for_every_pair_and_channel(causal):
    def held(length):
        def total(query, key, value, factors):
            return mixers.aft_full(query, key, value, causal=causal, query_factors=factors, key_factors=factors).sum()

        shapes = [jax.ShapeDtypeStruct((length, width), np.float32) for width in (64, 64, 64, 2)]
        return quick_jit(jax.grad(total, 1)).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    assert held(512) < 4 * 512 * 512 * 64 / 8
