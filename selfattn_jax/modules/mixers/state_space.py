"""Modules of the state spaces, at first a ring of slow decays (LRU) and a line of frequencies (S4D-Lin)."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from selfattn_jax.functional import mixers
from selfattn_jax.functional.bind import Bound, bind
from selfattn_jax.modules.pieces import normal
from selfattn_jax.shapes import PositiveInt

SLOWEST, FASTEST = 0.999, 0.9  # |λ| at first


class Lru(nnx.Module):
    """`mixers.lru` of N states, which default to the width."""

    def __init__(self, width: int, *, states: PositiveInt | None = None, rngs: nnx.Rngs):
        states = states or width
        squares = jax.random.uniform(rngs.params(), (states,), minval=FASTEST**2, maxval=SLOWEST**2)
        self.nu = nnx.Param(jnp.log(-0.5 * jnp.log(squares)))
        # A tenth of a turn a step at most: phases that go round are too many for a short sequence to tell apart.
        self.theta = nnx.Param(jnp.log(jax.random.uniform(rngs.params(), (states,), minval=1e-3, maxval=math.pi / 5)))
        for name in ("input_real", "input_imag"):
            setattr(self, name, nnx.Param(normal(rngs, (width, states), 2 * width)))
        for name in ("output_real", "output_imag"):
            setattr(self, name, nnx.Param(normal(rngs, (states, width), states)))
        self.skip = nnx.Param(jax.random.normal(rngs.params(), (width,)))

    def __call__(self) -> Bound:
        names = ("nu", "theta", "input_real", "input_imag", "output_real", "output_imag", "skip")
        return bind(mixers.lru, **{name: getattr(self, name)[...] for name in names})


class S4d(nnx.Module):
    """`mixers.s4d` of N states for every number of the vectors."""

    def __init__(self, width: int, *, states: PositiveInt = 16, rngs: nnx.Rngs):
        span = math.log(1e-3), math.log(1e-1)
        self.log_step = nnx.Param(jax.random.uniform(rngs.params(), (width,), minval=span[0], maxval=span[1]))
        self.log_decay = nnx.Param(jnp.full((width, states), math.log(0.5)))
        self.frequency = nnx.Param(jnp.broadcast_to(math.pi * jnp.arange(states, dtype=jnp.float32), (width, states)))
        for name in ("output_real", "output_imag"):
            setattr(self, name, nnx.Param(normal(rngs, (width, states), 2)))
        self.skip = nnx.Param(jax.random.normal(rngs.params(), (width,)))

    def __call__(self) -> Bound:
        names = ("log_step", "log_decay", "frequency", "output_real", "output_imag", "skip")
        return bind(mixers.s4d, **{name: getattr(self, name)[...] for name in names})
