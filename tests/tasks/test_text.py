import re
from pathlib import Path

import numpy as np
import pytest

from selfattn_jax.tasks import Task, evaluation_set, identity_hash, shortcut_scores, text, text_classification
from tests.tasks.checks import assert_likely
from tests.tasks.files import write_documents, write_text

LENGTH, HELD_OUT = 16, 4


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return write_text(tmp_path)


@pytest.fixture
def task(book: Path) -> Task:
    return text(file=str(book), length=LENGTH, held_out=HELD_OUT)


def bytes_of(examples) -> list[bytes]:
    """Each sequence with the byte behind it."""
    seen, asked = (np.asarray(leaf).astype(np.uint8) for leaf in (examples.inputs, examples.targets))
    np.testing.assert_array_equal(seen[:, 1:], asked[:, :-1])
    return [row.tobytes() + last.tobytes() for row, last in zip(seen, asked[:, -1], strict=True)]


def test_every_sequence_stands_in_its_part_of_the_file(task: Task, book: Path) -> None:
    whole, reach = book.read_bytes(), HELD_OUT * (LENGTH + 1)
    parts = {"train": whole[: -2 * reach], "validation": whole[-2 * reach : -reach], "test": whole[-reach:]}
    assert b"".join(bytes_of(task.splits["validation"])) == parts["validation"]
    assert b"".join(bytes_of(task.splits["test"])) == parts["test"]
    assert np.asarray(task.arrays).tobytes() == parts["train"]
    drawn = evaluation_set(task, "train", 500, 0)
    assert all(window in parts["train"] for window in bytes_of(drawn))
    assert np.asarray(drawn.weights).all()


def test_training_begins_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(bytes(range(40)))  # 28 of them train: 23 sequences of 5 with a byte behind
    drawn = evaluation_set(text(file=str(path), length=5, held_out=1), "train", 4000, 0)
    assert_likely(np.bincount(np.asarray(drawn.inputs)[:, 0]), np.ones(23))


def test_shortcuts_are_the_commonest_bytes_of_the_training_part(task: Task) -> None:
    """Of `ababac…` half is a; behind a comes b twice in three, behind b and c comes a."""
    drawn = evaluation_set(task, "train", 2000, 0)
    scores = shortcut_scores(task, drawn, 0)
    np.testing.assert_allclose([scores["unigram"], scores["bigram"]], [1 / 2, 5 / 6], atol=0.01)


def test_golden_hash(task: Task) -> None:
    assert identity_hash(task, task.splits["test"]) == "bb6551387d644c8b"


def test_files_that_will_not_do_are_refused(book: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="file must be a file that is there"):
        text(file=str(tmp_path / "none"))
    with pytest.raises(ValueError, match="of at least 33153 bytes, for 129 sequences; it has 2000"):
        text(file=str(book))


@pytest.mark.parametrize("name", ["documents.jsonl", "documents.csv"])
def test_documents_keep_their_class_and_meet_no_other_part(tmp_path: Path, name: str) -> None:
    task = text_classification(file=str(write_documents(tmp_path / name)), length=8, held_out=0.2)
    assert task.classes == ("high", "low")
    seen = []
    train = {key: np.asarray(array) for key, array in task.arrays.items()}
    parts = [(train["inputs"], train["targets"]), *((one.inputs, one.targets) for one in task.splits.values())]
    for inputs, targets in parts:
        for row, target in zip(np.asarray(inputs), np.asarray(targets), strict=True):
            written = bytes((row[row > 0] - 1).astype(np.uint8)).decode()
            assert written.endswith("yx"[target])
            seen.append(written)
    assert sorted(seen) == sorted(f"{number} {'xy'[number % 2]}" for number in range(60))


def test_a_file_that_grows_moves_no_document(tmp_path: Path) -> None:
    few, many = (write_documents(tmp_path / f"{count}.jsonl", count) for count in (60, 90))
    tests = [
        {row.tobytes() for row in np.asarray(text_classification(file=str(path), length=8).splits["test"].inputs)}
        for path in (few, many)
    ]
    assert tests[0] < tests[1]


def test_naive_bayes_knows_the_byte_that_tells_and_majority_does_not(tmp_path: Path) -> None:
    task = text_classification(file=str(write_documents(tmp_path / "documents.csv", 400)), length=8)
    scores = shortcut_scores(task, task.splits["test"], 0)
    assert scores["bytes"] == 1
    assert abs(scores["majority"] - 0.5) < 0.25


@pytest.mark.parametrize(
    ("name", "written", "message"),
    [
        ("a.txt", "", "file must be named .csv or .jsonl"),
        ("a.jsonl", '{"text": "x"}\n', "document 1: has no 'label'; it has text"),
        ("a.jsonl", "{\n", "line 1: is no JSON"),
        ("a.csv", "text,label\nx,1\n", "has 1 classes in 'label', wanted are at least 2"),
        ("a.csv", "text,label\nx,1\ny,2\n", "documents enough for validation; it has 2 in all"),
    ],
)
def test_documents_that_will_not_do_are_refused(tmp_path: Path, name: str, written: str, message: str) -> None:
    (tmp_path / name).write_text(written, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(message)):
        text_classification(file=str(tmp_path / name))
