"""Running a config in a folder: what it leaves there, and that no stop at any moment changes what comes out."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from rich.console import Console

from selfattn_jax.config import to_yaml
from selfattn_jax.config.schema import Config
from selfattn_jax.runs import checkpoints, execute
from selfattn_jax.runs.engine import Programs
from selfattn_jax.runs.execute import Interrupted, stop_requests
from selfattn_jax.runs.folder import FolderError, read_config
from selfattn_jax.runs.progress import RunProgress
from selfattn_jax.tasks import evaluation_set, identity_hash, shortcut_scores
from tests.tiny import experiment_of, programs_of, share_programs, tiny

# Three runs for two devices, one of them diverges; judged at 4, 8, 12 and 14, kept at 8, 12 and 14.
SWEEP = "runs.sweep.training.learning_rate=[0.01, 1e30, 0.003]"
CONFIG = tiny("runs.seeds=[5]", "training.steps=14", "training.checkpoint_every=6", SWEEP)
JUDGED = (4, 8, 12, 14)


class Killed(BaseException):
    """Stands for a kill: nothing that the package does may catch it."""


class Watched(RunProgress):
    """Progress that writes into a text, and does something when a step has been judged, or at a note."""

    def __init__(self, at: int | str | None = None, action: Callable[[], Any] = lambda: None):
        self.text = io.StringIO()
        super().__init__(Console(file=self.text, width=200), CONFIG.training.steps)
        self.at, self.action = at, action

    def note(self, note: str) -> None:
        super().note(note)
        if note == self.at:
            self.action()

    def advance(self, steps: int, note: str) -> None:
        super().advance(steps, note)
        if self.done == self.at and steps:
            self.action()


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def kill() -> None:
    raise Killed


class Finished(NamedTuple):
    """A run that nothing stopped."""

    folder: Path
    result: dict[str, Any]


@pytest.fixture(autouse=True, scope="module")
def _shared_programs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        share_programs(patch)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished") / "deep" / "run"
    return Finished(folder, execute.execute(CONFIG, folder, Watched()))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def parameters_of(folder: Path, config: Config = CONFIG) -> Any:
    programs = programs_of(experiment_of(config))
    like = {"states": programs.gather(programs.initial()), "seconds": np.float32(0)}
    return checkpoints.restore(folder, config.training.steps, like)["states"]


def assert_same_outcome(folder: Path, finished: Finished) -> None:
    """Bit for bit: every row, every score, every parameter."""
    assert rows_of(folder) == rows_of(finished.folder)
    timeless = {key: value for key, value in finished.result.items() if not key.endswith("seconds")}
    assert {key: value for key, value in result_of(folder).items() if not key.endswith("seconds")} == timeless
    left, right = (jax.tree.leaves(parameters_of(path)) for path in (folder, finished.folder))
    for mine, theirs in zip(left, right, strict=True):
        np.testing.assert_array_equal(mine, theirs)


# What a run leaves.


def test_a_run_folder_holds_what_the_design_says(finished: Finished) -> None:
    names = {".lock", "config.yaml", "metrics.jsonl", "result.json", "attention.npz", "checkpoints"}
    assert {path.name for path in finished.folder.iterdir()} == names


def test_metrics_hold_a_line_per_run_and_evaluation(finished: Finished) -> None:
    rows = rows_of(finished.folder)
    assert [(row["step"], row["run"]) for row in rows] == [(step, run) for step in JUDGED for run in range(3)]
    fields = "step run seed learning_rate train_loss validation_loss validation_score diverged_at"
    assert all(list(row) == fields.split() for row in rows)
    assert {(row["run"], row["seed"], row["learning_rate"]) for row in rows} == {
        (0, 5, 0.01),
        (1, 5, 1e30),
        (2, 5, 0.003),
    }


def test_metrics_tell_a_divergence_and_no_number_that_is_none(finished: Finished) -> None:
    diverged = [row for row in rows_of(finished.folder) if row["run"] == 1]
    assert [row["diverged_at"] for row in diverged] == [1, 1, 1, 1]
    assert [row["train_loss"] for row in diverged] == [None] * 4
    healthy = [row for row in rows_of(finished.folder) if row["run"] != 1]
    assert all(row["diverged_at"] is None and np.isfinite(row["train_loss"]) for row in healthy)


def test_the_result_holds_what_the_design_says(finished: Finished) -> None:
    result = finished.result
    design = "task metric solved_at baselines runs also axes depths parameters forward_flops seconds compile_seconds"
    design += " versions"
    assert {*design.split()} <= {*result}
    assert {*result} - {*design.split()} == {"state_bytes", "activation_bytes", "device"}
    assert list(result["task"]) == ["name", "version", "seed", "hash"]
    fields = "run seed learning_rate validation_score test_score test_loss diverged_at"
    assert [list(run) for run in result["runs"]] == [fields.split()] * 3
    assert {"python", "selfattn_jax", "jax", "jaxlib", "flax", "optax"} == {*result["versions"]}
    assert result["device"] == "2 x cpu"
    assert 0 < result["seconds"] < 100
    assert 0 < result["compile_seconds"] < 100


def test_the_result_file_is_the_result_in_strict_json(finished: Finished) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    text = (finished.folder / "result.json").read_text()
    assert json.loads(text, parse_constant=refuse) == finished.result


def test_the_result_is_judged_on_the_test_stream_and_says_which(finished: Finished) -> None:
    programs = programs_of(experiment_of(CONFIG))
    task = programs.experiment.task
    test = evaluation_set(task, "test", 12, 0)
    losses, scores = programs.judge(programs.place(parameters_of(finished.folder)), jax.tree.map(np.asarray, test))
    for run in (0, 2):
        assert finished.result["runs"][run]["test_loss"] == losses[run]
        assert finished.result["runs"][run]["test_score"] == scores[run]
    assert finished.result["task"]["hash"] == identity_hash(task, test)
    assert finished.result["baselines"] == shortcut_scores(task, test, 0)


def test_the_result_repeats_the_last_validation_scores(finished: Finished) -> None:
    last = {row["run"]: row["validation_score"] for row in rows_of(finished.folder) if row["step"] == 14}
    assert {run["run"]: run["validation_score"] for run in finished.result["runs"]} == last


def test_the_attention_of_the_best_run_is_kept(finished: Finished) -> None:
    with np.load(finished.folder / "attention.npz") as file:
        kept = dict(file)
    scores = [run["validation_score"] for run in finished.result["runs"]]
    assert int(kept["run"]) == np.argmin([np.inf if score is None else score for score in scores])
    assert kept["weights"].shape == (1, 1, 8, 8)
    np.testing.assert_allclose(kept["weights"].sum(axis=-1), 1, rtol=1e-5)
    test = evaluation_set(experiment_of(CONFIG).task, "test", 12, 0)
    np.testing.assert_array_equal(kept["inputs"], test.inputs[0])


def test_only_the_newest_checkpoints_are_kept_and_the_last_step_is_one(finished: Finished) -> None:
    assert sorted(int(path.name) for path in (finished.folder / "checkpoints").iterdir()) == [12, 14]


def test_a_divergence_is_said_once(tmp_path: Path) -> None:
    progress = Watched()
    execute.execute(CONFIG, tmp_path, progress)
    said = progress.text.getvalue()
    assert said.count("stopped at step 1: its loss or gradient was not finite") == 1
    assert "run 1 (seed 5, learning rate 1e+30)" in said


# Stopping and going on.


@pytest.mark.parametrize("step", [4, 8, 12])
def test_a_run_stopped_by_ctrl_c_ends_as_if_it_had_not_been(tmp_path: Path, finished: Finished, step: int) -> None:
    progress = Watched(step, press)
    with pytest.raises(Interrupted) as stopped:
        execute.execute(CONFIG, tmp_path, progress)
    assert stopped.value.step == step
    assert progress.text.getvalue().endswith("stopping at the next evaluation; Ctrl-C again stops at once\n")
    assert str(stopped.value) == f"stopped at step {step}, saved in {tmp_path}: the same command goes on from there"
    assert not (tmp_path / "result.json").exists()
    progress = Watched()
    execute.execute(CONFIG, tmp_path, progress)
    assert f"goes on from step {step}" in progress.text.getvalue()
    assert progress.done == progress.total == 14
    assert_same_outcome(tmp_path, finished)


def test_a_run_stopped_again_and_again_ends_as_if_it_had_not_been(tmp_path: Path, finished: Finished) -> None:
    for step in JUDGED[:-1]:
        with pytest.raises(Interrupted):
            execute.execute(CONFIG, tmp_path, Watched(step, press))
    execute.execute(CONFIG, tmp_path, Watched())
    assert_same_outcome(tmp_path, finished)


def test_ctrl_c_before_the_first_step_stops_there(tmp_path: Path, finished: Finished) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "latest_step", lambda folder: press())
        with pytest.raises(Interrupted, match="stopped at step 0"):
            execute.execute(CONFIG, tmp_path, Watched())
    execute.execute(CONFIG, tmp_path, Watched())
    assert_same_outcome(tmp_path, finished)


def test_ctrl_c_while_testing_lets_the_run_finish_and_then_stops(tmp_path: Path, finished: Finished) -> None:
    with pytest.raises(Interrupted, match="stopped at step 14"):
        execute.execute(CONFIG, tmp_path, Watched("testing", press))
    assert_same_outcome(tmp_path, finished)


def test_a_second_ctrl_c_stops_at_once_and_loses_nothing_that_was_saved(tmp_path: Path, finished: Finished) -> None:
    def twice() -> None:
        press()
        press()

    with pytest.raises(KeyboardInterrupt):
        execute.execute(CONFIG, tmp_path, Watched(12, twice))
    progress = Watched()
    execute.execute(CONFIG, tmp_path, progress)
    assert "goes on from step 8" in progress.text.getvalue()
    assert_same_outcome(tmp_path, finished)


@pytest.mark.parametrize("step", [4, 8, 12, 14])
def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path, finished: Finished, step: int) -> None:
    with pytest.raises(Killed):
        execute.execute(CONFIG, tmp_path, Watched(step, kill))
    assert rows_of(tmp_path)[-1]["step"] == step  # later than any checkpoint
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 16, "run": 0, "see')
    execute.execute(CONFIG, tmp_path, Watched())
    assert_same_outcome(tmp_path, finished)


def test_a_run_killed_while_testing_need_not_train_again(tmp_path: Path, finished: Finished) -> None:
    with pytest.raises(Killed):
        execute.execute(CONFIG, tmp_path, Watched("testing", kill))
    progress = Watched(14, kill)  # would be killed if it took a step
    progress.at = None
    execute.execute(CONFIG, tmp_path, progress)
    assert "goes on from step 14" in progress.text.getvalue()
    assert_same_outcome(tmp_path, finished)


def test_a_run_killed_while_making_its_folder_begins_anew(tmp_path: Path, finished: Finished) -> None:
    (tmp_path / "config.yaml.partial").write_text("task:\n  na")
    execute.execute(CONFIG, tmp_path, Watched())
    assert_same_outcome(tmp_path, finished)


def test_half_a_checkpoint_is_passed_over(tmp_path: Path, finished: Finished) -> None:
    with pytest.raises(Interrupted):
        execute.execute(CONFIG, tmp_path, Watched(8, press))
    (tmp_path / "checkpoints" / "12.orbax-checkpoint-tmp" / "state").mkdir(parents=True)
    execute.execute(CONFIG, tmp_path, Watched())
    assert_same_outcome(tmp_path, finished)


def test_a_damaged_checkpoint_is_refused_and_removed_it_is_forgotten(tmp_path: Path, finished: Finished) -> None:
    with pytest.raises(Interrupted):
        execute.execute(CONFIG, tmp_path, Watched(12, press))
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [8, 12]
    (tmp_path / "checkpoints" / "12" / "state" / "_METADATA").unlink()
    with pytest.raises(FolderError, match=r"checkpoints/12: this checkpoint is damaged.* goes on from step 8 \("):
        execute.execute(CONFIG, tmp_path, Watched())
    shutil.rmtree(tmp_path / "checkpoints" / "12")
    execute.execute(CONFIG, tmp_path, Watched())
    assert_same_outcome(tmp_path, finished)


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_devices(tmp_path: Path, finished: Finished) -> None:
    with pytest.raises(Interrupted):
        execute.execute(CONFIG, tmp_path, Watched(8, press))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "Programs", lambda experiment: Programs(experiment, jax.devices()[:1]))
        result = execute.execute(CONFIG, tmp_path, Watched())
    assert result["device"] == "1 x cpu"
    for mine, theirs in zip(rows_of(tmp_path), rows_of(finished.folder), strict=True):
        assert {key for key in mine if mine[key] is None} == {key for key in theirs if theirs[key] is None}
        known = {key: value for key, value in theirs.items() if value is not None}
        assert {key: mine[key] for key in known} == pytest.approx(known, rel=1e-5)


def test_the_seconds_are_of_training_alone_and_add_up_over_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        """It stands still but for what a test lets pass."""

        now = 0.0

        def monotonic(self) -> float:
            return self.now

        def passing(self, seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
            def later(*arguments: Any) -> Any:
                self.now += seconds
                return function(*arguments)

            return later

    clock = Clock()
    monkeypatch.setattr(execute, "time", clock)
    monkeypatch.setattr(checkpoints, "save", clock.passing(1000, checkpoints.save))
    monkeypatch.setattr(Programs, "judge", clock.passing(1000, Programs.judge))
    monkeypatch.setattr(Programs, "warm", lambda programs, states, examples: states)  # it trains for no step
    monkeypatch.setattr(Programs, "train", clock.passing(10, Programs.train))
    for step in (4, 8):
        with pytest.raises(Interrupted):
            execute.execute(CONFIG, tmp_path, Watched(step, press))
    assert execute.execute(CONFIG, tmp_path, Watched())["seconds"] == 10 * len(JUDGED)


# The same and another command.


def test_the_same_command_on_a_finished_run_returns_at_once(
    finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "Programs", kill)
    progress = Watched()
    assert execute.execute(CONFIG, finished.folder, progress) == finished.result
    assert progress.done == 14


def test_another_config_does_not_run_in_the_folder_of_a_run(finished: Finished) -> None:
    other = tiny("runs.seeds=[5]", "training.steps=14", "training.checkpoint_every=6", "model.width=16")
    before = {path: path.read_bytes() for path in finished.folder.glob("*.*")}
    with pytest.raises(FolderError) as refused:
        execute.execute(other, finished.folder, Watched())
    lines = str(refused.value).splitlines()
    assert lines[0] == f"{finished.folder}: already holds a different run: choose another --out, or remove it"
    assert lines[1:] == [
        "  model.width: there 8, here 16",
        "  runs.sweep.training.learning_rate: there [0.01, 1e+30, 0.003], here []",
    ]
    assert {path: path.read_bytes() for path in finished.folder.glob("*.*")} == before


def test_the_saved_config_runs_again_exactly(tmp_path: Path, finished: Finished) -> None:
    config = read_config(finished.folder)
    assert config == CONFIG
    execute.execute(config, tmp_path, Watched())
    assert_same_outcome(tmp_path, finished)


def test_two_do_not_write_one_folder(tmp_path: Path) -> None:
    refusals = []

    def again() -> None:
        with pytest.raises(FolderError) as refused:
            execute.execute(CONFIG, tmp_path, Watched())
        refusals.append(str(refused.value))

    execute.execute(CONFIG, tmp_path, Watched(8, again))
    assert refusals == [f"{tmp_path}: is being written by another process: wait for it, or choose another --out"]
    assert [row["step"] for row in rows_of(tmp_path)] == [step for step in JUDGED for _ in range(3)]


# Ctrl-C itself.


def test_ctrl_c_is_given_back_when_a_run_ends_or_fails(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted):
        execute.execute(CONFIG, tmp_path, Watched(4, press))
    assert signal.getsignal(signal.SIGINT) is before
    with pytest.raises(Killed):
        execute.execute(CONFIG, tmp_path, Watched(8, kill))
    assert signal.getsignal(signal.SIGINT) is before
    execute.execute(CONFIG, tmp_path, Watched())
    assert signal.getsignal(signal.SIGINT) is before


def test_a_first_request_is_remembered_and_a_second_stops_at_once() -> None:
    lines: list[str] = []
    with stop_requests(lines.append) as request:
        assert not request.made
        press()
        assert request.made
        with pytest.raises(KeyboardInterrupt):
            press()
    assert lines == ["stopping at the next evaluation; Ctrl-C again stops at once"]


def test_a_request_of_an_earlier_run_is_none_of_the_next() -> None:
    with stop_requests(print):
        press()
    with stop_requests(print) as request:
        assert not request.made


def test_ctrl_c_in_the_middle_of_a_line_is_remembered_too() -> None:
    def busy(line: str) -> None:
        raise RuntimeError("reentrant call inside <_io.BufferedWriter>")

    with stop_requests(busy) as request:
        press()
        assert request.made


# Real processes.

COMMAND = """
import jax
from pathlib import Path
from rich.console import Console
from selfattn_jax.config import read, validate
from selfattn_jax.config.schema import Config
from selfattn_jax.runs.execute import execute
from selfattn_jax.runs.progress import RunProgress
import sys

