"""What kernel mixers draw, and where their learned features begin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from selfattn_jax.modules.attention import Mixer
from selfattn_jax.modules.mixers import Cosformer, Hedgehog, Linformer, Performer, RandomFeature
from selfattn_jax.modules.mixers.kernels import orthogonal, orthonormal

H, K = 2, 4


def projection_of(module, *given):
    return module(*given).knobs["projection"].array


def test_rows_are_orthogonal_in_blocks_and_as_long_as_normal_ones():
    rows = np.asarray(orthogonal(jax.random.key(0), (H, 10, K)))
    for start in (0, 4, 8):
        block = rows[:, start : start + 4]
        products = block @ block.swapaxes(1, 2)
        assert_allclose(products, products * np.eye(block.shape[1]), atol=1e-5)
    assert np.abs(rows[:, 0] - rows[:, 4]).min() > 1e-3


def test_rows_that_are_nearly_parallel_come_out_orthogonal_too():
    random = np.random.default_rng(0)
    rows = (1 + 1e-3 * random.normal(size=(2, 16, 16))).astype(np.float32)
    found = np.asarray(orthonormal(jnp.asarray(rows)))
    assert_allclose(found @ found.swapaxes(1, 2), np.broadcast_to(np.eye(16), (2, 16, 16)), atol=2e-6)
    assert_allclose(np.tril(rows @ found.swapaxes(1, 2)), rows @ found.swapaxes(1, 2), atol=1e-5)


def test_a_row_has_the_moments_of_a_normal_one():
    rows = np.asarray(orthogonal(jax.random.key(1), (4000, 2, 3)))[:, 1]
    assert_allclose(rows.mean(axis=0), 0, atol=0.1)
    assert_allclose(np.cov(rows.T), np.eye(3), atol=0.1)
    assert_allclose((rows**4).mean(axis=0), 3, atol=0.5)


def test_features_default_to_the_width_times_its_logarithm():
    for width, count in ((1, 1), (2, 2), (8, 17)):
        assert projection_of(Performer(1, width, rngs=nnx.Rngs(0))).shape == (1, count, width)
    assert projection_of(Performer(H, K, features=3, rngs=nnx.Rngs(0))).shape == (H, 3, K)


@pytest.mark.parametrize("kind", [Performer, RandomFeature])
def test_a_projection_is_drawn_anew_only_by_a_key_and_only_if_wanted(kind):
    fixed, redrawn = (kind(H, K, redraw=redraw, rngs=nnx.Rngs(0)) for redraw in (False, True))
    rng = jax.random.key(7)
    assert_array_equal(projection_of(fixed, rng), projection_of(fixed))
    assert_array_equal(projection_of(redrawn), projection_of(fixed))
    assert np.abs(projection_of(redrawn, rng) - projection_of(redrawn)).min() > 1e-6
    assert_array_equal(projection_of(redrawn, rng), projection_of(redrawn, rng))


def test_the_mixer_hands_its_key_on():
    mixer = Mixer(Performer(H, K, redraw=True, rngs=nnx.Rngs(0)))
    arrays = jax.random.normal(jax.random.key(1), (3, 2, 5, H, K))
    still, drawn = (mixer(*arrays, rng=rng) for rng in (None, jax.random.key(2)))
    assert np.abs(still - drawn).max() > 1e-3
    assert_array_equal(mixer(*arrays), still)


def test_what_is_drawn_is_not_trained():
    assert not jax.tree.leaves(nnx.state(Performer(H, K, rngs=nnx.Rngs(0)), nnx.Param))
    (learned,) = jax.tree.leaves(nnx.state(RandomFeature(H, K, rngs=nnx.Rngs(0)), nnx.Param))
    assert learned.shape == (H, K)


def test_hedgehog_begins_with_the_coordinates_themselves():
    for features in (2, 4, 6):
        knobs = Hedgehog(H, K, features=features)().knobs
        for name in ("query_weight", "key_weight"):
            assert_array_equal(knobs[name].array, np.tile(np.eye(K, features), (H, 1, 1)))


def test_a_maximum_is_the_length_unless_said():
    assert Cosformer(9)().knobs["maximum"] == 9
    assert Cosformer(9, maximum=20)().knobs["maximum"] == 20
    assert Linformer(H, 9, rank=2, rngs=nnx.Rngs(0))().knobs["key_projection"].array.shape == (H, 9, 2)
    with pytest.raises(ValueError, match="maximum must be at least the length of the task, 9, got 8"):
        Linformer(H, 9, rank=2, maximum=8, rngs=nnx.Rngs(0))


def test_a_mixture_of_keys_is_as_large_as_a_key():
    projection = Linformer(1, 512, rank=8, rngs=nnx.Rngs(0))().knobs["key_projection"].array[0]
    mixtures = projection.T @ jax.random.normal(jax.random.key(0), (512, 64))
    assert 0.9 < jnp.std(mixtures) < 1.1
