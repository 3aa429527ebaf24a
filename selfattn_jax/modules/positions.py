"""Modules around the positions that learn, or that depend on a size of the model: calling one gives the bound piece.

A constructor's positional parameters name the sizes that it needs; its keyword-only ones are the piece's config.
"""

import math
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le
from flax import nnx

from selfattn_jax.functional import biases, embeddings, encode, relative, rowwise
from selfattn_jax.functional.bind import Bound, bind, lead
from selfattn_jax.modules.pieces import Fixed, normal
from selfattn_jax.shapes import Array, AtLeastOne, Positive, PositiveInt

# In the model's inputs.


class Sinusoidal(nnx.Module):
    """`embeddings.sinusoidal` at the model's width."""

    def __init__(self, width: int, *, base: Positive = 10000.0):
        self.width, self.base = width, base

    def __call__(self) -> Bound:
        return bind(embeddings.sinusoidal, width=self.width, base=self.base)


class Learned(nnx.Module):
    """`embeddings.learned` with its table; maximum P defaults to the model's reach, and may not be below it."""

    def __init__(self, width: int, reach: int, *, maximum: PositiveInt | None = None, rngs: nnx.Rngs):
        maximum = maximum or reach
        if maximum < reach:
            raise ValueError(
                f"maximum must be at least the {reach} positions there are, got {maximum}: a position has no vector"
            )
        self.table = nnx.Param(normal(rngs, (maximum, width), width))

    def __call__(self) -> Bound:
        return bind(embeddings.learned, table=self.table[...])


class Sinusoidal2d(nnx.Module):
    """`embeddings.sinusoidal_2d` at the model's width."""

    def __init__(self, width: int, *, columns: PositiveInt, base: Positive = 10000.0):
        if width % 4:
            raise ValueError(f"4 must divide the width for sinusoidal_2d, got {width}")
        self.width, self.columns, self.base = width, columns, base

    def __call__(self) -> Bound:
        return bind(embeddings.sinusoidal_2d, width=self.width, columns=self.columns, base=self.base)


