"""Induction: what followed the last time?"""

from functools import partial

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, PositiveInt
from selfattn_jax.tasks.task import Example, Task, integers_below, require


def induction(*, length: PositiveInt = 32, vocabulary: PositiveInt = 16) -> Task:
    """The last token has stood in the sequence once before, and the answer is the token that followed it then.

        length 10, vocabulary 8, trigger 5

        position   0   1   2   3   4   5   6   7   8   9
        inputs     3   7   5   1   1   6   0   3   7   5
        targets    ·   ·   ·   ·   ·   ·   ·   ·   ·   1
        distance   ·   ·   ·   ·   ·   ·   ·   ·   ·   6

    Trigger and its place are redrawn for every sequence, so neither a token nor a lag gives the answer away: it takes
    two steps, to mark each token with the one before it and to look up the mark. The tokens other than the trigger,
    the answer among them, are independent and uniform.

    Shortcuts, with 32 tokens of 16 kinds: `chance` any token but the trigger (1 / (vocabulary − 1) = 0.067);
    `context_token` a random earlier token (0.095); `previous_token` the token before the last (0.097);
    `most_frequent` the commonest token but the trigger (0.16).

    Args:
        length: tokens, at least 3.
        vocabulary: tokens to draw from, at least 3.
    Returns: the task; a class per position, asked at the last position only.
    Raises: ValueError naming the knob, what came and the bound.
    References: Olsson et al. 2022, arXiv:2209.11895; Fu et al. 2022, arXiv:2212.14052, whose trigger is a fixed token.
    """
    require(length >= 3, "length", length, "at least 3: trigger, answer, trigger")
    require(vocabulary >= 3, "vocabulary", vocabulary, "at least 3: a trigger and two possible answers")
    return Task(
        name="induction",
        version=1,
        length=length,
        vocabulary=vocabulary,
        outputs=vocabulary,
        per="position",
        causal=True,
        sample=partial(_sample, length=length, vocabulary=vocabulary),
        shortcuts={
            "chance": partial(_chance, vocabulary=vocabulary),
            "context_token": _context_token,
            "previous_token": _previous_token,
            "most_frequent": partial(_most_frequent, vocabulary=vocabulary),
        },
    )


def _sample(rng: Array, /, *, length: int, vocabulary: int) -> Example:
    bits = jax.random.bits(rng, (length + 2,), jnp.uint32)
    trigger = integers_below(bits[0], vocabulary)
    place = integers_below(bits[1], length - 2)
    others = _any_but(trigger, integers_below(bits[2:], vocabulary - 1))

    positions = jnp.arange(length, dtype=jnp.int32)
    last = positions == length - 1
    inputs = jnp.where(last | (positions == place), trigger, others)
    return Example(
        inputs=inputs,
        targets=jnp.where(last, inputs[place + 1], 0),
        weights=last.astype(jnp.float32),
        key_mask=jnp.ones(length, bool),
        distance=jnp.where(last, length - 2 - place, 0),
        difficulty=jnp.zeros(length, jnp.int32),
    )


def _any_but(token: Array, ranks: Array) -> Array:
    """Spreads ranks 0 … vocabulary − 2 over all tokens but one."""
    return ranks + (ranks >= token).astype(jnp.int32)


def _chance(rng: Array, inputs: Array, /, *, vocabulary: int) -> Array:
    ranks = integers_below(jax.random.bits(rng, inputs.shape, jnp.uint32), vocabulary - 1)
    return _any_but(inputs[-1], ranks)


def _context_token(rng: Array, inputs: Array, /) -> Array:
    earlier = integers_below(jax.random.bits(rng, inputs.shape, jnp.uint32), inputs.shape[0] - 1)
    return inputs[earlier]


def _previous_token(rng: Array, inputs: Array, /) -> Array:
    del rng
    return jnp.full_like(inputs, inputs[-2])


def _most_frequent(rng: Array, inputs: Array, /, *, vocabulary: int) -> Array:
    del rng
    counts = jnp.zeros(vocabulary, jnp.int32).at[inputs].add(1).at[inputs[-1]].set(0)
    return jnp.full_like(inputs, jnp.argmax(counts).astype(jnp.int32))
