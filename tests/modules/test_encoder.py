import functools
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

import selfattn_jax as sa
from selfattn_jax import build
from selfattn_jax.config import ConfigError, from_mapping, validate
from selfattn_jax.config.schema import Config
from selfattn_jax.heads import grouped, multi_head
from selfattn_jax.modules import pieces, positions
from selfattn_jax.modules.attention import Attention, Mixer, SelfAttention
from selfattn_jax.modules.encoder import Block, Encoder, GatedMlp, Mlp
from tests.exam.sitting import quick_jit

B, T, D, N, F = 2, 6, 8, 11, 3
TOKENS = np.random.default_rng(0).integers(0, N, (B, T)).astype(np.int32)
VECTORS = np.random.default_rng(0).normal(size=(B, T, D)).astype(np.float32)


def run(module, *arguments, method="__call__", **keywords):
    """What a module returns, compiled."""
    return called(*nnx.split(module), method, arguments, keywords)


@functools.partial(quick_jit, static_argnums=(0, 2))
def called(structure, state, method, arguments, keywords):
    return getattr(nnx.merge(structure, state), method)(*arguments, **keywords)


def filled(make, seed=0):
    """The module that `make` makes, with random parameters in place of its initial ones, which would take compiling."""
    random = np.random.default_rng(seed)
    structure, state = nnx.split(nnx.eval_shape(make))
    return nnx.merge(structure, jax.tree.map(lambda leaf: np.float32(0.5 * random.normal(size=leaf.shape)), state))


def make_block(placement="pre", norm=nnx.RMSNorm, mlp=None, *, mixer=None, causal=False):
    rngs = nnx.Rngs(0)
    attention = SelfAttention(D, grouped(D, count=4, groups=2), mixer, causal=causal, rngs=rngs)
    return Block(D, attention, mlp and mlp(rngs), norm=norm, placement=placement, rngs=rngs)


def make_encoder(*, layers=2, mixer=None, causal=False, positions=None, position_ids=None, seed=0, **settings):
    def make():
        mixers = [mixer() if mixer else None for _ in range(layers)]
        blocks = [make_block(mlp=mlp_of("relu"), mixer=each, causal=causal) for each in mixers]
        options = {"vocabulary": N, "outputs": 5, **settings}
        options["positions"] = positions() if positions else None
        options["position_ids"] = position_ids() if position_ids else None
        return Encoder(D, blocks, rngs=nnx.Rngs(0), **options)

    return filled(make, seed)


def mlp_of(name):
    if name == "swiglu":
        return lambda rngs: GatedMlp(D, 16, rngs=rngs)
    return name and (lambda rngs: Mlp(D, 16, activation=getattr(jax.nn, name), rngs=rngs))


# Blocks, by their equations.


def normed(norm, vectors):
    """x / rms(x) · scale, or (x − mean) / std · scale + bias."""
    centred = vectors - vectors.mean(axis=-1, keepdims=True) if isinstance(norm, nnx.LayerNorm) else vectors
    scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) * np.asarray(norm.scale[...])
    return scaled + np.asarray(norm.bias[...]) if isinstance(norm, nnx.LayerNorm) else scaled


def transformed(mlp, vectors):
    """W₂ activation(W₁ x), or W₂ (silu(W₁ x) ⊙ W₃ x)."""
    kernel = {
        name: np.asarray(linear.kernel[...]) for name, linear in vars(mlp).items() if isinstance(linear, nnx.Linear)
    }
    if isinstance(mlp, GatedMlp):
        gate = vectors @ kernel["gate"]
        return (gate / (1 + np.exp(-gate)) * (vectors @ kernel["up"])) @ kernel["down"]
    hidden = np.asarray(mlp.activation(vectors @ kernel["up"] + np.asarray(mlp.up.bias[...])))
    return hidden @ kernel["down"] + np.asarray(mlp.down.bias[...])


