"""What several tasks draw, look back to and guess."""

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array
from selfattn_jax.tasks.task import integers_below, require


def distinct(bits: Array, choices: int) -> Array:
    """As many different numbers of 0 … choices − 1 as there are random bits [n], every ordered selection alike.

    Number i is drawn as a rank among the choices that the numbers before it leave. Then, from the last number to the
    first, each one is put back among those behind it, which move up by one unless they are below it: O(n²) steps,
    however many choices there are.
    """
    count = bits.shape[0]
    order = jnp.arange(count, dtype=jnp.int32)
    ranks = integers_below(bits, choices - order)

    def insert(step: Array, numbers: Array) -> Array:
        place = count - 1 - step
        moves = (order > place) & (numbers >= ranks[place])
        return numbers + moves.astype(jnp.int32)

    return jax.lax.fori_loop(0, count, insert, ranks)


def selection(bits: Array, count: int) -> Array:
    """Which of n things are chosen, for random bits [n]: bool [n], True `count` times, every selection alike.

    Chosen are those of the smallest bits. The lowest bits make room for the places, so that no two are equal.
    """
    places = jnp.arange(bits.shape[0], dtype=jnp.uint32)
    width = max(bits.shape[0] - 1, 1).bit_length()
    clocks = (bits >> width << width) | places
    return clocks <= jnp.sort(clocks)[count - 1]


def latest_earlier(tokens: Array, kinds: int) -> Array:
    """For each of tokens [T], 0 … kinds − 1, the position at which the same stood last before; −1 where it never did.

    Sorted by kind, and by position within a kind, each token comes right behind the one that is looked for.

    Raises: ValueError when kind and position do not fit one int32.
    """
    length = tokens.shape[0]
    require(kinds * length <= 2**31, "length", length, f"at most 2^31 / {kinds}, with as many kinds of tokens")
    ranked = jnp.sort(tokens * length + jnp.arange(length, dtype=jnp.int32))
    order, kind = ranked % length, ranked // length
    before = jnp.where(kind == jnp.roll(kind, 1), jnp.roll(order, 1), -1).at[0].set(-1)
    return jnp.zeros_like(tokens).at[order].set(before)


# Shortcuts. They know some tokens: `count` of them, from `first` on.


def random_token(rng: Array, inputs: Array, /, *, first: int, count: int) -> Array:
    """A random one of the tokens, at each position."""
    return first + integers_below(jax.random.bits(rng, inputs.shape, jnp.uint32), count)


def latest_token(rng: Array, inputs: Array, /, *, first: int, count: int) -> Array:
    """The one of the tokens that stood last, at each position or before; `first` where there was none."""
    del rng
    positions = jnp.arange(inputs.shape[0], dtype=jnp.int32)
    known = (inputs >= first) & (inputs < first + count)
    latest = jax.lax.cummax(jnp.where(known, positions, -1))
    return jnp.where(latest < 0, first, inputs[jnp.maximum(latest, 0)])


def most_frequent_token(rng: Array, inputs: Array, /, *, first: int, count: int) -> Array:
    """The commonest of the tokens in the sequence, the first of equals, at each position."""
    del rng
    ranks = jnp.where(inputs < first, count, inputs - first)  # from `count` on they are dropped
    counts = jnp.zeros(count, jnp.int32).at[ranks].add(1, mode="drop")
    return jnp.full_like(inputs, first + jnp.argmax(counts).astype(jnp.int32))


def most_frequent_so_far(rng: Array, inputs: Array, /, *, first: int, count: int) -> Array:
    """The commonest of the tokens at each position and before, the first of equals."""
    del rng

    def read(counts: Array, rank: Array) -> tuple[Array, Array]:
        counts = counts.at[rank].add(1, mode="drop")
        return counts, first + jnp.argmax(counts).astype(jnp.int32)

    ranks = jnp.where(inputs < first, count, inputs - first)
    return jax.lax.scan(read, jnp.zeros(count, jnp.int32), ranks)[1]
