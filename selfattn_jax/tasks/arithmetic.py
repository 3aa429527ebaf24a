"""Arithmetic: a string of moves, digits or actions is carried out."""

from functools import partial

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, PositiveInt
from selfattn_jax.tasks.task import (
    Example,
    Task,
    draw_length,
    integers_below,
    make_example,
    require,
    require_lengths,
)


def cycle_navigation(*, shortest: PositiveInt = 1, longest: PositiveInt = 40, positions: PositiveInt = 5) -> Task:
    """Where on a circle do the moves lead?

        longest 8, 5 places, here 6 moves; the tokens of the moves 0 +1 −1 are 1 2 3, and 0 is padding

        position   0   1   2   3   4   5   6   7
        move      +1  −1  −1   0  −1  −1   ·   ·       target 2 (−3 modulo 5), distance 5, difficulty 6
        inputs     2   3   3   1   3   3   0   0

    The number of moves is uniform, the moves are independent and uniform. The distance reaches from the last move back
    to the first; the difficulty is the number of moves.

    Shortcuts, with 1 to 40 moves on 5 places: `chance` any place (1 / positions = 0.2); `always_zero` the beginning
    (0.21); `last_move` where the last move leads from the beginning (0.23).

    Args:
        shortest: moves, at least 1.
        longest: moves, at least shortest.
        positions: places on the circle, at least 2.
    Returns: the task; a class per sequence.
    Raises: ValueError naming the knob, what came and the bound.
    References: Delétang et al. 2022, arXiv:2207.02098, cycle_navigation.py.
    """
    require_lengths(shortest, longest)
    require(positions >= 2, "positions", positions, "at least 2")
    return Task(
        name="cycle_navigation",
        version=1,
        length=longest,
        vocabulary=4,
        outputs=positions,
        per="sequence",
        causal=False,
        sample=partial(_sample_cycle_navigation, shortest=shortest, longest=longest, positions=positions),
        shortcuts={
            "chance": partial(_chance, outputs=positions),
            "always_zero": _always_zero,
            "last_move": partial(_last_move, positions=positions),
        },
        padded=shortest < longest,
        alphabet=("·", "0", "+1", "−1"),
    )


def modular_arithmetic(*, shortest: PositiveInt = 1, longest: PositiveInt = 39, modulus: PositiveInt = 5) -> Task:
    """What is the value of a sum, difference and product of digits?

        longest 9, modulus 5, here 7 symbols; the token of digit d is 1 + d, of + − × they are 6 7 8, and 0 is padding

        position   0   1   2   3   4   5   6   7   8
        symbol     3   −   4   ×   2   +   1   ·   ·       target 1 (−4 modulo 5), distance 6, difficulty 7
        inputs     4   7   5   8   3   6   2   0   0

    × binds more tightly than + and −. The number of symbols is uniform among the odd ones, digits and operators are
    independent and uniform. The distance reaches from the last symbol back to the first; the difficulty is the number
    of symbols.

    Shortcuts, with 1 to 39 symbols, modulo 5: `chance` any class (1 / modulus = 0.2); `first_digit` (0.25) and
    `last_digit` (0.24) say that digit.

    Args:
        shortest: symbols; odd, at least 1.
        longest: symbols; odd, at least shortest.
        modulus: digits there are, and classes; at least 2, and at most 46341, so that products fit int32.
    Returns: the task; a class per sequence.
    Raises: ValueError naming the knob, what came and the bound.
    References: Delétang et al. 2022, arXiv:2207.02098, modular_arithmetic.py.
    """
    require_lengths(shortest, longest)
    for knob, size in (("shortest", shortest), ("longest", longest)):
        require(size % 2 == 1, knob, size, "odd: digits with operators between them")
    require(2 <= modulus <= 46341, "modulus", modulus, "at least 2, and at most 46341: products must fit int32")
    return Task(
        name="modular_arithmetic",
        version=1,
        length=longest,
        vocabulary=modulus + 4,
        outputs=modulus,
        per="sequence",
        causal=False,
        sample=partial(_sample_modular_arithmetic, shortest=shortest, longest=longest, modulus=modulus),
        shortcuts={
            "chance": partial(_chance, outputs=modulus),
            "first_digit": _first_digit,
            "last_digit": _last_digit,
        },
        padded=shortest < longest,
        alphabet=("·", *map(str, range(modulus)), "+", "−", "×"),
    )


