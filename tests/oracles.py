"""Reference oracles: every piece again, from its equation, as plain float64 loops over one head and one sequence.

They share no code with the package and import only numpy and math: that independence is their whole value. Names are
KIND_NAME with the catalogue's kind in the singular, so that an exam can look them up. Speed does not matter here.
"""

import math

import numpy as np

# ---------------------------------------------------------------------------------------------------------- helpers


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


# ----------------------------------------------------------------------------------------------------------- scores


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


# -------------------------------------------------------------------------------------------------------- modifiers


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


# ------------------------------------------------------------------------------------------------------ normalizers


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


# ------------------------------------------------------------------------------------------------------------ masks


def pair_mask(query_positions, key_positions, may_attend):
    """mᵢⱼ = may_attend(pᵢ, pⱼ), True = may attend."""
    rows, columns = [int(p) for p in query_positions], [int(p) for p in key_positions]
    return table(len(rows), len(columns), lambda i, j: may_attend(rows[i], columns[j]), bool)


def mask_causal(query_positions, key_positions):
    """mᵢⱼ = pⱼ ≤ pᵢ."""
    return pair_mask(query_positions, key_positions, lambda query, key: key <= query)


def mask_window(query_positions, key_positions, left, right):
    """mᵢⱼ = pᵢ − left ≤ pⱼ ≤ pᵢ + right."""
    return pair_mask(query_positions, key_positions, lambda query, key: query - left <= key <= query + right)


def mask_prefix(query_positions, key_positions, length):
    """mᵢⱼ = pⱼ ≤ pᵢ or pⱼ < length."""
    return pair_mask(query_positions, key_positions, lambda query, key: key <= query or key < length)


def mask_segments(query_positions, key_positions, query_segments, key_segments):
    """mᵢⱼ = segmentᵢ = segmentⱼ."""
    query_segments, key_segments = np.asarray(query_segments), np.asarray(key_segments)
    rows, columns = len(query_positions), len(key_positions)
    return table(rows, columns, lambda i, j: query_segments[i] == key_segments[j], bool)


def mask_padding(query_positions, key_positions, key_valid):
    """mᵢⱼ = key_validⱼ."""
    return table(len(query_positions), len(key_positions), lambda i, j: np.asarray(key_valid)[j], bool)


def mask_array(query_positions, key_positions, values):
    """mᵢⱼ = valuesᵢⱼ."""
    return table(len(query_positions), len(key_positions), lambda i, j: np.asarray(values)[i, j], bool)


# -------------------------------------------------------------------------------------------------------- positions


