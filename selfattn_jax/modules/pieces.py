"""Modules around the pieces that learn, or that depend on a size of the model: calling one gives the bound piece.

A constructor's positional parameters name the sizes that it needs (heads, key_width, width, length, causal); its
keyword-only ones are the piece's config.
"""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from selfattn_jax.functional import biases, embeddings, modifiers, normalizers, rowwise, scores
from selfattn_jax.functional.bind import Bound, bind, lead
from selfattn_jax.shapes import Array, Positive, PositiveInt


class Fixed(nnx.Module):
    """A piece that neither learns nor depends on a size."""

    def __init__(self, piece: Bound):
        self.piece = nnx.static(piece)

    def __call__(self) -> Bound:
        return self.piece


class Cosine(nnx.Module):
    """`scores.cosine` with a learned temperature per head, held as its logarithm to stay above 0."""

    def __init__(self, heads: int, *, temperature: Positive = 0.1):
        self.log_temperature = nnx.Param(jnp.full((heads,), math.log(temperature)))

    def __call__(self) -> Bound:
        return bind(scores.cosine, temperature=lead(jnp.exp(self.log_temperature[...]), "H"))


class Additive(nnx.Module):
    """`scores.additive` with its weights, one set per head; features F defaults to the key width."""

    def __init__(self, heads: int, key_width: int, *, features: PositiveInt | None = None, rngs: nnx.Rngs):
        features = features or key_width
        self.query_weight = nnx.Param(_normal(rngs, (heads, key_width, features), key_width))
        self.key_weight = nnx.Param(_normal(rngs, (heads, key_width, features), key_width))
        self.readout = nnx.Param(_normal(rngs, (heads, features), features))

    def __call__(self) -> Bound:
        knobs = {name: lead(getattr(self, name)[...], "H") for name in ("query_weight", "key_weight", "readout")}
        return bind(scores.additive, **knobs)


class Temperature(nnx.Module):
    """`modifiers.temperature`, learned per head, held as its logarithm to stay above 0."""

    def __init__(self, heads: int, *, temperature: Positive = 1.0):
        self.log_temperature = nnx.Param(jnp.full((heads,), math.log(temperature)))

    def __call__(self) -> Bound:
        return bind(modifiers.temperature, temperature=lead(jnp.exp(self.log_temperature[...]), "H"))


class Alibi(nnx.Module):
    """`biases.alibi` with the usual slopes, which do not learn."""

    def __init__(self, heads: int):
        self.heads = heads

    def __call__(self) -> Bound:
        return bind(biases.alibi, slope=lead(biases.alibi_slopes(self.heads), "H"))


class Cope(nnx.Module):
    """`rowwise.cope` with its embedding, shared by the heads; maximum P defaults to the length."""

    def __init__(self, key_width: int, length: int, *, maximum: PositiveInt | None = None, rngs: nnx.Rngs):
        self.embedding = nnx.Param(_normal(rngs, (maximum or length, key_width), key_width))

    def __call__(self) -> Bound:
        return bind(rowwise.cope, embedding=self.embedding[...])


class Sink(nnx.Module):
    """`normalizers.sink` with a learned sink per head."""

    def __init__(self, heads: int, *, sink: float = 0.0):
        self.sink = nnx.Param(jnp.full((heads,), float(sink)))

    def __call__(self) -> Bound:
        return bind(normalizers.sink, sink=lead(self.sink[...], "H"))


class Sigmoid(nnx.Module):
    """`normalizers.sigmoid`; maximum_length defaults to the length of the task."""

    def __init__(self, length: int, *, maximum_length: PositiveInt | None = None):
        self.maximum_length = maximum_length or length

    def __call__(self) -> Bound:
        return bind(normalizers.sigmoid, maximum_length=self.maximum_length)


class Sinusoidal(nnx.Module):
    """`embeddings.sinusoidal` at the model's width."""

    def __init__(self, width: int, *, base: Positive = 10000.0):
        self.width, self.base = width, base

    def __call__(self) -> Bound:
        return bind(embeddings.sinusoidal, width=self.width, base=self.base)


class Learned(nnx.Module):
    """`embeddings.learned` with its table; maximum P defaults to the length of the task, and may not be below it."""

    def __init__(self, width: int, length: int, *, maximum: PositiveInt | None = None, rngs: nnx.Rngs):
        maximum = maximum or length
        if maximum < length:
            raise ValueError(
                f"maximum must be at least the task's length {length}, got {maximum}: a position has no vector"
            )
        self.table = nnx.Param(_normal(rngs, (maximum, width), width))

    def __call__(self) -> Bound:
        return bind(embeddings.learned, table=self.table[...])


def _normal(rngs: nnx.Rngs, shape: tuple[int, ...], width: int) -> Array:
    """Normal(width^−½): at 0.02, the habit of larger models, tiny encoders do not learn to attend."""
    return jax.random.normal(rngs.params(), shape) * width**-0.5