@pytest.mark.parametrize(
    ("placement", "norm", "mlp"),
    [
        ("pre", nnx.RMSNorm, None),
        ("pre", nnx.LayerNorm, "gelu"),
        ("post", nnx.RMSNorm, "swiglu"),
        ("post", nnx.LayerNorm, "relu"),
    ],
)
def test_a_block_is_its_equation(placement, norm, mlp):
    block = filled(lambda: make_block(placement, norm, mlp_of(mlp)))
    layers = [(block.mixer_norm, lambda x: np.asarray(run(block.mixer, x.astype(np.float32))))]
    layers += [(block.mlp_norm, lambda x: transformed(block.mlp, x))] if mlp else []
    wanted = VECTORS
    for scale, layer in layers:
        wanted = wanted + layer(normed(scale, wanted)) if placement == "pre" else normed(scale, wanted + layer(wanted))
    assert_allclose(run(block, VECTORS), wanted, rtol=0, atol=2e-5)


def test_mlps_are_their_equations_by_hand():
    mlp, gated = (
        Mlp(1, 2, activation=jax.nn.relu, rngs=nnx.Rngs(0)),
        GatedMlp(1, 1, activation=jnp.square, rngs=nnx.Rngs(0)),
    )
    mlp.up.kernel[...], mlp.up.bias[...] = jnp.array([[1.0, -1.0]]), jnp.array([0.0, 5.0])
    mlp.down.kernel[...], mlp.down.bias[...] = jnp.array([[10.0], [1.0]]), jnp.array([0.5])
    assert_array_equal(run(mlp, np.float32([[2], [-3]])), [[23.5], [8.5]])
    gated.gate.kernel[...], gated.up.kernel[...], gated.down.kernel[...] = (
        jnp.full((1, 1), n) for n in (2.0, 3.0, 5.0)
    )
    assert_array_equal(run(gated, np.float32([[1], [2]])), [[60], [480]])


# The encoder.


def test_an_encoder_is_embedding_positions_blocks_norm_and_readout():
    encoder = make_encoder(positions=lambda: positions.Sinusoidal(D))
    hidden = np.asarray(encoder.embed.embedding[...])[TOKENS] + np.asarray(
        sa.embeddings.sinusoidal(jnp.arange(T), width=D)
    )
    for block in encoder.blocks:
        hidden = np.asarray(run(block, hidden))
    wanted = normed(encoder.norm, hidden) @ np.asarray(encoder.readout.kernel[...]) + np.asarray(
        encoder.readout.bias[...]
    )
    assert_allclose(run(encoder, TOKENS), wanted, rtol=0, atol=2e-5)


def test_an_encoder_reads_tokens_or_vectors():
    inputs = np.random.default_rng(1).normal(size=(B, T, F)).astype(np.float32)
    assert run(make_encoder(vocabulary=None, features=F), inputs).shape == (B, T, 5)
    assert run(make_encoder(pool="mean"), TOKENS).shape == (B, 5)
    for both in ({"features": F}, {"vocabulary": None}):
        with pytest.raises(ValueError, match="give one of vocabulary and features, got vocabulary="):
            make_encoder(**both)


def test_embeddings_start_at_one_over_the_root_of_the_width():
    """At 0.02, the habit of larger models, tiny encoders do not learn to attend."""
    encoder = Encoder(
        64, [], vocabulary=500, outputs=1, positions=positions.Learned(64, 500, rngs=nnx.Rngs(1)), rngs=nnx.Rngs(0)
    )
    assert_allclose(np.std(encoder.embed.embedding[...]), 1 / 8, rtol=0.03)
    assert_allclose(np.std(encoder.positions.table[...]), 1 / 8, rtol=0.03)


@pytest.mark.parametrize("pool", ["mean", "first", "last"])
def test_pooling_reads_the_data_and_not_the_padding(pool):
    encoder = make_encoder(layers=1, pool=pool, vocabulary=None, features=F)
    inputs = np.random.default_rng(1).normal(size=(B, T, F)).astype(np.float32)
    valid = np.array([[1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 1]], bool)
    padded = np.where(valid[..., None], inputs, np.nan).astype(np.float32)
    cropped = np.stack([row[keep] for row, keep in zip(inputs, valid, strict=True)])
    wanted = run(encoder, cropped)
    assert_allclose(run(encoder, padded, key_mask=valid), wanted, rtol=0, atol=2e-5)
    empty = run(encoder, inputs, key_mask=np.zeros((B, T), bool))
    assert np.isfinite(empty).all()


