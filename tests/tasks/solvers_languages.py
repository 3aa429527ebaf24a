"""Plain solvers of the formal languages and of arithmetic: loops over the tokens of one example."""

from itertools import pairwise

import numpy as np

from tests.tasks.answers import Answer, ask, nothing_asked, verdict, without_padding


def parity(inputs: np.ndarray, **_: object) -> Answer:
    """Whether the number of ones is odd."""
    bits = _bits(without_padding(inputs))
    return verdict(sum(bits) % 2, distance=len(bits) - 1, difficulty=len(bits))


def cumulative_parity(inputs: np.ndarray, **_: object) -> Answer:
    """Whether the number of ones so far is odd."""
    answer = nothing_asked(inputs.size)
    bits = _bits(without_padding(inputs))
    odd = 0
    for position, bit in enumerate(bits):
        if bit == 1:
            odd = 1 - odd
        ask(answer, position, odd, distance=position, difficulty=len(bits))
    return answer


def majority(inputs: np.ndarray, **_: object) -> Answer:
    """Whether more ones than zeros stand before the end sign."""
    *word, end = without_padding(inputs)
    assert end == 3
    bits = _bits(word)
    return verdict(int(bits.count(1) > bits.count(0)), distance=len(bits), difficulty=len(bits))


def even_pairs(inputs: np.ndarray, **_: object) -> Answer:
    """Whether neighbours differ at an odd number of places."""
    bits = _bits(without_padding(inputs))
    changes = 0
    for left, right in pairwise(bits):
        if left != right:
            changes += 1
    return verdict(changes % 2, distance=len(bits) - 1, difficulty=len(bits))


def cycle_navigation(inputs: np.ndarray, *, positions: int = 5, **_: object) -> Answer:
    """Where a walk round the cycle ends that starts at 0."""
    moves = without_padding(inputs)
    place = 0
    for move in moves:
        place += {1: 0, 2: 1, 3: -1}[move]
        place %= positions
    return verdict(place, distance=len(moves) - 1, difficulty=len(moves))


def modular_arithmetic(inputs: np.ndarray, *, modulus: int = 5, **_: object) -> Answer:
    """A sum of products: × joins its digit to the last term, + and − begin a new term."""
    tokens = without_padding(inputs)
    digits = [token - 1 for token in tokens[0::2]]
    assert all(0 <= digit < modulus for digit in digits)
    terms = [digits[0]]
    for operator, digit in zip(tokens[1::2], digits[1:], strict=True):
        if operator == modulus + 1:
            terms.append(digit)
        elif operator == modulus + 2:
            terms.append(-digit)
        else:
            assert operator == modulus + 3
            terms[-1] *= digit
    return verdict(sum(terms) % modulus, distance=len(tokens) - 1, difficulty=len(tokens))


def stack_manipulation(inputs: np.ndarray, **_: object) -> Answer:
    """The slots ask for the stack from its top, and then for its end."""
    answer = nothing_asked(inputs.size)
    tokens = without_padding(inputs)
    symbols = tokens[: tokens.index(6)]
    assert tokens[len(symbols) :] == [6] * (len(symbols) + 1)
    stack: list[tuple[int, int]] = []  # bit, and the position of the symbol that put it there
    for position, symbol in enumerate(symbols):
        if symbol in (1, 2):
            stack.append((symbol - 1, position))
        elif symbol in (4, 5):
            stack.append((symbol - 4, position))
        elif symbol == 3 and stack:
            stack.pop()
    slot = len(symbols)
    for bit, position in reversed(stack):
        ask(answer, slot, bit, distance=slot - position, difficulty=len(symbols))
        slot += 1
    ask(answer, slot, 2, distance=0, difficulty=len(symbols))
    return answer


def binary_addition(inputs: np.ndarray, **_: object) -> Answer:
    """The slots ask for the bits of the sum of the two numbers, least significant first."""
    answer = nothing_asked(inputs.size)
    tokens = without_padding(inputs)
    symbols = tokens[: tokens.index(4)]
    sign = symbols.index(3)
    left, right = _bits(symbols[:sign]), _bits(symbols[sign + 1 :])
    assert tokens[len(symbols) :] == [4] * (max(len(left), len(right)) + 1)
    total = sum(bit * 2**rank for rank, bit in enumerate(left)) + sum(bit * 2**rank for rank, bit in enumerate(right))
    for rank, slot in enumerate(range(len(symbols), len(tokens))):
        if rank < len(left):
            distance = slot - rank
        elif rank < len(right):
            distance = slot - (sign + 1 + rank)
        else:
            distance = 0
        ask(answer, slot, total // 2**rank % 2, distance=distance, difficulty=len(symbols))
    return answer


def first(inputs: np.ndarray, **_: object) -> Answer:
    """The bit behind the start sign."""
    start, *word = without_padding(inputs)
    assert start == 3
    return verdict(_bits(word)[0], distance=len(word) - 1, difficulty=len(word))


def dyck(inputs: np.ndarray, *, kinds: int = 2, **_: object) -> Answer:
    """Before a bracket closes: of which kind is the innermost one still open?"""
    answer = nothing_asked(inputs.size)
    tokens = inputs.tolist()
    still_open: list[int] = []  # positions
    for position, token in enumerate(tokens):
        if token <= kinds:
            still_open.append(position)
        else:
            nesting = len(still_open)
            match = still_open.pop()
            kind = tokens[match] - 1
            ask(answer, position - 1, kind, distance=position - 1 - match, difficulty=nesting)
    return answer


def flip_flop(inputs: np.ndarray, **_: object) -> Answer:
    """A read asks for the bit written last; ignored bits in between count as the difficulty."""
    answer = nothing_asked(inputs.size)
    tokens = inputs.tolist()
    written, ignored = -1, 0  # position of the bit written last, ignores since then
    for position in range(0, len(tokens), 2):
        if tokens[position] == 1:
            written, ignored = position + 1, 0
        elif tokens[position] == 3:
            ignored += 1
        else:
            assert tokens[position] == 2
            assert written > 0
            ask(answer, position, tokens[written] - 4, distance=position - written, difficulty=ignored)
    return answer


def _bits(tokens: list[int]) -> list[int]:
    assert set(tokens) <= {1, 2}
    return [token - 1 for token in tokens]
