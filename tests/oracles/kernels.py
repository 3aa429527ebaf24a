"""Kernels: mixers that weigh keys by a kernel κ(q,k), divided by its sum over the keys that a query may see."""

import math

import numpy as np

from tests.oracles.helpers import dot, double, unit
from tests.oracles.mixers import linear_sources
from tests.oracles.sequences import visible_positions


def kernel_weights(rows, columns, kernels, denominator, causal, key_mask):
    """wₜₛ = κₜₛ/denominator(Σᵣ κₜᵣ), the row κₜ = kernels(t, the keys that t may see); 0 elsewhere and for x/0."""
    weights = np.zeros((rows, columns))
    for t in range(rows):
        sources = linear_sources(t, columns, causal, key_mask)
        if not sources:
            continue
        row = kernels(t, sources)
        total = denominator(sum(row))
        for s, kernel in zip(sources, row, strict=True):
            weights[t, s] = kernel / total if total != 0 else 0.0
    return weights


def kernel_output(weights, value, key_mask):
    """yₜ = Σₛ wₜₛ vₛ, over the keys that hold data."""
    value = double(value)
    sources = visible_positions(len(value), key_mask)
    output = np.zeros((len(weights), value.shape[1]))
    for t in range(output.shape[0]):
        for v in range(output.shape[1]):
            output[t, v] = dot([weights[t, s] for s in sources], [value[s, v] for s in sources])
    return output


def softmax(scores):
    """pⱼ = e^{xⱼ} / Σₛ e^{xₛ}."""
    exponentials = [math.exp(x - max(scores)) for x in scores]
    return [e / sum(exponentials) for e in exponentials]


def performer_exponents(vector, projection, features):
    """The logarithms of √M φ(x): ±ωx' − ‖x'‖²/2 with x' = x K^{−1/4}, without the minus for the positive features."""
    scaled = [float(x) / len(vector) ** 0.25 for x in vector]
    projected = [dot(row, scaled) for row in projection]
    if features == "hyperbolic":
        projected += [-p for p in projected]
    elif features != "positive":
        raise ValueError(f"features must be positive or hyperbolic, got {features!r}")
    return [p - dot(scaled, scaled) / 2 for p in projected]


def mixer_performer_weights(query, key, *, causal=False, key_mask=None, projection, features="positive"):
    """wₜₛ = φ(qₜ)·φ(kₛ) / Σᵣ φ(qₜ)·φ(kᵣ); what scales all of a row's kernels, as e^{−peak} does, cancels."""
    query, key, projection = double(query), double(key), double(projection)

    def kernels(t, sources):
        own = performer_exponents(query[t], projection, features)
        others = [performer_exponents(key[s], projection, features) for s in sources]
        exponents = [[a + b for a, b in zip(own, other, strict=True)] for other in others]
        peak = max(max(row) for row in exponents)
        return [sum(math.exp(x - peak) for x in row) for row in exponents]

    return kernel_weights(len(query), len(key), kernels, lambda total: total, causal, key_mask)


def mixer_performer(query, key, value, *, causal=False, key_mask=None, projection, features="positive"):
    """yₜ = Σₛ φ(qₜ)·φ(kₛ) vₛ / Σₛ φ(qₜ)·φ(kₛ), φ(x) = exp(±ωx' − ‖x'‖²/2), x' = x K^{−1/4} (arXiv:2009.14794)."""
    knobs = {"causal": causal, "key_mask": key_mask, "projection": projection, "features": features}
    return kernel_output(mixer_performer_weights(query, key, **knobs), value, key_mask)


def mixer_cosformer_weights(query, key, *, causal=False, key_mask=None, maximum, epsilon=1e-6):
    """wₜₛ = κₜₛ / (Σᵣ κₜᵣ + ε), κₜₛ = relu(qₜ)·relu(kₛ) cos(π(t−s)/(2 maximum))."""
    query, key = double(query), double(key)
    if maximum < max(len(query), len(key)):
        raise ValueError(f"maximum must be at least {max(len(query), len(key))}, got {maximum}")

    def relu(vector):
        return [max(float(x), 0.0) for x in vector]

    def kernels(t, sources):
        return [dot(relu(query[t]), relu(key[s])) * math.cos(math.pi * (t - s) / (2 * maximum)) for s in sources]

    return kernel_weights(len(query), len(key), kernels, lambda total: total + float(epsilon), causal, key_mask)


