"""Examples of a task, written as a person would read them."""

import math
from collections.abc import Sequence

import numpy as np

from selfattn_jax.tasks import Example, Task

NOTHING = "·"
SHADES = " ░▒▓█"


def example_lines(task: Task, example: Example, width: int = 100) -> list[str]:
    """One example as lines of text: what stands at each position, what is asked there, and how far back it lies.

    Args:
      task: it came from.  example: without a leading axis.
      width: letters in a line; a longer sequence goes on below.
    Returns: the lines.
    """
    rows = _input_rows(task, example)
    asked = np.asarray(example.weights) > 0
    if task.per == "position":
        rows["targets"] = _where(asked, _targets(task, example))
        for name in ("distance", "difficulty"):
            numbers = np.asarray(getattr(example, name))
            if (numbers[asked] > 0).any():
                rows[name] = _where(asked & (numbers > 0), [str(number) for number in numbers])
    lines = _image(task, example) or _table(rows, int(np.asarray(example.key_mask).sum()), width)
    return lines if task.per == "position" else [*lines, *_answers(task, example, width)]


def _input_rows(task: Task, example: Example) -> dict[str, list[str]]:
    inputs = np.asarray(example.inputs)
    rows = {"position": [str(position) for position in range(len(inputs))]}
    if task.features is None:
        rows["inputs"] = [_word(task.alphabet, token) for token in inputs]
    else:
        for feature in range(task.features):
            name = "inputs" if task.features == 1 else f"inputs {feature}"
            rows[name] = [f"{number:.2f}".removeprefix("0") for number in inputs[:, feature]]
    return rows


def _targets(task: Task, example: Example) -> list[str]:
    targets = np.asarray(example.targets)
    if task.metric != "accuracy":
        return [f"{number:.4g}" for number in np.atleast_1d(targets)]
    words = task.classes or (task.alphabet if task.alphabet and len(task.alphabet) == task.outputs else None)
    return [_word(words, target) for target in np.atleast_1d(targets)]


def _word(words: Sequence[str] | None, number: int) -> str:
    return str(number) if words is None else words[number]


def _where(asked: np.ndarray, words: Sequence[str]) -> list[str]:
    return [word if one else NOTHING for one, word in zip(asked, words, strict=True)]


def _answers(task: Task, example: Example, width: int) -> list[str]:
    """What is asked of the sequence as a whole."""
    targets = _targets(task, example)
    facts = [f"answer {' '.join(targets)}"]
    for name in ("distance", "difficulty"):
        number = np.asarray(getattr(example, name))
        if number.ndim == 0 and number > 0:
            facts.append(f"{name} {number}")
    line = ", ".join(facts)
    return [line[at : at + width] for at in range(0, len(line), width)]


def _table(rows: dict[str, list[str]], length: int, width: int) -> list[str]:
    """Rows of words in columns as wide as their widest word, broken where a line is full; padding is left out."""
    head = max(map(len, rows))
    widths = [max(len(words[at]) for words in rows.values()) for at in range(length)]
    lines, start = [], 0
    while start < length:
        stop, used = start, head
        while stop < length and (stop == start or used + 1 + widths[stop] <= width):
            used += 1 + widths[stop]
            stop += 1
        lines += [""] if lines else []
        for name, words in rows.items():
            cells = (f"{words[at]:>{widths[at]}}" for at in range(start, stop))
            lines.append(f"{name:<{head}} {' '.join(cells)}".rstrip())
        start = stop
    return lines


def _image(task: Task, example: Example) -> list[str]:
    """A square of pixels from 0 to 1, if that is what the sequence is."""
    side = math.isqrt(task.length)
    if task.features != 1 or side * side != task.length or task.per != "sequence":
        return []
    pixels = np.asarray(example.inputs)[:, 0].reshape(side, side)
    if pixels.min() < 0 or pixels.max() > 1:
        return []
    levels = np.ceil(pixels * (len(SHADES) - 1)).astype(int)
    return ["".join(SHADES[level] * 2 for level in row) for row in levels]
