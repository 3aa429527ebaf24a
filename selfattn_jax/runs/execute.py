"""Runs a config in a folder: trains all its runs, judges them, keeps what is needed to go on after any stop."""

import io
import json
import math
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from selfattn_jax.config.schema import Config
from selfattn_jax.costs import model_costs
from selfattn_jax.runs import checkpoints
from selfattn_jax.runs.axes import Marked, scores_along, scores_by_depth
from selfattn_jax.runs.engine import Experiment, Programs, Run, RunState, make_experiment
from selfattn_jax.runs.folder import append_metrics, open_folder, read_result, truncate_metrics, write_atomically
from selfattn_jax.runs.progress import RunProgress
from selfattn_jax.tasks import Example, Task, evaluation_set, identity_hash, shortcut_points, shortcut_scores
from selfattn_jax.tasks.host_cache import told

PACKAGES = ("selfattn_jax", "jax", "jaxlib", "flax", "optax")


class Interrupted(Exception):
    """A run was stopped by Ctrl-C after saving where it was.

    Args:
      folder: of the run.  step: up to which nothing is lost.
    """

    def __init__(self, folder: Path, step: int):
        super().__init__(f"stopped at step {step}, saved in {folder}: the same command goes on from there")
        self.folder, self.step = folder, step


class StopRequest:
    """Remembers a first Ctrl-C so that the work can stop at a whole step; a second one stops at once.

    Args:
      say: told what the first one leads to, since that may take a while.
    """

    def __init__(self, say: Callable[[str], None]):
        self.say, self.made = say, False

    def __call__(self, *_: Any) -> None:
        if self.made:
            raise KeyboardInterrupt
        self.made = True
        with suppress(RuntimeError):  # Ctrl-C came while something else was being written
            self.say("stopping at the next evaluation; Ctrl-C again stops at once")


@contextmanager
def stop_requests(say: Callable[[str], None]) -> Iterator[StopRequest]:
    """Listens to Ctrl-C for as long as it lasts."""
    request = StopRequest(say)
    previous = signal.signal(signal.SIGINT, request)
    try:
        yield request
    finally:
        signal.signal(signal.SIGINT, previous)


def execute(config: Config, folder: Path, progress: RunProgress, *, label: str = "run") -> dict[str, Any]:
    """Runs a config in a folder, from the beginning or from where it was stopped.

    Args:
      config: of the experiment.
      folder: for what it writes; it may hold the same run, begun or finished.
      progress: told of every step.
      label: what progress calls it.

    Returns: the contents of result.json.
    Raises: ConfigError for what cannot work; FolderError when the folder holds something else, is written by another
      process, cannot be written, or its newest checkpoint cannot be read; Interrupted after Ctrl-C, with everything
      saved.
    """
    experiment = make_experiment(config)
    with open_folder(folder, "config.yaml", config.resolved(), "run"):
        result = read_result(folder)
        if result is not None:
            progress.skip(config.training.steps, "was done already")
            return result
        progress.begin(label)
        with told(progress.making):  # before Ctrl-C waits for a step: what is not made yet cannot be lost
            jax.block_until_ready([(task.arrays, dict(task.splits)) for task in (experiment.task, *experiment.others)])
        with stop_requests(progress.say) as stop:
            result = _Session(experiment, folder, progress, stop).work()
        if stop.made:  # too late to stop this run, but not what comes after it
            raise Interrupted(folder, config.training.steps)
        return result


