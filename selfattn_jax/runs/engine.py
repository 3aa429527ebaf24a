"""One config as compiled programs over its R runs: make them, train them for some steps, judge them.

A run is a pure function of its seed and hyperparameters. The R axis is sharded over devices; on one device the runs go
one after the other on a CPU (where `vmap` gains nothing) and side by side on an accelerator.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from selfattn_jax.build import (
    Hyperparameters,
    abstract_encoder,
    longest,
    make_encoder,
    make_optimizer,
    make_other_tasks,
    make_task,
)
from selfattn_jax.config.schema import Config
from selfattn_jax.modules.encoder import Encoder
from selfattn_jax.shapes import Array
from selfattn_jax.tasks import Example, Task, loss, points, predict, sample_batch, score, stream_key


class RunState(NamedTuple):
    """All that a run has learned; with the step it is all that a resume needs.

    alive is False from the step (diverged_at, else −1) at which the loss or the gradient stopped being finite.
    """

    parameters: Any
    fixed: Any
    optimizer: Any
    alive: Array
    diverged_at: Array


class Run(NamedTuple):
    """What makes one run of a config different from the others."""

    seed: int
    hyperparameters: Hyperparameters


@dataclass(frozen=True)
class Experiment:
    """A config made ready to run: its task, on which others it is tested, its model's structure and its R runs."""

    config: Config
    task: Task
    others: tuple[Task, ...]
    structure: nnx.GraphDef
    runs: tuple[Run, ...]

    def encoder(self, state: RunState) -> Encoder:
        """The encoder of one run, as a Flax module."""
        return nnx.merge(self.structure, state.parameters, state.fixed)


def make_experiment(config: Config) -> Experiment:
    """Makes a config ready to run; nothing is computed yet.

    Args:
      config: of the experiment.
    Returns: the experiment.
    Raises: ConfigError for what cannot work.
    """
    task, others = make_task(config), make_other_tasks(config)
    return Experiment(config, task, others, nnx.graphdef(abstract_encoder(config, task, others)), runs_of(config))


def runs_of(config: Config) -> tuple[Run, ...]:
    """The runs of a config: every value of the sweep with every seed."""
    training, runs = config.training, config.runs
    seeds = range(runs.seeds) if isinstance(runs.seeds, int) else runs.seeds
    rates = runs.sweep.learning_rate or (training.learning_rate,)
    return tuple(Run(seed, Hyperparameters(rate)) for rate in rates for seed in seeds)


def initial_state(experiment: Experiment, seed: Array, hyperparameters: Hyperparameters) -> RunState:
    """The state of a run before its first step."""
    rngs = nnx.Rngs(stream_key(seed, "init"))
    encoder = make_encoder(experiment.config, experiment.task, rngs, longest(experiment.task, experiment.others))
    _, parameters, fixed = nnx.split(encoder, nnx.Param, ...)
    optimizer = make_optimizer(experiment.config.training, hyperparameters).init(parameters)
    return RunState(parameters, fixed, optimizer, jnp.asarray(True), jnp.asarray(-1, jnp.int32))


def batch_loss(experiment: Experiment, parameters: Any, fixed: Any, batch: Example, rng: Array | None) -> Array:
    """The loss of one batch; rng is for dropout."""
    encoder = nnx.merge(experiment.structure, parameters, fixed)
    outputs = encoder(batch.inputs, key_mask=experiment.task.key_mask(batch), rng=rng)
    return loss(experiment.task, outputs, batch.targets, batch.weights)


