import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from selfattn_jax.functional import masks
from selfattn_jax.functional.bind import Lead, bind, call, lead
from selfattn_jax.functional.masks import Mask


def affine(scores, visible, /, *, slope, shift=0.0, mode="plain", power=None):
    del visible
    straight = scores * slope + shift
    return straight if mode == "plain" else straight ** (power or 1)


def weighted(scores, /, *, tables):
    return scores * tables["first"] + tables["second"]


def test_a_bound_piece_is_called_like_its_function():
    assert bind(affine, slope=2.0, shift=1.0)(3.0, None) == 7
    assert bind(affine, slope=2.0, mode="power", power=3)(1.0, None) == 8
    assert bind(affine).needs == ("scores", "visible")
    assert bind(affine).__name__ == "affine"
    assert repr(bind(affine, slope=2.0, mode="power")) == "bind(affine, slope=2.0, mode='power')"


def test_knobs_named_later_replace_earlier_ones():
    first = bind(affine, slope=2.0, shift=1.0)
    second = bind(first, slope=5.0)
    assert second(1.0, None) == 6
    assert first(1.0, None) == 3
    assert bind(first) is first


def test_arrays_and_floats_are_leaves_and_all_else_is_structure():
    table = np.arange(3.0)
    piece = bind(affine, slope=table, shift=0.5, mode="power", power=2)
    leaves = jax.tree.leaves(piece)
    assert leaves[0] is table or leaves[1] is table
    assert len(leaves) == 2
    for static in (1, True, None, "text", affine, (1, "text", (None, jnp.tanh))):
        assert jax.tree.leaves(bind(affine, slope=static)) == []
    assert jax.tree.leaves(bind(weighted, tables={"first": table, "second": 1.0}))[1] == 1.0


def test_a_piece_survives_being_taken_apart():
    piece = bind(affine, power=2, slope=3.0, mode="power", shift=1.0)
    leaves, structure = jax.tree.flatten(piece)
    assert structure.unflatten(leaves) == piece
    assert jax.tree.map(lambda leaf: 2 * leaf, piece).knobs == {"power": 2, "slope": 6.0, "mode": "power", "shift": 2.0}


def test_the_order_of_the_knobs_does_not_matter():
    first, second = (
        bind(affine, slope=3.0, shift=1.0, mode="a", power=1),
        bind(affine, power=1, mode="a", shift=1.0, slope=3.0),
    )
    assert jax.tree.structure(first) == jax.tree.structure(second)
    assert first == second
    assert hash(first) == hash(second)


def test_pieces_are_equal_when_their_knobs_are():
    table = np.arange(3.0)
    assert bind(affine, slope=table) == bind(affine, slope=table)
    assert bind(affine, slope=2.0) != bind(affine, slope=3.0)
    assert bind(affine, mode="a") != bind(affine, mode="b")
    assert bind(affine, slope=2.0) != bind(weighted, tables=2.0)
    assert bind(affine, slope=2.0) != 2.0
    assert bind(masks.causal) != masks.causal & masks.causal


def test_an_array_or_float_does_not_retrace_but_a_static_knob_does():
    traces = []

    @jax.jit
    def run(piece, scores):
        traces.append(piece.knobs["mode"])
        return piece(scores, None)

    for slope in (1.0, 2.0, 3.0):
        assert run(bind(affine, slope=slope, mode="plain"), 2.0) == 2 * slope
    assert run(bind(affine, slope=3.0, mode="power", power=2), 2.0) == 36
    assert traces == ["plain", "power"]


def test_gradients_reach_the_knobs_through_jit_and_vmap():
    def total(piece, scores):
        return jnp.sum(piece(scores, None))

    gradient = jax.jit(jax.grad(total))(bind(affine, slope=2.0, shift=1.0), jnp.arange(3.0))
    assert gradient.knobs == {"slope": 3.0, "shift": 3.0}
    assert_array_equal(jax.vmap(total, in_axes=(0, None))(bind(affine, slope=jnp.arange(2.0)), jnp.arange(3.0)), [0, 3])


def test_an_unknown_knob_is_named_with_what_was_meant():
    with pytest.raises(
        TypeError, match="affine has no knob 'slop'; its knobs are: slope, shift, mode, power; did you mean slope"
    ):
        bind(affine, slop=1.0)
    with pytest.raises(TypeError, match="causal has no knob 'left'; its knobs are: none"):
        bind(masks.causal, left=1)


def test_a_missing_knob_is_named_with_what_to_write():
    with pytest.raises(TypeError, match=r"affine lacks slope: write bind\(affine, slope=…\)"):
        bind(affine, shift=1.0)(1.0, None)


def test_a_piece_is_called_with_what_it_names():
    def difference(key_positions, scores, /):
        return scores - key_positions

    assert call(difference, "modifier", scores=5, visible=None, key_positions=2) == 3
    assert call(bind(affine, slope=2.0), "modifier", visible=None, scores=4.0) == 8
    with pytest.raises(
        TypeError, match="bias affine asks for scores, visible; the positional parameters of a bias are among: query"
    ):
        call(bind(affine, slope=2.0), "bias", query=1)


def test_a_mask_stays_a_mask():
    piece = bind(masks.window, left=1)
    assert isinstance(piece, Mask)
    assert isinstance(jax.tree.unflatten(*reversed(jax.tree.flatten(piece))), Mask)


class TestLead:
    def test_the_letters_travel_with_the_array(self):
        piece = bind(affine, slope=lead(jnp.ones((2, 3)), "BH"))
        doubled = jax.tree.map(lambda leaf: 2 * leaf, piece)
        assert isinstance(doubled.knobs["slope"], Lead)
        assert doubled.knobs["slope"].letters == "BH"
        assert repr(lead(1, "")) == "lead(1, '')"

    def test_the_axes_t_and_s_are_no_obstacle_to_one_head(self):
        table = jnp.arange(6.0).reshape(2, 3)
        assert_array_equal(bind(affine, slope=lead(table, "TS"))(1.0, None), table)
        tables = {"first": lead(table, "TS"), "second": 1.0}
        assert_allclose(bind(weighted, tables=tables)(2.0), 2 * table + 1)

    def test_the_axes_b_and_h_are(self):
        piece = bind(affine, slope=lead(jnp.ones((2, 3)), "HT"))
        with pytest.raises(ValueError, match=r"slope of affine still carries the axes 'HT'.*use attention"):
            piece(1.0, None)

    @pytest.mark.parametrize("letters", ["G", "BB", "ts", "B H"])
    def test_unknown_or_repeated_letters_are_refused(self, letters):
        with pytest.raises(ValueError, match=f"letters must be distinct and of B, H, T, S, got '{letters}'"):
            lead(jnp.ones((2, 3, 4)), letters)

    def test_more_letters_than_axes_are_refused(self):
        with pytest.raises(ValueError, match="array has 1 axes, fewer than its letters 'BH'"):
            lead(jnp.ones(2), "BH")
