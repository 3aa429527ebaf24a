"""Derivatives: right where the piece is smooth, finite everywhere."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_jvp, check_vjp

from selfattn_jax.functional.bind import call
from tests.exam import sitting
from tests.exam.sitting import S, T, ask, build_piece, cast, every, every_piece, leaves, question, quick_jit


@every_piece
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_gradients_are_finite_everywhere(entry, dtype):
    """At zero vectors, at ties, at dead rows, at large scores, and at all of them together."""
    piece, asked = build_piece(entry), question(entry, dtype)

    def assert_finite() -> None:
        assert all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in leaves(ask(entry, piece, asked)))

    assert_finite()
    asked.query[0, 1], asked.key[0, 2], asked.key[1, 4] = 0, 0, asked.key[1, 3]
    asked.mask[1, 2] = False
    assert_finite()
    asked.query[:], asked.key[:] = 100 * asked.query, 100 * asked.key
    assert_finite()
    asked.query[:], asked.key[:], asked.value[:] = 0, 0, 0
    assert_finite()


@every(lambda entry: sitting.slot_of(entry) and entry.kind != "masks" and entry.smooth)
def test_derivatives_of_both_orders_and_modes_are_right(entry):
    """Those of the piece by all that it takes and by every knob, in float64, against finite differences."""
    piece, asked = cast(sitting.one_head(build_piece(entry), 0, 0), np.float64), question(entry, np.float64)
    leaves, structure = jax.tree.flatten(piece)
    random = np.random.default_rng(0)
    offered = {
        "query": asked.query[0, :, 0],
        "key": asked.key[0, :, 0],
        "value": asked.value[0, :, 0],
        "scores": random.normal(size=(T, S)),
        "weights": random.random((T, S)),
    }
    given = {name: array for name, array in offered.items() if name in piece.needs}
    others = {
        "mask": asked.mask[0],
        "visible": asked.mask[0].sum(axis=1, dtype=np.int32),
        "query_positions": asked.query_positions,
        "key_positions": asked.key_positions,
    }

    def output(floats: list, given: dict) -> jax.Array:
        knobs = iter(floats)
        rebuilt = structure.unflatten([next(knobs) if sitting.is_float(leaf) else leaf for leaf in leaves])
        return call(rebuilt, str(sitting.slot_of(entry)), **given, **others)

    floats = [leaf for leaf in leaves if sitting.is_float(leaf)]
    with jax.enable_x64(True):
        check_grads(output, (floats, given))


def check_grads(function: Callable, args: tuple, order: int = 2, compiled: Callable | None = None) -> None:
    """`jax.test_util.check_grads`, forward and reverse, up to an order; every part is compiled, quickly and once."""

    def pulled(args: tuple, cotangent: jax.Array) -> tuple:
        return jax.vjp(function, *args)[1](cotangent)

    pushed = functools.partial(jax.jvp, function)
    compiled, push, pull = compiled or quick_jit(function), quick_jit(pushed), quick_jit(pulled)
    check_jvp(compiled, push, args, eps=1e-5)
    check_vjp(compiled, lambda *args: (compiled(*args), functools.partial(pull, args)), args, eps=1e-5)
    if order > 1:
        check_grads(pushed, (args, args), order - 1, push)
        check_grads(lambda *args: pulled(args, function(*args)), args, order - 1)
