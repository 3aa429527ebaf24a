"""Low rank, landmarks and clusters: mixers that pass through M rows instead of weighing every pair.

A mixer that cannot be causal takes `causal` all the same, so that all can be called alike, and insists on False. Each
`mixer_NAME_weights` is what the mixer gives for the unit vectors as values.
"""

import math

import numpy as np

from tests.oracles.composition import aggregate_matmul
from tests.oracles.helpers import dot, double, sigmoid, table
from tests.oracles.mixers import linear_sources, mixer_attention, mixer_attention_weights
from tests.oracles.scores import squared_distance
from tests.oracles.sequences import visible_positions


def project_rows(rows, projection, key_mask):
    """(Eᵀx)ₘ = Σₛ Eₛₘ xₛ, over the rows that hold data."""
    rows, projection, sources = double(rows), double(projection), visible_positions(len(rows), key_mask)

    def entry(m, column):
        return dot([projection[s, m] for s in sources], [rows[s, column] for s in sources])

    return table(projection.shape[1], rows.shape[1], entry)


def mixer_linformer(query, key, value, *, causal=False, key_mask=None, key_projection, value_projection):
    """y = softmax(q (Eᵀk)ᵀ/√K) Fᵀv, E and F the first S rows of the projections (arXiv:2006.04768)."""
    assert not causal
    for name, projection in (("key_projection", key_projection), ("value_projection", value_projection)):
        if len(projection) < len(key):
            raise ValueError(f"{name} must have at least {len(key)} rows, got {len(projection)}")
    packed_key = project_rows(key, key_projection, key_mask)
    return mixer_attention(query, packed_key, project_rows(value, value_projection, key_mask))


def mixer_linformer_weights(query, key, *, causal=False, key_mask=None, key_projection, value_projection):
    """w = softmax(q (Eᵀk)ᵀ/√K) Fᵀ; 0 where hidden."""
    knobs = {"key_projection": key_projection, "value_projection": value_projection}
    return mixer_linformer(query, key, np.eye(len(key)), causal=causal, key_mask=key_mask, **knobs)


def mean_row(rows, members):
    """Σᵢ xᵢ / n, over the n members."""
    return [sum(float(rows[i, k]) for i in members) / len(members) for k in range(rows.shape[1])]


def iterated_inverse(matrix, iterations):
    """Z ← ¼Z(13I − AZ(15I − AZ(7I − AZ))), from Z₀ = Aᵀ/(‖A‖₁‖A‖_∞)."""
    size = len(matrix)
    rows = max(sum(abs(float(x)) for x in matrix[i]) for i in range(size))
    columns = max(sum(abs(float(x)) for x in matrix[:, j]) for j in range(size))

    def minus(number, other):
        return table(size, size, lambda i, j: number * (i == j) - other[i, j])

    inverse = table(size, size, lambda i, j: matrix[j, i] / (rows * columns))
    for _ in range(iterations):
        product = aggregate_matmul(matrix, inverse)
        inner = minus(15.0, aggregate_matmul(product, minus(7.0, product)))
        inverse = aggregate_matmul(inverse, minus(13.0, aggregate_matmul(product, inner))) / 4
    return inverse


