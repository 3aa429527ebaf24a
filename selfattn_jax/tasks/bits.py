"""Bits: questions about a whole string of them."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, PositiveInt
from selfattn_jax.tasks.task import (
    Example,
    Sample,
    Shortcut,
    Task,
    draw_length,
    integers_below,
    make_example,
    require_lengths,
)


def parity(*, shortest: PositiveInt = 1, longest: PositiveInt = 40) -> Task:
    """Is the number of ones odd?

        longest 8, here 6 bits; the token of bit 0 is 1, of bit 1 it is 2, and 0 is padding

        position   0   1   2   3   4   5   6   7
        bit        1   0   1   1   0   0   ·   ·       target 1 (three ones), distance 5, difficulty 6
        inputs     2   1   2   2   1   1   0   0

    The number of bits is uniform, the bits are independent and uniform. Every bit turns the answer over, so nothing is
    known before the last of them is. The distance reaches from the last bit back to the first; the difficulty is the
    number of bits.

    Shortcuts, with 1 to 40 bits: `majority` always says even (1/2); `last_bit` and `first_bit` say that bit, which is
    right by chance, or because there is no other (0.51).

    Args:
        shortest: bits, at least 1.
        longest: bits, at least shortest.
    Returns: the task; one of two classes per sequence, 1 = odd.
    Raises: ValueError naming the knob, what came and the bound.
    References: Chiang and Cholak 2022, arXiv:2202.12172; Delétang et al. 2022, arXiv:2207.02098, parity_check.py.
    """
    require_lengths(shortest, longest)
    return _task(
        "parity",
        _sample_parity,
        {"majority": _always_zero, "last_bit": _last_bit, "first_bit": _first_bit},
        shortest,
        longest,
        classes=("even", "odd"),
    )


def cumulative_parity(*, shortest: PositiveInt = 1, longest: PositiveInt = 40) -> Task:
    """Is the number of ones so far odd? Parity, with the answer wanted at every bit.

        longest 8, here 6 bits; the token of bit 0 is 1, of bit 1 it is 2, and 0 is padding

        position   0   1   2   3   4   5   6   7
        bit        1   0   1   1   0   0   ·   ·
        inputs     2   1   2   2   1   1   0   0
        targets    1   1   0   1   1   1   ·   ·
        distance   ·   1   2   3   4   5   ·   ·       difficulty 6 everywhere

    The number of bits is uniform, the bits are independent and uniform. A target turns over where the bit is 1, so a
    recurrent model needs one bit of memory. The distance reaches from a target back to the first bit; the difficulty is
    the number of bits in the sequence.

    Shortcuts, with 1 to 40 bits: `always_zero` always says even (1/2); `this_bit` says the bit at the target, which is
    right at the first one and by chance behind it (0.52).

    Args:
        shortest: bits, at least 1.
        longest: bits, at least shortest.
    Returns: the task; one of two classes per position, 1 = odd, asked at every bit.
    Raises: ValueError naming the knob, what came and the bound.
    References: Liu et al. 2022, arXiv:2210.10749, the automaton of parity.
    """
    require_lengths(shortest, longest)
    return _task(
        "cumulative_parity",
        _sample_cumulative_parity,
        {"always_zero": _zero_everywhere, "this_bit": _this_bit},
        shortest,
        longest,
        classes=("even", "odd"),
        per="position",
    )


def majority(*, shortest: PositiveInt = 1, longest: PositiveInt = 40) -> Task:
    """Are there more ones than zeros?

        longest 8, here 6 bits; the token of bit 0 is 1, of bit 1 it is 2, 3 ends them, and 0 is padding

        position   0   1   2   3   4   5   6   7   8
        bit        0   1   1   0   1   1  END  ·   ·       target 1 (four of six), distance 6, difficulty 6
        inputs     1   2   2   1   2   2   3   0   0

    The number of bits is uniform, and so is the number of ones among them, but that half the bits are never ones; then
    every order is as likely as any other. The answers are therefore even, and close calls as frequent as clear ones.
    The distance reaches from the end back to the first bit; the difficulty is the number of bits.

    Shortcuts, with 1 to 40 bits: `always_zero` always says no (1/2); `first_bit` and `last_bit` say that bit, which
    probably is one of the more numerous (0.79).

    Args:
        shortest: bits, at least 1.
        longest: bits, at least shortest.
    Returns: the task; one of two classes per sequence, 1 = more ones.
    Raises: ValueError naming the knob, what came and the bound.
    References: Merrill, Sabharwal and Smith 2022, arXiv:2106.16213.
    """
    require_lengths(shortest, longest)
    return _task(
        "majority",
        _sample_majority,
        {"always_zero": _always_zero, "first_bit": _first_bit, "last_bit": partial(_last_bit, behind=1)},
        shortest,
        longest,
        classes=("more zeros", "more ones"),
        mark="END",
    )


def even_pairs(*, shortest: PositiveInt = 2, longest: PositiveInt = 40) -> Task:
    """How often do neighbours differ: an even or an odd number of times?

        longest 8, here 6 bits; the token of bit 0 is 1, of bit 1 it is 2, and 0 is padding

        position   0   1   2   3   4   5   6   7
        bit        0   1   1   0   0   1   ·   ·       target 1 (three changes), distance 5, difficulty 6
        inputs     1   2   2   1   1   2   0   0

    The number of bits is uniform, the bits are independent and uniform. It sounds like counting but is not: the number
    is odd just when the first bit differs from the last. The distance reaches from the last bit back to the first; the
    difficulty is the number of bits.

    Shortcuts: `always_zero` always says even, `last_bit` says the last bit (1/2 each).

    Args:
        shortest: bits, at least 2.
        longest: bits, at least shortest.
    Returns: the task; one of two classes per sequence, 1 = odd.
    Raises: ValueError naming the knob, what came and the bound.
    References: Delétang et al. 2022, arXiv:2207.02098, even_pairs.py.
    """
    require_lengths(shortest, longest, least=2)
    return _task(
        "even_pairs",
        _sample_even_pairs,
        {"always_zero": _always_zero, "last_bit": _last_bit},
        shortest,
        longest,
        classes=("even", "odd"),
    )


def first(*, shortest: PositiveInt = 10, longest: PositiveInt = 10) -> Task:
    """What is the first bit?

        longest 8, here 6 bits; the token of bit 0 is 1, of bit 1 it is 2, of the beginning 3, and 0 is padding

        position   0   1   2   3   4   5   6   7   8
        bit        $   1   0   0   1   0   1   ·   ·       target 1, distance 5, difficulty 6
        inputs     3   2   1   1   2   1   2   0   0

    The number of bits is uniform, the bits are independent and uniform. One position decides, and the more there are
    the less attention is left for it: a model that was taught on short strings fails on long ones unless its scores
    grow with the length. The distance reaches from the last bit back to the first; the difficulty is the number of
    bits.

    Shortcuts, with 10 bits: `always_zero` always says 0, `last_bit` says the last bit (1/2 each); `majority_bit` says
    the more frequent one, 0 when they are equally frequent (0.62).

    Args:
        shortest: bits, at least 1.
        longest: bits, at least shortest.
    Returns: the task; one of two classes per sequence.
    Raises: ValueError naming the knob, what came and the bound.
    References: Chiang and Cholak 2022, arXiv:2202.12172.
    """
    require_lengths(shortest, longest)
    return _task(
        "first",
        _sample_first,
        {"always_zero": _always_zero, "last_bit": _last_bit, "majority_bit": _majority_bit},
        shortest,
        longest,
        classes=("0", "1"),
        mark="$",
    )


def _task(
    name: str,
    sample: Sample,
    shortcuts: Mapping[str, Shortcut],
    shortest: int,
    longest: int,
    *,
    classes: tuple[str, str],
    per: Literal["position", "sequence"] = "sequence",
    mark: str = "",
) -> Task:
    """A question with two answers about a string of bits, and of a mark beside them if there is one."""
    marks = (mark,) if mark else ()
    return Task(
        name=name,
        version=1,
        length=longest + len(marks),
        vocabulary=3 + len(marks),
        outputs=2,
        per=per,
        causal=per == "position",  # what is asked so far needs no more
        sample=partial(sample, shortest=shortest, longest=longest),
        shortcuts=shortcuts,
        padded=shortest < longest,
        alphabet=("·", "0", "1", *marks),
        classes=classes,
    )


def _draw_bits(rng: Array, shortest: int, longest: int) -> tuple[Array, Array, Array]:
    """How many bits there are: []; the bits: [longest] int32, 0 behind the last; and where they are: [longest] bool."""
    random = jax.random.bits(rng, (longest + 1,), jnp.uint32)
    count = draw_length(random[0], shortest, longest)
    mask = jnp.arange(longest, dtype=jnp.int32) < count
    return count, jnp.where(mask, integers_below(random[1:], 2), 0), mask


def _ask_once(inputs: Array, target: Array, mask: Array, distance: Array, difficulty: Array) -> Example:
    asked = jnp.ones((), bool)
    return make_example(inputs, target, asked, key_mask=mask, distance=distance, difficulty=difficulty)


def _sample_parity(rng: Array, /, *, shortest: int, longest: int) -> Example:
    count, bits, mask = _draw_bits(rng, shortest, longest)
    return _ask_once(1 + bits, jnp.sum(bits, dtype=jnp.int32) % 2, mask, count - 1, count)


def _sample_cumulative_parity(rng: Array, /, *, shortest: int, longest: int) -> Example:
    count, bits, mask = _draw_bits(rng, shortest, longest)
    targets = jnp.cumsum(bits, dtype=jnp.int32) % 2
    positions = jnp.arange(longest, dtype=jnp.int32)
    return make_example(1 + bits, targets, mask, key_mask=mask, distance=positions, difficulty=count)


def _sample_majority(rng: Array, /, *, shortest: int, longest: int) -> Example:
    random = jax.random.bits(rng, (longest + 2,), jnp.uint32)
    count = draw_length(random[0], shortest, longest)
    ones = integers_below(random[1], count + count % 2)
    undecided = (count % 2 == 0) & (2 * ones >= count)  # an even number of bits leaves out its half
    ones = ones + undecided.astype(jnp.int32)

    # The sort is stable, so even a bit that draws the greatest number stays in front of the padding.
    places = jnp.arange(longest, dtype=jnp.int32)
    order = jnp.argsort(jnp.where(places < count, random[2:], jnp.uint32(2**32 - 1)), stable=True)
    bits = jnp.zeros(longest + 1, jnp.int32).at[order].set((places < ones).astype(jnp.int32))

    positions = jnp.arange(longest + 1, dtype=jnp.int32)
    inputs = jnp.where(positions == count, 3, 1 + bits)
    target = (2 * ones > count).astype(jnp.int32)
    return _ask_once(inputs, target, positions <= count, count, count)


def _sample_even_pairs(rng: Array, /, *, shortest: int, longest: int) -> Example:
    count, bits, mask = _draw_bits(rng, shortest, longest)
    target = (bits[0] != bits[count - 1]).astype(jnp.int32)
    return _ask_once(1 + bits, target, mask, count - 1, count)


def _sample_first(rng: Array, /, *, shortest: int, longest: int) -> Example:
    count, bits, mask = _draw_bits(rng, shortest, longest)
    inputs = jnp.concatenate([jnp.full(1, 3, jnp.int32), 1 + bits])
    return _ask_once(inputs, bits[0], jnp.concatenate([jnp.ones(1, bool), mask]), count - 1, count)


def _always_zero(rng: Array, inputs: Array, /) -> Array:
    del rng, inputs
    return jnp.zeros((), jnp.int32)


def _zero_everywhere(rng: Array, inputs: Array, /) -> Array:
    del rng
    return jnp.zeros_like(inputs)


def _this_bit(rng: Array, inputs: Array, /) -> Array:
    del rng
    return inputs - 1


def _first_bit(rng: Array, inputs: Array, /) -> Array:
    del rng
    return inputs[0] - 1


def _last_bit(rng: Array, inputs: Array, /, *, behind: int = 0) -> Array:
    """The last bit, with as many other tokens behind it."""
    del rng
    return inputs[jnp.sum(inputs != 0, dtype=jnp.int32) - 1 - behind] - 1


def _majority_bit(rng: Array, inputs: Array, /) -> Array:
    del rng
    zeros, ones = (jnp.sum(inputs == token, dtype=jnp.int32) for token in (1, 2))
    return (ones > zeros).astype(jnp.int32)