def stack_manipulation(*, shortest: PositiveInt = 1, longest: PositiveInt = 20) -> Task:
    """A stack and what is done to it are given; what is on it in the end, from the top?

        longest 5, here 4 symbols, 2 of them the stack, its bottom first; the tokens of the bits 0 and 1 are 1 and 2,
        those of pop, push 0 and push 1 are 3, 4 and 5, an answer's slot (?) is 6, and 0 is padding

        position    0    1    2    3    4    5    6    7    8    9   10
        symbol      0    1   pop push1  ?    ?    ?    ?    ?    ·    ·
        inputs      1    2    3    5    6    6    6    6    6    0    0
        targets     ·    ·    ·    ·    1    0    2    ·    ·    ·    ·
        distance    ·    ·    ·    ·    1    5    ·    ·    ·    ·    ·       difficulty 4 where asked

    The number of symbols is uniform, and so is the number of them, none and all included, that are the stack. Bits and
    actions are independent and uniform; pop does nothing to an empty stack. There is a slot more than there are
    symbols, and asked are those of the bits on the stack and one behind them, whose class 2 is the end. The distance
    reaches from a slot back to what put its bit on the stack; the difficulty is the number of symbols.

    Shortcuts, with 1 to 20 symbols: `always_end` always says the end (0.12); `chance_bit` either bit (0.44);
    `initial_stack` the stack as it was before any action (0.51).

    Args:
        shortest: symbols, at least 1.
        longest: symbols, at least shortest.
    Returns: the task; one of three classes per position, asked at the slots that the stack fills and one more.
    Raises: ValueError naming the knob, what came and the bound.
    References: Delétang et al. 2022, arXiv:2207.02098, stack_manipulation.py, whose stack is never empty at first, nor
        all there is.
    """
    require_lengths(shortest, longest)
    return Task(
        name="stack_manipulation",
        version=1,
        length=2 * longest + 1,
        vocabulary=7,
        outputs=3,
        per="position",
        causal=False,
        sample=partial(_sample_stack_manipulation, shortest=shortest, longest=longest),
        shortcuts={"always_end": _always_end, "chance_bit": _chance_bit, "initial_stack": _initial_stack},
        padded=shortest < longest,
        alphabet=("·", "0", "1", "pop", "push 0", "push 1", "?"),
        classes=("0", "1", "end"),
    )


def binary_addition(*, shortest: PositiveInt = 3, longest: PositiveInt = 20) -> Task:
    """What is the sum of two binary numbers?

        longest 7, here 6 symbols: 110 + 01, least significant bit first, is 3 + 2 = 5; the tokens of the bits 0 and 1
        are 1 and 2, + is 3, an answer's slot (?) is 4, and 0 is padding

        position     0   1   2   3   4   5   6   7   8   9  10  11  12
        symbol       1   1   0   +   0   1   ?   ?   ?   ?   ·   ·   ·
        inputs       2   2   1   3   1   2   4   4   4   4   0   0   0
        targets      ·   ·   ·   ·   ·   ·   1   0   1   0   ·   ·   ·
        distance     ·   ·   ·   ·   ·   ·   6   6   6   ·   ·   ·   ·       difficulty 6 where asked

    The number of symbols is uniform, and so is the place of + among them, with at least a bit on either side. Bits are
    independent and uniform, those of highest rank too. There is a slot more than the longer number has bits, and all
    are asked. The distance reaches from a slot back to the first number's bit of the same rank, or, where it has none,
    to the second's; the last slot, which only a carry fills, has none. The difficulty is the number of symbols.

    Shortcuts, with 3 to 20 symbols: `always_zero` (0.55); `without_carry` adds each rank for itself (0.84).

    Args:
        shortest: symbols, at least 3.
        longest: symbols, at least shortest.
    Returns: the task; one of two classes per position, asked at the slots.
    Raises: ValueError naming the knob, what came and the bound.
    References: Delétang et al. 2022, arXiv:2207.02098, binary_addition.py, whose numbers are never 0.
    """
    require_lengths(shortest, longest, least=3)
    return Task(
        name="binary_addition",
        version=1,
        length=2 * longest - 1,
        vocabulary=5,
        outputs=2,
        per="position",
        causal=False,
        sample=partial(_sample_binary_addition, shortest=shortest, longest=longest),
        shortcuts={"always_zero": _zero_everywhere, "without_carry": _without_carry},
        padded=shortest < longest or longest > 4,  # two numbers of the same length need fewer slots
        alphabet=("·", "0", "1", "+", "?"),
        classes=("0", "1"),
    )