def mixer_cosformer(query, key, value, *, causal=False, key_mask=None, maximum, epsilon=1e-6):
    """yₜ = Σₛ κₜₛ vₛ / (Σₛ κₜₛ + ε), κₜₛ = relu(qₜ)·relu(kₛ) cos(π(t−s)/(2 maximum)) (arXiv:2202.08791)."""
    knobs = {"causal": causal, "key_mask": key_mask, "maximum": maximum, "epsilon": epsilon}
    return kernel_output(mixer_cosformer_weights(query, key, **knobs), value, key_mask)


def random_features(vector, projection):
    """φ(x) = [sin(ωx'), cos(ωx')]/√M, x' = x/‖x‖."""
    projected = [dot(row, unit(vector)) for row in projection]
    waves = [math.sin(p) for p in projected] + [math.cos(p) for p in projected]
    return [wave / math.sqrt(len(projected)) for wave in waves]


def mixer_random_feature_weights(query, key, *, causal=False, key_mask=None, projection, epsilon=1e-2):
    """wₜₛ = φ(qₜ)·φ(kₛ) / max(Σᵣ φ(qₜ)·φ(kᵣ), ε)."""
    query, key, projection = double(query), double(key), double(projection)

    def kernels(t, sources):
        own = random_features(query[t], projection)
        return [dot(own, random_features(key[s], projection)) for s in sources]

    return kernel_weights(len(query), len(key), kernels, lambda total: max(total, float(epsilon)), causal, key_mask)


def mixer_random_feature(query, key, value, *, causal=False, key_mask=None, projection, epsilon=1e-2):
    """yₜ = Σₛ φ(qₜ)·φ(kₛ) vₛ / max(Σₛ φ(qₜ)·φ(kₛ), ε), φ(x) = [sin(ωx'), cos(ωx')]/√M (arXiv:2103.02143)."""
    knobs = {"causal": causal, "key_mask": key_mask, "projection": projection, "epsilon": epsilon}
    return kernel_output(mixer_random_feature_weights(query, key, **knobs), value, key_mask)


def mixer_taylor_weights(query, key, *, causal=False, key_mask=None, epsilon=1e-6):
    """wₜₛ = κₜₛ / (Σᵣ κₜᵣ + ε), κₜₛ = 1 + x + x²/2, x = qₜ·kₛ/√K."""
    query, key = double(query), double(key)

    def kernels(t, sources):
        scores = [dot(query[t], key[s]) / math.sqrt(query.shape[1]) for s in sources]
        return [1 + x + x**2 / 2 for x in scores]

    return kernel_weights(len(query), len(key), kernels, lambda total: total + float(epsilon), causal, key_mask)


def mixer_taylor(query, key, value, *, causal=False, key_mask=None, epsilon=1e-6):
    """yₜ = Σₛ κₜₛ vₛ / (Σₛ κₜₛ + ε), κₜₛ = 1 + x + x²/2, x = qₜ·kₛ/√K (arXiv:2402.18668)."""
    weights = mixer_taylor_weights(query, key, causal=causal, key_mask=key_mask, epsilon=epsilon)
    return kernel_output(weights, value, key_mask)


def hedgehog_features(vector, weight):
    """φ(x) = [softmax(xW), softmax(−xW)]."""
    projected = [dot(vector, weight[:, f]) for f in range(weight.shape[1])]
    return softmax(projected) + softmax([-p for p in projected])


def mixer_hedgehog_weights(query, key, *, causal=False, key_mask=None, query_weight, key_weight, epsilon=1e-6):
    """wₜₛ = φ_q(qₜ)·φ_k(kₛ) / (Σᵣ φ_q(qₜ)·φ_k(kᵣ) + ε)."""
    query, key, query_weight, key_weight = double(query), double(key), double(query_weight), double(key_weight)

    def kernels(t, sources):
        own = hedgehog_features(query[t], query_weight)
        return [dot(own, hedgehog_features(key[s], key_weight)) for s in sources]

    return kernel_weights(len(query), len(key), kernels, lambda total: total + float(epsilon), causal, key_mask)


def mixer_hedgehog(query, key, value, *, causal=False, key_mask=None, query_weight, key_weight, epsilon=1e-6):
    """yₜ = Σₛ κₜₛ vₛ / (Σₛ κₜₛ + ε), κₜₛ = φ_q(qₜ)·φ_k(kₛ), φ(x) = [softmax(xW), softmax(−xW)] (arXiv:2402.04347)."""
    knobs = {"causal": causal, "key_mask": key_mask, "query_weight": query_weight, "key_weight": key_weight}
    return kernel_output(mixer_hedgehog_weights(query, key, **knobs, epsilon=epsilon), value, key_mask)
