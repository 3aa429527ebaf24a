"""Row-wise pieces: scores → scores [T,S], seeing a whole row at a time and what the mask hides in it."""

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, check_shapes


def cope(scores: Array, query: Array, mask: Array, /, *, embedding: Array) -> Array:
    """Counts positions by content: a gate on every key says how much it adds to the distance of those before it.

      gₜₛ = σ(xₜₛ) where the mask lets t see s, else 0
      pₜₛ = min(Σ_{r ≥ s} gₜᵣ, P − 1)
      xₜₛ ← xₜₛ + (1 − f) qₜ·embedding[⌊p⌋] + f qₜ·embedding[⌈p⌉]        f = p − ⌊p⌋

    Args:
      scores: [T,S].  query: [T,K].  mask: [T,S] bool.
      embedding: [P,K], one vector per contextual position 0 … P − 1.
    Returns: [T,S].
    Raises: ValueError naming the argument whose shape is off.
    References: Golovneva et al. 2024, arXiv:2405.18719.
    """
    check_shapes(scores=(scores, "TS"), mask=(mask, "TS"), query=(query, "TK"), embedding=(embedding, "PK"))
    dtype = scores.dtype
    last = embedding.shape[0] - 1
    gates = jnp.where(mask, jax.nn.sigmoid(jnp.where(mask, scores, 0)), 0)
    position = jnp.minimum(jnp.cumsum(gates[:, ::-1], axis=-1)[:, ::-1], jnp.asarray(last, dtype))
    logits = jnp.einsum("tk,pk->tp", query.astype(dtype), embedding.astype(dtype))
    floor = jnp.floor(position)
    below = floor.astype(jnp.int32)
    above = jnp.minimum(below + 1, last)
    part = position - floor
    interpolated = (1 - part) * jnp.take_along_axis(logits, below, axis=-1)
    interpolated = interpolated + part * jnp.take_along_axis(logits, above, axis=-1)
    return scores + interpolated
