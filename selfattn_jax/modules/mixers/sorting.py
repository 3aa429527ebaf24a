"""Modules of the mixers that hash and sort."""

import math

import jax
from flax import nnx

from selfattn_jax.functional import mixers
from selfattn_jax.functional.bind import Bound, bind, lead
from selfattn_jax.modules.mixers.kernels import Drawn
from selfattn_jax.modules.pieces import Fixed
from selfattn_jax.shapes import Array, Positive, PositiveInt


class Reformer(nnx.Module):
    """`mixers.reformer` with rotations per head, for as many buckets as chunks fill the task's length, and 2 at least.

    Called with a random key, as in training, it draws the rotations anew if `redraw` says so.
    """

    def __init__(
        self,
        heads: int,
        key_width: int,
        length: int,
        *,
        rounds: PositiveInt = 4,
        chunk: PositiveInt = 32,
        redraw: bool = False,
        rngs: nnx.Rngs,
    ):
        self.shape = (heads, rounds, key_width, -(-length // (2 * chunk)))
        self.chunk, self.redraw = chunk, redraw
        self.rotations = Drawn(jax.random.normal(rngs.params(), self.shape))

    def __call__(self, rng: Array | None = None) -> Bound:
        rotations = jax.random.normal(rng, self.shape) if self.redraw and rng is not None else self.rotations[...]
        return bind(mixers.reformer, rotations=lead(rotations, "H"), chunk=self.chunk)


class Sinkhorn(Fixed):
    """`mixers.sinkhorn`; a block defaults to the square root of the task's length."""

    def __init__(
        self,
        length: int,
        *,
        block: PositiveInt | None = None,
        temperature: Positive = 0.75,
        iterations: PositiveInt = 7,
    ):
        knobs = {"temperature": temperature, "iterations": iterations}
        super().__init__(bind(mixers.sinkhorn, block=block or math.ceil(math.sqrt(length)), **knobs))
