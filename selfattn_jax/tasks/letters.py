"""Letters: words of them, and what may be guessed from a word without reading it."""

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array
from selfattn_jax.tasks.task import draw_length, integers_below


def letters_alphabet(letters: int, marks: int = 0) -> tuple[str, ...]:
    """What a person would write for padding, each letter and each mark: a … z, then numbers."""
    words = [chr(ord("a") + index) if index < 26 else str(index + 1) for index in range(letters)]
    return ("·", *words, *("?!"[:marks]))


def draw_letters(rng: Array, shortest: int, longest: int, letters: int) -> tuple[Array, Array, Array]:
    """How many letters there are: []; they, from 1 on: [longest], 0 behind the last; where they are: [longest]."""
    bits = jax.random.bits(rng, (longest + 1,), jnp.uint32)
    count = draw_length(bits[0], shortest, longest)
    mask = jnp.arange(longest, dtype=jnp.int32) < count
    return count, jnp.where(mask, 1 + integers_below(bits[1:], letters), 0), mask


def chance(rng: Array, inputs: Array, /, *, letters: int) -> Array:
    """A random letter."""
    return 1 + integers_below(jax.random.bits(rng, inputs.shape, jnp.uint32), letters)


def identity(rng: Array, inputs: Array, /) -> Array:
    """The letter that stands there."""
    del rng
    return inputs


def first_letter(rng: Array, inputs: Array, /) -> Array:
    """The first letter, behind blanks, for all."""
    del rng
    return jnp.full_like(inputs, inputs[jnp.argmax(inputs != 0)])


def last_letter(rng: Array, inputs: Array, /) -> Array:
    """The last letter before the slots, which hold the greatest token, for all."""
    del rng
    slot = jnp.argmax(inputs == jnp.max(inputs))
    return jnp.full_like(inputs, inputs[slot - 1])


def previous_letter(rng: Array, inputs: Array, /) -> Array:
    """The token before each position."""
    del rng
    return jnp.concatenate([inputs[:1], inputs[:-1]])


def most_common(rng: Array, inputs: Array, /, *, letters: int) -> Array:
    """The commonest letter of the sequence, the first of the alphabet among equals."""
    del rng
    counts = jnp.zeros(letters + 2, jnp.int32).at[inputs].add(1)
    return jnp.full_like(inputs, 1 + jnp.argmax(counts[1 : letters + 1]).astype(jnp.int32))
