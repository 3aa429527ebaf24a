"""Dtypes: what goes in comes out, little is lost on the way, and no wider one is needed. A mask has none."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.exam import sitting
from tests.exam.marking import expected
from tests.exam.sitting import (
    B,
    H,
    ask_head,
    build_piece,
    cast,
    every,
    every_piece,
    leaves,
    look_at_head,
    question,
)

every_number = every(lambda entry: sitting.slot_of(entry) and entry.kind != "masks")


def assert_equal_by_head(entry, piece, asked, see, tolerance) -> None:
    """Every head of every example sees what the oracle says; the tolerance is relative to the row's largest number."""
    wanted = expected(entry, piece, asked)
    for example, head in np.ndindex(B, H):
        seen = see(entry, piece, asked, example, head)
        assert seen.output.dtype == asked.value.dtype
        assert seen.weights.dtype == (np.float64 if asked.value.dtype == np.float64 else np.float32)
        for got, by_oracle in (
            (seen.output, wanted["output"][example, :, head]),
            (seen.weights, wanted["weights"][example, head]),
        ):
            error = np.abs(np.asarray(got, np.float64) - by_oracle)
            assert (error <= tolerance * np.abs(by_oracle).max(axis=-1, keepdims=True)).all()


@every(lambda entry: sitting.slot_of(entry) and (entry.kind != "masks" or (entry.in_config and entry.knobs())))
def test_equals_its_oracle_in_float64_with_every_knob_moved(entry):
    piece = cast(build_piece(entry, off_default=entry.in_config), np.float64)
    with jax.enable_x64(True):
        assert_equal_by_head(entry, piece, question(entry, np.float64), look_at_head, 1e-10)


@pytest.mark.slow
@every_number
def test_float16_goes_in_and_out_and_loses_little(entry):
    """Four units in the last place of the row's largest number."""
    tolerance = 4 * float(jnp.finfo(np.float16).eps)
    assert_equal_by_head(entry, build_piece(entry), question(entry, np.float16), look_at_head, tolerance)


@pytest.mark.slow
@every_number
def test_bfloat16_goes_in_and_out_and_loses_little_and_its_gradients_are_finite(entry):
    piece, asked = build_piece(entry), question(entry, jnp.bfloat16)
    tolerance = 4 * float(jnp.finfo(jnp.bfloat16).eps)
    assert_equal_by_head(entry, piece, asked, lambda *head: ask_head(*head).seen, tolerance)
    for wicked in sitting.wicked(asked):
        for example in range(B):
            answer = ask_head(entry, piece, wicked, example, 0)
            assert all(gradient.dtype == jnp.bfloat16 for gradient in answer.gradients[1:])
            assert all(np.isfinite(leaf.astype(np.float32)).all() for leaf in leaves(answer))


@pytest.mark.slow
@every_piece
def test_parameters_as_narrow_as_the_arrays_need_no_promotion(entry):
    piece, asked = cast(build_piece(entry), jnp.bfloat16), question(entry, jnp.bfloat16)
    seen = jax.eval_shape(lambda piece, asked: sitting.seen(entry, piece, asked, ("weights",)), piece, asked)
    assert seen.output.dtype == jnp.bfloat16
    assert seen.weights.dtype == np.float32


@pytest.mark.slow
@every_piece
def test_float32_stays_free_of_float64(entry):
    piece, asked = cast(build_piece(entry), np.float32), question(entry)
    with jax.enable_x64(True):
        program = jax.make_jaxpr(lambda piece, asked: sitting.seen(entry, piece, asked, ("weights",)))(piece, asked)
    assert not re.search(r"f64\[\d", str(program)), "an array of float64; scalars may be literals of Python"
