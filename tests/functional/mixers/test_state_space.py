"""State spaces: responses worked by hand, what is the same at every step size, and chunks of what is visible."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from selfattn_jax.functional import mixers
from selfattn_jax.functional.mixers.state_space import CHUNK
from selfattn_jax.modules.mixers import Lru, S4d
from tests.exam.sitting import quick_jit

FORMS = {
    name: [quick_jit(getattr(mixers, f"{name}_{form}")) for form in ("chunks", "steps")] for name in ("lru", "s4d")
}


def knobs_of(name: str, width: int = 3) -> dict[str, jax.Array]:
    module = {"lru": Lru, "s4d": S4d}[name](width, states=4, rngs=nnx.Rngs(0))
    return dict(module().knobs)


def test_a_pulse_turns_and_fades():
    """One state: λ = ½ i, γ = √¾, read by its real and by its imaginary part."""
    pulse = jnp.array([[1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    output = mixers.lru(
        pulse,
        nu=jnp.log(jnp.log(jnp.array([2.0]))),
        theta=jnp.log(jnp.array([jnp.pi / 2])),
        input_real=jnp.array([[1.0], [0.0]]),
        input_imag=jnp.zeros((2, 1)),
        output_real=jnp.array([[1.0, 0.0]]),
        output_imag=jnp.array([[0.0, -1.0]]),
        skip=jnp.array([10.0, 10.0]),
    )
    response = 0.75**0.5 * np.array([[1, 0], [0, 0.5], [-0.25, 0], [0, -0.125], [0.0625, 0]])
    assert_allclose(output, response + 10 * pulse, atol=1e-6)


def test_states_keep_their_size_however_slow_their_decay():
    """Under noise of variance 1 every state comes to have variance 1, for that is what γ is for."""
    rates, noise = np.array([0.3, 0.1, 0.03, 0.01]), np.random.default_rng(0).normal(size=(20000, 1))
    unit = {
        "nu": np.log(rates),
        "theta": np.full(4, -30.0),
        "input_real": np.ones((1, 4)),
        "input_imag": np.zeros((1, 4)),
    }
    for readout in np.eye(4)[:, :, None]:
        rest = {"output_real": readout, "output_imag": np.zeros((4, 1)), "skip": np.zeros(1)}
        states = FORMS["lru"][0](jnp.array(noise), **unit, **rest)[0]
        assert abs(float(jnp.mean(states[1000:] ** 2)) - 1) < 0.2


def test_a_held_input_may_be_sampled_at_any_step():
    """Half the step and every input twice: the same system, read at every other position."""
    knobs, inputs = knobs_of("s4d") | {"skip": jnp.zeros(3)}, jnp.array(np.random.default_rng(0).normal(size=(40, 3)))
    halved = knobs | {"log_step": knobs["log_step"] - jnp.log(2.0)}
    slow, fast = mixers.s4d(inputs, **knobs), mixers.s4d(jnp.repeat(inputs, 2, axis=0), **halved)
    assert_allclose(fast[1::2], slow, atol=1e-5)


def test_a_pole_far_to_the_left_has_forgotten():
    """Of a state that fades at once, x = −u/A is left: twice its real part with A = −1000 is u/500."""
    shape = (2, 1)
    knobs = {"log_step": np.zeros(2), "log_decay": np.full(shape, np.log(1000.0)), "frequency": np.zeros(shape)}
    readout = {"output_real": np.ones(shape), "output_imag": np.ones(shape), "skip": np.zeros(2)}
    inputs = jnp.array([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0]])
    assert_allclose(mixers.s4d(inputs, **knobs, **readout), inputs / 500, rtol=1e-6)


@pytest.mark.parametrize("name", ["lru", "s4d"])
@pytest.mark.parametrize("visible", [0, 1, CHUNK, 2 * CHUNK, 2 * CHUNK + 1])
def test_chunks_are_the_steps_however_many_are_visible(name, visible):
    length, random = 2 * CHUNK + 3, np.random.default_rng(visible)
    shown = jnp.array(random.permutation(length) < visible)
    inputs = jnp.where(shown[:, None], jnp.array(random.normal(size=(length, 3)), jnp.float32), jnp.nan)
    chunks, steps = (form(inputs, key_mask=shown, **knobs_of(name)) for form in FORMS[name])
    for got, wanted in zip(chunks, steps, strict=True):
        assert_allclose(got, wanted, atol=2e-5)


def test_a_module_begins_as_its_paper_says():
    lru, s4d = Lru(8, states=200, rngs=nnx.Rngs(0)), S4d(8, states=3, rngs=nnx.Rngs(0))
    radius = np.exp(-np.exp(lru.nu[...]))
    assert 0.9 <= radius.min() < 0.91
    assert 0.99 < radius.max() <= 0.999
    assert_allclose(-np.exp(s4d.log_decay[...]), np.full((8, 3), -0.5), rtol=1e-6)
    assert_allclose(s4d.frequency[0], np.pi * np.arange(3), rtol=1e-6)
