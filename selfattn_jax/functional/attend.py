"""The composition, dense: one head, one sequence, every slot, any order of derivatives. The reference for all else."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.core import Tracer

from selfattn_jax.functional import biases as bias_pieces
from selfattn_jax.functional.aggregate import matmul
from selfattn_jax.functional.bind import Bound, bind, call, is_lead, lead
from selfattn_jax.functional.dropout import dropout as drop
from selfattn_jax.functional.dropout import uniform
from selfattn_jax.functional.masks import Mask, as_mask, evaluate
from selfattn_jax.functional.normalizers import log_normalizer, softmax
from selfattn_jax.functional.scores import scaled_dot
from selfattn_jax.shapes import Array, check_shapes

EXTRAS = ("weights", "scores", "log_normalizer", "entropy")


class Composition(NamedTuple):
    """The pieces of one attention, a slot each, as a pytree; make it with `compose`."""

    encode: tuple[Bound, ...]
    score: Bound
    modifiers: tuple[Bound, ...]
    biases: tuple[Bound, ...]
    rowwise: tuple[Bound, ...]
    mask: Mask | None
    normalizer: Bound
    dropout: Any
    aggregate: Bound


class Inspection(NamedTuple):
    """What `inspect` returns: the output, and the extras that were asked for (the others are None)."""

    output: Array
    weights: Array | None = None
    scores: Array | None = None
    log_normalizer: Array | None = None
    entropy: Array | None = None


def compose(
    *,
    encode: Sequence[Callable] = (),
    score: Callable = scaled_dot,
    modifiers: Sequence[Callable] = (),
    biases: Sequence[Any] = (),
    rowwise: Sequence[Callable] = (),
    mask: Any = None,
    normalizer: Callable = softmax,
    dropout: Array | float = 0.0,
    aggregate: Callable = matmul,
) -> Composition:
    """Gathers the pieces of an attention, checked and bound.

    Args:
      encode: (query, key[, query_positions, key_positions, length]) → (query, key), in order.
      score: (query, key[, query_positions, key_positions]) → [T,S].
      modifiers: (scores[, visible, query_positions, key_positions]) → [T,S], in order.
      biases: ([query, key, ]query_positions, key_positions) → [T,S], added; or arrays [T,S].
      rowwise: (scores, query, mask) → [T,S], in order.
      mask: a Mask, a predicate of (query_positions, key_positions), a bool array [T,S]; True = may attend.
      normalizer: (scores, mask[, visible, uniform]) → weights [T,S].
      dropout: rate in [0, 1), on the weights.
      aggregate: (weights, value[, query_positions, key_positions]) → [T,V].

    Returns: the composition.
    Raises: TypeError or ValueError naming the slot and what came.
    """
    for name, pieces in (("encode", encode), ("modifiers", modifiers), ("biases", biases), ("rowwise", rowwise)):
        if not isinstance(pieces, (tuple, list)):
            raise TypeError(f"{name} must be a tuple of pieces, got {type(pieces).__name__}: write {name}=(piece,)")
    if not isinstance(dropout, Tracer) and not 0 <= float(dropout) < 1:
        raise ValueError(f"dropout must be a rate in [0, 1), got {dropout}")
    return Composition(
        encode=tuple(bind(piece) for piece in encode),
        score=bind(score),
        modifiers=tuple(bind(piece) for piece in modifiers),
        biases=tuple(_as_bias(bias) for bias in biases),
        rowwise=tuple(bind(piece) for piece in rowwise),
        mask=None if mask is None else as_mask(mask),
        normalizer=bind(normalizer),
        dropout=dropout,
        aggregate=bind(aggregate),
    )


def _as_bias(bias: Any) -> Bound:
    if callable(bias):
        return bind(bias)
    if is_lead(bias):
        return bind(bias_pieces.array, values=bias)
    values = jnp.asarray(bias)
    if values.ndim != 2 or not jnp.issubdtype(values.dtype, jnp.floating):
        raise ValueError(
            f"a bias array must be floating point [T,S], got {values.dtype} {list(values.shape)}: a boolean is a mask; "
            'say further axes with lead(bias, "HTS")'
        )
    return bind(bias_pieces.array, values=lead(values, "TS"))


def attend(
    query: Array,
    key: Array,
    value: Array,
    *,
    query_positions: Array | None = None,
    key_positions: Array | None = None,
    rng: Array | None = None,
    **pieces: Any,
) -> Array:
    """Attends with one head over one sequence.

      yₜ = Σₛ wₜₛ vₛ        w = normalizer(rowwise(modifiers(score(q, k)) + Σ biases), mask)

    Args:
      query: [T,K].  key: [S,K].  value: [S,V].
      query_positions: [T] int32, 0 … T−1 unless given.  key_positions: [S] int32, 0 … S−1 unless given.
      rng: a typed key, for dropout and for normalisers that draw; None = neither.
      **pieces: encode, score, modifiers, biases, rowwise, mask, normalizer, dropout, aggregate: see `compose`.

    Returns: [T,V], in value's dtype; 0 for a query that may attend to nothing.
    Raises: ValueError or TypeError naming the argument and what was wanted.
    References: Vaswani et al. 2017, arXiv:1706.03762.
    """
    return attend_composed(query, key, value, compose(**pieces), query_positions, key_positions, rng).output


def inspect(
    query: Array,
    key: Array,
    value: Array,
    *,
    want: Collection[str] = ("weights",),
    query_positions: Array | None = None,
    key_positions: Array | None = None,
    rng: Array | None = None,
    **pieces: Any,
) -> Inspection:
    """Attends like `attend` and returns what happened inside as well; the output is the same.

    Args:
      want: of "weights" [T,S] (before dropout), "scores" [T,S] (as the normaliser gets them, −∞ where masked),
        "log_normalizer" [T] (exponential normalisers only) and "entropy" [T] (of the weights, in nats).
      The other arguments are those of `attend`.

    Returns: an Inspection; what was not asked for is None.
    Raises: ValueError naming an unknown extra.
    """
    return attend_composed(query, key, value, compose(**pieces), query_positions, key_positions, rng, want)


def attend_composed(
    query: Array,
    key: Array,
    value: Array,
    composition: Composition,
    query_positions: Array | None = None,
    key_positions: Array | None = None,
    rng: Array | None = None,
    want: Collection[str] = (),
) -> Inspection:
    """`inspect` for a composition that is made already; the arguments are those of `inspect`."""
    positions = checked_positions(query, key, value, query_positions, key_positions, want)
    mask = mask_of(composition, **positions)
    query, key, value = prepare(query, key, value, composition, mask.any(axis=1), mask.any(axis=0), **positions)
    rows = jnp.arange(query.shape[0], dtype=jnp.int32)
    return attend_prepared(query, key, value, mask, composition, rows=rows, rng=rng, want=want, **positions)


def checked_positions(
    query: Array,
    key: Array,
    value: Array,
    query_positions: Array | None,
    key_positions: Array | None,
    want: Collection[str],
) -> dict[str, Array]:
    """Checks what one head is given; the positions by name, those not given filled in."""
    sizes = check_shapes(query=(query, "TK"), key=(key, "SK"), value=(value, "SV"))
    unknown = sorted(set(want) - set(EXTRAS))
    if unknown:
        raise ValueError(f"want knows {', '.join(EXTRAS)}; got {', '.join(unknown)}")
    return {
        "query_positions": default_positions("query_positions", query_positions, sizes["T"]),
        "key_positions": default_positions("key_positions", key_positions, sizes["S"]),
    }


def mask_of(composition: Composition, *, query_positions: Array, key_positions: Array) -> Array:
    """The composition's mask [T,S] bool; all True without one."""
    if composition.mask is None:
        return jnp.ones((query_positions.shape[0], key_positions.shape[0]), bool)
    return evaluate(composition.mask, query_positions, key_positions)


