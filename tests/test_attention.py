"""The lift and the composition as a user meets them: the layout, the masks, the numbers of others, and the refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import selfattn_jax as sa
from selfattn_jax.functional.attend import inspect as inspect_one_head
from tests.exam.sitting import quick_jit

B, T, S, H, G, K, V = 2, 5, 7, 4, 2, 6, 3


def arrays(*, batch=B, queries=T, keys=S, heads=H, groups=G, key_width=K, value_width=V, seed=0):
    random = np.random.default_rng(seed)
    shapes = ((batch, queries, heads, key_width), (batch, keys, groups, key_width), (batch, keys, groups, value_width))
    return tuple(random.normal(size=shape).astype(np.float32) for shape in shapes)


@quick_jit
def attended(query, key, value, mask=None, lengths=None, segments=None):
    return sa.attention(query, key, value, mask=mask, lengths=lengths, segments=segments)


@quick_jit
def looked(query, key, value, **pieces):
    return inspect_one_head(query, key, value, want=("scores", "weights"), **pieces)


@quick_jit
def published(query, key, value, mask=None, lengths=None):
    return jax.nn.dot_product_attention(query, key, value, mask=mask, key_value_seq_lengths=lengths)


def random_mask(*shape, seed=1):
    mask = np.random.default_rng(seed).random(shape) < 0.6
    mask[..., 0] = True
    return mask


class TestIllustratedSelfAttention:
    """The worked example of "Illustrated Self-Attention", with its unscaled dot product."""

    inputs = np.float32([[1, 0, 1, 0], [0, 2, 0, 2], [1, 1, 1, 1]])
    key = inputs @ np.float32([[0, 0, 1], [1, 1, 0], [0, 1, 0], [1, 1, 0]])
    query = inputs @ np.float32([[1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 1]])
    value = inputs @ np.float32([[0, 2, 0], [0, 3, 0], [1, 0, 3], [1, 1, 0]])
    weights = ([0.063379, 0.468311, 0.468311], [6.0337e-6, 0.982008, 0.017986], [2.9539e-4, 0.880537, 0.119168])
    output = ([1.936621, 6.683105, 1.595068], [1.999994, 7.963992, 0.053976], [1.999705, 7.759892, 0.358389])

    def test_projections(self):
        assert_array_equal(self.key, [[0, 1, 1], [4, 4, 0], [2, 3, 1]])
        assert_array_equal(self.query, [[1, 0, 2], [2, 2, 2], [2, 1, 3]])
        assert_array_equal(self.value, [[1, 2, 3], [2, 8, 0], [2, 6, 3]])

    def test_scores_weights_and_output(self):
        seen = looked(self.query, self.key, self.value, score=sa.bind(sa.scores.dot))
        assert_array_equal(seen.scores, [[2, 4, 4], [4, 16, 12], [4, 12, 10]])
        assert_allclose(seen.weights, self.weights, rtol=2e-5, atol=1e-6)
        assert_allclose(seen.output, self.output, rtol=0, atol=1e-6)

    def test_as_printed(self):
        """The article rounds the weights to one decimal before it goes on."""
        printed = np.round(np.float32(self.weights) + 1e-6, 1)
        assert_allclose(printed, [[0.1, 0.5, 0.5], [0, 1, 0], [0, 0.9, 0.1]], atol=1e-6)
        printed[0, 0] = 0  # 0.06, which the article prints as 0.0
        assert_allclose(printed @ self.value, [[2, 7, 1.5], [2, 8, 0], [2, 7.8, 0.3]], atol=1e-6)


class TestPublishedNumbers:
    """Those of `jax.nn.dot_product_attention`, wherever both are defined."""

    @pytest.mark.parametrize("groups", [1, 2, 4])
    def test_grouped_heads(self, groups):
        given = arrays(groups=groups, value_width=K)
        assert_allclose(attended(*given), published(*given), rtol=0, atol=2e-6)

    def test_causal(self):
        given = arrays(queries=S, value_width=K)
        ours = quick_jit(lambda *a: sa.attention(*a, mask=sa.masks.causal))(*given)
        theirs = quick_jit(lambda *a: jax.nn.dot_product_attention(*a, is_causal=True))(*given)
        assert_allclose(ours, theirs, rtol=0, atol=2e-6)

    def test_causal_is_aligned_top_left_where_lengths_differ(self):
        given = arrays(value_width=K)
        ours = quick_jit(lambda *a: sa.attention(*a, mask=sa.masks.causal))(*given)
        theirs = quick_jit(lambda *a: jax.nn.dot_product_attention(*a, is_causal=True))(*given)
        assert_allclose(ours, theirs, rtol=0, atol=2e-6)

    @pytest.mark.parametrize("shape", [(B, H, T, S), (B, 1, T, S), (1, H, T, S), (1, 1, T, S)])
    def test_a_mask_of_four_axes(self, shape):
        given, mask = arrays(value_width=K), random_mask(*shape)
        assert_allclose(attended(*given, mask), published(*given, mask), rtol=0, atol=2e-6)

    def test_a_mask_of_four_axes_where_the_batch_is_one(self):
        given, mask = arrays(batch=1, value_width=K), random_mask(1, H, T, S)
        assert_allclose(attended(*given, mask), published(*given, mask), rtol=0, atol=2e-6)

    def test_lengths(self):
        given, lengths = arrays(value_width=K), np.int32([4, 7])
        assert_allclose(attended(*given, None, lengths), published(*given, None, lengths), rtol=0, atol=2e-6)

    def test_segments(self):
        given = arrays(queries=S, value_width=K)
        segments = np.int32([[0, 0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 1, 1, 3]])
        mask = (segments[:, :, None] == segments[:, None, :])[:, None]
        assert_allclose(attended(*given, None, None, segments), published(*given, mask), rtol=0, atol=2e-6)

    def test_without_a_batch(self):
        given = tuple(array[0] for array in arrays(value_width=K))
        assert_allclose(attended(*given), published(*given), rtol=0, atol=2e-6)

    @settings(max_examples=6, deadline=None)
    @given(st.data())
    def test_any_sizes(self, data):
        size = st.integers(1, 4)
        groups = data.draw(size)
        heads = groups * data.draw(st.integers(1, 3))
        shape = {name: data.draw(size) for name in ("batch", "queries", "keys", "key_width")}
        given = arrays(**shape, heads=heads, groups=groups, value_width=shape["key_width"])
        assert_allclose(attended(*given), published(*given), rtol=0, atol=2e-6)


class TestLayout:
    def test_the_output_has_the_values_width(self):
        assert attended(*arrays()).shape == (B, T, H, V)

    def test_neighbouring_heads_share_a_group(self):
        """Key and value of group 0 serve heads 0 and 1: they are repeated, not tiled."""
        query, key, value = arrays()
        value[:, :, 0], value[:, :, 1] = 1, 2
        assert_allclose(attended(query, key, value)[..., 0], np.tile([1, 1, 2, 2], (B, T, 1)), rtol=1e-6)

    def test_an_example_alone_is_the_example_in_a_batch(self):
        given, mask = arrays(), random_mask(T, S)
        alone = attended(*(array[1] for array in given), mask)
        assert_allclose(alone, attended(*given, mask)[1], rtol=0, atol=1e-6)

    def test_extras_have_heads_before_queries(self):
        given = arrays()

        @quick_jit
        def see(*given):
            return sa.inspect(*given, want=("weights", "scores", "log_normalizer"))

        batched, alone = see(*given), see(*(array[0] for array in given))
        assert batched.weights.shape == batched.scores.shape == (B, H, T, S)
        assert batched.log_normalizer.shape == (B, H, T)
        assert alone.weights.shape == (H, T, S)
        assert alone.log_normalizer.shape == (H, T)
        assert_allclose(alone.weights, batched.weights[0], rtol=0, atol=1e-6)
        assert attended(*given).dtype == np.float32


class TestMasksOfData:
    def test_lengths_segments_and_a_mask_all_apply(self):
        given, mask, lengths = arrays(queries=S), random_mask(S, S), np.int32([5, 7])
        segments = np.int32([[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1, 1]])
        joined = mask & (segments[:, :, None] == segments[:, None, :]) & (np.arange(S) < lengths[:, None])[:, None]
        together = attended(*given, mask, lengths, segments)
        assert_allclose(together, attended(*given, joined[:, None]), rtol=0, atol=1e-6)

    def test_segments_of_queries_and_keys_may_differ(self):
        given, of_queries, of_keys = arrays(), np.int32([[0] * T, [1] * T]), np.int32([[0] * 3 + [1] * 4] * 2)
        lengths = np.int32([3, S])
        split = quick_jit(lambda *a: sa.attention(*a, segments=(of_queries, of_keys)))(*given)
        assert_allclose(split[0], attended(*given, None, lengths)[0], rtol=0, atol=1e-6)
        mask = np.broadcast_to(of_keys[1] == 1, (T, S))
        assert_allclose(split[1], attended(*given, mask)[1], rtol=0, atol=1e-6)

    def test_length_zero_gives_zeros(self):
        output = attended(*arrays(), None, np.int32([0, S]))
        assert not output[0].any()
        assert output[1].any()

    def test_a_mask_per_example_says_so(self):
        given, mask = arrays(), random_mask(B, T, S)
        led = quick_jit(lambda mask, *a: sa.attention(*a, mask=sa.lead(mask, "BTS")))(mask, *given)
        assert_allclose(led, attended(*given, mask[:, None]), rtol=0, atol=1e-6)

    def test_positions_may_differ_from_example_to_example(self):
        given, positions = arrays(), np.int32([[0, 1, 2, 3, 4], [2, 3, 4, 5, 6]])
        shifted = quick_jit(lambda *a: sa.attention(*a, mask=sa.masks.causal, query_positions=positions))(*given)
        mask = positions[:, :, None] >= np.arange(S)
        assert_allclose(shifted, attended(*given, mask[:, None]), rtol=0, atol=1e-6)


def test_a_step_of_decoding_is_the_last_row():
    query, key, value = arrays(queries=S)
    pieces = {"mask": sa.masks.causal, "biases": (sa.bind(sa.biases.alibi, slope=0.3),), "encode": (sa.encode.rope,)}
    whole = quick_jit(lambda *a: sa.attention(*a, **pieces))(query, key, value)
    last = quick_jit(lambda *a: sa.attention(*a, query_positions=jnp.array([S - 1]), **pieces))(
        query[:, -1:], key, value
    )
    assert_allclose(last, whole[:, -1:], rtol=0, atol=1e-6)


def test_pieces_act_in_the_order_of_the_slots():
    """log_length, then softcap, then the biases, which are not capped: 2 tanh(2 log 2 / 2), and less log 3."""
    query, key = np.float32([[1]]), np.float32([[2], [2]])
    pieces = {
        "score": sa.bind(sa.scores.dot),
        "modifiers": (sa.bind(sa.modifiers.log_length), sa.bind(sa.modifiers.softcap, cap=2.0)),
        "biases": (sa.bind(sa.biases.alibi, slope=np.float32(np.log(3))),),
    }
    seen = looked(query, key, np.float32([[1], [5]]), **pieces)
    capped = 2 * np.tanh(np.log(2))
    assert_allclose(seen.scores, [[capped, capped - np.log(3)]], rtol=1e-6)
    assert_allclose(seen.weights, [[0.75, 0.25]], rtol=1e-6)
    assert_allclose(seen.output, [[2]], rtol=1e-6)


def test_a_bias_may_be_an_array_shared_or_per_head():
    given, random = arrays(), np.random.default_rng(0)
    shared, per_head = random.normal(size=(T, S)).astype(np.float32), random.normal(size=(H, T, S)).astype(np.float32)
    ours = quick_jit(lambda *a: sa.attention(*a, biases=(shared, sa.lead(per_head, "HTS"))))(*given)
    theirs = quick_jit(lambda *a: jax.nn.dot_product_attention(*a, bias=(shared + per_head)[None]))
    value = np.concatenate([given[2], given[2]], axis=-1)
    assert_allclose(ours, theirs(*given[:2], value)[..., :V], rtol=0, atol=2e-6)


def test_what_depends_on_positions_alone_stays_one_copy_over_the_batch():
    """Distances and the causal mask are [T,S], the biases of the heads [H,T,S]: none of them has the axis B."""
    batch = 3
    query, key, value = arrays(batch=batch)
    alibi = sa.bind(sa.biases.alibi, slope=sa.lead(sa.biases.alibi_slopes(H), "H"))
    program = jax.make_jaxpr(lambda *a: sa.attention(*a, biases=(alibi,), mask=sa.masks.causal))(query, key, value)
    shapes = {}
    for equation in program.eqns:
        for result in equation.outvars:
            shapes.setdefault(equation.primitive.name, []).append(result.aval.shape)
    assert shapes["abs"] == [(T, S)]
    assert set(shapes["le"]) == {(T, S)}
    products = [shape for shape in shapes["mul"] if shape[-2:] == (T, S)]
    assert (G, H // G, T, S) in products, "the biases: one per head"
    assert all(np.prod(shape) <= H * T * S or batch in shape for shape in products)
    assert any(shape[0] == batch for shape in shapes["add"]), "it is the sum with the scores that is per example"
