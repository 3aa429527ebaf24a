"""State spaces that are diagonal and do not depend on the content: linear recurrences of complex numbers.

A hidden position does nothing: the state stays as it is, as if the position were not there. So the chunks are of what
is visible, moved together; the state before each is handed on from the one before.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.visible import shown, visible_of
from selfattn_jax.shapes import Array, PositiveInt, check_shapes

CHUNK = 32

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
    """`lru` with its final state [N]: the steps of all chunks at once, then what each adds to the next."""
    unit = _Lru.of(inputs, key_mask, nu, theta, input_real, input_imag, output_real, output_imag, skip)
    together, count, back = _together(unit.driven, key_mask)
    parts = _in_chunks(together, CHUNK).swapaxes(0, 1)

    def step(states: Array, driven: Array) -> tuple[Array, Array]:
        states = unit.decay[None, :] * states + driven
        return states, states

    ends, states = jax.lax.scan(step, jnp.zeros_like(parts[0]), parts)
    powers, start = _powers(unit.decay, parts.shape[0]), unit.start(initial_state)
    before, _ = _handed_on(powers[-1], start, ends)
    states = states + powers[1:, None] * before[None]
    states = states.swapaxes(0, 1).reshape(-1, start.shape[0])
    final = jnp.where(count > 0, states[jnp.maximum(count - 1, 0)], start)
    return unit.read(back(states)).astype(inputs.dtype), final


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
    together, count, back = _together(vectors, key_mask)
    parts = _in_chunks(together, chunk).transpose(2, 1, 0)
    kernel, read, entering, fading = space.kernels(parts.shape[1])
    width, states = entering.shape[1:]
    # How positions enter the state after the chunk, the first of them faded the most: [D,2N,C].
    write = jnp.concatenate([entering.real, entering.imag], axis=2)[::-1].transpose(1, 2, 0)
    inside, written = jnp.split(jnp.concatenate([kernel, write], axis=1) @ parts, [parts.shape[1]], axis=1)
    written = jax.lax.complex(written[:, :states], written[:, states:]).transpose(2, 0, 1)
    before, last = _handed_on(fading[-1], space.start(initial_state), written)
    known = jnp.concatenate([before.real, before.imag], axis=2).transpose(1, 2, 0)
    output = (inside + read @ known).transpose(2, 1, 0).reshape(-1, width)
    output = jnp.where(visible[:, None], back(output) + space.skip[None, :] * vectors, 0)
    return output.astype(inputs.dtype), _partway(count, parts, jnp.concatenate([before, last[None]]), entering, fading)


def _partway(count: Array, parts: Array, before: Array, entering: Array, fading: Array) -> Array:
    """The state [D,N] after so many positions, from the states before all chunks and after the last."""
    chunk = parts.shape[1]
    whole, rest = count // chunk, count % chunk
    distance = rest - 1 - jnp.arange(chunk)
    faded = jnp.where((distance >= 0)[:, None, None], entering[jnp.maximum(distance, 0)], 0)
    part = jnp.take(parts, jnp.minimum(whole, parts.shape[2] - 1), axis=2).T[:, :, None]
    written = jax.lax.complex(jnp.sum(faded.real * part, axis=0), jnp.sum(faded.imag * part, axis=0))
    return fading[rest] * before[whole] + written


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

    def kernels(self, chunk: int) -> tuple[Array, Array, Array, Array]:
        """What a chunk is computed with.

        Returns: the convolution as matrices [D,C,C]; how a state before the chunk is read at each of its positions
          [D,C,2N], real and imaginary parts side by side; how a vector is in the state 0 … C − 1 steps after it entered
          [C,D,N]; and how a state fades in 0 … C steps [C+1,D,N].
        """
        fading = _powers(jnp.exp(self.exponent), chunk)
        entering = self.gain[None] * fading[:chunk]
        taps = 2 * jnp.sum((self.readout[None] * entering).real, axis=2)
        distance = jnp.arange(chunk)[:, None] - jnp.arange(chunk)[None, :]
        kernel = jnp.where(distance[..., None] >= 0, taps[jnp.maximum(distance, 0)], 0)
        read = 2 * self.readout[None] * fading[1:]
        read = jnp.concatenate([read.real, -read.imag], axis=2)
        return kernel.transpose(2, 0, 1), read.transpose(1, 0, 2), entering, fading


# Chunks.


def _together(rows: Array, key_mask: Array | None) -> tuple[Array, Array, Callable[[Array], Array]]:
    """Rows [T,…] with the visible ones first, how many these are, and what brings rows back to their places.

    Where one is hidden, any row may come back.
    """
    length = rows.shape[0]
    if key_mask is None:
        return rows, jnp.asarray(length), lambda found: found[:length]
    indices = jnp.arange(length)
    order = jnp.sort(jnp.where(key_mask, indices, length + indices)) % max(length, 1)
    places = jnp.maximum(jnp.cumsum(key_mask) - 1, 0)
    return rows[order], jnp.sum(key_mask), lambda found: found[places]


def _in_chunks(rows: Array, chunk: int) -> Array:
    """Rows [T,X] as [n,C,X], filled up with zeros; one chunk at least."""
    chunk = max(min(chunk, rows.shape[0]), 1)
    count = max(-(-rows.shape[0] // chunk), 1)
    return jnp.pad(rows, ((0, count * chunk - rows.shape[0]), (0, 0))).reshape(count, chunk, rows.shape[1])


def _powers(factor: Array, count: int) -> Array:
    """The powers of a factor from 0 to `count`, along a new first axis: each half from the one before it."""
    powers = factor[None]
    while powers.shape[0] < count:
        powers = jnp.concatenate([powers, powers[-1:] * powers])
    return jnp.concatenate([jnp.ones_like(factor)[None], powers[:count]])


def _handed_on(factor: Array, start: Array, written: Array) -> tuple[Array, Array]:
    """The states before all chunks, and that after the last: each fades by a factor and takes up what was written."""

    def step(state: Array, written: Array) -> tuple[Array, Array]:
        return factor * state + written, state

    last, before = jax.lax.scan(step, start, written)
    return before, last
