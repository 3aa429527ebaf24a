"""Modules of the recurrences: what decays, writes and steps are computed from is the input of the layer."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from selfattn_jax.functional import mixers
from selfattn_jax.functional.bind import Bound, bind, lead
from selfattn_jax.modules.pieces import normal
from selfattn_jax.shapes import Array, NonNegativeInt, Positive, PositiveInt

# Logarithms of gates are divided by it, so that a head begins with a memory of some hundred positions (GLA).
SLOWNESS = 16.0


class Retention(nnx.Module):
    """`mixers.retention` with fixed decays 1 − 2^(−5−h) of head h."""

    def __init__(self, heads: int):
        self.heads = heads

    def __call__(self) -> Bound:
        rates = jnp.log1p(-(2.0 ** (-5.0 - jnp.arange(self.heads, dtype=jnp.float32))))
        return bind(mixers.retention, log_decay=lead(rates, "H"))


class SimpleGated(nnx.Module):
    """`mixers.simple_gated` with a gate per head, computed from the inputs of the layer."""

    def __init__(self, heads: int, width: int, *, rngs: nnx.Rngs):
        self.gate = nnx.Linear(width, heads, rngs=rngs)

    def __call__(self, inputs: Array) -> Bound:
        logs = jax.nn.log_sigmoid(self.gate(inputs)) / SLOWNESS
        return bind(mixers.simple_gated, log_decay=lead(jnp.swapaxes(logs, 1, 2), "BH"))


class GatedLinear(nnx.Module):
    """`mixers.gated_linear` with a gate for every feature, computed from the inputs through a few numbers (rank: R)."""

    def __init__(self, heads: int, width: int, key_width: int, *, rank: PositiveInt = 16, rngs: nnx.Rngs):
        self.heads = heads
        self.down = nnx.Linear(width, rank, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(rank, heads * key_width, rngs=rngs)

    def __call__(self, inputs: Array) -> Bound:
        logs = jax.nn.log_sigmoid(self.up(self.down(inputs))) / SLOWNESS
        return bind(mixers.gated_linear, log_decay=lead(by_head(logs, self.heads), "BH"))


class Rwkv(nnx.Module):
    """`mixers.rwkv`: decays −exp(w) from the inputs through a few numbers (rank: R), and a bonus per feature."""

    def __init__(self, heads: int, width: int, key_width: int, *, rank: PositiveInt = 16, rngs: nnx.Rngs):
        self.heads = heads
        self.down = nnx.Linear(width, rank, use_bias=False, rngs=rngs)
        self.up = nnx.Linear(rank, heads * key_width, use_bias=False, rngs=rngs)
        # From some three positions to some four hundred, as in the paper.
        self.pace = nnx.Param(jnp.tile(jnp.linspace(-6.0, -1.0, key_width), heads))
        self.bonus = nnx.Param(normal(rngs, (heads, key_width), 4))

    def __call__(self, inputs: Array) -> Bound:
        logs = -jnp.exp(self.pace[...][None, None, :] + self.up(jnp.tanh(self.down(inputs))))
        decays = lead(by_head(logs, self.heads), "BH")
        return bind(mixers.rwkv, log_decay=decays, bonus=lead(self.bonus[...], "H"))


class _Convolved(nnx.Module):
    """Convolves query, key and value with their last few positions first; `convolution` taps, 0 = does not."""

    def make_kernels(
        self, heads: int, groups: int, key_width: int, value_width: int, taps: int, rngs: nnx.Rngs
    ) -> None:
        shapes = (heads, taps, key_width), (groups, taps, key_width), (groups, taps, value_width)
        self.kernels = nnx.List([nnx.Param(normal(rngs, shape, taps)) for shape in shapes] if taps else [])

    def prepare(self, query: Array, key: Array, value: Array | None, key_mask: Array | None) -> tuple:
        """Query [B,T,H,K], key [B,T,G,K] and value [B,T,G,V] (or None), convolved."""
        if not len(self.kernels):
            return query, key, value
        given = zip((query, key, value), self.kernels, strict=True)
        return tuple(None if array is None else convolved(array, kernel[...], key_mask) for array, kernel in given)


class Delta(_Convolved):
    """`mixers.delta`: how much is written is computed from the inputs; before it, taps (convolution: W, 0 = none)."""

    def __init__(
        self,
        heads: int,
        groups: int,
        width: int,
        key_width: int,
        value_width: int,
        *,
        convolution: NonNegativeInt = 4,
        rngs: nnx.Rngs,
    ):
        self.make_kernels(heads, groups, key_width, value_width, convolution, rngs)
        self.write = nnx.Linear(width, heads, use_bias=False, rngs=rngs)

    def __call__(self, inputs: Array) -> Bound:
        writes = jax.nn.sigmoid(self.write(inputs))
        return bind(mixers.delta, write=lead(jnp.swapaxes(writes, 1, 2), "BH"))


class GatedDelta(_Convolved):
    """`mixers.gated_delta`: decays and writes are made of the inputs; before it, taps (convolution: W, 0 = none)."""

    def __init__(
        self,
        heads: int,
        groups: int,
        width: int,
        key_width: int,
        value_width: int,
        *,
        convolution: NonNegativeInt = 4,
        rngs: nnx.Rngs,
    ):
        self.make_kernels(heads, groups, key_width, value_width, convolution, rngs)
        self.write = nnx.Linear(width, heads, use_bias=False, rngs=rngs)
        self.step = Step(heads, width, rngs=rngs)
        self.log_rate = nnx.Param(rates(heads))

    def __call__(self, inputs: Array) -> Bound:
        writes = jax.nn.sigmoid(self.write(inputs))
        decays = -jnp.exp(self.log_rate[...])[None, :, None] * self.step(inputs)
        knobs = {"log_decay": decays, "write": jnp.swapaxes(writes, 1, 2)}
        return bind(mixers.gated_delta, **{name: lead(knob, "BH") for name, knob in knobs.items()})


class Ssd(_Convolved):
    """`mixers.ssd`: steps made of the inputs, rate and skip learned; before it, taps (convolution: W, 0 = none)."""

    def __init__(
        self,
        heads: int,
        groups: int,
        width: int,
        key_width: int,
        value_width: int,
        *,
        convolution: NonNegativeInt = 4,
        rngs: nnx.Rngs,
    ):
        self.make_kernels(heads, groups, key_width, value_width, convolution, rngs)
        self.step = Step(heads, width, rngs=rngs)
        self.log_rate, self.skip = nnx.Param(rates(heads)), nnx.Param(jnp.ones(heads))

    def __call__(self, inputs: Array) -> Bound:
        learned = {"rate": jnp.exp(self.log_rate[...]), "skip": self.skip[...]}
        by_head = {name: lead(knob, "H") for name, knob in learned.items()}
        return bind(mixers.ssd, step=lead(self.step(inputs), "BH"), **by_head)


class Step(nnx.Module):
    """Steps [B,H,T] above 0 from inputs [B,T,D], at first between `shortest` and `longest` by head and chance."""

    def __init__(self, heads: int, width: int, *, shortest: Positive = 1e-3, longest: Positive = 0.1, rngs: nnx.Rngs):
        span = math.log(shortest), math.log(longest)
        first = jnp.exp(jax.random.uniform(rngs.params(), (heads,), minval=span[0], maxval=span[1]))
        self.linear = nnx.Linear(width, heads, use_bias=False, rngs=rngs)
        self.bias = nnx.Param(first + jnp.log(-jnp.expm1(-first)))  # softplus of it is `first`

    def __call__(self, inputs: Array) -> Array:
        return jnp.swapaxes(jax.nn.softplus(self.linear(inputs) + self.bias[...][None, None, :]), 1, 2)


def rates(heads: int) -> Array:
    """Logarithms of rates from 1 to 16, one for each head."""
    return jnp.log(jnp.linspace(1.0, 16.0, heads))


def by_head(numbers: Array, heads: int) -> Array:
    """[B,T,H·K] → [B,H,T,K]."""
    return jnp.moveaxis(numbers.reshape(*numbers.shape[:2], heads, -1), 2, 1)


def convolved(array: Array, kernel: Array, key_mask: Array | None) -> Array:
    """`short_convolution` of every head of every example: [B,T,H,K] with kernels [H,W,K]."""
    batched = array if array.ndim == 4 else array[None]
    hidden = None if key_mask is None else jnp.broadcast_to(key_mask, batched.shape[:2])

    def sequence(array: Array, key_mask: Array | None) -> Array:
        def head(vectors: Array, kernel: Array) -> Array:
            return mixers.short_convolution(vectors, kernel=kernel, key_mask=key_mask)

        return jax.vmap(head, in_axes=(1, 0), out_axes=1)(array, kernel)

    found = jax.vmap(sequence)(batched, hidden)
    return found if array.ndim == 4 else found[0]