def prepare(
    query: Array,
    key: Array,
    value: Array,
    composition: Composition,
    alive: Array,
    seen: Array,
    *,
    query_positions: Array,
    key_positions: Array,
) -> tuple[Array, Array, Array]:
    """What happens once and in O(T), before any pair is looked at: zeroes what takes part in nothing, and encodes.

    Args:
      query: [T,K].  key: [S,K].  value: [S,V].
      composition: from `compose`.
      alive: [T] bool, the queries that see something.  seen: [S] bool, the keys that something sees.
      query_positions: [T] int32.  key_positions: [S] int32.

    Returns: query, key and value.
    """
    if composition.mask is not None:
        # Rows and keys that take part in nothing may hold NaN: they leave before anything multiplies them by 0.
        query = jnp.where(alive[:, None], query, 0)
        key, value = (jnp.where(seen[:, None], array, 0) for array in (key, value))
    positions = {"query_positions": query_positions, "key_positions": key_positions}
    for piece in composition.encode:
        if "length" in piece.needs and "length" not in positions:
            last = jnp.maximum(
                jnp.max(query_positions, where=alive, initial=-1), jnp.max(key_positions, where=seen, initial=-1)
            )
            positions["length"] = last + 1
        query, key = call(piece, "encode", query=query, key=key, **positions)
    return query, key, value


def attend_prepared(
    query: Array,
    key: Array,
    value: Array,
    mask: Array,
    composition: Composition,
    *,
    rows: Array,
    query_positions: Array,
    key_positions: Array,
    rng: Array | None,
    want: Collection[str] = (),
) -> Inspection:
    """Some rows of an attention whose queries, keys and values are prepared: all that remains is a row's own affair.

    Args:
      query: [T,K].  key: [S,K].  value: [S,V].  mask: [T,S] bool.
      composition: from `compose`.
      rows: [T] int32, the indices of these queries in their sequence: random numbers depend on them.
      query_positions: [T] int32.  key_positions: [S] int32.
      rng: a typed key or None.
      want: extras, as for `inspect`.

    Returns: an Inspection.
    """
    positions = {"query_positions": query_positions, "key_positions": key_positions}
    scores = scores_of(query, key, mask, composition, **positions)
    weights = weights_of(scores, mask, composition, rows=rows, rng=rng)
    output = output_of(weights, value, composition, rows=rows, rng=rng, **positions)
    extras: dict[str, Callable[[], Array]] = {
        "weights": lambda: weights,
        "scores": lambda: jnp.where(mask, scores, -jnp.inf),
        "log_normalizer": lambda: log_normalizer_of(scores, mask, composition, rows=rows, rng=rng),
        "entropy": lambda: entropy(weights),
    }
    return Inspection(output, **{name: extras[name]() for name in want})


