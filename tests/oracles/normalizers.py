"""Normalisers, and the logarithms of what they divide by; a masked pair weighs 0, and so does a dead row."""

import math

import numpy as np

from tests.oracles.helpers import double, normalize_rows, sigmoid, table, visible_scores


def normalizer_softmax(scores, mask, visible):
    """wᵢⱼ = e^{xᵢⱼ} / Σₛ e^{xᵢₛ}, s over the visible keys."""

    def row_weights(row):
        exponentials = [math.exp(x - max(row)) for x in row]
        return [e / sum(exponentials) for e in exponentials]

    return normalize_rows(row_weights, scores, mask)


def normalizer_sink(scores, mask, visible, sink):
    """wᵢⱼ = e^{xᵢⱼ} / (e^{sink} + Σₛ e^{xᵢₛ}); the mask does not touch the sink."""

    def row_weights(row):
        peak = max([*row, float(sink)])
        exponentials = [math.exp(x - peak) for x in row]
        return [e / (math.exp(float(sink) - peak) + sum(exponentials)) for e in exponentials]

    return normalize_rows(row_weights, scores, mask)


def normalizer_softmax_one(scores, mask, visible):
    """wᵢⱼ = e^{xᵢⱼ} / (1 + Σₛ e^{xᵢₛ})."""
    return normalizer_sink(scores, mask, visible, sink=0.0)


def normalizer_sigmoid(scores, mask, visible, maximum_length):
    """wᵢⱼ = σ(xᵢⱼ − log n), n the fixed maximum length (arXiv:2409.04431)."""
    return normalize_rows(lambda row: [sigmoid(x - math.log(maximum_length)) for x in row], scores, mask)


def normalizer_sparsemax(scores, mask, visible):
    """wᵢ = argmin_{p ∈ Δ} ‖p − xᵢ‖² = [xᵢ − τ]₊; k = max{k : 1 + k x₍ₖ₎ > Σ_{s≤k} x₍ₛ₎}, τ = (Σ_{s≤k} x₍ₛ₎ − 1)/k."""

    def row_weights(row):
        shifted = [x - max(row) for x in row]
        total, threshold = 0.0, 0.0
        for k, x in enumerate(sorted(shifted, reverse=True), start=1):
            total += x
            if 1 + k * x > total:
                threshold = (total - 1) / k
        return [max(x - threshold, 0.0) for x in shifted]

    return normalize_rows(row_weights, scores, mask)


def log_normalizer_softmax(scores, mask):
    """zᵢ = log Σₛ e^{xᵢₛ}, s over the visible keys; −∞ for a dead row."""
    result = np.full(len(scores), -math.inf)
    for i in range(len(scores)):
        row = visible_scores(scores, mask, i)
        if row:
            result[i] = max(row) + math.log(sum(math.exp(x - max(row)) for x in row))
    return result


def log_normalizer_sink(scores, mask, sink):
    """zᵢ = log(e^{sink} + Σₛ e^{xᵢₛ}); the sink for a dead row."""
    result = np.full(len(scores), float(sink))
    for i in range(len(scores)):
        row = [float(sink), *visible_scores(scores, mask, i)]
        result[i] = max(row) + math.log(sum(math.exp(x - max(row)) for x in row))
    return result


def log_normalizer_softmax_one(scores, mask):
    """zᵢ = log(1 + Σₛ e^{xᵢₛ}); 0 for a dead row."""
    return log_normalizer_sink(scores, mask, sink=0.0)


def scaled_by_length(scores, visible, scale):
    """scale·ln(nᵢ)·xᵢⱼ, nᵢ = visibleᵢ; a dead row (nᵢ = 0) has factor 0."""
    factors = [float(scale) * math.log(int(n)) if n > 0 else 0.0 for n in visible]
    scores = double(scores)
    return table(*scores.shape, lambda i, j: factors[i] * float(scores[i, j]))


def normalizer_scalable_softmax(scores, mask, visible, scale=1.0):
    """wᵢⱼ = nᵢ^{scale·xᵢⱼ} / Σₛ nᵢ^{scale·xᵢₛ}, nᵢ = visibleᵢ (Nakanishi 2025)."""
    return normalizer_softmax(scaled_by_length(scores, visible, scale), mask, visible)


def log_normalizer_scalable_softmax(scores, mask, visible, scale=1.0):
    """zᵢ = log Σₛ nᵢ^{scale·xᵢₛ}, nᵢ = visibleᵢ; −∞ for a dead row."""
    return log_normalizer_softmax(scaled_by_length(scores, visible, scale), mask)


