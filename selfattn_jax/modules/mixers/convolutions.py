"""Modules of the convolutions."""

import jax.numpy as jnp
from flax import nnx

from selfattn_jax.functional import mixers
from selfattn_jax.functional.bind import Bound, bind, lead
from selfattn_jax.modules.pieces import normal
from selfattn_jax.shapes import Array, Positive, PositiveInt


class Convolution(nnx.Module):
    """`mixers.convolution` with a number of taps W."""

    def __init__(self, width: int, *, taps: PositiveInt = 4, dilation: PositiveInt = 1, rngs: nnx.Rngs):
        self.kernel = nnx.Param(normal(rngs, (taps, width, width), taps * width))
        self.dilation = dilation

    def __call__(self) -> Bound:
        return bind(mixers.convolution, kernel=self.kernel[...], dilation=self.dilation)


class LongConvolution(nnx.Module):
    """`mixers.long_convolution` with filters that a network (features: F) makes of the distance, under a fading window.

      filter(n) = (W₃ sin(ω W₂ sin(ω W₁ z(n)))) ⊙ exp(−rate · n/N)        z(n): n/N and its waves

    The rates of a head's numbers are spread from `slow` to `fast`, in units of the longest distance: the maximum N,
    which defaults to the length of the task, and may not be below. Values are as wide as keys.
    """

    def __init__(
        self,
        heads: int,
        key_width: int,
        length: int,
        *,
        maximum: PositiveInt | None = None,
        features: PositiveInt = 16,
        frequency: Positive = 8.0,
        slow: Positive = 1.0,
        fast: Positive = 16.0,
        rngs: nnx.Rngs,
    ):
        maximum = maximum or length
        if maximum < length:
            raise ValueError(f"maximum must be at least the length of the task, {length}, got {maximum}")
        self.maximum, self.width, self.frequency, self.rates = maximum, key_width, frequency, (slow, fast)
        self.first, self.second, self.third = (
            nnx.Param(normal(rngs, shape, shape[1]))
            for shape in ((heads, 1 + 2 * BANDS, features), (heads, features, features), (heads, features, key_width))
        )
        self.skip = nnx.Param(jnp.ones((heads, key_width)))

    def __call__(self) -> Bound:
        return bind(mixers.long_convolution, filters=lead(self.filters(), "H"), skip=lead(self.skip[...], "H"))

    def filters(self) -> Array:
        """The filters [H,N,K]."""
        dtype = self.first.dtype
        distance = jnp.arange(self.maximum, dtype=dtype) / self.maximum
        angles = 2 * jnp.pi * distance[:, None] * jnp.arange(1, BANDS + 1, dtype=dtype)[None, :]
        waves = jnp.concatenate([distance[:, None], jnp.sin(angles), jnp.cos(angles)], axis=1)
        hidden = jnp.sin(self.frequency * (waves @ self.first[...]))
        filters = jnp.sin(self.frequency * (hidden @ self.second[...])) @ self.third[...]
        rates = jnp.linspace(*self.rates, self.width, dtype=dtype)
        window = jnp.exp(-rates[None, :] * distance[:, None])
        # All distances together weigh about as much as one value.
        return filters * window[None] * self.maximum**-0.5


BANDS = 4
