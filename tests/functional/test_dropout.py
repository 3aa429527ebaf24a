import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import selfattn_jax as sa
from selfattn_jax.functional import dropout as module
from selfattn_jax.functional.dropout import dropout, keep, uniform
from tests import oracles
from tests.exam.sitting import quick_jit

B, T, H, G, K = 2, 6, 4, 2, 3
compiled_keep, compiled_dropout, compiled_uniform = quick_jit(keep), quick_jit(dropout), quick_jit(uniform)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0, 1, exclude_max=True, width=32), st.integers(0, 2**31 - 9))
def test_keep_equals_its_oracle(seed, rate, start):
    rng = jax.random.key(seed)
    rows, columns = np.arange(start, start + 5, dtype=np.int32), np.arange(8, dtype=np.int32)
    wanted = oracles.dropout_keep(jax.random.key_data(rng), rows, columns, np.float32(rate))
    assert_array_equal(compiled_keep(rng, rows, columns, np.float32(rate)), wanted)


def test_the_rate_is_met():
    """Of n = 90,000 pairs each rate is met within four standard deviations of its mean, √(rate·(1 − rate)/n)."""
    size = np.arange(300, dtype=np.int32)
    for seed, rate in enumerate((0.1, 0.5, 0.9)):
        kept = np.asarray(compiled_keep(jax.random.key(seed), size, size, np.float32(rate)))
        assert abs(kept.mean() - (1 - rate)) < 4 * (rate * (1 - rate) / kept.size) ** 0.5
        for axis in (0, 1):
            spread = kept.mean(axis=axis).std()
            assert_allclose(spread, (rate * (1 - rate) / 300) ** 0.5, rtol=0.25)


def test_rate_zero_keeps_all():
    size = np.arange(50, dtype=np.int32)
    assert compiled_keep(jax.random.key(0), size, size, np.float32(0)).all()


def test_a_tile_drops_what_the_whole_drops():
    rng, size = jax.random.key(3), np.arange(8, dtype=np.int32)
    whole = compiled_keep(rng, size, size, 0.5)
    assert_array_equal(compiled_keep(rng, size[2:5], size[3:], 0.5), whole[2:5, 3:])


def test_survivors_are_scaled_so_that_the_mean_stays():
    weights, rng = np.full((200, 200), 0.5, np.float32), jax.random.key(0)
    size = np.arange(200, dtype=np.int32)
    dropped = np.asarray(compiled_dropout(weights, rng, size, size, 0.25))
    assert_array_equal(np.unique(dropped), np.float32([0, 0.5 / 0.75]))
    assert_allclose(dropped.mean(), 0.5, rtol=0.02)


def attended(rng, rate=0.4, heads=H, batch=B):
    """The weights after dropout, which values that are unit vectors let out, and before: both [B,H,T,S]."""
    random = np.random.default_rng(0)
    query, key = random.normal(size=(batch, T, heads, K)), random.normal(size=(batch, T, min(heads, G), K))
    value = np.broadcast_to(np.eye(T)[None, :, None, :], (batch, T, min(heads, G), T))
    seen = compiled_inspect(np.float32(query), np.float32(key), np.float32(value), rng, np.float32(rate))
    return np.asarray(seen.output).swapaxes(1, 2), np.asarray(seen.weights)


@quick_jit
def compiled_inspect(query, key, value, rng, rate):
    return sa.inspect(query, key, value, rng=rng, dropout=rate, want=("weights",))


