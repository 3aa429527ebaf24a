"""Hashing and sorting: numbers worked by hand, when both are softmax attention, and what hashing holds at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from selfattn_jax.functional import mixers
from selfattn_jax.functional.mixers import sorting
from selfattn_jax.functional.scores import unit
from selfattn_jax.modules.mixers import Reformer, Sinkhorn
from tests import oracles
from tests.exam.sitting import quick_jit
from tests.functional.mixers.test_kernels import draw

reformer, reformer_weights = (
    quick_jit(each, static_argnames=("chunk", "causal")) for each in (mixers.reformer, mixers.reformer_weights)
)
sinkhorn = quick_jit(mixers.sinkhorn, static_argnames=("block", "iterations"))


def rotations(rounds: int, half: int, width: int = 4, seed: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rounds, width, half)).astype(np.float32)


def softmax_attention(query, key, value, mask):
    scores = jnp.where(mask, query @ key.T / query.shape[1] ** 0.5, -jnp.inf)
    return jax.nn.softmax(scores) @ value


def test_a_bucket_is_the_largest_of_both_signs_and_the_first_of_equals():
    rotated = np.float32([[1, -2], [2, 1], [2, -2], [-1, 1], [0, 0]])
    assert sorting._bucket(rotated).tolist() == [3, 0, 0, 1, 0]


def test_opposite_directions_are_two_buckets():
    """Up meets up, and down meets down, however long they are; who is alone meets itself."""
    query = jnp.array([[2.0, 1.0], [-1.0, 0.5], [0.1, 0.0], [-3.0, 0.0], [0.0, 9.0]])
    first = {"rotations": np.array([[[1.0], [0.0]]]), "chunk": 8}
    value = jnp.eye(5)
    alike = reformer(query, query, value, **first)
    assert_array_equal(
        alike > 0, np.array([[0, 0, 1, 0, 1], [0, 0, 0, 1, 0], [1, 0, 0, 0, 1], [0, 1, 0, 0, 0], [1, 0, 1, 0, 0]])
    )
    alone = reformer(query[:2], query[:2], value[:2], **first)
    assert_array_equal(alone, value[:2])


def test_finer_buckets_lie_within_the_coarse_ones():
    """Right and left, then up and down: each quadrant is a bucket."""
    query = jnp.array([[2.0, 1.0], [1.0, -0.5], [3.0, 2.0], [-3.0, 1.0], [-0.1, 0.05], [1.0, -0.7]])
    first, second = np.array([[[1.0], [0.0]]]), np.array([[[0.0], [1.0]]])
    weights = reformer_weights(query, query, rotations=first, finer=second, chunk=8)
    assert [np.flatnonzero(row).tolist() for row in weights] == [[2], [5], [0], [4], [3], [1]]


@pytest.mark.parametrize("causal", [False, True])
def test_finer_buckets_are_those_of_the_definition(causal):
    (query, key, value), visible = draw(30, 30), np.arange(30) % 7 != 3
    knobs = {"rotations": rotations(3, 2), "finer": rotations(3, 3, seed=5), "chunk": 4, "key_mask": visible}
    wanted = oracles.mixer_reformer(query, key, value, **knobs, causal=causal)
    assert_allclose(reformer(*map(jnp.array, (query, key, value)), **knobs, causal=causal), wanted, atol=2e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_one_chunk_of_everything_is_softmax_attention_to_all_others(causal):
    query, _, value = map(jnp.array, draw(9, 9))
    query = jnp.abs(query)  # all in one bucket of the two
    others = jnp.tri(9, k=-1, dtype=bool) if causal else ~jnp.eye(9, dtype=bool)
    got = reformer(query, query, value, rotations=np.ones((1, 4, 1)), chunk=9, causal=causal)
    start = 1 if causal else 0
    assert_allclose(got[start:], softmax_attention(query, unit(query), value, others)[start:], atol=1e-6)
    assert not causal or (got[0] == value[0]).all()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("finer", [{}, {"finer": rotations(3, 1, seed=5)}], ids=["coarse", "finer"])
@pytest.mark.parametrize("length", [15, 16, 17, 33, 64])
def test_any_length_is_what_the_weights_say(causal, finer, length):
    """The output comes round by round and chunk by chunk, the weights from all pairs at once."""
    query, key, value = map(jnp.array, draw(length, length))
    visible = jnp.array(np.random.default_rng(length).random(length) < 0.8)
    knobs = {"rotations": rotations(3, 2), **finer, "chunk": 8, "causal": causal, "key_mask": visible}
    weights = reformer_weights(query, key, **knobs)
    assert_allclose(weights.sum(axis=1), visible.astype(float), atol=1e-6)
    assert_allclose(reformer(query, key, value, **knobs), weights @ value, atol=1e-6)


def test_more_rounds_find_more():
    query, key, _ = map(jnp.array, draw(64, 64))
    drawn = rotations(8, 4)
    met = [int((reformer_weights(query, key, rotations=drawn[:r], chunk=8) > 0).sum()) for r in (1, 2, 4, 8)]
    assert met == sorted(met)
    assert met[-1] > 2 * met[0]


def test_the_weight_that_rounds_miss_falls_as_that_of_independent_draws():
    """A pair that one round finds with probability p is missed by R of them with probability (1 − p)ᴿ."""
    query, key, _ = map(jnp.array, draw(48, 48))
    others = ~jnp.eye(48, dtype=bool)
    wanted = jax.nn.softmax(jnp.where(others, query @ unit(query).T / 2, -jnp.inf))
    drawn = jnp.array(rotations(768, 2).reshape(768, 1, 4, 2))
    met = jax.jit(jax.vmap(lambda drawn: reformer_weights_of(query, key, drawn) > 0))
    chance = jnp.mean(met(drawn), axis=0)
    for rounds in (2, 4, 16):
        missed = ~met(drawn.reshape(-1, rounds, 4, 2))
        measured, expected = (float(jnp.sum(wanted * p) / 48) for p in (missed.mean(axis=0), (1 - chance) ** rounds))
        # The estimate of a chance from 768 draws is off by up to 2 %.
        assert abs(measured - expected) < 0.03


def reformer_weights_of(query, key, drawn):
    return mixers.reformer_weights(query, key, rotations=drawn, chunk=8)


def test_what_comes_later_moves_no_bucket_of_what_was():
    query, key, value = map(jnp.array, draw(40, 40))
    other = jnp.array(draw(40, 40, seed=1)[0])
    changed = jnp.where(jnp.arange(40)[:, None] < 21, query, other)
    knobs = {"rotations": rotations(2, 2), "chunk": 4, "causal": True}
    before, after = (reformer(each, key, value, **knobs)[:21] for each in (query, changed))
    assert_allclose(after, before, atol=1e-6)


def test_hashing_holds_no_pairs_of_positions():
    def held(length):
        gradient = jax.grad(lambda *arrays: mixers.reformer(*arrays, rotations=rotations(2, 2), chunk=8).sum())
        shapes = [jax.ShapeDtypeStruct((length, 4), np.float32)] * 3
        return quick_jit(gradient).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    assert held(2048) < 2.5 * held(1024)


def test_rotations_are_drawn_anew_only_where_asked_and_given_a_key():
    for redraw in (False, True):
        module = Reformer(2, 4, 96, rounds=3, chunk=16, redraw=redraw, rngs=nnx.Rngs(0))
        fixed = module().knobs["rotations"].array
        assert fixed.shape == (2, 3, 4, 3), "6 buckets of 16"
        drawn = module(jax.random.key(1)).knobs["rotations"].array
        assert bool((drawn != fixed).any()) == redraw
        assert not jax.tree.leaves(nnx.state(module, nnx.Param))


def test_many_buckets_are_found_in_two_goes():
    module = Reformer(2, 4, 65, rounds=3, chunk=1, redraw=True, rngs=nnx.Rngs(0))
    assert Reformer(2, 4, 64, rounds=3, chunk=1, rngs=nnx.Rngs(0))().knobs["rotations"].array.shape == (2, 3, 4, 32)
    for knobs in (module().knobs, module(jax.random.key(1)).knobs):
        shapes = [knobs[name].array.shape for name in ("rotations", "finer")]
        assert shapes == [(2, 3, 4, 5), (2, 3, 4, 4)], "80 buckets, the fewest of 10 times an even number"


@pytest.mark.parametrize(("length", "block"), [(1, 1), (2, 1), (3, 2), (8, 2), (9, 4), (64, 8), (2048, 32), (2049, 64)])
def test_a_block_is_the_power_of_2_from_the_root_of_half_the_length_on(length, block):
    assert Sinkhorn(length)().knobs["block"] == block


def test_a_block_of_everything_is_sorted_to_itself():
    query, key, value = map(jnp.array, draw(6, 6))
    everything = jnp.ones((6, 6), bool)
    got = sinkhorn(query, key, value, block=6)
    assert_allclose(got, softmax_attention(query, key, value, everything), atol=1e-6)


def test_a_cold_permutation_swaps_blocks_that_ask_for_each_other():
    """With two blocks, each then attends to both, in full."""
    query, key, value = map(jnp.array, draw(6, 6))
    sign = jnp.where(jnp.arange(6)[:, None] < 3, 1.0, -1.0)
    query, key = query + 3 * sign, key - 3 * sign
    got = sinkhorn(query, key, value, block=3, temperature=0.01)
    assert_allclose(got, softmax_attention(query, key, value, jnp.ones((6, 6), bool)), atol=1e-5)
    weights = mixers.sinkhorn_weights(query, key, block=3, temperature=0.01)
    assert_allclose(weights.sum(axis=1), np.ones(6), atol=1e-6)


def test_noise_comes_from_the_key_alone():
    arrays = list(map(jnp.array, draw(8, 8)))
    first, again, other = (sinkhorn(*arrays, block=2, rng=jax.random.key(seed)) for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3


def test_chunks_and_blocks_hold_something():
    query, key, value = map(jnp.array, draw(4, 4))
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        mixers.reformer(query, key, value, rotations=rotations(1, 1), chunk=0)
    with pytest.raises(ValueError, match="block must be at least 1, got 0"):
        mixers.sinkhorn(query, key, value, block=0)
