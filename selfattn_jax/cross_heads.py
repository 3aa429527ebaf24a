"""Lifts in which heads meet: talking heads mix scores and weights, differential heads subtract attentions."""

from collections.abc import Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from selfattn_jax.attention import LiftedContext, inspect, lift, lifted_context, map_letter, plain
from selfattn_jax.choosing import Implementation
from selfattn_jax.functional.attend import (
    Composition,
    Inspection,
    default_positions,
    entropy,
    log_normalizer_of,
    mask_of,
    output_of,
    prepare,
    scores_of,
    weights_of,
)
from selfattn_jax.functional.bind import lead
from selfattn_jax.functional.rows import block_of, by_rows, survey
from selfattn_jax.shapes import Array, check_shapes


class _Talk(NamedTuple):
    """What a sequence of talking heads is computed with."""

    context: LiftedContext
    before: Array | None
    after: Array | None


def talking_attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    before: Array | None = None,
    after: Array | None = None,
    want: Collection[str] = (),
    rng: Array | None = None,
    implementation: Implementation = "auto",
    mask: Any = None,
    lengths: Array | None = None,
    segments: Array | tuple[Array, Array] | None = None,
    query_positions: Array | None = None,
    key_positions: Array | None = None,
    **pieces: Any,
) -> Inspection:
    """Attends with heads that mix their scores before the normaliser and their weights after it.

      yₕ = wₕ v        wₕ = Σ_g after_hg normalizer(x)_g,  xₕ = Σ_g before_hg x_g

    A pair that a head's mask hides adds nothing to other heads and gets weight 0 in its own.

    Args:
      query: [B,T,H,K] or [T,H,K].  key: [B,S,G,K] or [S,G,K].  value: [B,S,G,V] or [S,G,V].  G divides H.
      before: [H,H], to a head's scores from all heads'; None = each its own.
      after: [H,H], to a head's weights from all heads'; None = each its own.
      want: extras, as for `inspect`: scores and log-normaliser after the first mixing, weights after the second.
      The other arguments are those of `attention`.

    Returns: an Inspection; its output is [B,T,H,V] or [T,H,V].
    Raises: ValueError when before or after is not [H,H]; NotImplementedError for the blockwise form; as `attention`.
    References: Shazeer et al. 2020, arXiv:2003.02436.
    """
    heads = query.shape[-2]
    if implementation == "blockwise":
        raise NotImplementedError("talking heads mix whole rows of scores: take the rows form")
    for name, matrix in (("before", before), ("after", after)):
        if matrix is not None and matrix.shape != (heads, heads):
            raise ValueError(f"{name} must be [H={heads},H={heads}], got shape {list(matrix.shape)}")
    data = {"mask": mask, "lengths": lengths, "segments": segments}
    positions = {"query_positions": query_positions, "key_positions": key_positions}
    talk = _Talk(lifted_context(key, pieces, **data, **positions), before, after)

    def sequence(talk: _Talk, query: Array, key: Array, value: Array, rng: Array | None) -> Inspection:
        return _talk(talk, query, key, value, rng, want, in_rows=implementation == "rows")

    batched = query.ndim == 4
    if not batched:
        query, key, value = query[None], key[None], value[None]
    check_shapes(query=(query, "BTHK"), key=(key, "BSGK"), value=(value, "BSGV"))
    rngs = None if rng is None else jax.random.split(rng, query.shape[0])
    seen = map_letter(sequence, "B", (0, 0, 0, 0))(talk, query, key, value, rngs)
    return seen if batched else jax.tree.map(lambda array: array[0], seen)


def _talk(
    talk: _Talk, query: Array, key: Array, value: Array, rng: Array | None, want: Collection[str], *, in_rows: bool
) -> Inspection:
    """One sequence: prepared a head at a time, then all heads together, in one block of rows or in many."""
    sizes = check_shapes(query=(query, "THK"), key=(key, "SGK"), value=(value, "SGV"))
    rows, columns = sizes["T"], sizes["S"]
    block = block_of(None, rows, columns * sizes["H"]) if in_rows else rows
    positions = (
        default_positions("query_positions", plain(talk.context.query_positions), rows),
        default_positions("key_positions", plain(talk.context.key_positions), columns),
    )
    context = LiftedContext(talk.context.composition, lead(positions[0], "T"), lead(positions[1], "S"))

    def prepare_head(context: LiftedContext, query: Array, key: Array, value: Array, rng: Array | None) -> tuple:
        places = _places(context)
        alive, seen = survey(context.composition, places["query_positions"], places["key_positions"], block)
        return prepare(query, key, value, context.composition, alive, seen, **places)

    query, key, value = lift(prepare_head, context, query, key, value, None, out_axes=(1, 1, 1))
    rngs = None if rng is None else jax.random.split(rng, sizes["H"])

    def some_rows(talk: _Talk, rows: Array, query: Array) -> Inspection:
        return _talk_rows(talk, rows, query, key, value, rngs, want)

    talk = talk._replace(context=context)
    if not in_rows:
        return _with_heads_first(some_rows(talk, jnp.arange(rows, dtype=jnp.int32), query))
    return _with_heads_first(by_rows(some_rows, talk, (query,), block))


