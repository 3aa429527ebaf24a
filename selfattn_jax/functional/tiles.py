"""Tiles [t,s] of an attention: where they are, what of the composition belongs to each, and which are never visited."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from selfattn_jax.functional.aggregate import matmul
from selfattn_jax.functional.attend import Composition, mask_of, modified
from selfattn_jax.functional.bind import Lead, call, is_lead
from selfattn_jax.functional.dropout import dropout as drop
from selfattn_jax.functional.dropout import uniform
from selfattn_jax.functional.masks import EMPTY, FULL, PARTIAL, classify
from selfattn_jax.functional.normalizers import Shares, shares
from selfattn_jax.functional.scores import dot, scaled_dot
from selfattn_jax.shapes import Array


class Tiles(NamedTuple):
    """What is known before anything runs: the sizes, the tiles that are visited, and the shape of the composition."""

    queries: int
    keys: int
    rows: int  # of a tile
    columns: int  # of a tile
    visited: tuple[tuple[int, int, bool], ...]  # row and column of the tile, and whether the mask is known to be full
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
        block: int,
        *,
        default: bool,
        rate: float = 0.0,
        dtype: Any = jnp.float32,
    ) -> "Tiles":
        """Lays out the tiles; `default` says that positions are 0, 1, 2 …, so that a mask's tiles can be classified."""
        rows, columns = min(block, max(queries, 1)), min(block, max(keys, 1))
        visited = []
        for i in range(-(-queries // rows)):
            for j in range(-(-keys // columns)):
                last = min((i + 1) * rows, queries) - 1, min((j + 1) * columns, keys) - 1
                whole = last == ((i + 1) * rows - 1, (j + 1) * columns - 1)
                kind = FULL
                if composition.mask is not None:
                    ranges = (i * rows, last[0]), (j * columns, last[1])
                    kind = classify(composition.mask, *ranges) if default else PARTIAL
                if kind != EMPTY:
                    visited.append((i, j, kind == FULL and whole))
        leaves, structure = jax.tree.flatten(composition, is_leaf=is_lead)
        axes = tuple(leaf.letters if is_lead(leaf) else "" for leaf in leaves)
        floating = tuple(_is_float(leaf.array if is_lead(leaf) else leaf) for leaf in leaves)
        return cls(queries, keys, rows, columns, tuple(visited), structure, axes, floating, rate, dtype)

    def cut(self, array: Array, letters: str) -> Array:
        """An array with leading axes T, S, in any order, as [n,m,…] tiles of [t,s,…]: what overhangs is repeated."""
        array = jnp.asarray(array)
        for axis, letter in enumerate(letters):
            size, part = (self.queries, self.rows) if letter == "T" else (self.keys, self.columns)
            if size % part:
                padding = [(0, 0)] * array.ndim
                padding[2 * axis] = (0, -size % part)
                array = jnp.pad(array, padding, mode="edge")
            shape = array.shape
            array = array.reshape(*shape[: 2 * axis], -1, part, *shape[2 * axis + 1 :])
        places = [2 * axis for axis in range(len(letters))]
        if letters == "ST":
            places.reverse()
        return jnp.moveaxis(array, places, range(len(places)))

    def steps(self) -> tuple[Array, Array, Array]:
        """The visited tiles, as what a scan goes over."""
        rows, columns, full = zip(*self.visited, strict=True) if self.visited else ((), (), ())
        return jnp.asarray(rows, jnp.int32), jnp.asarray(columns, jnp.int32), jnp.asarray(full, bool)

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


def part(array: Array, *places: Array) -> Array:
    """A tile's part of a cut array."""
    return array.at[places].get(mode="promise_in_bounds", wrap_negative_indices=False) if places else array


def replaced(array: Array, places: tuple[Array, ...], value: Array) -> Array:
    """A cut array with a tile's part replaced; the promise spares a check of the place that costs a pass."""
    return array.at[places].set(value, mode="promise_in_bounds", wrap_negative_indices=False) if places else value


class Floats(NamedTuple):
    """What is differentiated, cut in tiles."""

    query: Array  # [n,t,K]
    key: Array  # [m,s,K]
    value: Array  # [m,s,V]
    knobs: tuple
    level: Array  # [], of `Shares`

    @classmethod
    def of(cls, composition: Composition, query: Array, key: Array, value: Array, *, tiles: Tiles) -> "Floats":
        """Cuts the prepared arrays, and the knobs that are floating point."""
        level = jnp.zeros((), query.dtype)
        if tiles.shares is not None:
            nothing = jnp.zeros((1, 1), query.dtype), jnp.ones((1, 1), bool), jnp.ones(1, jnp.int32), None
            level = jnp.asarray(_exponents(composition, *nothing)[1], query.dtype)
        knobs = _cut_knobs(composition, tiles, floating=True)
        return cls(tiles.cut(query, "T"), tiles.cut(key, "S"), tiles.cut(value, "S"), knobs, level)


class Fixed(NamedTuple):
    """What is not differentiated, cut in tiles."""

    knobs: tuple
    query_positions: Array  # [n,t]
    key_positions: Array  # [m,s]
    alive: Array  # [n,t] bool
    seen: Array  # [m,s] bool
    visible: Array  # [n,t] int32
    rng: Array | None

    @classmethod
    def of(cls, composition: Composition, positions: dict, tiles: Tiles, rng: Array | None) -> "Fixed":
        """Cuts positions and the other knobs, as if everything were seen; `survey` says what is."""
        cut = tiles.cut(positions["query_positions"], "T"), tiles.cut(positions["key_positions"], "S")
        alive, seen = (jnp.ones(places.shape, bool) for places in cut)
        visible = jnp.full(cut[0].shape, tiles.keys, jnp.int32)
        return cls(_cut_knobs(composition, tiles, floating=False), *cut, alive, seen, visible, rng)


def _cut_knobs(composition: Composition, tiles: Tiles, *, floating: bool) -> tuple:
    leaves = jax.tree.leaves(composition, is_leaf=is_lead)
    return tuple(
        tiles.cut(leaf.array, letters) if is_lead(leaf) else leaf
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

    def __init__(self, tiles: Tiles, fixed: Fixed, row: Array, column: Array, full: Array):
        self.tiles, self.fixed, self.row, self.column, self.full = tiles, fixed, row, column, full
        self.places = {
            "query_positions": part(fixed.query_positions, row),
            "key_positions": part(fixed.key_positions, column),
        }
        self.rows = row * tiles.rows + jnp.arange(tiles.rows, dtype=jnp.int32)
        self.columns = column * tiles.columns + jnp.arange(tiles.columns, dtype=jnp.int32)

    def at(self, letters: str) -> tuple[Array, ...]:
        """Where the tile's part is in an array that was cut along these letters."""
        return tuple(index for letter, index in (("T", self.row), ("S", self.column)) if letter in letters)

    @property
    def letters(self) -> list[str]:
        """The axes of the differentiable knobs."""
        return [axes for axes, kind in zip(self.tiles.axes, self.tiles.floating, strict=True) if kind]

    def knobs(self, floats: tuple) -> tuple:
        """The parts of the differentiable knobs that belong to the tile."""
        return tuple(part(knob, *self.at(letters)) for knob, letters in zip(floats, self.letters, strict=True))

    def composition(self, floats: tuple) -> Composition:
        """The composition of the tile, from the parts of its differentiable knobs."""
        differentiable, others = iter(floats), iter(self.fixed.knobs)
        leaves = []
        for letters, kind in zip(self.tiles.axes, self.tiles.floating, strict=True):
            leaf = next(differentiable) if kind else next(others)
            if letters and not kind:
                leaf = part(leaf, *self.at(letters))
            leaves.append(Lead(leaf, letters) if letters else leaf)
        return self.tiles.structure.unflatten(leaves)

    def mask(self, composition: Composition) -> Array:
        """Which pairs of the tile may attend; nothing is looked at where all are known to."""
        shape = (self.tiles.rows, self.tiles.columns)
        if self.tiles.unmasked:
            return jnp.ones(shape, bool)

        def looked_at() -> Array:
            mask = mask_of(composition, **self.places)
            if self.tiles.queries % self.tiles.rows:
                mask &= (self.rows < self.tiles.queries)[:, None]
            if self.tiles.keys % self.tiles.columns:
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
        composition, visible = self.composition(knobs), part(self.fixed.visible, self.row)
        scores = modified(scores, query, key, visible, composition, **self.places)
        if self.tiles.shares is not None:
            return _exponents(composition, scores, mask, visible, self.noise(composition))[0]
        return call(composition.normalizer, "normalizer", scores=scores, mask=mask, visible=visible)

    def aggregated(self, knobs: tuple, weights: Array, value: Array) -> Array:
        """What the tile adds to the output of its queries."""
        return call(self.composition(knobs).aggregate, "aggregate", weights=weights, value=value, **self.places)
