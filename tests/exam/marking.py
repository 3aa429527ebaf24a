"""How an exam is marked: by the oracles of `tests/oracles.py`, head by head, each with the knobs that it has itself."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from selfattn_jax.catalogue import Entry
from selfattn_jax.functional.bind import Bound
from tests import oracles
from tests.exam.sitting import SEVERAL, B, H, Question, asked_of_head, own_knobs, slot_of


def oracle_of(kind: str, name: str) -> Callable:
    """The oracle KIND_NAME. An entry without one fails."""
    wanted = f"{kind.removesuffix('s')}_{name}"
    if not hasattr(oracles, wanted):
        pytest.fail(f"tests/oracles.py has no {wanted}: write it from the equation, in plain loops")
    return getattr(oracles, wanted)


def expected(entry: Entry, piece: Bound, asked: Question) -> dict[str, np.ndarray]:
    """What the oracles say, head by head: output [B,T,H,V], weights and scores [B,H,T,S], log_normalizer [B,H,T]."""
    heads = [[_expected_head(entry, piece, asked, example, head) for head in range(H)] for example in range(B)]
    stacked = {name: np.array([[head[name] for head in example] for example in heads]) for name in heads[0][0]}
    return {**stacked, "output": stacked["output"].swapaxes(1, 2)}


def _expected_head(entry: Entry, piece: Bound, asked: Question, example: int, head: int) -> dict[str, np.ndarray]:
    knobs = own_knobs(piece, example, head)
    oracle, slot = oracle_of(entry.kind, entry.name), slot_of(entry)
    positions = {"query_positions": asked.query_positions, "key_positions": asked.key_positions}
    query, key, value, mask = asked_of_head(asked, example, head)[:4]
    mask = mask & (np.arange(len(key)) < asked.lengths[example])
    if slot == "mask":
        mask &= _told(oracle, knobs, **positions)
    calls = {
        "encode": lambda query, key, *_: _told(oracle, knobs, query=query, key=key, **positions),
        "score": lambda query, key: _told(oracle, knobs, query=query, key=key, **positions),
        "modifiers": lambda scores, visible, *_: _told(oracle, knobs, scores=scores, visible=visible, **positions),
        "biases": lambda *_: _told(oracle, knobs, query=query, key=oracles.zero_hidden(key, mask), **positions),
        "rowwise": lambda scores, query, mask: _told(oracle, knobs, scores=scores, query=query, mask=mask),
        "normalizer": lambda scores, mask, visible: _told(oracle, knobs, scores=scores, mask=mask, visible=visible),
    }
    plain = {"score": oracles.score_scaled_dot, "normalizer": oracles.normalizer_softmax}
    pieces = {str(slot): (calls[slot],) if slot in SEVERAL else calls[slot]} if slot in calls else {}
    head_result = oracles.attend(query, key, value, mask=mask, **positions, **plain | pieces)
    if slot == "aggregate":
        value = oracles.zero_hidden(value, mask)
        head_result["output"] = _told(oracle, knobs, weights=head_result["weights"], value=value, **positions)
    log_normalizer = getattr(oracles, f"log_normalizer_{entry.name if slot == 'normalizer' else 'softmax'}", None)
    if log_normalizer is not None:
        given = knobs if slot == "normalizer" else {}
        head_result["log_normalizer"] = log_normalizer(head_result["scores"], mask, **given)
    head_result["scores"] = np.where(mask, head_result["scores"], -np.inf)
    return head_result


def _told(oracle: Callable, knobs: dict[str, Any], **available: Any) -> Any:
    """Calls an oracle with its knobs and, out of what its slot has, with what its parameters name."""
    wanted = inspect.signature(oracle).parameters
    return oracle(**{name: value for name, value in available.items() if name in wanted}, **knobs)
