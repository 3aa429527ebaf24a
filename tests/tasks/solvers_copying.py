"""Plain solvers of the tasks that copy, reorder, sort and count: loops over the tokens of one example."""

import numpy as np

from tests.tasks.answers import Answer, ask, nothing_asked, without_padding


def copy(inputs: np.ndarray, *, letters: int = 8, **_: object) -> Answer:
    """The markers ask for the letters, in order; whatever lies between is blank."""
    return _letters_at_markers(inputs, letters)


def selective_copy(inputs: np.ndarray, *, letters: int = 14, **_: object) -> Answer:
    """The markers ask for the letters, in order, wherever among the blanks they stood."""
    return _letters_at_markers(inputs, letters)


def reverse(inputs: np.ndarray, **_: object) -> Answer:
    """The last letter first."""
    word = without_padding(inputs)
    return _rearranged(inputs, word, list(range(len(word)))[::-1])


def duplicate(inputs: np.ndarray, *, letters: int = 2, **_: object) -> Answer:
    """The slots behind the word ask for it twice."""
    answer = nothing_asked(inputs.size)
    tokens = without_padding(inputs)
    word = [token for token in tokens if token <= letters]
    slots = [position for position, token in enumerate(tokens) if token == letters + 1]
    for slot, source in zip(slots, [*range(len(word)), *range(len(word))], strict=True):
        ask(answer, slot, word[source], distance=slot - source, difficulty=len(word))
    return answer


def missing_duplicate(inputs: np.ndarray, *, letters: int = 2, **_: object) -> Answer:
    """The hole in the second copy asks for the letter at the same place of the first."""
    answer = nothing_asked(inputs.size)
    tokens = without_padding(inputs)
    length = len(tokens) // 2
    hole = tokens.index(letters + 1)
    ask(answer, hole, tokens[:length][hole - length], distance=length, difficulty=length)
    return answer


def odds_first(inputs: np.ndarray, **_: object) -> Answer:
    """The first, third, fifth … letter, and then the second, fourth …"""
    word = without_padding(inputs)
    return _rearranged(inputs, word, [*range(0, len(word), 2), *range(1, len(word), 2)])


def sort(inputs: np.ndarray, **_: object) -> Answer:
    """The letters by size; equal ones keep their order."""
    word = without_padding(inputs)
    return _rearranged(inputs, word, sorted(range(len(word)), key=lambda place: (word[place], place)))


def bucket_sort(inputs: np.ndarray, **_: object) -> Answer:
    """The letters by size: each letter is looked for in turn, from the left."""
    word = without_padding(inputs)
    sources = []
    for letter in range(1, max(word) + 1):
        sources += [place for place, token in enumerate(word) if token == letter]
    return _rearranged(inputs, word, sources)


def histogram(inputs: np.ndarray, **_: object) -> Answer:
    """How often each letter stands in the sequence."""
    answer = nothing_asked(inputs.size)
    word = without_padding(inputs)
    for position, letter in enumerate(word):
        ask(answer, position, word.count(letter), distance=0, difficulty=len(word))
    return answer


def most_frequent(inputs: np.ndarray, **_: object) -> Answer:
    """Each letter once, the commonest first; of equally common ones, the one that appears first."""
    word = without_padding(inputs)
    firsts = [place for place, letter in enumerate(word) if letter not in word[:place]]
    return _rearranged(inputs, word, sorted(firsts, key=lambda place: (-word.count(word[place]), place)))


def _letters_at_markers(inputs: np.ndarray, letters: int) -> Answer:
    answer = nothing_asked(inputs.size)
    tokens = inputs.tolist()
    sources = [position for position, token in enumerate(tokens) if 1 <= token <= letters]
    markers = [position for position, token in enumerate(tokens) if token == letters + 1]
    for marker, source in zip(markers, sources, strict=True):
        ask(answer, marker, tokens[source], distance=marker - source, difficulty=0)
    return answer


def _rearranged(inputs: np.ndarray, word: list[int], sources: list[int]) -> Answer:
    """Position i asks for the letter at `sources[i]`."""
    answer = nothing_asked(inputs.size)
    for position, source in enumerate(sources):
        ask(answer, position, word[source], distance=abs(position - source), difficulty=len(word))
    return answer
