"""The blockwise form: tiles [t,s] of an attention one after another, in memory O(T), with a backward pass of its own.

Forward keeps a running maximum, sum and output per query. Backward computes every tile again, from the output and the
log-normaliser, and differentiates its scores with `jax.vjp`, so that whatever learns in a score, a modifier, a bias or
an aggregate gets exact gradients. Tiles that the mask is known to empty are never visited; where it is known to let
everything through, it is not looked at. Reverse mode only: the rows form has both.
"""

import functools
from collections.abc import Collection
from typing import NamedTuple

import jax
import jax.numpy as jnp

from selfattn_jax.functional.attend import Composition, Inspection, checked_positions, prepare
from selfattn_jax.functional.normalizers import streaming
from selfattn_jax.functional.reverse import reverse_only
from selfattn_jax.functional.tiles import Block, Fixed, Floats, Tile, Tiles, as_block
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
    block: int | Block | None = None,
) -> Inspection:
    """`attend_composed` in tiles; what is asked for beside the output is at most the log-normaliser.

    Args:
      block: the shape of a tile, or its queries and keys; None = 512.
      The other arguments are those of `inspect`.

    Returns: an Inspection, equal to the dense one up to rounding.
    Raises: NotImplementedError for what cannot be computed by tiles and for forward-mode derivatives; as `inspect`.
    """
    reasons = why_not(composition, want)
    if reasons:
        raise NotImplementedError("; ".join(reasons))
    positions = checked_positions(query, key, value, query_positions, key_positions, want)
    default = query_positions is None and key_positions is None
    # The rate is known, and is no knob that is differentiated.
    rate, composition = float(composition.dropout), composition._replace(dropout=0)
    block = as_block(BLOCK if block is None else block)
    tiles = Tiles.of(composition, query.shape[0], key.shape[0], block, default=default, rate=rate, dtype=query.dtype)
    fixed = Fixed.of(composition, positions, tiles, rng)
    if composition.mask is not None:
        fixed = _survey(tiles, fixed)
    alive, seen = fixed.alive[: tiles.queries], fixed.seen[: tiles.keys]
    query, key, value = prepare(query, key, value, composition, alive, seen, **positions)
    dtype, narrow = accumulation_dtype(query, key, value), value.dtype
    floats = Floats.of(composition, *(array.astype(dtype) for array in (query, key, value)), tiles=tiles)
    floats = jax.tree.map(lambda array: reverse_only(jnp.asarray(array)), floats)
    output, logs = _attend(tiles, floats, fixed)  # pyright: ignore[reportGeneralTypeIssues]
    output = output[: tiles.queries].astype(narrow)
    return Inspection(output, log_normalizer=logs[: tiles.queries] if want else None)


def why_not(composition: Composition, want: Collection[str] = ()) -> list[str]:
    """What keeps a composition from being computed by tiles; empty = nothing."""
    reasons = [f"{piece.__name__} needs a whole row of scores" for piece in composition.rowwise]
    family = streaming(composition.normalizer.function)
    if family is None:
        reasons.append(f"{composition.normalizer.__name__} needs a whole row of scores")
    if not isinstance(composition.dropout, (int, float)):
        reasons.append("a dropout rate that is traced is not computed by tiles")
    whole = sorted(set(want) - ({"log_normalizer"} if family == "exponential" else set()))
    if whole:
        reasons.append(f"{', '.join(whole)} would hold all pairs, or does not exist for this normaliser")
    return [f"{reason}: take the rows form" for reason in reasons]


def _survey(tiles: Tiles, fixed: Fixed) -> Fixed:
    """Which queries see something and which keys something sees, and how many, from the visited tiles alone."""
    unknown = tuple(jnp.zeros(()) for kind in tiles.floating if kind)  # masks have no floating point knobs

    def step(found: tuple, place: tuple) -> tuple:
        seen, visible = found
        tile = Tile(tiles, fixed, *place)
        mask = tile.mask(tile.composition(unknown))
        seen = tile.replaced(seen, "S", tile.part(seen, "S") | mask.any(axis=0))
        return (seen, tile.added(visible, "T", mask.sum(axis=1, dtype=jnp.int32))), None

    start = jnp.zeros(fixed.seen.shape, bool), jnp.zeros(fixed.visible.shape, jnp.int32)
    (seen, visible), _ = jax.lax.scan(step, start, tiles.steps())
    return fixed._replace(alive=visible > 0, seen=seen, visible=visible)


