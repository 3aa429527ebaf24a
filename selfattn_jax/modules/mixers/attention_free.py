"""The module of the attention-free transformer's position biases."""

from flax import nnx

from selfattn_jax.functional import mixers
from selfattn_jax.functional.bind import Bound, bind, lead
from selfattn_jax.modules.pieces import normal
from selfattn_jax.shapes import PositiveInt


class AftFull(nnx.Module):
    """`mixers.aft_full` with factors of a rank F per head; maximum N defaults to the task's length."""

    def __init__(
        self, heads: int, length: int, *, rank: PositiveInt = 32, maximum: PositiveInt | None = None, rngs: nnx.Rngs
    ):
        # Biases of about 1: products of two vectors whose numbers have the variance rank^−½.
        shape, fan = (heads, maximum or length, rank), rank**0.5
        self.query_factors, self.key_factors = (nnx.Param(normal(rngs, shape, fan)) for _ in range(2))

    def __call__(self) -> Bound:
        knobs = {name: lead(getattr(self, name)[...], "H") for name in ("query_factors", "key_factors")}
        return bind(mixers.aft_full, **knobs)
