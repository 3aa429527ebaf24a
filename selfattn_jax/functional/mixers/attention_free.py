"""Attention-free transformers: averages of values whose weights differ by channel, so that there is no [T,S] of them.

Sums of exponentials come with the exponent that they were divided by, which nothing outside the sum has a part in.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from selfattn_jax.functional.mixers.sums import again, divide
from selfattn_jax.functional.mixers.visible import check_key_mask, shown
from selfattn_jax.shapes import Array, accumulation_dtype, check_shapes

KEYS = 128  # that share an exponent, and so meet queries by a matmul
PAIRS = 8  # at least so many neighbours meet pair by pair, none of which may see what comes later
STEPS = 32  # of a running sum in each of the parts of a sequence, all at once


class _Sums(NamedTuple):
    """Σₛ exp(xₛ) vₛ and Σₛ exp(xₛ), both over exp(exponent); the exponent has no derivative, for it cancels."""

    numerator: Array
    denominator: Array
    exponent: Array


class _Keys(NamedTuple):
    """What is known of keys: factors [S,F], key [S,K], value [S,K], visible [S,1]."""

    factors: Array
    key: Array
    value: Array
    visible: Array


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

    Of 128 neighbouring keys, those weigh 0 whose key and bias are together more than 87 below the largest of each (in
    float32).

    Args:
      query: [T,K].  key: [S,K].  value: [S,K].
      causal: averages over s ≤ t alone.
      key_mask: [S] bool, True = may be averaged; a hidden key may hold anything, NaN included.
      query_factors: [N,F].  key_factors: [N,F]; N is the largest T and S.
    Returns: [T,K], in value's dtype; 0 for a query without a key.
    Raises: ValueError naming the argument whose shape or dtype is off, or an N below T or S.
    References: Zhai et al. 2021, arXiv:2105.14103.
    """
    keys = _shown(query, key, value, key_mask, key_factors)
    given = check_shapes(query_factors=(query_factors, "NF"), key_factors=(key_factors, "NF"))
    longest = max(query.shape[0], key.shape[0])
    if given["N"] < longest:
        raise ValueError(
            f"query_factors and key_factors must have a row for each of {longest} positions, got N={given['N']}"
        )
    of_query = jnp.asarray(query_factors, keys.key.dtype)[: query.shape[0]]
    return _gated(query, (_before if causal else _across)(of_query, keys), value)


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
    keys = _shown(query, key, value, key_mask, jnp.zeros((key.shape[0], 0)))
    if causal:
        return _gated(query, _running(keys, query.shape[0]), value)
    top = _largest(keys.key, keys.visible, 0)
    exponentials = _exponentials(keys.key - top, keys.visible)
    numerator, denominator = (jnp.sum(x, axis=0, keepdims=True) for x in (exponentials * keys.value, exponentials))
    return _gated(query, _Sums(numerator, denominator, top), value)


def _shown(query: Array, key: Array, value: Array, key_mask: Array | None, factors: Array) -> _Keys:
    """Keys in the dtype of sums, 0 where hidden, with the first S of the factors [N,F]."""
    sizes = check_shapes(query=(query, "TK"), key=(key, "SK"), value=(value, "SK"))
    check_key_mask(key_mask, sizes["S"])
    dtype = accumulation_dtype(query, key)
    visible = jnp.ones(sizes["S"], bool) if key_mask is None else key_mask
    key, value = (shown(each.astype(dtype), key_mask) for each in (key, value))
    return _Keys(jnp.asarray(factors, dtype)[: sizes["S"]], key, value, visible[:, None])


def _gated(query: Array, sums: _Sums, value: Array) -> Array:
    return (jax.nn.sigmoid(query.astype(sums.numerator.dtype)) * divide(*sums[:2])).astype(value.dtype)


