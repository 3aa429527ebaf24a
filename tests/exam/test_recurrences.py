"""Recurrences: chunks are the steps, states pass from part to part, and no decay is too slow or too fast."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from selfattn_jax import build
from selfattn_jax.functional.bind import bind, signature_of
from selfattn_jax.modules.attention import made
from tests.exam import sitting
from tests.exam.marking import oracle_of
from tests.exam.sitting import K, V, cast, every, of_heads, quick_jit

recurrences = every(lambda entry: entry.kind == "mixers" and entry.state)
chunked = every(lambda entry: entry.kind == "mixers" and entry.chunks is not None)
D = sitting.SIZES["width"]
SCALES = (1.0, 1e-4, 1e4)  # of the inputs from which decays are computed: as they come, near 1, near 0
TOLERANCES = {np.float32: 2e-5, np.float64: 1e-10}


def arrays_of(entry, length: int, dtype: Any = np.float32, scale: float = 1.0) -> tuple[list, dict]:
    """What one head, or one sequence, of the mixer is a function of, and its knobs; some positions are hidden."""
    with jax.enable_x64(False):  # as modules are made
        arrays, knobs = _made(entry, length, scale)
    visible = np.random.default_rng(length).random(length) < 0.8
    return cast(arrays, dtype), cast(knobs, dtype) | {"key_mask": visible}


def _made(entry, length: int, scale: float) -> tuple[list, dict]:
    random = np.random.default_rng(length)
    inputs = scale * random.normal(size=(1, length, D)).astype(np.float32)
    sizes = sitting.SIZES | {"causal": True, "length": length, "reach": length}
    if of_heads(entry):
        mixer = build.make_mixer(sitting.config_of(entry), sizes, nnx.Rngs(0))
        arrays = [random.normal(size=(length, width)) for width in (K, K, V)]
    else:
        mixer = build.make_vector_mixer(sitting.config_of(entry), sizes, nnx.Rngs(0))
        arrays = [random.normal(size=(length, D))]
    mixer = sitting.perturbed(mixer, random)
    knobs = sitting.own_knobs(made(mixer.mixer, inputs=inputs), 0, 1)
    return arrays, {name: knob for name, knob in knobs.items() if name not in ("chunk", "initial_state", "key_mask")}


def apply(function: Callable, arrays: list, knobs: dict, **more: Any) -> Any:
    """The function of the arrays, with those of the knobs that it has."""
    allowed = signature_of(function).knobs
    return bind(function, **{name: knob for name, knob in (knobs | more).items() if name in allowed})(*arrays)


def run(function: Callable, arrays: list, knobs: dict, **more: Any) -> Any:
    """The same, compiled once for every shape."""
    knobs = knobs | more
    fixed = {name: knob for name, knob in knobs.items() if isinstance(knob, int | str | None)}
    numbers = {name: knob for name, knob in knobs.items() if name not in fixed}
    return _run(function, tuple(fixed.items()), arrays, numbers)


@functools.partial(quick_jit, static_argnums=(0, 1))
def _run(function: Callable, fixed: tuple, arrays: list, numbers: dict) -> Any:
    return apply(function, arrays, dict(fixed) | numbers)


def close(got: Any, wanted: Any, tolerance: float) -> None:
    """To a tolerance of the largest number."""

    def one(got: Any, wanted: Any) -> None:
        assert_allclose(got, wanted, rtol=0, atol=tolerance * max(1.0, np.abs(np.asarray(wanted)).max(initial=0)))

    jax.tree.map(one, got, wanted)


def cut(arrays: list, knobs: dict, part: slice, length: int) -> tuple[list, dict]:
    """A part of a sequence: of its arrays, and of those knobs that have a number for every position."""
    own = {
        name: knob[part] if np.ndim(knob) and np.shape(knob)[0] == length and name in BY_POSITION else knob
        for name, knob in knobs.items()
    }
    return [array[part] for array in arrays], own


BY_POSITION = ("key_mask", "log_decay", "write", "step")


@recurrences
def test_the_steps_are_the_oracle(entry):
    with jax.enable_x64(True):
        arrays, knobs = arrays_of(entry, 11, np.float64)
        output, state = run(entry.steps, arrays, knobs)
        close(output, oracle_of("mixers", entry.name)(*arrays, **knobs), 1e-12)
        wanted = oracle_of("mixers", entry.name + "_state")(*arrays, **knobs)
        close(state, tuple(wanted) if isinstance(state, tuple) else wanted, 1e-12)


@chunked
@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: dtype.__name__)
def test_chunks_are_the_steps(entry, dtype):
    """From a random state, at every scale of decay."""
    for scale in SCALES:
        check_chunks(entry, 11, 4, dtype, scale)


@pytest.mark.slow
@chunked
@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda dtype: dtype.__name__)
def test_chunks_of_any_size_are_the_steps_at_any_length(entry, dtype):
    @settings(max_examples=6, deadline=None, derandomize=True)
    @given(st.integers(1, 40), st.integers(1, 24), st.sampled_from(SCALES))
    def check(length, chunk, scale):
        check_chunks(entry, length, chunk, dtype, scale)

    check()


def check_chunks(entry, length: int, chunk: int, dtype: Any, scale: float) -> None:
    with jax.enable_x64(dtype == np.float64):
        arrays, knobs = arrays_of(entry, length, dtype, scale)
        start = state_like(entry, arrays, knobs, seed=length)
        wanted = run(entry.steps, arrays, knobs, initial_state=start)
        got = run(entry.chunks, arrays, knobs, initial_state=start, chunk=chunk)
        close(got, wanted, TOLERANCES[dtype])


def state_like(entry, arrays: list, knobs: dict, seed: int) -> Any:
    """A random state."""
    _, state = jax.eval_shape(lambda: apply(entry.steps, arrays, knobs))
    random = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(random.normal(size=leaf.shape), leaf.dtype), state)


@recurrences
def test_a_state_carries_a_sequence_on(entry):
    """Cut anywhere, the second part begins with the state that the first one ends in."""
    length, place = 13, 6
    with jax.enable_x64(True):
        arrays, knobs = arrays_of(entry, length, np.float64)
        form = entry.chunks or entry.steps
        whole, last = run(form, arrays, knobs, chunk=4)
        first, state = run(form, *cut(arrays, knobs, slice(None, place), length), chunk=4)
        second, end = run(form, *cut(arrays, knobs, slice(place, None), length), chunk=4, initial_state=state)
        close(np.concatenate([first, second]), whole, 1e-10)
        close(end, last, 1e-10)


@chunked
def test_gradients_of_chunks_are_those_of_the_steps(entry):
    """By arrays, knobs and the first state, at every scale of decay."""

    def total(form, fixed, floats):
        arrays, knobs, start = floats
        output, state = apply(form, arrays, knobs | fixed, initial_state=start, chunk=4)
        leaves = [jnp.real(leaf) + jnp.imag(leaf) for leaf in jax.tree.leaves((output, state))]
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in leaves)

    with jax.enable_x64(True):
        made = [arrays_of(entry, 19, np.float64, scale) for scale in SCALES]
        fixed = {name: knob for name, knob in made[0][1].items() if not sitting.is_float(knob)}
        by_chunks, by_steps = (
            quick_jit(jax.grad(functools.partial(total, form, fixed))) for form in (entry.chunks, entry.steps)
        )
        for arrays, knobs in made:
            floating = {name: knob for name, knob in knobs.items() if name not in fixed}
            floats = (arrays, floating, state_like(entry, arrays, knobs, 1))
            close(by_chunks(floats), by_steps(floats), 1e-9)


@every(lambda entry: entry.kind == "mixers" and entry.state and of_heads(entry))
def test_the_output_alone_is_that_of_the_chunks(entry):
    arrays, knobs = arrays_of(entry, 9)
    close(run(entry.function, arrays, knobs, chunk=4), run(entry.chunks, arrays, knobs, chunk=4)[0], 1e-7)
