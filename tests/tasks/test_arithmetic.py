from collections.abc import Callable
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfattn_jax.tasks import Task
from selfattn_jax.tasks.arithmetic import binary_addition, cycle_navigation, modular_arithmetic, stack_manipulation
from tests.tasks import solvers_languages as solvers
from tests.tasks.checks import (
    SIZE,
    Knobs,
    assert_answered,
    assert_documented,
    assert_strings,
    build,
    by_formula,
    by_simulation,
    draw,
)

SIZES: list[tuple[Callable[..., Task], Knobs]] = [
    (cycle_navigation, {}),
    (cycle_navigation, {"longest": 2, "positions": 2}),
    (cycle_navigation, {"shortest": 50, "longest": 100, "positions": 30}),
    (modular_arithmetic, {}),
    (modular_arithmetic, {"longest": 3, "modulus": 2}),
    (modular_arithmetic, {"shortest": 41, "longest": 101, "modulus": 46341}),
    (stack_manipulation, {}),
    (stack_manipulation, {"longest": 2}),
    (stack_manipulation, {"shortest": 50, "longest": 100}),
    (binary_addition, {}),
    (binary_addition, {"longest": 4}),
    (binary_addition, {"shortest": 40, "longest": 60}),
]


@pytest.mark.parametrize(("function", "knobs"), SIZES)
def test_a_solver_finds_every_answer(function: Callable[..., Task], knobs: Knobs) -> None:
    assert_answered(function, getattr(solvers, function.__name__), knobs)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(shortest=st.integers(3, 30), more=st.integers(0, 30))
def test_any_length_fits(shortest: int, more: int) -> None:
    knobs = {"shortest": shortest, "longest": shortest + more}
    assert_answered(binary_addition, solvers.binary_addition, knobs, size=200)


def test_numbers_of_one_length_need_no_padding() -> None:
    for size, padded in ((3, False), (4, False), (5, True)):
        assert binary_addition(shortest=size, longest=size).padded == padded


# What is drawn.


def words(*alphabets: str) -> list[str]:
    return ["".join(symbols) for symbols in product(*alphabets)]


def evenly(probability: float, strings: list[str]) -> dict[str, float]:
    return dict.fromkeys(strings, probability / len(strings))


def test_moves_are_uniform() -> None:
    examples = draw(build(cycle_navigation, longest=2, positions=2))
    assert_strings(examples, evenly(1 / 2, words("123")) | evenly(1 / 2, words("123", "123")))


def test_digits_and_operators_are_uniform() -> None:
    examples = draw(build(modular_arithmetic, longest=3, modulus=2))
    assert_strings(examples, evenly(1 / 2, words("12")) | evenly(1 / 2, words("12", "345", "12")))


def test_stacks_and_actions_are_uniform() -> None:
    examples = draw(build(stack_manipulation, longest=2))
    probabilities = {}
    for size in (1, 2):
        for given_bits in range(size + 1):
            strings = words(*["12"] * given_bits, *["345"] * (size - given_bits), *["6"] * (size + 1))
            probabilities |= evenly(1 / 2 / (size + 1), strings)
    assert_strings(examples, probabilities)


def test_numbers_are_uniform() -> None:
    examples = draw(build(binary_addition, longest=4))
    shorter = evenly(1 / 2, words("12", "3", "12", "4", "4"))
    longer = evenly(1 / 2, words("12", "3", "12", "12", "4", "4", "4") + words("12", "12", "3", "12", "4", "4", "4"))
    assert_strings(examples, shorter | longer)


def test_there_are_as_many_slots_as_an_answer_may_fill() -> None:
    inputs = draw(build(stack_manipulation)).inputs
    np.testing.assert_array_equal((inputs == 6).sum(axis=1), ((inputs > 0) & (inputs < 6)).sum(axis=1) + 1)
    inputs = draw(build(binary_addition)).inputs
    sign, end = (inputs == 3).argmax(axis=1), (inputs == 4).argmax(axis=1)
    np.testing.assert_array_equal((inputs == 4).sum(axis=1), np.maximum(sign, end - 1 - sign) + 1)


# Shortcuts.


