"""Modules of kernel mixers: random projections, drawn once or anew in training, and learned features."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from selfattn_jax.functional import mixers
from selfattn_jax.functional.bind import Bound, bind, lead
from selfattn_jax.functional.mixers.performer import FeatureMap
from selfattn_jax.modules.pieces import Fixed
from selfattn_jax.shapes import Array, Positive, PositiveInt


class Drawn(nnx.Variable):
    """A random draw that stays as it is: kept with the parameters, never trained."""


class Projected(nnx.Module):
    """What projects by random rows, of every head its own: a fixed draw, or a new one with every random key."""

    def __init__(self, heads: int, key_width: int, features: int | None, redraw: bool, rngs: nnx.Rngs):
        count = features or max(key_width, round(key_width * math.log(key_width)))
        self.shape, self.redraw = (heads, count, key_width), redraw
        self.projection = Drawn(orthogonal(rngs.params(), self.shape))

    def drawn(self, rng: Array | None) -> Array:
        """The projection [H,M,K]: by a random key where it is drawn anew, else the one that stays."""
        return orthogonal(rng, self.shape) if self.redraw and rng is not None else self.projection[...]


class Performer(Projected):
    """`mixers.performer` with an orthogonal projection per head; its features M default to K·ln K, and to K at least.

    Called with a random key, as in training, it draws the projection anew if `redraw` says so.
    """

    def __init__(
        self,
        heads: int,
        key_width: int,
        *,
        features: PositiveInt | None = None,
        feature_map: FeatureMap = "positive",
        redraw: bool = False,
        rngs: nnx.Rngs,
    ):
        super().__init__(heads, key_width, features, redraw, rngs)
        self.feature_map: FeatureMap = feature_map

    def __call__(self, rng: Array | None = None) -> Bound:
        return bind(mixers.performer, projection=lead(self.drawn(rng), "H"), features=self.feature_map)


class RandomFeature(Projected):
    """`mixers.random_feature` with an orthogonal projection per head, whose columns are scaled by learned numbers.

    They are the inverse widths of the kernel, held as logarithms; features M and `redraw` are as for `Performer`.
    """

    def __init__(
        self,
        heads: int,
        key_width: int,
        *,
        features: PositiveInt | None = None,
        redraw: bool = False,
        epsilon: Positive = 1e-2,
        rngs: nnx.Rngs,
    ):
        super().__init__(heads, key_width, features, redraw, rngs)
        self.log_scale = nnx.Param(jnp.zeros((heads, key_width)))
        self.epsilon = epsilon

    def __call__(self, rng: Array | None = None) -> Bound:
        projection = self.drawn(rng) * jnp.exp(self.log_scale[...])[:, None, :]
        return bind(mixers.random_feature, projection=lead(projection, "H"), epsilon=self.epsilon)


class Cosformer(Fixed):
    """`mixers.cosformer`; maximum defaults to the length of the task."""

    def __init__(self, length: int, *, maximum: PositiveInt | None = None, epsilon: Positive = 1e-6):
        super().__init__(bind(mixers.cosformer, maximum=maximum or length, epsilon=epsilon))


class Hedgehog(nnx.Module):
    """`mixers.hedgehog` with its weights per head, which begin as identities; features F default to the key width."""

    def __init__(self, heads: int, key_width: int, *, features: PositiveInt | None = None, epsilon: Positive = 1e-6):
        identity = jnp.eye(key_width, features or key_width)
        self.query_weight, self.key_weight = (nnx.Param(jnp.tile(identity, (heads, 1, 1))) for _ in range(2))
        self.epsilon = epsilon

    def __call__(self) -> Bound:
        weights = {name: lead(getattr(self, name)[...], "H") for name in ("query_weight", "key_weight")}
        return bind(mixers.hedgehog, **weights, epsilon=self.epsilon)


def orthogonal(rng: Array, shape: tuple[int, int, int]) -> Array:
    """Rows [H,M,K] that are normally distributed each, and orthogonal to one another in blocks of K.

    Gram–Schmidt makes directions of a square of normal numbers; the lengths are those of other normal vectors.
    """
    heads, count, width = shape
    blocks = -(-count // width)
    for_directions, for_lengths = jax.random.split(rng)
    directions = orthonormal(jax.random.normal(for_directions, (heads * blocks, width, width)))
    lengths = jnp.linalg.norm(jax.random.normal(for_lengths, shape), axis=-1, keepdims=True)
    return directions.reshape(heads, blocks * width, width)[:, :count] * lengths


def orthonormal(rows: Array) -> Array:
    """Gram–Schmidt: each row [N,K,K] less its parts along the rows before it, of length 1.

    Parts are taken off twice, since what is left by the first time may be small, and its rounding errors are not. Not
    `jnp.linalg.qr`: on a CPU it waits, within a thread of the pool, for that same pool, and as many of them at once as
    there are threads wait for ever (jaxlib 0.10); every device of a run draws its own.
    """

    def one_more(index: Array, found: Array) -> Array:
        row = jax.lax.dynamic_slice_in_dim(rows, index, 1, axis=1)
        for _ in range(2):
            row = row - (row @ jnp.swapaxes(found, 1, 2)) @ found
        row = row / jnp.linalg.norm(row, axis=2, keepdims=True)
        return jax.lax.dynamic_update_slice_in_dim(found, row, index, axis=1)

    return jax.lax.fori_loop(0, rows.shape[1], one_more, jnp.zeros_like(rows))
