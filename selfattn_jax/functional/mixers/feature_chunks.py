"""Chunks of a recurrence that fades every feature at its own pace: all factors at most 1, and few passes over memory.

  Sₜ = diag(exp(gₜ)) Sₜ₋₁ + kₜ vₜᵀ

Decays by feature do not factor out of a product qₜᵀ kₛ, but for a place between s and t they do: what fades up to it
belongs to the key, what fades from there on to the query. Within blocks of 4 positions every pair is computed by
itself; in blocks of 8, 16, 32 … the right half reads the left one, by a product, and their middle is the place.

The gradient by g follows from the others: a decay scales all that passes it, so with G the sums of g from the start of
the chunk, dG adds q ⊙ dG to the tangent of the query and takes k ⊙ dG from that of the key. No factor is
differentiated, which would cost more than all products.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from selfattn_jax.functional.mixers.decays import states_between
from selfattn_jax.shapes import Array

BLOCK = 4  # positions whose pairs are computed one by one
GROUP = 8  # positions that sums along a chunk take at once

Chunks = tuple[Array, Array, Array, Array, Array, Array | None]


class Fading(NamedTuple):
    """What decays leave, [n,C,K] in n chunks: factors between 0 and 1."""

    near: list[Array]  # of pairs 1, 2, 3 positions apart in a block [N,4 − distance,K]
    to_query: list[Array]  # from the middle of a block on, to its right half [N,b,K], for b = 4, 8 … C/2
    of_key: list[Array]  # from its left half [N,b,K] up to the middle
    before: Array  # from the start of the chunk [n,C,K]
    after: Array  # up to its end [n,C,K]
    whole: Array  # over all of it [n,K]


class Read(NamedTuple):
    """What a chunk is computed with, and what its tangents need again."""

    fading: Fading
    late: list[Array]  # queries of the pairs in a block, faded
    asked: list[Array]  # queries of right halves, faded
    offered: list[Array]  # keys of left halves, faded
    weights: Array  # [n,C,C]
    known: Array  # queries faded from the start of the chunk [n,C,K]
    telling: Array  # keys faded up to its end [n,C,K]
    written: Array  # [n,K,V]
    states: Array  # before every chunk [n,K,V]


def whole_chunk(chunk: int, length: int) -> int:
    """The chunk that is computed with: halves of halves are blocks, so it is a power of 2."""
    return max(BLOCK, 1 << (max(min(chunk, length), 1) - 1).bit_length())


@jax.custom_jvp
def read_chunks(
    query: Array, key: Array, value: Array, decays: Array, start: Array, bonus: Array | None
) -> tuple[Array, Array]:
    """What all positions read, and the last state; with a bonus the present is not faded and not in the state.

      yₜ = qₜᵀ Sₜ        with a bonus: yₜ = qₜᵀ (Sₜ₋₁ + diag(bonus) kₜ vₜᵀ)

    Args:
      query: [n,C,K].  key: [n,C,K].  value: [n,C,V], C a power of 2 from 4 on.
      decays: [n,C,K], at most 0.
      start: [K,V].
      bonus: [K], or None.
    Returns: [n,C,V] and [K,V].
    """
    return _read((query, key, value, decays, start, bonus))[0]


def _read(chunks: Chunks) -> tuple[tuple[Array, Array], Read]:
    query, key, value, decays, start, bonus = chunks
    fading = _fading(decays, present=bonus is None)
    late, asked, offered = _late(query, fading, bonus), _right(query, fading), _left(key, fading)
    near = [_summed(query * key) for query, key in zip(late, _early(key), strict=True)]
    weights = _assembled(near, [query @ _turned(key) for query, key in zip(asked, offered, strict=True)])
    known, telling = query * fading.before, key * fading.after
    written = _kept(_turned(telling)) @ value
    states, final = states_between(fading.whole[..., None], written, start)
    output = weights @ value + known @ states
    return (output, final), Read(fading, late, asked, offered, weights, known, telling, written, states)


@read_chunks.defjvp
def _read_jvp(primals: Chunks, tangents: Chunks) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    result, read = _read(primals)
    query, key, value, _, _, bonus = primals
    query_tangent, key_tangent, value_tangent, decay_tangent, start_tangent, bonus_tangent = tangents
    sums, whole = _running(decay_tangent), read.fading.whole[..., None]
    passed = sums if bonus is None else sums - decay_tangent  # the present is not faded
    asking, offering = query_tangent + query * passed, key_tangent - key * sums
    near, far = _near_tangents(key, asking, offering, read), _far_tangents(asking, offering, read)
    if bonus is not None and bonus_tangent is not None:  # no decay lies between a position and itself
        present = query_tangent * bonus[None, None] + query * bonus_tangent[None, None]
        present = _summed(present * key + query * bonus[None, None] * key_tangent)
        near[0] = present.reshape(near[0].shape)
    turned = _kept(_turned(read.weights))
    output = _assembled(near, far) @ value + jnp.einsum("nst,nsv->ntv", turned, value_tangent)
    written = jnp.einsum("ntk,ntv->nkv", offering * read.fading.after, value)
    written = written + jnp.einsum("ntk,ntv->nkv", read.telling, value_tangent)
    written = written + sums[:, -1, :, None] * (whole * read.states + read.written)
    states, final = states_between(whole, written, start_tangent)
    by_state = _turned(_kept(_turned(states) @ _turned(read.known)))
    return result, (output + (asking * read.fading.before) @ read.states + by_state, final)


def _near_tangents(key: Array, asking: Array, offering: Array, read: Read) -> list[Array]:
    """Of the pairs in a block, by distance."""
    pairs = zip(_late(asking), _early(key, read.fading), read.late, _early(offering), strict=True)
    return [_summed(asks * key + query * offers) for asks, key, query, offers in pairs]


def _far_tangents(asking: Array, offering: Array, read: Read) -> list[Array]:
    """Of right halves that meet left ones, by size.

    The products by the key's tangent are turned, so that a gradient, which transposes them, has no product with a
    turned left side: on a CPU these take several times as long.
    """
    asks, offers = _right(asking, read.fading), _left(offering, read.fading)
    by_query = [right @ _turned(key) for right, key in zip(asks, read.offered, strict=True)]
    by_key = [_turned(_kept(left @ _turned(query))) for left, query in zip(offers, read.asked, strict=True)]
    return [first + second for first, second in zip(by_query, by_key, strict=True)]


def _fading(decays: Array, present: bool) -> Fading:
    """What decays leave; with or without those of the present, for queries."""
    features, blocks = decays.shape[-1], decays.reshape(-1, BLOCK, decays.shape[-1])
    between = [blocks[:, 1:] if present else jnp.zeros_like(blocks[:, 1:])]
    for distance in range(2, BLOCK):
        between.append(blocks[:, 1 : BLOCK + 1 - distance] + between[-1][:, 1:])
    to_query, of_key, right = [], [], jnp.asarray([0, 1], decays.dtype)[None, :, None, None]
    total = decays.reshape(-1, 1, features)
    before, after = total if present else jnp.zeros_like(total), jnp.zeros_like(total)
    while (size := before.shape[1]) < decays.shape[1]:
        before, after, total = (array.reshape(-1, 2, array.shape[1], features) for array in (before, after, total))
        if size >= BLOCK:
            to_query.append(jnp.exp(before[:, 1]))
            of_key.append(jnp.exp(after[:, 0]))
        before = (before + right * total[:, :1]).reshape(-1, 2 * size, features)
        after = (after + (1 - right) * total[:, 1:]).reshape(-1, 2 * size, features)
        total = total[:, 0] + total[:, 1]
    near = [jnp.exp(sums) for sums in between]
    before, after = (jnp.exp(array.reshape(decays.shape)) for array in (before, after))
    return Fading(near, to_query, of_key, before, after, jnp.exp(total[:, 0]))


def _late(query: Array, fading: Fading | None = None, bonus: Array | None = None) -> list[Array]:
    """Queries [n,C,K] of pairs 0, 1, 2, 3 positions apart in a block: [N,4 − distance,K]."""
    blocks = query.reshape(-1, BLOCK, query.shape[-1])
    present = blocks if bonus is None else blocks * bonus[None, None]
    if fading is None:
        return [present] + [blocks[:, distance:] for distance in range(1, BLOCK)]
    return [present] + [blocks[:, 1 + place :] * faded for place, faded in enumerate(fading.near)]


def _early(key: Array, fading: Fading | None = None) -> list[Array]:
    """Keys [n,C,K] of the same pairs."""
    blocks = key.reshape(-1, BLOCK, key.shape[-1])
    if fading is None:
        return [blocks] + [blocks[:, :-distance] for distance in range(1, BLOCK)]
    return [blocks] + [blocks[:, : -1 - place] * faded for place, faded in enumerate(fading.near)]


def _right(query: Array, fading: Fading) -> list[Array]:
    """Queries [n,C,K] of the right halves of all blocks of 8, 16 …: [N,b,K], faded from the middle on."""
    return [query.reshape(-1, 2, *faded.shape[1:])[:, 1] * faded for faded in fading.to_query]


def _left(key: Array, fading: Fading) -> list[Array]:
    """Keys [n,C,K] of the left halves, faded up to the middle."""
    return [key.reshape(-1, 2, *faded.shape[1:])[:, 0] * faded for faded in fading.of_key]


def _summed(products: Array) -> Array:
    """Sums over the last axis, by a product: a reduction would be computed together with all that it is of."""
    ones = jnp.ones((products.shape[-1], 1), products.dtype)
    return jnp.squeeze(products @ ones, -1)


def _assembled(near: list[Array], far: list[Array]) -> Array:
    """The weights [n,C,C] of pairs in blocks, by distance, and of right halves that meet left ones."""
    weights = jnp.concatenate(near, axis=1) @ jnp.asarray(_PLACES, near[0].dtype)
    weights = weights.reshape(-1, BLOCK, BLOCK)
    for met in far:
        size, zeros = met.shape[1], jnp.zeros_like(met)
        blocks = weights.reshape(-1, 2, size, size)
        upper = jnp.concatenate([blocks[:, 0], zeros], axis=2)
        weights = jnp.concatenate([upper, jnp.concatenate([met, blocks[:, 1]], axis=2)], axis=1)
    return weights


def _places() -> np.ndarray:
    """Where in a block [4·4] stand its pairs, by distance [10]."""
    pairs = [(late, late - distance) for distance in range(BLOCK) for late in range(distance, BLOCK)]
    return np.eye(BLOCK * BLOCK)[[late * BLOCK + early for late, early in pairs]]


_PLACES = _places()


def _running(array: Array) -> Array:
    """Sums from the start of each chunk [n,C,K], by groups: transposed it is as fast, which a cumulative sum is not."""
    count, size, features = array.shape
    group = min(GROUP, size)
    groups = array.reshape(count, size // group, group, features)
    inside = jnp.sum(groups[:, :, None] * _below(group, 0, array.dtype), axis=3)
    ahead = jnp.sum(jnp.sum(groups, axis=2)[:, None] * _below(size // group, -1, array.dtype)[0], axis=2)
    return (inside + ahead[:, :, None]).reshape(array.shape)


def _below(size: int, diagonal: int, dtype: jnp.dtype) -> Array:
    return jnp.asarray(np.tri(size, k=diagonal)[None, None, :, :, None], dtype)


def _turned(matrices: Array) -> Array:
    return jnp.swapaxes(matrices, 1, 2)


def _kept(array: Array) -> Array:
    """The array, which the compiler may not undo."""
    return jax.lax.optimization_barrier(array)