class _Session:
    """One stretch of work on a run folder."""

    def __init__(self, experiment: Experiment, folder: Path, progress: RunProgress, stop: StopRequest):
        self.experiment, self.folder, self.progress, self.stop = experiment, folder, progress, stop
        self.config, self.task = experiment.config, experiment.task
        self.programs = Programs(experiment)

    def examples(self, stream: Any, size: int, task: Task | None = None) -> Example:
        drawn = evaluation_set(task or self.task, stream, size, self.config.evaluation.seed)
        return jax.tree.map(np.asarray, drawn)

    def work(self) -> dict[str, Any]:
        """Trains from where the folder stands to the end; its seconds are those of training alone."""
        started = time.monotonic()
        validation = self.examples("validation", self.config.evaluation.validation)
        states, step, seconds = self._begin()
        states = self.programs.warm(states, validation)
        compiled = time.monotonic() - started
        while step < self.config.training.steps:
            if self.stop.made:
                self._save(step, states, seconds)
                raise Interrupted(self.folder, step)
            stop = self._next_stop(step)
            began = time.monotonic()
            states, losses = self.programs.train(
                states, step, stop
            )  # the losses are NumPy's: they have been waited for
            seconds += time.monotonic() - began
            scores = self._record(states, validation, step, stop, losses)
            self.progress.advance(stop - step, f"{self.task.metric} {_summary(scores)}")
            every = self.config.training.checkpoint_every
            if stop // every > step // every or stop == self.config.training.steps:
                self._save(stop, states, seconds)
            step = stop
        return self._finish(states, validation, seconds, compiled)

    def _begin(self) -> tuple[RunState, int, float]:
        """The states to start from, the step they stand at, and the seconds of training spent before."""
        states = self.programs.initial()
        step = checkpoints.latest_step(self.folder)
        if step is None:
            truncate_metrics(self.folder, -1)
            return states, 0, 0.0
        saved = checkpoints.restore(self.folder, step, self._kept(states, 0.0))
        truncate_metrics(self.folder, step)
        self.progress.say(f"{self.folder}: goes on from step {step}")
        self.progress.skip(step, "")
        return self.programs.place(saved["states"]), step, float(saved["seconds"])

    def _save(self, step: int, states: RunState, seconds: float) -> None:
        checkpoints.save(self.folder, step, self._kept(states, seconds))

    def _kept(self, states: RunState, seconds: float) -> dict[str, Any]:
        return {"states": self.programs.gather(states), "seconds": np.asarray(seconds, np.float32)}

    def _next_stop(self, step: int) -> int:
        training = self.config.training
        return min((step // every + 1) * every for every in (training.evaluate_every, training.steps))

    def _record(self, states: RunState, validation: Example, start: int, stop: int, train: np.ndarray) -> np.ndarray:
        """Judges all runs at `stop`, writes their lines, names who diverged on the way; returns the scores."""
        losses, scores = self.programs.judge(states, validation)
        diverged = np.asarray(states.diverged_at)
        rows = []
        for index, run in enumerate(self.experiment.runs):
            known = _identity(index, run)
            measured = {"train_loss": train, "validation_loss": losses, "validation_score": scores}
            numbers = {name: number(values[index]) for name, values in measured.items()}
            rows.append({"step": stop, **known, **numbers, "diverged_at": _divergence(diverged[index])})
            if start <= diverged[index] < stop:
                rate = run.hyperparameters.learning_rate
                self.progress.say(
                    f"run {index} (seed {run.seed}, learning rate {rate:g}) stopped at step {diverged[index]}: its "
                    "loss or gradient was not finite; the other runs go on"
                )
        append_metrics(self.folder, rows)
        return scores

    def _finish(self, states: RunState, validation: Example, seconds: float, compiled: float) -> dict[str, Any]:
        self.progress.note("testing")
        test = self.examples("test", self.config.evaluation.test)
        _, validation_scores = self.programs.judge(states, validation)
        test_losses, test_scores = self.programs.judge(states, test)
        diverged = np.asarray(states.diverged_at)
        measured = {"validation_score": validation_scores, "test_score": test_scores, "test_loss": test_losses}
        runs = [
            {
                **_identity(index, run),
                **{name: number(values[index]) for name, values in measured.items()},
                "diverged_at": _divergence(diverged[index]),
            }
            for index, run in enumerate(self.experiment.runs)
        ]
        marked = [self._marked(states, test, self.task)]
        also = [self._also(index, states, marked) for index in range(len(self.experiment.others))]
        sign = 1 if self.task.higher_is_better else -1
        best = int(np.argmax(np.nan_to_num(sign * validation_scores, nan=-np.inf)))
        write_atomically(self.folder / "attention.npz", self._attention(states, best, test))
        seed = self.config.evaluation.seed
        result = {
            "task": _data_identity(self.task, seed, test),
            "metric": self.task.metric,
            "solved_at": self.task.solved_at,
            "baselines": shortcut_scores(self.task, test, seed),
            "runs": runs,
            "also": also,
            "axes": scores_along(marked),
            "depths": scores_by_depth(marked),
            **model_costs(self.config),
            "seconds": seconds,
            "compile_seconds": compiled,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
            "device": f"{len(self.programs.mesh.devices)} x {jax.devices()[0].device_kind}",
        }
        write_atomically(self.folder / "result.json", _json(result))
        return result

    def _also(self, index: int, states: RunState, marked: list[Marked]) -> dict[str, Any]:
        """The test of all runs on another task of `evaluation.also`; what they scored is added to `marked`."""
        task, seed = self.experiment.others[index], self.config.evaluation.seed
        knobs = self.config.evaluation.also[index].model_dump()
        self.progress.note("testing " + ", ".join(f"{name}={value}" for name, value in knobs.items()))
        test = self.examples("test", self.config.evaluation.test, task)
        marked.append(self._marked(states, test, task))
        asked = marked[-1].points * test.weights
        scores = asked.reshape(len(asked), -1).sum(axis=1) / max(test.weights.sum(), 1)
        return {
            "knobs": knobs,
            "task": _data_identity(task, seed, test),
            "baselines": shortcut_scores(task, test, seed),
            "runs": [number(score) for score in scores],
        }

    def _marked(self, states: RunState, test: Example, task: Task) -> Marked:
        """What every answer of all runs, and of the task's shortcuts, scores."""
        shortcuts = shortcut_points(task, test, self.config.evaluation.seed)
        arrays = {name: np.asarray(points, np.float32) for name, points in shortcuts.items()}
        return Marked(test, self.programs.mark(states, test, task), arrays)

    def _attention(self, states: RunState, run: int, test: Example) -> bytes:
        """attention.npz: the weights [layers,H,T,S] of one run on the first test example, where the mixer has any."""
        state = jax.tree.map(lambda leaf: np.asarray(leaf[run]), states)
        inputs, key_mask = test.inputs[:1], self.task.key_mask(jax.tree.map(lambda leaf: leaf[:1], test))
        matrices = jax.jit(lambda state: self.experiment.encoder(state).weights(inputs, key_mask=key_mask))(state)
        present = [np.asarray(matrix[0]) for matrix in matrices if matrix is not None]
        buffer = io.BytesIO()
        arrays: dict[str, Any] = {"weights": np.stack(present)} if present else {}
        np.savez_compressed(buffer, inputs=inputs[0], run=np.asarray(run), **arrays)
        return buffer.getvalue()


def number(value: Any) -> float | None:
    """A finite number for JSON, or None."""
    value = float(value)
    return value if math.isfinite(value) else None


def _identity(index: int, run: Run) -> dict[str, Any]:
    return {"run": index, "seed": run.seed, "learning_rate": float(run.hyperparameters.learning_rate)}


def _data_identity(task: Task, seed: int, test: Example) -> dict[str, Any]:
    return {"name": task.name, "version": task.version, "seed": seed, "hash": identity_hash(task, test)}


def _divergence(step: int) -> int | None:
    return int(step) if step >= 0 else None


def _summary(scores: np.ndarray) -> str:
    finite = scores[np.isfinite(scores)]
    return f"{finite.mean():.3f} ({finite.min():.3f}–{finite.max():.3f})" if finite.size else "not finite"


def _json(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=2, allow_nan=False) + "\n"
