"""What a solver of one example says, and the few lines every solver needs to say it."""

from typing import NamedTuple

import numpy as np


class Answer(NamedTuple):
    targets: np.ndarray
    weights: np.ndarray
    distance: np.ndarray
    difficulty: np.ndarray


def nothing_asked(length: int) -> Answer:
    """An answer per position in which no question stands yet; `ask` writes into it."""
    return Answer(
        np.zeros(length, np.int32),
        np.zeros(length, np.float32),
        np.zeros(length, np.int32),
        np.zeros(length, np.int32),
    )


def ask(answer: Answer, position: int, target: int, *, distance: int, difficulty: int) -> None:
    answer.targets[position] = target
    answer.weights[position] = 1
    answer.distance[position] = distance
    answer.difficulty[position] = difficulty


def verdict(target: int, *, distance: int, difficulty: int) -> Answer:
    """The one answer to a whole sequence."""
    return Answer(
        np.asarray(target, np.int32),
        np.asarray(1, np.float32),
        np.asarray(distance, np.int32),
        np.asarray(difficulty, np.int32),
    )


def without_padding(inputs: np.ndarray) -> list[int]:
    tokens = inputs.tolist()
    while tokens and tokens[-1] == 0:
        tokens.pop()
    return tokens
