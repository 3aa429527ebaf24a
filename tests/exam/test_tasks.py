"""Tasks: what their declarations say is what they sample."""

import functools
import os
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from selfattn_jax import build
from selfattn_jax.tasks import Task
from tests.exam.sitting import every, read_config
from tests.tasks.files import knobs_of

every_task = every(lambda entry: entry.kind == "tasks")


@functools.cache
def made(entry) -> Task:
    """The task as a config without knobs makes it, or with those that let it read a file or make little."""
    knobs = knobs_of(entry.name, Path(tempfile.mkdtemp(dir=os.environ["XDG_CACHE_HOME"])))
    return build.make("task", read_config(entry, knobs), {})


@functools.cache
def samplers(entry):
    task = made(entry)
    data = () if task.data is None else (task.arrays,)
    one, many = jax.jit(task.sample), jax.jit(jax.vmap(task.sample, in_axes=(0, *(None for _ in data))))
    return lambda key: one(key, *data), lambda keys: many(keys, *data)


@every_task
def test_says_its_name(entry):
    assert made(entry).name == entry.name


@every_task
def test_samples_what_it_declares(entry):
    task, example = made(entry), samplers(entry)[0](jax.random.key(0))
    answers = () if task.answers is None else (task.answers,)
    per_target = (task.length,) if task.per == "position" else answers
    assert example.inputs.shape == ((task.length,) if task.features is None else (task.length, task.features))
    assert example.inputs.dtype == (jnp.int32 if task.features is None else jnp.float32)
    assert example.targets.dtype == (jnp.int32 if task.metric == "accuracy" else jnp.float32)
    for name, dtype in (
        ("targets", example.targets.dtype),
        ("weights", jnp.float32),
        ("distance", jnp.int32),
        ("difficulty", jnp.int32),
    ):
        leaf = getattr(example, name)
        assert (leaf.shape, leaf.dtype) == (per_target, dtype), name
    assert (example.key_mask.shape, example.key_mask.dtype) == ((task.length,), jnp.bool_)


@every_task
def test_stays_within_its_vocabulary_and_asks_for_something(entry):
    task, batch = made(entry), samplers(entry)[1](jax.random.split(jax.random.key(1), 3))
    if task.vocabulary is not None:
        assert (batch.inputs >= 0).all()
        assert (batch.inputs < task.vocabulary).all()
    if task.metric == "accuracy":
        assert (batch.targets >= 0).all()
        assert (batch.targets < task.outputs).all()
    assert all(np.asarray(leaf).any() for leaf in (batch.weights, batch.key_mask))
    assert np.isfinite(np.asarray(batch.inputs, np.float32)).all()


@every_task
def test_a_key_gives_one_example_alone_or_in_a_batch(entry):
    one, many = samplers(entry)
    keys = jax.random.split(jax.random.key(1), 3)
    batch, again = many(keys), many(keys)
    jax.tree.map(np.testing.assert_array_equal, batch, again)
    jax.tree.map(lambda leaf, alone: np.testing.assert_array_equal(leaf[1], alone), batch, one(keys[1]))
    assert not np.array_equal(batch.inputs[0], batch.inputs[1])
