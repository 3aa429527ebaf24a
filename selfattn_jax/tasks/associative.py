"""Association: one key is asked at the end, and its value is wanted."""

from functools import partial

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, NonNegativeInt, PositiveInt
from selfattn_jax.tasks.sampling import distinct, latest_token, most_frequent_token, random_token
from selfattn_jax.tasks.task import Example, Task, integers_below, make_example, require


def associative_recall(*, pairs: PositiveInt = 20, vocabulary: PositiveInt = 20) -> Task:
    """Keys stand before their values, and the last token is a key: what is its value?

        4 pairs, vocabulary 6: keys are 0 … 2, values 3 … 5

                     key val key val key val key val key
        position      0   1   2   3   4   5   6   7   8
        inputs        1   4   0   5   1   4   2   4   0
        targets       ·   ·   ·   ·   ·   ·   ·   ·   5
        distance      ·   ·   ·   ·   ·   ·   ·   ·   5
        difficulty    ·   ·   ·   ·   ·   ·   ·   ·   3

    Every sequence has a map of its own, in which each key has a uniform value: several keys may share one. The keys are
    uniform and may repeat, always with the same value; the key at the end is that of a uniform one of the pairs. The
    distance reaches back to the latest value of that key; the difficulty is the number of different keys.

    Shortcuts, with 20 pairs of 10 keys and 10 values: `chance` a random value (2 / vocabulary = 0.1); `latest_value`
    that of the last pair (0.23); `most_frequent_value` the commonest (0.33).

    Args:
        pairs: keys with their values in a sequence, at least 1.
        vocabulary: tokens to draw from; even, at least 4.
    Returns: the task; a class per position, asked at the last position only.
    Raises: ValueError naming the knob, what came and the bound.
    References: Ba et al. 2016, arXiv:1610.06258; Fu et al. 2022, arXiv:2212.14052; HazyResearch/safari,
        src/dataloaders/synthetics.py.
    """
    require(pairs >= 1, "pairs", pairs, "at least 1")
    require(vocabulary % 2 == 0, "vocabulary", vocabulary, "even: half are keys, half are values")
    require(vocabulary >= 4, "vocabulary", vocabulary, "at least 4: two keys and two values")
    half = vocabulary // 2
    alphabet = (*(f"k{key}" for key in range(half)), *(f"v{value}" for value in range(half)))
    return Task(
        name="associative_recall",
        version=1,
        length=2 * pairs + 1,
        vocabulary=vocabulary,
        outputs=vocabulary,
        per="position",
        causal=True,
        sample=partial(_sample_associative_recall, pairs=pairs, vocabulary=vocabulary),
        shortcuts={
            "chance": partial(random_token, first=half, count=half),
            "latest_value": partial(latest_token, first=half, count=half),
            "most_frequent_value": partial(most_frequent_token, first=half, count=half),
        },
        alphabet=alphabet,
        classes=alphabet,
    )


