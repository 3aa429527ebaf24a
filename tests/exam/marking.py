"""How an exam is marked: by the oracles of `tests/oracles`, head by head, each with the knobs that it has itself."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from selfattn_jax import catalogue
from selfattn_jax.catalogue import Entry
from selfattn_jax.functional.aggregate import matmul
from selfattn_jax.functional.bind import Bound, bind
from selfattn_jax.modules.attention import SelfAttention
from selfattn_jax.modules.heads import Differential, Talking
from tests import oracles
from tests.exam.sitting import SEVERAL, B, H, Question, asked_of_head, own_knobs, slot_of


def oracle_of(kind: str, name: str) -> Callable:
    """The oracle KIND_NAME. An entry without one fails."""
    wanted = f"{kind.removesuffix('s')}_{name}"
    if not hasattr(oracles, wanted):
        pytest.fail(f"tests/oracles has no {wanted}: write it from the equation, in plain loops")
    return getattr(oracles, wanted)


def expected(entry: Entry, piece: Bound, asked: Question) -> dict[str, np.ndarray]:
    """What the oracles say, head by head: output [B,T,H,V], scores and weights [B,H,T,S], log_normalizer [B,H,T], …."""
    heads = [[_expected_head(entry, piece, asked, example, head) for head in range(H)] for example in range(B)]
    stacked = {name: np.array([[head[name] for head in example] for example in heads]) for name in heads[0][0]}
    return {**stacked, "output": stacked["output"].swapaxes(1, 2)}


def _expected_head(entry: Entry, piece: Bound, asked: Question, example: int, head: int) -> dict[str, np.ndarray]:
    positions = {"query_positions": asked.query_positions, "key_positions": asked.key_positions}
    query, key, value, mask = asked_of_head(asked, example, head)[:4]
    seen = composed({slot_of(entry): (piece,)}, query, key, value, mask, positions, (example, head))
    knobs = own_knobs(piece, example, head)
    normalizer = entry.name if slot_of(entry) == "normalizer" else "softmax"
    log_normalizer = getattr(oracles, f"log_normalizer_{normalizer}", None)
    if log_normalizer is not None:
        given = knobs if slot_of(entry) == "normalizer" else {}
        offered = {"scores": seen["scores"], "mask": seen["mask"], "visible": seen["mask"].sum(axis=1)}
        seen["log_normalizer"] = _told(log_normalizer, given, **offered)
    seen["scores"] = np.where(seen["mask"], seen["scores"], -np.inf)
    return seen | {"entropy": oracles.entropy(seen["weights"])}


def composed(
    pieces: Mapping[str, Sequence[Bound]],
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    mask: np.ndarray,
    positions: Mapping[str, np.ndarray],
    place: tuple[int, int],
) -> dict[str, np.ndarray]:
    """What the oracles say of one head: output, weights, scores and mask, of pieces by slot; the others are plain.

    Args:
      pieces: slot → bound pieces, with the axes B and H; the place says which example and head.
      mask: [T,S], beside the masks among the pieces.
    """

    def told(piece: Bound, **available: Any) -> Any:
        entry = entry_of(piece)
        return _told(oracle_of(entry.kind, entry.name), own_knobs(piece, *place), **available, **positions)

    for piece in pieces.get("mask", ()):
        mask = mask & told(piece)
    length = oracles.length_of(mask, **positions)
    calls = {
        "encode": lambda piece, query, key, *_: told(piece, query=query, key=key, length=length),
        "score": lambda piece, query, key: told(piece, query=query, key=key),
        "modifiers": lambda piece, scores, visible, *_: told(piece, scores=scores, visible=visible),
        "biases": lambda piece, *_: told(piece, query=query, key=oracles.zero_hidden(key, mask)),
        "rowwise": lambda piece, scores, query, mask: told(piece, scores=scores, query=query, mask=mask),
        "normalizer": lambda piece, scores, mask, visible: told(piece, scores=scores, mask=mask, visible=visible),
        "aggregate": lambda piece, weights, value: told(piece, weights=weights, value=value),
    }
    plain = {"score": oracles.score_scaled_dot, "normalizer": oracles.normalizer_softmax}
    filled = {
        slot: [functools.partial(calls[slot], piece) for piece in pieces[slot]] for slot in pieces if slot != "mask"
    }
    given = {slot: tuple(found) if slot in SEVERAL else found[0] for slot, found in filled.items() if found}
    seen = oracles.attend(query, key, value, mask=mask, **positions, **plain | given)
    return seen | {"mask": mask, "value": oracles.zero_hidden(value, mask)}


def entry_of(piece: Bound) -> Entry:
    """The catalogue's entry of a bound piece."""
    (entry,) = (entry for entry in catalogue.entries if bind(entry.function).function is piece.function)
    return entry


