"""Head structures with a step of their own, as layers, against their equations in NumPy, head by head."""

import functools

import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

import selfattn_jax as sa
from selfattn_jax.modules import heads as modules
from selfattn_jax.modules.attention import Attention, CrossAttention, Mixer, SelfAttention
from tests import oracles
from tests.exam.sitting import perturbed, quick_jit

B, T, S, D, K, V, ROPE = 2, 5, 7, 16, 4, 3, 2
SIZES = {"count": 4, "key_width": K, "value_width": V}
RANDOM = np.random.default_rng(0)
INPUTS = RANDOM.normal(size=(B, T, D)).astype(np.float32)
SOURCE = RANDOM.normal(size=(B, S, D)).astype(np.float32)
# A causal first query of the second example sees nothing.
KEY_MASK = np.array([[1, 1, 1, 1, 1], [0, 1, 1, 0, 1]], bool)
SOURCE_MASK = np.array([[1, 1, 1, 1, 1, 1, 1], [0, 1, 1, 0, 1, 0, 0]], bool)
rope = functools.partial(oracles.position_rope, rotated=ROPE)


def attention_with_rope():
    return Attention(encode=(sa.bind(sa.encode.rope, rotated=ROPE),))


# The equations, for one example: inputs [T,D] and source [S,D] → outputs of the heads [T,H,V], and weights [H,T,S].


def split(vectors, linear, count):
    """x W, in as many heads."""
    return (vectors @ np.asarray(linear.kernel[...], np.float64)).reshape(len(vectors), count, -1)


def normed(vectors, norm, epsilon):
    """x / rms(x) · scale."""
    size = np.sqrt((vectors**2).mean(axis=-1, keepdims=True) + epsilon)
    return vectors / size * np.asarray(norm.scale[...], np.float64)


