"""Association: one key at the end, and the value that stood behind it."""

from functools import partial

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, NonNegativeInt, PositiveInt
from selfattn_jax.tasks.sampling import distinct, latest_token, most_frequent_token, random_token
from selfattn_jax.tasks.task import Example, Task, integers_below, make_example, require


def associative_recall(*, pairs: PositiveInt = 20, vocabulary: PositiveInt = 20) -> Task:
    """Keys with their values come many times, and at the end one of the keys by itself: its value is the answer.

        4 pairs, vocabulary 6: keys are 0 … 2, values 3 … 5

                    key val key val key val key val
        position     0   1   2   3   4   5   6   7   8
        inputs       1   5   0   3   1   5   2   3   1
        targets      ·   ·   ·   ·   ·   ·   ·   ·   5       distance 3, difficulty 3

    Which value a key has is drawn anew for every sequence, values may repeat; the keys of the pairs are independent and
    uniform, the last key is that of a uniformly drawn pair. The distance reaches to the latest value of that key; the
    difficulty is the number of different keys.

    Shortcuts, with 20 pairs of 10 keys: `chance` a random value (1/10); `latest_value` that of the last pair (0.23);
    `commonest_value` the commonest of the sequence (0.33).

    Args:
        pairs: of a key and its value.
        vocabulary: tokens to draw from, half of them keys; even, at least 4.
    Returns: the task; a class per position, asked at the last position only.
    Raises: ValueError naming the knob, what came and the bound.
    References: Fu et al. 2022, arXiv:2212.14052; HazyResearch/safari.
    """
    require(pairs >= 1, "pairs", pairs, "at least 1")
    require(vocabulary % 2 == 0 and vocabulary >= 4, "vocabulary", vocabulary, "even and at least 4")
    values = {"first": vocabulary // 2, "count": vocabulary // 2}
    return Task(
        name="associative_recall",
        version=1,
        length=2 * pairs + 1,
        vocabulary=vocabulary,
        features=None,
        outputs=vocabulary,
        per="position",
        metric="accuracy",
        solved_at=0.99,
        causal=True,
        sample=partial(_sample_associative_recall, pairs=pairs, half=vocabulary // 2),
        shortcuts={
            "chance": partial(random_token, **values),
            "latest_value": partial(latest_token, **values),
            "commonest_value": partial(most_frequent_token, **values),
        },
    )


def needle(
    *, length: PositiveInt = 64, fillers: PositiveInt = 16, keys: PositiveInt = 16, distractors: NonNegativeInt = 3
) -> Task:
    """A key and its value lie hidden in filler, at any depth; the key comes back at the end, and its value is wanted.

        length 11, 4 fillers, 4 keys, 1 distractor: fillers are 0 … 3, keys 4 … 7, values 8 … 11

        position   0   1   2   3   4   5   6   7   8   9  10
        inputs     2   0   5  10   3   3   7   8   1   0   5
        targets    ·   ·   ·   ·   ·   ·   ·   ·   ·   ·  10       distance 7, difficulty 3

    Needle and distractors, other keys with other values, stand at even offsets, uniform among all choices of different
    ones. The difficulty is the depth: 1 in the first tenth of the sequence, 10 in the last.

    Shortcuts, with 3 distractors and 16 keys: `chance` a random value (1/16); `latest_value` the last value of the
    sequence (1/4); `least_value` the lowest that stands there (1/4).

    Args:
        length: tokens, at least 2 · (distractors + 1) + 1.
        fillers: tokens that say nothing.
        keys: tokens to draw keys from, and as many for values; at least distractors + 1.
        distractors: pairs that nobody asks for.
    Returns: the task; a class per position, asked at the last position only.
    Raises: ValueError naming the knob, what came and the bound.
    References: Hsieh et al. 2024, arXiv:2404.06654.
    """
    pairs = distractors + 1
    require(distractors >= 0, "distractors", distractors, "at least 0")
    require(fillers >= 1, "fillers", fillers, "at least 1")
    require(keys >= pairs, "keys", keys, f"at least distractors + 1 = {pairs}: keys do not repeat")
    require(length >= 2 * pairs + 1, "length", length, f"at least 2 * (distractors + 1) + 1 = {2 * pairs + 1}")
    vocabulary = fillers + 2 * keys
    values = {"first": fillers + keys, "count": keys}
    return Task(
        name="needle",
        version=1,
        length=length,
        vocabulary=vocabulary,
        features=None,
        outputs=vocabulary,
        per="position",
        metric="accuracy",
        solved_at=0.99,
        causal=True,
        sample=partial(_sample_needle, length=length, fillers=fillers, keys=keys, pairs=pairs),
        shortcuts={
            "chance": partial(random_token, **values),
            "latest_value": partial(latest_token, **values),
            "least_value": partial(most_frequent_token, **values),
        },
    )


def _sample_associative_recall(rng: Array, /, *, pairs: int, half: int) -> Example:
    bits = jax.random.bits(rng, (half + pairs + 1,), jnp.uint32)
    value_of = half + integers_below(bits[:half], half)
    keys = integers_below(bits[half:-1], half)
    probe = keys[integers_below(bits[-1], pairs)]
    inputs = jnp.concatenate([jnp.stack([keys, value_of[keys]], axis=1).reshape(-1), probe[None]])
    latest = jnp.max(jnp.where(keys == probe, jnp.arange(pairs, dtype=jnp.int32), -1))
    different = jnp.sum(jnp.zeros(half, jnp.int32).at[keys].set(1), dtype=jnp.int32)
    asked = jnp.arange(2 * pairs + 1, dtype=jnp.int32) == 2 * pairs
    distance = 2 * pairs - (2 * latest + 1)
    return make_example(inputs, jnp.full_like(inputs, value_of[probe]), asked, distance=distance, difficulty=different)


def _sample_needle(rng: Array, /, *, length: int, fillers: int, keys: int, pairs: int) -> Example:
    slots = (length - 1) // 2
    bits = jax.random.bits(rng, (length + slots + 2 * pairs,), jnp.uint32)
    chosen = jnp.argsort(bits[length : length + slots])[:pairs].astype(jnp.int32)
    names = fillers + distinct(bits[-2 * pairs : -pairs], keys)
    values = fillers + keys + distinct(bits[-pairs:], keys)
    inputs = integers_below(bits[:length], fillers).at[2 * chosen].set(names).at[2 * chosen + 1].set(values)
    inputs = inputs.at[-1].set(names[0])  # the first pair is the needle: its place is as uniform as any
    asked = jnp.arange(length, dtype=jnp.int32) == length - 1
    distance, depth = length - 2 - 2 * chosen[0], 1 + 10 * chosen[0] // slots
    return make_example(inputs, jnp.full_like(inputs, values[0]), asked, distance=distance, difficulty=depth)
