"""Attention-free transformers: averages of values whose weights differ by channel, so that there is no [T,S] of them.

Sums of exponentials come with the exponent that they were divided by, which nothing outside the sum has a part in.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.sums import again, check_key_mask, divide, shown
from selfattn_jax.shapes import Array, accumulation_dtype, check_shapes

BLOCK = 32  # keys, which share an exponent; causal, they meet the queries of their own positions pair by pair


class _Sums(NamedTuple):
    """Σₛ exp(xₛ) vₛ and Σₛ exp(xₛ), both over exp(exponent); the exponent has no derivative, for it cancels."""

    numerator: Array
    denominator: Array
    exponent: Array


def aft_full(
    query: Array,
    key: Array,
    value: Array,
    /,
    *,
    causal: bool = False,
    key_mask: Array | None = None,
    query_factors: Array,
    key_factors: Array,
) -> Array:
    """Averages the values channel by channel, weighed by the key and by a bias for the two positions.

      yₜ = σ(qₜ) ⊙ Σₛ exp(kₛ + wₜₛ) ⊙ vₛ / Σₛ exp(kₛ + wₜₛ)        s ≤ t when causal
      wₜₛ = query_factorsₜ · key_factorsₛ

    Args:
      query: [T,K].  key: [S,K].  value: [S,K].
      causal: averages over s ≤ t alone.
      key_mask: [S] bool, True = may be averaged; a hidden key may hold anything, NaN included.
      query_factors: [N,F].  key_factors: [N,F]; N is the largest T and S.
    Returns: [T,K], in value's dtype; 0 for a query without a key. Of 32 neighbouring keys, those fall to 0 whose key
      and bias are together more than 87 below the largest of each (float32).
    Raises: ValueError naming the argument whose shape or dtype is off, or an N below T or S.
    References: Zhai et al. 2021, arXiv:2105.14103.
    """
    key, numbers, visible = _shown(query, key, value, key_mask)
    given = check_shapes(query_factors=(query_factors, "NF"), key_factors=(key_factors, "NF"))
    longest = max(query.shape[0], key.shape[0])
    if given["N"] < longest:
        raise ValueError(
            f"query_factors and key_factors must have a row for each of {longest} positions, got N={given['N']}"
        )
    of_query, of_key = (jnp.asarray(factors, key.dtype) for factors in (query_factors, key_factors))
    rows = -(-query.shape[0] // BLOCK) * BLOCK
    keys = -(-(max(longest, rows) if causal else key.shape[0]) // BLOCK) * BLOCK
    padded = [_blocks(each, keys) for each in (of_key[: key.shape[0]], key, numbers, visible[:, None])]
    by_blocks = _by_blocks(_blocks(of_query[: query.shape[0]], rows), *padded, causal)
    return _gated(query, _Sums(*(each.reshape(rows, -1)[: query.shape[0]] for each in by_blocks)), value)


def aft_simple(
    query: Array, key: Array, value: Array, /, *, causal: bool = False, key_mask: Array | None = None
) -> Array:
    """Averages the values channel by channel, weighed by the key alone.

      yₜ = σ(qₜ) ⊙ Σₛ exp(kₛ) ⊙ vₛ / Σₛ exp(kₛ)        s ≤ t when causal

    Args:
      query: [T,K].  key: [S,K].  value: [S,K].
      causal: averages over s ≤ t alone.
      key_mask: [S] bool, True = may be averaged; a hidden key may hold anything, NaN included.
    Returns: [T,K], in value's dtype; 0 for a query without a key.
    Raises: ValueError naming the argument whose shape or dtype is off.
    References: Zhai et al. 2021, arXiv:2105.14103.
    """
    key, numbers, visible = _shown(query, key, value, key_mask)
    if not causal:
        sums = _sums(key[None], numbers[None], visible[None, :, None])
        return _gated(query, sums, value)
    single = _sums(key[:, None], numbers[:, None], visible[:, None, None])
    sums = jax.lax.associative_scan(lambda one, other: _joined(_stacked(one, other)), single)
    last = jnp.minimum(jnp.arange(query.shape[0]), key.shape[0] - 1)
    return _gated(query, _Sums(*(each[last] for each in sums)), value)


def _shown(query: Array, key: Array, value: Array, key_mask: Array | None) -> tuple[Array, Array, Array]:
    """Key and value in the dtype of sums, 0 where hidden, and which are visible [S]."""
    sizes = check_shapes(query=(query, "TK"), key=(key, "SK"), value=(value, "SK"))
    check_key_mask(key_mask, sizes["S"])
    dtype = accumulation_dtype(query, key)
    visible = jnp.ones(sizes["S"], bool) if key_mask is None else key_mask
    return shown(key.astype(dtype), key_mask), shown(value.astype(dtype), key_mask), visible


def _gated(query: Array, sums: _Sums, value: Array) -> Array:
    return (jax.nn.sigmoid(query.astype(sums.numerator.dtype)) * divide(*sums[:2])).astype(value.dtype)


def _by_blocks(of_query: Array, of_key: Array, key: Array, value: Array, visible: Array, causal: bool) -> _Sums:
    """The sums [b,C,K] of queries in blocks [b,C,F], over keys in blocks [n,C,…]."""
    top = _largest(key, visible, 1)
    exponentials = _exponentials(key - top, visible)
    both = jnp.concatenate([exponentials * value, exponentials], axis=2)
    numbers = jnp.arange(of_query.shape[0])

    def meet(block: tuple[Array, Array]) -> _Sums:
        """A block of queries meets whole blocks of keys: all, or causal the earlier ones and, by pairs, its own."""
        number, queries = block
        bias = jnp.einsum("if,njf->nij", queries, of_key)
        met = visible.swapaxes(1, 2) & (jnp.arange(of_key.shape[0])[:, None, None] < number if causal else True)
        peak = _largest(bias, met, 2)
        sums = _exponentials(bias - peak, met) @ both
        numerators, denominators = jnp.split(sums, 2, axis=2)
        earlier = _joined(_Sums(numerators, denominators, peak + top))
        if not causal:
            return earlier
        bias, own = jnp.take(bias, number, 0), (jnp.take(each, number, 0) for each in (key, value, visible))
        return _joined(_stacked(earlier, _by_pairs(bias, *own)))

    return jax.lax.map(again(meet), (numbers, of_query))


def _by_pairs(bias: Array, key: Array, value: Array, visible: Array) -> _Sums:
    """The sums [C,K] of queries over the keys up to their own in a block, [C,C] and [C,K]."""
    met = jnp.tri(bias.shape[0], dtype=bool)[:, :, None] & visible[None]
    return _sums(bias[:, :, None] + key[None], jnp.broadcast_to(value[None], met.shape[:2] + value.shape[1:]), met)


def _sums(exponents: Array, value: Array, met: Array) -> _Sums:
    """The sums [T,K] over the second axis of exponents and values [T,S,K], where they are met [T,S,1]."""
    top = _largest(exponents, met, 1)
    exponentials = _exponentials(exponents - top, met)
    return _Sums(jnp.sum(exponentials * value, axis=1), jnp.sum(exponentials, axis=1), top[:, 0])


def _joined(parts: _Sums) -> _Sums:
    """The sums of several parts, which are along the first axis."""
    top = jnp.max(parts.exponent, axis=0)
    scale = jnp.exp(parts.exponent - top[None])
    return _Sums(jnp.sum(scale * parts.numerator, axis=0), jnp.sum(scale * parts.denominator, axis=0), top)


def _stacked(one: _Sums, other: _Sums) -> _Sums:
    return _Sums(*(jnp.stack(pair) for pair in zip(one, other, strict=True)))


def _largest(exponents: Array, met: Array, axis: int) -> Array:
    """The largest exponent of those that are met; so low that it can still be added to where there are none."""
    lowest = jnp.finfo(exponents.dtype).min / 4
    return jax.lax.stop_gradient(jnp.max(jnp.where(met, exponents, lowest), axis=axis, keepdims=True))


def _exponentials(exponents: Array, met: Array) -> Array:
    """exp(x) where met, else 0; what is not met has no derivative, however large."""
    return jnp.where(met, jnp.exp(jnp.where(met, exponents, 0)), 0)


def _blocks(rows: Array, length: int) -> Array:
    """Rows [≤ length,X], filled up with zeros, in blocks [n,C,X]."""
    return jnp.pad(rows, ((0, length - rows.shape[0]), (0, 0))).reshape(-1, BLOCK, rows.shape[1])
