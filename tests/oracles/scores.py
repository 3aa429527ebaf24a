"""Scores: how well each query matches each key."""

import math

from tests.oracles.helpers import dot, double, table, unit


def score_dot(query, key):
    """xᵢⱼ = qᵢ·kⱼ."""
    query, key = double(query), double(key)
    return table(len(query), len(key), lambda i, j: dot(query[i], key[j]))


def score_scaled_dot(query, key):
    """xᵢⱼ = qᵢ·kⱼ / √K (Vaswani et al. 2017)."""
    query, key = double(query), double(key)
    return table(len(query), len(key), lambda i, j: dot(query[i], key[j]) / math.sqrt(query.shape[1]))


def score_cosine(query, key, temperature):
    """xᵢⱼ = (qᵢ/‖qᵢ‖)·(kⱼ/‖kⱼ‖) / temperature, with 0/‖0‖ = 0."""
    query, key = double(query), double(key)
    return table(len(query), len(key), lambda i, j: dot(unit(query[i]), unit(key[j])) / float(temperature))


def score_additive(query, key, query_weight, key_weight, readout):
    """xᵢⱼ = rᵀ tanh(qᵢ A + kⱼ B), A the query's weight, B the key's, r the readout (Bahdanau et al. 2015)."""
    query, key = double(query), double(key)
    query_weight, key_weight, readout = double(query_weight), double(key_weight), double(readout)

    def entry(i, j):
        total = 0.0
        for f in range(len(readout)):
            total += readout[f] * math.tanh(dot(query[i], query_weight[:, f]) + dot(key[j], key_weight[:, f]))
        return total

    return table(len(query), len(key), entry)


def score_concat(query, key, weight, readout):
    """xᵢⱼ = rᵀ tanh(Wᵀ [qᵢ; kⱼ]), W the weight, r the readout (Luong et al. 2015)."""
    query, key, weight, readout = double(query), double(key), double(weight), double(readout)

    def entry(i, j):
        both = [*query[i], *key[j]]
        return sum((readout[f] * math.tanh(dot(weight[:, f], both)) for f in range(len(readout))), 0.0)

    return table(len(query), len(key), entry)


def score_bilinear(query, key, weight):
    """xᵢⱼ = qᵢᵀ W kⱼ = Σₐᵦ qᵢₐ Wₐᵦ kⱼᵦ (Luong et al. 2015)."""
    query, key, weight = double(query), double(key), double(weight)
    return table(len(query), len(key), lambda i, j: dot(query[i], [dot(row, key[j]) for row in weight]))


def squared_distance(left, right):
    """‖l − r‖² = Σₖ (lₖ − rₖ)²."""
    return sum(((float(x) - float(y)) ** 2 for x, y in zip(left, right, strict=True)), 0.0)


def score_squared_distance(query, key):
    """xᵢⱼ = −‖qᵢ − kⱼ‖²/√K (Kim et al. 2021)."""
    query, key = double(query), double(key)
    width = query.shape[1]
    return table(len(query), len(key), lambda i, j: -squared_distance(query[i], key[j]) / math.sqrt(width))


def score_gaussian(query, key, bandwidth=1.0):
    """xᵢⱼ = exp(−‖qᵢ − kⱼ‖² / (2 bandwidth²)) (Lu et al. 2021)."""
    query, key = double(query), double(key)
    scale = 2 * float(bandwidth) ** 2
    return table(len(query), len(key), lambda i, j: math.exp(-squared_distance(query[i], key[j]) / scale))


def score_zero(query, key):
    """xᵢⱼ = 0."""
    return table(len(query), len(key), lambda i, j: 0.0)
