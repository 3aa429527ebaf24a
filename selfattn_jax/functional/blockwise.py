"""The blockwise form: tiles [t,s] of an attention one after another, in memory O(T), with a backward pass of its own.

Forward keeps a running maximum, sum and output per query. Backward computes every tile again, from the output and the
log-normaliser, and differentiates its scores with `jax.vjp`, so that whatever learns in a score, a modifier or a bias
gets exact gradients. Tiles that the mask is known to empty are never visited; where it is known to let everything
through, it is not looked at. Reverse mode only: the rows form has both.
"""

import functools
from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from selfattn_jax.functional.aggregate import matmul
from selfattn_jax.functional.attend import (
    Composition,
    Inspection,
    checked_positions,
    mask_of,
    modified,
    prepare,
)
from selfattn_jax.functional.bind import Lead, call, is_lead
from selfattn_jax.functional.dropout import dropout as drop
from selfattn_jax.functional.dropout import uniform
from selfattn_jax.functional.masks import EMPTY, FULL, classify
from selfattn_jax.functional.normalizers import exponents, streaming
from selfattn_jax.functional.scores import dot, scaled_dot
from selfattn_jax.shapes import Array, accumulation_dtype

BLOCK = 512  # queries, and keys, of a tile


def attend_by_blocks(
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
    """`attend_composed` in tiles; what is asked for beside the output is at most the log-normaliser.

    Args:
      block: queries, and keys, of a tile; None = 512.
      The other arguments are those of `inspect`.

    Returns: an Inspection, equal to the dense one up to rounding.
    Raises: NotImplementedError that says what cannot be computed by tiles; and as `inspect`.
    """
    reasons = why_not(composition, want)
    if reasons:
        raise NotImplementedError("; ".join(reasons))
    if block is not None and block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    positions = checked_positions(query, key, value, query_positions, key_positions, want)
    default = query_positions is None and key_positions is None
    # The rate is known, and is no knob that is differentiated.
    rate, composition = float(composition.dropout), composition._replace(dropout=0)
    tiles = _Tiles.of(composition, query.shape[0], key.shape[0], block or BLOCK, default=default, rate=rate)
    fixed = _Fixed.of(composition, positions, tiles, rng)
    if composition.mask is not None:
        fixed = _survey(tiles, fixed)
    alive, seen = fixed.alive.reshape(-1)[: tiles.queries], fixed.seen.reshape(-1)[: tiles.keys]
    query, key, value = prepare(query, key, value, composition, alive, seen, **positions)
    dtype, narrow = accumulation_dtype(query, key, value), value.dtype
    floats = _Floats.of(composition, *(array.astype(dtype) for array in (query, key, value)), tiles=tiles)
    output, logs = _attend(tiles, floats, fixed)  # pyright: ignore[reportGeneralTypeIssues]
    output = output.reshape(-1, output.shape[-1])[: tiles.queries].astype(narrow)
    return Inspection(output, log_normalizer=logs.reshape(-1)[: tiles.queries] if want else None)


def why_not(composition: Composition, want: Collection[str] = ()) -> list[str]:
    """What keeps a composition from being computed by tiles; empty = nothing."""
    reasons = [f"{piece.__name__} needs a whole row of scores" for piece in composition.rowwise]
    family = streaming(composition.normalizer.function)
    if family is None:
        reasons.append(f"{composition.normalizer.__name__} needs a whole row of scores")
    if composition.aggregate.function is not matmul:
        reasons.append(f"{composition.aggregate.__name__} is not computed by tiles yet")
    if not isinstance(composition.dropout, (int, float)):
        reasons.append("a dropout rate that is traced is not computed by tiles")
    whole = sorted(set(want) - ({"log_normalizer"} if family == "exponential" else set()))
    if whole:
        reasons.append(f"{', '.join(whole)} would hold all pairs, or does not exist for this normaliser")
    return [f"{reason}: take the rows form" for reason in reasons]


class _Tiles(NamedTuple):
    """What is known before anything runs: the sizes, the tiles that are visited, and the shape of the composition."""

    queries: int
    keys: int
    rows: int  # of a tile
    columns: int  # of a tile
    visited: tuple[tuple[int, int, bool], ...]  # row and column of the tile, and whether the mask is known to be full
    structure: Any  # of the composition
    axes: tuple[str, ...]  # of its leaves: the letters T and S of an array knob
    floating: tuple[bool, ...]
    rate: float  # of dropout

    @classmethod
    def of(
        cls, composition: Composition, queries: int, keys: int, block: int, *, default: bool, rate: float
    ) -> "_Tiles":
        rows, columns = min(block, max(queries, 1)), min(block, max(keys, 1))
        visited = []
        for i in range(-(-queries // rows)):
            for j in range(-(-keys // columns)):
                last = min((i + 1) * rows, queries) - 1, min((j + 1) * columns, keys) - 1
                whole = last == ((i + 1) * rows - 1, (j + 1) * columns - 1)
                kind = FULL
                if composition.mask is not None:
                    kind = classify(composition.mask, (i * rows, last[0]), (j * columns, last[1])) if default else 1
                if kind != EMPTY:
                    visited.append((i, j, kind == FULL and whole))
        leaves, structure = jax.tree.flatten(composition, is_leaf=is_lead)
        axes = tuple(leaf.letters if is_lead(leaf) else "" for leaf in leaves)
        floating = tuple(_is_float(leaf.array if is_lead(leaf) else leaf) for leaf in leaves)
        return cls(queries, keys, rows, columns, tuple(visited), structure, axes, floating, rate)

    def cut(self, array: Array, letters: str) -> Array:
        """An array with leading axes T, S, in any order, as [n,m,…] tiles of [t,s,…]: what overhangs is repeated."""
        array = jnp.asarray(array)
        for axis, letter in enumerate(letters):
            size, part = (self.queries, self.rows) if letter == "T" else (self.keys, self.columns)
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


def _is_float(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def _at(letters: str, row: Array, column: Array) -> tuple[Array, ...]:
    """Where the part of a tile is in a cut array."""
    return tuple(index for letter, index in (("T", row), ("S", column)) if letter in letters)


class _Floats(NamedTuple):
    """What is differentiated, cut in tiles."""

    query: Array  # [n,t,K]
    key: Array  # [m,s,K]
    value: Array  # [m,s,V]
    knobs: tuple
    sink: Array  # []

    @classmethod
    def of(cls, composition: Composition, query: Array, key: Array, value: Array, *, tiles: _Tiles) -> "_Floats":
        knobs = _cut_knobs(composition, tiles, floating=True)
        sink = jnp.asarray(-jnp.inf, query.dtype)
        if streaming(composition.normalizer.function) == "exponential":
            sink = jnp.asarray(_exponents(composition, *_nothing(query.dtype))[1], query.dtype)
        return cls(tiles.cut(query, "T"), tiles.cut(key, "S"), tiles.cut(value, "S"), knobs, sink)


class _Fixed(NamedTuple):
    """What is not differentiated, cut in tiles."""

    knobs: tuple
    query_positions: Array  # [n,t]
    key_positions: Array  # [m,s]
    alive: Array  # [n,t] bool
    seen: Array  # [m,s] bool
    visible: Array  # [n,t] int32
    rng: Array | None

    @classmethod
    def of(cls, composition: Composition, positions: dict, tiles: _Tiles, rng: Array | None) -> "_Fixed":
        cut = tiles.cut(positions["query_positions"], "T"), tiles.cut(positions["key_positions"], "S")
        alive, seen = (jnp.ones(places.shape, bool) for places in cut)
        visible = jnp.full(cut[0].shape, tiles.keys, jnp.int32)
        return cls(_cut_knobs(composition, tiles, floating=False), *cut, alive, seen, visible, rng)


def _cut_knobs(composition: Composition, tiles: _Tiles, *, floating: bool) -> tuple:
    leaves = jax.tree.leaves(composition, is_leaf=is_lead)
    return tuple(
        tiles.cut(leaf.array, letters) if is_lead(leaf) else leaf
        for leaf, letters, kind in zip(leaves, tiles.axes, tiles.floating, strict=True)
        if kind == floating
    )


def _nothing(dtype: jnp.dtype) -> tuple[Array, Array, Array, None]:
    return jnp.zeros((1, 1), dtype), jnp.ones((1, 1), bool), jnp.ones(1, jnp.int32), None


def _exponents(composition: Composition, scores: Array, mask: Array, visible: Array, noise: Array | None) -> tuple:
    offered = {"scores": scores, "mask": mask, "visible": visible, "uniform": noise}
    normalizer = composition.normalizer
    needs = [offered[name] for name in normalizer.needs]
    return exponents(normalizer.function)(*needs, **normalizer.plain_knobs())


class _Tile:
    """One tile: the composition with the part of each knob that belongs there, and what stands at its edges."""

    def __init__(self, tiles: _Tiles, fixed: _Fixed, row: Array, column: Array, full: Array):
        self.tiles, self.fixed, self.row, self.column, self.full = tiles, fixed, row, column, full
        self.places = {
            "query_positions": fixed.query_positions[row],
            "key_positions": fixed.key_positions[column],
        }
        self.rows = row * tiles.rows + jnp.arange(tiles.rows, dtype=jnp.int32)
        self.columns = column * tiles.columns + jnp.arange(tiles.columns, dtype=jnp.int32)

    @property
    def letters(self) -> list[str]:
        """The axes of the differentiable knobs."""
        return [axes for axes, kind in zip(self.tiles.axes, self.tiles.floating, strict=True) if kind]

    def knobs(self, floats: tuple) -> tuple:
        """The parts of the differentiable knobs that belong to the tile."""
        return tuple(
            knob[_at(letters, self.row, self.column)] if letters else knob
            for knob, letters in zip(floats, self.letters, strict=True)
        )

    def composition(self, floats: tuple) -> Composition:
        """The composition of the tile, from the parts of its differentiable knobs."""
        differentiable, others = iter(floats), iter(self.fixed.knobs)
        leaves = []
        for letters, kind in zip(self.tiles.axes, self.tiles.floating, strict=True):
            leaf = next(differentiable) if kind else next(others)
            if letters and not kind:
                leaf = leaf[_at(letters, self.row, self.column)]
            leaves.append(Lead(leaf, letters) if letters else leaf)
        return self.tiles.structure.unflatten(leaves)

    def mask(self, composition: Composition) -> Array:
        """Which pairs of the tile may attend; nothing is looked at where all are known to."""
        shape = (self.tiles.rows, self.tiles.columns)
        if all(full for *_, full in self.tiles.visited):
            return jnp.ones(shape, bool)

        def looked_at() -> Array:
            inside = (self.rows < self.tiles.queries)[:, None] & (self.columns < self.tiles.keys)[None, :]
            return mask_of(composition, **self.places) & inside

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
        """The score alone, before what is done to it."""
        return call(self.composition(knobs).score, "score", query=query, key=key, **self.places)

    def terms(self, knobs: tuple, scores: Array, query: Array, key: Array, mask: Array) -> Array:
        """What is summed over a row: the exponents of an exponential normaliser, the weights of a pointwise one."""
        composition, visible = self.composition(knobs), self.fixed.visible[self.row]
        scores = modified(scores, query, key, visible, composition, **self.places)
        if streaming(composition.normalizer.function) == "exponential":
            return _exponents(composition, scores, mask, visible, self.noise(composition))[0]
        return call(composition.normalizer, "normalizer", scores=scores, mask=mask, visible=visible)


def _survey(tiles: _Tiles, fixed: _Fixed) -> _Fixed:
    """Which queries see something and which keys something sees, and how many, from the visited tiles alone."""

    def step(found: tuple, place: tuple) -> tuple:
        seen, visible = found
        tile = _Tile(tiles, fixed, *place)
        mask = tile.mask(tile.composition(_unknown(tiles)))
        return (seen.at[tile.column].max(mask.any(axis=0)), visible.at[tile.row].add(mask.sum(axis=1))), None

    start = jnp.zeros(fixed.seen.shape, bool), jnp.zeros(fixed.visible.shape, jnp.int32)
    (seen, visible), _ = jax.lax.scan(step, start, tiles.steps())
    return fixed._replace(alive=visible > 0, seen=seen, visible=visible)


def _unknown(tiles: _Tiles) -> tuple:
    """Something in the place of every differentiable knob: masks have none."""
    return tuple(jnp.zeros(()) for kind in tiles.floating if kind)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(tiles: _Tiles, floats: _Floats, fixed: _Fixed) -> tuple[Array, Array]:
    """Output [n,t,V] and log-normaliser [n,t] (of a pointwise normaliser: zeros)."""
    exponential = _is_exponential(tiles)

    def step(carry: tuple, place: tuple) -> tuple:
        largest, total, output = carry
        tile = _Tile(tiles, fixed, *place)
        knobs = tile.knobs(floats.knobs)
        mask = tile.mask(tile.composition(knobs))
        query, key = floats.query[tile.row], floats.key[tile.column]
        terms = tile.terms(knobs, tile.score(knobs, query, key), query, key, mask)
        if exponential:
            before = largest[tile.row]
            now = jnp.maximum(before, jnp.max(terms, axis=1, initial=-jnp.inf, where=mask))
            # While nothing has been seen there is no largest: any finite number will do.
            base = jnp.where(jnp.isfinite(now), now, 0)
            fade = jnp.exp(before - base)
            terms = jnp.where(mask, jnp.exp(jnp.where(mask, terms, base[:, None]) - base[:, None]), 0)
            largest = largest.at[tile.row].set(now)
            total = total.at[tile.row].set(total[tile.row] * fade + terms.sum(axis=1))
            output = output.at[tile.row].multiply(fade[:, None])
        output = output.at[tile.row].add(tile.dropped(terms) @ floats.value[tile.column])
        return (largest, total, output), None

    shape, dtype = floats.query.shape[:2], floats.query.dtype
    start = jnp.full(shape, floats.sink), jnp.where(floats.sink > -jnp.inf, jnp.ones(shape, dtype), 0)
    output = jnp.zeros((*shape, floats.value.shape[-1]), dtype)
    (largest, total, output), _ = jax.lax.scan(step, (*start, output), tiles.steps())
    if not exponential:
        return output, jnp.zeros(shape, dtype)
    alive = total > 0
    total = jnp.where(alive, total, 1)
    return output / total[..., None], jnp.where(alive, jnp.log(total) + largest, -jnp.inf)


def _is_exponential(tiles: _Tiles) -> bool:
    return streaming(_shape_of(tiles).normalizer.function) == "exponential"


def _shape_of(tiles: _Tiles) -> Composition:
    """The composition with anything in the place of its leaves: its functions are known all the same."""
    return tiles.structure.unflatten(tiles.axes)


def _inner_scale(tiles: _Tiles, width: int) -> float | None:
    """What an inner product is scaled by, where the score is one and nothing else looks at queries and keys."""
    composition = _shape_of(tiles)
    looks = any({"query", "key"} & set(bias.needs) for bias in composition.biases)
    return None if looks else {dot: 1.0, scaled_dot: width**-0.5}.get(composition.score.function)


def _attend_forward(tiles: _Tiles, floats: _Floats, fixed: _Fixed) -> tuple:
    output, logs = _attend(tiles, floats, fixed)  # pyright: ignore[reportGeneralTypeIssues]
    return (output, logs), (floats, fixed, output, logs)


def _attend_backward(tiles: _Tiles, saved: tuple, cotangents: tuple) -> tuple:
    floats, fixed, output, logs = saved
    by_output, by_logs = cotangents
    exponential = _is_exponential(tiles)
    alive = jnp.isfinite(logs)
    # What every weight of a row loses to the others: ∂xₜₛ = wₜₛ (∂wₜₛ − lossₜ).
    loss = jnp.sum(by_output * output, axis=-1) - jnp.where(alive, by_logs, 0)
    finite = jnp.where(alive, logs, 0)
    # A product with a turned large operand runs at half the speed: the small operands are turned, once, and the
    # gradients of key and value are gathered turned.
    turned_query, turned_key, turned_value, turned_cotangent = (
        jnp.swapaxes(array, 1, 2) for array in (floats.query, floats.key, floats.value, by_output)
    )
    scale = _inner_scale(tiles, floats.query.shape[-1])

    def step(gradients: _Floats, place: tuple) -> tuple:
        tile = _Tile(tiles, fixed, *place)
        row, column = tile.row, tile.column
        knobs, query, key = tile.knobs(floats.knobs), floats.query[row], floats.key[column]
        mask = tile.mask(tile.composition(knobs))
        if scale is None:
            scores, pull_score = jax.vjp(tile.score, knobs, query, key)
        else:
            scores, pull_score = scale * (query @ turned_key[column]), None
        terms, pull = jax.vjp(
            lambda knobs, scores, query, key: tile.terms(knobs, scores, query, key, mask), knobs, scores, query, key
        )
        by_weights = tile.dropped(by_output[row] @ turned_value[column])
        if exponential:
            weights = jnp.where(mask, jnp.exp(jnp.where(mask, terms, 0) - finite[row][:, None]), 0)
            by_terms = weights * (by_weights - loss[row][:, None])
        else:
            weights, by_terms = terms, by_weights
        by_knobs, by_scores, by_query, by_key = pull(by_terms)
        if pull_score is None:
            by_scores = scale * by_scores
            by_query, by_turned_key = by_scores @ key, turned_query[row] @ by_scores
        else:
            more_knobs, more_query, more_key = pull_score(by_scores)
            by_knobs = jax.tree.map(jnp.add, by_knobs, more_knobs)
            by_query, by_turned_key = by_query + more_query, (by_key + more_key).T
        added = tuple(
            whole.at[_at(letters, row, column)].add(part) if letters else whole + part
            for whole, part, letters in zip(gradients.knobs, by_knobs, tile.letters, strict=True)
        )
        return gradients._replace(
            query=gradients.query.at[row].add(by_query),
            key=gradients.key.at[column].add(by_turned_key),
            value=gradients.value.at[column].add(turned_cotangent[row] @ tile.dropped(weights)),
            knobs=added,
        ), None

    start = jax.tree.map(jnp.zeros_like, floats._replace(key=turned_key, value=turned_value))
    gradients, _ = jax.lax.scan(step, start, tiles.steps())
    share = jnp.where(alive, jnp.exp(floats.sink - finite), 0)
    by_key, by_value = (jnp.swapaxes(array, 1, 2) for array in (gradients.key, gradients.value))
    return gradients._replace(key=by_key, value=by_value, sink=-jnp.sum(share * loss)), None


_attend.defvjp(_attend_forward, _attend_backward)
