"""Modifiers: scores → scores [T,S], one pair at a time, before the biases."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, Positive, check_shapes


def softcap(scores: Array, /, *, cap: Array | Positive = 30.0) -> Array:
    """Bounds scores smoothly to (−cap, cap).

      xₜₛ ← cap · tanh(xₜₛ / cap)

    Args:
      scores: [T,S].
      cap: [], above 0.
    Returns: [T,S].
    Raises: ValueError when cap is not [].
    References: Gemma Team 2024, arXiv:2408.00118.
    """
    check_shapes(cap=(cap, ""))
    cap = jnp.asarray(cap, scores.dtype)
    return cap * jnp.tanh(scores / cap)


def temperature(scores: Array, /, *, temperature: Array | Positive = 1.0) -> Array:
    """Divides scores by a temperature: above 1 flattens the weights, below 1 sharpens them.

      xₜₛ ← xₜₛ / temperature

    Args:
      scores: [T,S].
      temperature: [], above 0.
    Returns: [T,S].
    Raises: ValueError when temperature is not [].
    References: Hinton et al. 2015, arXiv:1503.02531.
    """
    check_shapes(temperature=(temperature, ""))
    return scores / jnp.asarray(temperature, scores.dtype)


def log_length(scores: Array, visible: Array, /) -> Array:
    """Sharpens scores as the number of visible keys grows, so that attention does not dilute with length.

      xₜₛ ← xₜₛ · log nₜ        nₜ = keys that row t may see

    Args:
      scores: [T,S].
      visible: [T] int32.
    Returns: [T,S].
    References: Chiang & Cholak 2022, arXiv:2202.12172.
    """
    return scores * jnp.log(jnp.maximum(visible, 1).astype(scores.dtype))[:, None]


def score_mod(
    scores: Array,
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    function: Callable[..., Array],
    parameters: Any = None,
) -> Array:
    """Changes every score by your own function of one score and two positions; gradients flow into its parameters.

      xₜₛ ← function(xₜₛ, i, j[, parameters])        i, j = the positions of query t and key s

    Args:
      scores: [T,S].  query_positions: [T] int32.  key_positions: [S] int32.
      function: (score [], query_position [], key_position []) → [], or with `parameters` as a fourth argument.
      parameters: a pytree of arrays and floats (`lead` says which of their axes are B or H); None = none.
    Returns: [T,S].
    Raises: ValueError when the function does not return one number.
    References: Dong et al. 2024 (FlexAttention), arXiv:2412.05496.
    """
    extra = () if parameters is None else (parameters,)

    def one(score: Array, query_position: Array, key_position: Array) -> Array:
        changed = jnp.asarray(function(score, query_position, key_position, *extra), scores.dtype)
        check_shapes(score_mod=(changed, ""))
        return changed

    row = jax.vmap(one, in_axes=(0, None, 0))
    return jax.vmap(row, in_axes=(0, 0, None))(scores, query_positions, key_positions)
