"""The plain solvers themselves, on examples small enough to be worked by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.tasks import solvers_copying, solvers_languages, solvers_recall
from tests.tasks.answers import Answer

# Each case: a solver, its knobs, the tokens, and per position what is asked: (target, distance, difficulty) or None.

COPYING = [
    (
        solvers_copying.copy,
        {"letters": 3},
        [0, 2, 3, 0, 4, 4, 0],  # two letters at 1, one blank as gap
        [None, None, None, None, (2, 3, 0), (3, 3, 0), None],
    ),
    (
        solvers_copying.copy,
        {"letters": 3},
        [1, 1, 4, 4, 0],  # no gap
        [None, None, (1, 2, 0), (1, 2, 0), None],
    ),
    (
        solvers_copying.selective_copy,
        {"letters": 3},
        [0, 3, 0, 0, 1, 4, 4],
        [None, None, None, None, None, (3, 4, 0), (1, 2, 0)],
    ),
    (solvers_copying.reverse, {}, [7, 5, 9, 0], [(9, 2, 3), (5, 0, 3), (7, 2, 3), None]),
    (
        solvers_copying.duplicate,
        {"letters": 2},
        [2, 1, 3, 3, 3, 3, 0, 0, 0],
        [None, None, (2, 2, 2), (1, 2, 2), (2, 4, 2), (1, 4, 2), None, None, None],
    ),
    (
        solvers_copying.missing_duplicate,
        {"letters": 2},
        [2, 1, 1, 2, 3, 1, 0, 0],
        [None, None, None, None, (1, 3, 3), None, None, None],
    ),
    (
        solvers_copying.odds_first,
        {},
        [1, 2, 3, 4, 5, 0],  # 1 3 5 2 4, from places 0 2 4 1 3
        [(1, 0, 5), (3, 1, 5), (5, 2, 5), (2, 2, 5), (4, 1, 5), None],
    ),
    (
        solvers_copying.sort,
        {},
        [3, 1, 3, 2, 0],  # 1 2 3 3, from places 1 3 0 2
        [(1, 1, 4), (2, 2, 4), (3, 2, 4), (3, 1, 4), None],
    ),
    (
        solvers_copying.bucket_sort,
        {},
        [2, 1, 2, 1],  # 1 1 2 2, from places 1 3 0 2
        [(1, 1, 4), (1, 2, 4), (2, 2, 4), (2, 1, 4)],
    ),
    (solvers_copying.histogram, {}, [4, 2, 4, 0], [(2, 0, 3), (1, 0, 3), (2, 0, 3), None]),
    (
        solvers_copying.most_frequent,
        {},
        [5, 3, 2, 3, 2, 9, 0],  # 3 and 2 twice, 5 and 9 once; first places 1 2 0 5
        [(3, 1, 6), (2, 1, 6), (5, 2, 6), (9, 2, 6), None, None, None],
    ),
]

LANGUAGES = [
    (solvers_languages.cumulative_parity, {}, [2, 1, 2, 0], [(1, 0, 3), (1, 1, 3), (0, 2, 3), None]),
    (
        solvers_languages.stack_manipulation,
        {},
        [2, 5, 3, 4, 6, 6, 6, 6, 6],  # stack 1; push 1, pop, push 0: from the top 0 1
        [None, None, None, None, (0, 1, 4), (1, 5, 4), (2, 0, 4), None, None],
    ),
    (
        solvers_languages.stack_manipulation,
        {},
        [1, 3, 3, 6, 6, 6, 6, 0, 0],  # the second pop finds nothing
        [None, None, None, (2, 0, 3), None, None, None, None, None],
    ),
    (
        solvers_languages.binary_addition,
        {},
        [2, 2, 3, 2, 4, 4, 4, 0],  # 3 + 1 = 4
        [None, None, None, None, (0, 4, 4), (0, 4, 4), (1, 0, 4), None],
    ),
    (
        solvers_languages.binary_addition,
        {},
        [2, 3, 1, 2, 4, 4, 4],  # 1 + 2 = 3; rank 1 stands in b only, at 3
        [None, None, None, None, (1, 4, 4), (1, 2, 4), (0, 0, 4)],
    ),
    (
        solvers_languages.dyck,
        {"kinds": 2},
        [1, 2, 4, 1, 3, 3, 2],  # ( [ ] ( ) ) [
        [None, (1, 0, 2), None, (0, 0, 2), (0, 4, 1), None, None],
    ),
    (
        solvers_languages.flip_flop,
        {},
        [1, 5, 3, 4, 2, 5, 1, 4, 2, 4],
        [None, None, None, None, (1, 3, 1), None, None, None, (0, 1, 0), None],
    ),
    (
        solvers_languages.flip_flop,
        {},
        [1, 4, 2, 4, 3, 5, 2, 4],  # a read is not a write: the second read looks back to place 1
        [None, None, (0, 1, 0), None, None, None, (0, 5, 1), None],
    ),
]

RECALL = [
    (
        solvers_recall.associative_recall,
        {},
        [1, 7, 0, 5, 1, 7, 0, 5, 1],  # two keys; the value of 1 stands last at 5
        [None] * 8 + [(7, 3, 2)],
    ),
    (
        solvers_recall.recall,
        {"vocabulary": 6},
        [2, 4, 0, 3, 2, 4, 2, 4, 0, 3],
        [None, None, None, None, (4, 3, 2), None, (4, 1, 2), None, (3, 5, 2), None],
    ),
    (
        solvers_recall.noisy_recall,
        {"vocabulary": 4},
        [6, 1, 2, 5, 5, 0, 3, 1, 2, 4],
        [None, None, None, None, None, None, None, (2, 5, 2), None, None],
    ),
    (
        solvers_recall.fuzzy_recall,
        {"vocabulary": 6},
        [1, 2, 5, 4, 2, 6, 1, 2, 5, 4, 2, 6],  # keys (1 2) and (2)
        [None, None, None, None, None, None, None, (5, 5, 2), (4, 5, 2), None, (6, 5, 1), None],
    ),
    (
        solvers_recall.fuzzy_recall,
        {"vocabulary": 6},
        [3, 4, 6, 3, 4, 6, 3, 4],  # the last unit is cut within its value
        [None, None, None, (4, 2, 1), (6, 2, 1), None, (4, 2, 1), None],
    ),
    (
        solvers_recall.needle,
        {},
        [0, 1, 4, 6, 1, 0, 3, 7, 0, 1, 4],  # slot 1 of 5
        [None] * 10 + [(6, 7, 3)],
    ),
    (
        solvers_recall.needle,
        {},
        [4, 6, 1, 1, 3, 7, 1, 3],  # slot 2 of 3; the filler at 6 belongs to none
        [None] * 7 + [(7, 2, 7)],
    ),
    (solvers_recall.induction_extrapolation, {}, [3, 0, 2, 3, 0], [None] * 4 + [(2, 2, 0)]),
    (
        solvers_recall.k_hop,
        {"hops": 1},
        [0, 1, 1, 0, 1],  # a letter behind itself hops to where it stands
        [None, None, (1, 0, 1), (1, 2, 1), (0, 1, 1)],
    ),
    (
        solvers_recall.k_hop,
        {"hops": 2},
        [0, 1, 0, 2, 0, 1],  # 4 -> 3 -> none; 5 -> 2 -> 1
        [None, None, None, None, None, (1, 4, 2)],
    ),
    (
        solvers_recall.memorization,
        {"vocabulary": 6, "table": np.asarray([4, 5, 3])},
        [2, 6, 0, 6, 2, 6],
        [None, (3, 1, 0), None, (4, 1, 0), None, (3, 1, 0)],
    ),
]

# Here one answer, (target, distance, difficulty), belongs to the whole sequence.
VERDICTS = [
    (solvers_languages.parity, {}, [2, 1, 2, 2, 0], (1, 3, 4)),
    (solvers_languages.parity, {}, [1, 0, 0], (0, 0, 1)),
    (solvers_languages.majority, {}, [2, 1, 2, 3, 0, 0], (1, 3, 3)),
    (solvers_languages.majority, {}, [2, 1, 1, 1, 3], (0, 4, 4)),
    (solvers_languages.even_pairs, {}, [1, 2, 2, 1, 0], (0, 3, 4)),
    (solvers_languages.even_pairs, {}, [1, 1, 2], (1, 2, 3)),
    (solvers_languages.cycle_navigation, {"positions": 3}, [3, 1, 3, 3, 2, 0], (1, 4, 5)),  # -2 mod 3
    (
        solvers_languages.modular_arithmetic,
        {"modulus": 5},
        [2, 7, 4, 8, 5, 6, 3, 0, 0],
        (1, 6, 7),
    ),  # 1 - 3 * 4 + 2 = -9
    (solvers_languages.modular_arithmetic, {"modulus": 5}, [5, 0, 0], (4, 0, 1)),
    (solvers_languages.first, {}, [3, 2, 1, 1, 0], (1, 2, 3)),
]


@pytest.mark.parametrize(("solver", "knobs", "inputs", "asked"), COPYING + LANGUAGES + RECALL)
def test_an_answer_at_each_position(
    solver: Callable[..., Answer], knobs: dict, inputs: list[int], asked: list[tuple[int, int, int] | None]
) -> None:
    answer = solver(np.asarray(inputs, np.int32), **knobs, unheard_of=1)
    rows = [(0, 0, 0) if question is None else question for question in asked]
    expected = [list(column) for column in zip(*rows, strict=True)]
    assert [answer.targets.tolist(), answer.distance.tolist(), answer.difficulty.tolist()] == expected
    assert answer.weights.tolist() == [question is not None for question in asked]
    assert_kinds(answer)


@pytest.mark.parametrize(("solver", "knobs", "inputs", "expected"), VERDICTS)
def test_an_answer_to_the_sequence(
    solver: Callable[..., Answer], knobs: dict, inputs: list[int], expected: tuple[int, int, int]
) -> None:
    answer = solver(np.asarray(inputs, np.int32), **knobs, unheard_of=1)
    assert answer.targets.shape == answer.weights.shape == answer.distance.shape == answer.difficulty.shape == ()
    assert (answer.targets, answer.distance, answer.difficulty) == expected
    assert answer.weights == 1
    assert_kinds(answer)


def test_compression_holds_all_tokens_at_the_end() -> None:
    answer = solvers_recall.compression(np.asarray([2, 0, 1, 3], np.int32), vocabulary=3)
    assert answer.targets.tolist() == [2, 0, 1]
    assert answer.weights.tolist() == [1, 1, 1]
    assert answer.distance.tolist() == [3, 2, 1]
    assert answer.difficulty.tolist() == [0, 0, 0]
    assert_kinds(answer)


def test_every_solver_is_tried() -> None:
    tried = {case[0] for case in COPYING + LANGUAGES + RECALL + VERDICTS} | {solvers_recall.compression}
    written = {
        item
        for module in (solvers_copying, solvers_languages, solvers_recall)
        for name, item in vars(module).items()
        if getattr(item, "__module__", None) == module.__name__ and not name.startswith("_")
    }
    assert tried == written


def assert_kinds(answer: Answer) -> None:
    assert [field.dtype for field in answer] == [np.int32, np.float32, np.int32, np.int32]
