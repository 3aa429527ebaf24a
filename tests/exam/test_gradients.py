"""Derivatives of a piece by itself, exact to the second order."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_jvp, check_vjp
from numpy.testing import assert_allclose, assert_array_equal

from selfattn_jax.functional.bind import call
from selfattn_jax.functional.normalizers import log_normalizer
from tests import oracles
from tests.exam import sitting
from tests.exam.sitting import S, T, build_piece, cast, every, question, quick_jit


@every(lambda entry: sitting.slot_of(entry) and entry.kind != "masks")
def test_derivatives_are_right_forward_and_reverse(entry):
    """By all that the piece takes and by every knob, in float64, against finite differences.

    Of the first and the second order; where the piece is not smooth, of the first, at a point away from its kinks.
    """
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
        check_grads(output, (floats, given), order=2 if entry.smooth else 1)


def check_grads(function: Callable, args: tuple, order: int) -> None:
    """`jax.test_util.check_grads`, forward and reverse, of every order up to `order`, in one program per order."""

    @quick_jit
    def derivatives(args: tuple, tangents: tuple, cotangent: Any) -> tuple:
        return *jax.jvp(function, args, tangents), jax.vjp(function, *args)[1](cotangent)

    still = jax.tree.map(np.zeros_like, args)
    unasked = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(function, *args))

    def value(*args: Any) -> Any:
        return derivatives(args, still, unasked)[0]

    def pullback(*args: Any) -> tuple:
        return value(*args), lambda cotangent: derivatives(args, still, cotangent)[2]

    check_jvp(value, lambda args, tangents: derivatives(args, tangents, unasked)[:2], args, eps=1e-5)
    check_vjp(value, pullback, args, eps=1e-5)
    if order > 1:
        check_grads(lambda args, tangents: jax.jvp(function, args, tangents), (args, args), order - 1)
        check_grads(lambda *args: jax.vjp(function, *args)[1](function(*args)), args, order - 1)


@every(lambda entry: entry.kind == "normalizers")
def test_the_log_normalizer_has_the_weights_as_its_gradient(entry):
    """∂ log Zₜ / ∂xₜₛ = wₜₛ, and ∂ log Zₜ / ∂sink is what the weights lack to 1."""
    random = np.random.default_rng(0)
    scores, mask = (
        random.normal(size=(3, 4)).astype(np.float32),
        np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]], bool),
    )
    knobs = sitting.own_knobs(build_piece(entry), 0, 0)
    if not sitting.is_exponential(entry):
        with pytest.raises(ValueError, match=f"{entry.name} has no log-normaliser; these have: softmax"):
            log_normalizer(entry.function, scores, mask, **knobs)
        return

    def total(scores, knobs):
        logs = log_normalizer(entry.function, scores, mask, **knobs)
        return jnp.sum(jnp.where(jnp.isfinite(logs), logs, 0)), logs

    (by_scores, by_knobs), logs = quick_jit(jax.grad(total, argnums=(0, 1), has_aux=True))(scores, knobs)
    weights = np.asarray(entry.function(jnp.asarray(scores), mask, **knobs))
    assert_allclose(logs, getattr(oracles, f"log_normalizer_{entry.name}")(scores, mask, **knobs), atol=1e-6)
    assert_allclose(by_scores, weights, atol=1e-6)
    assert_array_equal(by_scores[1], np.zeros(4))
    for gradient in jax.tree.leaves(by_knobs):
        assert_allclose(gradient, (1 - weights.sum(axis=1)).sum(), atol=1e-6)