def expected_layer(
    layer: SelfAttention, projected: Sequence[np.ndarray], key_mask: np.ndarray, inputs: np.ndarray
) -> np.ndarray:
    """What the oracles say of a layer's heads [B,T,H,V] for its projections, before it finishes them."""
    query, key, value = projected
    pieces = layer.mixer.pieces(causal=False, key_mask=None, inputs=inputs)
    bound = {
        slot: tuple(piece for piece in (found if isinstance(found, tuple) else (found,)) if piece is not None)
        for slot, found in pieces.items()
        if slot != "dropout"
    }
    bound = {slot: found for slot, found in bound.items() if slot != "aggregate" or found[0].function is not matmul}
    heads, groups = layer.heads.count, layer.heads.groups
    positions = {name: np.arange(query.shape[1]) for name in ("query_positions", "key_positions")}
    outputs = np.zeros((*query.shape[:2], heads, value.shape[-1]))
    for example in range(len(query)):

        def seen(head: int, copy: int = 0, copies: int = 1, example: int = example) -> dict[str, np.ndarray]:
            group = head // (heads // groups)
            rows = query[example, :, head * copies + copy], key[example, :, group * copies + copy]
            mask = np.broadcast_to(key_mask[example], (query.shape[1], key.shape[1]))
            return composed(bound, *rows, value[example, :, group], mask, positions, (example, head))

        outputs[example] = np.stack(_of_structure(layer, seen, bound, positions, example), axis=1)
    return outputs


def _of_structure(layer: SelfAttention, seen: Callable, bound: Mapping, positions: Mapping, example: int) -> list:
    """The outputs of all heads, with what is between them."""
    heads = range(layer.heads.count)
    if isinstance(layer, Differential):
        scale = np.asarray(layer.scale(), np.float64)
        return [seen(h, 0, 2)["output"] - scale[h] * seen(h, 1, 2)["output"] for h in heads]
    if not isinstance(layer, Talking):
        return [seen(head)["output"] for head in heads]
    alone = [seen(head) for head in heads]
    before, after = (np.asarray(matrix[...], np.float64) for matrix in (layer.before, layer.after))
    raw = [np.where(head["mask"], head["scores"], 0) for head in alone]
    scores = [sum(before[h, g] * raw[g] for g in heads) for h in heads]
    weights = [_of_scores(bound, scores[h], alone[h]["mask"], positions, (example, h)) for h in heads]
    mixed = [np.where(alone[h]["mask"], sum(after[h, g] * weights[g] for g in heads), 0) for h in heads]
    return [_aggregated(bound, mixed[h], alone[h]["value"], positions, (example, h)) for h in heads]


def _of_scores(bound: Mapping, scores: np.ndarray, mask: np.ndarray, positions: Mapping, place: tuple) -> np.ndarray:
    (piece,) = bound["normalizer"]
    oracle = oracle_of("normalizers", entry_of(piece).name)
    return _told(oracle, own_knobs(piece, *place), scores=scores, mask=mask, visible=mask.sum(axis=1), **positions)


def _aggregated(bound: Mapping, weights: np.ndarray, value: np.ndarray, positions: Mapping, place: tuple) -> np.ndarray:
    for piece in bound.get("aggregate", ()):
        oracle = oracle_of("positions", entry_of(piece).name)
        return _told(oracle, own_knobs(piece, *place), weights=weights, value=value, **positions)
    return oracles.aggregate_matmul(weights, value)


def _told(oracle: Callable, knobs: dict[str, Any], **available: Any) -> Any:
    """Calls an oracle with its knobs and, out of what its slot has, with what its parameters name."""
    wanted = inspect.signature(oracle).parameters
    return oracle(**{name: value for name, value in available.items() if name in wanted}, **knobs)