def needle(
    *, length: PositiveInt = 64, fillers: PositiveInt = 16, keys: PositiveInt = 16, distractors: NonNegativeInt = 3
) -> Task:
    """A key and its value are hidden in filler, among others of their kind, and the key comes back at the end.

        length 12, 4 fillers, 3 keys, 1 distractor: fillers are 0 … 3, keys 4 … 6, values 7 … 9

                             key val         key val             key
        position      0   1   2   3   4   5   6   7   8   9  10  11
        inputs        2   0   6   7   3   3   4   9   1   0   1   6
        targets       ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   7
        distance      ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   8
        difficulty    ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   ·   3

    The positions before the last make slots of two, and each pair stands in one: slots, keys and values are different
    from one another within a sequence, and uniform. What no pair takes is filler, uniform and independent. The distance
    reaches back to the value; the difficulty says how deep the needle lies, in tenths of the slots from the beginning,
    1 … 10.

    Shortcuts, with 16 keys and 3 distractors: `chance` a random value (1 / keys = 0.06); `latest_value` the last value
    and `context_value` a random one of the sequence (1 / (distractors + 1) = 0.25).

    Args:
        length: tokens, at least 2 · distractors + 3.
        fillers: tokens that say nothing, at least 1.
        keys: to draw from, and as many values; at least distractors + 1, and at least 2.
        distractors: pairs beside the needle, at least 0.
    Returns: the task; a class per position, asked at the last position only.
    Raises: ValueError naming the knob, what came and the bound.
    References: Hsieh et al. 2024, arXiv:2404.06654, the retrieval of one needle among several keys.
    """
    require(distractors >= 0, "distractors", distractors, "at least 0")
    require(fillers >= 1, "fillers", fillers, "at least 1")
    enough = max(distractors + 1, 2)
    require(keys >= enough, "keys", keys, f"at least {enough}: distractors + 1 different ones, and two values to tell")
    shortest = 2 * distractors + 3
    require(length >= shortest, "length", length, f"at least 2 * distractors + 3 = {shortest}")
    values = {"first": fillers + keys, "count": keys}
    numbers = {"f": range(fillers), "k": range(keys), "v": range(keys)}
    alphabet = tuple(f"{kind}{number}" for kind in numbers for number in numbers[kind])
    return Task(
        name="needle",
        version=1,
        length=length,
        vocabulary=fillers + 2 * keys,
        outputs=fillers + 2 * keys,
        per="position",
        causal=True,
        sample=partial(_sample_needle, length=length, fillers=fillers, keys=keys, pairs=distractors + 1),
        shortcuts={
            "chance": partial(random_token, **values),
            "latest_value": partial(latest_token, **values),
            "context_value": partial(_context_value, first=fillers + keys),
        },
        alphabet=alphabet,
        classes=alphabet,
    )


def _sample_associative_recall(rng: Array, /, *, pairs: int, vocabulary: int) -> Example:
    half = vocabulary // 2
    bits = jax.random.bits(rng, (half + pairs + 1,), jnp.uint32)
    value_of = half + integers_below(bits[:half], half)
    keys = integers_below(bits[half:-1], half)
    asked = keys[integers_below(bits[-1], pairs)]

    given = jnp.stack([keys, value_of[keys]], axis=1).reshape(-1)
    latest = jnp.max(jnp.where(keys == asked, jnp.arange(pairs, dtype=jnp.int32), 0))
    seen = jnp.zeros(half, jnp.int32).at[keys].set(1)
    return _ask_last(
        jnp.concatenate([given, asked[None]]),
        value_of[asked],
        place=2 * latest + 1,
        difficulty=jnp.sum(seen, dtype=jnp.int32),
    )


def _sample_needle(rng: Array, /, *, length: int, fillers: int, keys: int, pairs: int) -> Example:
    slots = (length - 1) // 2
    bits = jax.random.bits(rng, (length + 3 * pairs,), jnp.uint32)
    for_slots, for_keys, for_values = bits[length:].reshape(3, pairs)
    slot = distinct(for_slots, slots)
    key = fillers + distinct(for_keys, keys)
    value = fillers + keys + distinct(for_values, keys)

    # No pair is unlike another, so the needle may as well be the first.
    filler = integers_below(bits[:length], fillers)
    inputs = filler.at[2 * slot].set(key).at[2 * slot + 1].set(value).at[-1].set(key[0])
    return _ask_last(inputs, value[0], place=2 * slot[0] + 1, difficulty=1 + 10 * slot[0] // slots)


def _ask_last(inputs: Array, target: Array, *, place: Array, difficulty: Array) -> Example:
    """An example that asks at its last position for the token at a place."""
    positions = jnp.arange(inputs.shape[0], dtype=jnp.int32)
    asked = positions == inputs.shape[0] - 1
    targets = jnp.broadcast_to(target, inputs.shape)
    return make_example(inputs, targets, asked, distance=positions - place, difficulty=difficulty)


def _context_value(rng: Array, inputs: Array, /, *, first: int) -> Array:
    """A random one of the values in the sequence: that of the greatest random number."""
    clocks = jax.random.bits(rng, inputs.shape, jnp.uint32) | 1
    return jnp.full_like(inputs, inputs[jnp.argmax(jnp.where(inputs >= first, clocks, 0))])
