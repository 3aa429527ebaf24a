"""Modules of the mixers that hash and sort."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from selfattn_jax.functional import mixers
from selfattn_jax.functional.bind import Bound, bind, lead
from selfattn_jax.modules.mixers.kernels import Drawn
from selfattn_jax.modules.pieces import Fixed
from selfattn_jax.shapes import Array, Positive, PositiveInt

FEW = 64  # buckets, which one rotation finds as fast as two


class Reformer(nnx.Module):
    """`mixers.reformer` with rotations per head, for as many buckets as chunks fill the task's length, and 2 at least.

    Beyond `FEW` of them they are found in two goes, coarse and fine: hashing takes O(T√T) products then, not O(T²).

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
        self.shape, self.directions = (heads, rounds, key_width), _directions(-(-length // chunk))
        self.chunk, self.redraw = chunk, redraw
        self.rotations = Drawn(self._draw(rngs.params()))

    def __call__(self, rng: Array | None = None) -> Bound:
        drawn = self._draw(rng) if self.redraw and rng is not None else self.rotations[...]
        parts = jnp.split(drawn, self.directions[:-1], axis=-1)
        knobs = {name: lead(part, "H") for name, part in zip(("rotations", "finer"), parts, strict=False)}
        return bind(mixers.reformer, **knobs, chunk=self.chunk)

    def _draw(self, rng: Array) -> Array:
        return jax.random.normal(rng, (*self.shape, sum(self.directions)))


def _directions(buckets: int) -> tuple[int, ...]:
    """How many directions to hash by, each of which is two buckets; in two goes their numbers multiply."""
    if buckets <= FEW:
        return (-(-buckets // 2),)
    coarse = math.ceil(math.sqrt(buckets) / 2)
    return coarse, -(-buckets // (4 * coarse))


class Sinkhorn(Fixed):
    """`mixers.sinkhorn`; a block defaults to the power of 2 from √(length/2) on, which asks for the fewest products."""

    def __init__(
        self,
        length: int,
        *,
        block: PositiveInt | None = None,
        temperature: Positive = 0.75,
        iterations: PositiveInt = 7,
    ):
        knobs = {"temperature": temperature, "iterations": iterations}
        super().__init__(bind(mixers.sinkhorn, block=block or _cheapest_block(length), **knobs))


def _cheapest_block(length: int) -> int:
    """2C + T/C, of a query's own block, the sorted one and those that it is made of, is least at C = √(T/2)."""
    return 1 << math.ceil(math.log2(max(1.0, math.sqrt(length / 2))))
