"""Plain NumPy solvers: they see the inputs of one example and say what is asked, what the answer is, and how far back.

They are loops on purpose: a reader checks them against a task's drawing, and they check the task.
"""

import numpy as np

from tests.tasks.answers import Answer, ask, nothing_asked, verdict


def multi_query_recall(inputs: np.ndarray) -> Answer:
    """A key that comes for the second time asks for the token behind its first time."""
    answer = nothing_asked(inputs.size)
    value_at: dict[int, int] = {}
    asked = []
    for position, token in enumerate(inputs.tolist()):
        if token in value_at:
            asked.append((position, value_at[token]))
        elif token != 0 and position % 2 == 0:
            value_at[token] = position + 1
    for position, place in asked:
        ask(answer, position, inputs[place], distance=position - place, difficulty=len(value_at))
    return answer


def induction(inputs: np.ndarray) -> Answer:
    """The last token asks for the token behind the one place where it stood before."""
    answer, last = nothing_asked(inputs.size), inputs.size - 1
    (place,) = np.flatnonzero(inputs[:-1] == inputs[-1])
    ask(answer, last, inputs[place + 1], distance=last - (place + 1), difficulty=0)
    return answer


def adding(inputs: np.ndarray) -> Answer:
    """The two marked numbers are summed; the first of them lies farthest back."""
    first, second = np.flatnonzero(inputs[:, 1])
    total = inputs[first, 0] + inputs[second, 0]
    return verdict(0, distance=inputs.shape[0] - 1 - first, difficulty=0)._replace(targets=np.asarray(total))
