"""ListOps: nested formulas of digits, made here or read from the files of Long Range Arena."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt

from selfattn_jax.shapes import Array
from selfattn_jax.tasks.host_cache import Arrays, cached_arrays
from selfattn_jax.tasks.listops_files import files_of, read_split
from selfattn_jax.tasks.listops_formulas import (
    ALPHABET,
    CLOSE,
    FIRST_DIGIT,
    FIRST_OPERATOR,
    OPERATORS,
    Shape,
    formulas,
    longest_formula,
)
from selfattn_jax.tasks.task import Example, Task, integers_below, make_example, require, require_lengths

SPLITS = ("test", "validation", "train")
# The commonest value under each operator at the root; of a sum modulo 10 none is much commoner.
COMMONEST = {"MIN": 0, "MAX": 9, "MED": 4, "SM": 6}


def listops(
    *,
    shortest: Annotated[int, Ge(4)] = 501,
    longest: Annotated[int, Ge(4)] = 1999,
    depth: Annotated[int, Ge(2)] = 10,
    arguments: Annotated[int, Ge(2)] = 10,
    leaf: Annotated[float, Gt(0), Lt(1)] = 0.75,
    training: Annotated[int, Ge(1)] = 96_000,
    held_out: Annotated[int, Ge(1)] = 2000,
    seed: Annotated[int, Ge(0)] = 0,
) -> Task:
    """What is the value of a nested formula of digits?

        inputs   [MAX  2  9  [MIN  4  7  ]  0  [SM  8  5  ]  ]   ·  ·        target 9

    MIN, MAX, MED (the median, rounded down) and SM (the sum modulo 10). From the root down a node is a digit with
    probability leaf, else an operator with 2 to `arguments` arguments; at level `depth` there are digits alone. Kept
    are formulas of `shortest` to `longest` tokens, brackets of grouping not counted; no two are the same. They are made
    once for all runs (96,000 in half a minute) and kept in the user's cache folder. Difficulty is the number of levels.

    Shortcuts, at the defaults: `majority` the commonest value (0.17); `root_operator` the value that is commonest under
    the first operator (0.36); `root_and_leaves` the same, but for MIN and MAX the extreme of the digits that stand
    directly under it (0.42); `root_of_leaves` any first operator on these digits alone (0.48).

    Args:
        shortest, longest: tokens of a formula, T = longest.
        depth: levels, those of the root and of the digits included.
        arguments: of an operator, at most.
        leaf: how likely a node is a digit where it may be an operator; Long Range Arena's VALUE_P is 1 − leaf.
        training, held_out: formulas to train on, and as many for validation as for the test.
        seed: of the formulas, the same for all runs.
    Returns: the task; a class per sequence.
    Raises: ValueError for lengths that no formula of this depth has.
    References: Nangia and Bowman 2018 (arXiv:1804.06028); Long Range Arena (arXiv:2011.04006).
    """
    require_lengths(shortest, longest, least=4)
    reach = longest_formula(depth, arguments)
    require(shortest <= reach, "shortest", shortest, f"at most {reach}, the longest formula of depth={depth}")
    shape = Shape(shortest, longest, depth, arguments, leaf)
    content = {"version": 1, "count": training + 2 * held_out, "seed": seed, **shape._asdict()}
    bounds = {"test": (0, held_out), "validation": (held_out, 2 * held_out), "train": (2 * held_out, content["count"])}

    @cache
    def splits() -> Mapping[str, Arrays]:
        made = cached_arrays("listops", content, partial(formulas, shape, content["count"], seed))
        return {name: {key: array[slice(*bounds[name])] for key, array in made.items()} for name in SPLITS}

    return _task("listops", longest, splits)


def listops_files(*, folder: str, longest: Annotated[int, Ge(4)] = 2000) -> Task:
    """What is the value of a formula of the published ListOps files?

        basic_train.tsv     Source                               Target
                            ( ( ( [MAX 2 ) 9 ) ] )               9

    Reads basic_train.tsv, basic_val.tsv and basic_test.tsv of Long Range Arena's release, drops the brackets of
    grouping, and asks what `listops` asks, with the same shortcuts. Formulas are cut off behind `longest` tokens.
    What was read is kept in the user's cache folder; files that changed are read again.

    Args:
        folder: where the three files are.
        longest: T.
    Returns: the task; a class per sequence.
    Raises: ValueError when a file is missing or a line is no formula with its value.
    References: Long Range Arena (arXiv:2011.04006).
    """
    paths = files_of(Path(folder).expanduser())

    @cache
    def splits() -> Mapping[str, Arrays]:
        return {split: read_split(path, longest) for split, path in paths.items()}

    return _task("listops_files", longest, splits)


def _task(name: str, longest: int, splits: Callable[[], Mapping[str, Arrays]]) -> Task:
    """The task of formulas that are there, or are made when they are first needed."""

    def examples(split: str) -> Example:
        return jax.vmap(_example)(_on_device(splits()[split]))

    return Task(
        name=name,
        version=1,
        length=longest,
        vocabulary=len(ALPHABET),
        outputs=10,
        per="sequence",
        causal=False,
        sample=_sample,
        shortcuts={
            "majority": _majority,
            "root_operator": _root_operator,
            "root_and_leaves": _root_and_leaves,
            "root_of_leaves": _root_of_leaves,
        },
        fixed=lambda: {split: examples(split) for split in ("validation", "test")},
        padded=True,
        data=lambda: _on_device(splits()["train"]),
        alphabet=ALPHABET,
    )


def _on_device(arrays: Arrays) -> dict[str, Array]:
    return {name: jnp.asarray(array) for name, array in arrays.items()}


def _example(formula: Mapping[str, Array]) -> Example:
    inputs, target, levels = (formula[name].astype(jnp.int32) for name in ("inputs", "targets", "levels"))
    return make_example(inputs, target, jnp.asarray(True), key_mask=inputs > 0, difficulty=levels)


def _sample(rng: Array, data: Mapping[str, Array], /) -> Example:
    index = integers_below(jax.random.bits(rng, (), jnp.uint32), data["targets"].shape[0])
    return _example({name: array[index] for name, array in data.items()})


def _majority(rng: Array, inputs: Array, /) -> Array:
    del rng, inputs
    return jnp.full((), COMMONEST["MAX"], jnp.int32)


def _root_operator(rng: Array, inputs: Array, /) -> Array:
    del rng
    return jnp.asarray([COMMONEST[name] for name in OPERATORS], jnp.int32)[inputs[0] - FIRST_OPERATOR]


def _root_and_leaves(rng: Array, inputs: Array, /) -> Array:
    """Of MIN and MAX the extreme of the digits directly under them; of the others what is commonest."""
    extreme = inputs[0] < FIRST_OPERATOR + OPERATORS.index("MED")
    return jnp.where(extreme, _root_of_leaves(rng, inputs), _root_operator(rng, inputs))


def _root_of_leaves(rng: Array, inputs: Array, /) -> Array:
    """The first operator on the digits that stand directly under it; where there are none, what is commonest."""
    opens = (inputs >= FIRST_OPERATOR) & (inputs < FIRST_DIGIT)
    level = jnp.cumsum(opens.astype(jnp.int32) - (inputs == CLOSE).astype(jnp.int32))
    values = jnp.where((level == 1) & (inputs >= FIRST_DIGIT), inputs - FIRST_DIGIT, -1)
    counts = (values[:, None] == jnp.arange(10)[None, :]).sum(axis=0)
    total, below = counts.sum(), jnp.cumsum(counts)

    def ranked(rank: Array) -> Array:
        return jnp.argmax(below > rank).astype(jnp.int32)

    middle = (ranked((total - 1) // 2) + ranked(total // 2)) // 2
    of_sum = (counts * jnp.arange(10)).sum() % 10
    results = jnp.stack([ranked(jnp.zeros_like(total)), ranked(total - 1), middle, of_sum])
    return jnp.where(total > 0, results[inputs[0] - FIRST_OPERATOR], _root_operator(rng, inputs))
