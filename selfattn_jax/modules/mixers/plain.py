"""Modules of the mixers that make no choice."""

import jax.numpy as jnp
from flax import nnx

from selfattn_jax.functional import mixers
from selfattn_jax.functional.bind import Bound, bind
from selfattn_jax.modules.pieces import normal
from selfattn_jax.shapes import PositiveInt


class MlpMixer(nnx.Module):
    """`mixers.mlp_mixer` for sequences of the task's length."""

    def __init__(self, length: int, *, features: PositiveInt = 256, rngs: nnx.Rngs):
        self.up = nnx.Param(normal(rngs, (length, features), length))
        self.up_bias = nnx.Param(jnp.zeros(features))
        self.down = nnx.Param(normal(rngs, (features, length), features))
        self.down_bias = nnx.Param(jnp.zeros(length))

    def __call__(self) -> Bound:
        names = ("up", "up_bias", "down", "down_bias")
        return bind(mixers.mlp_mixer, **{name: getattr(self, name)[...] for name in names})