def test_padding_does_not_reach_the_positions_that_hold_data():
    encoder, valid = make_encoder(), np.arange(T) < np.array([[4], [T]])
    garbage = np.where(valid, TOKENS, (TOKENS + 1) % N)
    before, after = run(encoder, TOKENS, key_mask=valid), run(encoder, garbage, key_mask=valid)
    assert_array_equal(np.asarray(after)[valid], np.asarray(before)[valid])
    assert_allclose(run(encoder, TOKENS[:1, :4])[0], before[0, :4], rtol=0, atol=2e-6)


def test_a_causal_encoder_does_not_see_what_comes_later():
    encoder, later = make_encoder(causal=True), TOKENS.copy()
    later[:, 3:] = (later[:, 3:] + 1) % N
    before, after = run(encoder, TOKENS), run(encoder, later)
    assert_array_equal(after[:, :3], before[:, :3])
    assert np.abs(after[:, 3:] - before[:, 3:]).min(axis=-1).min() > 0


def test_positions_are_inputs_of_embedding_and_mixer():
    """The same positions for all, or each example its own; rope alone sees none of a common shift, the table does."""
    encoder = make_encoder(layers=1, positions=lambda: positions.Learned(D, 20, rngs=nnx.Rngs(0)))
    own = np.stack([np.arange(T), np.arange(T) + 9]).astype(np.int32)
    together, plain = run(encoder, TOKENS, positions=own), run(encoder, TOKENS)
    assert_allclose(together[0], plain[0], rtol=0, atol=1e-6)
    assert_allclose(together[1], run(encoder, TOKENS, positions=own[1])[1], rtol=0, atol=1e-6)
    assert np.abs(together[1] - plain[1]).max() > 1e-3
    turned = make_encoder(layers=1, mixer=lambda: Attention(encode=(sa.encode.rope,)))
    assert_allclose(run(turned, TOKENS, positions=own), run(turned, TOKENS), rtol=0, atol=2e-5)
    assert np.abs(run(turned, TOKENS, positions=own[0][::-1].copy()) - run(turned, TOKENS)).max() > 1e-4


def randomised_encoder(maximum=20):
    return make_encoder(
        layers=1,
        mixer=lambda: Attention(encode=(sa.encode.rope,)),
        positions=lambda: positions.Learned(D, maximum, rngs=nnx.Rngs(0)),
        position_ids=lambda: positions.Randomised(T, maximum=maximum),
    )


def places(encoder, rng=None):
    """The positions that an encoder draws, [B,T]."""
    return np.asarray(run(encoder, TOKENS, None, rng, method="places"))


def test_drawn_positions_are_sorted_and_distinct_and_each_sequence_has_its_own():
    draws = [places(randomised_encoder(), rng) for rng in (None, jax.random.key(1), jax.random.key(2))]
    for drawn in draws:
        assert (drawn.shape, drawn.dtype) == ((B, T), np.int32)
        assert (np.diff(drawn, axis=1) > 0).all()
        assert drawn.min() >= 0 and drawn.max() < 20
    assert len(np.unique(np.concatenate(draws), axis=0)) == len(draws) * B
    assert_array_equal(places(randomised_encoder(maximum=T)), np.tile(np.arange(T), (B, 1)))


def test_positions_are_drawn_by_the_key_and_always_alike_without_one():
    encoder = randomised_encoder()
    assert_array_equal(places(encoder), places(encoder))
    assert_array_equal(places(encoder, jax.random.key(3)), places(encoder, jax.random.key(3)))
    for rng in (None, jax.random.key(3)):
        drawn = run(encoder, TOKENS, rng=rng)
        assert_allclose(drawn, run(encoder, TOKENS, positions=places(encoder, rng)), rtol=0, atol=1e-6)
        assert np.abs(drawn - run(encoder, TOKENS, positions=places(encoder, jax.random.key(4)))).max() > 1e-3


def test_positions_that_are_given_are_not_drawn():
    encoder, given = randomised_encoder(), np.stack([np.arange(T), np.arange(T) + 9]).astype(np.int32)
    assert_array_equal(run(encoder, TOKENS, given, jax.random.key(0), method="places"), given)
    assert run(make_encoder(layers=1), TOKENS, None, jax.random.key(0), method="places") is None


