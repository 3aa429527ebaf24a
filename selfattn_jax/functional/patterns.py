"""Mask patterns: sparse attention as predicates over positions; they combine like every mask.

For images, position = row · columns + column.
"""

import functools

import jax.numpy as jnp
import numpy as np

from selfattn_jax.functional.masks import EMPTY, FULL, PARTIAL, Mask, Range, classifies, within
from selfattn_jax.shapes import Array, NonNegativeInt, PositiveInt


@Mask
def dilated(
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    left: NonNegativeInt,
    right: NonNegativeInt = 0,
    dilation: PositiveInt = 2,
) -> Array:
    """Sees a window with gaps: every dilation-th key around itself.

      j − i = n · dilation        −left ≤ n ≤ right

    Args:
      query_positions: [T] int32, i.  key_positions: [S] int32, j.
      left: keys before its own.  right: keys after its own.
      dilation: the step, in positions.
    Returns: [T,S] bool.
    References: Beltagy et al. 2020, arXiv:2004.05150.
    """
    offset = _offset(query_positions, key_positions)
    return (offset >= -left * dilation) & (offset <= right * dilation) & (offset % dilation == 0)


@Mask
def strided(query_positions: Array, key_positions: Array, /, *, stride: PositiveInt) -> Array:
    """Sees its neighbours up to a stride, and every stride-th key beyond: two steps reach everything.

      |j − i| < stride  or  stride divides j − i

    Args:
      query_positions: [T] int32, i.  key_positions: [S] int32, j.
      stride: about the square root of the length.
    Returns: [T,S] bool.
    References: Child et al. 2019, arXiv:1904.10509.
    """
    offset = _offset(query_positions, key_positions)
    return (jnp.abs(offset) < stride) | (offset % stride == 0)


