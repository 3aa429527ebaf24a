"""Tiles [t,s] of an attention: where they are, what of the composition belongs to each, and which are never visited."""

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from selfattn_jax.functional import masks
from selfattn_jax.functional.aggregate import matmul
from selfattn_jax.functional.attend import Composition, mask_of, modified
from selfattn_jax.functional.bind import Lead, call, is_lead
from selfattn_jax.functional.dropout import dropout as drop
from selfattn_jax.functional.dropout import uniform
from selfattn_jax.functional.masks import EMPTY, FULL, PARTIAL, Mask, Range, classify
from selfattn_jax.functional.normalizers import Shares, shares
from selfattn_jax.functional.scores import dot, scaled_dot
from selfattn_jax.shapes import Array


class Block(NamedTuple):
    """The shape of a tile. Its keys begin at any multiple of `unit`: a row of tiles begins where its mask does."""

    rows: int  # queries
    columns: int  # keys
    unit: int  # divides columns

    @classmethod
    def square(cls, side: int) -> "Block":
        """As many keys as queries, beginning at multiples of that."""
        return cls(side, side, side)

    def within(self, queries: int, keys: int) -> "Block":
        """The block, no larger than it takes to hold all pairs."""
        unit = min(self.unit, max(keys, 1))
        return Block(min(self.rows, max(queries, 1)), min(self.columns // unit, max(-(-keys // unit), 1)) * unit, unit)

    def __str__(self) -> str:
        if self.rows == self.columns == self.unit:
            return str(self.rows)
        return f"{self.rows} × {self.columns}"


def as_block(block: int | Block) -> Block:
    """The shape of tiles, checked; an int is the side of square ones."""
    if isinstance(block, int):
        if block < 1:
            raise ValueError(f"block must be at least 1, got {block}")
        return Block.square(block)
    if min(block) < 1 or block.columns % block.unit:
        raise ValueError(f"block must be at least 1 in all, with columns a multiple of unit, got {block!r}")
    return block


Place = tuple[int, int, bool]  # of a tile: first query, first key, whether all of its pairs are known to attend


def visited(mask: Mask | None, queries: int, keys: int, block: Block, *, default: bool) -> tuple[Place, ...]:
    """The tiles that hold all pairs that may attend, row after row; none overlap.

    Args:
      mask: any mask.
      queries: T.  keys: S.
      block: of the tiles.
      default: whether positions are 0, 1, 2 …; of others nothing is known.
    Returns: a place for each tile; the last of a row may overhang.
    """
    known = mask if default or mask is None else masks.array
    return _visited(jax.tree.structure(known), queries, keys, block.within(queries, keys))


@functools.lru_cache(maxsize=64)
def _visited(structure: Any, queries: int, keys: int, block: Block) -> tuple[Place, ...]:
    """Of a mask whose arrays and floats are not looked at."""
    mask = structure.unflatten([None] * structure.num_leaves)
    places = []
    for first in range(0, queries, block.rows):
        last = min(first + block.rows, queries) - 1
        kinds = _kinds(mask, (first, last), keys, block.unit, range(-(-keys // block.unit)))
        whole = last == first + block.rows - 1
        places += [(first, key, full and whole) for key, full in _slabs(kinds, block, keys)]
    return tuple(places)


def _kinds(mask: Mask | None, queries: Range, keys: int, unit: int, units: range) -> list[int]:
    """The class of each unit of a row: of many at once, where all are empty or full."""
    if mask is None or not units:
        return [FULL] * len(units)
    kind = classify(mask, queries, (units[0] * unit, min((units[-1] + 1) * unit, keys) - 1))
    if kind != PARTIAL or len(units) == 1:
        return [kind] * len(units)
    middle = len(units) // 2
    return [kind for half in (units[:middle], units[middle:]) for kind in _kinds(mask, queries, keys, unit, half)]


def _slabs(kinds: list[int], block: Block, keys: int) -> Iterator[tuple[int, bool]]:
    """Covers what is not empty of a row, from the left: the first key of every slab, and whether all of it is full."""
    unit, covered = 0, block.columns // block.unit
    while unit < len(kinds):
        if kinds[unit] == EMPTY:
            unit += 1
        else:
            first = unit * block.unit
            full = all(kind == FULL for kind in kinds[unit : unit + covered])
            yield first, full and first + block.columns <= keys
            unit += covered


class Tiles(NamedTuple):
    """What is known before anything runs: the sizes, the tiles that are visited, and the shape of the composition."""

    queries: int
    keys: int
    block: Block
    visited: tuple[Place, ...]
    structure: Any  # of the composition
    axes: tuple[str, ...]  # of its leaves: the letters T and S of an array knob
    floating: tuple[bool, ...]  # which of its leaves are differentiated
    rate: float  # of dropout
    dtype: Any  # of queries and keys, as a score gets them

    @classmethod
    def of(
        cls,
        composition: Composition,
        queries: int,
        keys: int,
        block: Block,
        *,
        default: bool,
        rate: float = 0.0,
        dtype: Any = jnp.float32,
    ) -> "Tiles":
        """Lays out the tiles; `default` says that positions are 0, 1, 2 …, so that a mask's tiles can be classified."""
        block = block.within(queries, keys)
        places = visited(composition.mask, queries, keys, block, default=default)
        leaves, structure = jax.tree.flatten(composition, is_leaf=is_lead)
        axes = tuple(leaf.letters if is_lead(leaf) else "" for leaf in leaves)
        floating = tuple(_is_float(leaf.array if is_lead(leaf) else leaf) for leaf in leaves)
        return cls(queries, keys, block, places, structure, axes, floating, rate, dtype)

    @property
    def padded(self) -> dict[str, int]:
        """T and S as far as the tiles go."""
        rows, columns, unit = self.block
        ends = [-(-self.keys // unit) * unit, columns, *(key + columns for _, key, _ in self.visited)]
        return {"T": max(-(-self.queries // rows), 1) * rows, "S": max(ends)}

    def pad(self, array: Array, letters: str) -> Array:
        """An array with leading axes T, S, in any order, as far as the tiles go: the last is repeated."""
        array, padded = jnp.asarray(array), self.padded
        for axis, letter in enumerate(letters):
            missing = padded[letter] - array.shape[axis]
            if missing:
                padding = [(0, missing if other == axis else 0) for other in range(array.ndim)]
                array = jnp.pad(array, padding, mode="edge" if array.shape[axis] else "constant")
        return array

    def steps(self) -> tuple[Array, Array, Array]:
        """The visited tiles, as what a scan goes over."""
        queries, keys, full = zip(*self.visited, strict=True) if self.visited else ((), (), ())
        return jnp.asarray(queries, jnp.int32), jnp.asarray(keys, jnp.int32), jnp.asarray(full, bool)

    @property
    def unmasked(self) -> bool:
        """Whether everything may attend to everything, and no tile overhangs."""
        return all(full for *_, full in self.visited)

    @property
    def functions(self) -> Composition:
        """The composition with anything in the place of its leaves: its functions are known all the same."""
        return self.structure.unflatten(self.axes)

    @property
    def shares(self) -> Shares | None:
        """How weights are shares of a sum over the row; None where every pair is weighted by itself."""
        return shares(self.functions.normalizer.function)

    @property
    def averages(self) -> bool:
        """Whether the output is a plain average of values."""
        return self.functions.aggregate.function is matmul

    def inner_scale(self, width: int) -> float | None:
        """What an inner product is scaled by, where the score is one and nothing else looks at queries and keys."""
        looks = any({"query", "key"} & set(bias.needs) for bias in self.functions.biases)
        return None if looks else {dot: 1.0, scaled_dot: width**-0.5}.get(self.functions.score.function)


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


class Floats(NamedTuple):
    """What is differentiated, as far as the tiles go."""

    query: Array  # [T,K]
    key: Array  # [S,K]
    value: Array  # [S,V]
    knobs: tuple
    level: Array  # [], of `Shares`

    @classmethod
    def of(cls, composition: Composition, query: Array, key: Array, value: Array, *, tiles: Tiles) -> "Floats":
        """Pads the prepared arrays, and the knobs that are floating point."""
        level = jnp.zeros((), query.dtype)
        if tiles.shares is not None:
            nothing = jnp.zeros((1, 1), query.dtype), jnp.ones((1, 1), bool), jnp.ones(1, jnp.int32), None
            level = jnp.asarray(_exponents(composition, *nothing)[1], query.dtype)
        knobs = _padded_knobs(composition, tiles, floating=True)
        return cls(tiles.pad(query, "T"), tiles.pad(key, "S"), tiles.pad(value, "S"), knobs, level)


class Fixed(NamedTuple):
    """What is not differentiated, as far as the tiles go."""

    knobs: tuple
    query_positions: Array  # [T]
    key_positions: Array  # [S]
    alive: Array  # [T] bool
    seen: Array  # [S] bool
    visible: Array  # [T] int32
    rng: Array | None

    @classmethod
    def of(cls, composition: Composition, positions: dict, tiles: Tiles, rng: Array | None) -> "Fixed":
        """Pads positions and the other knobs, as if everything were seen; `survey` says what is."""
        padded = tiles.pad(positions["query_positions"], "T"), tiles.pad(positions["key_positions"], "S")
        alive, seen = (jnp.ones(places.shape, bool) for places in padded)
        visible = jnp.full(padded[0].shape, tiles.keys, jnp.int32)
        return cls(_padded_knobs(composition, tiles, floating=False), *padded, alive, seen, visible, rng)


def _padded_knobs(composition: Composition, tiles: Tiles, *, floating: bool) -> tuple:
    leaves = jax.tree.leaves(composition, is_leaf=is_lead)
    return tuple(
        tiles.pad(leaf.array, letters) if is_lead(leaf) else leaf
        for leaf, letters, kind in zip(leaves, tiles.axes, tiles.floating, strict=True)
        if kind == floating
    )


def _exponents(composition: Composition, scores: Array, mask: Array, visible: Array, noise: Array | None) -> tuple:
    offered = {"scores": scores, "mask": mask, "visible": visible, "uniform": noise}
    normalizer = composition.normalizer
    needs = [offered[name] for name in normalizer.needs]
    way = shares(normalizer.function)
    assert way is not None
    return way.exponents(*needs, **normalizer.plain_knobs())


class Tile:
    """One tile: the composition with the part of each knob that belongs there, and what stands at its edges."""

    def __init__(self, tiles: Tiles, fixed: Fixed, query: Array, key: Array, full: Array):
        self.tiles, self.fixed, self.first, self.full = tiles, fixed, {"T": query, "S": key}, full
        self.sizes = {"T": tiles.block.rows, "S": tiles.block.columns}
        self.places = {
            "query_positions": self.part(fixed.query_positions, "T"),
            "key_positions": self.part(fixed.key_positions, "S"),
        }
        self.rows = query + jnp.arange(tiles.block.rows, dtype=jnp.int32)
        self.columns = key + jnp.arange(tiles.block.columns, dtype=jnp.int32)

    def part(self, array: Array, letters: str) -> Array:
        """The tile's part of a padded array with these leading axes; without any, all of it."""
        if not letters:
            return array
        sizes = [*(self.sizes[letter] for letter in letters), *array.shape[len(letters) :]]
        return jax.lax.dynamic_slice(array, self._starts(array, letters), sizes, allow_negative_indices=False)

    def replaced(self, array: Array, letters: str, value: Array) -> Array:
        """A padded array with the tile's part replaced."""
        if not letters:
            return value
        starts = self._starts(array, letters)
        return jax.lax.dynamic_update_slice(array, value, starts, allow_negative_indices=False)

    def added(self, array: Array, letters: str, more: Array) -> Array:
        """A padded array with something added to the tile's part."""
        return self.replaced(array, letters, self.part(array, letters) + more)

    def _starts(self, array: Array, letters: str) -> list:
        return [self.first[letter] for letter in letters] + [0] * (array.ndim - len(letters))

    @property
    def letters(self) -> list[str]:
        """The axes of the differentiable knobs."""
        return [axes for axes, kind in zip(self.tiles.axes, self.tiles.floating, strict=True) if kind]

    def knobs(self, floats: tuple) -> tuple:
        """The parts of the differentiable knobs that belong to the tile."""
        return tuple(self.part(knob, letters) for knob, letters in zip(floats, self.letters, strict=True))

    def composition(self, floats: tuple) -> Composition:
        """The composition of the tile, from the parts of its differentiable knobs."""
        differentiable, others = iter(floats), iter(self.fixed.knobs)
        leaves = []
        for letters, kind in zip(self.tiles.axes, self.tiles.floating, strict=True):
            leaf = next(differentiable) if kind else next(others)
            if letters and not kind:
                leaf = self.part(leaf, letters)
            leaves.append(Lead(leaf, letters) if letters else leaf)
        return self.tiles.structure.unflatten(leaves)

    def mask(self, composition: Composition) -> Array:
        """Which pairs of the tile may attend; nothing is looked at where all are known to."""
        shape = self.rows.shape + self.columns.shape
        if self.tiles.unmasked:
            return jnp.ones(shape, bool)

        def looked_at() -> Array:
            mask = mask_of(composition, **self.places)
            if self.tiles.padded["T"] > self.tiles.queries:
                mask &= (self.rows < self.tiles.queries)[:, None]
            if self.tiles.padded["S"] > self.tiles.keys:
                mask &= (self.columns < self.tiles.keys)[None, :]
            return mask

        return jax.lax.cond(self.full, lambda: jnp.ones(shape, bool), looked_at)

    def noise(self, composition: Composition) -> Array | None:
        """Random numbers for a normaliser that asks for them."""
        if self.fixed.rng is None or "uniform" not in composition.normalizer.needs:
            return None
        return uniform(self.fixed.rng, self.rows, self.columns)

    def dropped(self, weights: Array) -> Array:
        """The weights, or a cotangent of them, after dropout."""
        if self.fixed.rng is None or self.tiles.rate == 0:
            return weights
        return drop(weights, self.fixed.rng, self.rows, self.columns, self.tiles.rate)

    def score(self, knobs: tuple, query: Array, key: Array) -> Array:
        """The score alone, before what is done to it; it gets queries and keys as narrow as they were given."""
        query, key = query.astype(self.tiles.dtype), key.astype(self.tiles.dtype)
        return call(self.composition(knobs).score, "score", query=query, key=key, **self.places)

    def terms(self, knobs: tuple, scores: Array, query: Array, key: Array, mask: Array) -> Array:
        """What a weight is made of: the exponent of one that is a share, the weight itself of a pointwise one."""
        composition, visible = self.composition(knobs), self.part(self.fixed.visible, "T")
        scores = modified(scores, query, key, visible, composition, **self.places)
        if self.tiles.shares is not None:
            return _exponents(composition, scores, mask, visible, self.noise(composition))[0]
        return call(composition.normalizer, "normalizer", scores=scores, mask=mask, visible=visible)

    def aggregated(self, knobs: tuple, weights: Array, value: Array) -> Array:
        """What the tile adds to the output of its queries."""
        return call(self.composition(knobs).aggregate, "aggregate", weights=weights, value=value, **self.places)
