"""Recall within a running text: whenever a key comes back, its value is wanted."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from selfattn_jax.shapes import Array, Fraction, PositiveInt
from selfattn_jax.tasks.sampling import (
    distinct,
    latest_earlier,
    latest_token,
    most_frequent_so_far,
    random_token,
    selection,
)
from selfattn_jax.tasks.task import Example, Shortcut, Task, integers_below, make_example, require


def recall(*, length: PositiveInt = 128, vocabulary: PositiveInt = 16) -> Task:
    """Keys and their values take turns; at a key that came before, its value is asked.

        length 12, vocabulary 6: keys are 0 … 2, values 3 … 5

                     key val key val key val key val key val key val
        position      0   1   2   3   4   5   6   7   8   9  10  11
        inputs        2   4   0   3   2   4   2   4   1   4   0   3
        targets       ·   ·   ·   ·   4   ·   4   ·   ·   ·   3   ·
        distance      ·   ·   ·   ·   3   ·   1   ·   ·   ·   7   ·
        difficulty    ·   ·   ·   ·   2   ·   2   ·   ·   ·   3   ·

    Every sequence has a map of its own, in which each key has a uniform value: several keys may share one. The keys are
    uniform and independent. The distance reaches back to the latest value of the key; the difficulty is the number of
    different keys so far.

    Shortcuts, with 128 tokens, 8 keys and 8 values: `chance` a random value (2 / vocabulary = 0.125); `latest_value`
    the last one (0.25); `most_frequent_value` the commonest so far (0.32).

    Args:
        length: tokens, half of them keys; even, at least 4.
        vocabulary: tokens to draw from; even, at least 4.
    Returns: the task; a class per position, asked at the keys that came before.
    Raises: ValueError naming the knob, what came and the bound.
    References: Poli et al. 2024, arXiv:2403.17844; athms/mad-lab, mad/data/instances.py (multi_query on).
    """
    _require_vocabulary(vocabulary)
    require(length % 2 == 0, "length", length, "even: a value behind each key")
    require(length >= 4, "length", length, "at least 4: a key that comes back")
    values = {"first": vocabulary // 2, "count": vocabulary // 2}
    return _task(
        "recall",
        length=length,
        alphabet=_keys_and_values(vocabulary),
        sample=partial(_sample_recall, length=length, vocabulary=vocabulary),
        shortcuts={"most_frequent_value": partial(most_frequent_so_far, **values)},
        values=values,
    )


def noisy_recall(
    *,
    length: PositiveInt = 128,
    vocabulary: PositiveInt = 16,
    noise_tokens: PositiveInt = 16,
    noise: Fraction = 0.2,
) -> Task:
    """As `recall`, with tokens in between that say nothing.

        length 12, vocabulary 6, 2 noise tokens: keys are 0 … 2, values 3 … 5, noise is 6 and 7

                     key val     key val         key val key val
        position      0   1   2   3   4   5   6   7   8   9  10  11
        inputs        2   4   7   0   3   6   6   2   4   0   3   7
        targets       ·   ·   ·   ·   ·   ·   ·   4   ·   3   ·   ·
        distance      ·   ·   ·   ·   ·   ·   ·   6   ·   5   ·   ·
        difficulty    ·   ·   ·   ·   ·   ·   ·   2   ·   2   ·   ·

    The number of noise tokens is always the same: the greatest of at most noise · length that leaves whole pairs. They
    are uniform and independent, and stand before, between and behind the pairs in any order; a pair stays together.
    Otherwise all is as in `recall`.

    Shortcuts, with 128 tokens, 24 of them noise, 8 keys and 8 values: `chance` a random value
    (2 / vocabulary = 0.125); `latest_value` the last one (0.25); `most_frequent_value` the commonest so far (0.32).

    Args:
        length: tokens; what is no noise makes at least 2 pairs.
        vocabulary: keys and values to draw from; even, at least 4.
        noise_tokens: to draw from beside them, at least 1.
        noise: their share of the sequence, at least 0 and below 1.
    Returns: the task; a class per position, asked at the keys that came before.
    Raises: ValueError naming the knob, what came and the bound.
    References: Poli et al. 2024, arXiv:2403.17844; athms/mad-lab, mad/data/instances.py (multi_query on), whose noise
        comes in twos, each in the place of a pair.
    """
    _require_vocabulary(vocabulary)
    require(noise_tokens >= 1, "noise_tokens", noise_tokens, "at least 1")
    require(0 <= noise < 1, "noise", noise, "at least 0 and below 1")
    loud = int(noise * length)
    loud -= (length - loud) % 2
    require(loud >= 0, "length", length, "even where there is no noise: a value behind each key")
    pairs = (length - loud) // 2
    require(pairs >= 2, "length", length, f"so great that noise = {noise} leaves 2 pairs, not {pairs}")
    values = {"first": vocabulary // 2, "count": vocabulary // 2}
    sizes = {"pairs": pairs, "loud": loud, "vocabulary": vocabulary, "noise_tokens": noise_tokens}
    return _task(
        "noisy_recall",
        length=length,
        alphabet=(*_keys_and_values(vocabulary), *(f"n{token}" for token in range(noise_tokens))),
        sample=partial(_sample_noisy_recall, **sizes),
        shortcuts={"most_frequent_value": partial(most_frequent_so_far, **values)},
        values=values,
    )


def fuzzy_recall(
    *,
    length: PositiveInt = 128,
    vocabulary: PositiveInt = 16,
    entries: PositiveInt = 6,
    longest: PositiveInt = 3,
) -> Task:
    """As `recall`, with keys and values of several tokens each; a value is asked token by token.

        length 12, vocabulary 6, 2 entries of at most 2 tokens: key tokens are 1 … 3, value tokens 4 … 6, 0 is unused

        entry         1   1   1   1   0   0   1   1   1   1   0   0
        position      0   1   2   3   4   5   6   7   8   9  10  11
        inputs        1   2   5   4   2   6   1   2   5   4   2   6
        targets       ·   ·   ·   ·   ·   ·   ·   5   4   ·   6   ·
        distance      ·   ·   ·   ·   ·   ·   ·   5   5   ·   5   ·
        difficulty    ·   ·   ·   ·   ·   ·   ·   2   2   ·   1   ·

    Every sequence has entries of its own. The keys of entries 0, 1, 2 … have 1, 2 … longest, 1, 2 … tokens; they are
    different from one another, and uniform among those of their length. A value has a uniform number of tokens, each
    uniform. Entries are drawn, uniform and independent, until the sequence is full; the last one may be cut. Asked is,
    wherever the next token belongs to the value of an entry that came before, that token: where a key begins and where
    it ends is not asked. The distance reaches from the target back to the same token in the latest occurrence of the
    entry; the difficulty is the number of tokens in the key.

    Shortcuts, with 128 tokens, 8 kinds of them in values, and 6 entries, of motifs of at most 3: `chance` a random
    value token (2 / vocabulary = 0.125); `latest_value` the last one (0.15).

    Args:
        length: tokens, at least 4.
        vocabulary: tokens of keys and values; even, at least 4, and such that keys can be numbered:
            (vocabulary / 2)^longest is at most 2^24.
        entries: keys with their values in a sequence; at least 1, at most longest · vocabulary / 2.
        longest: tokens in a key or a value, at least 1.
    Returns: the task; a class per position, asked where the next token belongs to a value that came before.
    Raises: ValueError naming the knob, what came and the bound.
    References: Poli et al. 2024, arXiv:2403.17844; athms/mad-lab, mad/data/instances.py (multi_query on), in which any
        key may come and no token repeats within a motif.
    """
    _require_vocabulary(vocabulary)
    half = vocabulary // 2
    require(length >= 4, "length", length, "at least 4: an entry that comes back")
    require(longest >= 1, "longest", longest, "at least 1")
    require(half**longest <= 2**24, "longest", longest, f"so small that {half}^longest is at most 2^24")
    # Where enough keys of one token are left for the entries, keys of more tokens are.
    fits = 1 <= entries <= longest * half
    require(fits, "entries", entries, f"at least 1, at most longest * vocabulary / 2 = {longest * half}: keys differ")
    sizes = {"length": length, "vocabulary": vocabulary, "entries": entries, "longest": longest}
    return _task(
        "fuzzy_recall",
        length=length,
        alphabet=("·", *_keys_and_values(vocabulary, first=1)),
        sample=partial(_sample_fuzzy_recall, **sizes),
        shortcuts={},
        values={"first": half + 1, "count": half},
    )


def _require_vocabulary(vocabulary: int) -> None:
    require(vocabulary % 2 == 0, "vocabulary", vocabulary, "even: half are keys, half are values")
    require(vocabulary >= 4, "vocabulary", vocabulary, "at least 4: two keys and two values")


def _keys_and_values(vocabulary: int, first: int = 0) -> tuple[str, ...]:
    numbers = range(first, first + vocabulary // 2)
    return (*(f"k{number}" for number in numbers), *(f"v{number}" for number in numbers))


def _task(
    name: str, *, alphabet: tuple[str, ...], shortcuts: Mapping[str, Shortcut], values: Mapping[str, int], **fields: Any
) -> Task:
    """A task that asks for some tokens, the values: `count` of them, from `first` on."""
    guesses = {"chance": partial(random_token, **values), "latest_value": partial(latest_token, **values)}
    return Task(
        name=name,
        version=1,
        vocabulary=len(alphabet),
        outputs=len(alphabet),
        per="position",
        causal=True,
        shortcuts={**guesses, **shortcuts},
        alphabet=alphabet,
        classes=alphabet,
        **fields,
    )


def _sample_recall(rng: Array, /, *, length: int, vocabulary: int) -> Example:
    half, pairs = vocabulary // 2, length // 2
    bits = jax.random.bits(rng, (half + pairs,), jnp.uint32)
    starts = 2 * jnp.arange(pairs, dtype=jnp.int32)
    empty = jnp.zeros(length, jnp.int32)
    return _with_pairs(empty, starts, integers_below(bits[half:], half), half + integers_below(bits[:half], half))


def _sample_noisy_recall(rng: Array, /, *, pairs: int, loud: int, vocabulary: int, noise_tokens: int) -> Example:
    half, length, units = vocabulary // 2, 2 * pairs + loud, pairs + loud
    bits = jax.random.bits(rng, (half + pairs + length + units,), jnp.uint32)
    for_values, for_keys, for_noise, for_order = jnp.split(bits, np.cumsum([half, pairs, length]))
    is_pair = selection(for_order, pairs)
    # A pair starts behind all units before it, each pair among them twice as long as a noise token.
    rank = jnp.cumsum(is_pair, dtype=jnp.int32) - 1
    start = jnp.arange(units, dtype=jnp.int32) + rank
    starts = jnp.zeros(pairs, jnp.int32).at[jnp.where(is_pair, rank, pairs)].set(start, mode="drop")
    noise = vocabulary + integers_below(for_noise, noise_tokens)
    return _with_pairs(noise, starts, integers_below(for_keys, half), half + integers_below(for_values, half))


def _with_pairs(inputs: Array, starts: Array, keys: Array, value_of: Array) -> Example:
    """Puts keys [n], and behind each its value, at their starts [n], and asks at keys that came before.

    value_of: the value of each key there is.
    """
    earlier = latest_earlier(keys, value_of.shape[0])
    latest_value_at = starts[jnp.maximum(earlier, 0)] + 1
    different = jnp.cumsum(earlier < 0, dtype=jnp.int32)

    positions = jnp.arange(inputs.shape[0], dtype=jnp.int32)
    is_key = jnp.zeros(inputs.shape[0], bool).at[starts].set(True)
    is_value = jnp.roll(is_key, 1)
    pair = jnp.maximum(jnp.cumsum(is_key, dtype=jnp.int32) - 1, 0)
    values = value_of[keys][pair]
    return make_example(
        jnp.where(is_key, keys[pair], jnp.where(is_value, values, inputs)),
        values,
        is_key & (earlier[pair] >= 0),
        distance=positions - latest_value_at[pair],
        difficulty=different[pair],
    )


def _sample_fuzzy_recall(rng: Array, /, *, length: int, vocabulary: int, entries: int, longest: int) -> Example:
    half, units = vocabulary // 2, (length + 1) // 2  # the shortest unit is a key token and a value token
    bits = jax.random.bits(rng, (units + entries * (2 + longest),), jnp.uint32)
    cuts = np.cumsum([units, entries, entries])
    for_units, for_keys, for_sizes, for_values = jnp.split(bits, cuts)
    values = half + 1 + integers_below(for_values.reshape(entries, longest), half)
    motifs = jnp.concatenate([_keys_at_the_right(for_keys, half, longest), values], axis=1)
    key_size = jnp.asarray(1 + np.arange(entries) % longest, jnp.int32)
    size = key_size + 1 + integers_below(for_sizes, longest)

    drawn = integers_below(for_units, entries)
    starts = jnp.cumsum(size[drawn], dtype=jnp.int32) - size[drawn]
    earlier = latest_earlier(drawn, entries)
    unit = jnp.cumsum(jnp.zeros(length, jnp.int32).at[starts].add(1, mode="drop"), dtype=jnp.int32) - 1

    # A unit goes through its row of motifs from where the key begins, and from column `longest` on it is a value.
    positions = jnp.arange(length, dtype=jnp.int32)
    entry = drawn[unit]
    column = longest - key_size[entry] + positions - starts[unit]
    inputs = motifs[entry, column]
    known = (column >= longest) & (earlier[unit] >= 0)
    distance = starts[unit] - starts[jnp.maximum(earlier[unit], 0)] - 1
    return make_example(
        inputs,
        jnp.roll(inputs, -1),
        jnp.roll(known, -1) & (positions < length - 1),
        distance=jnp.roll(distance, -1),
        difficulty=jnp.roll(key_size[entry], -1),
    )


def _keys_at_the_right(bits: Array, half: int, longest: int) -> Array:
    """Different keys of 1, 2 … longest, 1, 2 … tokens, for random bits [n]: [n, longest], each at the end of its row.

    A key of m tokens is a number of m digits to the base of the tokens there are.
    """
    entries = bits.shape[0]
    keys = jnp.zeros((entries, longest), jnp.int32)
    for size in range(1, min(longest, entries) + 1):
        members = np.arange(size - 1, entries, longest)
        numbers = distinct(bits[members], half**size)
        digits = numbers[:, None] // half ** np.arange(size, dtype=np.int32)[None, :] % half
        keys = keys.at[members, longest - size :].set(1 + digits)
    return keys
