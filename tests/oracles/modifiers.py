"""Modifiers of queries, keys and scores."""

import math

from tests.oracles.helpers import dot, double, table


def modifier_softcap(scores, visible, query_positions, key_positions, cap):
    """xᵢⱼ ← cap·tanh(xᵢⱼ/cap)."""
    scores = double(scores)
    return table(*scores.shape, lambda i, j: float(cap) * math.tanh(scores[i, j] / float(cap)))


def modifier_temperature(scores, visible, query_positions, key_positions, temperature):
    """xᵢⱼ ← xᵢⱼ/temperature."""
    scores = double(scores)
    return table(*scores.shape, lambda i, j: scores[i, j] / float(temperature))


def modifier_log_length(scores, visible, query_positions, key_positions, base=math.e):
    """xᵢⱼ ← xᵢⱼ · log nᵢ / log base, nᵢ = visibleᵢ; a dead row (nᵢ = 0) has factor 0 (Chiang & Cholak 2022)."""
    factors = [math.log(int(n)) / math.log(base) if n > 0 else 0.0 for n in visible]
    scores = double(scores)
    return table(*scores.shape, lambda i, j: scores[i, j] * factors[i])


def modifier_score_mod(scores, query_positions, key_positions, function, parameters=None):
    """xᵢⱼ ← function(xᵢⱼ, pᵢ, pⱼ[, parameters]), called with three plain numbers (Dong et al. 2024)."""
    scores = double(scores)
    more = () if parameters is None else (parameters,)

    def entry(i, j):
        return float(function(float(scores[i, j]), int(query_positions[i]), int(key_positions[j]), *more))

    return table(*scores.shape, entry)


def modifier_qk_norm(query, key, query_gain, key_gain, epsilon=1e-6):
    """qᵢ ← a ⊙ qᵢ/√(mean(qᵢ²) + ε), kⱼ ← b ⊙ kⱼ/√(mean(kⱼ²) + ε), a and b the gains (Dehghani et al. 2023)."""

    def normalized(rows, gain):
        rows, gain = double(rows), double(gain)
        norms = [math.sqrt(dot(x, x) / len(x) + float(epsilon)) for x in rows]
        return table(*rows.shape, lambda t, k: gain[k] * rows[t, k] / norms[t])

    return normalized(query, query_gain), normalized(key, key_gain)
