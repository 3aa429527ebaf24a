"""Derivatives of a piece by itself, exact to the second order."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_jvp, check_vjp
from numpy.testing import assert_allclose

from selfattn_jax.functional.bind import bind, call
from selfattn_jax.functional.normalizers import log_normalizer
from tests.exam import sitting
from tests.exam.sitting import S, T, build_piece, cast, every, question, quick_jit


@pytest.mark.slow
@every(lambda entry: sitting.slot_of(entry) and entry.kind != "masks" and entry.surrogate is None)
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
        "length": np.int32(S),
        "uniform": np.float64(random.random((T, S))),
    }

    def output(floats: list, given: dict) -> jax.Array:
        knobs = iter(floats)
        rebuilt = structure.unflatten([next(knobs) if sitting.is_float(leaf) else leaf for leaf in leaves])
        return call(rebuilt, str(sitting.slot_of(entry)), **given, **others)

    floats = [leaf for leaf in leaves if sitting.is_float(leaf)]
    with jax.enable_x64(True):
        check_grads(output, (floats, given), order=2 if entry.smooth else 1)


def check_grads(function: Callable, args: tuple, order: int) -> None:
    """`jax.test_util.check_grads`, of the first order forward and reverse, and of the reverse one in turn."""

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
        check_grads(lambda *args: jax.vjp(function, *args)[1](function(*args)), args, order - 1)


@every(lambda entry: entry.surrogate)
def test_a_surrogate_lends_its_derivative(entry):
    """What is declared to have another function's derivative has exactly that, forward and reverse."""
    asked, random = question(entry), np.random.default_rng(0)
    scores, direction, cotangent = (random.normal(size=(T, S)).astype(np.float32) for _ in range(3))
    for function in (entry.function, entry.surrogate):

        def weights(scores, function=function):
            return function(scores, asked.mask[0])

        (_, forward), (_, pull) = jax.jvp(weights, (scores,), (direction,)), jax.vjp(weights, scores)
        if function is entry.function:
            got = forward, pull(cotangent)[0]
        else:
            assert_allclose(got[0], forward, atol=1e-7)
            assert_allclose(got[1], pull(cotangent)[0], atol=1e-7)


@every(lambda entry: entry.kind == "normalizers")
def test_the_log_normalizer_has_exact_derivatives(entry):
    """By the scores and by every knob, against finite differences; where there is none, asking for it says so."""
    random = np.random.default_rng(0)
    scores = random.normal(size=(3, 4))
    mask = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [0, 1, 1, 0]], bool)
    knobs = cast(sitting.own_knobs(build_piece(entry), 0, 0), np.float64)
    offered = {"visible": mask.sum(axis=1, dtype=np.int32), "uniform": None}
    needs = [offered[name] for name in bind(entry.function).needs[2:]]
    if not sitting.is_exponential(entry):
        with pytest.raises(ValueError, match=f"{entry.name} has no log-normaliser; these have: softmax"):
            log_normalizer(entry.function, scores, mask, *needs, **knobs)
        return

    def logs(scores, knobs):
        return log_normalizer(entry.function, scores, mask, *needs, **knobs)[jnp.array([0, 2])]

    with jax.enable_x64(True):
        check_grads(logs, (scores, knobs), order=1)
        (by_scores,) = jax.jacobian(log_normalizer, argnums=(1,))(entry.function, scores, mask, *needs, **knobs)
    assert not np.asarray(by_scores)[:, 1].any(), "a dead row"
