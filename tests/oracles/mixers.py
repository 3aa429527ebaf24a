"""Mixers: whole mechanisms, from query, key and value to the output."""

import math

import numpy as np

from tests.oracles.composition import attend
from tests.oracles.helpers import dot, double
from tests.oracles.normalizers import normalizer_softmax
from tests.oracles.scores import score_scaled_dot


def mixer_attention(query, key, value, *, causal=False, key_mask=None):
    """y = softmax(q kᵀ/√K) v, over the keys of the past when causal: the composition as it comes."""
    mask = [
        [(s <= t or not causal) and (key_mask is None or key_mask[s]) for s in range(len(key))]
        for t in range(len(query))
    ]
    return attend(query, key, value, score=score_scaled_dot, normalizer=normalizer_softmax, mask=np.array(mask, bool))[
        "output"
    ]


def mixer_attention_weights(query, key, *, causal=False, key_mask=None):
    """w = softmax(q kᵀ/√K): what `mixer_attention` gives for the unit vectors as values."""
    return mixer_attention(query, key, np.eye(len(key)), causal=causal, key_mask=key_mask)


def linear_features(vector):
    """φ(x) = elu(x) + 1 = x + 1 where x > 0, eˣ elsewhere."""
    return [float(x) + 1 if x > 0 else math.exp(x) for x in vector]


def linear_sources(t, sources, causal, key_mask):
    """{s : key_maskₛ, and s ≤ t if causal}."""
    valid = np.ones(sources, bool) if key_mask is None else np.asarray(key_mask)
    return [s for s in range(sources) if valid[s] and (s <= t or not causal)]


def mixer_linear(query, key, value, *, causal=False, key_mask=None, epsilon=1e-6):
    """yₜ = φ(qₜ)ᵀ Σₛ φ(kₛ) vₛᵀ / (φ(qₜ)ᵀ Σₛ φ(kₛ) + ε); 0 where t may attend to nothing (arXiv:2006.16236)."""
    query, key, value = double(query), double(key), double(value)
    output = np.zeros((len(query), value.shape[1]))
    for t in range(len(query)):
        sources = linear_sources(t, len(key), causal, key_mask)
        if not sources:
            continue
        features = linear_features(query[t])
        memory = np.zeros((len(features), output.shape[1]))
        normalizer = np.zeros(len(features))
        for s in sources:
            for k, feature in enumerate(linear_features(key[s])):
                normalizer[k] += feature
                for v in range(output.shape[1]):
                    memory[k, v] += feature * value[s, v]
        for v in range(output.shape[1]):
            output[t, v] = dot(features, memory[:, v]) / (dot(features, normalizer) + float(epsilon))
    return output


def mixer_linear_weights(query, key, *, causal=False, key_mask=None, epsilon=1e-6):
    """wₜₛ = φ(qₜ)·φ(kₛ) / (Σᵣ φ(qₜ)·φ(kᵣ) + ε); 0 where hidden."""
    query, key = double(query), double(key)
    weights = np.zeros((len(query), len(key)))
    for t in range(len(query)):
        sources = linear_sources(t, len(key), causal, key_mask)
        kernels = [dot(linear_features(query[t]), linear_features(key[s])) for s in sources]
        for s, kernel in zip(sources, kernels, strict=True):
            weights[t, s] = kernel / (sum(kernels) + float(epsilon))
    return weights
