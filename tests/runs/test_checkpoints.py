"""Checkpoints: what was saved comes back bit for bit, and the newest whole one counts."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax
import pytest

from selfattn_jax.runs import checkpoints


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


def test_a_folder_may_be_named_relative_to_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    checkpoints.save(Path("here"), 5, state(1))
    assert checkpoints.latest_step(tmp_path / "here") == 5