class _Running(NamedTuple):
    """What is known of every query after some of its tiles."""

    largest: Array  # [T], of the exponents
    total: Array  # [T], of the magnitudes, divided by exp(largest)
    output: Array  # [T,V], likewise


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(tiles: Tiles, floats: Floats, fixed: Fixed) -> tuple[Array, Array]:
    """Output [T,V] and log-normaliser [T] (of a pointwise normaliser: zeros)."""
    return _forward(tiles, floats, fixed)[:2]


def _forward(tiles: Tiles, floats: Floats, fixed: Fixed) -> tuple[Array, Array, Array]:
    """Output, log-normaliser and the largest exponent of every query."""
    steps, fixed = _with(floats.query, tiles.steps(), fixed)
    scale = tiles.inner_scale(floats.query.shape[-1])
    scaled = floats.query * (scale or 1)

    def step(running: _Running, place: tuple) -> tuple[_Running, None]:
        tile = Tile(tiles, fixed, *place)
        knobs, query, key = tile.knobs(floats.knobs), tile.part(floats.query, "T"), tile.part(floats.key, "S")
        scores = tile.score(knobs, query, key) if scale is None else tile.part(scaled, "T") @ key.T
        mask = tile.mask(tile.composition(knobs))
        terms = tile.terms(knobs, scores, query, key, mask)
        before = _Running(*(tile.part(array, "T") for array in running))
        after = _grown(tile, before, knobs, terms, mask, tile.part(floats.value, "S"))
        return _Running(*(tile.replaced(array, "T", new) for array, new in zip(running, after, strict=True))), None

    shape, dtype = floats.query.shape[:1], floats.query.dtype
    output, zeros = jnp.zeros((*shape, floats.value.shape[-1]), dtype), jnp.zeros(shape, dtype)
    if tiles.shares is None:
        return jax.lax.scan(step, _Running(zeros, zeros, output), steps)[0].output, zeros, zeros
    lowest, start, rest = (jnp.asarray(number, dtype) for number in tiles.shares.begin(floats.level))
    begin = _Running(jnp.full(shape, lowest), jnp.full(shape, start), output)
    largest, total, output = jax.lax.scan(step, begin, steps)[0]
    total = total + rest
    alive = (total > 0) & jnp.isfinite(largest)
    total = jnp.where(alive, total, 1)
    return output / total[..., None], jnp.where(alive, jnp.log(total) + largest, -jnp.inf), largest


def _with(array: Array, steps: tuple[Array, ...], fixed: Fixed) -> tuple[tuple[Array, ...], Fixed]:
    """The steps and what is fixed, of which nothing can be made before the array is there.

    A scan over heads has what does not depend on the head computed ahead of it, and kept: here the masks of all tiles.
    """
    return jax.lax.optimization_barrier((array, steps, fixed))[1:]


def _grown(tile: Tile, before: _Running, knobs: tuple, terms: Array, mask: Array, value: Array) -> _Running:
    """What is known of the tile's queries after it."""
    way = tile.tiles.shares
    if way is None:
        return before._replace(output=before.output + tile.aggregated(knobs, tile.dropped(terms), value))
    terms = terms if tile.tiles.unmasked else jnp.where(mask, terms, way.hidden)
    largest = jnp.maximum(before.largest, jnp.max(terms, axis=1))
    # While nothing has been seen there is no largest: any finite number will do.
    base = jnp.where(jnp.isfinite(largest), largest, 0)
    fade = jnp.exp(before.largest - base)
    numerator, magnitude = way.parts(terms, base[:, None])
    added = tile.aggregated(knobs, tile.dropped(numerator), value)
    return _Running(largest, before.total * fade + magnitude.sum(axis=1), before.output * fade[:, None] + added)


def _attend_forward(tiles: Tiles, floats: Floats, fixed: Fixed) -> tuple:
    output, logs, largest = _forward(tiles, floats, fixed)
    return (output, logs), (floats, fixed, output, logs, largest)


