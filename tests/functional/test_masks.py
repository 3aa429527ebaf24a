import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import selfattn_jax as sa
from selfattn_jax.functional import masks
from selfattn_jax.functional.bind import bind, lead
from selfattn_jax.functional.masks import Mask, as_mask, causal, evaluate, padding, prefix, segments, window
from tests.exam.sitting import quick_jit

T, S = 3, 4


def table(mask, queries=T, keys=S):
    positions = (at if isinstance(at, list) else range(at) for at in (queries, keys))
    return (
        np.asarray(evaluate(as_mask(mask), *(jnp.asarray(list(at), jnp.int32) for at in positions)))
        .astype(int)
        .tolist()
    )


class TestByHand:
    def test_causal_is_aligned_top_left(self):
        assert table(causal) == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]

    def test_decoding_passes_the_positions_of_its_queries(self):
        assert table(causal, [3], 4) == [[1, 1, 1, 1]]
        assert table(bind(window, left=1), [3], 4) == [[0, 0, 1, 1]]

    def test_both_ends_of_a_window_are_inside(self):
        assert table(bind(window, left=1)) == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0]]
        assert table(bind(window, left=0, right=2)) == [[1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]

    def test_a_prefix_is_seen_by_all(self):
        assert table(bind(prefix, length=2)) == [[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]

    def test_padding_hides_keys_from_all(self):
        assert table(bind(padding, key_valid=jnp.array([1, 1, 0, 1], bool))) == [[1, 1, 0, 1]] * 3

    def test_segments_do_not_mix(self):
        mask = bind(segments, query_segments=jnp.array([0, 0, 1]), key_segments=jnp.array([0, 1, 1, 2]))
        assert table(mask) == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0]]

    def test_masks_combine(self):
        assert table(causal & bind(window, left=1) | bind(prefix, length=1)) == [
            [1, 0, 0, 0],
            [1, 1, 0, 0],
            [1, 1, 1, 0],
        ]
        assert table(~causal) == [[0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]
        assert table(bind(window, left=1, right=1) & ~bind(window, left=0)) == [
            [0, 1, 0, 0],
            [1, 0, 1, 0],
            [0, 1, 0, 1],
        ]

    def test_your_own_is_a_function_of_positions(self):
        def even(query_positions, key_positions):
            return (query_positions[:, None] + key_positions[None, :]) % 2 == 0

        def first(key_positions):
            return key_positions[None, :] < 1

        assert table(even) == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]
        assert table(Mask(even) & causal) == [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0]]
        assert table(causal & first) == [[1, 0, 0, 0]] * 3


grids = st.lists(st.lists(st.booleans(), min_size=S, max_size=S), min_size=T, max_size=T).map(np.array)


@settings(max_examples=20, deadline=None)
@given(grids, grids)
def test_combining_masks_is_combining_arrays(first, second):
    one, other = as_mask(first), as_mask(second)
    assert table(one & other) == (first & second).astype(int).tolist()
    assert table(one | other) == (first | second).astype(int).tolist()
    assert table(~(one & other)) == table(~one | ~other)
    assert table(causal & second) == (np.tri(T, S, dtype=bool) & second).astype(int).tolist()


def test_masks_are_pytrees_and_do_not_retrace():
    traces = []

    @jax.jit
    def run(mask):
        traces.append(1)
        return evaluate(mask, jnp.arange(T, dtype=jnp.int32), jnp.arange(S, dtype=jnp.int32))

    for seed in range(3):
        keys = np.random.default_rng(seed).random(S) < 0.5
        grid = run(causal & bind(window, left=1) | bind(padding, key_valid=keys))
        assert_array_equal(grid, np.tri(T, S, dtype=bool) & ~np.tri(T, S, -2, dtype=bool) | keys)
    assert traces == [1]


def test_a_mask_of_predicates_is_static():
    """It is a part of a module's structure, and two that are made alike are one."""
    assert {causal & bind(window, left=2): 1}[causal & bind(window, left=2)] == 1
    assert causal & bind(window, left=2) != causal & bind(window, left=3)


def test_a_window_may_differ_from_head_to_head():
    query, key, value = (np.ones((1, 5, heads, 2), np.float32) for heads in (4, 2, 2))
    reach = jnp.array([0, 1, 2, 3])
    mask = causal & bind(window, left=lead(reach, "H"))
    weights = quick_jit(lambda *arrays: sa.inspect(*arrays, mask=mask))(query, key, value).weights
    for head in range(4):
        assert_allclose(np.count_nonzero(weights[0, head], axis=1), [min(t, head) + 1 for t in range(5)])


def distance(query_positions, key_positions):
    return query_positions[:, None] - key_positions[None, :]


def late(key_positions):
    return key_positions > 1


def peek(scores):
    return scores > 0


class TestRefusals:
    positions = (jnp.arange(T, dtype=jnp.int32), jnp.arange(S, dtype=jnp.int32))

    @pytest.mark.parametrize("values", [np.zeros((T, S), np.float32), np.ones((T, S), np.int32), [[0.0, -1e9]]])
    def test_numbers_are_no_mask(self, values):
        with pytest.raises(
            TypeError, match=r"mask must be boolean \(True = may attend\), got (float|int).*additive mask as a bias"
        ):
            as_mask(values)

    @pytest.mark.parametrize("shape", [(2, T, S), (S,), (1, 1, T, S)])
    def test_a_leading_axis_is_never_added_or_dropped_in_silence(self, shape):
        with pytest.raises(ValueError, match=r"mask must be \[T,S\], got shape .*lead\(mask, \"BTS\"\)"):
            as_mask(np.ones(shape, bool))

    def test_a_predicate_must_return_booleans(self):
        with pytest.raises(TypeError, match=r"mask distance must return booleans .*, got int32"):
            evaluate(as_mask(distance), *self.positions)

    def test_a_predicate_must_return_pairs(self):
        with pytest.raises(ValueError, match=r"mask late must return \[T=3,S=4\], got shape \[4\]"):
            evaluate(as_mask(late), *self.positions)

    def test_an_array_must_have_the_size_of_its_scores(self):
        with pytest.raises(ValueError, match=r"mask array must return \[T=3,S=4\], got shape \[3, 5\]"):
            evaluate(as_mask(np.ones((3, 5), bool)), *self.positions)

    def test_a_predicate_may_ask_for_positions_alone(self):
        with pytest.raises(TypeError, match=r"mask peek asks for scores; .*query_positions, key_positions"):
            evaluate(as_mask(peek), *self.positions)


def test_the_public_masks_are_masks():
    assert all(
        isinstance(getattr(sa.masks, name), Mask)
        for name in ("causal", "window", "prefix", "padding", "segments", "array")
    )
    assert masks.causal is sa.masks.causal
