"""The rows form is the dense one, whatever the block: numbers, extras, derivatives and draws; in less memory."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import selfattn_jax as sa
from selfattn_jax.functional import rows as module
from selfattn_jax.functional.attend import EXTRAS, attend_composed, compose
from selfattn_jax.functional.bind import bind, lead
from selfattn_jax.functional.rows import attend_by_rows
from tests.exam.sitting import quick_jit

B, T, S, H, G, K, V = 2, 7, 6, 4, 2, 4, 3
RANDOM = np.random.default_rng(0)
QUERY, KEY, VALUE = (
    RANDOM.normal(size=shape).astype(np.float32) for shape in ((B, T, H, K), (B, S, G, K), (B, S, G, V))
)
MASK = RANDOM.random((B, H, T, S)) < 0.7
BIAS = RANDOM.normal(size=(H, T, S)).astype(np.float32)
SLOPE = np.float32([0.5, 0.25, 0.1, 1])
QUERY_POSITIONS = np.stack([np.arange(T), np.arange(T)[::-1] + 2]).astype(np.int32)
SEGMENTS = (np.int32([[0, 0, 0, 0, 1, 1, 2], [0] * T]), np.int32([[0, 0, 0, 1, 1, 1], [0] * 5 + [1]]))
EMBEDDING = RANDOM.normal(size=(4, K)).astype(np.float32)


def settings(bias=BIAS, slope=SLOPE):
    """Something in every slot; arrays that differ from row to row, head to head and example to example."""
    return {
        "encode": (sa.encode.rope,),
        "modifiers": (sa.modifiers.log_length, bind(sa.modifiers.softcap, cap=5.0)),
        "biases": (bind(sa.biases.alibi, slope=lead(slope, "H")), lead(bias, "HTS")),
        "rowwise": (bind(sa.rowwise.cope, embedding=EMBEDDING),),
        "mask": sa.masks.causal.shift(queries=1) & lead(MASK, "BHTS"),
        "normalizer": bind(sa.normalizers.sink, sink=lead(0.3 * slope, "H")),
        "query_positions": QUERY_POSITIONS,
        "segments": SEGMENTS,
    }


@pytest.fixture
def blocks_of(monkeypatch):
    """Sets the number of queries at a time."""
    return lambda block, keys=S: monkeypatch.setattr(module, "PAIRS", block * keys)


def seen_by(implementation, query, key, value, want=EXTRAS):
    """Output and extras, [B,T,…] and [B,H,T,…]."""
    return sa.inspect(query, key, value, want=want, implementation=implementation, **settings())


@functools.cache
def dense():
    return quick_jit(functools.partial(seen_by, "dense"))(QUERY, KEY, VALUE)


def assert_same(seen, wanted, atol=2e-6):
    for name in ("output", *EXTRAS):
        assert_allclose(getattr(seen, name), getattr(wanted, name), rtol=0, atol=atol, err_msg=name)


# Numbers.


@pytest.mark.parametrize("block", [1, 3, T])
def test_output_and_extras_are_those_of_the_dense_form(block, blocks_of):
    blocks_of(block)
    mask = np.asarray(dense().weights) > 0
    assert 0.1 < mask.mean() < 0.9 and not mask.any(axis=-1).all(), "some rows are dead"
    assert_same(quick_jit(functools.partial(seen_by, "rows"))(QUERY, KEY, VALUE), dense())


def test_attention_takes_it_by_name(blocks_of):
    blocks_of(2)
    attend = quick_jit(lambda *arrays: sa.attention(*arrays, implementation="rows", **settings()))
    assert_allclose(attend(QUERY, KEY, VALUE), dense().output, rtol=0, atol=2e-6)


def test_a_program_holds_one_block(blocks_of):
    """In blocks of two, no array has all the pairs."""
    blocks_of(2)
    program = jax.make_jaxpr(lambda *arrays: sa.attention(*arrays, implementation="rows", mask=sa.masks.causal))
    text = str(program(QUERY, KEY, VALUE))
    assert f"{H // G},2,{S}]" in text and f"{T},{S}]" not in text


def test_what_takes_part_in_nothing_may_hold_nan(blocks_of):
    blocks_of(3)
    query, key, value = QUERY.copy(), KEY.copy(), VALUE.copy()
    mask = MASK.copy()
    mask[0, :, 2], mask[1, :, :, 4] = False, False
    query[0, 2], key[1, 4], value[1, 4] = np.nan, np.nan, np.nan

    @functools.partial(quick_jit, static_argnums=3)
    def gradients(query, key, value, implementation):
        def total(*arrays):
            return jnp.sum(jnp.sin(sa.attention(*arrays, mask=mask, implementation=implementation)))

        return jax.value_and_grad(total, argnums=(0, 1, 2))(query, key, value)

    by_rows, wanted = (jax.tree.leaves(gradients(query, key, value, name)) for name in ("rows", "dense"))
    for leaf, other in zip(by_rows, wanted, strict=True):
        assert np.isfinite(leaf).all()
        # Relative too: the first is a sum of all outputs, which blocks add up in another order.
        assert_allclose(leaf, other, rtol=2e-6, atol=2e-6)


ONE = (QUERY[0, :, 0], KEY[0, :, 0], VALUE[0, :, 0])


@functools.partial(quick_jit, static_argnums=3)
def one_head(query, key, value, block):
    """In blocks; 0 = dense."""
    pieces = compose(mask=MASK[0, 0], biases=(BIAS[0],), encode=(sa.encode.rope,), modifiers=(sa.modifiers.log_length,))
    places = QUERY_POSITIONS[1], np.arange(S, dtype=np.int32)
    form = functools.partial(attend_by_rows, block=block) if block else attend_composed
    return form(query, key, value, pieces, *places, want=EXTRAS)


@pytest.mark.parametrize("block", [1, 2, 5, T, 100, None])
def test_one_head_in_any_block(block):
    seen = one_head(*ONE, block)
    assert (seen.output.shape, seen.weights.shape, seen.entropy.shape) == ((T, V), (T, S), (T,))
    assert_same(seen, one_head(*ONE, 0))


@pytest.mark.parametrize("block", [0, -1])
def test_a_block_without_rows_is_refused(block):
    with pytest.raises(ValueError, match=f"block must be at least 1, got {block}"):
        attend_by_rows(*ONE, compose(), block=block)


def test_it_refuses_what_the_dense_form_refuses():
    with pytest.raises(ValueError, match=r"axes 'TS' must have T=7, got \[6, 7\]"):
        sa.attention(QUERY, KEY, VALUE, mask=np.ones((S, T), bool), implementation="rows")
    with pytest.raises(ValueError, match="want knows weights, scores, log_normalizer, entropy; got outputs"):
        sa.inspect(QUERY, KEY, VALUE, want=("outputs",), implementation="rows")


# Derivatives.


@functools.partial(quick_jit, static_argnums=0)
def derivatives(implementation, primals, tangents):
    """By the arrays and by the knobs: reverse, forward, and forward over reverse."""

    def total(query, key, value, bias, slope):
        pieces = settings(bias, slope)
        del pieces["rowwise"], pieces["encode"]
        output = sa.attention(query, key, value, implementation=implementation, **pieces)
        return jnp.sum(jnp.sin(output))

    gradient = jax.grad(total, argnums=tuple(range(5)))
    reverse, forward_over_reverse = jax.jvp(gradient, primals, tangents)
    return {
        "reverse": reverse,
        "forward": jax.jvp(total, primals, tangents)[1],
        "forward over reverse": forward_over_reverse,
    }


def test_derivatives_are_those_of_the_dense_form(blocks_of):
    blocks_of(3)
    primals = (QUERY, KEY, VALUE, BIAS, SLOPE)
    random = np.random.default_rng(1)
    tangents = tuple(random.normal(size=array.shape).astype(np.float32) for array in primals)
    by_rows, wanted = (derivatives(name, primals, tangents) for name in ("rows", "dense"))
    for order, leaves in wanted.items():
        for leaf, other in zip(jax.tree.leaves(leaves), jax.tree.leaves(by_rows[order]), strict=True):
            assert np.abs(leaf).max() > 1e-3, order
            assert_allclose(other, leaf, rtol=1e-4, atol=2e-5, err_msg=order)
    along = sum(np.vdot(gradient, tangent) for gradient, tangent in zip(by_rows["reverse"], tangents, strict=True))
    assert_allclose(by_rows["forward"], along, rtol=1e-4)


# Random numbers.


@functools.partial(quick_jit, static_argnums=(0, 1))
def drawn(implementation, normalizer, rng):
    """Output, and weights before dropout; from values that are unit vectors, the output is the weights after it."""
    units = np.broadcast_to(np.eye(S, dtype=np.float32)[None, :, None], (B, S, G, S))
    return sa.inspect(
        QUERY, KEY, units, normalizer=normalizer, dropout=0.4, rng=rng, implementation=implementation
    )  # fmt: skip


@pytest.mark.parametrize(
    "normalizer", [sa.normalizers.softmax, sa.normalizers.gumbel_softmax], ids=lambda n: n.__name__
)
def test_draws_are_those_of_the_dense_form(normalizer, blocks_of):
    blocks_of(3)
    by_rows, wanted, plain = (
        drawn(name, normalizer, rng)
        for name, rng in (("rows", jax.random.key(0)), ("dense", jax.random.key(0)), ("dense", None))
    )
    assert_array_equal(by_rows.output == 0, wanted.output == 0)
    assert 0.2 < np.mean(wanted.output == 0) < 0.6
    assert_allclose(by_rows.output, wanted.output, rtol=0, atol=2e-6)
    assert_allclose(by_rows.weights, wanted.weights, rtol=0, atol=2e-6)
    noisy = np.abs(wanted.weights - plain.weights).max() > 0.01
    assert noisy == (normalizer is sa.normalizers.gumbel_softmax)


def test_heads_that_meet_draw_and_mix_alike_in_blocks(blocks_of):
    blocks_of(3, keys=S * H)
    before, after = (RANDOM.normal(size=(H, H)).astype(np.float32) for _ in range(2))

    @functools.partial(quick_jit, static_argnums=0)
    def talking(implementation, rng):
        knobs = {"before": before, "after": after, "want": EXTRAS, "dropout": 0.3, "rng": rng}
        return sa.talking_attention(QUERY, KEY, VALUE, implementation=implementation, **knobs, **settings())

    assert_same(*(talking(name, jax.random.key(0)) for name in ("rows", "dense")), atol=5e-6)


# Memory.


def test_the_gradient_needs_a_fraction_of_the_memory():
    """Not one matrix of all pairs, where the dense form has several."""
    size = 2048
    shapes = [jax.ShapeDtypeStruct((size, width), jnp.float32) for width in (16, 16, 16)]
    pieces = compose(mask=sa.masks.causal)

    def memory(form):
        gradient = jax.grad(lambda *arrays: jnp.sum(jnp.sin(form(*arrays, pieces).output)), argnums=(0, 1, 2))
        return jax.jit(gradient).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    by_rows, dense = memory(functools.partial(attend_by_rows, block=64)), memory(attend_composed)
    assert dense >= 4 * size * size
    assert by_rows < dense / 8
    assert by_rows < 4 * size * size / 2
