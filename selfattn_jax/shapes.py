"""The letters that name array axes, the ranges that name knobs, and checks whose errors say what to do.

B batch · R runs · H query heads · G key/value heads · T queries · S keys · K query/key width · V value width ·
D model width · F features · M landmarks, memory · W window · C chunk · N vocabulary
"""

from collections.abc import Mapping
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt
from jax.typing import ArrayLike

Array = jax.Array

PositiveInt = Annotated[int, Gt(0)]
NonNegativeInt = Annotated[int, Ge(0)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Lt(1)]
AboveOne = Annotated[float, Gt(1)]
AtLeastOne = Annotated[float, Ge(1)]


def check_shapes(sizes: Mapping[str, int] | None = None, /, **arguments: tuple[ArrayLike, str]) -> dict[str, int]:
    """Checks that every argument has the axes its letters say, and that a letter means one size everywhere.

    Args:
      sizes: sizes already known, letter → size.
      **arguments: name = (array, letters), such as `query=(query, "TK")`.

    Returns: letter → size.
    Raises: ValueError naming the argument, its shape and the shape wanted.
    """
    known = dict(sizes or {})
    for name, (array, letters) in arguments.items():
        shape = jnp.shape(array)
        if len(shape) != len(letters):
            raise ValueError(f"{name} must be [{','.join(letters)}] ({len(letters)} axes), got shape {list(shape)}")
        for letter, size in zip(letters, shape, strict=True):
            if known.setdefault(letter, size) != size:
                wanted = ",".join(f"{axis}={known[axis]}" if axis in known else axis for axis in letters)
                raise ValueError(f"{name} must be [{wanted}], got shape {list(shape)}")
    return known


def accumulation_dtype(*arrays: ArrayLike) -> jnp.dtype:
    """The dtype in which scores, weights and running sums are held: at least float32."""
    dtype = jnp.result_type(*arrays)
    return jnp.dtype(jnp.float32) if dtype.itemsize < 4 else dtype
