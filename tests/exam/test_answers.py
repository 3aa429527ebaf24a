"""What a piece computes: its oracle's numbers, in every dtype, lifted or not, compiled or not, with extras or not."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import selfattn_jax as sa
from selfattn_jax.catalogue import Entry
from selfattn_jax.functional.bind import bind, is_lead
from selfattn_jax.functional.normalizers import log_normalizer
from tests import oracles
from tests.exam import sitting
from tests.exam.sitting import B, H, ask, build_piece, cast, every, every_piece, expected, look, question

EXTRAS = ("weights", "scores", "log_normalizer")


def is_exponential(entry: Entry) -> bool:
    return entry.kind != "normalizers" or hasattr(oracles, f"log_normalizer_{entry.name}")


def extras_of(entry: Entry) -> tuple[str, ...]:
    return EXTRAS if is_exponential(entry) else EXTRAS[:2]


@every_piece
def test_equals_its_oracle_in_float32(entry):
    piece, asked = build_piece(entry), question(entry)
    answer, wanted = ask(entry, piece, asked), expected(entry, piece, asked)
    assert_allclose(answer.output, wanted["output"], rtol=0, atol=2e-5)
    assert_allclose(answer.weights, wanted["weights"], rtol=0, atol=2e-5)


@every_piece
@pytest.mark.parametrize("off_default", [False, True], ids=["as_it_comes", "every_knob_moved"])
def test_equals_its_oracle_in_float64(entry, off_default):
    if off_default and not (entry.in_config and entry.knobs()):
        pytest.skip("there is no knob to move")
    piece = cast(build_piece(entry, off_default=off_default), np.float64)
    asked = question(entry, np.float64)
    with jax.enable_x64(True):
        seen = look(entry, piece, asked)
    wanted = expected(entry, piece, asked)
    assert seen.output.dtype == seen.weights.dtype == np.float64
    assert_allclose(seen.output, wanted["output"], rtol=0, atol=1e-10)
    assert_allclose(seen.weights, wanted["weights"], rtol=0, atol=1e-10)


@every_piece
def test_the_compiled_lift_is_an_eager_loop_over_examples_and_heads(entry):
    piece, asked = build_piece(entry), question(entry)
    lifted = np.asarray(ask(entry, piece, asked).output)
    for example, head in np.ndindex(B, H):
        group = head // (H // sitting.G)
        key, value = asked.key[example, :, group], asked.value[example, :, group]
        pieces = sitting.slots(
            entry, sitting.one_head(piece, example, head), sa.bind(sa.masks.array, values=asked.mask[example])
        )
        eager = sa.attend(jnp.asarray(asked.query[example, :, head]), jnp.asarray(key), jnp.asarray(value), **pieces)
        assert_allclose(lifted[example, :, head], eager, rtol=0, atol=2e-6)


@every_piece
@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16], ids=["bfloat16", "float16"])
def test_a_narrow_dtype_goes_in_and_out_and_loses_little(entry, dtype):
    piece, asked = build_piece(entry), question(entry, dtype)
    wide = asked._replace(**{name: getattr(asked, name).astype(np.float32) for name in ("query", "key", "value")})
    narrow, exact = look(entry, piece, asked), np.asarray(ask(entry, piece, wide).output)
    assert narrow.output.dtype == dtype
    assert narrow.weights.dtype == np.float32
    row = np.abs(exact).max(axis=-1, keepdims=True)
    error = np.abs(np.asarray(narrow.output, np.float32) - exact)
    assert (error <= 4 * float(jnp.finfo(dtype).eps) * row).all()


@every_piece
@pytest.mark.parametrize("dtype", [jnp.bfloat16], ids=["bfloat16"])
def test_parameters_as_narrow_as_the_arrays_need_no_promotion(entry, dtype):
    piece, asked = cast(build_piece(entry), dtype), question(entry, dtype)
    seen = jax.eval_shape(lambda piece, asked: sitting.seen(entry, piece, asked, ("weights",)), piece, asked)
    assert seen.output.dtype == dtype
    assert seen.weights.dtype == np.float32


@every_piece
def test_float32_stays_free_of_float64(entry):
    piece, asked = cast(build_piece(entry), np.float32), question(entry)
    with jax.enable_x64(True):
        program = jax.make_jaxpr(lambda piece, asked: sitting.seen(entry, piece, asked, ("weights",)))(piece, asked)
    assert not re.search(r"f64\[\d", str(program)), "an array of float64; scalars may be literals of Python"


@every_piece
def test_rebuilt_pieces_do_not_retrace(entry):
    asked = question(entry)
    before = len(sitting.traced)
    for seed in range(3):
        ask(entry, build_piece(entry, seed=seed), asked)
    assert len(sitting.traced) - before <= 1


@every_piece
def test_extras_change_nothing_and_equal_the_oracle(entry):
    piece, asked = build_piece(entry), question(entry)
    asked.mask[0, 2] = False
    seen, wanted = look(entry, piece, asked, extras_of(entry)), expected(entry, piece, asked)
    assert_allclose(ask(entry, piece, asked).output, seen.output, rtol=0, atol=1e-6)
    for name in extras_of(entry):
        assert_allclose(getattr(seen, name), wanted[name], rtol=0, atol=5e-5)


@every(lambda entry: entry.kind == "normalizers")
def test_the_log_normalizer_has_the_weights_as_its_gradient(entry):
    """∂ log Zₜ / ∂xₜₛ = wₜₛ, and ∂ log Zₜ / ∂sink is what the weights lack to 1."""
    random = np.random.default_rng(0)
    scores, mask = (
        random.normal(size=(3, 4)).astype(np.float32),
        np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]], bool),
    )
    knobs = sitting.own_knobs(build_piece(entry), 0, 0)
    if not is_exponential(entry):
        with pytest.raises(ValueError, match=f"{entry.name} has no log-normaliser; these have: softmax"):
            log_normalizer(entry.function, scores, mask, **knobs)
        return

    def total(scores, knobs):
        logs = log_normalizer(entry.function, scores, mask, **knobs)
        return jnp.sum(jnp.where(jnp.isfinite(logs), logs, 0)), logs

    (by_scores, by_knobs), logs = jax.jit(jax.grad(total, argnums=(0, 1), has_aux=True))(scores, knobs)
    weights = np.asarray(entry.function(jnp.asarray(scores), mask, **knobs))
    assert_allclose(logs, getattr(oracles, f"log_normalizer_{entry.name}")(scores, mask, **knobs), atol=1e-6)
    assert_allclose(by_scores, weights, atol=1e-6)
    assert_array_equal(by_scores[1], np.zeros(4))
    for gradient in jax.tree.leaves(by_knobs):
        assert_allclose(gradient, (1 - weights.sum(axis=1)).sum(), atol=1e-6)


@every(lambda entry: sitting.slot_of(entry) and any(map(is_lead, build_piece(entry).knobs.values())))
def test_an_array_knob_that_lost_its_axes_is_refused(entry):
    """[H] where one head has []: with H = T = S = 4 it would broadcast, wrong and in silence."""
    whole = build_piece(entry)
    bare = bind(whole.function, **{name: knob.array if is_lead(knob) else knob for name, knob in whole.knobs.items()})
    query = key = value = jax.ShapeDtypeStruct((H, sitting.K), np.float32)
    pieces = sitting.slots(entry, bare, None if entry.kind != "masks" else sa.masks.causal)
    with jax.numpy_rank_promotion("allow"), pytest.raises(ValueError, match=r" must (be|return) \["):
        jax.eval_shape(lambda *arrays: sa.attend(*arrays, **pieces), query, key, value)