def train(
    experiment: Experiment,
    state: RunState,
    seed: Array,
    hyperparameters: Hyperparameters,
    start: Array,
    stop: Array,
    data: Any = None,
) -> tuple[RunState, Array]:
    """Trains one run from step `start` up to (not including) `stop`.

    Args:
      experiment: the config made ready.  state: of the run at `start`.
      seed, hyperparameters: of the run.
      start, stop: [] int32; they are traced, so that one program serves every interval.
      data: the task's, where it has any.

    Returns: the state at `stop`, and the mean training loss over the steps that were taken (NaN where none was).
    """
    optimizer = make_optimizer(experiment.config.training, hyperparameters)
    stream = stream_key(seed, "train")

    def step(state: RunState, index: Array) -> tuple[RunState, Array]:
        data_rng, dropout_rng = jax.random.split(jax.random.fold_in(stream, index))
        batch = sample_batch(experiment.task, data_rng, experiment.config.training.batch, data)
        value, gradient = jax.value_and_grad(partial(batch_loss, experiment))(
            state.parameters, state.fixed, batch, dropout_rng
        )
        updates, slots = optimizer.update(gradient, state.optimizer, state.parameters)
        moved = state._replace(parameters=optax.apply_updates(state.parameters, updates), optimizer=slots)
        finite = jnp.isfinite(value) & jnp.isfinite(optax.tree.norm(gradient))
        stopped = state._replace(alive=jnp.asarray(False), diverged_at=index)
        return jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, stopped), value

    def guarded(index: Array, carry: tuple[RunState, Array]) -> tuple[RunState, Array]:
        state, total = carry
        zero = jnp.zeros((), jnp.float32)
        state, value = jax.lax.cond(state.alive, step, lambda state, index: (state, zero), state, index)
        return state, total + value

    state, total = jax.lax.fori_loop(start, stop, guarded, (state, jnp.zeros((), jnp.float32)))
    last = jnp.where(state.diverged_at >= 0, jnp.clip(state.diverged_at + 1, start, stop), stop)
    return state, jnp.where(last > start, total / jnp.maximum(last - start, 1), jnp.nan)


def judge(experiment: Experiment, state: RunState, batch: Example) -> tuple[Array, Array, Array]:
    """The loss and the score of one run on a batch, and how much they weigh (what the batch asks)."""
    outputs = experiment.encoder(state)(batch.inputs, key_mask=experiment.task.key_mask(batch))
    value = loss(experiment.task, outputs, batch.targets, batch.weights)
    points = score(experiment.task, predict(experiment.task, outputs), batch.targets, batch.weights)
    return value, points, jnp.sum(batch.weights)


def mark(experiment: Experiment, state: RunState, batch: Example, task: Task) -> Array:
    """What each answer of one run to a batch of a task scores: like the targets, float32."""
    outputs = experiment.encoder(state)(batch.inputs, key_mask=task.key_mask(batch))
    return points(task, predict(task, outputs), batch.targets).astype(jnp.float32)


def one_by_one(device: Any) -> bool:
    """Whether the runs on a device go one after the other: a CPU gains nothing from `vmap`."""
    return device.platform == "cpu"