def attended(query, key, value, mask, encode=()):
    """Every head by itself."""
    settings = {"score": oracles.score_scaled_dot, "normalizer": oracles.normalizer_softmax, "encode": encode}
    repeats = query.shape[1] // key.shape[1]
    heads = [
        oracles.attend(query[:, h], key[:, h // repeats], value[:, h // repeats], mask=mask, **settings)
        for h in range(query.shape[1])
    ]
    return tuple(np.stack([head[name] for head in heads], axis=axis) for name, axis in (("output", 1), ("weights", 0)))


def projected(layer, inputs, source):
    groups = layer.heads.groups
    return split(inputs, layer.query, layer.heads.count), *(
        split(source, each, groups) for each in (layer.key, layer.value)
    )


def seen_values(mixed, value):
    """The output of a function of the values; and, from values that are unit vectors, its weights."""
    units = np.repeat(np.eye(len(value))[:, None], value.shape[1], axis=1)
    return mixed(value), np.moveaxis(mixed(units), 1, 0)


def plain(layer, inputs, source, mask):
    return attended(*projected(layer, inputs, source), mask)


def gated(layer, inputs, source, mask):
    output, weights = plain(layer, inputs, source, mask)
    return output / (1 + np.exp(-split(inputs, layer.gate, layer.heads.count))), weights


def shared_query_key(layer, inputs, source, mask):
    query, key = (split(vectors, layer.query, layer.heads.count) for vectors in (inputs, source))
    return attended(query, key, split(source, layer.value, layer.heads.count), mask)


def latent(layer, inputs, source, mask, encode=()):
    count = layer.heads.count
    small = normed(source @ np.asarray(layer.down.kernel[...], np.float64), layer.norm, 1e-6)
    key = split(small, layer.key, count)
    if layer.heads.rope_width:
        key = np.concatenate([np.repeat(split(source, layer.shared_key, 1), count, axis=1), key], axis=-1)
    return attended(split(inputs, layer.query, count), key, split(small, layer.value, count), mask, encode)


def talking(layer, inputs, source, mask):
    query, key, value = projected(layer, inputs, source)
    before, after = (np.eye(4) if matrix is None else matrix[...] for matrix in (layer.before, layer.after))
    return seen_values(lambda value: oracles.heads_talking(query, key, value, mask, before, after), value)


def differential(layer, inputs, source, mask):
    """At depth 2."""
    count, groups = layer.heads.count, layer.heads.groups
    query, key = split(inputs, layer.query, 2 * count), split(source, layer.key, 2 * groups)
    first, second = (np.exp(np.prod(pair[...], axis=0, dtype=np.float64).sum()) for pair in (layer.first, layer.second))
    start = 0.8 - 0.6 * np.exp(-0.3)
    scale = np.full(count, first - second + start)
    output, weights = seen_values(
        lambda value: oracles.heads_differential(query, key, value, mask, scale), split(source, layer.value, groups)
    )
    return normed(output, layer.norm, 1e-5) * (1 - start), weights


CASES = {
    "gated": (modules.Gated, sa.heads.gated(D, groups=2, **SIZES), None, gated),
    "shared_query_key": (modules.SharedQueryKey, sa.heads.shared_query_key(D, **SIZES), None, shared_query_key),
    "latent": (modules.Latent, sa.heads.latent(D, latent_width=6, **SIZES), None, latent),
    "latent_rope": (
        modules.Latent,
        sa.heads.latent(D, latent_width=6, rope_width=ROPE, **SIZES),
        attention_with_rope,
        functools.partial(latent, encode=(rope,)),
    ),
    "talking_before": (modules.Talking, sa.heads.talking(D, after=False, **SIZES), None, talking),
    "talking_after": (modules.Talking, sa.heads.talking(D, before=False, **SIZES), None, talking),
    "talking": (modules.Talking, sa.heads.talking(D, groups=2, **SIZES), None, talking),
    "differential": (modules.Differential, sa.heads.differential(D, groups=2, **SIZES), None, differential),
}


def make(case, *, causal=False):
    """The layer, at depth 2 and moved off its initial parameters."""
    module, heads, mixer, _ = case
    layer = module(D, heads, mixer and mixer(), causal=causal, depth=2, rngs=nnx.Rngs(0))
    return perturbed(layer, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("name", "causal"), [*((name, True) for name in CASES), ("latent_rope", False), ("talking", False)]
)
def test_a_layer_is_its_equation(name, causal):
    case = CASES[name]
    layer = make(case, causal=causal)
    structure, state = nnx.split(layer)

    @quick_jit
    def run(state, inputs, key_mask):
        layer = nnx.merge(structure, state)
        return layer(inputs, key_mask=key_mask), layer.weights(inputs, key_mask=key_mask)

    outputs, weights = run(state, INPUTS, KEY_MASK)
    assert outputs.dtype == weights.dtype == np.float32
    for example, inputs in enumerate(INPUTS):
        mask = KEY_MASK[example][None] & (np.tri(T, dtype=bool) if causal else np.ones((T, T), bool))
        mixed, wanted = case[-1](layer, inputs, inputs, mask)
        assert_allclose(weights[example], wanted, rtol=0, atol=2e-5)
        wanted = mixed.reshape(T, -1) @ np.asarray(layer.output.kernel[...], np.float64)
        assert_allclose(outputs[example], wanted, rtol=0, atol=5e-5)


PLAIN = (SelfAttention, sa.heads.grouped(D, groups=2, **SIZES), None, plain)
MULTI_HEAD = (SelfAttention, sa.heads.multi_head(D, **SIZES), None, plain)


@pytest.mark.parametrize(
    "case",
    [MULTI_HEAD, PLAIN, *(CASES[name] for name in ("talking", "gated", "latent_rope"))],
    ids=["multi_head", "grouped", "talking", "gated", "latent_rope"],
)
def test_keys_and_values_may_come_from_another_sequence(case):
    """Queries and gates come from the inputs, all else from the source, which has padding of its own."""
    layer = make(case)
    structure, state = nnx.split(CrossAttention(layer))

    @quick_jit
    def run(state, inputs, source, key_mask):
        return nnx.merge(structure, state)(inputs, source, key_mask=key_mask)

    outputs = run(state, INPUTS, SOURCE, SOURCE_MASK)
    for example, (inputs, source) in enumerate(zip(INPUTS, SOURCE, strict=True)):
        mixed, _ = case[-1](layer, inputs, source, np.repeat(SOURCE_MASK[example][None], T, axis=0))
        wanted = mixed.reshape(T, -1) @ np.asarray(layer.output.kernel[...], np.float64)
        assert_allclose(outputs[example], wanted, rtol=0, atol=5e-5)


def test_talking_heads_begin_silent():
    layer = modules.Talking(D, CASES["talking"][1], rngs=nnx.Rngs(0))
    for matrix in (layer.before, layer.after):
        assert_allclose(matrix[...], np.eye(4))
    layer = modules.Talking(D, CASES["talking_after"][1], rngs=nnx.Rngs(0))
    assert layer.before is None and layer.after is not None


def test_differential_heads_subtract_more_in_deeper_layers():
    heads = CASES["differential"][1]
    starts = [modules.Differential(D, heads, depth=depth, rngs=nnx.Rngs(0)).initial for depth in (1, 2, 50)]
    assert_allclose(starts, [0.2, 0.8 - 0.6 * np.exp(-0.3), 0.8], atol=1e-6)


@pytest.mark.parametrize("name", ["talking", "differential"])
def test_heads_that_share_weights_refuse_a_mixer_without(name):
    module, heads, *_ = CASES[name]
    with pytest.raises(ValueError, match=f"{name} heads mix attention weights, which this mixer has not"):
        module(D, heads, Mixer(sa.mixers.linear), rngs=nnx.Rngs(0))