class Learned2d(nnx.Module):
    """`embeddings.learned_2d` with its tables; rows default to as many as the model's reach fills."""

    def __init__(
        self, width: int, reach: int, *, columns: PositiveInt, rows: PositiveInt | None = None, rngs: nnx.Rngs
    ):
        rows = rows or -(-reach // columns)
        if width % 2:
            raise ValueError(f"2 must divide the width for learned_2d, got {width}")
        if rows * columns < reach:
            raise ValueError(f"rows · columns must be at least the {reach} positions there are, got {rows} · {columns}")
        self.row_table = nnx.Param(normal(rngs, (rows, width // 2), width))
        self.column_table = nnx.Param(normal(rngs, (columns, width // 2), width))

    def __call__(self) -> Bound:
        return bind(embeddings.learned_2d, row_table=self.row_table[...], column_table=self.column_table[...])


class Randomised(nnx.Module):
    """`embeddings.randomised` at the task's length: called with a key, it draws the positions of one sequence."""

    def __init__(self, length: int, *, maximum: PositiveInt):
        if maximum < length:
            raise ValueError(f"maximum must be at least the task's length {length}, got {maximum}")
        self.maximum = maximum

    def __call__(self) -> Bound:
        return bind(embeddings.randomised, maximum=self.maximum)


# In queries and keys.


class RopeDynamicNtk(Fixed):
    """`encode.rope_dynamic_ntk`; original_length defaults to the length of the task."""

    def __init__(
        self,
        length: int,
        *,
        original_length: PositiveInt | None = None,
        factor: AtLeastOne = 2.0,
        base: Positive = 10000.0,
        layout: encode.Layout = "half",
        rotated: PositiveInt | None = None,
    ):
        knobs = {"factor": factor, "base": base, "layout": layout, "rotated": rotated}
        super().__init__(bind(encode.rope_dynamic_ntk, original_length=original_length or length, **knobs))


class RopeYarn(Fixed):
    """`encode.rope_yarn`; original_length defaults to the length of the task."""

    def __init__(
        self,
        length: int,
        *,
        original_length: PositiveInt | None = None,
        factor: AtLeastOne = 2.0,
        fast: Positive = 32.0,
        slow: Positive = 1.0,
        base: Positive = 10000.0,
        layout: encode.Layout = "half",
        rotated: PositiveInt | None = None,
    ):
        knobs = {"factor": factor, "fast": fast, "slow": slow, "base": base, "layout": layout, "rotated": rotated}
        super().__init__(bind(encode.rope_yarn, original_length=original_length or length, **knobs))


class RopeLlama3(Fixed):
    """`encode.rope_llama3`; original_length defaults to the length of the task."""

    def __init__(
        self,
        length: int,
        *,
        original_length: PositiveInt | None = None,
        factor: AtLeastOne = 8.0,
        low: Positive = 1.0,
        high: Positive = 4.0,
        base: Positive = 10000.0,
        layout: encode.Layout = "half",
        rotated: PositiveInt | None = None,
    ):
        if high <= low:
            raise ValueError(f"high must be above low, got {high} and {low}")
        knobs = {"factor": factor, "low": low, "high": high, "base": base, "layout": layout, "rotated": rotated}
        super().__init__(bind(encode.rope_llama3, original_length=original_length or length, **knobs))


# In the score, and in the values.


class Shaw(nnx.Module):
    """`relative.shaw` with its table, shared by the heads; distances past maximum share its ends."""

    def __init__(self, key_width: int, *, maximum: PositiveInt = 16, rngs: nnx.Rngs):
        self.table = nnx.Param(normal(rngs, (2 * maximum + 1, key_width), key_width))

    def __call__(self) -> Bound:
        return bind(relative.shaw, table=self.table[...])


class ShawValue(nnx.Module):
    """`relative.shaw_value` with its table, shared by the heads; distances past maximum share its ends."""

    def __init__(self, value_width: int, *, maximum: PositiveInt = 16, rngs: nnx.Rngs):
        self.table = nnx.Param(normal(rngs, (2 * maximum + 1, value_width), value_width))

    def __call__(self) -> Bound:
        return bind(relative.shaw_value, table=self.table[...])


class TransformerXl(nnx.Module):
    """`relative.transformer_xl` with its biases and its projection of the sinusoid, one set per head."""

    def __init__(
        self,
        heads: int,
        key_width: int,
        width: int,
        *,
        features: PositiveInt | None = None,
        base: Positive = 10000.0,
        rngs: nnx.Rngs,
    ):
        features = features or width
        if features % 2:
            raise ValueError(f"features (default: the width) must be even, half sines and half cosines, got {features}")
        self.content_bias, self.position_bias = (nnx.Param(jnp.zeros((heads, key_width))) for _ in range(2))
        self.weight = nnx.Param(normal(rngs, (heads, features, key_width), features))
        self.base = base

    def __call__(self) -> Bound:
        names = ("content_bias", "position_bias", "weight")
        knobs = {name: lead(getattr(self, name)[...], "H") for name in names}
        return bind(relative.transformer_xl, **knobs, base=self.base)


class Deberta(nnx.Module):
    """`relative.deberta` with a table per head and term; distances past maximum share its ends."""

    def __init__(
        self,
        heads: int,
        key_width: int,
        *,
        terms: Literal["both", "c2p", "p2c"] = "both",
        maximum: PositiveInt = 16,
        rngs: nnx.Rngs,
    ):
        def table(wanted: bool) -> nnx.Param | None:
            return nnx.Param(normal(rngs, (heads, 2 * maximum, key_width), key_width)) if wanted else None

        self.key_table, self.query_table = table(terms != "p2c"), table(terms != "c2p")

    def __call__(self) -> Bound:
        tables = {"key_table": self.key_table, "query_table": self.query_table}
        return bind(relative.deberta, **{name: lead(t[...], "H") for name, t in tables.items() if t is not None})


# In the biases.


class Alibi(nnx.Module):
    """`biases.alibi` with the usual slopes, which do not learn."""

    def __init__(self, heads: int):
        self.heads = heads

    def __call__(self) -> Bound:
        return bind(biases.alibi, slope=lead(biases.alibi_slopes(self.heads), "H"))


class T5(nnx.Module):
    """`biases.t5` with a table of buckets per head; a causal model has them all for the past."""

    def __init__(
        self,
        heads: int,
        causal: bool,
        *,
        buckets: Annotated[int, Ge(4)] = 32,
        maximum_distance: PositiveInt = 128,
        rngs: nnx.Rngs,
    ):
        side = buckets if causal else buckets // 2
        if maximum_distance <= side // 2:
            raise ValueError(f"maximum_distance must be above the {side // 2} exact buckets, got {maximum_distance}")
        self.table = nnx.Param(normal(rngs, (heads, buckets), 1))
        self.bidirectional, self.maximum_distance = not causal, maximum_distance

    def __call__(self) -> Bound:
        table, distance = lead(self.table[...], "H"), self.maximum_distance
        return bind(biases.t5, table=table, bidirectional=self.bidirectional, maximum_distance=distance)


class KerpleLog(nnx.Module):
    """`biases.kerple_log` with learned numbers per head, held as logarithms to stay above 0."""

    def __init__(self, heads: int, *, amplitude: Positive = 1.0, rate: Positive = 1.0):
        self.log_amplitude, self.log_rate = (nnx.Param(jnp.full((heads,), math.log(x))) for x in (amplitude, rate))

    def __call__(self) -> Bound:
        amplitude, rate = (lead(jnp.exp(log[...]), "H") for log in (self.log_amplitude, self.log_rate))
        return bind(biases.kerple_log, amplitude=amplitude, rate=rate)


class KerplePower(nnx.Module):
    """`biases.kerple_power` with learned numbers per head; the exponent stays between 0 and 2."""

    def __init__(self, heads: int, *, amplitude: Positive = 1.0, exponent: Annotated[float, Gt(0), Le(1.99)] = 1.0):
        self.log_amplitude = nnx.Param(jnp.full((heads,), math.log(amplitude)))
        self.exponent_logit = nnx.Param(jnp.full((heads,), math.log(exponent / (2 - exponent))))

    def __call__(self) -> Bound:
        amplitude = lead(jnp.exp(self.log_amplitude[...]), "H")
        return bind(
            biases.kerple_power, amplitude=amplitude, exponent=lead(2 * jax.nn.sigmoid(self.exponent_logit[...]), "H")
        )


class Fire(nnx.Module):
    """`biases.fire` with one small network that has an output per head, a learned curvature and threshold."""

    def __init__(
        self,
        heads: int,
        *,
        features: PositiveInt = 32,
        curvature: Positive = 0.1,
        threshold: Positive = 512.0,
        epsilon: Positive = 1e-6,
        rngs: nnx.Rngs,
    ):
        self.hidden_weight, self.hidden_bias = (nnx.Param(normal(rngs, (features,), 1)) for _ in range(2))
        self.readout = nnx.Param(normal(rngs, (heads, features), features))
        self.readout_bias = nnx.Param(jnp.zeros((heads,)))
        self.curvature, self.threshold = nnx.Param(jnp.asarray(curvature)), nnx.Param(jnp.asarray(threshold))
        self.epsilon = epsilon

    def __call__(self) -> Bound:
        shared = ("hidden_weight", "hidden_bias", "curvature", "threshold")
        own = {name: lead(getattr(self, name)[...], "H") for name in ("readout", "readout_bias")}
        return bind(biases.fire, **{name: getattr(self, name)[...] for name in shared}, **own, epsilon=self.epsilon)


class Forgetting(nnx.Module):
    """`biases.forgetting` with a gate per head, computed from the inputs of the layer; it begins nearly open."""

    def __init__(self, heads: int, width: int, *, open: Positive = 4.0, rngs: nnx.Rngs):
        self.gate = nnx.Linear(width, heads, bias_init=nnx.initializers.constant(open), rngs=rngs)

    def __call__(self, inputs: Array) -> Bound:
        """Binds the gates of inputs [B,T,D], summed from the start of the sequence."""
        logs = jax.nn.log_sigmoid(self.gate(inputs).astype(jnp.float32))
        sums = jnp.swapaxes(jnp.cumsum(logs, axis=1), 1, 2)
        return bind(biases.forgetting, query_sum=lead(sums, "BHT"), key_sum=lead(sums, "BHS"))


# In whole rows.


class Cope(nnx.Module):
    """`rowwise.cope` with its embedding, shared by the heads; maximum P defaults to the length."""

    def __init__(self, key_width: int, length: int, *, maximum: PositiveInt | None = None, rngs: nnx.Rngs):
        self.embedding = nnx.Param(normal(rngs, (maximum or length, key_width), key_width))

    def __call__(self) -> Bound:
        return bind(rowwise.cope, embedding=self.embedding[...])