def _across(of_query: Array, keys: _Keys) -> _Sums:
    """The sums [T,K] of queries with factors [T,F] over all of some keys, block by block."""
    blocks = _Keys(*(_blocks(each, -(-each.shape[0] // KEYS)) for each in keys))
    top = _largest(blocks.key, blocks.visible, 1)
    exponentials = _exponentials(blocks.key - top, blocks.visible)
    both = jnp.concatenate([exponentials * blocks.value, exponentials], axis=2)

    def meet(sums: _Sums, block: tuple[Array, Array, Array, Array]) -> tuple[_Sums, None]:
        factors, visible, both, top = block
        bias = of_query @ factors.T
        peak = _largest(bias, visible.T, 1)
        numerator, denominator = jnp.split(_exponentials(bias - peak, visible.T) @ both, 2, axis=1)
        return _join(sums, _Sums(numerator, denominator, peak + top)), None

    start = _nothing((of_query.shape[0], keys.key.shape[1]), top.dtype)
    return jax.lax.scan(again(meet), start, (blocks.factors, blocks.visible, both, top))[0]


def _before(of_query: Array, keys: _Keys) -> _Sums:
    """The sums [T,K] of queries over the keys up to their own: of two halves, the second meets all of the first."""
    length, longest = of_query.shape[0], max(of_query.shape[0], keys.key.shape[0])
    levels = max((longest // PAIRS).bit_length() - 1, 0)
    of_query, *parts = (_blocks(each, 2**levels, longest) for each in (of_query, *keys))
    keys = _Keys(*parts)
    sums = jax.vmap(_by_pairs)(of_query, keys)
    for _ in range(levels):
        (queries, keys, sums) = jax.tree.map(lambda x: x.reshape(-1, 2, *x.shape[1:]), (of_query, keys, sums))
        first, second = (jax.tree.map(lambda x, half=half: x[:, half], (queries, keys, sums)) for half in (0, 1))
        later = _join(jax.vmap(_across)(second[0], first[1]), second[2])
        sums = jax.tree.map(lambda *halves: jnp.concatenate(halves, axis=1), first[2], later)
        of_query, keys = jax.tree.map(lambda x: x.reshape(x.shape[0], -1, x.shape[3]), (queries, keys))
    return jax.tree.map(lambda x: x[0, :length], sums)


def _by_pairs(of_query: Array, keys: _Keys) -> _Sums:
    """The sums [C,K] of a few queries over the keys up to their own, pair by pair: so few that no axis is summed."""
    bias, rows = of_query @ keys.factors.T, jnp.arange(of_query.shape[0])[:, None]
    pairs = [
        _single(bias[:, s, None] + keys.key[None, s], keys.value[None, s], (rows >= s) & keys.visible[None, s])
        for s in range(keys.key.shape[0])
    ]
    return functools.reduce(_join, pairs)


def _running(keys: _Keys, queries: int) -> _Sums:
    """The sums [T,K] over keys s ≤ t without a bias."""
    longest = max(queries, keys.key.shape[0])
    count = -(-longest // STEPS)
    key, value, visible = (_blocks(each, count, longest).swapaxes(0, 1) for each in keys[1:])
    start = _nothing((count, keys.key.shape[1]), keys.key.dtype)

    def step(sums: _Sums, own: tuple[Array, Array, Array]) -> tuple[_Sums, _Sums]:
        joined = _join(sums, _single(*own))
        return joined, joined

    whole, inside = jax.lax.scan(step, start, (key, value, visible))
    whole = jax.lax.associative_scan(_join, whole)
    before = jax.tree.map(lambda nothing, x: jnp.concatenate([nothing[:1], x[:-1]])[None], start, whole)
    sums = _join(before, inside)
    return jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, x.shape[2])[:queries], sums)


def _single(exponent: Array, value: Array, met: Array) -> _Sums:
    """The sum of one: its exponent [...,K], if it is met [...,1]."""
    top = jax.lax.stop_gradient(jnp.where(met, exponent, _lowest(exponent.dtype)))
    exponential = _exponentials(exponent - top, met)
    return _Sums(exponential * value, exponential, top)


def _join(one: _Sums, other: _Sums) -> _Sums:
    """The sum of two sums, over the larger of their exponents."""
    top = jnp.maximum(one.exponent, other.exponent)
    scales = jnp.exp(one.exponent - top), jnp.exp(other.exponent - top)
    numerator, denominator = (scales[0] * x + scales[1] * y for x, y in zip(one[:2], other[:2], strict=True))
    return _Sums(numerator, denominator, top)


def _nothing(shape: tuple[int, int], dtype: jnp.dtype) -> _Sums:
    """The sum of nothing."""
    return _Sums(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype), jnp.full(shape, _lowest(dtype)))


def _largest(exponents: Array, met: Array, axis: int) -> Array:
    """The largest exponent of those that are met; so low that it can still be added to where there are none."""
    shown = jnp.where(met, exponents, _lowest(exponents.dtype))
    return jax.lax.stop_gradient(jnp.max(shown, axis=axis, keepdims=True))


def _lowest(dtype: jnp.dtype) -> Array:
    return jnp.asarray(jnp.finfo(dtype).min / 4, dtype)


def _exponentials(exponents: Array, met: Array) -> Array:
    """exp(x) where met, else 0; what is not met has no derivative, however large."""
    return jnp.where(met, jnp.exp(jnp.where(met, exponents, 0)), 0)


def _blocks(rows: Array, count: int, longest: int | None = None) -> Array:
    """Rows [T,X] in so many blocks [n,C,X], filled up with zeros; C is as if T were the longest there is."""
    size = -(-(longest or rows.shape[0]) // count)
    return jnp.pad(rows, ((0, count * size - rows.shape[0]), (0, 0))).reshape(count, size, rows.shape[1])