class Programs:
    """The compiled programs of an experiment over all of its runs, and where their arrays live.

    Args:
      experiment: the config made ready.
      devices: to spread the runs over; all of them unless given.
    """

    def __init__(self, experiment: Experiment, devices: list | None = None):
        devices = list(devices or jax.devices())[: len(experiment.runs)]
        self.experiment = experiment
        self.mesh = Mesh(np.asarray(devices), ("runs",))
        self.count = len(experiment.runs)
        # Every device holds the same number of runs: what is missing is filled with runs that never start.
        self.padded = -(-self.count // len(devices)) * len(devices)
        rows = [*experiment.runs, *[experiment.runs[-1]] * (self.padded - self.count)]
        self.seeds = self._place(np.asarray([run.seed for run in rows], np.uint32))
        columns = zip(*(run.hyperparameters for run in rows), strict=True)
        self.hyperparameters = Hyperparameters(*(self._place(np.asarray(column, np.float32)) for column in columns))
        self.data = jax.device_put(experiment.task.arrays, NamedSharding(self.mesh, P()))
        self._train = self._over_runs(partial(train, experiment), mapped=3, donate=(0,))
        self._judge = self._over_runs(partial(judge, experiment), mapped=1)
        self._initial = self._over_runs(partial(initial_state, experiment), mapped=2)

    def _place(self, array: np.ndarray) -> Array:
        return jax.device_put(array, NamedSharding(self.mesh, P("runs")))

    def _over_runs(self, function: Callable, mapped: int, donate: tuple[int, ...] = ()) -> Callable:
        """The function of one run as a program of R: `mapped` arguments carry the axis, the rest are shared."""
        sequential = one_by_one(self.mesh.devices.flat[0])

        def local(*arguments: Any) -> Any:
            runs, shared = arguments[:mapped], arguments[mapped:]
            if sequential:
                return jax.lax.map(lambda run: function(*run, *shared), runs)
            return jax.vmap(lambda *run: function(*run, *shared))(*runs)

        def everywhere(*arguments: Any) -> Any:
            specs = (P("runs"),) * mapped + (P(),) * (len(arguments) - mapped)
            sharded = jax.shard_map(local, mesh=self.mesh, in_specs=specs, out_specs=P("runs"), check_vma=False)
            return sharded(*arguments)

        # On a CPU the compiler's last optimisations cost a third of the compile time and gain nothing measurable.
        options: dict[str, Any] | None = {"xla_backend_optimization_level": 1} if sequential else None
        return jax.jit(everywhere, donate_argnums=donate, compiler_options=options)

    def initial(self) -> RunState:
        """The states [R] of all runs before their first step."""
        states = self._initial(self.seeds, self.hyperparameters)
        return states._replace(alive=self._place(np.arange(self.padded) < self.count))

    def gather(self, states: RunState) -> RunState:
        """The states [R] of the runs alone, in NumPy: what a checkpoint keeps, however many devices there are."""
        return jax.tree.map(lambda leaf: np.asarray(leaf)[: self.count], states)

    def place(self, states: RunState) -> RunState:
        """States [R] read from a checkpoint, on the devices, filled with runs that never start."""
        rows = np.minimum(np.arange(self.padded), self.count - 1)
        alive = np.asarray(states.alive)[rows] & (np.arange(self.padded) < self.count)
        placed = jax.tree.map(lambda leaf: self._place(np.asarray(leaf)[rows]), states)
        return placed._replace(alive=self._place(alive))

    def warm(self, states: RunState, examples: Example) -> RunState:
        """Compiles training and judging before the clock starts, by taking no step; returns the states unchanged."""
        self.judge(states, examples)
        return self.train(states, 0, 0)[0]

    def train(self, states: RunState, start: int, stop: int) -> tuple[RunState, np.ndarray]:
        """Trains all runs from step `start` to `stop`: the states [R] and the mean training losses [R]."""
        states, losses = self._train(states, self.seeds, self.hyperparameters, *self._steps(start, stop), self.data)
        return states, np.asarray(losses)[: self.count]

    def judge(self, states: RunState, examples: Example) -> tuple[np.ndarray, np.ndarray]:
        """The losses [R] and scores [R] of all runs on examples [N,…], a batch at a time."""
        parts = [self._judge(states, batch) for batch in self._batches(examples)]
        losses, scores, weights = np.asarray(parts, np.float64)[:, :, : self.count].transpose(1, 0, 2)
        weights = weights / np.maximum(weights.sum(axis=0), 1)
        return (losses * weights).sum(axis=0), (scores * weights).sum(axis=0)

    def mark(self, states: RunState, examples: Example, task: Task) -> np.ndarray:
        """What each answer of all runs to examples [N,…] of a task scores: [R,N,…]."""
        program = self._over_runs(partial(mark, self.experiment, task=task), mapped=1)
        parts = [np.asarray(program(states, batch))[: self.count] for batch in self._batches(examples)]
        return np.concatenate(parts, axis=1)

    def _batches(self, examples: Example) -> Iterator[Example]:
        size = self.experiment.config.evaluation.batch
        for at in range(0, examples.inputs.shape[0], size):
            yield self._share(Example(*(leaf[at : at + size] for leaf in examples)))

    def _steps(self, start: int, stop: int) -> tuple[Array, Array]:
        place = NamedSharding(self.mesh, P())
        return jax.device_put(np.int32(start), place), jax.device_put(np.int32(stop), place)

    def _share(self, examples: Example) -> Example:
        return jax.device_put(examples, NamedSharding(self.mesh, P()))
