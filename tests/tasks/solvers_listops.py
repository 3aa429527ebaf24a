"""A plain evaluator of written formulas."""

import statistics

import numpy as np

from tests.tasks.answers import Answer, verdict, without_padding

WORDS = ["·", "]", "[MIN", "[MAX", "[MED", "[SM", *"0123456789"]
MEANING = {
    "[MIN": min,
    "[MAX": max,
    "[MED": lambda values: int(statistics.median(values)),
    "[SM": lambda values: sum(values) % 10,
}


def listops(inputs: np.ndarray) -> Answer:
    """Reads word after word; a bracket that closes replaces what it closes by its value."""
    outermost: list = []
    stack, levels = [outermost], 0
    for token in without_padding(inputs):
        word = WORDS[token]
        if word in MEANING:
            stack.append([word])
            levels = max(levels, len(stack))  # its arguments stand one level below it
        elif word == "]":
            operator, *values = stack.pop()
            stack[-1].append(MEANING[operator](values))
        else:
            stack[-1].append(int(word))
    (value,) = outermost
    return verdict(value, distance=0, difficulty=levels)
