"""Modules of the gated recurrent networks, at first uniform in ±D^−½."""

from collections.abc import Callable

import jax
from flax import nnx

from selfattn_jax.functional import mixers
from selfattn_jax.functional.bind import Bound, bind


class _Gated(nnx.Module):
    function: Callable
    gates: int

    def __init__(self, width: int, *, rngs: nnx.Rngs):
        for name, shape in {
            "input_weight": (width, self.gates * width),
            "hidden_weight": (width, self.gates * width),
            "input_bias": (self.gates * width,),
            "hidden_bias": (self.gates * width,),
        }.items():
            drawn = jax.random.uniform(rngs.params(), shape, minval=-1.0, maxval=1.0)
            setattr(self, name, nnx.Param(drawn * width**-0.5))

    def __call__(self) -> Bound:
        names = ("input_weight", "hidden_weight", "input_bias", "hidden_bias")
        return bind(type(self).function, **{name: getattr(self, name)[...] for name in names})


class Gru(_Gated):
    """`mixers.gru` of the model's width."""

    function, gates = staticmethod(mixers.gru), 3


class Lstm(_Gated):
    """`mixers.lstm` of the model's width."""

    function, gates = staticmethod(mixers.lstm), 4