def _ask_once(inputs: Array, target: Array, count: Array) -> Example:
    """An example that asks a sequence of `count` symbols for a class."""
    mask = jnp.arange(inputs.shape[0], dtype=jnp.int32) < count
    asked = jnp.ones((), bool)
    return make_example(inputs, target, asked, key_mask=mask, distance=count - 1, difficulty=count)


def _sample_cycle_navigation(rng: Array, /, *, shortest: int, longest: int, positions: int) -> Example:
    bits = jax.random.bits(rng, (longest + 1,), jnp.uint32)
    count = draw_length(bits[0], shortest, longest)
    moves = integers_below(bits[1:], 3)
    steps = jnp.where(moves == 2, -1, moves)
    walked = jnp.where(jnp.arange(longest, dtype=jnp.int32) < count, steps, 0)
    return _ask_once(1 + moves, jnp.sum(walked, dtype=jnp.int32) % positions, count)


def _sample_modular_arithmetic(rng: Array, /, *, shortest: int, longest: int, modulus: int) -> Example:
    bits = jax.random.bits(rng, (longest + 1,), jnp.uint32)
    count = 1 + 2 * draw_length(bits[0], shortest // 2, longest // 2)
    places = jnp.arange(longest, dtype=jnp.int32)
    # Behind the last symbol stand + 0 + 0 …, which change nothing.
    digits = jnp.where(places < count, integers_below(bits[1:], modulus), 0)
    operators = jnp.where(places < count, integers_below(bits[1:], 3), 0)
    inputs = jnp.where(places % 2 == 0, 1 + digits, modulus + 1 + operators)
    return _ask_once(inputs, _evaluate(digits[0::2], operators[1::2], modulus), count)


def _evaluate(digits: Array, operators: Array, modulus: int) -> Array:
    """The value of digits [n] with operators [n − 1] between them: 0 adds, 1 subtracts, 2 multiplies first."""

    def read(so_far: tuple[Array, Array], symbols: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        total, product = so_far  # the product may yet go on, and so is no part of the total
        operator, digit = symbols
        goes_on = operator == 2
        total = jnp.where(goes_on, total, (total + product) % modulus)
        product = jnp.where(goes_on, product * digit, jnp.where(operator == 1, -digit, digit)) % modulus
        return (total, product), None

    start = (jnp.zeros((), jnp.int32), digits[0])
    (total, product), _ = jax.lax.scan(read, start, (operators, digits[1:]))
    return (total + product) % modulus


def _sample_stack_manipulation(rng: Array, /, *, shortest: int, longest: int) -> Example:
    bits = jax.random.bits(rng, (longest + 2,), jnp.uint32)
    count = draw_length(bits[0], shortest, longest)
    given = integers_below(bits[1], count + 1)
    places = jnp.arange(longest, dtype=jnp.int32)
    symbols = jnp.where(places < given, 1 + integers_below(bits[2:], 2), 3 + integers_below(bits[2:], 3))
    bit = jnp.where(symbols <= 2, symbols - 1, symbols - 4)
    source, size = _final_stack(jnp.where(places < count, symbols, 0))

    positions = jnp.arange(2 * longest + 1, dtype=jnp.int32)
    slot = positions - count
    holder = source[jnp.clip(size - 1 - slot, 0, longest - 1)]
    on_stack = (slot >= 0) & (slot < size)
    symbols = jnp.concatenate([symbols, jnp.full(longest + 1, 6, jnp.int32)])
    return make_example(
        jnp.where(positions < count, symbols, 6),
        jnp.where(on_stack, bit[holder], 2),
        on_stack | (slot == size),
        key_mask=positions <= 2 * count,
        distance=jnp.where(on_stack, positions - holder, 0),
        difficulty=count,
    )


def _final_stack(symbols: Array) -> tuple[Array, Array]:
    """Which symbols [n] put there what is on the stack in the end, bottom first, and how many they are: [n] and [].

    A bit that was put at some height is still there unless the stack has been lower since. The stack is as high as the
    walk up and down is above the lowest point below 0 that it has come to: there pop did nothing.
    """
    length = symbols.shape[0]
    pushes = (symbols != 3) & (symbols != 0)
    walk = jnp.cumsum(pushes.astype(jnp.int32) - (symbols == 3).astype(jnp.int32), dtype=jnp.int32)
    height = walk - jnp.minimum(jax.lax.cummin(walk), 0)
    stays = pushes & (jax.lax.cummin(height, reverse=True) == height)
    places = jnp.arange(length, dtype=jnp.int32)
    # What does not stay is written behind the end, where it is dropped.
    source = jnp.zeros(length, jnp.int32).at[jnp.where(stays, height - 1, length)].set(places, mode="drop")
    return source, height[-1]


def _sample_binary_addition(rng: Array, /, *, shortest: int, longest: int) -> Example:
    length = 2 * longest - 1
    random = jax.random.bits(rng, (length + 2,), jnp.uint32)
    count = draw_length(random[0], shortest, longest)
    sign = 1 + integers_below(random[1], count - 2)
    bits = integers_below(random[2:], 2)
    first, second = _numbers(bits, sign, count)

    positions = jnp.arange(length, dtype=jnp.int32)
    rank = positions - count
    second_size = count - 1 - sign
    ranks = jnp.maximum(sign, second_size) + 1
    # The first number's bits, and the second's, all stand equally far before the slots of their rank.
    distance = jnp.where(rank < sign, count, jnp.where(rank < second_size, second_size, 0))
    return make_example(
        jnp.where(positions == sign, 3, jnp.where(positions < count, 1 + bits, 4)),
        _add(first, second)[jnp.clip(rank, 0, longest - 2)],
        (rank >= 0) & (rank < ranks),
        key_mask=rank < ranks,
        distance=distance,
        difficulty=count,
    )


def _numbers(bits: Array, sign: Array, count: Array) -> tuple[Array, Array]:
    """The bits of both numbers by rank, with as many ranks as a sum may have; 0 where a number has ended."""
    ranks = jnp.arange((bits.shape[0] + 1) // 2 - 1, dtype=jnp.int32)
    behind = sign + 1 + ranks
    return jnp.where(ranks < sign, bits[ranks], 0), jnp.where(behind < count, bits[behind], 0)


def _add(first: Array, second: Array) -> Array:
    """The bits of the sum. Equal bits decide on the carry out of their rank, different ones pass on what came in."""
    ranks = jnp.arange(first.shape[0], dtype=jnp.int32)
    decider = jax.lax.cummax(jnp.where(first == second, ranks, -1))
    carry = jnp.where(decider < 0, 0, first[decider])
    return (first + second + jnp.roll(carry, 1).at[0].set(0)) % 2


def _chance(rng: Array, inputs: Array, /, *, outputs: int) -> Array:
    del inputs
    return integers_below(jax.random.bits(rng, (), jnp.uint32), outputs)


def _always_zero(rng: Array, inputs: Array, /) -> Array:
    del rng, inputs
    return jnp.zeros((), jnp.int32)


def _last_move(rng: Array, inputs: Array, /, *, positions: int) -> Array:
    move = _last_digit(rng, inputs)
    return jnp.where(move == 2, -1, move) % positions


def _first_digit(rng: Array, inputs: Array, /) -> Array:
    del rng
    return inputs[0] - 1


def _last_digit(rng: Array, inputs: Array, /) -> Array:
    del rng
    return inputs[jnp.sum(inputs != 0, dtype=jnp.int32) - 1] - 1


def _always_end(rng: Array, inputs: Array, /) -> Array:
    del rng
    return jnp.full_like(inputs, 2)


def _chance_bit(rng: Array, inputs: Array, /) -> Array:
    return integers_below(jax.random.bits(rng, inputs.shape, jnp.uint32), 2)


def _initial_stack(rng: Array, inputs: Array, /) -> Array:
    del rng
    given = jnp.sum((inputs == 1) | (inputs == 2), dtype=jnp.int32)
    slot = jnp.arange(inputs.shape[0], dtype=jnp.int32) - jnp.argmax(inputs == 6).astype(jnp.int32)
    return jnp.where(slot < given, inputs[jnp.clip(given - 1 - slot, 0, inputs.shape[0] - 1)] - 1, 2)


def _zero_everywhere(rng: Array, inputs: Array, /) -> Array:
    del rng
    return jnp.zeros_like(inputs)


def _without_carry(rng: Array, inputs: Array, /) -> Array:
    del rng
    sign, count = (jnp.argmax(inputs == token).astype(jnp.int32) for token in (3, 4))
    first, second = _numbers(inputs - 1, sign, count)
    rank = jnp.arange(inputs.shape[0], dtype=jnp.int32) - count
    return ((first + second) % 2)[jnp.clip(rank, 0, first.shape[0] - 1)]
