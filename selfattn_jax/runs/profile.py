"""How long a training step takes, and how much of it goes into making the batch."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from selfattn_jax.runs.engine import Experiment, initial_state, train
from selfattn_jax.shapes import Array
from selfattn_jax.tasks import sample_batch, stream_key

STEPS = 20
ROUNDS = 5


class Profile(NamedTuple):
    """Seconds of one step of one run on one device.

    Attributes:
      step: the batch, the gradient and the update.
      sampling: the batch alone.
    """

    step: float
    sampling: float


def profile(experiment: Experiment) -> Profile:
    """Times a few steps of the first run, the two programs in turns; the quickest round counts.

    Args:
      experiment: the config made ready.
    Returns: the seconds.
    """
    run = experiment.runs[0]
    seed, first, last = jnp.uint32(run.seed), jnp.int32(0), jnp.int32(STEPS)
    data = experiment.task.arrays
    state = jax.jit(lambda seed: initial_state(experiment, seed, run.hyperparameters))(seed)
    training = jax.jit(lambda state, seed, data: train(experiment, state, seed, run.hyperparameters, first, last, data))
    sampling = jax.jit(lambda seed, data: _batches(experiment, seed, data))
    calls: list[Callable[[], Any]] = [lambda: training(state, seed, data), lambda: sampling(seed, data)]
    for call in calls:
        jax.block_until_ready(call())
    rounds = [[_seconds(call) / STEPS for call in calls] for _ in range(ROUNDS)]
    return Profile(*map(min, zip(*rounds, strict=True)))


def _batches(experiment: Experiment, seed: Array, data: Any) -> Array:
    """Makes the batches of some steps; their sum keeps the compiler from leaving any of it out."""
    stream = stream_key(seed, "train")

    def step(index: Array, total: Array) -> Array:
        batch = sample_batch(experiment.task, jax.random.fold_in(stream, index), experiment.config.training.batch, data)
        return total + sum(jnp.sum(leaf.astype(jnp.float32)) for leaf in batch)

    return jax.lax.fori_loop(0, STEPS, step, jnp.zeros((), jnp.float32))


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began