def test_the_weights_are_those_at_the_positions_that_are_drawn_without_a_key():
    encoder = randomised_encoder()
    [drawn] = run(encoder, TOKENS, method="weights")
    [given] = run(encoder, TOKENS, positions=places(encoder), method="weights")
    assert_allclose(drawn, given, rtol=0, atol=1e-6)


def encoder_of_config(**model):
    settings = {"width": 8, "layers": 1, "mixer": {"encode": ["rope"]}, **model}
    config = validate(from_mapping({"task": {"name": "adding", "length": 8}, "model": settings}), Config)
    return build.abstract_encoder(config, build.make_task(config))


def test_a_config_can_ask_for_positions_that_are_drawn():
    encoder = encoder_of_config(position_ids={"name": "randomised", "maximum": 64})
    assert encoder.position_ids.maximum == 64
    assert encoder_of_config().position_ids is None


def test_a_table_holds_every_position_that_may_be_drawn():
    """One of the task's length would have no vector for most of them."""
    drawn = {"name": "randomised", "maximum": 64}
    assert encoder_of_config(positions="learned", position_ids=drawn).positions.table.shape == (64, 8)
    assert encoder_of_config(positions="learned").positions.table.shape == (8, 8)
    with pytest.raises(ConfigError, match="maximum must be at least the 64 positions there are, got 63"):
        encoder_of_config(positions={"name": "learned", "maximum": 63}, position_ids=drawn)


def test_fewer_positions_than_the_task_is_long_are_refused():
    with pytest.raises(ConfigError) as refused:
        encoder_of_config(position_ids={"name": "randomised", "maximum": 7})
    [problem] = refused.value.problems
    assert problem.path == "model.position_ids"
    assert problem.message == "maximum must be at least the task's length 8, got 7"


def test_weights_are_those_with_which_every_block_mixes():
    encoder, valid = make_encoder(), np.arange(T) < np.array([[4], [T]])
    matrices = run(encoder, TOKENS, key_mask=valid, method="weights")
    assert [matrix.shape for matrix in matrices] == [(B, 4, T, T)] * 2
    for matrix in matrices:
        assert_allclose(matrix.sum(axis=-1), 1, rtol=1e-5)
        assert not matrix[0, ..., 4:].any()
    hidden = run(encoder, TOKENS, method="embedded")
    for block, matrix in zip(encoder.blocks, matrices, strict=True):
        layer = block.mixer
        normal = run(block.mixer_norm, hidden)
        value = np.repeat(run(layer, normal, normal, method="project")[2], 2, axis=2)
        mixed = np.einsum("bhts,bshv->bthv", matrix, value).reshape(B, T, D) @ np.asarray(layer.output.kernel[...])
        assert_allclose(run(layer, normal, key_mask=valid), mixed, rtol=0, atol=2e-5)
        hidden = run(block, hidden, key_mask=valid)


def test_a_mixer_without_weights_says_so():
    encoder = make_encoder(mixer=lambda: Mixer(sa.mixers.linear))
    assert run(encoder, TOKENS, method="weights") == [None, None]


# Dropout.


def test_dropout_acts_when_there_is_a_key():
    encoder = make_encoder(layers=1, mixer=lambda: Attention(dropout=0.5))
    structure, state = nnx.split(encoder)
    read = quick_jit(lambda state, rng: nnx.merge(structure, state)(TOKENS, rng=rng))
    without, key = run(make_encoder(layers=1), TOKENS), jax.random.key(0)
    assert_allclose(run(encoder, TOKENS), without, rtol=0, atol=1e-6)
    assert_array_equal(read(state, key), read(state, key))
    outputs = [np.asarray(read(state, jax.random.key(seed))) for seed in range(3)] + [np.asarray(without)]
    for at, output in enumerate(outputs):
        assert all(np.abs(output - other).max() > 1e-3 for other in outputs[at + 1 :])


