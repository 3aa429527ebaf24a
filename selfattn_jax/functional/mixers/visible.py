"""Positions of a sequence that hold data: what does not is set to 0 before anything is computed."""

import jax.numpy as jnp

from selfattn_jax.shapes import Array, accumulation_dtype


def visible_of(length: int, key_mask: Array | None) -> Array:
    """Which positions hold data, [T] bool.

    Raises: ValueError when key_mask is not bool [T].
    """
    if key_mask is None:
        return jnp.ones(length, bool)
    if jnp.shape(key_mask) != (length,) or key_mask.dtype != jnp.bool_:
        raise ValueError(f"key_mask must be bool [T={length}], got {key_mask.dtype} {list(jnp.shape(key_mask))}")
    return jnp.asarray(key_mask)


def shown(vectors: Array, key_mask: Array | None) -> Array:
    """Vectors [T,D] in at least float32, 0 where hidden: NaN there would survive in a gradient if it met a product."""
    vectors = vectors.astype(accumulation_dtype(vectors))
    return vectors if key_mask is None else jnp.where(visible_of(vectors.shape[0], key_mask)[:, None], vectors, 0)
