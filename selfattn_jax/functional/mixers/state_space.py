"""State spaces that are diagonal and do not depend on the content: linear recurrences of complex numbers.

A hidden position does nothing: the state stays as it is, as if the position were not there.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.visible import shown, visible_of
from selfattn_jax.shapes import Array, PositiveInt, check_shapes

CHUNK = 64

# The linear recurrent unit.


def lru(
    inputs: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    nu: Array,
    theta: Array,
    input_real: Array,
    input_imag: Array,
    output_real: Array,
    output_imag: Array,
    skip: Array,
) -> Array:
    """Runs a linear recurrent unit: every number of the state turns and fades at its own pace.

      xₜ = λ ⊙ xₜ₋₁ + γ ⊙ (uₜ (input_real + i input_imag))        yₜ = Re(xₜ (output_real + i output_imag)) + skip ⊙ uₜ
      λ = exp(−exp(nu) + i exp(theta))        γ = √(1 − |λ|²)        u the inputs

    Args:
      inputs: [T,D].
      key_mask: [T] bool, True = holds data; a hidden position leaves the state as it is.
      initial_state: [N] complex; None = zeros.
      nu: [N].  theta: [N].
      input_real: [D,N].  input_imag: [D,N].
      output_real: [N,D].  output_imag: [N,D].
      skip: [D].
    Returns: [T,D], in inputs' dtype; 0 where hidden.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Orvieto et al. 2023, arXiv:2303.06349.
    """
    rates, projections = {"nu": nu, "theta": theta}, {"input_real": input_real, "input_imag": input_imag}
    readout = {"output_real": output_real, "output_imag": output_imag, "skip": skip}
    state = {"key_mask": key_mask, "initial_state": initial_state}
    return lru_chunks(inputs, **state, **rates, **projections, **readout)[0]


def lru_steps(
    inputs: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    nu: Array,
    theta: Array,
    input_real: Array,
    input_imag: Array,
    output_real: Array,
    output_imag: Array,
    skip: Array,
) -> tuple[Array, Array]:
    """`lru` with its final state [N], one position after another: its definition."""
    unit = _Lru.of(inputs, key_mask, nu, theta, input_real, input_imag, output_real, output_imag, skip)

    def step(state: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        driven, visible = at
        state = jnp.where(visible, unit.decay * state + driven, state)
        return state, state

    final, states = jax.lax.scan(step, unit.start(initial_state), (unit.driven, unit.visible))
    return unit.read(states).astype(inputs.dtype), final


def lru_chunks(
    inputs: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    nu: Array,
    theta: Array,
    input_real: Array,
    input_imag: Array,
    output_real: Array,
    output_imag: Array,
    skip: Array,
) -> tuple[Array, Array]:
    """`lru` with its final state [N], all positions at once: the recurrence is associative."""
    unit = _Lru.of(inputs, key_mask, nu, theta, input_real, input_imag, output_real, output_imag, skip)
    decays = jnp.where(unit.visible[:, None], unit.decay[None, :], 1)
    start = unit.start(initial_state)

    def joined(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
        return first[0] * second[0], first[1] * second[0] + second[1]

    faded, states = jax.lax.associative_scan(joined, (decays, unit.driven))
    states = states + faded * start[None, :]
    return unit.read(states).astype(inputs.dtype), states[-1] if inputs.shape[0] else start


class _Lru(NamedTuple):
    """The unit on one sequence: its decay λ [N], what drives the state [T,N], and how it is read."""

    decay: Array
    driven: Array
    visible: Array
    vectors: Array
    readout: Array
    skip: Array

    @classmethod
    def of(
        cls,
        inputs: Array,
        key_mask: Array | None,
        nu: Array,
        theta: Array,
        input_real: Array,
        input_imag: Array,
        output_real: Array,
        output_imag: Array,
        skip: Array,
    ) -> "_Lru":
        projections = {"input_real": (input_real, "DN"), "input_imag": (input_imag, "DN")}
        readout = {"output_real": (output_real, "ND"), "output_imag": (output_imag, "ND"), "skip": (skip, "D")}
        check_shapes(inputs=(inputs, "TD"), nu=(nu, "N"), theta=(theta, "N"), **projections, **readout)
        vectors, visible = shown(inputs, key_mask), visible_of(inputs.shape[0], key_mask)
        nu, theta, input_real, input_imag, output_real, output_imag, skip = (
            jnp.asarray(knob, vectors.dtype)
            for knob in (nu, theta, input_real, input_imag, output_real, output_imag, skip)
        )
        rate = jnp.exp(nu)
        # 1 − |λ|² by expm1: for slow decays the difference would be rounding.
        gain = jnp.sqrt(-jnp.expm1(-2 * rate))
        driven = jax.lax.complex(gain[None, :] * (vectors @ input_real), gain[None, :] * (vectors @ input_imag))
        decay = jnp.exp(jax.lax.complex(-rate, jnp.exp(theta)))
        return cls(decay, driven, visible, vectors, jax.lax.complex(output_real, output_imag), skip)

    def start(self, state: Array | None) -> Array:
        return jnp.zeros_like(self.decay) if state is None else jnp.asarray(state, self.decay.dtype)

    def read(self, states: Array) -> Array:
        """y [T,D] of the states [T,N]; two real products, since the imaginary part is not wanted."""
        read = states.real @ self.readout.real - states.imag @ self.readout.imag
        return jnp.where(self.visible[:, None], read + self.skip[None, :] * self.vectors, 0)


# S4D.


def s4d(
    inputs: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_step: Array,
    log_decay: Array,
    frequency: Array,
    output_real: Array,
    output_imag: Array,
    skip: Array,
    chunk: PositiveInt = CHUNK,
) -> Array:
    """Runs a diagonal state space for every number of the vectors by itself.

      x_dn ← Ā_dn x_dn + B̄_dn u_d        y_d = 2 Re Σₙ (output_real + i output_imag)_dn x_dn + skip_d u_d
      A = −exp(log_decay) + i frequency        Ā = exp(A exp(log_step))        B̄ = (Ā − 1)/A        u the inputs

    Args:
      inputs: [T,D].
      key_mask: [T] bool, True = holds data; a hidden position leaves the state as it is.
      initial_state: [D,N] complex; None = zeros.
      log_step: [D].
      log_decay: [D,N].  frequency: [D,N].
      output_real: [D,N].  output_imag: [D,N].
      skip: [D].
      chunk: C, positions that are convolved at once.
    Returns: [T,D], in inputs' dtype; 0 where hidden.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Gu et al. 2022, arXiv:2206.11893.
    """
    rates = {"log_step": log_step, "log_decay": log_decay, "frequency": frequency}
    readout = {"output_real": output_real, "output_imag": output_imag, "skip": skip}
    state = {"key_mask": key_mask, "initial_state": initial_state}
    return s4d_chunks(inputs, **state, **rates, **readout, chunk=chunk)[0]


def s4d_steps(
    inputs: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_step: Array,
    log_decay: Array,
    frequency: Array,
    output_real: Array,
    output_imag: Array,
    skip: Array,
) -> tuple[Array, Array]:
    """`s4d` with its final state [D,N], one position after another: its definition."""
    space = _Space.of(inputs, key_mask, log_step, log_decay, frequency, output_real, output_imag, skip)
    factor = jnp.exp(space.exponent)

    def step(state: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        vector, visible = at
        state = jnp.where(visible, factor * state + space.gain * vector[:, None].astype(factor.dtype), state)
        output = 2 * jnp.sum((space.readout * state).real, axis=1) + space.skip * vector
        return state, jnp.where(visible, output, 0)

    vectors, visible = shown(inputs, key_mask), visible_of(inputs.shape[0], key_mask)
    final, output = jax.lax.scan(step, space.start(initial_state), (vectors, visible))
    return output.astype(inputs.dtype), final


def s4d_chunks(
    inputs: Array,
    /,
    *,
    key_mask: Array | None = None,
    initial_state: Array | None = None,
    log_step: Array,
    log_decay: Array,
    frequency: Array,
    output_real: Array,
    output_imag: Array,
    skip: Array,
    chunk: PositiveInt = CHUNK,
) -> tuple[Array, Array]:
    """`s4d` with its final state [D,N]: a convolution inside every chunk, one state from chunk to chunk."""
    space = _Space.of(inputs, key_mask, log_step, log_decay, frequency, output_real, output_imag, skip)
    vectors, visible = shown(inputs, key_mask), visible_of(inputs.shape[0], key_mask)
    length, width = vectors.shape
    chunk = min(chunk, max(length, 1))
    # What is hidden goes last, so that positions that follow each other in time do so in memory.
    order = jnp.argsort(~visible, stable=True)
    padded = jnp.pad(vectors[order], ((0, -length % chunk), (0, 0))).reshape(-1, chunk, width)
    left = jnp.clip(jnp.sum(visible) - chunk * jnp.arange(padded.shape[0]), 0, chunk)
    kernel, read, write = space.kernels(chunk)

    def step(state: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        part, count = at
        inside = jnp.einsum("tsd,sd->td", kernel, part)
        before = jnp.sum((read * state[None]).real, axis=2)
        # Position s of `count` fades count − 1 − s times more; write holds these from C − 1 down.
        faded = jax.lax.dynamic_slice_in_dim(write, chunk - count, chunk, axis=0)
        written = jnp.einsum("sdn,sd->dn", faded.real, part), jnp.einsum("sdn,sd->dn", faded.imag, part)
        moved = jnp.exp(space.exponent * count.astype(state.dtype)) * state + jax.lax.complex(*written)
        return moved, inside + before

    final, outputs = jax.lax.scan(jax.checkpoint(step), space.start(initial_state), (padded, left))
    output = jnp.zeros_like(vectors).at[order].set(outputs.reshape(-1, width)[:length])
    return jnp.where(visible[:, None], output + space.skip[None, :] * vectors, 0).astype(inputs.dtype), final


class _Space(NamedTuple):
    """A discretised space: the exponent [D,N] of one step, how inputs enter, and how the state is read."""

    exponent: Array
    gain: Array
    readout: Array
    skip: Array

    @classmethod
    def of(
        cls,
        inputs: Array,
        key_mask: Array | None,
        log_step: Array,
        log_decay: Array,
        frequency: Array,
        output_real: Array,
        output_imag: Array,
        skip: Array,
    ) -> "_Space":
        rates = {"log_step": (log_step, "D"), "log_decay": (log_decay, "DN"), "frequency": (frequency, "DN")}
        readout = {"output_real": (output_real, "DN"), "output_imag": (output_imag, "DN"), "skip": (skip, "D")}
        check_shapes(inputs=(inputs, "TD"), **rates, **readout)
        dtype = shown(inputs, key_mask).dtype
        log_step, log_decay, frequency, output_real, output_imag, skip = (
            jnp.asarray(knob, dtype) for knob in (log_step, log_decay, frequency, output_real, output_imag, skip)
        )
        pole = jax.lax.complex(-jnp.exp(log_decay), frequency)
        exponent = pole * jnp.exp(log_step)[:, None].astype(pole.dtype)
        return cls(exponent, jnp.expm1(exponent) / pole, jax.lax.complex(output_real, output_imag), skip)

    def start(self, state: Array | None) -> Array:
        return jnp.zeros_like(self.exponent) if state is None else jnp.asarray(state, self.exponent.dtype)

    def kernels(self, chunk: int) -> tuple[Array, Array, Array]:
        """What a chunk is computed with.

        Returns: the convolution as a matrix [C,C,D]; how a state before the chunk is read at each of its positions,
          [C,D,N] twice its readout; and how positions enter the state after it, [2C,D,N], from the C − 1 steps that the
          first one fades down to 0, then zeros.
        """
        steps = jnp.arange(chunk + 1).astype(self.exponent.dtype)[:, None, None]
        powers = jnp.exp(self.exponent[None] * steps)
        entering = self.gain[None] * powers[:chunk]
        taps = 2 * jnp.sum((self.readout[None] * entering).real, axis=2)
        distance = jnp.arange(chunk)[:, None] - jnp.arange(chunk)[None, :]
        kernel = jnp.where(distance[..., None] >= 0, taps[jnp.maximum(distance, 0)], 0)
        write = jnp.concatenate([entering[::-1], jnp.zeros_like(entering)])
        return kernel, 2 * self.readout[None] * powers[1:], write
