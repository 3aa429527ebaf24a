"""Copying: tokens come back in their order, or in another one."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, NonNegativeInt, PositiveInt
from selfattn_jax.tasks.letters import (
    chance,
    draw_letters,
    first_letter,
    identity,
    last_letter,
    letters_alphabet,
    most_common,
    previous_letter,
)
from selfattn_jax.tasks.task import Example, Shortcut, Task, integers_below, make_example, require, require_lengths

# From where a word takes what stands at some positions: (positions, number of letters) → positions.
Place = Callable[[Array, Array], Array]


def copy(*, tokens: PositiveInt = 10, blanks: NonNegativeInt = 100, letters: PositiveInt = 8) -> Task:
    """Letters are to be said again after a gap.

        3 tokens, 6 blanks, 3 letters: blanks are 0, letters 1 … 3, the marker is 4

        position   0   1   2   3   4   5   6   7   8   9  10  11
        inputs     0   2   1   1   0   0   4   4   4   0   0   0
        targets    ·   ·   ·   ·   ·   ·   2   1   1   ·   ·   ·
        distance   ·   ·   ·   ·   ·   ·   5   5   5   ·   ·   ·

    The gap is uniform on 0 … blanks, and so is, in what it leaves, the number of blanks before the letters: no position
    and no lag gives an answer away. Where the gap never changes, as in the source, one tap of a convolution solves it.

    Shortcuts, with 10 tokens of 8 letters: `chance` a random letter (1/8); `first_letter` says the first one for all
    (0.21); `most_common` the commonest (0.30).

    Args:
        tokens: letters in a sequence.
        blanks: beside letters and markers, at least 0.
        letters: to draw from, at least 2.
    Returns: the task; a class per position, asked at the markers.
    Raises: ValueError naming the knob, what came and the bound.
    References: Gu et al. 2021, arXiv:2111.00396; state-spaces/s4, src/dataloaders.
    """
    require(tokens >= 1, "tokens", tokens, "at least 1")
    require(blanks >= 0, "blanks", blanks, "at least 0")
    require(letters >= 2, "letters", letters, "at least 2")
    return _task(
        "copy",
        length=blanks + 2 * tokens,
        letters=letters,
        marks=1,
        causal=True,
        sample=partial(_sample_copy, tokens=tokens, blanks=blanks, letters=letters),
        shortcuts={"first_letter": first_letter},
    )


def selective_copy(*, length: PositiveInt = 64, tokens: PositiveInt = 16, letters: PositiveInt = 14) -> Task:
    """Letters scattered among blanks are to be said again, one after the other.

        length 8, 3 tokens, 3 letters: blanks are 0, letters 1 … 3, the marker is 4

        position   0   1   2   3   4   5   6   7   8   9  10
        inputs     0   2   0   0   1   3   0   0   4   4   4
        targets    ·   ·   ·   ·   ·   ·   ·   ·   2   1   3
        distance   ·   ·   ·   ·   ·   ·   ·   ·   7   5   5

    The places of the letters are uniform among all choices of as many different ones: how far a letter lies back
    depends on the blanks between, so that a fixed filter cannot solve it.

    Shortcuts, with 16 tokens of 14 letters: `chance` a random letter (1/14); `first_letter` says the first one for all
    (0.13); `most_common` the commonest (0.20).

    Args:
        length: positions in which the letters are scattered; the markers come behind.
        tokens: letters in a sequence, at most length.
        letters: to draw from, at least 2.
    Returns: the task; a class per position, asked at the markers.
    Raises: ValueError naming the knob, what came and the bound.
    References: Gu and Dao 2023, arXiv:2312.00752; Poli et al. 2024, arXiv:2403.17844.
    """
    require(1 <= tokens <= length, "tokens", tokens, f"at least 1 and at most length = {length}")
    require(letters >= 2, "letters", letters, "at least 2")
    return _task(
        "selective_copy",
        length=length + tokens,
        letters=letters,
        marks=1,
        causal=True,
        sample=partial(_sample_selective_copy, length=length, tokens=tokens, letters=letters),
        shortcuts={"first_letter": first_letter},
    )


def reverse(*, shortest: PositiveInt = 1, longest: PositiveInt = 20, letters: PositiveInt = 26) -> Task:
    """The word backwards.

        longest 6, 4 letters to draw from, here 5 in the word; 0 is padding

        position   0   1   2   3   4   5
        inputs     3   1   1   4   2   0
        targets    2   4   1   1   3   ·
        distance   4   2   ·   2   4   ·       difficulty 5 everywhere

    The answer stands where it is read, not behind the word: an encoder sees all of it. The number of letters is
    uniform, the letters are independent and uniform. The distance reaches to the mirrored place; the difficulty is the
    number of letters.

    Shortcuts, with 1 to 20 of 26 letters: `chance` a random letter (1/26); `identity` says the letter itself (0.08);
    `most_common` the commonest (0.19).

    Args:
        shortest: letters, at least 1.
        longest: letters, at least shortest.
        letters: to draw from, at least 2.
    Returns: the task; a class per position.
    Raises: ValueError naming the knob, what came and the bound.
    References: Weiss et al. 2021, arXiv:2106.06981; Delétang et al. 2022, arXiv:2207.02098, reverse_string.py.
    """
    return _in_place("reverse", shortest, longest, letters, _reversed, {"identity": identity})


def odds_first(*, shortest: PositiveInt = 1, longest: PositiveInt = 20, letters: PositiveInt = 2) -> Task:
    """Every other letter, beginning with the first, and then those between.

        longest 6, 4 letters to draw from, here 5 in the word; 0 is padding

        position   0   1   2   3   4   5
        inputs     3   1   4   2   2   0
        targets    3   4   2   1   2   ·
        distance   ·   1   2   2   1   ·       difficulty 5 everywhere

    The number of letters is uniform, the letters are independent and uniform. The distance reaches to the place that a
    letter is taken from; the difficulty is the number of letters.

    Shortcuts, with 1 to 20 of 2 letters: `chance` a random letter (1/2); `identity` says the letter itself (0.57);
    `most_common` the commonest (0.62).

    Args:
        shortest: letters, at least 1.
        longest: letters, at least shortest.
        letters: to draw from, at least 2.
    Returns: the task; a class per position.
    Raises: ValueError naming the knob, what came and the bound.
    References: Delétang et al. 2022, arXiv:2207.02098, odds_first.py.
    """
    return _in_place("odds_first", shortest, longest, letters, _odds_first, {"identity": identity})


def duplicate(*, shortest: PositiveInt = 1, longest: PositiveInt = 20, letters: PositiveInt = 2) -> Task:
    """The word twice.

        longest 3, 4 letters to draw from, here 2 in the word; the slots are 5, and 0 is padding

        position   0   1   2   3   4   5   6   7   8
        inputs     3   1   5   5   5   5   0   0   0
        targets    ·   ·   3   1   3   1   ·   ·   ·
        distance   ·   ·   2   2   4   4   ·   ·   ·       difficulty 2 wherever asked

    The number of letters is uniform, the letters are independent and uniform; twice as many slots follow. The
    difficulty is the number of letters.

    Shortcuts, with 1 to 20 of 2 letters: `chance` a random letter (1/2); `last_letter` says the last one for all
    (0.55); `most_common` the commonest (0.62).

    Args:
        shortest: letters, at least 1.
        longest: letters, at least shortest.
        letters: to draw from, at least 2.
    Returns: the task; a class per position, asked at the slots.
    Raises: ValueError naming the knob, what came and the bound.
    References: Delétang et al. 2022, arXiv:2207.02098, duplicate_string.py.
    """
    require_lengths(shortest, longest)
    require(letters >= 2, "letters", letters, "at least 2")
    return _task(
        "duplicate",
        length=3 * longest,
        letters=letters,
        marks=1,
        causal=False,
        sample=partial(_sample_duplicate, shortest=shortest, longest=longest, letters=letters),
        shortcuts={"last_letter": last_letter},
        padded=shortest < longest,
    )


def missing_duplicate(*, shortest: PositiveInt = 2, longest: PositiveInt = 20, letters: PositiveInt = 2) -> Task:
    """A word stands twice, with a hole in its second copy that is to be filled.

        longest 4, 4 letters to draw from, here 3 in the word; the hole is 5, and 0 is padding

        position   0   1   2   3   4   5   6   7
        inputs     3   1   2   3   5   2   0   0
        targets    ·   ·   ·   ·   1   ·   ·   ·       distance 3, difficulty 3

    The number of letters is uniform, the letters and the place of the hole are too. Distance and difficulty are the
    number of letters.

    Shortcuts, with 2 to 20 of 2 letters: `chance` a random letter (1/2); `previous_letter` says the one before the hole
    (0.50); `most_common` the commonest of what stands there (0.57).

    Args:
        shortest: letters, at least 1.
        longest: letters, at least shortest.
        letters: to draw from, at least 2.
    Returns: the task; a class per position, asked at the hole.
    Raises: ValueError naming the knob, what came and the bound.
    References: Delétang et al. 2022, arXiv:2207.02098, missing_duplicate_string.py.
    """
    require_lengths(shortest, longest)
    require(letters >= 2, "letters", letters, "at least 2")
    return _task(
        "missing_duplicate",
        length=2 * longest,
        letters=letters,
        marks=1,
        causal=False,
        sample=partial(_sample_missing_duplicate, shortest=shortest, longest=longest, letters=letters),
        shortcuts={"previous_letter": previous_letter},
        padded=shortest < longest,
    )


def _task(name: str, *, letters: int, marks: int, shortcuts: Mapping[str, Shortcut], **fields: Any) -> Task:
    """A task whose answers are letters, one per position."""
    found = {"chance": partial(chance, letters=letters), **shortcuts}
    return Task(
        name=name,
        version=1,
        vocabulary=1 + letters + marks,
        outputs=1 + letters + marks,
        per="position",
        shortcuts={**found, "most_common": partial(most_common, letters=letters)},
        alphabet=letters_alphabet(letters, marks),
        **fields,
    )


def _in_place(
    name: str, shortest: int, longest: int, letters: int, place: Place, shortcuts: Mapping[str, Shortcut]
) -> Task:
    """A task that puts the letters of a word into another order."""
    require_lengths(shortest, longest)
    require(letters >= 2, "letters", letters, "at least 2")
    return _task(
        name,
        length=longest,
        letters=letters,
        marks=0,
        causal=False,
        sample=partial(_sample_in_place, place=place, shortest=shortest, longest=longest, letters=letters),
        shortcuts=shortcuts,
        padded=shortest < longest,
    )


def _sample_copy(rng: Array, /, *, tokens: int, blanks: int, letters: int) -> Example:
    bits = jax.random.bits(rng, (tokens + 2,), jnp.uint32)
    gap = integers_below(bits[0], blanks + 1)
    start = integers_below(bits[1], blanks - gap + 1)
    word = 1 + integers_below(bits[2:], letters)
    order = jnp.arange(tokens, dtype=jnp.int32)
    markers = start + tokens + gap + order
    empty = jnp.zeros(blanks + 2 * tokens, jnp.int32)
    inputs = empty.at[start + order].set(word).at[markers].set(letters + 1)
    return make_example(inputs, empty.at[markers].set(word), inputs == letters + 1, distance=tokens + gap)


def _sample_selective_copy(rng: Array, /, *, length: int, tokens: int, letters: int) -> Example:
    bits = jax.random.bits(rng, (tokens + length,), jnp.uint32)
    word = 1 + integers_below(bits[:tokens], letters)
    # Equal bits are too rare to matter, and the sort is stable: the places are different all the same.
    places = jnp.sort(jnp.argsort(bits[tokens:])[:tokens]).astype(jnp.int32)
    markers = length + jnp.arange(tokens, dtype=jnp.int32)
    empty = jnp.zeros(length + tokens, jnp.int32)
    inputs = empty.at[places].set(word).at[markers].set(letters + 1)
    targets, distance = empty.at[markers].set(word), empty.at[markers].set(markers - places)
    return make_example(inputs, targets, inputs == letters + 1, distance=distance)


def _sample_in_place(rng: Array, /, *, place: Place, shortest: int, longest: int, letters: int) -> Example:
    count, word, mask = draw_letters(rng, shortest, longest, letters)
    positions = jnp.arange(longest, dtype=jnp.int32)
    source = jnp.where(mask, place(positions, count), 0)
    return make_example(word, word[source], mask, key_mask=mask, distance=jnp.abs(positions - source), difficulty=count)


def _reversed(positions: Array, count: Array) -> Array:
    return count - 1 - positions


def _odds_first(positions: Array, count: Array) -> Array:
    firsts = (count + 1) // 2
    return jnp.where(positions < firsts, 2 * positions, 2 * (positions - firsts) + 1)


def _sample_duplicate(rng: Array, /, *, shortest: int, longest: int, letters: int) -> Example:
    count, word, _ = draw_letters(rng, shortest, longest, letters)
    positions = jnp.arange(3 * longest, dtype=jnp.int32)
    mask, slots = positions < 3 * count, positions >= count
    source = positions % count
    inputs = jnp.where(slots, letters + 1, word[source])
    return make_example(
        inputs, word[source], slots & mask, key_mask=mask, distance=positions - source, difficulty=count
    )


def _sample_missing_duplicate(rng: Array, /, *, shortest: int, longest: int, letters: int) -> Example:
    for_word, for_hole = jax.random.split(rng)
    count, word, _ = draw_letters(for_word, shortest, longest, letters)
    hole = count + integers_below(jax.random.bits(for_hole, (), jnp.uint32), count)
    positions = jnp.arange(2 * longest, dtype=jnp.int32)
    asked = positions == hole
    copies = word[positions % count]
    inputs = jnp.where(asked, letters + 1, copies)
    return make_example(inputs, copies, asked, key_mask=positions < 2 * count, distance=count, difficulty=count)
