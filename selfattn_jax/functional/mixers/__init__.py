"""Mixers: what cannot be written as weights times values, with the same outer signature."""

from selfattn_jax.functional.mixers.linear import linear, linear_weights

__all__ = ["linear", "linear_weights"]
