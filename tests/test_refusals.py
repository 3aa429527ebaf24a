"""What the lift refuses, and in which words: the argument, what came, what was wanted."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import selfattn_jax as sa

B, T, S, H, G, K, V = 2, 5, 7, 4, 2, 6, 3
QUERY, KEY, VALUE = jnp.ones((B, T, H, K)), jnp.ones((B, S, G, K)), jnp.ones((B, S, G, V))


def refused(message, *arrays, error=ValueError, function=sa.attention, **knobs):
    mixer, arrays = (arrays[:1], arrays[1:]) if arrays and callable(arrays[0]) else ((), arrays)
    with pytest.raises(error, match=re.escape(message)):
        jax.eval_shape(lambda *arrays: function(*mixer, *arrays, **knobs), *(arrays or (QUERY, KEY, VALUE)))


class TestArrays:
    def test_of_the_wrong_rank(self):
        together = "query, key and value have a batch axis together or not at all"
        refused(
            f"key must be [B,S,G,K] or, without a batch, [S,G,K], got shape [7, 2, 6]: {together}", QUERY, KEY[0], VALUE
        )
        refused("value must be [B,S,G,V] or, without a batch, [S,G,V], got shape [2, 7, 2, 3]", QUERY[0], KEY[0], VALUE)
        refused(
            "query must be [B,T,H,K] or, without a batch, [T,H,K], got shape [5, 4]", QUERY[0, ..., 0], KEY[0], VALUE[0]
        )
        refused("query must be [T,K] (2 axes), got shape [5, 4, 6]", QUERY[0], KEY[0], VALUE[0], function=sa.attend)

    def test_whose_sizes_differ(self):
        refused("key must be [B=2,S=7,G=2,K=6], got shape [2, 7, 2, 5]", QUERY, KEY[..., :5], VALUE)
        refused("value must be [B=2,S=7,G=2,V], got shape [2, 6, 2, 3]", QUERY, KEY, VALUE[:, :6])
        refused("value must be [B=2,S=7,G=2,V], got shape [2, 7, 1, 3]", QUERY, KEY, VALUE[:, :, :1])
        refused("key must be [B=2,S,G,K=6], got shape [1, 7, 2, 6]", QUERY, KEY[:1], VALUE[:1])

    def test_whose_groups_do_not_divide_the_heads(self):
        refused(
            "key has G=3 heads, which must divide query's H=4", QUERY, jnp.ones((B, S, 3, K)), jnp.ones((B, S, 3, V))
        )


class TestMasks:
    @pytest.mark.parametrize("shape", [(T, S), (B, 1, T, S)])
    def test_of_numbers(self, shape):
        message = (
            "mask must be boolean (True = may attend), got float32: compare it first, or pass an additive mask as a"
        )
        refused(message, mask=jnp.ones(shape), error=TypeError)

    def test_of_three_axes(self):
        """Others read [B,T,S] as [1,H,T,S], in silence when B = H."""
        message = (
            'mask must be [T,S], got shape [4, 5, 7]: say which leading axes it carries, such as lead(mask, "BTS")'
        )
        refused(message, mask=jnp.ones((4, T, S), bool))

    def test_of_the_wrong_size(self):
        refused("axes 'TS' must have T=5, got [7, 5]", mask=jnp.ones((S, T), bool))
        refused("axes 'TS' must have T=5, got [1, 7]", mask=jnp.ones((1, S), bool))
        refused("axes 'BHTS' must have H=4, got [2, 3, 5, 7]", mask=jnp.ones((B, 3, T, S), bool))
        refused("axes 'BS' must have B=2, got [3, 7]", mask=sa.lead(jnp.ones((3, S), bool), "BS"))

    def test_made_of_lengths_or_segments_of_the_wrong_kind(self):
        refused("lengths must be int32 [B=2], got float32 [2]", lengths=jnp.ones(B))
        refused("lengths must be int32 [B=2], got int32 [3]", lengths=jnp.ones(3, jnp.int32))
        refused("axes 'BT' must have T=5, got [2, 7]", segments=jnp.ones((B, S), jnp.int32))


class TestPieces:
    def test_in_an_unknown_slot(self):
        refused("unexpected keyword argument 'scorer'", scorer=sa.scores.dot, error=TypeError)

    def test_that_are_not_in_a_tuple(self):
        alibi = sa.bind(sa.biases.alibi, slope=1.0)
        refused("biases must be a tuple of pieces, got Bound: write biases=(piece,)", biases=alibi, error=TypeError)

    def test_that_lack_a_knob(self):
        refused("alibi lacks slope: write bind(alibi, slope=…)", biases=(sa.biases.alibi,), error=TypeError)

    def test_with_an_unknown_knob(self):
        message = "alibi has no knob 'slopes'; its knobs are: slope; did you mean slope?"
        with pytest.raises(TypeError, match=re.escape(message)):
            sa.bind(sa.biases.alibi, slopes=1.0)

    def test_that_ask_for_what_their_slot_does_not_have(self):
        message = (
            "normalizer matmul asks for weights, value; the positional parameters of a normalizer are among: scores"
        )
        refused(message, normalizer=sa.aggregate.matmul, error=TypeError)

    def test_whose_knobs_have_the_wrong_size(self):
        slope = sa.lead(jnp.ones(3), "H")
        refused("axes 'H' must have H=4, got [3]", biases=(sa.bind(sa.biases.alibi, slope=slope),))
        refused("slope must be [] (0 axes), got shape [4]", biases=(sa.bind(sa.biases.alibi, slope=jnp.ones(H)),))
        refused("axes 'HTS' must have S=7, got [4, 5, 5]", biases=(sa.lead(jnp.ones((H, T, T)), "HTS"),))

    @pytest.mark.parametrize("bias", [np.ones((T, S), bool), np.ones((H, T, S), np.float32), np.ones((T, S), np.int32)])
    def test_that_are_no_bias(self, bias):
        message = f"a bias array must be floating point [T,S], got {bias.dtype} {list(bias.shape)}: a boolean is a mask"
        refused(message, biases=(bias,))


class TestTheRest:
    def test_positions(self):
        message = "query_positions must be [T] or [B,T] int32 (S for keys), got shape [1, 2, 5]"
        refused(message, query_positions=jnp.ones((1, B, T), jnp.int32))
        refused("query_positions must be int32 [5], got float32 [5]", query_positions=jnp.ones(T))
        refused("axes 'S' must have S=7, got [5]", key_positions=jnp.ones(T, jnp.int32))

    def test_implementations(self):
        refused("implementation must be one of auto, dense, rows, blockwise, got 'fast'", implementation="fast")

    def test_extras(self):
        refused(
            "want knows weights, scores, log_normalizer, entropy; got outputs", want=("outputs",), function=sa.inspect
        )
        message = "sparsemax has no log-normaliser; these have: softmax, softmax_one, sink"
        refused(message, want=("log_normalizer",), normalizer=sa.normalizers.sparsemax, function=sa.inspect)

    def test_dropout(self):
        refused("dropout must be a rate in [0, 1), got 1.5", dropout=1.5, rng=jax.random.key(0))

    def test_key_masks_of_a_mixer(self):
        knobs = {"function": sa.mix, "key_mask": jnp.ones((B, S))}
        refused("key_mask must be bool [S=7], got float32 [7]", sa.mixers.linear, QUERY, KEY, VALUE, **knobs)
        knobs["key_mask"] = jnp.ones((B, T), bool)
        refused("axes 'BS' must have S=7, got [2, 5]", sa.mixers.linear, QUERY, KEY, VALUE, **knobs)
