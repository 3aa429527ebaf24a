"""Dtypes: what goes in comes out, little is lost on the way, and no wider one is needed. A mask has none."""

import re

import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

from tests.exam import sitting
from tests.exam.sitting import ask, build_piece, cast, every, every_piece, expected, leaves, look, question

every_number = every(lambda entry: sitting.slot_of(entry) and entry.kind != "masks")


@every(lambda entry: sitting.slot_of(entry) and (entry.kind != "masks" or (entry.in_config and entry.knobs())))
def test_equals_its_oracle_in_float64_with_every_knob_moved(entry):
    piece = cast(build_piece(entry, off_default=entry.in_config), np.float64)
    asked = question(entry, np.float64)
    with jax.enable_x64(True):
        seen = look(entry, piece, asked)
    wanted = expected(entry, piece, asked)
    assert seen.output.dtype == seen.weights.dtype == np.float64
    assert_allclose(seen.output, wanted["output"], rtol=0, atol=1e-10)
    assert_allclose(seen.weights, wanted["weights"], rtol=0, atol=1e-10)


def assert_close(entry, piece, asked, seen) -> None:
    """Within four units in the last place of the row's largest output."""
    dtype, wanted = asked.value.dtype, expected(entry, piece, asked)["output"]
    assert seen.output.dtype == dtype
    assert seen.weights.dtype == np.float32
    error = np.abs(np.asarray(seen.output, np.float64) - wanted)
    assert (error <= 4 * float(jnp.finfo(dtype).eps) * np.abs(wanted).max(axis=-1, keepdims=True)).all()


@every_number
def test_float16_goes_in_and_out_and_loses_little(entry):
    piece, asked = build_piece(entry), question(entry, np.float16)
    assert_close(entry, piece, asked, look(entry, piece, asked))


@every_number
def test_bfloat16_goes_in_and_out_and_loses_little_and_its_gradients_are_finite(entry):
    piece, asked = build_piece(entry), question(entry, jnp.bfloat16)
    assert_close(entry, piece, asked, ask(entry, piece, asked).seen)
    for wicked in sitting.wicked(asked):
        answer = ask(entry, piece, wicked)
        assert all(gradient.dtype == jnp.bfloat16 for gradient in answer.gradients[1:])
        assert all(np.isfinite(leaf.astype(np.float32)).all() for leaf in leaves(answer))


@every_piece
def test_parameters_as_narrow_as_the_arrays_need_no_promotion(entry):
    piece, asked = cast(build_piece(entry), jnp.bfloat16), question(entry, jnp.bfloat16)
    seen = jax.eval_shape(lambda piece, asked: sitting.seen(entry, piece, asked, ("weights",)), piece, asked)
    assert seen.output.dtype == jnp.bfloat16
    assert seen.weights.dtype == np.float32


@every_piece
def test_float32_stays_free_of_float64(entry):
    piece, asked = cast(build_piece(entry), np.float32), question(entry)
    with jax.enable_x64(True):
        program = jax.make_jaxpr(lambda piece, asked: sitting.seen(entry, piece, asked, ("weights",)))(piece, asked)
    assert not re.search(r"f64\[\d", str(program)), "an array of float64; scalars may be literals of Python"
