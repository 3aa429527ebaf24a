"""All pairs: few compositions in which every two entries of different slots meet, generated from the catalogue."""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence

from selfattn_jax import catalogue
from selfattn_jax.catalogue import Entry

Row = Mapping[str, Entry | None]
Pair = frozenset[tuple[str, Entry | None]]

POSITIONS = ("encode", "biases", "rowwise", "aggregate")


def axes() -> dict[str, list[Entry | None]]:
    """What is combined: scores, normalisers, positions, modifiers, masks and head structures; None = without."""

    def named(*slots: str) -> list[Entry | None]:
        return [entry for slot in slots for entry in catalogue.in_slot(slot).values() if entry.in_config]

    return {
        "score": named("score"),
        "normalizer": named("normalizer"),
        "position": [None, *(e for e in named(*POSITIONS) if e and e.kind == "positions")],
        "modifier": [None, *(e for e in named("modifiers", "encode") if e and e.kind == "modifiers")],
        "mask": [None, *named("mask")],
        "heads": named("heads"),
    }


def allowed(row: Row) -> bool:
    """Whether the capability table lets these entries meet."""
    score, position = row.get("score"), row.get("position")
    return not (score and position and position.requires and position.requires not in score.keeps)


def pairs_of(row: Row) -> set[Pair]:
    """The pairs of entries that meet in a composition."""
    return {frozenset(pair) for pair in itertools.combinations(row.items(), 2)}


def all_pairs(
    axes: Mapping[str, Sequence[Entry | None]], allowed: Callable[[Row], bool] = lambda row: True, seed: int = 0
) -> Iterator[Row]:
    """Rows that cover every allowed pair: each begins with a pair that is missing and takes what adds the most.

    Args:
      axes: name → values.
      allowed: whether the values of a row, or of a part of one, may stand together.
      seed: of the choice among equals.
    """
    draw = random.Random(seed)
    missing = [
        {first: x, second: y}
        for first, second in itertools.combinations(axes, 2)
        for x in axes[first]
        for y in axes[second]
        if allowed({first: x, second: y})
    ]
    draw.shuffle(missing)
    covered: set[Pair] = set()
    for start in missing:
        if pairs_of(start) <= covered:
            continue
        row = dict(start)
        for name in draw.sample(list(axes), len(axes)):
            if name not in row:
                values = [value for value in axes[name] if allowed({**row, name: value})]
                draw.shuffle(values)
                row[name] = max(values, key=lambda value, name=name: len(pairs_of({**row, name: value}) - covered))
        covered |= pairs_of(row)
        yield {name: row[name] for name in axes}
