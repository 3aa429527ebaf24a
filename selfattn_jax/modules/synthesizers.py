"""Modules of the synthesizers: tables as long as the sequences that the model may see."""

from flax import nnx

from selfattn_jax.functional import synthesizers
from selfattn_jax.functional.bind import Bound, bind, lead
from selfattn_jax.modules.pieces import normal
from selfattn_jax.shapes import PositiveInt


class SynthesizerDense(nnx.Module):
    """`synthesizers.synthesizer_dense` with a network per head; features F defaults to the key width."""

    def __init__(
        self,
        heads: int,
        key_width: int,
        reach: int,
        *,
        features: PositiveInt | None = None,
        maximum: PositiveInt | None = None,
        rngs: nnx.Rngs,
    ):
        features, maximum = features or key_width, longest(maximum, reach)
        self.hidden_weight = nnx.Param(normal(rngs, (heads, key_width, features), key_width))
        self.output_weight = nnx.Param(normal(rngs, (heads, features, maximum), features))

    def __call__(self) -> Bound:
        knobs = {name: lead(getattr(self, name)[...], "H") for name in ("hidden_weight", "output_weight")}
        return bind(synthesizers.synthesizer_dense, **knobs)


class SynthesizerRandom(nnx.Module):
    """`synthesizers.synthesizer_random` with a table per head."""

    def __init__(self, heads: int, reach: int, *, maximum: PositiveInt | None = None, rngs: nnx.Rngs):
        maximum = longest(maximum, reach)
        self.table = nnx.Param(normal(rngs, (heads, maximum, maximum), 1))

    def __call__(self) -> Bound:
        return bind(synthesizers.synthesizer_random, table=lead(self.table[...], "H"))


class SynthesizerFactorised(nnx.Module):
    """`synthesizers.synthesizer_factorised` with factors per head."""

    def __init__(
        self, heads: int, reach: int, *, rank: PositiveInt = 8, maximum: PositiveInt | None = None, rngs: nnx.Rngs
    ):
        maximum = longest(maximum, reach)
        # Products of variance 1, as those of a score at the start.
        shape, fan = (heads, maximum, rank), rank**0.5
        self.query_factors, self.key_factors = (nnx.Param(normal(rngs, shape, fan)) for _ in range(2))

    def __call__(self) -> Bound:
        knobs = {name: lead(getattr(self, name)[...], "H") for name in ("query_factors", "key_factors")}
        return bind(synthesizers.synthesizer_factorised, **knobs)


def longest(maximum: int | None, reach: int) -> int:
    """How many positions a table holds: the model's reach, unless a maximum is said.

    Raises: ValueError for a maximum below the reach.
    """
    if maximum is not None and maximum < reach:
        raise ValueError(
            f"maximum must be at least the {reach} positions there are, got {maximum}: a position has no number"
        )
    return maximum or reach