def test_every_block_drops_by_its_own_key():
    seen = []

    class Listening(Attention):
        def __call__(self, query, key, value, *, rng=None, **rest):
            seen.append(rng)
            return super().__call__(query, key, value, rng=rng, **rest)

    encoder = make_encoder(mixer=lambda: Listening(dropout=0.5))
    keys = quick_jit(lambda rng: (encoder(TOKENS, rng=rng), jax.random.key_data(jnp.stack(seen)))[1])(jax.random.key(3))
    assert len(np.unique(keys, axis=0)) == len(encoder.blocks)


# Elsewhere in Flax.


def learning_mixer(seed=0):
    """An attention with something in every slot; all of it learns that can."""
    rngs = nnx.Rngs(seed)
    return Attention(
        encode=(sa.encode.rope,),
        score=pieces.Additive(4, 2, rngs=rngs),
        modifiers=(pieces.Temperature(4), sa.modifiers.softcap),
        biases=(positions.Alibi(4),),
        rowwise=(positions.Cope(2, 4, rngs=rngs),),
        mask=sa.bind(sa.masks.window, left=3) | sa.bind(sa.masks.prefix, length=1),
        normalizer=pieces.Sink(4),
        dropout=0.1,
    )


def test_the_gradient_reaches_every_parameter():
    structure, parameters, rest = nnx.split(make_encoder(layers=1, mixer=learning_mixer, causal=True), nnx.Param, ...)

    @quick_jit
    def gradient(parameters):
        return jax.grad(lambda p: jnp.sum(jnp.sin(nnx.merge(structure, p, rest)(TOKENS))))(parameters)

    for path, leaf in jax.tree.leaves_with_path(gradient(parameters)):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
        assert np.any(leaf), jax.tree_util.keystr(path)


def encoder_for_linen(rngs):
    mixer = Attention(score=pieces.Cosine(4), normalizer=pieces.Sink(4))
    return Encoder(D, [make_block(mixer=mixer)], vocabulary=N, outputs=5, pool="last", rngs=rngs)


@pytest.mark.parametrize(
    ("maker", "arguments", "inputs"),
    [(SelfAttention, (D, multi_head(D, count=2)), VECTORS), (encoder_for_linen, (), TOKENS)],
    ids=["self_attention", "encoder"],
)
def test_linen_gives_the_same_outputs_for_the_same_parameters(maker, arguments, inputs):
    linen, valid = nnx.bridge.to_linen(maker, *arguments), np.arange(T) < np.array([[4], [T]])
    variables = quick_jit(linen.init)(jax.random.key(3), inputs)
    module = nnx.eval_shape(lambda: maker(*arguments, rngs=nnx.Rngs(0)))
    nnx.update(module, variables["params"])
    bridged = quick_jit(lambda variables: linen.apply(variables, inputs, key_mask=valid))(variables)
    assert_allclose(bridged, run(module, inputs, key_mask=valid), rtol=0, atol=1e-6)


def outputs_of_everything() -> float:
    """A number in which everything that an encoder does takes part; its gradient is traced too."""
    structure, parameters, rest = nnx.split(make_encoder(layers=1, mixer=learning_mixer, pool="mean"), nnx.Param, ...)

    def total(parameters):
        encoder = nnx.merge(structure, parameters, rest)
        (weights,) = encoder.weights(TOKENS)
        return jnp.sum(jnp.sin(encoder(TOKENS, rng=jax.random.key(1)))) + jnp.sum(weights**2)

    assert jax.tree.structure(jax.eval_shape(jax.grad(total), parameters)) == jax.tree.structure(parameters)
    return float(quick_jit(total)(parameters))


@pytest.mark.slow
def test_modules_are_trees_without_shared_references():
    """So they run where Flax is heading, without its graph mode; the numbers are the same."""
    program = """
        import jax
        jax.config.update("jax_numpy_rank_promotion", "raise")
        from flax import config
        assert not config.nnx_graph_mode and not config.nnx_graph_updates
        from tests.modules.test_encoder import outputs_of_everything
        print(outputs_of_everything())
    """
    environment = {**os.environ, "NNX_GRAPH_MODE": "false", "NNX_GRAPH_UPDATES": "false"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert_allclose(float(done.stdout), outputs_of_everything(), rtol=1e-5)
