"""Head structures, through `modules.SelfAttention`, against a loop over heads with every group's key repeated."""

import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from selfattn_jax import build
from selfattn_jax.modules.attention import SelfAttention
from tests import oracles
from tests.exam.sitting import SIZES, config_of, every, perturbed, quick_jit

B, T, K, V = 2, 5, 3, 2
every_structure = every(lambda entry: entry.kind == "heads")
every_plain_structure = every(lambda entry: entry.kind == "heads" and entry.layer is None)


def build_heads(entry, **knobs):
    """The structure at four heads, two groups where it has a choice, and values narrower than keys."""
    wanted = {"count": 4, "groups": 2, "key_width": K, "value_width": V, "rope_width": 0, **knobs}
    config = config_of(entry).model_copy(update={name: wanted[name] for name in entry.knobs() if name in wanted})
    return build.make("heads", config, {"width": SIZES["width"]})


@every_plain_structure
@pytest.mark.parametrize("causal", [False, True], ids=["both_ways", "causal"])
def test_equals_a_loop_over_heads_with_repeated_keys(entry, causal):
    heads, random = build_heads(entry), np.random.default_rng(0)
    assert heads.count == 4
    layer = perturbed(SelfAttention(SIZES["width"], heads, causal=causal, rngs=nnx.Rngs(0)), random)
    inputs = random.normal(size=(B, T, SIZES["width"])).astype(np.float32)
    key_mask = np.arange(T) < np.array([[T], [T - 2]])
    structure, state = nnx.split(layer)

    @quick_jit
    def run(state, inputs, key_mask):
        layer = nnx.merge(structure, state)
        return layer(inputs, key_mask=key_mask), layer.weights(inputs, key_mask=key_mask)

    outputs, weights = run(state, inputs, key_mask)

    for example in range(B):
        query, key, value = (
            inputs[example] @ np.asarray(linear.kernel[...], np.float64)
            for linear in (layer.query, layer.key, layer.value)
        )
        query = query.reshape(T, heads.count, K)
        key, value = (
            np.repeat(a.reshape(T, heads.groups, -1), heads.count // heads.groups, axis=1) for a in (key, value)
        )
        assert value.shape == (T, heads.count, V)
        mask = key_mask[example][None] & (np.tri(T, dtype=bool) if causal else True)
        mixed = []
        for head in range(heads.count):
            seen = oracles.attend(
                query[:, head], key[:, head], value[:, head],
                mask=mask, score=oracles.score_scaled_dot, normalizer=oracles.normalizer_softmax,
            )  # fmt: skip
            assert_allclose(weights[example, head], seen["weights"], rtol=0, atol=1e-5)
            mixed.append(seen["output"])
        wanted = np.concatenate(mixed, axis=1) @ np.asarray(layer.output.kernel[...])
        assert_allclose(outputs[example], wanted, rtol=0, atol=1e-5)


@every_structure
def test_sizes_follow_from_the_width(entry):
    """Heads share the width; differential heads have two queries and keys each, and values as wide as both."""
    heads = build_heads(entry, key_width=None, value_width=None)
    halves = 2 if entry.name == "differential" else 1
    assert heads.key_width * halves == heads.value_width == SIZES["width"] // 4
    assert heads.count % heads.groups == 0
    assert build_heads(entry, value_width=None).value_width == K * halves


@every_structure
def test_a_count_that_does_not_divide_the_width_is_refused(entry):
    with pytest.raises(ValueError, match=r"count must divide (half of )?the width, got count=3 and width=16"):
        build_heads(entry, count=3, groups=1, key_width=None)
    assert build_heads(entry, count=3, groups=1).count == 3
