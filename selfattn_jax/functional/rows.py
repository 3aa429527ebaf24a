"""The rows form: the dense composition, a block of queries at a time, in memory [t,S] in place of [T,S].

It runs every piece, since what happens in a row is the row's own affair, and differentiates both ways to any order.
"""

from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp

from selfattn_jax.functional.attend import (
    Composition,
    Inspection,
    attend_prepared,
    checked_positions,
    mask_of,
    prepare,
)
from selfattn_jax.functional.bind import Lead, is_lead
from selfattn_jax.shapes import Array

PAIRS = 2**18  # of a block, unless it is said: a megabyte of float32


def attend_by_rows(
    query: Array,
    key: Array,
    value: Array,
    composition: Composition,
    query_positions: Array | None = None,
    key_positions: Array | None = None,
    rng: Array | None = None,
    want: Collection[str] = (),
    block: int | None = None,
) -> Inspection:
    """`attend_composed` in blocks of rows; nothing of a block is kept for the backward pass, which computes it again.

    Args:
      block: t, queries at a time; None = as many as make 2¹⁸ pairs.
      The other arguments are those of `inspect`.

    Returns: an Inspection, equal to the dense one up to rounding.
    Raises: ValueError when block is not positive; and as `inspect`.
    """
    positions = checked_positions(query, key, value, query_positions, key_positions, want)
    query_positions, key_positions = positions["query_positions"], positions["key_positions"]
    block = block_of(block, query.shape[0], key.shape[0])
    alive, seen = survey(composition, query_positions, key_positions, block)
    query, key, value = prepare(query, key, value, composition, alive, seen, **positions)

    def attend_block(composition: Composition, rows: Array, query: Array, query_positions: Array) -> Inspection:
        places = {"query_positions": query_positions, "key_positions": key_positions}
        mask = mask_of(composition, **places)
        return attend_prepared(query, key, value, mask, composition, rows=rows, rng=rng, want=want, **places)

    return by_rows(attend_block, composition, (query, query_positions), block)


def block_of(block: int | None, queries: int, keys: int) -> int:
    """The number of queries at a time, checked or chosen."""
    if block is not None and block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    return min(block or max(PAIRS // max(keys, 1), 1), max(queries, 1))


def survey(composition: Composition, query_positions: Array, key_positions: Array, block: int) -> tuple[Array, Array]:
    """Which queries see something [T], and which keys something sees [S], without the whole mask."""
    if composition.mask is None:
        return jnp.ones(query_positions.shape, bool), jnp.ones(key_positions.shape, bool)

    def look(part: tuple) -> tuple[Array, Array]:
        composition, _, query_positions = rebuilt(part)
        mask = mask_of(composition, query_positions=query_positions, key_positions=key_positions)
        return mask.any(axis=1), mask.any(axis=0)

    blocks, rebuilt = _blocks(composition, (query_positions,), block)
    alive, seen = jax.lax.map(look, blocks)
    return alive.reshape(-1)[: query_positions.shape[0]], seen.any(axis=0)


def by_rows(function: Callable, context: Any, arrays: tuple[Array, ...], block: int) -> Any:
    """Maps a function of some rows over blocks of all of them; what it computes is computed again for the gradient.

    Args:
      function: (context, rows [t] int32, *arrays [t,…]) → a pytree of arrays that have the rows first.
      context: a pytree; an array knob with the axis T is cut along it.
      arrays: [T,…].
      block: t.

    Returns: what `function` returns, for all rows.
    """
    blocks, rebuilt = _blocks(context, arrays, block)
    results = jax.lax.map(jax.checkpoint(lambda part: function(*rebuilt(part))), blocks)
    return jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:])[: arrays[0].shape[0]], results)


def _blocks(context: Any, arrays: tuple[Array, ...], block: int) -> tuple[tuple, Callable[[tuple], tuple]]:
    """All that has an axis T, cut in blocks along a new first axis, and what makes (context, rows, *arrays) of one.

    The last row is repeated to fill the last block: whatever is finite for it is finite there.
    """
    size = arrays[0].shape[0]
    count = -(-size // block)
    knobs, structure = jax.tree.flatten(context, is_leaf=is_lead)
    axes = [knob.letters.index("T") if is_lead(knob) and "T" in knob.letters else None for knob in knobs]

    def cut(array: Array, axis: int = 0) -> Array:
        first = jnp.moveaxis(jnp.asarray(array), axis, 0)
        padding = [(0, count * block - size)] + [(0, 0)] * (first.ndim - 1)
        return jnp.pad(first, padding, mode="edge").reshape(count, block, *first.shape[1:])

    def rebuilt(part: tuple) -> tuple:
        parts = iter(part[0])
        own = [
            knob if axis is None else Lead(jnp.moveaxis(next(parts), 0, axis), knob.letters)
            for knob, axis in zip(knobs, axes, strict=True)
        ]
        return structure.unflatten(own), *part[1:]

    cut_knobs = [cut(knob.array, axis) for knob, axis in zip(knobs, axes, strict=True) if axis is not None]
    rows = jnp.arange(size, dtype=jnp.int32)
    return (cut_knobs, cut(rows), *map(cut, arrays)), rebuilt