def _with_heads_first(seen: Inspection) -> Inspection:
    """The extras as [H,T,…], like those of `inspect`; rows come first where they are cut in blocks."""
    return Inspection(seen.output, *(part if part is None else jnp.swapaxes(part, 0, 1) for part in seen[1:]))


def _talk_rows(
    talk: _Talk,
    rows: Array,
    query: Array,
    key: Array,
    value: Array,
    rngs: Array | None,
    want: Collection[str],
) -> Inspection:
    """Some rows of all heads: output [t,H,V], extras [t,H,…]."""

    def scores_head(context: LiftedContext, query: Array, key: Array, value: Array, rng: Array | None) -> tuple:
        places = _places(context)
        mask = mask_of(context.composition, **places)
        return jnp.where(mask, scores_of(query, key, mask, context.composition, **places), 0), mask

    scores, mask = lift(scores_head, talk.context, query, key, value, None, out_axes=(0, 0))
    scores = _mixed(talk.before, scores, mask)

    def weights_head(parts: tuple, query: Array, key: Array, value: Array, rng: Array | None) -> tuple:
        composition: Composition = parts[0].composition
        scores, mask, rng = map(plain, parts[1:])
        weights = weights_of(scores, mask, composition, rows=rows, rng=rng)
        logs = None
        if "log_normalizer" in want:
            logs = log_normalizer_of(scores, mask, composition, rows=rows, rng=rng)
        return weights, logs

    heads = [lead(array, "HTS") for array in (scores, mask)]
    own = None if rngs is None else lead(rngs, "H")
    weights, logs = lift(weights_head, (talk.context, *heads, own), query, key, value, None, out_axes=(0, 0))
    weights = _mixed(talk.after, weights, mask)

    def output_head(parts: tuple, query: Array, key: Array, value: Array, rng: Array | None) -> Array:
        context: LiftedContext = parts[0]
        weights, rng = map(plain, parts[1:])
        return output_of(weights, value, context.composition, rows=rows, rng=rng, **_places(context))

    output = lift(output_head, (talk.context, lead(weights, "HTS"), own), query, key, value, None, out_axes=1)
    extras = {
        "weights": lambda: weights,
        "scores": lambda: jnp.where(mask, scores, -jnp.inf),
        "log_normalizer": lambda: logs,
        "entropy": lambda: jax.vmap(entropy)(weights),
    }
    return Inspection(output, **{name: jnp.swapaxes(extras[name](), 0, 1) for name in want})


def _mixed(matrix: Array | None, heads: Array, mask: Array) -> Array:
    """Σ_g matrix_hg heads_g, over [H,T,S]; 0 where a head's own mask hides the pair."""
    if matrix is None:
        return heads
    return jnp.where(mask, jnp.einsum("hg,gts->hts", matrix.astype(heads.dtype), heads), 0)


def _places(context: LiftedContext) -> dict[str, Array]:
    return {"query_positions": plain(context.query_positions), "key_positions": plain(context.key_positions)}


def differential_attention(
    query: Array,
    key: Array,
    value: Array,
    *,
    scale: Array,
    want: Collection[str] = (),
    rng: Array | None = None,
    **settings: Any,
) -> Inspection:
    """Attends twice on the same values and subtracts: what both maps attend to cancels.

      yₕ = attend(q_2h, k_2g, v_g) − scaleₕ · attend(q_2h+1, k_2g+1, v_g)

    Args:
      query: [B,T,2H,K] or [T,2H,K].  key: [B,S,2G,K] or [S,2G,K].  value: [B,S,G,V] or [S,G,V].  G divides H.
      scale: [H], λ.
      want: of "weights" (the difference) and "entropy" (of its size).
      rng: a typed key, for dropout, which drops other pairs in each map.
      **settings: as for `attention`; array knobs with an axis H have one row for both maps of a head.

    Returns: an Inspection; its output is [B,T,H,V] or [T,H,V].
    Raises: ValueError when scale is not [H] or an extra has no meaning for a difference; and as `attention`.
    References: Ye et al. 2024, arXiv:2410.05258.
    """
    heads = query.shape[-2] // 2
    if query.shape[-2] % 2 or key.shape[-2] % 2:
        raise ValueError(f"query and key must have two heads for each, got {query.shape[-2]} and {key.shape[-2]}")
    check_shapes({"H": heads}, scale=(scale, "H"))
    unknown = sorted(set(want) - {"weights", "entropy"})
    if unknown:
        raise ValueError(f"a difference of attentions has weights and entropy, got {', '.join(unknown)}")
    rngs = (None, None) if rng is None else jax.random.split(rng)
    first, second = (
        inspect(query[..., at::2, :], key[..., at::2, :], value, want=("weights",) if want else (), rng=own, **settings)
        for at, own in zip((0, 1), rngs, strict=True)
    )

    def subtracted(first: Array, second: Array, axis: int) -> Array:
        shape = [heads if at == first.ndim + axis else 1 for at in range(first.ndim)]
        return first - scale.astype(first.dtype).reshape(shape) * second

    output = subtracted(first.output, second.output, -2)
    if not want:
        return Inspection(output)
    assert first.weights is not None and second.weights is not None
    weights = subtracted(first.weights, second.weights, -3)
    spread = entropy(weights.reshape(-1, weights.shape[-1])).reshape(weights.shape[:-1])
    extras = {"weights": weights, "entropy": spread}
    return Inspection(output, **{name: extras[name] for name in want})
