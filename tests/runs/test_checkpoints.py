"""Checkpoints: what was saved comes back bit for bit, and the newest whole one counts."""

import gc
import logging
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax
import pytest

from selfattn_jax.runs import checkpoints
from selfattn_jax.runs.folder import FolderError


class State(NamedTuple):
    """A named tuple, as states of runs are."""

    parameters: dict[str, Any]
    optimizer: Any
    alive: np.ndarray


def state(value: float) -> State:
    parameters = {"kernel": np.full((3, 2), value, np.float32), "odd": np.asarray([np.nan, -0.0, np.inf], np.float32)}
    adam = optax.ScaleByAdamState(np.full(3, value, np.int32), parameters, parameters)  # pyright: ignore
    return State(parameters, (optax.EmptyState(), adam), np.asarray([True, False, True]))


def assert_same(first: State, second: State) -> None:
    for key in ("kernel", "odd"):
        np.testing.assert_array_equal(first.parameters[key].view(np.int32), second.parameters[key].view(np.int32))
    np.testing.assert_array_equal(first.optimizer[1].count, second.optimizer[1].count)
    np.testing.assert_array_equal(first.alive, second.alive)


def test_a_folder_without_checkpoints_has_no_latest_step(tmp_path: Path) -> None:
    assert checkpoints.latest_step(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    assert checkpoints.latest_step(tmp_path) is None


def test_what_was_saved_comes_back_bit_for_bit_in_its_own_types(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, 7, state(1.5))
    assert checkpoints.latest_step(tmp_path) == 7
    found = checkpoints.restore(tmp_path, 7, state(0))
    assert isinstance(found, State)
    assert isinstance(found.optimizer[1], optax.ScaleByAdamState)
    assert_same(found, state(1.5))


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 15, 20):
        checkpoints.save(tmp_path, step, state(step))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["15", "20"]
    assert checkpoints.latest_step(tmp_path) == 20
    assert_same(checkpoints.restore(tmp_path, 15, state(0)), state(15))


def test_a_step_that_was_saved_is_not_saved_again(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, 5, state(1))
    checkpoints.save(tmp_path, 5, state(2))
    assert_same(checkpoints.restore(tmp_path, 5, state(0)), state(1))


def test_half_a_checkpoint_does_not_count(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, 5, state(1))
    (tmp_path / "checkpoints" / "10.orbax-checkpoint-tmp").mkdir()
    assert checkpoints.latest_step(tmp_path) == 5
    checkpoints.save(tmp_path, 10, state(2))
    assert_same(checkpoints.restore(tmp_path, 10, state(0)), state(2))


PARTS = ("state/_METADATA", "state/manifest.ocdbt", "state/d")


@pytest.mark.parametrize("damage", ["deleted", pytest.param("truncated", marks=pytest.mark.slow)])
@pytest.mark.parametrize("part", PARTS)
def test_a_damaged_checkpoint_says_what_to_do_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], part: str, damage: str
) -> None:
    for step in (5, 10):
        checkpoints.save(tmp_path, step, state(step))
    newest = tmp_path / "checkpoints" / "10"
    path = newest / part
    [path] = path.iterdir() if path.is_dir() else [path]
    path.unlink() if damage == "deleted" else path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FolderError) as refused:
        checkpoints.restore(tmp_path, 10, state(0))
    message = f"{newest}: this checkpoint is damaged, or of another version: "
    assert str(refused.value).startswith(message + "remove it, and the same command goes on from step 5 (")
    assert "Error: " in str(refused.value), "and why it could not be read"
    gc.collect()
    assert capfd.readouterr().err == ""
    shutil.rmtree(newest)
    assert checkpoints.latest_step(tmp_path) == 5
    assert_same(checkpoints.restore(tmp_path, 5, state(0)), state(5))


def test_a_damaged_checkpoint_that_is_the_only_one_means_to_begin_again(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / "5").mkdir(parents=True)
    with pytest.raises(FolderError, match=r"checkpoints/5: .* remove it, and the same command begins again \(\w+: "):
        checkpoints.restore(tmp_path, 5, state(0))


def test_too_little_memory_is_no_fault_of_the_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise MemoryError

    checkpoints.save(tmp_path, 5, state(5))
    monkeypatch.setattr(checkpoints.ocp.training.Checkpointer, "load", full)
    with pytest.raises(MemoryError):
        checkpoints.restore(tmp_path, 5, state(0))


def test_what_a_kill_leaves_is_passed_over_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (5, 10):
        checkpoints.save(tmp_path, step, state(step))
    (tmp_path / "checkpoints" / "5" / "_CHECKPOINT_METADATA").unlink()  # killed while it removed the oldest
    (tmp_path / "checkpoints" / "15.orbax-checkpoint-tmp").mkdir()  # and while it wrote the newest
    with caplog.at_level("WARNING"):
        assert checkpoints.latest_step(tmp_path) == 10
        checkpoints.save(tmp_path, 15, state(15))
    assert caplog.messages == []
    assert_same(checkpoints.restore(tmp_path, 15, state(0)), state(15))


def test_other_warnings_are_heard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with checkpoints._checkpointer(tmp_path):
        logging.getLogger("absl").warning("Failed to delete file %s", "5")
        logging.getLogger("absl").warning("Metadata file does not exist: %s", "5")
    assert caplog.messages == ["Failed to delete file 5"]


def test_a_folder_may_be_named_relative_to_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints.save(Path("here"), 5, state(1))
    assert checkpoints.latest_step(tmp_path / "here") == 5
