"""The choice of a form: what is taken, why, in what pieces, and that a piece at a time changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import selfattn_jax as sa
from selfattn_jax import choosing
from selfattn_jax.attention import lift
from selfattn_jax.choosing import explanations
from selfattn_jax.functional.tiles import Block, visited


def shaped(batch, length, heads, width=8):
    return jax.ShapeDtypeStruct((batch, length, heads, width), np.float32)


def chosen(batch, length, heads, **settings):
    return sa.explain(*[shaped(batch, length, heads)] * 3, **settings)


@pytest.mark.parametrize(
    ("sizes", "form"),
    [
        ((1, 128, 4), "dense"),
        ((256, 128, 4), "dense"),  # few pairs a head, whatever the batch
        ((1, 256, 4), "dense"),
        ((8, 256, 4), "dense"),
        ((8, 320, 4), "blockwise"),
        ((1, 1024, 4), "blockwise"),
    ],
)
def test_a_cpu_takes_tiles_where_pairs_are_many(sizes, form):
    assert chosen(*sizes).implementation == form


def test_what_cannot_be_tiled_says_why_and_takes_another_form():
    found = chosen(1, 1024, 4, normalizer=sa.normalizers.sparsemax)
    assert found.implementation == "dense"
    assert found.reasons["blockwise"] == "sparsemax needs a whole row of scores: take the rows form"
    assert chosen(1, 2**13, 8, normalizer=sa.normalizers.sparsemax).implementation == "rows"
    assert chosen(1, 2**14, 8, want=("weights",)).implementation == "dense"


def test_elsewhere_all_pairs_are_held_while_they_fit(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chosen(1, 2048, 4).implementation == "dense"
    assert chosen(1, 2**14, 4).implementation == "blockwise"


def test_what_is_asked_for_is_taken():
    assert chosen(1, 8, 1, implementation="rows").reasons == {"rows": "asked for"}
    with pytest.raises(ValueError, match="implementation must be one of auto, dense, rows, blockwise, got 'flash'"):
        chosen(1, 8, 1, implementation="flash")


def test_tiles_are_large_where_none_can_be_left_out():
    large, usual = Block(1024, 2048, 1024), Block.square(512)
    assert chosen(1, 2048, 4).plan == choosing.Plan("blockwise", large, 1)
    assert chosen(1, 2048, 4, mask=sa.masks.causal).plan == choosing.Plan("blockwise", usual, None)
    assert chosen(4, 2048, 4, mask=sa.masks.causal).plan == choosing.Plan("blockwise", usual, 4)


def test_few_heads_of_one_tile_each_are_computed_side_by_side():
    assert chosen(1, 1024, 4).plan == choosing.Plan("blockwise", Block.square(1024), None)
    assert chosen(1, 1024, 5).plan == choosing.Plan("blockwise", Block.square(1024), 1)
    assert chosen(1, 600, 11).plan.at_once is None
    assert chosen(1, 600, 12).plan.at_once == 2


@pytest.mark.parametrize("length", [600, 768, 1000, 1025, 1100, 1536, 3000])
def test_tiles_hold_little_more_than_the_pairs_of_any_length(length):
    block = chosen(1, length, 4).plan.block
    tiles = visited(None, length, length, block, default=True)
    assert len(tiles) * block.rows * block.columns <= 1.1 * length**2


def test_tiles_fit_a_window_where_its_positions_are_known():
    window = sa.masks.causal & sa.bind(sa.masks.window, left=256)
    assert str(chosen(1, 2048, 4, mask=window).plan) == "blockwise (tiles of 256 × 512)"
    assert str(chosen(1, 2048, 4, mask=window, lengths=np.int32([900])).plan) == "blockwise (tiles of 256 × 512)"
    wide = sa.masks.causal & sa.bind(sa.masks.window, left=1024)
    unknown = {"mask": window, "query_positions": np.arange(2048, dtype=np.int32)}
    assert str(chosen(1, 2048, 4, mask=wide).plan) == "blockwise (tiles of 512)"
    for settings in unknown, {"lengths": np.int32([900])}:
        assert str(chosen(1, 2048, 4, **settings).plan) == "blockwise (tiles of 1024 × 2048, 1 head at once)"


def test_an_explanation_prints_as_lines():
    assert str(chosen(1, 2048, 4)) == (
        "blockwise (tiles of 1024 × 2048, 1 head at once)\n"
        "  blockwise: 4 × [2048,2048] pairs are many: tiles need memory O(T)\n"
        "  dense: would hold all pairs"
    )


def test_every_choice_inside_is_gathered():
    arrays = [np.zeros((1, 8, 2, 4), np.float32)] * 3
    with explanations() as found:
        sa.attention(*arrays)
        sa.attention(*arrays, implementation="rows")
    assert [each.implementation for each in found] == ["dense", "rows"]


@pytest.mark.parametrize("at_once", [1, 2, 3, 8])
def test_heads_in_turns_give_what_all_at_once_give(at_once):
    """Of every example, group and head, with knobs that differ from one to the next, and their gradients."""
    draw = np.random.default_rng(0)
    query, key = draw.normal(size=(3, 5, 4, 2)), draw.normal(size=(3, 6, 2, 2))
    scale = draw.normal(size=(4, 3))

    def head(context, query, key, value, rng):
        return (query @ key.T) * context.array + jax.random.uniform(rng), value

    def lifted(at_once, scale, query):
        context, out_axes = sa.lead(scale, "HB"), (0, 1)
        result = lift(head, context, query, key, key, jax.random.key(1), out_axes=out_axes, at_once=at_once)
        return jnp.sum(jnp.sin(result[0])), result

    in_turns, side_by_side = (
        jax.value_and_grad(lifted, argnums=(1, 2), has_aux=True)(count, scale, query) for count in (at_once, None)
    )
    assert side_by_side[0][1][0].shape == (3, 4, 5, 6)
    jax.tree.map(lambda got, wanted: assert_allclose(got, wanted, rtol=1e-6, atol=1e-6), in_turns, side_by_side)


def test_tiles_are_traced_once_for_all_layers():
    arrays = [np.zeros((1, 8, 2, 4), np.float32)] * 3
    traces = []

    def score_mod(score, query_position, key_position):
        traces.append(1)
        return score

    modifier = sa.bind(sa.modifiers.score_mod, function=score_mod)
    sa.attention(*arrays, implementation="blockwise", modifiers=[modifier])
    first = len(traces)
    sa.attention(*arrays, implementation="blockwise", modifiers=[modifier])
    assert first > 0 and len(traces) == first
