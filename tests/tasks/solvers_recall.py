"""Plain solvers of the tasks that look something up: loops over the tokens of one example."""

import numpy as np

from tests.tasks.answers import Answer, ask, nothing_asked


def associative_recall(inputs: np.ndarray, **_: object) -> Answer:
    """The last token is a key and asks for the value that stood behind it."""
    answer = nothing_asked(inputs.size)
    *pairs, probe = inputs.tolist()
    keys = pairs[0::2]
    for place, key in enumerate(keys):
        if key == probe:
            value_at = 2 * place + 1
    last = len(pairs)
    ask(answer, last, pairs[value_at], distance=last - value_at, difficulty=len(set(keys)))
    return answer


def recall(inputs: np.ndarray, *, vocabulary: int = 16, **_: object) -> Answer:
    """A key that came before asks for its value."""
    return _keys_seen_before(inputs, vocabulary)


def noisy_recall(inputs: np.ndarray, *, vocabulary: int = 16, **_: object) -> Answer:
    """A key that came before asks for its value; noise tokens say nothing."""
    return _keys_seen_before(inputs, vocabulary)


def fuzzy_recall(inputs: np.ndarray, *, vocabulary: int = 16, **_: object) -> Answer:
    """A run of key tokens names an entry, the run behind it is its value, asked for token by token."""
    answer = nothing_asked(inputs.size)
    tokens = inputs.tolist()
    values: dict[tuple[int, ...], list[int]] = {}  # positions of the latest value, by the key's tokens
    position = 0
    while position < len(tokens):
        key: list[int] = []
        while position < len(tokens) and tokens[position] <= vocabulary // 2:
            key.append(tokens[position])
            position += 1
        value: list[int] = []
        while position < len(tokens) and tokens[position] > vocabulary // 2:
            value.append(position)
            position += 1
        if tuple(key) in values:
            for now, earlier in zip(value, values[tuple(key)], strict=False):
                ask(answer, now - 1, tokens[earlier], distance=now - 1 - earlier, difficulty=len(key))
        values[tuple(key)] = value
    return answer


def needle(inputs: np.ndarray, **_: object) -> Answer:
    """The last token is a key that stands once before; it asks for the token behind it."""
    answer = nothing_asked(inputs.size)
    tokens = inputs.tolist()
    last = len(tokens) - 1
    key_at = tokens.index(tokens[last])
    slot, slots = key_at // 2, last // 2
    ask(answer, last, tokens[key_at + 1], distance=last - (key_at + 1), difficulty=1 + 10 * slot // slots)
    return answer


def induction_extrapolation(inputs: np.ndarray, **_: object) -> Answer:
    """The last token is 0 and asks for the token behind the one 0 before."""
    answer = nothing_asked(inputs.size)
    tokens = inputs.tolist()
    place, last = [position for position, token in enumerate(tokens) if token == 0]
    assert last == len(tokens) - 1
    ask(answer, last, tokens[place + 1], distance=last - (place + 1), difficulty=0)
    return answer


def k_hop(inputs: np.ndarray, *, hops: int = 2, **_: object) -> Answer:
    """Go `hops` times to the place behind the latest earlier token of the same kind; what stands there?"""
    answer = nothing_asked(inputs.size)
    tokens = inputs.tolist()
    for position in range(len(tokens)):
        place = position
        for _hop in range(hops):
            earlier = [j for j in range(place) if tokens[j] == tokens[place]]
            if not earlier:
                break
            place = earlier[-1] + 1
        else:
            ask(answer, position, tokens[place], distance=position - place, difficulty=hops)
    return answer


def compression(inputs: np.ndarray, **_: object) -> Answer:
    """The last position holds all tokens before it."""
    last = inputs.size - 1
    answer = nothing_asked(last)
    for position in range(last):
        ask(answer, position, inputs[position], distance=last - position, difficulty=0)
    return answer


def memorization(inputs: np.ndarray, *, table: np.ndarray, vocabulary: int = 256, **_: object) -> Answer:
    """A blank asks for the value that belongs to the key before it; `table` holds the values by key."""
    answer = nothing_asked(inputs.size)
    for position in range(1, inputs.size, 2):
        assert inputs[position] == vocabulary
        ask(answer, position, table[inputs[position - 1]], distance=1, difficulty=0)
    return answer


def _keys_seen_before(inputs: np.ndarray, vocabulary: int) -> Answer:
    """Tokens below half the vocabulary are keys, and the token behind a key is its value."""
    answer = nothing_asked(inputs.size)
    tokens = inputs.tolist()
    value_at: dict[int, int] = {}  # position of the latest value, by key
    for position, key in enumerate(tokens):
        if key >= vocabulary // 2:
            continue
        if key in value_at:
            earlier = value_at[key]
            distance = position - earlier
            ask(answer, position, tokens[earlier], distance=distance, difficulty=len(value_at))
        value_at[key] = position + 1
    return answer