def normalizer_entmax(scores, mask, visible, alpha=1.5):
    """wᵢⱼ = [(α−1)xᵢⱼ − τ]₊^{1/(α−1)}, τ such that Σⱼ wᵢⱼ = 1, found by bisection (Peters et al. 2019)."""
    alpha = float(alpha)

    def powers(shifted, threshold):
        return [max(x - threshold, 0.0) ** (1 / (alpha - 1)) for x in shifted]

    def row_weights(row):
        shifted = [(alpha - 1) * (x - max(row)) for x in row]
        low, high = -1.0, 0.0  # at −1 the largest score alone weighs 1, at 0 nothing weighs anything
        while low < (middle := (low + high) / 2) < high and high - low > 1e-16:
            low, high = (middle, high) if sum(powers(shifted, middle)) >= 1 else (low, middle)
        return powers(shifted, low)

    return normalize_rows(row_weights, scores, mask)


def normalizer_entmax15(scores, mask, visible):
    """wᵢ = argmax_{p ∈ Δ} p·xᵢ + H₁.₅(p): wᵢⱼ = [xᵢⱼ/2 − τ]₊² (Peters et al. 2019)."""
    return normalizer_entmax(scores, mask, visible, alpha=1.5)


def normalizer_relu(scores, mask, visible, maximum_length):
    """wᵢⱼ = max(xᵢⱼ, 0)/n, n the fixed maximum length (Wortsman et al. 2023)."""
    return normalize_rows(lambda row: [max(x, 0.0) / float(maximum_length) for x in row], scores, mask)


def normalizer_squared_relu(scores, mask, visible, maximum_length):
    """wᵢⱼ = max(xᵢⱼ, 0)²/n, n the fixed maximum length (Wortsman et al. 2023)."""
    return normalize_rows(lambda row: [max(x, 0.0) ** 2 / float(maximum_length) for x in row], scores, mask)


def normalizer_softpick(scores, mask, visible, epsilon=1e-6):
    """wᵢⱼ = [e^{xᵢⱼ−m} − e^{−m}]₊ / (Σₛ |e^{xᵢₛ−m} − e^{−m}| + ε), m = max(0, maxₛ xᵢₛ) (Zuhri et al. 2025)."""

    def row_weights(row):
        peak = max(0.0, *row)
        excesses = [math.exp(x - peak) - math.exp(-peak) for x in row]
        total = sum(abs(e) for e in excesses) + float(epsilon)
        return [max(e, 0.0) / total for e in excesses]

    return normalize_rows(row_weights, scores, mask)


def normalizer_top_k(scores, mask, visible, count):
    """wᵢⱼ = e^{xᵢⱼ} / Σₛ e^{xᵢₛ} over the visible keys with xᵢₛ ≥ the count-th largest (Zhao et al. 2019)."""

    def row_weights(row):
        edge = sorted(row, reverse=True)[min(int(count), len(row)) - 1]
        exponentials = [math.exp(x - max(row)) if x >= edge else 0.0 for x in row]
        return [e / sum(exponentials) for e in exponentials]

    return normalize_rows(row_weights, scores, mask)


def normalizer_hard(scores, mask, visible):
    """wᵢⱼ = 1/n at the n visible keys with the largest score, 0 at the others."""
    return normalize_rows(lambda row: [(x == max(row)) / row.count(max(row)) for x in row], scores, mask)


def normalizer_gumbel_softmax(scores, mask, uniform=None, temperature=1.0):
    """wᵢ = softmax((xᵢ − ln(−ln uᵢ))/temperature), without noise where there is no u (Jang et al. 2017)."""
    scores, mask = double(scores), np.asarray(mask)

    def entry(i, j):
        noise = 0.0 if uniform is None or not mask[i, j] else -math.log(-math.log(float(uniform[i][j])))
        return (float(scores[i, j]) + noise) / float(temperature)

    return normalizer_softmax(table(*scores.shape, entry), mask, None)


def normalizer_identity(scores, mask, visible):
    """wᵢⱼ = xᵢⱼ."""
    return normalize_rows(lambda row: row, scores, mask)


def log_normalizer_gumbel_softmax(scores, mask, temperature):
    """zᵢ = log Σₛ e^{xᵢₛ/temperature}, s over the visible keys; without noise."""
    return log_normalizer_softmax(double(scores) / float(temperature), mask)
