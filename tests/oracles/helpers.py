"""What the oracles share: float64, plain loops, and what a mask leaves visible."""

import math

import numpy as np


def double(array):
    """x ↦ x in float64."""
    return np.asarray(array, dtype=np.float64)


def table(rows, columns, entry, dtype=np.float64):
    """Aᵢⱼ = entry(i, j), in two plain loops."""
    result = np.zeros((rows, columns), dtype=dtype)
    for i in range(rows):
        for j in range(columns):
            result[i, j] = entry(i, j)
    return result


def dot(left, right):
    """l·r = Σₖ lₖ rₖ."""
    return sum((float(x) * float(y) for x, y in zip(left, right, strict=True)), 0.0)


def unit(vector):
    """x/‖x‖, and 0 for the zero vector."""
    norm = math.hypot(*vector)
    return [float(x) / norm if norm != 0 else 0.0 for x in vector]


def sigmoid(x):
    """σ(x) = 1/(1 + e⁻ˣ), written so that no exponential overflows."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def visible_scores(scores, mask, i):
    """{xᵢⱼ : mᵢⱼ}, in the order of j; the number in a masked score is never used."""
    return [float(x) for x, may_attend in zip(double(scores)[i], np.asarray(mask)[i], strict=True) if may_attend]


def normalize_rows(row_weights, scores, mask):
    """wᵢ = row_weights({xᵢⱼ : mᵢⱼ}), spread over the visible pairs; 0 elsewhere."""
    scores, mask = double(scores), np.asarray(mask)
    weights = np.zeros(scores.shape)
    for i in range(weights.shape[0]):
        columns = [j for j in range(weights.shape[1]) if mask[i, j]]
        if columns:
            for j, weight in zip(columns, row_weights(visible_scores(scores, mask, i)), strict=True):
                weights[i, j] = weight
    return weights


def pair_mask(query_positions, key_positions, may_attend):
    """mᵢⱼ = may_attend(pᵢ, pⱼ), True = may attend."""
    rows, columns = [int(p) for p in query_positions], [int(p) for p in key_positions]
    return table(len(rows), len(columns), lambda i, j: may_attend(rows[i], columns[j]), bool)
