"""Hashing and sorting: a query meets the keys of its bucket, or those of its own block and of the block sorted to it.

Both are square: query, key and value are of one sequence, and key_mask says which of its positions hold data.
"""

import math

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.sums import divide
from selfattn_jax.functional.mixers.visible import check_key_mask, shown
from selfattn_jax.functional.normalizers import softmax
from selfattn_jax.functional.scores import unit
from selfattn_jax.shapes import Array, Positive, PositiveInt, accumulation_dtype, check_shapes

# Hashing.


def reformer(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    rotations: Array,
    finer: Array | None = None,
    chunk: PositiveInt,
) -> Array:
    """Attends to what falls into the same bucket, by hashing directions in several rounds; keys are unit queries.

      yᵢ = Σ_{j∈Uᵢ} softmaxⱼ(qᵢ·kⱼ/√K) vⱼ        kⱼ = qⱼ/‖qⱼ‖,  each j once, however many rounds find it
      Uᵢ = ∪ᵣ {j ≠ i : bucketʳⱼ = bucketʳᵢ, ⌊rankʳᵢ/chunk⌋ − ⌊rankʳⱼ/chunk⌋ ∈ {0, 1}};  {i} if that is empty
      Uᵢ = ∪ᵣ {j ≠ i : bucketʳⱼ = bucketʳᵢ, 0 ≤ rankʳᵢ − rankʳⱼ ≤ chunk} when causal, which nothing later can change
      bucketʳᵢ = argmax [qᵢ rotationsʳ, −qᵢ rotationsʳ], then argmax [qᵢ finerʳ, −qᵢ finerʳ] if there are finer ones
      rankʳᵢ: that of (bucketʳᵢ, i) in their order

    Args:
      query: [T,K].  key: [T,K], not read.  value: [T,V].
      causal: whether a query meets earlier positions alone.
      key_mask: [T] bool, True = holds data; what is hidden may be anything, NaN included, and has no rank.
      rotations: [R,K,H], drawn from the normal distribution: R rounds of 2H buckets.
      finer: [R,K,G], drawn likewise: each bucket falls into 2G finer ones, so that many cost few products; None = none.
      chunk: C, how many positions lie next to each other once sorted, and meet; they also meet the chunk before.
    Returns: [T,V], in value's dtype; 0 where hidden.
    Raises: ValueError naming the argument whose shape or dtype is off, or a chunk below 1.
    References: Kitaev et al. 2020, arXiv:2001.04451.
    """
    query, visible, hashes = _shown_queries(query, key, key_mask, rotations, finer, chunk)
    check_shapes({"T": query.shape[0]}, value=(value, "TV"))
    values, keys = shown(value.astype(query.dtype), visible), unit(query)
    order, rank, places = _hash(query, visible, hashes, chunk, causal)
    filled = [jnp.pad(rows, ((0, -rows.shape[0] % chunk), (0, 0))) for rows in (query, keys, values)]

    def meet(number: Array, order: Array, rank: Array) -> tuple[Array, Array, Array]:
        """Of a round: Σ exp(score − top) v and Σ exp(score − top) over what no earlier round has found, and top."""
        met = _met(number, order, places, chunk, causal)
        queries, keys, values = (_taken(rows, order).reshape(-1, chunk, rows.shape[1]) for rows in filled)
        scores = jnp.einsum("nik,njk->nij", queries, _with_before(keys, 0)) * query.shape[1] ** -0.5
        scores = jnp.where(met, scores, jnp.finfo(scores.dtype).min / 4)
        top = jax.lax.stop_gradient(jnp.max(scores, axis=2, keepdims=True))
        exponentials = jnp.where(met, jnp.exp(scores - top), 0)
        sums, totals = exponentials @ _with_before(values, 0), jnp.sum(exponentials, axis=2, keepdims=True)
        back = rank[: query.shape[0]]
        sums, totals, tops = (_taken(x.reshape(-1, x.shape[2]), back) for x in (sums, totals, top))
        return sums, totals, tops

    sums, totals, tops = jax.vmap(meet)(jnp.arange(rotations.shape[0]), order, rank)
    scale = jnp.exp(tops - jnp.max(tops, axis=0, keepdims=True))
    sums, totals = jnp.sum(scale * sums, axis=0), jnp.sum(scale * totals, axis=0)
    # Who meets nobody meets itself.
    return jnp.where(totals > 0, divide(sums, totals), values).astype(value.dtype)


