"""Plain NumPy solvers: they see the inputs of one example and say what is asked, what the answer is, and how far back.

They are loops on purpose: a reader checks them against a task's drawing, and they check the task.
"""

from typing import NamedTuple

import numpy as np


class Answer(NamedTuple):
    targets: np.ndarray
    weights: np.ndarray
    distance: np.ndarray


def multi_query_recall(inputs: np.ndarray) -> Answer:
    """A key that comes for the second time asks for the token behind its first time."""
    answer = _nothing_asked(inputs.size)
    value_at: dict[int, int] = {}
    for position, token in enumerate(inputs.tolist()):
        if token in value_at:
            answer.targets[position] = inputs[value_at[token]]
            answer.weights[position] = 1
            answer.distance[position] = position - value_at[token]
        elif token != 0 and position % 2 == 0:
            value_at[token] = position + 1
    return answer


def induction(inputs: np.ndarray) -> Answer:
    """The last token asks for the token behind the one place where it stood before."""
    answer = _nothing_asked(inputs.size)
    (place,) = np.flatnonzero(inputs[:-1] == inputs[-1])
    answer.targets[-1] = inputs[place + 1]
    answer.weights[-1] = 1
    answer.distance[-1] = inputs.size - 1 - (place + 1)
    return answer


def adding(inputs: np.ndarray) -> Answer:
    """The two marked numbers are summed; the first of them lies farthest back."""
    first, second = np.flatnonzero(inputs[:, 1])
    total = inputs[first, 0] + inputs[second, 0]
    return Answer(np.asarray(total), np.asarray(1), np.asarray(inputs.shape[0] - 1 - first))


def _nothing_asked(length: int) -> Answer:
    return Answer(np.zeros(length, np.int32), np.zeros(length, np.float32), np.zeros(length, np.int32))