def test_every_head_of_every_example_drops_by_its_own_key():
    rng, rate = jax.random.key(5), 0.4
    after, before = attended(rng, rate)
    keys = jax.random.split(rng, (B, G, H // G)).reshape(B, H)
    for example, head in np.ndindex(B, H):
        words = jax.random.key_data(keys[example, head])
        kept = oracles.dropout_keep(words, range(T), range(T), np.float32(rate))
        assert_allclose(after[example, head], kept * before[example, head] / (1 - rate), rtol=1e-5)


def test_heads_examples_and_keys_drop_differently():
    patterns = [(attended(jax.random.key(seed))[0] > 0).reshape(B * H, -1) for seed in range(3)]
    assert len(np.unique(np.concatenate(patterns), axis=0)) == 3 * B * H


def test_one_key_drops_the_same_twice():
    assert_array_equal(attended(jax.random.key(1))[0], attended(jax.random.key(1))[0])


def test_without_a_key_nothing_is_dropped():
    after, before = attended(None)
    assert_allclose(after, before, rtol=1e-6)


def test_the_rate_may_be_traced_and_the_gradient_skips_what_was_dropped():
    weights, rng, rows, columns = jnp.ones((4, 5)), jax.random.key(2), np.arange(4), np.arange(5)

    def total(weights, rate):
        return jnp.sum(dropout(weights, rng, rows, columns, rate))

    value, gradient = quick_jit(jax.value_and_grad(total))(weights, 0.5)
    assert_allclose(value, gradient.sum())
    assert_array_equal(gradient, 2.0 * np.asarray(compiled_keep(rng, rows, columns, 0.5)))


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate):
    arrays = (jnp.ones((2, 1, 1)),) * 3
    with pytest.raises(ValueError, match=rf"dropout must be a rate in \[0, 1\), got {rate}"):
        sa.attention(*arrays, dropout=rate, rng=jax.random.key(0))


# The other random numbers.

MAXIMUM = 2**32 - 1


def mixed(h):
    """The finaliser of MurmurHash3, in plain integers."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = (h ^ (h >> shift)) * factor & MAXIMUM
    return h ^ (h >> 16)


def hashed(words, row, column):
    """h = mix(mix(key₀ ⊕ row · 9E3779B1₁₆) ⊕ column · 85EBCA77₁₆ ⊕ key₁)."""
    first, second = (int(word) for word in words)
    return mixed(mixed(first ^ row * 0x9E3779B1 & MAXIMUM) ^ column * 0x85EBCA77 & MAXIMUM ^ second)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**31 - 9))
def test_uniform_is_23_bits_of_the_hash_under_a_key_of_its_own(seed, start):
    rng = jax.random.key(seed)
    rows, columns = np.arange(start, start + 5, dtype=np.int32), np.arange(8, dtype=np.int32)
    words = jax.random.key_data(jax.random.fold_in(rng, 1))
    wanted = [[((hashed(words, int(row), int(column)) >> 9) + 0.5) / 2**23 for column in columns] for row in rows]
    drawn = compiled_uniform(rng, rows, columns)
    assert drawn.dtype == np.float32
    assert_array_equal(drawn, np.float32(wanted))


def test_uniform_lies_inside_its_interval_and_fills_it_evenly():
    """Its logarithms are finite; of n = 90,000 numbers a tenth is in every tenth, within four standard deviations."""
    size = np.arange(300, dtype=np.int32)
    drawn = np.asarray(compiled_uniform(jax.random.key(0), size, size))
    assert 0 < drawn.min() < drawn.max() < 1
    assert np.isfinite(np.log(-np.log(drawn))).all()
    counts, _ = np.histogram(drawn, bins=10, range=(0, 1))
    assert np.abs(counts / drawn.size - 0.1).max() < 4 * (0.1 * 0.9 / drawn.size) ** 0.5
    for axis in (0, 1):
        assert_allclose(drawn.mean(axis=axis).std(), (1 / 12 / 300) ** 0.5, rtol=0.25)


def test_the_smallest_and_the_largest_number_are_inside_the_interval(monkeypatch):
    """Whatever the hash: in float32, 1 − 2⁻²⁵ would be 1, and its noise infinite."""
    monkeypatch.setattr(module, "_bits", lambda *_: jnp.uint32([[0, MAXIMUM]]))
    drawn = np.asarray(uniform(jax.random.key(0), np.arange(1), np.arange(2)))
    assert_array_equal(drawn, np.float32([[2**-24, 1 - 2**-24]]))
    assert np.isfinite(np.log(-np.log(drawn))).all()


def test_a_pair_is_noisy_and_survives_independently():
    """The numbers are not those that decide on dropout: above them and below, as many survive."""
    rng, size = jax.random.key(1), np.arange(300, dtype=np.int32)
    drawn, kept = np.asarray(compiled_uniform(rng, size, size)), np.asarray(compiled_keep(rng, size, size, 0.5))
    assert not np.array_equal(drawn >= 0.5, kept)
    assert abs(np.corrcoef(drawn.ravel(), kept.ravel())[0, 1]) < 4 / 300


def test_a_tile_draws_what_the_whole_draws():
    rng, size = jax.random.key(3), np.arange(8, dtype=np.int32)
    assert_array_equal(compiled_uniform(rng, size[2:5], size[3:]), compiled_uniform(rng, size, size)[2:5, 3:])