def mixer_nystrom(query, key, value, *, causal=False, key_mask=None, landmarks, iterations=6):
    """y = softmax(q k̃ᵀ/√K) Z softmax(q̃ kᵀ/√K) v, Z near softmax(q̃ k̃ᵀ/√K)⁻¹, ~ means of segments (arXiv:2102.03902)."""
    assert not causal and len(query) == len(key)
    query, key = double(query), double(key)
    count = min(landmarks, len(key))
    members = visible_positions(len(key), key_mask)
    ranked = [[i for rank, i in enumerate(members) if rank * count // len(members) == j] for j in range(count)]
    alive = [segment for segment in ranked if segment]  # the rows and the columns of the others would be 0
    if not alive:
        return np.zeros((len(query), np.shape(value)[1]))
    query_landmarks = [mean_row(query, members) for members in alive]
    key_landmarks = [mean_row(key, members) for members in alive]
    inverse = iterated_inverse(mixer_attention_weights(query_landmarks, key_landmarks), iterations)
    gathered = mixer_attention(query_landmarks, key, value, key_mask=key_mask)
    spread = mixer_attention_weights(query, key_landmarks)
    return aggregate_matmul(spread, aggregate_matmul(inverse, gathered))


def mixer_nystrom_weights(query, key, *, causal=False, key_mask=None, landmarks, iterations=6):
    """w = softmax(q k̃ᵀ/√K) Z softmax(q̃ kᵀ/√K)."""
    knobs = {"causal": causal, "key_mask": key_mask, "landmarks": landmarks, "iterations": iterations}
    return mixer_nystrom(query, key, np.eye(len(key)), **knobs)


def mixer_luna(query, key, value, *, causal=False, key_mask=None, packed_query):
    """y = softmax(q (Pk)ᵀ/√K) Pv, P = softmax(packed_query kᵀ/√K) (arXiv:2106.01540)."""
    assert not causal
    packed_key = mixer_attention(packed_query, key, key, key_mask=key_mask)
    packed_value = mixer_attention(packed_query, key, value, key_mask=key_mask)
    return mixer_attention(query, packed_key, packed_value)


def mixer_luna_weights(query, key, *, causal=False, key_mask=None, packed_query):
    """w = softmax(q (Pk)ᵀ/√K) P."""
    return mixer_luna(query, key, np.eye(len(key)), causal=causal, key_mask=key_mask, packed_query=packed_query)


def mixer_latent_bottleneck(query, key, value, *, causal=False, key_mask=None, latent_query, latent_key):
    """y = softmax(q latent_keyᵀ/√K) softmax(latent_query kᵀ/√K) v (arXiv:1810.00825, 2103.03206)."""
    assert not causal
    return mixer_attention(query, latent_key, mixer_attention(latent_query, key, value, key_mask=key_mask))


def mixer_latent_bottleneck_weights(query, key, *, causal=False, key_mask=None, latent_query, latent_key):
    """w = softmax(q latent_keyᵀ/√K) softmax(latent_query kᵀ/√K)."""
    knobs = {"causal": causal, "key_mask": key_mask, "latent_query": latent_query, "latent_key": latent_key}
    return mixer_latent_bottleneck(query, key, np.eye(len(key)), **knobs)


def nearest(vector, centroids):
    """argminⱼ ‖x − cⱼ‖², the first of ties (and the very first for an x that holds NaN)."""
    best, least = 0, math.inf
    for j, centroid in enumerate(centroids):
        distance = squared_distance(vector, centroid)
        if distance < least:
            best, least = j, distance
    return best


def cluster_queries(query, members, clusters, iterations):
    """The centroids, and the one of every query; only the members, which hold data, move them."""
    centroids = [[float(x) for x in query[members[j * len(members) // clusters]]] for j in range(clusters)]
    for _ in range(iterations + 1):  # the last time for the last assignment and its means
        assigned = [nearest(row, centroids) for row in query]
        for j in range(clusters):
            own = [i for i in members if assigned[i] == j]
            if own:
                centroids[j] = mean_row(query, own)
    return centroids, assigned


def mixer_clustered(query, key, value, *, causal=False, key_mask=None, clusters, iterations=10):
    """yₜ = softmax(c kᵀ/√K) v, c the k-means centroid of the queries in t's cluster (arXiv:2007.04825)."""
    assert not causal and len(query) == len(key)
    query, members = double(query), visible_positions(len(key), key_mask)
    output = np.zeros((len(query), np.shape(value)[1]))
    if not members:
        return output
    centroids, assigned = cluster_queries(query, members, min(clusters, len(query)), iterations)
    outputs = mixer_attention(centroids, key, value, key_mask=key_mask)
    for t in range(len(query)):
        output[t] = outputs[assigned[t]]
    return output


def mixer_clustered_weights(query, key, *, causal=False, key_mask=None, clusters, iterations=10):
    """wₜ = softmax(c kᵀ/√K), c the centroid of t's cluster."""
    knobs = {"causal": causal, "key_mask": key_mask, "clusters": clusters, "iterations": iterations}
    return mixer_clustered(query, key, np.eye(len(key)), **knobs)


def attention_free(query, key, value, bias, causal, key_mask):
    """yₜ = σ(qₜ) ⊙ Σₛ e^{kₛ + bias(t,s)} ⊙ vₛ / Σₛ e^{kₛ + bias(t,s)}, over the keys that t may see; 0 if none."""
    query, key, value = double(query), double(key), double(value)
    if key.shape[1] != value.shape[1]:
        raise ValueError(f"value must be as wide as key, got {value.shape[1]} and {key.shape[1]}")

    def entry(t, k):
        sources = linear_sources(t, len(key), causal, key_mask)
        if not sources:
            return 0.0
        exponents = [float(key[s, k]) + bias(t, s) for s in sources]
        exponentials = [math.exp(x - max(exponents)) for x in exponents]
        return sigmoid(query[t, k]) * dot(exponentials, [value[s, k] for s in sources]) / sum(exponentials)

    return table(len(query), value.shape[1], entry)


def mixer_aft_full(query, key, value, *, causal=False, key_mask=None, query_factors, key_factors):
    """yₜ = σ(qₜ) ⊙ Σₛ e^{kₛ+wₜₛ} ⊙ vₛ / Σₛ e^{kₛ+wₜₛ}, wₜₛ = query_factorsₜ·key_factorsₛ (arXiv:2105.14103)."""
    query_factors, key_factors = double(query_factors), double(key_factors)
    return attention_free(query, key, value, lambda t, s: dot(query_factors[t], key_factors[s]), causal, key_mask)


def mixer_aft_simple(query, key, value, *, causal=False, key_mask=None):
    """yₜ = σ(qₜ) ⊙ Σₛ e^{kₛ} ⊙ vₛ / Σₛ e^{kₛ} (arXiv:2105.14103)."""
    return attention_free(query, key, value, lambda t, s: 0.0, causal, key_mask)
