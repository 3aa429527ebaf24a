"""Random formulas of ListOps, many at once: grown level by level, kept by length, then written and evaluated."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from selfattn_jax.tasks.host_cache import Arrays, Tell

OPERATORS = ("MIN", "MAX", "MED", "SM")
ALPHABET = ("·", "]", *(f"[{name}" for name in OPERATORS), *map(str, range(10)))
CLOSE, FIRST_OPERATOR, FIRST_DIGIT = 1, 2, 2 + len(OPERATORS)
BLOCK = 4096  # formulas begun at once
PATIENCE = 200  # blocks in a row without a new formula before it is given up


class Shape(NamedTuple):
    """What formulas may look like.

    Attributes:
      shortest, longest: tokens, both included.
      depth: levels, the root's and the digits' included.
      arguments: of an operator, at most; at least 2.
      leaf: how likely an argument (and a root) is a digit where it may be an operator.
    """

    shortest: int
    longest: int
    depth: int
    arguments: int
    leaf: float


class Level(NamedTuple):
    """The nodes of one depth of many formulas, siblings side by side: root and parent are indices, arguments a count
    (0 = a digit); the parent is one of the level above.
    """

    root: np.ndarray
    parent: np.ndarray
    arguments: np.ndarray


def formulas(shape: Shape, count: int, seed: int, tell: Tell) -> Arrays:
    """The first formulas of a seed that fit, no two the same.

    Args:
      shape: of the formulas.  count: N.  seed: of all of them.
      tell: how many there are.
    Returns: inputs [N,longest] uint8, 0 behind the end; targets [N] uint8; levels [N] uint8.
    Raises: ValueError when formulas that fit are too rare.
    """
    inputs = np.zeros((count, shape.longest), np.uint8)
    targets, levels = np.zeros(count, np.uint8), np.zeros(count, np.uint8)
    known: set[bytes] = set()
    block = fruitless = 0
    while len(known) < count:
        before = len(known)
        for tokens, target, height in _block(shape, np.random.default_rng([seed, block])):
            written = tokens.tobytes()
            if written not in known and len(known) < count:
                at = len(known)
                inputs[at, : tokens.size], targets[at], levels[at] = tokens, target, height
                known.add(written)
        block, fruitless = block + 1, 0 if len(known) > before else fruitless + 1
        if fruitless == PATIENCE:
            raise ValueError(
                f"{PATIENCE * BLOCK:,} formulas in a row were of other lengths than shortest={shape.shortest} to "
                f"longest={shape.longest}, or known, with {len(known):,} of {count:,} found: ask for fewer, or allow "
                "other lengths"
            )
        tell("formulas", len(known), count)
    return {"inputs": inputs, "targets": targets, "levels": levels}


def longest_formula(depth: int, arguments: int) -> int:
    """How many tokens the longest formula has."""
    return 1 if depth == 1 else 2 + arguments * longest_formula(depth - 1, arguments)


def _block(shape: Shape, random: np.random.Generator) -> Iterator[tuple[np.ndarray, int, int]]:
    """The formulas of one block that fit: tokens, value and levels of each."""
    levels = _pruned(_grown(shape, random), shape)
    if levels[0].root.size == 0:
        return
    sizes = _sizes(levels)
    ends = np.cumsum(sizes[0])
    tokens, values = _written(levels, sizes, ends - sizes[0], random)
    heights = np.zeros(ends.size, np.int64)
    for height, level in enumerate(levels, start=1):
        heights[level.root] = height
    starts = zip(ends - sizes[0], ends, strict=True)
    for (start, end), value, height in zip(starts, values, heights, strict=True):
        yield tokens[start:end], int(value), int(height)


def _grown(shape: Shape, random: np.random.Generator) -> list[Level]:
    """The levels of a block of formulas; what has grown too long already grows no further."""
    root = parent = np.arange(BLOCK)
    lengths = np.zeros(BLOCK, np.int64)
    levels = []
    for depth in range(1, shape.depth + 1):
        arguments = random.integers(2, shape.arguments + 1, root.size)
        digit = (random.random(root.size) < shape.leaf) | (depth == shape.depth) | (lengths[root] > shape.longest)
        level = Level(root, parent, np.where(digit, 0, arguments))
        levels.append(level)
        lengths += np.bincount(root, weights=np.where(digit, 1, 2), minlength=BLOCK).astype(np.int64)
        parent = np.repeat(np.arange(root.size), level.arguments)
        root = root[parent]
        if root.size == 0:
            break
    return levels


def _pruned(levels: list[Level], shape: Shape) -> list[Level]:
    """The levels of the formulas of allowed lengths alone, renumbered."""
    tokens = [np.bincount(one.root, weights=np.where(one.arguments > 0, 2, 1), minlength=BLOCK) for one in levels]
    lengths = np.sum(tokens, axis=0)
    fits = (lengths >= shape.shortest) & (lengths <= shape.longest)
    number, place = np.cumsum(fits) - 1, np.arange(BLOCK)
    pruned = []
    for level in levels:
        kept = fits[level.root]
        if kept.any() or not pruned:
            pruned.append(Level(number[level.root[kept]], place[level.parent[kept]], level.arguments[kept]))
        place = np.cumsum(kept) - 1
    return pruned


def _sizes(levels: list[Level]) -> list[np.ndarray]:
    """How many tokens each node is written with, by level."""
    sizes = [np.where(level.arguments > 0, 2, 1) for level in levels]
    for at in range(len(levels) - 1, 0, -1):
        below = np.bincount(levels[at].parent, weights=sizes[at], minlength=sizes[at - 1].size)
        sizes[at - 1] = sizes[at - 1] + below.astype(np.int64)
    return sizes


def _written(
    levels: list[Level], sizes: list[np.ndarray], starts: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The tokens of all formulas one behind the other, and their values."""
    tokens = np.zeros(int(sizes[0].sum()), np.uint8)
    digits = [random.integers(0, 10, level.root.size) for level in levels]
    operators = [random.integers(0, len(OPERATORS), level.root.size) for level in levels]
    for at, level in enumerate(levels):
        if at > 0:
            starts = _starts_of_arguments(starts, level, sizes[at])
        inner = level.arguments > 0
        tokens[starts] = np.where(inner, FIRST_OPERATOR + operators[at], FIRST_DIGIT + digits[at])
        tokens[(starts + sizes[at] - 1)[inner]] = CLOSE
    values = digits[-1]
    for at in range(len(levels) - 2, -1, -1):
        above, inner = digits[at], levels[at].arguments > 0
        above[inner] = _applied(operators[at][inner], levels[at].arguments[inner], values)
        values = above
    return tokens, values


def _starts_of_arguments(starts: np.ndarray, level: Level, sizes: np.ndarray) -> np.ndarray:
    """Where each node of a level begins, from where those above it do: behind the operator and its elder siblings."""
    before = np.cumsum(sizes) - sizes
    first = np.flatnonzero(np.diff(level.parent, prepend=-1))
    siblings = np.diff(np.append(first, level.parent.size))
    return starts[level.parent] + 1 + before - np.repeat(before[first], siblings)


def _applied(operators: np.ndarray, counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The value of each operator; values holds the arguments of one behind those of the other."""
    first = np.cumsum(counts) - counts
    owner = np.repeat(np.arange(counts.size), counts)
    ordered = values[np.lexsort((values, owner))]
    middle = (ordered[first + (counts - 1) // 2] + ordered[first + counts // 2]) // 2
    results = (ordered[first], ordered[first + counts - 1], middle, np.add.reduceat(values, first) % 10)
    return np.select([operators == index for index in range(len(OPERATORS))], results)
