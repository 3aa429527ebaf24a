"""Recall: a key comes back, and its value is wanted."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from selfattn_jax.shapes import Array, Positive, PositiveInt
from selfattn_jax.tasks.sampling import distinct
from selfattn_jax.tasks.task import Example, Task, integers_below, require, unit_interval


def multi_query_recall(
    *, length: PositiveInt = 64, pairs: PositiveInt = 4, vocabulary: PositiveInt = 256, exponent: Positive = 0.01
) -> Task:
    """Pairs of a key and a value come first; later every key is asked once, and its value is the answer.

        length 16, pairs 2, vocabulary 12: keys are 1 … 5, values 6 … 11, 0 fills

                    key val key val
        position     0   1   2   3   4   5   6   7   8   9  10  11  12  13  14  15
        inputs       2   8   4   7   4   0   0   0   0   0   2   0   0   0   0   0
        targets      ·   ·   ·   ·   7   ·   ·   ·   ·   ·   8   ·   ·   ·   ·   ·
        distance     ·   ·   ·   ·   1   ·   ·   ·   ·   ·   9   ·   ·   ·   ·   ·

    A target stands at its query's own position. Neither keys nor values repeat within a sequence. Queries stand at
    even offsets behind the pairs: the pairs, first to last, each draw one of the slots i = 1, 2, … that are still
    free, with p ∝ i^(exponent − 1). Earlier pairs therefore tend to be asked earlier, which the shortcut `in_order`
    uses. What is neither pair nor query is 0.

    Shortcuts: `chance` a value of the vocabulary (2 / vocabulary); `context_value` a value of the sequence and
    `latest_value` its last one (1 / pairs); `in_order` answers the queries with the values in their order of
    appearance (0.29 with 4 pairs in 64 tokens).

    Args:
        length: tokens; even, at least 4 · pairs.
        pairs: keys, and therefore values and queries, in a sequence.
        vocabulary: tokens to draw from; even, at least 2 · pairs + 2.
        exponent: a of the power law p ∝ i^(a − 1) of the gaps; 1 spreads the queries evenly, towards 0 they crowd.
    Returns: the task; a class per position, asked at the queries only.
    Raises: ValueError naming the knob, what came and the bound.
    References: Arora et al. 2023, arXiv:2312.04927; HazyResearch/zoology, data/multiquery_ar.py (random_non_queries
        off).
    """
    require(pairs >= 1, "pairs", pairs, "at least 1")
    require(length % 2 == 0, "length", length, "even: pairs and queries take two tokens each")
    require(length >= 4 * pairs, "length", length, f"at least 4 * pairs = {4 * pairs}: each is given once, asked once")
    require(vocabulary % 2 == 0, "vocabulary", vocabulary, "even: half are keys, half are values")
    enough = vocabulary // 2 - 1 >= pairs
    require(enough, "vocabulary", vocabulary, f"at least 2 * pairs + 2 = {2 * pairs + 2}: keys do not repeat")
    require(exponent > 0, "exponent", exponent, "above 0")
    sizes = {"length": length, "pairs": pairs, "vocabulary": vocabulary}
    return Task(
        name="multi_query_recall",
        version=1,
        length=length,
        vocabulary=vocabulary,
        outputs=vocabulary,
        per="position",
        causal=True,
        sample=partial(_sample, exponent=exponent, **sizes),
        shortcuts={
            "chance": partial(_random_value, vocabulary=vocabulary),
            "context_value": partial(_context_value, pairs=pairs),
            "latest_value": partial(_latest_value, pairs=pairs),
            "in_order": partial(_in_order, pairs=pairs),
        },
    )


def _sample(rng: Array, /, *, length: int, pairs: int, vocabulary: int, exponent: float) -> Example:
    half, slots = vocabulary // 2, (length - 2 * pairs) // 2
    bits = jax.random.bits(rng, (2 * pairs + slots,), jnp.uint32)
    keys = 1 + distinct(bits[:pairs], half - 1)
    values = half + distinct(bits[pairs : 2 * pairs], half)
    queries = 2 * pairs + 2 * _draw_slots(bits[2 * pairs :], pairs, exponent)

    given = 1 + 2 * jnp.arange(pairs, dtype=jnp.int32)
    empty = jnp.zeros(length, jnp.int32)
    return Example(
        inputs=empty.at[given - 1].set(keys).at[given].set(values).at[queries].set(keys),
        targets=empty.at[queries].set(values),
        weights=empty.at[queries].set(1).astype(jnp.float32),
        key_mask=jnp.ones(length, bool),
        distance=empty.at[queries].set(queries - given),
        difficulty=empty.at[queries].set(pairs),
    )


def _draw_slots(bits: Array, count: int, exponent: float) -> Array:
    """`count` different slots, one after the other, each with p ∝ (slot + 1)^(exponent − 1) among those left.

    Every slot has a clock that rings at rate p, so at time −log(1 − u) / p, u uniform: the order in which the first
    clocks ring is a draw without replacement. There are as many slots as random bits.
    """
    rates = (np.arange(1.0, bits.shape[0] + 1) ** (exponent - 1)).astype(np.float32)
    return jax.lax.top_k(jnp.log1p(-unit_interval(bits)) / rates, count)[1]


def _random_value(rng: Array, inputs: Array, /, *, vocabulary: int) -> Array:
    half = vocabulary // 2
    return half + integers_below(jax.random.bits(rng, inputs.shape, jnp.uint32), half)


def _context_value(rng: Array, inputs: Array, /, *, pairs: int) -> Array:
    chosen = integers_below(jax.random.bits(rng, inputs.shape, jnp.uint32), pairs)
    return inputs[1 + 2 * chosen]


def _latest_value(rng: Array, inputs: Array, /, *, pairs: int) -> Array:
    del rng
    return jnp.full_like(inputs, inputs[2 * pairs - 1])


def _in_order(rng: Array, inputs: Array, /, *, pairs: int) -> Array:
    del rng
    behind = jnp.arange(inputs.shape[0], dtype=jnp.int32) >= 2 * pairs
    asked = jnp.cumsum((inputs != 0) & behind, dtype=jnp.int32)
    return inputs[2 * jnp.maximum(asked, 1) - 1]
