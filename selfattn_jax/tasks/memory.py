"""Memory: what a vector holds, and what parameters do."""

from functools import partial

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, PositiveInt
from selfattn_jax.tasks.sampling import most_frequent_token, random_token
from selfattn_jax.tasks.task import Example, Task, integers_below, make_example, require


def compression(*, length: PositiveInt = 32, vocabulary: PositiveInt = 16) -> Task:
    """A whole sequence is to be said from one vector.

        length 4, vocabulary 8: the last token is 8

        position   0   1   2   3   4
        inputs     3   7   0   7   8       targets 3 7 0 7, distances 4 3 2 1

    Tokens are independent and uniform. All of them are read out of the pooled vector at once, one class each. With
    `model.pool: last` and a causal model they must pass through the last position, as in the source, whose decoder is a
    network of two layers where this one is linear.

    Shortcuts, with 32 tokens of 16: `chance` a random token (1/16); `commonest` that of the sequence (0.15).

    Args:
        length: tokens, beside the last one.
        vocabulary: tokens to draw from, at least 2.
    Returns: the task; `length` classes per sequence.
    Raises: ValueError naming the knob, what came and the bound.
    References: Poli et al. 2024, arXiv:2403.17844, compression.
    """
    require(length >= 1, "length", length, "at least 1")
    require(vocabulary >= 2, "vocabulary", vocabulary, "at least 2")
    return Task(
        name="compression",
        version=1,
        length=length + 1,
        vocabulary=vocabulary + 1,
        features=None,
        outputs=vocabulary,
        per="sequence",
        answers=length,
        metric="accuracy",
        solved_at=0.99,
        causal=True,
        sample=partial(_sample_compression, length=length, vocabulary=vocabulary),
        shortcuts={
            "chance": partial(_chance, vocabulary=vocabulary),
            "commonest": partial(_commonest, vocabulary=vocabulary),
        },
    )


def memorization(*, length: PositiveInt = 32, vocabulary: PositiveInt = 256) -> Task:
    """Which value belongs to a key is the same in all sequences, and is to be learned by heart.

        length 6, vocabulary 8: keys are 0 … 3, values 4 … 7, the blank is 8

        position   0   1   2   3   4   5
        inputs     2   8   0   8   2   8
        targets    ·   4   ·   7   ·   4       distance 1, wherever asked

    The map is one-to-one, and the same for every seed and stream. Keys are independent and uniform.

    Shortcut: `chance` a random value (2 / vocabulary).

    Args:
        length: tokens; even.
        vocabulary: keys and values, half of it each; even, at least 4.
    Returns: the task; a class per position, asked at the blanks.
    Raises: ValueError naming the knob, what came and the bound.
    References: Poli et al. 2024, arXiv:2403.17844, memorization.
    """
    require(length % 2 == 0 and length >= 2, "length", length, "even and at least 2")
    require(vocabulary % 2 == 0 and vocabulary >= 4, "vocabulary", vocabulary, "even and at least 4")
    half = vocabulary // 2
    return Task(
        name="memorization",
        version=1,
        length=length,
        vocabulary=vocabulary + 1,
        features=None,
        outputs=vocabulary,
        per="position",
        metric="accuracy",
        solved_at=0.99,
        causal=True,
        sample=partial(_sample_memorization, length=length, half=half),
        shortcuts={"chance": partial(random_token, first=half, count=half)},
    )


def _sample_compression(rng: Array, /, *, length: int, vocabulary: int) -> Example:
    tokens = integers_below(jax.random.bits(rng, (length,), jnp.uint32), vocabulary)
    inputs = jnp.concatenate([tokens, jnp.full(1, vocabulary, jnp.int32)])
    distance = length - jnp.arange(length, dtype=jnp.int32)
    return make_example(inputs, tokens, jnp.ones(length, bool), distance=distance)


def _sample_memorization(rng: Array, /, *, length: int, half: int) -> Example:
    keys = integers_below(jax.random.bits(rng, (length // 2,), jnp.uint32), half)
    value_of = half + jnp.argsort(jax.random.bits(jax.random.key(0), (half,), jnp.uint32)).astype(jnp.int32)
    blanks = jnp.full_like(keys, 2 * half)
    inputs, targets = (
        jnp.stack(columns, axis=1).reshape(-1) for columns in ((keys, blanks), (jnp.zeros_like(keys), value_of[keys]))
    )
    return make_example(inputs, targets, inputs == 2 * half, distance=1)


def _chance(rng: Array, inputs: Array, /, *, vocabulary: int) -> Array:
    return random_token(rng, inputs[:-1], first=0, count=vocabulary)


def _commonest(rng: Array, inputs: Array, /, *, vocabulary: int) -> Array:
    return most_frequent_token(rng, inputs[:-1], first=0, count=vocabulary)