def position_sinusoidal(positions, width, base=10000.0):
    """e_{2m} = sin(p/base^{2m/D}), e_{2m+1} = cos(p/base^{2m/D}) for each position p (Vaswani et al. 2017)."""

    def entry(t, column):
        angle = int(positions[t]) / float(base) ** (2 * (column // 2) / width)
        return math.cos(angle) if column % 2 else math.sin(angle)

    return table(len(positions), width, entry)


def position_learned(positions, table):
    """e = the row of the table at position p; NaN for a position that the table does not have."""
    rows, width = np.shape(table)
    result = np.full((len(positions), width), math.nan)
    for t, position in enumerate(positions):
        if 0 <= position < rows:
            result[t] = table[int(position)]
    return result


def rope_pairs(rotated, layout):
    """(a, b)ₘ, m < R/2: (m, m + R/2) for half, (2m, 2m + 1) for interleaved."""
    if layout == "half":
        return [(m, m + rotated // 2) for m in range(rotated // 2)]
    if layout == "interleaved":
        return [(2 * m, 2 * m + 1) for m in range(rotated // 2)]
    raise ValueError(f"layout must be half or interleaved, got {layout!r}")


def rope_rotate(vectors, positions, base, layout, rotated):
    """(xₐ, x_b)ₘ ← (xₐ cos θ − x_b sin θ, xₐ sin θ + x_b cos θ), θ = p·base^{−2m/R}, R = rotated or K."""
    vectors = double(vectors)
    result = vectors.copy()
    rotated = rotated or vectors.shape[1]
    for t in range(len(result)):
        for m, (a, b) in enumerate(rope_pairs(rotated, layout)):
            angle = int(positions[t]) * float(base) ** (-2 * m / rotated)
            left, right = vectors[t, a], vectors[t, b]
            result[t, a] = left * math.cos(angle) - right * math.sin(angle)
            result[t, b] = left * math.sin(angle) + right * math.cos(angle)
    return result


def position_rope(query, key, query_positions, key_positions, base=10000.0, layout="half", rotated=None):
    """qᵢ ← R(pᵢ) qᵢ, kⱼ ← R(pⱼ) kⱼ on the first R coordinates, so that qᵢ·kⱼ sees only pᵢ − pⱼ (Su et al. 2021)."""
    query = rope_rotate(query, query_positions, base, layout, rotated)
    key = rope_rotate(key, key_positions, base, layout, rotated)
    return query, key


def position_alibi(query_positions, key_positions, slope):
    """bᵢⱼ = −slope·|pᵢ − pⱼ| (Press et al. 2022)."""
    rows, columns = [int(p) for p in query_positions], [int(p) for p in key_positions]
    return table(len(rows), len(columns), lambda i, j: -float(slope) * abs(rows[i] - columns[j]))


def alibi_slopes(heads):
    """s_h = 2^{−8(h+1)/H}, H = 2ⁿ; else those of P = 2^⌊log₂ H⌋, then the 1st, 3rd, 5th … of 2P's, until H."""
    power = 1
    while 2 * power <= heads:
        power *= 2
    slopes = [2 ** (-8 * (h + 1) / power) for h in range(power)]
    between = [2 ** (-8 * (h + 1) / (2 * power)) for h in range(0, 2 * power, 2)]
    return double(slopes + between[: heads - power])


def position_cope(scores, query, mask, embedding):
    """xᵢⱼ ← xᵢⱼ + (1−λ) qᵢ·e_⌊p⌋ + λ qᵢ·e_⌈p⌉, p = min(Σ_{s≥j} gᵢₛ, P−1), λ = p − ⌊p⌋, gᵢₛ = mᵢₛ σ(xᵢₛ)."""
    scores, query, mask, embedding = double(scores), double(query), np.asarray(mask), double(embedding)
    rows, columns = scores.shape

    def entry(i, j):
        gates = sum((sigmoid(scores[i, s]) for s in range(j, columns) if mask[i, s]), 0.0)
        position = min(gates, len(embedding) - 1.0)
        low, high = math.floor(position), math.ceil(position)
        share = position - low
        logit = (1 - share) * dot(query[i], embedding[low]) + share * dot(query[i], embedding[high])
        return scores[i, j] + logit

    return table(rows, columns, entry)


# -------------------------------------------------------------------------------------------- aggregate, composition


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


def attend(
  query, key, value, *, encode=(), score, modifiers=(), biases=(), rowwise=(), mask=None, normalizer,
  query_positions=None, key_positions=None,
):  # fmt: skip
    """y = w v, w = normalizer(x, m), x = rowwise(modifiers(score(encode(q, k))) + Σ biases)."""
    rows, columns = len(query), len(key)
    mask = np.broadcast_to(np.ones((1, 1), bool) if mask is None else np.asarray(mask), (rows, columns))
    visible = np.array([sum(1 for j in range(columns) if mask[i][j]) for i in range(rows)], dtype=np.int64)
    query_positions = np.arange(rows) if query_positions is None else query_positions
    key_positions = np.arange(columns) if key_positions is None else key_positions
    query, key, value = double(query), zero_hidden(key, mask), zero_hidden(value, mask)
    for piece in encode:
        query, key = piece(query, key, query_positions, key_positions)
    scores = score(query, key)
    for piece in modifiers:
        scores = piece(scores, visible, query_positions, key_positions)
    for piece in biases:
        bias = double(piece(query_positions, key_positions))
        scores = table(rows, columns, lambda i, j, x=scores, b=bias: x[i, j] + b[i, j])
    for piece in rowwise:
        scores = piece(scores, query, mask)
    weights = normalizer(scores, mask, visible)
    return {"output": aggregate_matmul(weights, value), "weights": weights, "scores": scores}


# ---------------------------------------------------------------------------------------------------------- dropout


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


# ----------------------------------------------------------------------------------------------------------- mixers


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
