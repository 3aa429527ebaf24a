"""What several tasks draw and look back to, against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfattn_jax.tasks import sampling
from tests.tasks.checks import SIZE, assert_likely


@pytest.mark.parametrize("seed", range(3))
def test_the_latest_earlier_place_is_that_of_a_loop(seed: int) -> None:
    tokens = np.random.default_rng(seed).integers(0, 5, 40).astype(np.int32)
    wanted = [max((j for j in range(i) if tokens[j] == tokens[i]), default=-1) for i in range(40)]
    np.testing.assert_array_equal(sampling.latest_earlier(jnp.asarray(tokens), 5), wanted)


def test_the_commonest_so_far_is_that_of_a_loop() -> None:
    tokens = np.random.default_rng(0).integers(0, 6, 40).astype(np.int32)
    wanted = [2 + np.argmax([(tokens[: i + 1] == kind).sum() for kind in (2, 3, 4)]) for i in range(40)]
    found = sampling.most_frequent_so_far(jax.random.key(0), jnp.asarray(tokens), first=2, count=3)
    np.testing.assert_array_equal(found, wanted)


def test_a_selection_has_its_number_and_every_one_is_as_likely_even_of_equal_bits() -> None:
    bits = jax.random.bits(jax.random.key(0), (SIZE, 5), jnp.uint32)
    chosen = np.asarray(jax.vmap(lambda bits: sampling.selection(bits, 2))(bits))
    counts = np.bincount(chosen @ (1 << np.arange(5)), minlength=32)
    pairs = [number for number in range(32) if number.bit_count() == 2]
    assert counts[pairs].sum() == SIZE
    assert_likely(counts[pairs], np.ones(10))
    assert np.asarray(sampling.selection(jnp.zeros(5, jnp.uint32), 2)).sum() == 2