def reformer_weights(
    query: Array,
    key: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    rotations: Array,
    finer: Array | None = None,
    chunk: PositiveInt,
) -> Array:
    """The attention matrix that `reformer` applies without ever forming it.

      wᵢⱼ = softmaxⱼ(qᵢ·kⱼ/√K) over j ∈ Uᵢ

    Args: those of `reformer`.
    Returns: [T,T], in at least float32.
    """
    query, visible, hashes = _shown_queries(query, key, key_mask, rotations, finer, chunk)
    length = query.shape[0]
    _, _, places = _hash(query, visible, hashes, chunk, causal)
    found = _near(places[:, :length, None] - places[:, None, :length], chunk, causal)
    itself = jnp.eye(length, dtype=bool) & visible[:, None]
    met = jnp.any(found, axis=0) & visible[:, None] & ~itself
    # Who meets nobody meets itself.
    met = met | (itself & ~jnp.any(met, axis=1, keepdims=True))
    return softmax(query @ unit(query).T * query.shape[1] ** -0.5, met)


def _shown_queries(
    query: Array, key: Array, key_mask: Array | None, rotations: Array, finer: Array | None, chunk: int
) -> tuple[Array, Array, tuple[Array, ...]]:
    """The queries, 0 where hidden; which are visible; rotations, coarse to fine; all in the dtype of sums."""
    sizes = check_shapes(query=(query, "TK"), key=(key, "TK"), rotations=(rotations, "RKH"))
    hashes = (rotations,) if finer is None else (rotations, finer)
    if finer is not None:
        check_shapes(sizes, finer=(finer, "RKG"))
    check_key_mask(key_mask, sizes["T"])
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1, got {chunk}")
    dtype = accumulation_dtype(query, key)
    visible = jnp.ones(sizes["T"], bool) if key_mask is None else key_mask
    return shown(query.astype(dtype), key_mask), visible, tuple(jnp.asarray(each, dtype) for each in hashes)