@Mask
def fixed(query_positions: Array, key_positions: Array, /, *, block: PositiveInt, summary: PositiveInt = 1) -> Array:
    """Sees its own block, and the last keys of every block, which can sum it up.

      ⌊i / block⌋ = ⌊j / block⌋  or  j mod block ≥ block − summary

    Args:
      query_positions: [T] int32, i.  key_positions: [S] int32, j.
      block: of positions.
      summary: keys of each block that all may see.
    Returns: [T,S] bool.
    References: Child et al. 2019, arXiv:1904.10509.
    """
    same = (query_positions // block)[:, None] == (key_positions // block)[None, :]
    return same | (key_positions % block >= block - summary)[None, :]


@Mask
def block_local(
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    block: PositiveInt,
    left: NonNegativeInt = 0,
    right: NonNegativeInt = 0,
) -> Array:
    """Sees its own block and some beside it.

      −left ≤ ⌊j / block⌋ − ⌊i / block⌋ ≤ right

    Args:
      query_positions: [T] int32, i.  key_positions: [S] int32, j.
      block: of positions.
      left: blocks before its own.  right: blocks after its own.
    Returns: [T,S] bool.
    References: Parmar et al. 2018, arXiv:1802.05751.
    """
    offset = _offset(query_positions // block, key_positions // block)
    return (offset >= -left) & (offset <= right)


@Mask
def global_tokens(query_positions: Array, key_positions: Array, /, *, count: PositiveInt) -> Array:
    """Some tokens see everything and are seen by everything.

      i < count  or  j < count

    Args:
      query_positions: [T] int32, i.  key_positions: [S] int32, j.
      count: of global tokens, the first ones.
    Returns: [T,S] bool.
    References: Beltagy et al. 2020, arXiv:2004.05150.
    """
    return (query_positions < count)[:, None] | (key_positions < count)[None, :]


@Mask
def random_blocks(
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    block: PositiveInt,
    count: PositiveInt,
    length: PositiveInt,
    seed: NonNegativeInt = 0,
) -> Array:
    """Sees some blocks drawn at random, the same ones for a whole block of queries.

      ⌊j / block⌋ ∈ drawn(⌊i / block⌋)        count of the ⌈length / block⌉ blocks, without repetition

    Args:
      query_positions: [T] int32, i.  key_positions: [S] int32, j; what lies past the length sees nothing.
      block: of positions.
      count: blocks drawn for each block of queries.
      length: of the longest sequence.
      seed: of the draw, which is fixed: it belongs to the model, not to a run.
    Returns: [T,S] bool.
    References: Zaheer et al. 2020, arXiv:2007.14062.
    """
    drawn = _drawn_blocks(-(-length // block), count, seed)
    inside = ((query_positions >= 0) & (query_positions < length))[:, None]
    inside &= ((key_positions >= 0) & (key_positions < length))[None, :]
    last = drawn.shape[0] - 1
    rows, columns = (jnp.clip(positions // block, 0, last) for positions in (query_positions, key_positions))
    return inside & jnp.asarray(drawn)[rows][:, columns]


@functools.cache
def _drawn_blocks(blocks: int, count: int, seed: int) -> np.ndarray:
    """Which key blocks each query block sees [N,N]; a block's draw depends on the seed and its own number alone."""
    drawn = np.zeros((blocks, blocks), bool)
    for row in range(blocks):
        drawn[row, np.random.default_rng((seed, row)).choice(blocks, min(count, blocks), replace=False)] = True
    return drawn


@Mask
def longformer(
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    window: NonNegativeInt,
    dilation: PositiveInt = 1,
    count: PositiveInt = 1,
) -> Array:
    """A (dilated) window to both sides, and global tokens.

      dilated(left=window, right=window, dilation)  or  global_tokens(count)

    Args:
      query_positions: [T] int32.  key_positions: [S] int32.
      window: keys on each side.  dilation: their step.  count: of global tokens.
    Returns: [T,S] bool.
    References: Beltagy et al. 2020, arXiv:2004.05150.
    """
    near = dilated.function(query_positions, key_positions, left=window, right=window, dilation=dilation)
    return near | global_tokens.function(query_positions, key_positions, count=count)


@Mask
def bigbird(
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    block: PositiveInt,
    length: PositiveInt,
    random: PositiveInt = 1,
    count: PositiveInt = 1,
    seed: NonNegativeInt = 0,
) -> Array:
    """Its own block and its neighbours, global blocks, and some blocks drawn at random.

      block_local(block, left=1, right=1)  or  global_tokens(count · block)
      or  random_blocks(block, random, length, seed)

    Args:
      query_positions: [T] int32.  key_positions: [S] int32.
      block: of positions.
      length: of the longest sequence.
      random: blocks drawn for each block of queries.  count: of global blocks.  seed: of the draw.
    Returns: [T,S] bool.
    References: Zaheer et al. 2020, arXiv:2007.14062.
    """
    positions = query_positions, key_positions
    near = block_local.function(*positions, block=block, left=1, right=1)
    drawn = random_blocks.function(*positions, block=block, count=random, length=length, seed=seed)
    return near | global_tokens.function(*positions, count=count * block) | drawn


@Mask
def neighbourhood_2d(
    query_positions: Array,
    key_positions: Array,
    /,
    *,
    rows: PositiveInt,
    columns: PositiveInt,
    radius: NonNegativeInt,
) -> Array:
    """Sees the pixels around its own; at the border the square moves inside, so that all see equally many.

      |rowⱼ − r| ≤ radius  and  |columnⱼ − c| ≤ radius        r = clip(rowᵢ, radius, rows − 1 − radius), c alike

    Args:
      query_positions: [T] int32, i.  key_positions: [S] int32, j; what lies outside the image sees nothing.
      rows, columns: of the image.
      radius: of the square, in pixels.
    Returns: [T,S] bool.
    Raises: ValueError when the square is larger than the image.
    References: Hassani et al. 2022, arXiv:2204.07143.
    """
    if 2 * radius >= min(rows, columns):
        raise ValueError(f"a square of {2 * radius + 1} pixels does not fit an image of {rows} by {columns}")

    def near(places: Array, others: Array, size: int) -> Array:
        centre = jnp.clip(places, radius, size - 1 - radius)
        return jnp.abs(_offset(centre, others)) <= radius

    in_row = near(query_positions // columns, key_positions // columns, rows)
    in_column = near(query_positions % columns, key_positions % columns, columns)
    inside = [(positions >= 0) & (positions < rows * columns) for positions in (query_positions, key_positions)]
    return in_row & in_column & inside[0][:, None] & inside[1][None, :]


@Mask
def axial(query_positions: Array, key_positions: Array, /, *, columns: PositiveInt) -> Array:
    """Sees the row and the column of its own pixel.

      rowᵢ = rowⱼ  or  columnᵢ = columnⱼ

    Args:
      query_positions: [T] int32, i.  key_positions: [S] int32, j.
      columns: of the image.
    Returns: [T,S] bool.
    References: Ho et al. 2019, arXiv:1912.12180.
    """
    offset = _offset(query_positions, key_positions)
    return (_offset(query_positions // columns, key_positions // columns) == 0) | (offset % columns == 0)


def _offset(query_positions: Array, key_positions: Array) -> Array:
    return key_positions[None, :] - query_positions[:, None]


# What a tile of positions lets through, known without looking at its pairs.


@classifies(dilated)
def _dilated_tile(queries: Range, keys: Range, *, left: int, right: int = 0, dilation: int = 2) -> int:
    near = within(keys[0] - queries[1], keys[1] - queries[0], -left * dilation, right * dilation)
    return near if dilation == 1 else min(near, PARTIAL)


@classifies(block_local)
def _block_local_tile(queries: Range, keys: Range, *, block: int, left: int = 0, right: int = 0) -> int:
    rows, columns = ([place // block for place in places] for places in (queries, keys))
    return within(columns[0] - rows[1], columns[1] - rows[0], -left, right)


@classifies(global_tokens)
def _global_tile(queries: Range, keys: Range, *, count: int) -> int:
    if queries[1] < count or keys[1] < count:
        return FULL
    return PARTIAL if queries[0] < count or keys[0] < count else EMPTY


@classifies(random_blocks)
def _random_tile(queries: Range, keys: Range, *, block: int, count: int, length: int, seed: int = 0) -> int:
    drawn = _drawn_blocks(-(-length // block), count, seed)
    rows, columns = (slice(max(places[0], 0) // block, places[1] // block + 1) for places in (queries, keys))
    seen = drawn[rows, columns]
    inside = max(queries[1], keys[1]) < length and min(queries[0], keys[0]) >= 0
    return FULL if inside and seen.all() else PARTIAL if seen.any() else EMPTY


@classifies(longformer)
def _longformer_tile(queries: Range, keys: Range, *, window: int, dilation: int = 1, count: int = 1) -> int:
    near = _dilated_tile(queries, keys, left=window, right=window, dilation=dilation)
    return max(near, _global_tile(queries, keys, count=count))


@classifies(bigbird)
def _bigbird_tile(
    queries: Range, keys: Range, *, block: int, length: int, random: int = 1, count: int = 1, seed: int = 0
) -> int:
    near = _block_local_tile(queries, keys, block=block, left=1, right=1)
    drawn = _random_tile(queries, keys, block=block, count=random, length=length, seed=seed)
    return max(near, drawn, _global_tile(queries, keys, count=count * block))
