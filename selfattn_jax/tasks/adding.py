"""Adding: two marked numbers of a long sequence are to be summed."""

from functools import partial

import jax
import jax.numpy as jnp

from selfattn_jax.shapes import Array, PositiveInt
from selfattn_jax.tasks.task import Example, Task, integers_below, require, unit_interval


def adding(*, length: PositiveInt = 100) -> Task:
    """Among uniform numbers one in each half is marked, and the answer is the sum of the two.

        length 8

        position     0     1     2     3     4     5     6     7
        value      .21   .94   .30   .77   .58   .06   .42   .85
        marker       0     1     0     0     0     0     1     0        target .94 + .42 = 1.36, distance 6

    Values are uniform on [0, 1). The distance reaches from the end of the sequence back to the first marker.

    A score of 0.01 counts as solved: a sixteenth of what always saying 1 scores, an eighth of `first_marked`.
    Shortcuts: `predict_one` always says 1, the mean (mean squared error 1/6); `first_marked` knows the first marked
    number and takes 1/2 for the other (1/12).

    Args:
        length: numbers in the sequence, at least 2; the first half has length // 2.
    Returns: the task; a number per sequence, inputs [T,2] of value and marker.
    Raises: ValueError naming the knob, what came and the bound.
    References: Hochreiter and Schmidhuber 1997, Long Short-Term Memory, experiment 4; state-spaces/s4, src/dataloaders.
    """
    require(length >= 2, "length", length, "at least 2: each half holds a marker")
    return Task(
        name="adding",
        version=1,
        length=length,
        features=2,
        outputs=1,
        per="sequence",
        metric="mean_squared_error",
        solved_at=0.01,
        causal=False,
        sample=partial(_sample, length=length),
        shortcuts={"predict_one": _predict_one, "first_marked": _first_marked},
    )


def _sample(rng: Array, /, *, length: int) -> Example:
    half = length // 2
    bits = jax.random.bits(rng, (length + 2,), jnp.uint32)
    first = integers_below(bits[0], half)
    second = half + integers_below(bits[1], length - half)
    values = unit_interval(bits[2:])

    positions = jnp.arange(length, dtype=jnp.int32)
    marked = (positions == first) | (positions == second)
    return Example(
        inputs=jnp.stack([values, marked.astype(jnp.float32)], axis=1),
        targets=values[first] + values[second],
        weights=jnp.ones((), jnp.float32),
        key_mask=jnp.ones(length, bool),
        distance=length - 1 - first,
        difficulty=jnp.zeros((), jnp.int32),
    )


def _predict_one(rng: Array, inputs: Array, /) -> Array:
    del rng
    return jnp.ones((), inputs.dtype)


def _first_marked(rng: Array, inputs: Array, /) -> Array:
    del rng
    values, markers = inputs[:, 0], inputs[:, 1]
    return values[jnp.argmax(markers)] + 0.5