def _hash(
    query: Array, visible: Array, hashes: tuple[Array, ...], chunk: int, causal: bool
) -> tuple[Array, Array, Array]:
    """Who stands where, for T filled up to a multiple of the chunk: order, rank and place, each [R,P].

    A place is one number for bucket and chunk (bucket and rank when causal); `_near` says which two of them meet.
    """
    # One round after the other: what a round holds grows with the number of buckets.
    buckets = jax.lax.map(lambda rotations: _buckets(query, rotations), hashes)
    filled = query.shape[0] + -query.shape[0] % chunk
    last = math.prod(2 * rotations.shape[2] for rotations in hashes)
    extra = ((0, 0), (0, filled - query.shape[0]))
    buckets = jnp.pad(jnp.where(visible[None, :], buckets, last), extra, constant_values=last)
    # Numbers that differ are sorted faster than an order is found, and this keeps equal buckets in theirs.
    indices = jnp.arange(filled, dtype=jnp.int32)
    order = jnp.sort(buckets * filled + indices[None, :], axis=1, stable=False) % filled
    rank = jax.vmap(lambda one: jnp.zeros_like(one).at[one].set(indices, unique_indices=True))(order)
    # Buckets are so far apart that places are near within one alone; what is hidden is near to nothing.
    places = buckets * (filled + chunk + 1) + (rank if causal else rank // chunk)
    return order, rank, jnp.where(buckets < last, places, _hidden(chunk))


def _buckets(query: Array, hashes: tuple[Array, ...]) -> Array:
    """[T,K] → [T], the number of the bucket by rotations [K,H], coarse to fine."""
    number = jnp.zeros(query.shape[0], jnp.int32)
    for rotation in hashes:
        number = 2 * rotation.shape[1] * number + _bucket(query @ rotation)
    return number


def _bucket(rotated: Array) -> Array:
    """[T,H] → [T], the argmax of [rotated, −rotated], which is not put together."""
    highest, lowest = jnp.argmax(rotated, axis=1), jnp.argmin(rotated, axis=1)
    opposite = -rotated.min(axis=1) > rotated.max(axis=1)
    return jnp.where(opposite, rotated.shape[1] + lowest, highest).astype(jnp.int32)


def _near(difference: Array, chunk: int, causal: bool) -> Array:
    """Whether a query meets a key, by the difference of their places."""
    return (difference >= 0) & (difference <= (chunk if causal else 1))


def _hidden(chunk: int) -> int:
    """A place from which every other is too far."""
    return -chunk - 1


def _met(number: Array, order: Array, places: Array, chunk: int, causal: bool) -> Array:
    """Whom the sorted queries of a round meet for the first time, in their own chunk and the one before: [n,C,2C]."""

    def differences(chunks: Array) -> Array:
        return chunks[..., :, None] - _with_before(chunks[..., None], _hidden(chunk))[..., None, :, 0]

    here = _taken(places.T, order).T.reshape(places.shape[0], -1, chunk)
    found = _near(differences(here), chunk, causal)
    rounds = jnp.arange(places.shape[0])[:, None, None, None]
    first = jnp.all(jnp.where(rounds == number, found, ~found | (rounds > number)), axis=0)
    return first & (differences(order.reshape(-1, chunk)) != 0)


def _with_before(chunks: Array, nothing: int) -> Array:
    """Every chunk [...,n,C,X] behind the one before it, the first behind nothing: [...,n,2C,X]."""
    first = jnp.full_like(chunks[..., :1, :, :], nothing)
    before = jnp.concatenate([first, chunks[..., :-1, :, :]], axis=-3)
    return jnp.concatenate([before, chunks], axis=-2)


def _taken(rows: Array, order: Array) -> Array:
    """Rows [P,X] in another order."""
    return rows.at[order].get(mode="promise_in_bounds")


# Sorting.


def sinkhorn(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    key_mask: Array | None = None,
    block: PositiveInt,
    temperature: Array | Positive = 0.75,
    iterations: PositiveInt = 7,
    rng: Array | None = None,
) -> Array:
    """Attends to the own block and to the one that a soft permutation of blocks sorts next to it.

      y = softmax(q [k, kˢ]ᵀ/√K) [v, vˢ], in each block        kˢ_{bi} = Σ_c P_bc k_ci / Σ_c P_bc, c: row i holds data
      P = exp(R):  R ← (q̄ k̄ᵀ/√K + gumbel) / temperature, then R − log Σ exp by rows and by columns, `iterations` times

    Args:
      query: [T,K].  key: [T,K].  value: [T,V], all of one sequence.
      key_mask: [T] bool, True = holds data; what is hidden may be anything, NaN included, and is in no mean q̄, k̄. A
        hidden query of a block that holds data has an output too; what is not finite in it counts as 0.
      block: the length of a block; the last is filled up.
      temperature: [], of the soft permutation; near 0 it becomes a hard one.
      iterations: how often rows and columns are normalised.
      rng: a typed key for Gumbel noise; None = without.
    Returns: [T,V], in value's dtype; 0 in a block that holds nothing.
    Raises: ValueError naming the argument whose shape or dtype is off, or a block below 1.
    References: Tay et al. 2020, arXiv:2002.11296.
    """
    to_own, to_sorted, shares = _sinkhorn(query, key, key_mask, block, temperature, iterations, rng)
    length = check_shapes(key=(key, "TK"), value=(value, "TV"))["T"]
    values = _in_blocks(shown(value.astype(shares.dtype), key_mask), block)
    output = to_own @ values + to_sorted @ _mixed(shares, values)
    return output.reshape(-1, value.shape[1])[:length].astype(value.dtype)


def sinkhorn_weights(
    query: Array,
    key: Array,
    /,
    *,
    key_mask: Array | None = None,
    block: PositiveInt,
    temperature: Array | Positive = 0.75,
    iterations: PositiveInt = 7,
    rng: Array | None = None,
) -> Array:
    """The attention matrix that `sinkhorn` applies without ever forming it.

    Args: those of `sinkhorn`.
    Returns: [T,T], in at least float32.
    """
    to_own, to_sorted, shares = _sinkhorn(query, key, key_mask, block, temperature, iterations, rng)
    weights = jnp.einsum("bqi,ibc->bqci", to_sorted, shares)
    weights = weights + jnp.einsum("bqi,bc->bqci", to_own, jnp.eye(shares.shape[1], dtype=shares.dtype))
    length = query.shape[0]
    return weights.reshape(weights.shape[0] * block, -1)[:length, :length]


def _sinkhorn(
    query: Array,
    key: Array,
    key_mask: Array | None,
    block: int,
    temperature: Array | float,
    iterations: int,
    rng: Array | None,
) -> tuple[Array, Array, Array]:
    """Weights of the own block and of the sorted one [n,block,block]; of what the latter is made [block,n,n]."""
    sizes = check_shapes(query=(query, "TK"), key=(key, "TK"), temperature=(temperature, ""))
    check_key_mask(key_mask, sizes["T"])
    if block < 1:
        raise ValueError(f"block must be at least 1, got {block}")
    dtype, scale = accumulation_dtype(query, key), sizes["K"] ** -0.5
    visible = jnp.ones(sizes["T"], bool) if key_mask is None else key_mask
    keys = _in_blocks(shown(key.astype(dtype), key_mask), block)
    # A hidden query that is NaN would otherwise be met by others' gradients, by way of its block's keys.
    queries = query.astype(dtype)
    queries = _in_blocks(shown(queries, visible | jnp.all(jnp.isfinite(queries), axis=1)), block)
    holds = _in_blocks(visible[:, None], block)
    counts = jnp.sum(holds, axis=1).astype(dtype)
    pooled_query, pooled_key = (divide(jnp.sum(jnp.where(holds, x, 0), axis=1), counts) for x in (queries, keys))
    scores = pooled_query @ pooled_key.T * scale
    if rng is not None:
        scores = scores + jax.random.gumbel(rng, scores.shape, dtype)
    live = counts[:, 0] > 0
    logarithms = _log_permutation(scores / jnp.asarray(temperature, dtype), live, iterations)
    # Row i of the sorted block is a mean over those blocks that hold a row i: a softmax, which cannot underflow.
    places = jnp.broadcast_to(holds[:, :, 0].T[:, None], (block, live.shape[0], live.shape[0]))
    shares = jax.vmap(softmax)(jnp.broadcast_to(logarithms[None], places.shape), places)
    both = jnp.concatenate([keys, _mixed(shares, keys)], axis=1)
    present = jnp.broadcast_to(jnp.any(holds[:, :, 0], axis=0)[None], holds.shape[:2])
    mask = jnp.concatenate([holds[:, :, 0], present], axis=1) & live[:, None]
    scores = jnp.einsum("bqk,bik->bqi", queries, both) * scale
    weights = jax.vmap(softmax)(scores, jnp.broadcast_to(mask[:, None, :], scores.shape))
    return weights[..., :block], weights[..., block:], shares


def _mixed(shares: Array, blocks: Array) -> Array:
    """Blocks [n,block,X] mixed row by row with shares [block,n,n]."""
    return jnp.swapaxes(shares @ jnp.swapaxes(blocks, 0, 1), 0, 1)


def _log_permutation(scores: Array, live: Array, iterations: int) -> Array:
    """The logarithm of a nearly doubly stochastic matrix [n,n]; rows and columns that are not live mean nothing."""

    def normalised(scores: Array, axis: int) -> Array:
        mask = jnp.expand_dims(live, 1 - axis)
        top = jax.lax.stop_gradient(jnp.max(jnp.where(mask, scores, -jnp.inf), axis=axis, keepdims=True))
        top = jnp.where(jnp.isfinite(top), top, 0)
        total = jnp.sum(jnp.where(mask, jnp.exp(jnp.where(mask, scores - top, 0)), 0), axis=axis, keepdims=True)
        return scores - top - jnp.log(jnp.where(total > 0, total, 1))

    return jax.lax.fori_loop(0, iterations, lambda _, x: normalised(normalised(x, 1), 0), scores)


def _in_blocks(rows: Array, block: int) -> Array:
    """[T,X] as [⌈T/block⌉,block,X], filled up with zeros."""
    return jnp.pad(rows, ((0, -rows.shape[0] % block), (0, 0))).reshape(-1, block, rows.shape[1])
