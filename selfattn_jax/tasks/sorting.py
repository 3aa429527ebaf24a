"""Sorting and counting: what stands where depends on the whole word."""

from collections.abc import Callable, Mapping
from functools import partial

import jax.numpy as jnp

from selfattn_jax.shapes import Array, PositiveInt
from selfattn_jax.tasks.letters import chance, draw_letters, first_letter, identity, letters_alphabet, most_common
from selfattn_jax.tasks.task import Example, Shortcut, Task, make_example, require, require_lengths


def sort(*, shortest: PositiveInt = 1, longest: PositiveInt = 20, letters: PositiveInt = 26) -> Task:
    """The letters of a word in the order of the alphabet.

        longest 6, 4 letters to draw from, here 5 in the word; 0 is padding

        position   0   1   2   3   4   5
        inputs     3   1   4   1   2   0
        targets    1   1   2   3   4   ·
        distance   1   2   2   3   2   ·       difficulty 5 everywhere

    The number of letters is uniform, the letters are independent and uniform. The distance reaches to the place that a
    letter is taken from, equal letters in their order; the difficulty is the number of letters.

    Shortcuts, with 1 to 20 of 26 letters: `chance` a random letter (1/26); `identity` says the letter itself (0.13);
    `by_rank` the letter that would stand there if letters were spread evenly (0.17); `most_common` the commonest
    (0.19).

    Args:
        shortest: letters, at least 1.
        longest: letters, at least shortest.
        letters: to draw from, at least 2.
    Returns: the task; a class per position.
    Raises: ValueError naming the knob, what came and the bound.
    References: Weiss et al. 2021, arXiv:2106.06981.
    """
    return _task("sort", shortest, longest, letters, _sample_sort, {"by_rank": partial(_by_rank, letters=letters)})


def bucket_sort(*, shortest: PositiveInt = 1, longest: PositiveInt = 40, letters: PositiveInt = 5) -> Task:
    """The letters of a long word, of which there are few kinds, in the order of the alphabet.

        longest 6, 2 letters to draw from, here 5 in the word; 0 is padding

        position   0   1   2   3   4   5
        inputs     2   1   2   1   2   0
        targets    1   1   2   2   2   ·
        distance   1   2   2   1   ·   ·       difficulty 5 everywhere

    As `sort`, but counting is enough.

    Shortcuts, with 1 to 40 of 5 letters: `chance` a random letter (1/5); `identity` says the letter itself (0.24);
    `by_rank` the letter that would stand there if letters were spread evenly (0.72); `most_common` the commonest
    (0.31).

    Args:
        shortest: letters, at least 1.
        longest: letters, at least shortest.
        letters: to draw from, at least 2.
    Returns: the task; a class per position.
    Raises: ValueError naming the knob, what came and the bound.
    References: Delétang et al. 2022, arXiv:2207.02098, bucket_sort.py.
    """
    by_rank = partial(_by_rank, letters=letters)
    return _task("bucket_sort", shortest, longest, letters, _sample_sort, {"by_rank": by_rank})


def histogram(*, shortest: PositiveInt = 1, longest: PositiveInt = 20, letters: PositiveInt = 26) -> Task:
    """How often does this letter stand in the word?

        longest 6, 4 letters to draw from, here 5 in the word; 0 is padding

        position   0   1   2   3   4   5
        inputs     3   1   4   1   2   0
        targets    1   2   1   2   1   ·       difficulty 5 everywhere

    The number of letters is uniform, the letters are independent and uniform. An answer depends on all places, so its
    distance is undefined; the difficulty is the number of letters.

    Shortcuts, with 1 to 20 of 26 letters: `one` always says 1 (0.62); `mean` how often a letter stands there on
    average, rounded (0.62).

    Args:
        shortest: letters, at least 1.
        longest: letters, at least shortest.
        letters: to draw from, at least 2.
    Returns: the task; a class per position, the count itself.
    Raises: ValueError naming the knob, what came and the bound.
    References: Weiss et al. 2021, arXiv:2106.06981.
    """
    shortcuts = {"one": _one, "mean": partial(_mean, letters=letters)}
    made = partial(_sample_histogram, shortest=shortest, longest=longest, letters=letters)
    return _task("histogram", shortest, longest, letters, made, shortcuts, outputs=longest + 1)


