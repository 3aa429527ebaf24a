"""Positions of a sequence that hold data: what does not is set to 0 before anything is computed."""

import jax.numpy as jnp

from selfattn_jax.shapes import Array, accumulation_dtype


def check_key_mask(key_mask: Array | None, length: int, letter: str = "S") -> None:
    """Raises a ValueError for what is neither a boolean mask over that length nor None."""
    if key_mask is not None and (jnp.shape(key_mask) != (length,) or key_mask.dtype != jnp.bool_):
        shape = list(jnp.shape(key_mask))
        raise ValueError(f"key_mask must be bool [{letter}={length}], got {key_mask.dtype} {shape}")


def visible_of(length: int, key_mask: Array | None) -> Array:
    """Which positions hold data, [T] bool.

    Raises: ValueError when key_mask is not bool [T].
    """
    check_key_mask(key_mask, length, "T")
    return jnp.ones(length, bool) if key_mask is None else jnp.asarray(key_mask)


def shown(vectors: Array, key_mask: Array | None) -> Array:
    """Vectors [S,…] in at least float32, 0 where hidden: NaN there would survive in a gradient if it met a product.

    Raises: ValueError when key_mask is not bool of that length.
    """
    vectors = vectors.astype(accumulation_dtype(vectors))
    return vectors if key_mask is None else jnp.where(visible_of(vectors.shape[0], key_mask)[:, None], vectors, 0)