jax.config.update("jax_num_cpu_devices", 2)
config = validate(read(sys.argv[1]), Config)
execute(config, Path(sys.argv[2]), RunProgress(Console(), config.training.steps))
"""


@pytest.mark.slow
def test_a_process_killed_at_any_moment_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    often = ("training.steps=400", "training.evaluate_every=2", "training.checkpoint_every=2")
    config = tiny("runs.seeds=[5]", *often, SWEEP)
    (tmp_path / "config.yaml").write_text(to_yaml(config.resolved()))
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }

    def run(folder: str, *, seconds: float = 120) -> str:
        """Runs, kills it after some seconds, and returns what it said."""
        arguments = [sys.executable, "-c", COMMAND, tmp_path / "config.yaml", tmp_path / folder]
        with (tmp_path / "said").open("w+") as said:
            try:
                subprocess.run(arguments, env=environment, stdout=said, stderr=said, timeout=seconds, check=False)
            except subprocess.TimeoutExpired:
                said.write("killed")
            said.seek(0)
            return said.read()

    said = run("whole")
    assert "Error" not in said, said
    random = np.random.default_rng(0)
    for _ in range(8):
        said = run("killed", seconds=random.uniform(3, 12))
        assert "Error" not in said, said
    said = run("killed")
    assert "Error" not in said, said
    assert rows_of(tmp_path / "killed") == rows_of(tmp_path / "whole")
    assert result_of(tmp_path / "killed")["runs"] == result_of(tmp_path / "whole")["runs"]


def test_further_tests_are_told_in_the_result_beside_what_they_are_made_of(tmp_path: Path) -> None:
    config = tiny("evaluation.also=[{length: 16}]", "training.steps=4", "runs.seeds=2")
    result = execute.execute(config, tmp_path / "run", Watched())
    (also,) = result["also"]
    task, other = experiment_of(config).task, experiment_of(config).others[0]
    assert also["knobs"] == {"length": 16}
    assert also["task"]["hash"] == identity_hash(other, evaluation_set(other, "test", 12, 0)) != result["task"]["hash"]
    assert also["baselines"] == shortcut_scores(other, evaluation_set(other, "test", 12, 0), 0)
    assert len(also["runs"]) == 2
    length = result["axes"]["length"]
    assert (length["low"], length["count"], length["trained"]) == ([task.length, other.length], [12, 12], task.length)
    for run, whole in enumerate(result["runs"]):
        np.testing.assert_allclose(length["runs"][run], [whole["test_score"], also["runs"][run]], rtol=1e-5)
    for name, score in result["baselines"].items():
        np.testing.assert_allclose(length["shortcuts"][name], [score, also["baselines"][name]], rtol=1e-5)
    assert list(length["shortcuts"]) == list(task.shortcuts)
    depths = result["depths"]
    count = np.array(depths["count"])
    assert (depths["low"], depths["trained"], count.sum(axis=0).tolist()) == ([8, 16], 8, [12, 12])
    for run, cells in enumerate(depths["runs"]):
        means = np.nansum(np.array(cells, np.float64) * count, axis=0) / 12
        np.testing.assert_allclose(means, length["runs"][run], rtol=1e-5)
