"""Mask patterns by hand, as the | of their parts, and what `materialize` and `density` make of them."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import selfattn_jax as sa
from selfattn_jax.functional.bind import bind, lead
from selfattn_jax.functional.masks import causal, density, materialize, padding, prefix, segments, window
from selfattn_jax.functional.patterns import (
    axial,
    bigbird,
    block_local,
    dilated,
    fixed,
    global_tokens,
    longformer,
    neighbourhood_2d,
    random_blocks,
    strided,
)
from tests.exam.sitting import quick_jit


def rows(*lines):
    """A boolean array from lines of 0 and 1."""
    return np.array([[letter == "1" for letter in line] for line in lines])


# What a mask lets through.


def test_pairs_of_a_mask():
    pairs = materialize(causal, 3, 4)
    assert pairs.dtype == bool
    assert_array_equal(pairs, rows("1000", "1100", "1110"))
    assert_array_equal(materialize(causal & bind(window, left=1), 4, 3), rows("100", "110", "011", "001"))


def test_pairs_of_what_a_mask_is_made_of():
    valid = np.array([1, 0, 1], bool)
    assert_array_equal(materialize(bind(padding, key_valid=valid), 2, 3), [valid, valid])
    assert_array_equal(materialize(rows("10", "01"), 2, 2), np.eye(2))
    assert_array_equal(materialize(lambda query_positions: query_positions[:, None] > 1, 3, 2), rows("00", "00", "11"))


def test_blocks_are_empty_partial_or_full():
    """What overhangs the last row and column of blocks makes no block partial."""
    blocks = materialize(causal, 5, 5, block=2)
    assert blocks.dtype == jnp.int32
    assert_array_equal(blocks, [[1, 0, 0], [2, 1, 0], [2, 2, 2]])
    # 1000, 1100, 0110 above 0011, 0001.
    assert_array_equal(materialize(bind(window, left=1), 5, 4, block=3), [[1, 0], [1, 2]])
    assert_array_equal(materialize(~causal, 3, 4, block=2), [[1, 2], [0, 1]])


def test_a_block_may_be_one_pair_or_more_than_all():
    assert_array_equal(materialize(causal, 3, 4, block=1), 2 * rows("1000", "1100", "1110"))
    assert_array_equal(materialize(causal, 3, 4, block=9), [[1]])
    assert_array_equal(materialize(bind(prefix, length=4), 3, 4, block=9), [[2]])
    assert_array_equal(materialize(causal & ~causal, 3, 4, block=9), [[0]])


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 8), st.sampled_from([0.1, 0.5, 0.9]), st.integers(0, 999))
def test_blocks_equal_a_loop_over_them(queries, keys, block, share, seed):
    pairs = np.random.default_rng(seed).random((queries, keys)) < share
    blocks = np.asarray(materialize(pairs, queries, keys, block=block))
    assert blocks.shape == (-(-queries // block), -(-keys // block))
    for row, column in np.ndindex(blocks.shape):
        inside = pairs[row * block : (row + 1) * block, column * block : (column + 1) * block]
        assert blocks[row, column] == (2 if inside.all() else 1 if inside.any() else 0)


@pytest.mark.parametrize("block", [0, -3])
def test_a_block_without_pairs_is_refused(block):
    with pytest.raises(ValueError, match=f"block must be at least 1, got {block}"):
        materialize(causal, 3, 3, block=block)


def test_density_is_the_share_of_pairs():
    assert density(causal, 4, 4) == 10 / 16
    assert density(bind(window, left=1), 5, 4) == 8 / 20
    assert (density(causal & ~causal, 3, 3), density(bind(prefix, length=9), 3, 3)) == (0, 1)
    assert density(causal, 2, 2).dtype == jnp.float32


def test_a_shifted_mask_looks_from_other_positions():
    assert_array_equal(materialize(causal.shift(queries=1), 3, 4), rows("1100", "1110", "1111"))
    assert_array_equal(materialize(causal.shift(keys=1), 3, 4), rows("0000", "1000", "1100"))
    assert_array_equal(materialize(causal.shift(2, 2), 3, 4), materialize(causal, 3, 4))
    both = (causal & bind(window, left=1)).shift(queries=1)
    assert_array_equal(materialize(both, 3, 4), rows("1100", "0110", "0011"))
    assert_array_equal(materialize(both & ~causal.shift(queries=-1), 3, 4), rows("1100", "0110", "0011"))
    assert_array_equal(materialize(causal.shift(queries=1).shift(queries=1), 3, 4), rows("1110", "1111", "1111"))


def test_what_does_not_act_on_positions_does_not_shift():
    same = bind(segments, query_segments=np.array([0, 1]), key_segments=np.array([0, 0, 1]))
    assert_array_equal(materialize(same.shift(queries=1), 2, 3), rows("110", "001"))


def test_windows_may_differ_from_head_to_head_on_both_sides():
    size, heads = 5, 4
    left, right = jnp.array([0, 1, 2, 4], jnp.int32), jnp.array([0, 2, 0, 4], jnp.int32)
    query, key = np.ones((1, size, heads, 2), np.float32), np.ones((1, size, 2, 2), np.float32)
    value = np.broadcast_to(np.eye(size, dtype=np.float32)[None, :, None], (1, size, 2, size))

    @quick_jit
    def attended(left, right):
        return sa.attention(query, key, value, mask=bind(window, left=lead(left, "H"), right=lead(right, "H")))

    weights = np.asarray(attended(left, right))[0]
    for head in range(heads):
        wanted = materialize(bind(window, left=int(left[head]), right=int(right[head])), size, size)
        assert_array_equal(weights[:, head] > 0, wanted)


# The patterns.


def test_a_dilated_window_has_gaps():
    assert_array_equal(materialize(bind(dilated, left=1), 3, 5), rows("10000", "01000", "10100"))
    both = bind(dilated, left=0, right=1, dilation=3)
    assert_array_equal(materialize(both, 3, 5), rows("10010", "01001", "00100"))
    same = bind(dilated, left=2, right=1, dilation=1)
    assert_array_equal(materialize(same, 6, 6), materialize(bind(window, left=2, right=1), 6, 6))


def test_strides_reach_everything_in_two_steps():
    pairs = np.asarray(materialize(bind(strided, stride=3), 7, 7))
    assert_array_equal(pairs[[0, 1, 3]], rows("1111001", "1111100", "1111111"))
    assert ((pairs.astype(int) @ pairs) > 0).all()


def test_fixed_blocks_end_in_what_all_may_see():
    assert_array_equal(materialize(bind(fixed, block=3), 4, 7), rows("1110010", "1110010", "1110010", "0011110"))
    assert_array_equal(materialize(bind(fixed, block=3, summary=2), 1, 7), rows("1110110"))


def test_blocks_see_blocks_beside_them():
    assert_array_equal(materialize(bind(block_local, block=2), 3, 5), rows("11000", "11000", "00110"))
    assert_array_equal(materialize(bind(block_local, block=2, left=1), 5, 5)[4], rows("00111")[0])
    assert_array_equal(materialize(bind(block_local, block=2, right=1), 5, 5)[2], rows("00111")[0])


def test_global_tokens_see_all_and_are_seen_by_all():
    assert_array_equal(materialize(bind(global_tokens, count=2), 4, 5), rows("11111", "11111", "11000", "11000"))


def test_an_axial_mask_is_a_cross():
    """Pixel 4 of an image of 3 by 3 is in its middle."""
    pairs = materialize(bind(axial, columns=3), 9, 9)
    assert_array_equal(np.asarray(pairs[4]).reshape(3, 3), rows("010", "111", "010"))
    assert_array_equal(np.asarray(pairs[0]).reshape(3, 3), rows("111", "100", "100"))


class TestRandomBlocks:
    length, block = 22, 4

    def mask(self, count=2, **knobs):
        return bind(random_blocks, block=self.block, length=self.length, count=count, **knobs)

    def test_one_seed_gives_one_mask(self):
        first, again, other = (materialize(self.mask(seed=seed), 22, 22) for seed in (0, 0, 1))
        assert_array_equal(first, again)
        assert_array_equal(first, materialize(self.mask(), 22, 22))
        assert (first != other).any()
        assert_array_equal(quick_jit(lambda: materialize(self.mask(), 22, 22))(), first)

    def test_a_longer_sequence_does_not_draw_anew(self):
        assert_array_equal(materialize(self.mask(), 30, 30)[:10, :10], materialize(self.mask(), 10, 10))

    @pytest.mark.parametrize(("count", "drawn"), [(1, 1), (2, 2), (6, 6), (9, 6)])
    def test_every_row_sees_as_many_whole_blocks(self, count, drawn):
        blocks = np.asarray(materialize(self.mask(count), 22, 22, block=4))
        assert set(blocks.ravel()) <= {0, 2}
        assert_array_equal((blocks > 0).sum(axis=1), np.full(6, drawn))

    def test_rows_draw_by_themselves(self):
        blocks = np.asarray(materialize(self.mask(), 22, 22, block=4))
        assert len(np.unique(blocks, axis=0)) > 2

    def test_past_the_length_nothing_is_seen(self):
        pairs = np.asarray(materialize(self.mask(6), 26, 26))
        assert pairs[:22, :22].all()
        assert not pairs[22:].any() and not pairs[:, 22:].any()
        assert not materialize(self.mask(6).shift(queries=-4), 4, 22).any()


def test_longformer_is_its_parts():
    whole = materialize(bind(longformer, window=2, dilation=3, count=2), 12, 12)
    parts = bind(dilated, left=2, right=2, dilation=3) | bind(global_tokens, count=2)
    assert_array_equal(whole, materialize(parts, 12, 12))
    plain = materialize(bind(longformer, window=1), 6, 6)
    assert_array_equal(plain, materialize(bind(window, left=1, right=1) | bind(global_tokens, count=1), 6, 6))


def test_bigbird_is_its_parts():
    whole = materialize(bind(bigbird, block=2, length=20, random=2, count=1, seed=3), 20, 20)
    near, far = bind(block_local, block=2, left=1, right=1), bind(global_tokens, count=2)
    drawn = bind(random_blocks, block=2, count=2, length=20, seed=3)
    assert_array_equal(whole, materialize(near | far | drawn, 20, 20))
    for part in (near, far, drawn):
        assert (whole & ~materialize(part, 20, 20)).any()


class TestNeighbourhoods:
    @pytest.mark.parametrize(("height", "width", "radius"), [(4, 5, 1), (5, 7, 2), (3, 3, 1), (3, 2, 0)])
    def test_every_pixel_sees_equally_many_and_itself(self, height, width, radius):
        pairs = np.asarray(materialize(self.mask(height, width, radius), height * width, height * width))
        assert_array_equal(pairs.sum(axis=1), np.full(height * width, (2 * radius + 1) ** 2))
        assert pairs.diagonal().all()

    @staticmethod
    def mask(height, width, radius):
        return bind(neighbourhood_2d, rows=height, columns=width, radius=radius)

    def test_the_square_is_around_the_pixel_and_moves_inside_at_the_border(self):
        seen = np.asarray(materialize(self.mask(4, 5, 1), 20, 20)).reshape(20, 4, 5)
        assert_array_equal(seen[1 * 5 + 2], rows("01110", "01110", "01110", "00000"))
        assert_array_equal(seen[0], rows("11100", "11100", "11100", "00000"))
        assert_array_equal(seen[3 * 5 + 3], rows("00000", "00111", "00111", "00111"))

    def test_outside_the_image_nothing_is_seen(self):
        pairs = np.asarray(materialize(self.mask(3, 3, 1), 11, 12))
        assert pairs[:9, :9].any() and not pairs[9:].any() and not pairs[:, 9:].any()

    @pytest.mark.parametrize(("height", "width"), [(4, 7), (7, 4)])
    def test_a_square_larger_than_the_image_is_refused(self, height, width):
        with pytest.raises(ValueError, match=f"a square of 5 pixels does not fit an image of {height} by {width}"):
            materialize(self.mask(height, width, 2), 28, 28)
