"""Recall all along the sequence: whenever a key comes again, its value is wanted."""

from functools import partial

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, Fraction, PositiveInt
from selfattn_jax.tasks.sampling import (
    distinct,
    latest_earlier,
    latest_token,
    most_frequent_token,
    random_token,
)
from selfattn_jax.tasks.task import Example, Task, integers_below, make_example, require


def recall(*, length: PositiveInt = 128, vocabulary: PositiveInt = 16) -> Task:
    """A sequence is nothing but keys and their values; wherever a key comes again, its value is the answer.

        length 8, vocabulary 6: keys are 0 … 2, values 3 … 5

                    key val key val key val key val
        position     0   1   2   3   4   5   6   7
        inputs       1   5   0   3   1   5   1   5
        targets      ·   ·   ·   ·   5   ·   5   ·
        distance     ·   ·   ·   ·   3   ·   1   ·
        difficulty   ·   ·   ·   ·   2   ·   2   ·

    Which value a key has is drawn anew for every sequence, values may repeat; keys are independent and uniform. The
    distance reaches to the latest value of the key; the difficulty is the number of different keys so far.

    Shortcuts, with 128 tokens of 8 keys: `chance` a random value (1/8); `latest_value` the last one before (0.25);
    `commonest_value` the commonest of the sequence (0.35).

    Args:
        length: tokens; even, at least 4.
        vocabulary: tokens to draw from, half of them keys; even, at least 4.
    Returns: the task; a class per position, asked at keys that came before.
    Raises: ValueError naming the knob, what came and the bound.
    References: Poli et al. 2024, arXiv:2403.17844, in-context recall.
    """
    require(length % 2 == 0 and length >= 4, "length", length, "even and at least 4")
    return _task("recall", length, vocabulary, noise_tokens=0, noisy=0)


def noisy_recall(
    *,
    length: PositiveInt = 128,
    vocabulary: PositiveInt = 16,
    noise_tokens: PositiveInt = 16,
    noise: Fraction = 0.2,
) -> Task:
    """As `recall`, with tokens between the pairs that say nothing.

        length 8, vocabulary 6, 2 noise tokens, noise 0.25: keys are 0 … 2, values 3 … 5, noise 6 and 7

        position     0   1   2   3   4   5   6   7
        inputs       1   5   7   0   3   6   1   5
        targets      ·   ·   ·   ·   ·   ·   5   ·
        distance     ·   ·   ·   ·   ·   ·   5   ·
        difficulty   ·   ·   ·   ·   ·   ·   2   ·

    A pair stays together; pairs and noise tokens come in any order, each as likely. There is as much noise as `noise`
    says of the length, rounded down so that pairs fill the rest.

    Shortcuts, with 128 tokens of 8 keys and 24 of noise: `chance` a random value (1/8); `latest_value` the last one
    before (0.25); `commonest_value` the commonest of the sequence (0.36).

    Args:
        length: tokens; with two pairs at least beside the noise.
        vocabulary: tokens of pairs, half of them keys; even, at least 4.
        noise_tokens: tokens of noise, further ones.
        noise: its share of the sequence, below 1.
    Returns: the task; a class per position, asked at keys that came before.
    Raises: ValueError naming the knob, what came and the bound.
    References: Poli et al. 2024, arXiv:2403.17844, noisy in-context recall.
    """
    require(0 <= noise < 1, "noise", noise, "at least 0 and below 1")
    require(noise_tokens >= 1, "noise_tokens", noise_tokens, "at least 1")
    noisy = int(noise * length)
    noisy -= (length - noisy) % 2
    require(
        noisy >= 0 and length - noisy >= 4, "length", length, "enough for two pairs beside the noise, and even without"
    )
    return _task("noisy_recall", length, vocabulary, noise_tokens=noise_tokens, noisy=noisy)


def fuzzy_recall(
    *, length: PositiveInt = 128, vocabulary: PositiveInt = 16, entries: PositiveInt = 6, longest: PositiveInt = 3
) -> Task:
    """As `recall`, with keys and values of one to a few tokens each; every token of a value is asked for.

        length 10, vocabulary 6, 3 entries: tokens of keys are 1 … 3, those of values 4 … 6; 0 is not used

                    key val val key key val key val val key
        position     0   1   2   3   4   5   6   7   8   9
        inputs       2   5   4   1   3   6   2   5   4   1
        targets      ·   ·   ·   ·   ·   ·   5   4   ·   ·
        distance     ·   ·   ·   ·   ·   ·   5   5   ·   ·
        difficulty   ·   ·   ·   ·   ·   ·   1   1   ·   ·

    Entries with keys of 1 … longest tokens take turns; keys of one length are different from one another. Entries come
    independently and uniformly until the sequence is full. Asked is the next token, wherever it belongs to a value that
    came before; the difficulty is the length of its key.

    Shortcuts, with 6 entries of up to 3 tokens: `chance` a random token of values (1/8); `latest_value` the last one
    before (0.16); `commonest_value` the commonest of the sequence (0.31).

    Args:
        length: tokens.
        vocabulary: tokens to draw from, half of them for keys; even, at least 4.
        entries: keys with their values.
        longest: tokens of a key or a value, at most.
    Returns: the task; a class per position.
    Raises: ValueError naming the knob, what came and the bound.
    References: Poli et al. 2024, arXiv:2403.17844, fuzzy in-context recall.
    """
    half = vocabulary // 2
    require(vocabulary % 2 == 0 and vocabulary >= 4, "vocabulary", vocabulary, "even and at least 4")
    require(longest >= 1 and half**longest < 2**31, "longest", longest, f"at least 1, and {half}^longest below 2^31")
    require(entries >= 1, "entries", entries, "at least 1")
    for size in range(1, longest + 1):
        alike = len(range(size - 1, entries, longest))
        require(alike <= half**size, "entries", entries, f"such that {half**size} keys of {size} tokens suffice")
    require(length >= 4, "length", length, "at least 4")
    values = {"first": half + 1, "count": half}
    return Task(
        name="fuzzy_recall",
        version=1,
        length=length,
        vocabulary=vocabulary + 1,
        features=None,
        outputs=vocabulary + 1,
        per="position",
        metric="accuracy",
        solved_at=0.99,
        causal=True,
        sample=partial(_sample_fuzzy, length=length, half=half, entries=entries, longest=longest),
        shortcuts={
            "chance": partial(random_token, **values),
            "latest_value": partial(latest_token, **values),
            "commonest_value": partial(most_frequent_token, **values),
        },
    )


