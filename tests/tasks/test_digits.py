import sys

import jax
import numpy as np
import pytest

from selfattn_jax.tasks import Example, Task, digits, evaluation_set, identity_hash
from tests.tasks.checks import assert_likely, assert_shortcuts, build

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def task() -> Task:
    return build(digits)


@pytest.fixture(scope="module")
def label_of() -> dict[bytes, int]:
    """The label of every image, straight from scikit-learn; no image comes twice."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return {np.float32(image).tobytes(): int(label) for image, label in zip(images, labels, strict=True)}


def images_of(examples: Example) -> list[bytes]:
    return [np.float32(inputs[:, 0] * 16).tobytes() for inputs in np.asarray(examples.inputs)]


@pytest.fixture(scope="module")
def drawn(task: Task) -> Example:
    return evaluation_set(task, "train", 20_000, 0)


def test_every_image_bears_its_label(task: Task, drawn: Example, label_of: dict[bytes, int]) -> None:
    for examples in (drawn, evaluation_set(task, "validation", 1, 0), evaluation_set(task, "test", 1, 0)):
        np.testing.assert_array_equal(examples.targets, [label_of[image] for image in images_of(examples)])
        assert np.asarray(examples.weights).all()
        assert np.asarray(examples.key_mask).all()


def test_the_three_parts_share_no_image_and_miss_none(task: Task, drawn: Example, label_of: dict[bytes, int]) -> None:
    parts = [drawn, evaluation_set(task, "validation", 1, 0), evaluation_set(task, "test", 1, 0)]
    train, validation, test = (set(images_of(examples)) for examples in parts)
    assert (len(train), len(validation), len(test)) == (1197, 300, 300)
    assert train | validation | test == set(label_of)


@pytest.mark.parametrize("stream", ["validation", "test"])
def test_digits_come_in_equal_shares(task: Task, stream: str, label_of: dict[bytes, int]) -> None:
    counts = np.bincount(task.splits[stream].targets, minlength=10)
    everywhere = np.bincount(list(label_of.values()))
    assert (abs(counts - everywhere * 300 / 1797) < 2).all()


def test_training_draws_uniformly(drawn: Example) -> None:
    _, counts = np.unique(np.asarray(drawn.inputs), axis=0, return_counts=True)
    assert_likely(counts, np.ones(1197))


def test_the_split_is_the_recorded_one(task: Task) -> None:
    assert {name: identity_hash(task, examples) for name, examples in task.splits.items()} == {
        "validation": "848fa6447a7ae983",
        "test": "add16df6df0aa772",
    }


def test_shortcuts_score_as_documented(task: Task) -> None:
    half_of_the_last_digit = 0.005 / 4
    figures = {"majority": 0.1, "nearest_histogram": 0.2, "nearest_mean": 0.9}
    assert_shortcuts(task, {name: (figure, half_of_the_last_digit) for name, figure in figures.items()})


def test_arrays_live_on_the_device(task: Task) -> None:
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(dict(task.splits)))


def test_a_missing_scikit_learn_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r'pip install "selfattn_jax\[data\]"'):
        digits()
