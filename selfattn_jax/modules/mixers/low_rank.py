"""Modules of mixers of low rank: learned mixtures of positions, and learned vectors that attend."""

from flax import nnx

from selfattn_jax.functional import mixers
from selfattn_jax.functional.bind import Bound, bind, lead
from selfattn_jax.modules.pieces import normal
from selfattn_jax.shapes import PositiveInt


class Linformer(nnx.Module):
    """`mixers.linformer` with projections per head; maximum N defaults to the length of the task, and may not be below.

    They begin so that a mixture of independent keys is as large as one of them.
    """

    def __init__(
        self, heads: int, length: int, *, rank: PositiveInt = 32, maximum: PositiveInt | None = None, rngs: nnx.Rngs
    ):
        maximum = maximum or length
        if maximum < length:
            raise ValueError(f"maximum must be at least the length of the task, {length}, got {maximum}")
        shape = (heads, maximum, rank)
        self.key_projection, self.value_projection = (nnx.Param(normal(rngs, shape, maximum)) for _ in range(2))

    def __call__(self) -> Bound:
        knobs = {name: lead(getattr(self, name)[...], "H") for name in ("key_projection", "value_projection")}
        return bind(mixers.linformer, **knobs)


class Luna(nnx.Module):
    """`mixers.luna` with `count` learned queries per head, at first as large as the queries of a layer."""

    def __init__(self, heads: int, key_width: int, *, count: PositiveInt = 32, rngs: nnx.Rngs):
        self.packed_query = nnx.Param(normal(rngs, (heads, count, key_width), 1))

    def __call__(self) -> Bound:
        return bind(mixers.luna, packed_query=lead(self.packed_query[...], "H"))


class LatentBottleneck(nnx.Module):
    """`mixers.latent_bottleneck` with `count` learned latents per head, at first as large as queries and keys."""

    def __init__(self, heads: int, key_width: int, *, count: PositiveInt = 32, rngs: nnx.Rngs):
        shape = (heads, count, key_width)
        self.latent_query, self.latent_key = (nnx.Param(normal(rngs, shape, 1)) for _ in range(2))

    def __call__(self) -> Bound:
        knobs = {name: lead(getattr(self, name)[...], "H") for name in ("latent_query", "latent_key")}
        return bind(mixers.latent_bottleneck, **knobs)