def scores_of(
    query: Array, key: Array, mask: Array, composition: Composition, *, query_positions: Array, key_positions: Array
) -> Array:
    """The first part of a composition: everything from the prepared query and key up to the normaliser.

    Args:
      query: [T,K].  key: [S,K].  mask: [T,S] bool.
      composition: from `compose`.
      query_positions: [T] int32.  key_positions: [S] int32.

    Returns: [T,S], in at least float32; what stands where the mask is False is unspecified.
    """
    positions = {"query_positions": query_positions, "key_positions": key_positions}
    scores = call(composition.score, "score", query=query, key=key, **positions)
    visible = jnp.sum(mask, axis=1, dtype=jnp.int32)
    scores = modified(scores, query, key, visible, composition, **positions)
    for piece in composition.rowwise:
        scores = call(piece, "rowwise", scores=scores, query=query, mask=mask)
    return scores


def modified(
    scores: Array,
    query: Array,
    key: Array,
    visible: Array,
    composition: Composition,
    *,
    query_positions: Array,
    key_positions: Array,
) -> Array:
    """What happens to a score [T,S] by itself: modifiers, then biases; `visible` [T] int32 counts in the whole row."""
    positions = {"query_positions": query_positions, "key_positions": key_positions}
    for piece in composition.modifiers:
        scores = call(piece, "modifier", scores=scores, visible=visible, **positions)
    for piece in composition.biases:
        scores = scores + call(piece, "bias", query=query, key=key, **positions).astype(scores.dtype)
    return scores


def weights_of(scores: Array, mask: Array, composition: Composition, *, rows: Array, rng: Array | None) -> Array:
    """The second part: scores [T,S] → weights [T,S], before dropout."""
    return call(composition.normalizer, "normalizer", **_offered(scores, mask, composition, rows, rng))


def log_normalizer_of(scores: Array, mask: Array, composition: Composition, *, rows: Array, rng: Array | None) -> Array:
    """The log-normaliser [T] that belongs to `weights_of`."""
    offered, normalizer = _offered(scores, mask, composition, rows, rng), composition.normalizer
    needs = (offered[name] for name in normalizer.needs if name not in ("scores", "mask"))
    return log_normalizer(normalizer.function, scores, mask, *needs, **normalizer.plain_knobs())


def _offered(
    scores: Array, mask: Array, composition: Composition, rows: Array, rng: Array | None
) -> dict[str, Array | None]:
    """What a normaliser may ask for, by name; random numbers only for one that does."""
    offered = {"scores": scores, "mask": mask, "visible": jnp.sum(mask, axis=1, dtype=jnp.int32), "uniform": None}
    if rng is not None and "uniform" in composition.normalizer.needs:
        offered["uniform"] = uniform(rng, rows, _columns(scores))
    return offered


def output_of(
    weights: Array,
    value: Array,
    composition: Composition,
    *,
    rows: Array,
    query_positions: Array,
    key_positions: Array,
    rng: Array | None,
) -> Array:
    """The last part: dropout, and weights [T,S], value [S,V] → output [T,V]."""
    rate = composition.dropout
    if rng is not None and not (isinstance(rate, (int, float)) and rate == 0):
        weights = drop(weights, rng, rows, _columns(weights), rate)
    return call(
        composition.aggregate,
        "aggregate",
        weights=weights,
        value=value,
        query_positions=query_positions,
        key_positions=key_positions,
    )


def _columns(scores: Array) -> Array:
    return jnp.arange(scores.shape[1], dtype=jnp.int32)


def entropy(weights: Array) -> Array:
    """How widely a query attends: from 0 (one key) to ln S (all alike).

      Hₜ = −Σₛ pₜₛ ln pₜₛ        pₜₛ = |wₜₛ| / Σᵣ |wₜᵣ|

    Args:
      weights: [T,S].
    Returns: [T], in nats; 0 for a dead row.
    """
    sizes = jnp.abs(weights)
    total = jnp.sum(sizes, axis=-1, keepdims=True)
    shares = sizes / jnp.where(total > 0, total, 1)
    there = shares > 0
    return -jnp.sum(jnp.where(there, shares * jnp.log(jnp.where(there, shares, 1)), 0), axis=-1)


def default_positions(name: str, positions: Array | None, size: int) -> Array:
    """The positions given, checked, or 0 … size − 1."""
    if positions is None:
        return jnp.arange(size, dtype=jnp.int32)
    if not jnp.issubdtype(positions.dtype, jnp.integer) or positions.shape != (size,):
        raise ValueError(f"{name} must be int32 [{size}], got {positions.dtype} {list(positions.shape)}")
    return positions.astype(jnp.int32)