def _task(name: str, length: int, vocabulary: int, *, noise_tokens: int, noisy: int) -> Task:
    require(vocabulary % 2 == 0 and vocabulary >= 4, "vocabulary", vocabulary, "even and at least 4")
    values = {"first": vocabulary // 2, "count": vocabulary // 2}
    return Task(
        name=name,
        version=1,
        length=length,
        vocabulary=vocabulary + noise_tokens,
        features=None,
        outputs=vocabulary + noise_tokens,
        per="position",
        metric="accuracy",
        solved_at=0.99,
        causal=True,
        sample=partial(_sample_recall, length=length, half=vocabulary // 2, noise_tokens=noise_tokens, noisy=noisy),
        shortcuts={
            "chance": partial(random_token, **values),
            "latest_value": partial(latest_token, **values),
            "commonest_value": partial(most_frequent_token, **values),
        },
    )


def _sample_recall(rng: Array, /, *, length: int, half: int, noise_tokens: int, noisy: int) -> Example:
    pairs = (length - noisy) // 2
    units = pairs + noisy
    bits = jax.random.bits(rng, (half + pairs + length + units,), jnp.uint32)
    value_of = half + integers_below(bits[:half], half)
    keys = integers_below(bits[half : half + pairs], half)
    # In a random order of the units the first ones are pairs, and take two positions each.
    pair = jnp.zeros(units, bool).at[jnp.argsort(bits[-units:])[:pairs]].set(True)
    starts = jnp.cumsum(1 + pair.astype(jnp.int32), dtype=jnp.int32) - 1 - pair.astype(jnp.int32)
    places = starts[jnp.nonzero(pair, size=pairs)[0]]
    filled = 2 * half + integers_below(bits[half + pairs : half + pairs + length], max(noise_tokens, 1))
    inputs = filled.at[places].set(keys).at[places + 1].set(value_of[keys])

    latest = latest_earlier(keys, half)
    again = latest >= 0
    different = jnp.cumsum(~again, dtype=jnp.int32)
    empty = jnp.zeros(length, jnp.int32)
    return make_example(
        inputs,
        empty.at[places].set(value_of[keys]),
        jnp.zeros(length, bool).at[places].set(again),
        distance=empty.at[places].set(places - places[latest] - 1),
        difficulty=empty.at[places].set(different),
    )


def _sample_fuzzy(rng: Array, /, *, length: int, half: int, entries: int, longest: int) -> Example:
    units = -(-length // 2)
    bits = jax.random.bits(rng, (2 * entries + entries * longest + units,), jnp.uint32)
    key_sizes = 1 + jnp.arange(entries, dtype=jnp.int32) % longest
    key_tokens = _motifs(bits[:entries], half, longest)
    value_sizes = 1 + integers_below(bits[entries : 2 * entries], longest)
    value_tokens = half + 1 + integers_below(bits[2 * entries : -units], half).reshape(entries, longest)

    entry = integers_below(bits[-units:], entries)
    sizes = key_sizes[entry] + value_sizes[entry]
    starts = jnp.cumsum(sizes, dtype=jnp.int32) - sizes
    positions = jnp.arange(length, dtype=jnp.int32)
    unit = jnp.searchsorted(starts, positions, side="right").astype(jnp.int32) - 1
    offset, one = positions - starts[unit], entry[unit]
    rank = offset - key_sizes[one]
    in_value = rank >= 0
    inputs = jnp.where(
        in_value, value_tokens[one, jnp.maximum(rank, 0)], key_tokens[one, jnp.minimum(offset, longest - 1)]
    )

    latest = latest_earlier(entry, entries)[unit]
    earlier = starts[latest] + offset  # where the same token stood when its entry came last
    asked_next = in_value & (latest >= 0)
    # What is asked of a token stands one position before it.
    asked = jnp.concatenate([asked_next[1:], jnp.zeros(1, bool)])
    shifted = [jnp.roll(array, -1) for array in (inputs, positions - 1 - earlier, key_sizes[one])]
    return make_example(inputs, shifted[0], asked, distance=shifted[1], difficulty=shifted[2])


def _motifs(bits: Array, half: int, longest: int) -> Array:
    """Keys [entries, longest] of tokens 1 … half: entry e has 1 + e mod longest of them, like no other of its size."""
    entries = bits.shape[0]
    motifs = jnp.zeros((entries, longest), jnp.int32)
    for size in range(1, longest + 1):
        alike = jnp.arange(size - 1, entries, longest, dtype=jnp.int32)
        if alike.size:
            codes = distinct(bits[size - 1 :: longest], half**size)
            digits = jnp.stack([codes // half**place % half for place in range(size)], axis=1)
            motifs = motifs.at[alike, :size].set(1 + digits)
    return motifs