def test_shortcuts_of_cycle_navigation_score_as_documented() -> None:
    at = np.eye(5)[0]  # how likely each place is, from none to 40 moves on
    at_zero = []
    for _ in range(41):
        at_zero.append(at[0])
        at = (at + np.roll(at, 1) + np.roll(at, -1)) / 3
    shortcuts = {
        "chance": by_formula(1 / 5),
        "always_zero": by_formula(float(np.mean(at_zero[1:]))),
        "last_move": by_formula(float(np.mean(at_zero[:-1]))),  # right where all others lead nowhere
    }
    assert_documented(cycle_navigation, {"chance": 0.2, "always_zero": 0.21, "last_move": 0.23}, shortcuts)


def test_shortcuts_of_modular_arithmetic_score_as_documented() -> None:
    rng = np.random.default_rng(0)
    count = 4 * SIZE
    digits, operators = rng.integers(5, size=(20, count)), rng.choice(["+", "-", "*"], size=(20, count))
    last = rng.integers(20, size=count)
    total, term = np.zeros(count, int), digits[0]
    for step in range(1, 20):
        there, times = step <= last, operators[step] == "*"
        total = np.where(there & ~times, total + term, total)
        begun = np.where(operators[step] == "-", -digits[step], digits[step])
        term = np.where(there, np.where(times, term * digits[step] % 5, begun), term)
    value, asked = (total + term) % 5, np.ones(count)
    shortcuts = {
        "chance": by_formula(1 / 5),
        "first_digit": by_simulation(value == digits[0], asked),
        "last_digit": by_simulation(value == digits[last, np.arange(count)], asked),
    }
    assert_documented(modular_arithmetic, {"chance": 0.2, "first_digit": 0.25, "last_digit": 0.24}, shortcuts)


def test_shortcuts_of_stack_manipulation_score_as_documented() -> None:
    rng = np.random.default_rng(0)
    asked, bits_of_chance, of_initial_stack = np.zeros((3, SIZE))
    for example in range(SIZE):
        size = rng.integers(1, 21)
        given_bits = rng.integers(size + 1)
        before = rng.integers(2, size=given_bits).tolist()
        after = before.copy()
        for action in rng.integers(3, size=size - given_bits):
            after = after[:-1] if action == 2 else [*after, action]
        asked[example] = len(after) + 1
        bits_of_chance[example] = rng.binomial(len(after), 1 / 2)
        guess = [*reversed(before), *[2] * (size + 1)]
        of_initial_stack[example] = sum(map(int.__eq__, guess, map(int, [*reversed(after), 2])))
    shortcuts = {
        "always_end": by_simulation(np.ones(SIZE), asked),
        "chance_bit": by_simulation(bits_of_chance, asked),
        "initial_stack": by_simulation(of_initial_stack, asked),
    }
    assert_documented(stack_manipulation, {"always_end": 0.12, "chance_bit": 0.44, "initial_stack": 0.51}, shortcuts)


def test_shortcuts_of_binary_addition_score_as_documented() -> None:
    rng = np.random.default_rng(0)
    asked, zeros, equal = np.zeros((3, SIZE))
    for example in range(SIZE):
        size = rng.integers(3, 21)
        left = rng.integers(1, size - 1)
        first, second = int(rng.integers(2**left)), int(rng.integers(2 ** (size - 1 - left)))
        slots = int(max(left, size - 1 - left)) + 1
        asked[example] = slots
        zeros[example] = slots - (first + second).bit_count()
        equal[example] = slots - ((first + second) ^ (first ^ second)).bit_count()
    shortcuts = {"always_zero": by_simulation(zeros, asked), "without_carry": by_simulation(equal, asked)}
    assert_documented(binary_addition, {"always_zero": 0.55, "without_carry": 0.84}, shortcuts)


# Refusals.


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (partial(cycle_navigation, shortest=0), "shortest=0: shortest must be at least 1"),
        (partial(cycle_navigation, positions=1), "positions=1: positions must be at least 2"),
        (partial(modular_arithmetic, shortest=2), "shortest=2: shortest must be odd"),
        (partial(modular_arithmetic, longest=40), "longest=40: longest must be odd"),
        (partial(modular_arithmetic, modulus=1), "modulus=1: modulus must be at least 2, and at most 46341"),
        (partial(modular_arithmetic, modulus=46342), "modulus=46342: modulus must be at least 2, and at most 46341"),
        (partial(stack_manipulation, shortest=21), "longest=20: longest must be at least shortest = 21"),
        (partial(binary_addition, shortest=2), "shortest=2: shortest must be at least 3"),
    ],
)
def test_what_does_not_fit_is_refused(function: Callable[[], Task], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        function()