def _attend_backward(tiles: Tiles, saved: tuple, cotangents: tuple) -> tuple:
    floats, fixed, output, logs, largest = saved
    by_output, by_logs = cotangents
    steps, fixed = _with(by_output, tiles.steps(), fixed)
    alive = jnp.isfinite(logs)
    # What every weight of a row loses to the others: ∂xₜₛ = wₜₛ (∂wₜₛ − lossₜ).
    # Summed by a product: XLA's reduction of these few columns takes ten times as long on a CPU.
    loss = (by_output * output) @ jnp.ones(output.shape[-1:], output.dtype) - jnp.where(alive, by_logs, 0)
    finite = jnp.where(alive, logs, 0)
    scale = tiles.inner_scale(floats.query.shape[-1])
    scaled = floats.query * (scale or 1)

    def step(gradients: Floats, place: tuple) -> tuple[Floats, None]:
        tile = Tile(tiles, fixed, *place)
        knobs, query, key = tile.knobs(floats.knobs), tile.part(floats.query, "T"), tile.part(floats.key, "S")
        mask = tile.mask(tile.composition(knobs))
        if scale is None:
            scores, pull_score = jax.vjp(tile.score, knobs, query, key)
        else:
            scores, pull_score = tile.part(scaled, "T") @ key.T, None
        terms, pull_terms = jax.vjp(
            lambda knobs, scores, query, key: tile.terms(knobs, scores, query, key, mask), knobs, scores, query, key
        )
        weights, pull_weights = _weights(tile, terms, mask, tile.part(finite, "T"))
        by_knobs, by_weights, by_value = _back_from_output(
            tile, knobs, weights, tile.part(floats.value, "S"), tile.part(by_output, "T")
        )
        more_knobs, by_scores, by_query, by_key = pull_terms(pull_weights(by_weights, tile.part(loss, "T")))
        by_knobs = jax.tree.map(jnp.add, by_knobs, more_knobs)
        if pull_score is None:
            # The gradient of the scaled query; the scale waits for the end, where it is one small product.
            by_query = by_scores @ key
            by_key = _by_small(tile.part(scaled, "T"), by_scores)
        else:
            more_knobs, more_query, more_key = pull_score(by_scores)
            by_knobs = jax.tree.map(jnp.add, by_knobs, more_knobs)
            by_query, by_key = by_query + more_query, by_key + more_key
        return Floats(
            tile.added(gradients.query, "T", by_query),
            tile.added(gradients.key, "S", by_key),
            tile.added(gradients.value, "S", by_value),
            tuple(
                tile.added(whole, letters, gradient)
                for whole, gradient, letters in zip(gradients.knobs, by_knobs, tile.letters, strict=True)
            ),
            gradients.level,
        ), None

    gradients, _ = jax.lax.scan(step, jax.tree.map(jnp.zeros_like, floats), steps)
    return gradients._replace(
        query=gradients.query * (scale or 1),
        level=_by_level(tiles, floats.level, loss, finite, largest, alive),
    ), None


def _weights(tile: Tile, terms: Array, mask: Array, logs: Array) -> tuple:
    """The weights of a tile, and what makes of a cotangent of them (and of the rows' loss) one of the terms."""
    way = tile.tiles.shares
    if way is None:
        return terms, lambda by_weights, loss: by_weights
    terms = terms if tile.tiles.unmasked else jnp.where(mask, terms, way.hidden)
    (weights, _), pull = jax.vjp(lambda terms: way.parts(terms, logs[:, None]), terms)
    return weights, lambda by_weights, loss: pull((by_weights, jnp.broadcast_to(-loss[:, None], terms.shape)))[0]


def _back_from_output(
    tile: Tile, knobs: tuple, weights: Array, value: Array, by_output: Array
) -> tuple[tuple, Array, Array]:
    """Cotangents of the knobs, of the weights [t,s], and of the value."""
    dropped = tile.dropped(weights)
    if tile.tiles.averages:
        by_dropped = by_output @ value.T
        return jax.tree.map(jnp.zeros_like, knobs), tile.dropped(by_dropped), _by_small(by_output, dropped)
    _, pull = jax.vjp(tile.aggregated, knobs, dropped, value)
    by_knobs, by_dropped, by_value = pull(by_output)
    return by_knobs, tile.dropped(by_dropped), by_value


def _by_small(small: Array, large: Array) -> Array:
    """[t,K], [t,s] → largeᵀ small [s,K], as (smallᵀ large)ᵀ: with the large one turned it takes twice as long."""
    apart = jax.lax.optimization_barrier  # else XLA puts both turns back into the product
    return apart(apart(small.T) @ large).T


def _by_level(tiles: Tiles, level: Array, loss: Array, logs: Array, largest: Array, alive: Array) -> Array:
    """The gradient of what stands in every denominator beside the pairs."""
    way = tiles.shares
    if way is None:
        return jnp.zeros_like(level)

    def denominators(level: Array) -> Array:
        lowest, start, rest = way.begin(level)
        return jnp.where(alive, start * jnp.exp(lowest - logs) + rest * jnp.exp(largest - logs), 0)

    _, pull = jax.vjp(denominators, level)
    return -pull(loss)[0]


_attend.defvjp(_attend_forward, _attend_backward)
