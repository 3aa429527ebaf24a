"""Chunks of decays by feature: what they hold by hand, at the edges of decays, and in every order of derivatives."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from selfattn_jax.functional.mixers import gated_linear_chunks, gated_linear_steps
from selfattn_jax.functional.mixers.decays import FASTEST
from selfattn_jax.functional.mixers.feature_chunks import read_chunks, whole_chunk
from tests.exam.sitting import quick_jit
from tests.exam.test_gradients import check_grads

Given = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
read = quick_jit(read_chunks)


def drawn(count: int, size: int, width: int, features: int, fastest: float, dtype: Any = np.float64) -> Given:
    """Query, key, value, decays [n,C,…] and start of a few chunks."""
    random = np.random.default_rng(size)
    arrays = [random.normal(size=(count, size, each)) for each in (features, features, width)]
    decays = fastest * random.random((count, size, features))
    query, key, value = (array.astype(dtype) for array in arrays)
    return query, key, value, decays.astype(dtype), random.normal(size=(features, width)).astype(dtype)


def by_loops(query, key, value, decays, start, bonus=None):
    """The recurrence, in float64."""
    state, output = np.array(start, np.float64), np.zeros(value.shape)
    for place in np.ndindex(query.shape[:2]):
        written = np.outer(key[place], value[place])
        faded = np.exp(np.asarray(decays[place], np.float64))[:, None] * state + written
        seen = faded if bonus is None else state + bonus[:, None] * written
        output[place], state = query[place] @ seen, faded
    return output, state


@pytest.mark.parametrize("size", [4, 8, 64])
@pytest.mark.parametrize("bonus", [None, np.array([0.5, -2.0, 1.5])], ids=["present", "bonus"])
def test_chunks_are_the_recurrence(size, bonus):
    arrays = drawn(3, size, 2, 3, -0.5)
    with jax.enable_x64(True):
        got = read(*arrays, bonus)
    for mine, theirs in zip(got, by_loops(*arrays, bonus), strict=True):
        assert_allclose(mine, theirs, rtol=0, atol=1e-12)


def test_decays_multiply_between_two_positions():
    """Position 5 reads what 0 wrote through five decays of a half, in the other half of its block of 8."""
    size = 8
    query, key, value = (np.zeros((1, size, 1), np.float32) for _ in range(3))
    query[0, 5], key[0, 0], value[0, 0] = 1, 1, 64
    decays = np.full((1, size, 1), np.log(0.5), np.float32)
    output, final = read(query, key, value, decays, np.zeros((1, 1), np.float32), None)
    assert_allclose(output[0, :, 0], [0, 0, 0, 0, 0, 2, 0, 0], rtol=1e-6)
    assert_allclose(final, [[0.5]], rtol=1e-6)


@pytest.mark.parametrize("place", [1, 4, 15, 32])
def test_one_decay_that_leaves_nothing_cuts_the_past_off_and_takes_no_digits_from_the_slow_ones(place):
    query, key, value, decays, start = drawn(1, 64, 2, 3, -1e-3, np.float32)
    decays[0, place] = FASTEST
    output, _ = read(query, key, value, decays, start, None)
    wanted, _ = by_loops(query, key, value, decays, start)
    assert_allclose(output, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max())
    other, _ = read(query, key, value * (np.arange(64) >= place)[None, :, None], decays, 1e6 * start, None)
    assert_allclose(other[:, place:], output[:, place:], rtol=0, atol=1e-6)


@pytest.mark.parametrize("bonus", [False, True], ids=["present", "bonus"])
def test_derivatives_are_right_in_both_modes_twice(bonus):
    arrays = [*drawn(2, 8, 2, 2, -0.5), np.array([0.5, -1.5])]

    def outputs(*arrays):
        return read_chunks(*arrays[:-1], arrays[-1] if bonus else None)

    with jax.enable_x64(True):
        check_grads(outputs, tuple(jnp.asarray(array) for array in arrays), 2)


def test_gradients_by_decays_are_those_of_the_steps_over_many_chunks():
    """They are sums of differences along a chunk: what cancels in one is not carried to the next."""
    random = np.random.default_rng(0)
    arrays = [jnp.asarray(random.normal(size=(512, 4)), jnp.float32) for _ in range(3)]
    decays = jnp.asarray(-0.3 * random.random((512, 4)), jnp.float32)

    def total(form, decays):
        return jnp.sum(jnp.sin(form(*arrays, log_decay=decays)[0]))

    by_chunks, by_steps = (
        quick_jit(jax.grad(lambda decays, form=form: total(form, decays)))(decays)
        for form in (gated_linear_chunks, gated_linear_steps)
    )
    assert_allclose(by_chunks, by_steps, rtol=0, atol=1e-5 * np.abs(by_steps).max())


@pytest.mark.parametrize(("chunk", "length", "whole"), [(64, 4096, 64), (48, 4096, 64), (64, 11, 16), (1, 9, 4)])
def test_a_chunk_is_a_power_of_two(chunk, length, whole):
    assert whole_chunk(chunk, length) == whole
