"""Gated recurrent networks: gates worked by hand."""

import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

from selfattn_jax.functional import mixers


def weights(parts: int, **biases: list[float]) -> dict[str, np.ndarray]:
    """Of one number that sees neither input nor state, but for biases."""
    zeros = {"input_weight": np.zeros((1, parts)), "hidden_weight": np.zeros((1, parts))}
    return (
        zeros
        | {"input_bias": np.zeros(parts), "hidden_bias": np.zeros(parts)}
        | {k: np.array(v) for k, v in biases.items()}
    )


def test_a_gru_without_weights_halves_its_state():
    """z = ½ and n = 0; at the hidden position nothing happens."""
    shown = jnp.array([True, False, True])
    output, final = mixers.gru_steps(jnp.ones((3, 1)), key_mask=shown, initial_state=jnp.ones(1), **weights(3))
    assert_allclose(output[:, 0], [0.5, 0, 0.25])
    assert_allclose(final, [0.25])


def test_the_reset_gate_acts_on_the_state_s_share_alone():
    """r = ½, z = 0: n = tanh(1 + ½ · 2)."""
    output = mixers.gru(jnp.ones((1, 1)), **weights(3, input_bias=[0.0, -50.0, 1.0], hidden_bias=[0.0, 0.0, 2.0]))
    assert_allclose(output, [[np.tanh(2.0)]], rtol=1e-6)


def test_an_lstm_counts_while_its_gates_are_open():
    """i, f, o = 1 and g = tanh 50 = 1: the cell counts positions that hold data."""
    shown = jnp.array([True, True, False, True])
    output, (hidden, cell) = mixers.lstm_steps(jnp.ones((4, 1)), key_mask=shown, **weights(4, input_bias=[50.0] * 4))
    assert_allclose(output[:, 0], np.tanh([1.0, 2.0, 0.0, 3.0]), rtol=1e-6)
    assert_allclose(cell, [3.0])
    assert_allclose(hidden, np.tanh([3.0]), rtol=1e-6)
