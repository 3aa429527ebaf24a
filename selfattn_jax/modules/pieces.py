"""Modules around the pieces that learn, or that depend on a size of the model: calling one gives the bound piece.

A constructor's positional parameters name the sizes that it needs (heads, key_width, width, length, causal); its
keyword-only ones are the piece's config. Pieces that are positions are in `modules.positions`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from selfattn_jax.functional import encode, modifiers, normalizers, scores
from selfattn_jax.functional.bind import Bound, bind, lead
from selfattn_jax.shapes import AboveOne, Array, Positive, PositiveInt


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
        self.query_weight = nnx.Param(normal(rngs, (heads, key_width, features), key_width))
        self.key_weight = nnx.Param(normal(rngs, (heads, key_width, features), key_width))
        self.readout = nnx.Param(normal(rngs, (heads, features), features))

    def __call__(self) -> Bound:
        knobs = {name: lead(getattr(self, name)[...], "H") for name in ("query_weight", "key_weight", "readout")}
        return bind(scores.additive, **knobs)


class Concat(nnx.Module):
    """`scores.concat` with its weights, one set per head; features F defaults to the key width."""

    def __init__(self, heads: int, key_width: int, *, features: PositiveInt | None = None, rngs: nnx.Rngs):
        features = features or key_width
        self.weight = nnx.Param(normal(rngs, (heads, 2 * key_width, features), key_width))
        self.readout = nnx.Param(normal(rngs, (heads, features), features))

    def __call__(self) -> Bound:
        return bind(scores.concat, weight=lead(self.weight[...], "H"), readout=lead(self.readout[...], "H"))


class Bilinear(nnx.Module):
    """`scores.bilinear` with a matrix per head, at first of a size that gives scores like those of scaled_dot."""

    def __init__(self, heads: int, key_width: int, *, rngs: nnx.Rngs):
        self.weight = nnx.Param(normal(rngs, (heads, key_width, key_width), key_width**2))

    def __call__(self) -> Bound:
        return bind(scores.bilinear, weight=lead(self.weight[...], "H"))


class Gaussian(nnx.Module):
    """`scores.gaussian` with a learned bandwidth per head, held as its logarithm; it begins at K^¼ unless said."""

    def __init__(self, heads: int, key_width: int, *, bandwidth: Positive | None = None):
        self.log_bandwidth = nnx.Param(jnp.full((heads,), math.log(bandwidth or key_width**0.25)))

    def __call__(self) -> Bound:
        return bind(scores.gaussian, bandwidth=lead(jnp.exp(self.log_bandwidth[...]), "H"))


class QkNorm(nnx.Module):
    """`encode.qk_norm` with a learned gain for queries and one for keys, shared by the heads."""

    def __init__(self, key_width: int, *, epsilon: Positive = 1e-6):
        self.query_gain, self.key_gain = (nnx.Param(jnp.ones((key_width,))) for _ in range(2))
        self.epsilon = epsilon

    def __call__(self) -> Bound:
        gains = {"query_gain": self.query_gain[...], "key_gain": self.key_gain[...]}
        return bind(encode.qk_norm, **gains, epsilon=self.epsilon)


class Temperature(nnx.Module):
    """`modifiers.temperature`, learned per head, held as its logarithm to stay above 0."""

    def __init__(self, heads: int, *, temperature: Positive = 1.0):
        self.log_temperature = nnx.Param(jnp.full((heads,), math.log(temperature)))

    def __call__(self) -> Bound:
        return bind(modifiers.temperature, temperature=lead(jnp.exp(self.log_temperature[...]), "H"))


class Sink(nnx.Module):
    """`normalizers.sink` with a learned sink per head."""

    def __init__(self, heads: int, *, sink: float = 0.0):
        self.sink = nnx.Param(jnp.full((heads,), float(sink)))

    def __call__(self) -> Bound:
        return bind(normalizers.sink, sink=lead(self.sink[...], "H"))


class _OfLength(nnx.Module):
    """A normaliser that divides by a maximum length, which defaults to the length of the task."""

    function: Callable

    def __init__(self, length: int, *, maximum_length: PositiveInt | None = None):
        self.maximum_length = maximum_length or length

    def __call__(self) -> Bound:
        return bind(self.function, maximum_length=self.maximum_length)


class Sigmoid(_OfLength):
    """`normalizers.sigmoid`; maximum_length defaults to the length of the task."""

    function = staticmethod(normalizers.sigmoid)


class Relu(_OfLength):
    """`normalizers.relu`; maximum_length defaults to the length of the task."""

    function = staticmethod(normalizers.relu)


class SquaredRelu(_OfLength):
    """`normalizers.squared_relu`; maximum_length defaults to the length of the task."""

    function = staticmethod(normalizers.squared_relu)


class ScalableSoftmax(nnx.Module):
    """`normalizers.scalable_softmax` with a learned scale per head."""

    def __init__(self, heads: int, *, scale: Positive = 1.0):
        self.scale = nnx.Param(jnp.full((heads,), float(scale)))

    def __call__(self) -> Bound:
        return bind(normalizers.scalable_softmax, scale=lead(self.scale[...], "H"))


class Entmax(nnx.Module):
    """`normalizers.entmax` with a learned alpha per head, held as log(alpha − 1) to stay above 1."""

    def __init__(self, heads: int, *, alpha: AboveOne = 1.5):
        self.log_excess = nnx.Param(jnp.full((heads,), math.log(alpha - 1)))

    def __call__(self) -> Bound:
        return bind(normalizers.entmax, alpha=lead(1 + jnp.exp(self.log_excess[...]), "H"))


def normal(rngs: nnx.Rngs, shape: tuple[int, ...], width: int) -> Array:
    """Normal(width^−½): at 0.02, the habit of larger models, tiny encoders do not learn to attend."""
    return jax.random.normal(rngs.params(), shape) * width**-0.5
