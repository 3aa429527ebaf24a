import re
from pathlib import Path

import numpy as np
import pytest

from selfattn_jax.tasks import Task, evaluation_set, identity_hash, listops, listops_files, shortcut_scores
from selfattn_jax.tasks.listops_formulas import ALPHABET, Shape, formulas, longest_formula
from tests.tasks.checks import assert_likely, assert_solved, build, by_formula, draw
from tests.tasks.files import SMALL, write_listops_files
from tests.tasks.solvers_listops import WORDS
from tests.tasks.solvers_listops import listops as evaluated

LRA = {"training": 1, "held_out": 2000}
SIZES = [SMALL["listops"], {"shortest": 50, "longest": 100, "training": 1000, "held_out": 10}, LRA]


def tokens(text: str) -> np.ndarray:
    return np.array([WORDS.index(word) for word in text.split()], np.int32)


@pytest.mark.parametrize(
    ("text", "value", "levels"),
    [("[MAX 2 9 [MIN 4 7 ] 0 ] · ·", 9, 3), ("[SM 8 5 ]", 3, 2), ("[MED 1 4 [SM 9 9 [MIN 3 3 ] ] 5 ]", 2, 4)],
)
def test_the_evaluator_by_hand(text: str, value: int, levels: int) -> None:
    answer = evaluated(tokens(text))
    assert (answer.targets, answer.difficulty) == (value, levels)


@pytest.mark.parametrize("knobs", SIZES, ids=["small", "middle", "published"])
def test_an_evaluator_finds_every_value(knobs: dict) -> None:
    task = build(listops, **knobs)
    lengths = []
    for stream in ("train", "test"):
        examples = type(draw(task, 8))(*map(np.asarray, evaluation_set(task, stream, 1000, 0)))
        np.testing.assert_array_equal(examples.key_mask, examples.inputs > 0)
        assert_solved(examples._replace(key_mask=np.ones(1)), evaluated)
        lengths += examples.key_mask.sum(axis=1).tolist()
    assert knobs.get("shortest", 501) <= min(lengths)
    assert max(lengths) <= knobs.get("longest", 1999)


def test_the_published_baselines_come_back() -> None:
    """The figures of 100,000 formulas of other makers, give or take three standard errors of 2,000 formulas."""
    task = build(listops, **LRA)
    scores = shortcut_scores(task, evaluation_set(task, "test", 1, 0), 0)
    bounds = {"majority": (0.158, 0.177), "root_operator": (0.356, 0.371), "root_and_leaves": (0.415, 0.423)}
    for name, (low, high) in bounds.items():
        assert low - 3 * by_formula(low)[1] * np.sqrt(2) <= scores[name] <= high + 3 * by_formula(high)[1] * np.sqrt(2)
    assert abs(scores["root_of_leaves"] - 0.478) < 0.034
    assert list(scores) == [*bounds, "root_of_leaves"]


def test_formulas_are_grown_as_they_are_said_to_be() -> None:
    """Of all formulas of two levels and two arguments: 4 operators and 10² digits, each as likely as another."""
    made = formulas(Shape(4, 4, 2, 2, 0.5), 300, 0, lambda what, done, total: None)
    assert np.unique(made["inputs"], axis=0).shape == (300, 4)
    assert_likely(np.bincount(made["inputs"][:, 0], minlength=6)[2:6], np.ones(4))
    assert_likely(np.bincount(made["inputs"][:, 1], minlength=16)[6:], np.ones(10))


def test_splits_share_no_formula() -> None:
    task = build(listops, **SMALL["listops"])
    parts = [task.arrays["inputs"], task.splits["validation"].inputs, task.splits["test"].inputs]
    assert len({row.tobytes() for part in parts for row in np.asarray(part)}) == 64 + 2 * 16


def test_more_formulas_begin_with_the_same() -> None:
    few, many = (formulas(Shape(5, 20, 3, 3, 0.5), count, 3, lambda what, done, total: None) for count in (10, 50))
    np.testing.assert_array_equal(few["inputs"], many["inputs"][:10])


def test_too_rare_a_formula_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("selfattn_jax.tasks.listops_formulas.PATIENCE", 3)
    with pytest.raises(ValueError, match="with 400 of 500 found"):  # 4 operators on two digits
        formulas(Shape(4, 4, 2, 2, 0.1), 500, 0, lambda what, done, total: None)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"shortest": 9, "longest": 8}, "longest=8: longest must be at least shortest = 9"),
        ({"depth": 2, "arguments": 5, "shortest": 8}, "shortest=8: shortest must be at most 7"),
    ],
)
def test_sizes_that_cannot_be_are_refused(knobs: dict, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        listops(**knobs)


def test_the_longest_formula_by_hand() -> None:
    assert [longest_formula(depth, 3) for depth in (1, 2, 3)] == [1, 5, 17]


def test_golden_hash() -> None:
    task = build(listops, **SMALL["listops"])
    assert identity_hash(task, task.splits["test"]) == "831c71273479e48d"


@pytest.fixture
def published(tmp_path: Path) -> Task:
    return listops_files(folder=str(write_listops_files(tmp_path)), longest=8)


def test_files_are_read_without_the_brackets_of_grouping(published: Task) -> None:
    inputs = np.asarray(published.arrays["inputs"])
    read = [" ".join(ALPHABET[token] for token in row if token) for row in inputs]
    assert read == ["[MAX 2 9 ]", "[SM 8 [MIN 5 7 ] ]", "[MED 1 4 ]"]
    assert published.splits["validation"].targets.tolist() == [3, 2, 9]
    assert published.splits["test"].difficulty.tolist() == [2, 2, 3]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    folder = write_listops_files(tmp_path)
    before = listops_files(folder=str(folder)).splits["test"].targets.tolist()
    (folder / "basic_test.tsv").write_text("Source\tTarget\n( ( ( [MAX 2 ) 3 ) ] )\t3\n", encoding="utf-8")
    assert (before, listops_files(folder=str(folder)).splits["test"].targets.tolist()) == ([2, 9, 3], [3])


def test_files_that_are_not_those_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no basic_train.tsv, basic_val.tsv, basic_test.tsv"):
        listops_files(folder=str(tmp_path))
    write_listops_files(tmp_path)
    (tmp_path / "basic_test.tsv").write_text("Source\tTarget\n[MAX 2 x ]\t3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"basic_test.tsv, line 2: .* got 'x'"):
        _ = listops_files(folder=str(tmp_path)).splits
