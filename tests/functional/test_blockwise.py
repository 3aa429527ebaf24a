"""The blockwise form against the dense one: outputs, log-normalisers, gradients by all there is, memory, tiles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import selfattn_jax as sa
from selfattn_jax.functional.attend import attend_composed, compose
from selfattn_jax.functional.blockwise import attend_by_blocks
from selfattn_jax.functional.masks import EMPTY, FULL, classify, materialize
from selfattn_jax.functional.normalizers import streaming
from selfattn_jax.functional.tiles import Block, as_block, visited
from tests.exam.sitting import build_piece, every, quick_jit

T, S, K, V = 13, 11, 8, 5
RANDOM = np.random.default_rng(0)


def draw(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


QUERY, KEY, VALUE, BIAS = draw(T, K), draw(S, K), draw(S, V), draw(T, S)
VALID = sa.lead(np.arange(S) < 9, "S")
SOME = sa.lead(RANDOM.random((T, S)) < 0.6, "TS")
SEGMENTS = {"query_segments": sa.lead(np.arange(T) // 4, "T"), "key_segments": sa.lead(np.arange(S) // 4, "S")}

CASES = {
    "plain": {},
    "causal": {"mask": sa.masks.causal},
    "window and padding": {
        "mask": sa.bind(sa.masks.window, left=3, right=1) & sa.bind(sa.masks.padding, key_valid=VALID)
    },
    "segments": {"mask": sa.masks.causal & sa.bind(sa.masks.segments, **SEGMENTS)},
    "array of a mask and of a bias": {"mask": sa.bind(sa.masks.array, values=SOME), "biases": [BIAS]},
    "what learns in modifiers and biases": {
        "modifiers": [sa.bind(sa.modifiers.softcap, cap=5.0), sa.modifiers.log_length],
        "biases": [sa.bind(sa.biases.alibi, slope=0.3), sa.bind(sa.biases.t5, table=draw(8))],
        "mask": sa.masks.causal,
    },
    "sink": {"normalizer": sa.bind(sa.normalizers.sink, sink=0.4)},
    "softmax_one": {"normalizer": sa.normalizers.softmax_one, "mask": sa.masks.causal},
    "scalable_softmax": {"normalizer": sa.bind(sa.normalizers.scalable_softmax, scale=0.7), "mask": sa.masks.causal},
    "sigmoid": {"normalizer": sa.bind(sa.normalizers.sigmoid, maximum_length=S)},
    "squared_relu": {
        "normalizer": sa.bind(sa.normalizers.squared_relu, maximum_length=S),
        "score": sa.scores.squared_distance,
    },
    "identity": {"normalizer": sa.normalizers.identity, "mask": sa.masks.causal},
    "dropout and noise": {"dropout": 0.3, "normalizer": sa.normalizers.gumbel_softmax},
    "softpick and values of distances": {
        "normalizer": sa.bind(sa.normalizers.softpick, epsilon=0.3),
        "aggregate": sa.bind(sa.relative.shaw_value, table=draw(5, V)),
        "mask": sa.bind(sa.masks.window, left=3, right=1),
        "dropout": 0.2,
    },
    "additive": {
        "score": sa.bind(sa.scores.additive, query_weight=draw(K, 6), key_weight=draw(K, 6), readout=draw(6)),
        "encode": [sa.encode.rope],
    },
    "shaw and forgetting": {
        "score": sa.bind(sa.relative.shaw, table=draw(5, K)),
        "biases": [
            sa.bind(
                sa.biases.forgetting,
                query_sum=sa.lead(-np.arange(T, dtype=np.float32), "T"),
                key_sum=sa.lead(-np.arange(S, dtype=np.float32), "S"),
            )
        ],
        "mask": sa.masks.causal,
    },
}


def is_float(leaf) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


@functools.partial(quick_jit, static_argnums=(0, 1))
def answer(name, block, floats, query, key, value):
    """Value and gradients of a number made of output and log-normaliser; block None = the dense form."""
    composition = compose(**CASES[name])
    leaves, structure = jax.tree.flatten(composition)
    logged = streaming(composition.normalizer.function) == "exponential"
    form = attend_composed if block is None else functools.partial(attend_by_blocks, block=block)

    def total(floats, *arrays):
        given = iter(floats)
        rebuilt = structure.unflatten([next(given) if is_float(leaf) else leaf for leaf in leaves])
        want = ("log_normalizer",) if logged else ()
        seen = form(*arrays, rebuilt._replace(dropout=composition.dropout), rng=jax.random.key(3), want=want)
        logs = seen.log_normalizer if logged else jnp.zeros(1)
        number = jnp.sum(jnp.sin(seen.output)) + jnp.sum(jnp.where(jnp.isfinite(logs), jnp.cos(logs), 0))
        return number, (seen.output, logs)

    return jax.value_and_grad(total, argnums=(0, 1, 2, 3), has_aux=True)(floats, query, key, value)


def floats_of(name):
    return [leaf for leaf in jax.tree.leaves(compose(**CASES[name])) if is_float(leaf)]


QUICK = (
    "window and padding",
    "softpick and values of distances",
    "what learns in modifiers and biases",
    "sink",
    "sigmoid",
    "shaw and forgetting",
)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in CASES]
)
def test_output_and_all_gradients_are_those_of_the_dense_form(name):
    """By query, key and value, and by everything that learns; tiles of 4 divide neither length."""
    arguments = floats_of(name), QUERY, KEY, VALUE
    tiled, dense = answer(name, 4, *arguments), answer(name, None, *arguments)
    for got, wanted in zip(jax.tree.leaves(tiled), jax.tree.leaves(dense), strict=True):
        finite = np.isfinite(wanted)
        scale = max(1, np.abs(np.where(finite, wanted, 0)).max())
        assert_array_equal(np.isfinite(got), finite)
        assert_allclose(np.where(finite, got, 0), np.where(finite, wanted, 0), rtol=0, atol=3e-6 * scale)


@pytest.mark.parametrize("block", [1, 3, 16, Block(2, 6, 3), Block(5, 4, 1)])
def test_any_tile_gives_the_same(block):
    arguments = floats_of("window and padding"), QUERY, KEY, VALUE
    tiled, dense = (answer("window and padding", size, *arguments) for size in (block, None))
    jax.tree.map(lambda got, wanted: assert_allclose(got, wanted, rtol=0, atol=3e-6), tiled, dense)


@pytest.mark.parametrize(
    "name",
    [
        "array of a mask and of a bias",
        pytest.param("shaw and forgetting", marks=pytest.mark.slow),
        pytest.param("what learns in modifiers and biases", marks=pytest.mark.slow),
        pytest.param("softpick and values of distances", marks=pytest.mark.slow),
        pytest.param("dropout and noise", marks=pytest.mark.slow),
        pytest.param("squared_relu", marks=pytest.mark.slow),
    ],
)
def test_a_wide_tile_gives_the_same_to_all_that_is_cut(name):
    """Arrays with axes T and S, positions and random numbers; the last tile of a row overhangs by more than a unit."""
    arguments = floats_of(name), QUERY, KEY, VALUE
    tiled, dense = (answer(name, block, *arguments) for block in (Block(4, 6, 2), None))
    jax.tree.map(lambda got, wanted: assert_allclose(got, wanted, rtol=3e-6, atol=3e-6), tiled, dense)


def test_what_takes_part_in_nothing_may_hold_nan():
    """Keys past the padding, and the query that sees none of the others."""
    query, key, value = QUERY.copy(), KEY.copy(), VALUE.copy()
    query[12], key[9:], value[9:] = np.nan, np.nan, np.inf
    arguments = floats_of("window and padding"), query, key, value
    tiled, dense = (answer("window and padding", size, *arguments) for size in (4, None))
    for got, wanted in zip(jax.tree.leaves(tiled[1]), jax.tree.leaves(dense[1]), strict=True):
        assert np.isfinite(got).all()
        assert_allclose(got, wanted, rtol=0, atol=3e-6)
    assert not np.asarray(tiled[0][1][0])[12].any()


def test_the_lift_takes_it_by_name_with_grouped_heads_and_lengths():
    query, key, value = draw(2, 9, 4, K), draw(2, 9, 2, K), draw(2, 9, 2, V)
    pieces = {
        "mask": sa.bind(sa.masks.window, left=sa.lead(np.int32([1, 2, 3, 8]), "H")),
        "biases": [sa.bind(sa.biases.alibi, slope=sa.lead(sa.biases.alibi_slopes(4), "H"))],
        "lengths": np.int32([9, 5]),
    }

    @functools.partial(quick_jit, static_argnums=0)
    def gradients(implementation, *arrays):
        def total(*arrays):
            return jnp.sum(jnp.sin(sa.attention(*arrays, implementation=implementation, **pieces)))

        return jax.value_and_grad(total, argnums=(0, 1, 2))(*arrays)

    tiled, dense = (gradients(name, query, key, value) for name in ("blockwise", "dense"))
    jax.tree.map(lambda got, wanted: assert_allclose(got, wanted, rtol=2e-6, atol=3e-6), tiled, dense)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 9),
    st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)),
    st.sampled_from([None, sa.masks.causal, sa.masks.causal & sa.bind(sa.masks.window, left=2), ~sa.masks.causal]),
)
def test_any_lengths_and_tiles_equal_the_dense_form(queries, keys, sizes, mask):
    rows, units, unit = sizes
    query, key, value, composition = draw(queries, K), draw(keys, K), draw(keys, V), compose(mask=mask)

    def number(form, *arrays):
        seen = form(*arrays, composition, want=("log_normalizer",))
        return jnp.sum(jnp.sin(seen.output)), (seen.output, seen.log_normalizer)

    tiled, dense = (
        jax.value_and_grad(functools.partial(number, form), argnums=(0, 1, 2), has_aux=True)(query, key, value)
        for form in (functools.partial(attend_by_blocks, block=Block(rows, units * unit, unit)), attend_composed)
    )
    jax.tree.map(lambda got, wanted: assert_allclose(got, wanted, rtol=0, atol=3e-6), tiled, dense)


@pytest.mark.slow
def test_narrow_arrays_go_in_and_out():
    arrays = [jnp.asarray(array, jnp.bfloat16) for array in (QUERY, KEY, VALUE)]
    composition = compose(mask=sa.masks.causal)
    tiled = attend_by_blocks(*arrays, composition, block=4).output
    dense = attend_composed(*arrays, composition).output
    assert tiled.dtype == jnp.bfloat16
    assert_allclose(np.float32(tiled), np.float32(dense), rtol=0, atol=2**-7 * np.abs(np.float32(dense)).max())


# What it cannot do, it says.


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ({"normalizer": sa.normalizers.entmax15}, "entmax15 needs a whole row of scores: take the rows form"),
        ({"rowwise": [sa.bind(sa.rowwise.cope, embedding=draw(3, K))]}, "cope needs a whole row of scores"),
    ],
)
def test_what_needs_a_whole_row_is_refused(pieces, reason):
    with pytest.raises(NotImplementedError, match=reason):
        sa.attention(*(array[:, None] for array in (QUERY, KEY, VALUE)), implementation="blockwise", **pieces)


@pytest.mark.parametrize("extra", ["weights", "scores", "entropy"])
def test_an_extra_of_all_pairs_is_refused(extra):
    arrays = (array[:, None] for array in (QUERY, KEY, VALUE))
    with pytest.raises(NotImplementedError, match=f"{extra} would hold all pairs"):
        sa.inspect(*arrays, want=(extra,), implementation="blockwise")


def test_forward_mode_is_refused():
    composition = compose()
    with pytest.raises(NotImplementedError, match=r"reverse mode only.* take the rows form"):
        jax.jvp(lambda query: attend_by_blocks(query, KEY, VALUE, composition).output, (QUERY,), (QUERY,))


def test_forward_mode_is_refused_under_jit_and_lifted_too():
    arrays = [array[:, None] for array in (QUERY, KEY, VALUE)]

    def attend(query):
        return sa.attention(query, *arrays[1:], implementation="blockwise")

    with pytest.raises(NotImplementedError, match="take the rows form"):
        jax.jit(lambda query: jax.jvp(attend, (query,), (query,)))(arrays[0])
    with pytest.raises(NotImplementedError, match="take the rows form"):
        jax.jacfwd(attend)(arrays[0])


@pytest.mark.slow
def test_second_derivatives_through_the_gradient_are_those_of_the_dense_form():
    def hessian(form):
        return jax.hessian(lambda query: jnp.sum(jnp.sin(form(query, KEY[:5], VALUE[:5], compose()).output)))(QUERY[:3])

    tiled = hessian(functools.partial(attend_by_blocks, block=2))
    assert_allclose(tiled, hessian(attend_composed), rtol=0, atol=3e-6)


def test_a_block_of_nothing_is_refused():
    with pytest.raises(ValueError, match="block must be at least 1, got 0"):
        attend_by_blocks(QUERY, KEY, VALUE, compose(), block=0)
    with pytest.raises(ValueError, match="columns a multiple of unit, got Block"):
        attend_by_blocks(QUERY, KEY, VALUE, compose(), block=Block(4, 6, 4))


# Tiles that the mask empties.


@every(lambda entry: entry.kind == "masks" and entry.in_config)
def test_a_tile_is_classified_as_its_pairs_are(entry):
    """Never empty where a pair may attend, never full where one may not; and so for ¬, ∧, ∨ and shifts."""
    mask = build_piece(entry)
    others = (~mask, mask & sa.masks.causal, mask | sa.bind(sa.masks.window, left=2), mask.shift(queries=3, keys=1))
    for some in (mask, *others):
        blocks = np.asarray(materialize(some, 16, 16, block=4))
        for row, column in np.ndindex(blocks.shape):
            kind = classify(some, (4 * row, 4 * row + 3), (4 * column, 4 * column + 3))
            assert kind != EMPTY or blocks[row, column] == EMPTY
            assert kind != FULL or blocks[row, column] == FULL


def tiles_of(mask, length, block=64):
    return visited(mask, length, length, as_block(block), default=True)


def test_empty_tiles_are_not_visited():
    """Causal attention visits half of the tiles, a window a number that grows with the length alone."""
    tiles = 16
    assert len(tiles_of(None, 64 * tiles)) == tiles**2
    causal = tiles_of(sa.masks.causal, 64 * tiles)
    assert len(causal) == tiles * (tiles + 1) // 2
    assert sum(full for *_, full in causal) == tiles * (tiles - 1) // 2
    window = sa.masks.causal & sa.bind(sa.masks.window, left=64)
    assert [len(tiles_of(window, 64 * count)) for count in (8, 16, 32)] == [2 * count - 1 for count in (8, 16, 32)]
    sparse = sa.bind(sa.patterns.bigbird, block=64, length=64 * tiles)
    assert len(tiles_of(sparse, 64 * tiles)) < tiles**2 / 2


@pytest.mark.parametrize("block", [Block(4, 8, 4), Block(8, 8, 4), Block(4, 12, 2), Block(3, 10, 5)])
@pytest.mark.parametrize(
    "mask",
    [
        None,
        sa.masks.causal & sa.bind(sa.masks.window, left=4),
        ~sa.masks.causal,
        sa.bind(sa.patterns.bigbird, block=4, length=32),
        sa.bind(sa.masks.padding, key_valid=VALID),
    ],
)
def test_tiles_hold_every_pair_that_may_attend_once(mask, block):
    """Drawn on the pairs: no two meet, nothing that may attend is left out, and what is called full is."""
    length = 30
    known = None if mask is None or mask.function is sa.masks.padding.function else mask
    pairs = np.ones((length, length), bool) if known is None else np.asarray(materialize(known, length, length))
    drawn = np.zeros((length + 12, length + 12), int)
    for query, key, full in visited(mask, length, length, block, default=True):
        tile = slice(query, query + block.rows), slice(key, key + block.columns)
        drawn[tile] += 1
        assert key % block.unit == 0
        assert not full or (tile[0].stop <= length and tile[1].stop <= length and pairs[tile].all())
    assert drawn.max() == 1
    assert drawn[:length, :length][pairs].all()


def test_a_row_of_tiles_begins_where_the_mask_does():
    """A window of 256 keys: one tile of 512 holds what 256 queries see, from the second row on at the row before."""
    window = sa.masks.causal & sa.bind(sa.masks.window, left=256)
    assert [place[:2] for place in tiles_of(window, 1024, Block(256, 512, 256))] == [
        (0, 0),
        (256, 0),
        (512, 256),
        (768, 512),
    ]
    # Of given positions nothing is known: everything is visited, and looked at.
    assert visited(window, 1024, 1024, Block(256, 512, 256), default=False) == tuple(
        (query, key, False) for query in range(0, 1024, 256) for key in (0, 512)
    )


@pytest.mark.parametrize("heads", [None, 2], ids=["one_head", "heads_one_after_another"])
def test_memory_grows_with_the_length_and_not_with_its_square(heads):
    """Nor do heads, one after another, share the masks of all tiles, which somebody would have to keep."""

    def temporary(length):
        arrays = [jax.ShapeDtypeStruct((*([heads] if heads else []), length, 16), np.float32)] * 3
        form = functools.partial(attend_by_blocks, composition=compose(mask=sa.masks.causal), block=128)

        def total(*arrays):
            outputs = jax.lax.map(lambda head: form(*head).output, arrays) if heads else form(*arrays).output
            return jnp.sum(outputs)

        gradient = jax.grad(total, argnums=(0, 1, 2))
        return quick_jit(gradient).lower(*arrays).compile().memory_analysis().temp_size_in_bytes

    shorter, longer = temporary(1024), temporary(4096)
    assert longer < 4.2 * shorter
    assert longer < 4096**2 * 4 / 8
