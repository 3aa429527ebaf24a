"""Drawings of examples: what a person reads is what the example holds."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from selfattn_jax.reports.examples import example_lines
from selfattn_jax.tasks import Example, adding, induction
from selfattn_jax.tasks.task import make_example

TASK = induction(length=4, vocabulary=4)
DRAWN = make_example(
    jnp.array([3, 0, 2, 3]),
    jnp.array([9, 9, 9, 1]),
    jnp.array([False, False, False, True]),
    key_mask=jnp.ones(4, bool),
    distance=2,
)


def test_rows_stand_below_each_other_and_what_is_not_asked_is_a_dot():
    assert example_lines(TASK, DRAWN) == [
        "position 0 1 2 3",
        "inputs   3 0 2 3",
        "targets  · · · 1",
        "distance · · · 2",
    ]


def test_a_long_sequence_goes_on_below():
    lines = example_lines(TASK, DRAWN, width=12)
    assert lines[:5] == ["position 0 1", "inputs   3 0", "targets  · ·", "distance · ·", ""]
    assert lines[5:] == ["position 2 3", "inputs   2 3", "targets  · 1", "distance · 2"]


def test_words_stand_for_tokens_and_padding_is_left_out():
    task = replace(TASK, alphabet=("·", "a", "b", "long"))
    padded = make_example(
        jnp.array([3, 1, 2, 2]), jnp.array([1, 0, 0, 0]), jnp.arange(4) == 0, key_mask=jnp.arange(4) < 2
    )
    assert example_lines(task, padded) == ["position    0 1", "inputs   long a", "targets     a ·"]


def test_an_answer_of_the_whole_sequence_stands_below():
    values = jnp.array([[0.25, 0], [0.5, 1]])
    number = Example(values, jnp.float32(0.75), jnp.float32(1), jnp.ones(2, bool), jnp.int32(1), jnp.int32(0))
    assert example_lines(adding(length=2), number) == [
        "position   0    1",
        "inputs 0 .25  .50",
        "inputs 1 .00 1.00",
        "answer 0.75, distance 1",
    ]


def test_an_image_is_drawn_as_one():
    task = replace(adding(length=4), features=1, outputs=2, metric="accuracy")
    ink = jnp.array([[0.0], [0.25], [0.6], [1.0]])
    image = jax.tree.map(np.asarray, make_example(ink, jnp.int32(1), jnp.array(True)))
    assert example_lines(task, image) == ["  ░░", "▓▓██", "answer 1"]
