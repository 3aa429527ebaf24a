"""Modules of masks: what depends on a size of the model, differs by head or is drawn; and & | ~ of modules."""

import functools
import operator
from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx

from selfattn_jax.functional import masks, patterns
from selfattn_jax.functional.bind import bind, lead
from selfattn_jax.functional.masks import Mask
from selfattn_jax.modules.pieces import Fixed
from selfattn_jax.shapes import NonNegativeInt, PositiveInt

Reach = NonNegativeInt | tuple[NonNegativeInt, ...]


class AnyOf(nnx.Module):
    """What any of its parts lets through; a part is a module that gives a mask."""

    def __init__(self, parts: Sequence[nnx.Module]):
        self.parts = nnx.List(parts)

    def __call__(self) -> Mask:
        return functools.reduce(operator.or_, (part() for part in self.parts))


class AllOf(nnx.Module):
    """What all of its parts let through; a part is a module that gives a mask."""

    def __init__(self, parts: Sequence[nnx.Module]):
        self.parts = nnx.List(parts)

    def __call__(self) -> Mask:
        return functools.reduce(operator.and_, (part() for part in self.parts))


class Not(nnx.Module):
    """What a module's mask hides."""

    def __init__(self, part: nnx.Module):
        self.part = part

    def __call__(self) -> Mask:
        return ~self.part()


class Window(nnx.Module):
    """`masks.window`; a list has a reach for every head."""

    def __init__(self, heads: int, *, left: Reach, right: Reach = 0):
        for name, reach in (("left", left), ("right", right)):
            if not isinstance(reach, int) and len(reach) != heads:
                raise ValueError(f"{name} must have a number for each of the {heads} heads, got {len(reach)}")
        self.left, self.right = left, right

    def __call__(self) -> Mask:
        left, right = (
            reach if isinstance(reach, int) else lead(jnp.asarray(reach, jnp.int32), "H")
            for reach in (self.left, self.right)
        )
        return bind(masks.window, left=left, right=right)


class RandomBlocks(Fixed):
    """`patterns.random_blocks` for positions below a maximum, by default the model's reach."""

    def __init__(
        self,
        reach: int,
        *,
        block: PositiveInt,
        count: PositiveInt = 1,
        maximum: PositiveInt | None = None,
        seed: NonNegativeInt = 0,
    ):
        knobs = {"block": block, "count": count, "seed": seed}
        super().__init__(bind(patterns.random_blocks, **knobs, length=maximum or reach))


class Bigbird(Fixed):
    """`patterns.bigbird` for positions below a maximum, by default the model's reach."""

    def __init__(
        self,
        reach: int,
        *,
        block: PositiveInt,
        random: PositiveInt = 1,
        count: PositiveInt = 1,
        maximum: PositiveInt | None = None,
        seed: NonNegativeInt = 0,
    ):
        knobs = {"block": block, "random": random, "count": count, "seed": seed}
        super().__init__(bind(patterns.bigbird, **knobs, length=maximum or reach))
