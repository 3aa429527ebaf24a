"""Memory: a whole sequence is to be held in one vector, or a fixed map in the weights."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from selfattn_jax.shapes import Array, PositiveInt
from selfattn_jax.tasks.sampling import most_frequent_token, random_token
from selfattn_jax.tasks.task import Example, Task, integers_below, make_example, require


def compression(*, length: PositiveInt = 32, vocabulary: PositiveInt = 16) -> Task:
    """The last position is to hold all the tokens before it: they are read off it, in their order.

        length 4, vocabulary 8, the end is 8

        position   0   1   2   3   4
        inputs     3   7   0   7   8

        answer     0   1   2   3
        targets    3   7   0   7
        distance   4   3   2   1

    The tokens are independent and uniform. There are as many answers as tokens, all to the sequence as a whole: a model
    must bring what it knows into one vector, from which nothing but a linear map may take it. The distance reaches from
    the end back to the token. MAD decodes the vector with an MLP instead, to which it adds each position.

    Shortcuts, with 32 tokens of 16 kinds: `chance` a random token (1 / vocabulary = 0.06); `most_frequent` the
    commonest of the sequence (0.15).

    Args:
        length: tokens, and answers; at least 1.
        vocabulary: tokens to draw from, at least 2.
    Returns: the task; as many classes per sequence as it has tokens.
    Raises: ValueError naming the knob, what came and the bound.
    References: Poli et al. 2024, arXiv:2403.17844; athms/mad-lab, mad/data/instances.py.
    """
    require(length >= 1, "length", length, "at least 1")
    require(vocabulary >= 2, "vocabulary", vocabulary, "at least 2")
    known = {"first": 0, "count": vocabulary}
    words = tuple(map(str, range(vocabulary)))
    return Task(
        name="compression",
        version=1,
        length=length + 1,
        vocabulary=vocabulary + 1,
        outputs=vocabulary,
        per="sequence",
        causal=True,
        sample=partial(_sample_compression, length=length, vocabulary=vocabulary),
        shortcuts={
            "chance": partial(_for_each_answer, guess=partial(random_token, **known)),
            "most_frequent": partial(_for_each_answer, guess=partial(most_frequent_token, **known)),
        },
        answers=length,
        alphabet=(*words, "END"),
        classes=words,
    )


def memorization(*, length: PositiveInt = 32, vocabulary: PositiveInt = 256) -> Task:
    """Every key has a value that never changes and that no sequence tells: the weights have to know it.

        length 8, vocabulary 6: keys are 0 … 2, values 3 … 5, the blank is 6; the values of 0, 1, 2 are 5, 4, 3

                   key     key     key     key
        position   0   1   2   3   4   5   6   7
        inputs     2   6   0   6   0   6   1   6
        targets    ·   3   ·   5   ·   5   ·   4
        distance   ·   1   ·   1   ·   1   ·   1

    The keys are independent and uniform. The map is one to one, drawn at random once: it depends on the vocabulary
    alone, not on the seed, so that training and test tell of the same one.

    Shortcut: `chance` a random value (2 / vocabulary = 0.008).

    Args:
        length: tokens, half of them keys; even, at least 2.
        vocabulary: keys and values; even, at least 4.
    Returns: the task; a class per position, asked behind each key.
    Raises: ValueError naming the knob, what came and the bound.
    References: Poli et al. 2024, arXiv:2403.17844; athms/mad-lab, mad/data/instances.py.
    """
    require(length % 2 == 0, "length", length, "even: a blank behind each key")
    require(length >= 2, "length", length, "at least 2: a key and a blank")
    require(vocabulary % 2 == 0, "vocabulary", vocabulary, "even: half are keys, half are values")
    require(vocabulary >= 4, "vocabulary", vocabulary, "at least 4: two keys and two values")
    half = vocabulary // 2
    words = (*(f"k{key}" for key in range(half)), *(f"v{value}" for value in range(half)))
    return Task(
        name="memorization",
        version=1,
        length=length,
        vocabulary=vocabulary + 1,
        outputs=vocabulary,
        per="position",
        causal=True,
        sample=partial(_sample_memorization, length=length, vocabulary=vocabulary),
        shortcuts={"chance": partial(random_token, first=half, count=half)},
        alphabet=(*words, "·"),
        classes=words,
    )


def memorized_values(vocabulary: int) -> np.ndarray:
    """The values of the keys 0 … vocabulary / 2 − 1 of `memorization`, int32.

    NumPy promises to keep the numbers of this old generator. A key of JAX would be one that a seed's streams have too.
    """
    half = vocabulary // 2
    return (half + np.random.RandomState(0).permutation(half)).astype(np.int32)


def _sample_compression(rng: Array, /, *, length: int, vocabulary: int) -> Example:
    tokens = integers_below(jax.random.bits(rng, (length,), jnp.uint32), vocabulary)
    inputs = jnp.concatenate([tokens, jnp.full(1, vocabulary, jnp.int32)])
    distance = length - jnp.arange(length, dtype=jnp.int32)
    return make_example(inputs, tokens, jnp.ones(length, bool), distance=distance)


def _sample_memorization(rng: Array, /, *, length: int, vocabulary: int) -> Example:
    keys = integers_below(jax.random.bits(rng, (length // 2,), jnp.uint32), vocabulary // 2)
    values = jnp.asarray(memorized_values(vocabulary))[keys]
    inputs = jnp.stack([keys, jnp.full_like(keys, vocabulary)], axis=1).reshape(-1)
    return make_example(inputs, jnp.repeat(values, 2), inputs == vocabulary, distance=1)


def _for_each_answer(rng: Array, inputs: Array, /, *, guess: partial[Array]) -> Array:
    return guess(rng, inputs[:-1])
