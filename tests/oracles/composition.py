"""The pieces put together: one head, several heads, what can be seen inside, and dropout."""

import functools
import inspect
import math

import numpy as np

from tests.oracles.helpers import dot, double, table
from tests.oracles.normalizers import normalizer_softmax
from tests.oracles.scores import score_scaled_dot


def aggregate_matmul(weights, value):
    """yᵢᵥ = Σⱼ wᵢⱼ vⱼᵥ."""
    weights, value = double(weights), double(value)
    return table(weights.shape[0], value.shape[1], lambda i, v: dot(weights[i], value[:, v]))


def zero_hidden(rows, mask):
    """kⱼ ← 0 where no query sees j: what every query is kept from may hold NaN."""
    result = double(rows).copy()
    for j in range(len(result)):
        if not any(mask[i][j] for i in range(len(mask))):
            result[j] = 0.0
    return result


def length_of(mask, query_positions, key_positions):
    """1 + the largest position among the keys that some query sees and the queries that see some key; 0 without any."""
    mask = np.asarray(mask)
    alive = [int(query_positions[i]) for i in range(mask.shape[0]) if any(mask[i])]
    seen = [int(key_positions[j]) for j in range(mask.shape[1]) if any(mask[:, j])]
    return max(alive + seen, default=-1) + 1


def placed(piece, **positions):
    """The piece, with those positions that it names and does not have yet."""
    unbound = {name for name, p in inspect.signature(piece).parameters.items() if p.default is p.empty}
    return functools.partial(piece, **{name: array for name, array in positions.items() if name in unbound})


def attend(
  query, key, value, *, encode=(), score, modifiers=(), biases=(), rowwise=(), mask=None, normalizer,
  aggregate=aggregate_matmul, query_positions=None, key_positions=None,
):  # fmt: skip
    """y = aggregate(w, v), w = normalizer(x, m), x = rowwise(modifiers(score(encode(q, k))) + Σ biases).

    Score, normalizer and aggregate are given the positions by name if they have parameters called so.
    """
    rows, columns = len(query), len(key)
    mask = np.broadcast_to(np.ones((1, 1), bool) if mask is None else np.asarray(mask), (rows, columns))
    visible = np.array([sum(1 for j in range(columns) if mask[i][j]) for i in range(rows)], dtype=np.int64)
    query_positions = np.arange(rows) if query_positions is None else query_positions
    key_positions = np.arange(columns) if key_positions is None else key_positions
    positions = {"query_positions": query_positions, "key_positions": key_positions}
    query, key, value = double(query), zero_hidden(key, mask), zero_hidden(value, mask)
    for piece in encode:
        query, key = piece(query, key, query_positions, key_positions)
    scores = placed(score, **positions)(query, key)
    for piece in modifiers:
        scores = piece(scores, visible, query_positions, key_positions)
    for piece in biases:
        bias = double(piece(query_positions, key_positions))
        scores = table(rows, columns, lambda i, j, x=scores, b=bias: x[i, j] + b[i, j])
    for piece in rowwise:
        scores = piece(scores, query, mask)
    weights = placed(normalizer, **positions)(scores, mask, visible)
    output = placed(aggregate, **positions)(weights, value)
    return {"output": output, "weights": weights, "scores": scores}


def entropy(weights):
    """Hᵢ = −Σⱼ p ln p, p = |wᵢⱼ|/Σₛ|wᵢₛ|; 0 for a dead row."""
    weights = double(weights)
    result = np.zeros(len(weights))
    for i, row in enumerate(weights):
        total = sum(abs(float(w)) for w in row)
        shares = [abs(float(w)) / total for w in row if w != 0]
        result[i] = -sum(p * math.log(p) for p in shares if p > 0)
    return result


def heads_talking(query, key, value, mask, before, after):
    """xₕ = Σ_g Bₕ_g s_g, s_g the scaled dot of head g; wₕ = Σ_g Aₕ_g softmax(x_g); yₕ = wₕ v (Shazeer et al. 2020)."""
    query, key, value, before, after = double(query), double(key), double(value), double(before), double(after)
    rows, heads, columns, repeats = len(query), query.shape[1], len(key), query.shape[1] // key.shape[1]
    mask = np.ones((rows, columns), bool) if mask is None else np.asarray(mask)

    def mixed(matrix, tables, h):
        return table(rows, columns, lambda i, j: sum(matrix[h, g] * tables[g][i, j] for g in range(heads)))

    keys = [zero_hidden(key[:, h // repeats], mask) for h in range(heads)]
    values = [zero_hidden(value[:, h // repeats], mask) for h in range(heads)]
    scores = [score_scaled_dot(query[:, h], keys[h]) for h in range(heads)]
    weights = [normalizer_softmax(mixed(before, scores, h), mask, None) for h in range(heads)]
    outputs = [aggregate_matmul(mixed(after, weights, h), values[h]) for h in range(heads)]
    return np.stack(outputs, axis=1)


def heads_differential(query, key, value, mask, scale):
    """yₕ = attend(q₂ₕ, k₂_g, v_g) − λₕ attend(q₂ₕ₊₁, k₂_g₊₁, v_g), g the group of head h (Ye et al. 2024)."""
    query, key, value, scale = double(query), double(key), double(value), double(scale)
    heads = query.shape[1] // 2
    repeats = heads // value.shape[1]

    def half(h, which):
        g = h // repeats
        arguments = (query[:, 2 * h + which], key[:, 2 * g + which], value[:, g])
        return attend(*arguments, score=score_scaled_dot, normalizer=normalizer_softmax, mask=mask)["output"]

    return np.stack([half(h, 0) - scale[h] * half(h, 1) for h in range(heads)], axis=1)


def hash_mix(h):
    """h ⊕= h≫16; h ·= 85EBCA6B₁₆; h ⊕= h≫13; h ·= C2B2AE35₁₆; h ⊕= h≫16, mod 2³² (the finalizer of MurmurHash3)."""
    h ^= h >> 16
    h = h * 0x85EBCA6B % 2**32
    h ^= h >> 13
    h = h * 0xC2B2AE35 % 2**32
    return h ^ (h >> 16)


def dropout_keep(key_data, rows, columns, rate):
    """keepᵢⱼ = mix(mix(key₀ ⊕ i·9E3779B1₁₆) ⊕ j·85EBCA77₁₆ ⊕ key₁) ≥ ⌊rate·2³²⌋, products mod 2³²."""
    first, second = (int(word) for word in key_data)
    rows, columns = [int(i) for i in rows], [int(j) for j in columns]
    threshold = math.floor(float(rate) * 2**32)

    def entry(i, j):
        h = hash_mix(first ^ (rows[i] * 0x9E3779B1 % 2**32))
        return hash_mix(h ^ (columns[j] * 0x85EBCA77 % 2**32) ^ second) >= threshold

    return table(len(rows), len(columns), entry, bool)