def most_frequent(*, shortest: PositiveInt = 1, longest: PositiveInt = 20, letters: PositiveInt = 26) -> Task:
    """The different letters of a word, the commonest first.

        longest 6, 4 letters to draw from, here 5 in the word; 0 is padding

        position   0   1   2   3   4   5
        inputs     3   1   4   1   2   0
        targets    1   3   4   2   ·   ·
        distance   1   1   ·   1   ·   ·       difficulty 5 wherever asked

    Equal ones come in the order in which they first stand there. The number of letters is uniform, the letters are
    independent and uniform. The distance reaches to the first place of a letter; the difficulty is the number of
    letters.

    Shortcuts, with 1 to 20 of 26 letters: `chance` a random letter (1/26); `identity` says the letter itself (0.31);
    `first_letter` the first one for all (0.12); `most_common` the commonest (0.12).

    Args:
        shortest: letters, at least 1.
        longest: letters, at least shortest.
        letters: to draw from, at least 2.
    Returns: the task; a class per position, asked at as many as there are different letters.
    Raises: ValueError naming the knob, what came and the bound.
    References: Weiss et al. 2021, arXiv:2106.06981.
    """
    return _task("most_frequent", shortest, longest, letters, _sample_most_frequent, {"first_letter": first_letter})


def _task(
    name: str,
    shortest: int,
    longest: int,
    letters: int,
    sample: Callable,
    shortcuts: Mapping[str, Shortcut],
    outputs: int | None = None,
) -> Task:
    require_lengths(shortest, longest)
    require(letters >= 2, "letters", letters, "at least 2")
    of_letters: dict[str, Shortcut] = {}
    if outputs is None:
        sample = partial(sample, shortest=shortest, longest=longest, letters=letters)
        of_letters = {"chance": partial(chance, letters=letters), "identity": identity}
        shortcuts = {**shortcuts, "most_common": partial(most_common, letters=letters)}
    return Task(
        name=name,
        version=1,
        length=longest,
        vocabulary=letters + 1,
        outputs=outputs or letters + 1,
        per="position",
        causal=False,
        sample=sample,
        shortcuts={**of_letters, **shortcuts},
        padded=shortest < longest,
        alphabet=letters_alphabet(letters),
    )


def _sample_sort(rng: Array, /, *, shortest: int, longest: int, letters: int) -> Example:
    count, word, mask = draw_letters(rng, shortest, longest, letters)
    order = jnp.argsort(jnp.where(mask, word, letters + 1), stable=True).astype(jnp.int32)
    distance = jnp.abs(jnp.arange(longest, dtype=jnp.int32) - order)
    return make_example(word, word[order], mask, key_mask=mask, distance=distance, difficulty=count)


def _sample_histogram(rng: Array, /, *, shortest: int, longest: int, letters: int) -> Example:
    count, word, mask = draw_letters(rng, shortest, longest, letters)
    return make_example(word, _counts(word, letters)[word], mask, key_mask=mask, difficulty=count)


def _sample_most_frequent(rng: Array, /, *, shortest: int, longest: int, letters: int) -> Example:
    count, word, mask = draw_letters(rng, shortest, longest, letters)
    positions = jnp.arange(longest, dtype=jnp.int32)
    first = jnp.full(letters + 1, longest, jnp.int32).at[word].min(positions)
    leads = mask & (first[word] == positions)
    # A stable sort of the places: by falling count, those that are no first place of a letter behind all others.
    order = jnp.argsort(jnp.where(leads, -_counts(word, letters)[word], 1), stable=True).astype(jnp.int32)
    asked = positions < jnp.sum(leads, dtype=jnp.int32)
    distance = jnp.abs(positions - order)
    return make_example(word, word[order], asked, key_mask=mask, distance=distance, difficulty=count)


def _counts(word: Array, letters: int) -> Array:
    """How often each token stands in the word: [letters + 1]."""
    return jnp.zeros(letters + 1, jnp.int32).at[word].add(1)


def _by_rank(rng: Array, inputs: Array, /, *, letters: int) -> Array:
    del rng
    count = jnp.maximum(jnp.sum(inputs != 0, dtype=jnp.int32), 1)
    rank = jnp.arange(inputs.shape[0], dtype=jnp.int32)
    return jnp.minimum(1 + (2 * rank + 1) * letters // (2 * count), letters)


def _one(rng: Array, inputs: Array, /) -> Array:
    del rng
    return jnp.ones_like(inputs)


def _mean(rng: Array, inputs: Array, /, *, letters: int) -> Array:
    del rng
    count = jnp.sum(inputs != 0, dtype=jnp.int32)
    return jnp.full_like(inputs, jnp.maximum((2 * count + letters) // (2 * letters), 1))
