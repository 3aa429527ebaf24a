"""Gated recurrent networks: one position after another, whatever the hardware."""

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.visible import shown, visible_of
from selfattn_jax.shapes import Array, accumulation_dtype, check_shapes


def gru(
    inputs: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    input_weight: Array,
    hidden_weight: Array,
    input_bias: Array,
    hidden_bias: Array,
) -> Array:
    """Runs a gated recurrent unit over the sequence.

      r, z = σ(a + b)        n = tanh(a_n + r ⊙ b_n)        hₜ = (1 − z) ⊙ n + z ⊙ hₜ₋₁        yₜ = hₜ
      a = xₜ input_weight + input_bias,  b = hₜ₋₁ hidden_weight + hidden_bias,  each in three parts: r, z, n

    Args:
      inputs: [T,D].
      key_mask: [T] bool, True = holds data; a hidden position leaves the state as it is.
      initial_state: [D]; None = zeros.
      input_weight: [D,P], P = 3D.  hidden_weight: [D,P].  input_bias: [P].  hidden_bias: [P].
    Returns: [T,D], in inputs' dtype; 0 where hidden.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Cho et al. 2014, arXiv:1406.1078.
    """
    weights = {"input_weight": input_weight, "hidden_weight": hidden_weight}
    biases = {"input_bias": input_bias, "hidden_bias": hidden_bias}
    return gru_steps(inputs, key_mask=key_mask, initial_state=initial_state, **weights, **biases)[0]


def gru_steps(
    inputs: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    input_weight: Array,
    hidden_weight: Array,
    input_bias: Array,
    hidden_bias: Array,
) -> tuple[Array, Array]:
    """`gru` with its final state [D]."""
    projected, hidden_weight, hidden_bias = _projected(
        inputs, key_mask, 3, input_weight, hidden_weight, input_bias, hidden_bias
    )

    def step(hidden: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        from_input, visible = at
        input_reset, input_update, input_new = jnp.split(from_input, 3)
        reset, update, new = jnp.split(hidden @ hidden_weight + hidden_bias, 3)
        update = jax.nn.sigmoid(input_update + update)
        new = jnp.tanh(input_new + jax.nn.sigmoid(input_reset + reset) * new)
        moved = (1 - update) * new + update * hidden
        return jnp.where(visible, moved, hidden), jnp.where(visible, moved, 0)

    start = _start(initial_state, projected, inputs.shape[1])
    final, output = jax.lax.scan(step, start, (projected, visible_of(inputs.shape[0], key_mask)))
    return output.astype(inputs.dtype), final


def lstm(
    inputs: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: tuple[Array, Array] | None = None,
    input_weight: Array,
    hidden_weight: Array,
    input_bias: Array,
    hidden_bias: Array,
) -> Array:
    """Runs a long short-term memory over the sequence.

      i, f, o = σ(a)        g = tanh(a_g)        cₜ = f ⊙ cₜ₋₁ + i ⊙ g        yₜ = hₜ = o ⊙ tanh(cₜ)
      a = xₜ input_weight + input_bias + hₜ₋₁ hidden_weight + hidden_bias,  in four parts: i, f, g, o

    Args:
      inputs: [T,D].
      key_mask: [T] bool, True = holds data; a hidden position leaves the state as it is.
      initial_state: h [D] and c [D]; None = zeros.
      input_weight: [D,P], P = 4D.  hidden_weight: [D,P].  input_bias: [P].  hidden_bias: [P].
    Returns: [T,D], in inputs' dtype; 0 where hidden.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Hochreiter & Schmidhuber 1997.
    """
    weights = {"input_weight": input_weight, "hidden_weight": hidden_weight}
    biases = {"input_bias": input_bias, "hidden_bias": hidden_bias}
    return lstm_steps(inputs, key_mask=key_mask, initial_state=initial_state, **weights, **biases)[0]


def lstm_steps(
    inputs: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: tuple[Array, Array] | None = None,
    input_weight: Array,
    hidden_weight: Array,
    input_bias: Array,
    hidden_bias: Array,
) -> tuple[Array, tuple[Array, Array]]:
    """`lstm` with its final state: h [D] and c [D]."""
    projected, hidden_weight, hidden_bias = _projected(
        inputs, key_mask, 4, input_weight, hidden_weight, input_bias, hidden_bias
    )

    def step(state: tuple[Array, Array], at: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (hidden, cell), (from_input, visible) = state, at
        gates = jnp.split(from_input + hidden @ hidden_weight + hidden_bias, 4)
        written, kept, shown = (jax.nn.sigmoid(gates[index]) for index in (0, 1, 3))
        moved_cell = kept * cell + written * jnp.tanh(gates[2])
        moved = shown * jnp.tanh(moved_cell)
        state = jnp.where(visible, moved, hidden), jnp.where(visible, moved_cell, cell)
        return state, jnp.where(visible, moved, 0)

    hidden, cell = (None, None) if initial_state is None else initial_state
    start = _start(hidden, projected, inputs.shape[1]), _start(cell, projected, inputs.shape[1])
    final, output = jax.lax.scan(step, start, (projected, visible_of(inputs.shape[0], key_mask)))
    return output.astype(inputs.dtype), final


def _projected(
    inputs: Array,
    key_mask: Array | None,
    parts: int,
    input_weight: Array,
    hidden_weight: Array,
    input_bias: Array,
    hidden_bias: Array,
) -> tuple[Array, Array, Array]:
    """The inputs' share of every gate, for all positions in one product, and what the steps need."""
    sizes = {"P": parts * inputs.shape[-1]}
    weights = {"input_weight": (input_weight, "DP"), "hidden_weight": (hidden_weight, "DP")}
    biases = {"input_bias": (input_bias, "P"), "hidden_bias": (hidden_bias, "P")}
    check_shapes(sizes, inputs=(inputs, "TD"), **weights, **biases)
    dtype = accumulation_dtype(inputs)
    projected = shown(inputs, key_mask) @ jnp.asarray(input_weight, dtype) + jnp.asarray(input_bias, dtype)[None, :]
    return projected, jnp.asarray(hidden_weight, dtype), jnp.asarray(hidden_bias, dtype)


def _start(state: Array | None, like: Array, width: int) -> Array:
    return jnp.zeros(width, like.dtype) if state is None else jnp.asarray(state, like.dtype)
