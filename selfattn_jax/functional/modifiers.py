"""Modifiers: scores → scores [T,S], one pair at a time, before the biases."""

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
