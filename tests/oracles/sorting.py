"""Hashing and sorting: mixers in which a query meets the keys of its bucket, or its block and the one sorted to it."""

import math

import numpy as np

from tests.oracles.composition import attend
from tests.oracles.helpers import dot, double, table, unit
from tests.oracles.mixers import mixer_attention
from tests.oracles.normalizers import normalizer_softmax
from tests.oracles.scores import score_scaled_dot
from tests.oracles.sequences import visible_positions


def hash_bucket(vector, rotation):
    """argmax [xR, −xR], the first of ties."""
    rotated = [dot(vector, rotation[:, h]) for h in range(rotation.shape[1])]
    both = rotated + [-x for x in rotated]
    return both.index(max(both))


def hashed_pairs(query, rotations, chunk, causal, key_mask):
    """{(i, j) : bucketᵢ = bucketⱼ, chunkᵢ − chunkⱼ ∈ {0, 1}}, chunks of the order by bucket and position.

    A bucket is what all rotations say, coarse before fine.
    Causal: {(i, j) : bucketᵢ = bucketⱼ, 0 ≤ rankᵢ − rankⱼ ≤ chunk}, which no later position can change.
    """
    members = visible_positions(len(query), key_mask)
    bucket = {i: [hash_bucket(query[i], rotation) for rotation in rotations] for i in members}
    order = sorted(members, key=lambda i: (bucket[i], i))
    rank = {i: place for place, i in enumerate(order)}

    def near(i, j):
        if causal:
            return 0 <= rank[i] - rank[j] <= chunk
        return rank[i] // chunk - rank[j] // chunk in (0, 1)

    return {(i, j) for i in members for j in members if bucket[i] == bucket[j] and near(i, j)}


def mixer_reformer(query, key, value, *, causal=False, key_mask=None, rotations, finer=None, chunk):
    """yᵢ = Σ_{j∈Uᵢ} softmaxⱼ(qᵢ·kⱼ/√K) vⱼ, kⱼ = qⱼ/‖qⱼ‖, Uᵢ what any round pairs with i, or {i} (arXiv:2001.04451)."""
    assert len(query) == len(value)  # the key is not read
    query = double(query)
    hashes = [double(each) for each in (rotations, finer) if each is not None]
    members = visible_positions(len(query), key_mask)
    mask = np.zeros((len(query), len(query)), bool)
    for of_round in zip(*hashes, strict=True):
        for i, j in hashed_pairs(query, of_round, chunk, causal, key_mask):
            mask[i, j] = i != j
    for i in members:
        mask[i, i] = not any(mask[i])
    units = np.zeros(query.shape)
    for j in members:
        units[j] = unit(query[j])
    return attend(query, units, value, score=score_scaled_dot, normalizer=normalizer_softmax, mask=mask)["output"]


def mixer_reformer_weights(query, key, *, causal=False, key_mask=None, rotations, finer=None, chunk):
    """wᵢⱼ = softmaxⱼ(qᵢ·kⱼ/√K) over Uᵢ: what `mixer_reformer` gives for the unit vectors as values."""
    knobs = {"causal": causal, "key_mask": key_mask, "rotations": rotations, "finer": finer, "chunk": chunk}
    return mixer_reformer(query, key, np.eye(len(query)), **knobs)


def log_sum_exp(numbers):
    """log Σᵢ e^{xᵢ}."""
    return max(numbers) + math.log(sum(math.exp(x - max(numbers)) for x in numbers))


def sinkhorn_matrix(scores, iterations):
    """P = exp(R): R ← R − logsumexp over every row, then over every column, `iterations` times."""
    size = len(scores)
    for _ in range(iterations):
        rows = [log_sum_exp([float(scores[b, c]) for c in range(size)]) for b in range(size)]
        scores = table(size, size, lambda b, c, x=scores, z=rows: x[b, c] - z[b])
        columns = [log_sum_exp([float(scores[b, c]) for b in range(size)]) for c in range(size)]
        scores = table(size, size, lambda b, c, x=scores, z=columns: x[b, c] - z[c])
    return table(size, size, lambda b, c: math.exp(scores[b, c]))


def weighted_mean(rows, weights):
    """Σᵢ wᵢ xᵢ / Σᵢ wᵢ, row by row."""
    return [dot(weights, column) / sum(weights) for column in zip(*rows, strict=True)]


def mixer_sinkhorn(
    query, key, value, *, causal=False, key_mask=None, block, temperature=0.75, iterations=7, rng=None, gumbel=None
):
    """y = softmax(q k⁺ᵀ/√K) v⁺ in each block, ⁺ its rows and those sorted to it by Sinkhorn's P (arXiv:2002.11296).

    P comes from (q̄ k̄ᵀ/√K + gumbel)/temperature, ¯ the means of the blocks, and the row sorted to place i of block b is
    Σ_c P_bc x_ci / Σ_c P_bc, over those c whose row i holds data. The noise is given; `rng` is not read.
    """
    assert not causal and len(query) == len(key) == len(value)
    query, key, value = double(query), double(key), double(value)
    members = visible_positions(len(key), key_mask)
    blocks = sorted({i // block for i in members})  # the live ones
    output = np.zeros((len(query), value.shape[1]))
    if not blocks:
        return output

    def pooled(rows, b):
        own = [i for i in members if i // block == b]
        return weighted_mean([rows[i] for i in own], [1.0] * len(own))

    def affinity(row, column):
        b, c = blocks[row], blocks[column]
        noise = 0.0 if gumbel is None else float(gumbel[b][c])
        return (dot(pooled(query, b), pooled(key, c)) / math.sqrt(key.shape[1]) + noise) / float(temperature)

    matrix = sinkhorn_matrix(table(len(blocks), len(blocks), affinity), iterations)
    for row, b in enumerate(blocks):
        own = [i for i in members if i // block == b]
        keys, values = [key[i] for i in own], [value[i] for i in own]
        for i in range(block):
            held = [(matrix[row, column], c * block + i) for column, c in enumerate(blocks) if c * block + i in members]
            weights = [weight for weight, _ in held]
            if sum(weights) > 0:
                keys.append(weighted_mean([key[s] for _, s in held], weights))
                values.append(weighted_mean([value[s] for _, s in held], weights))
        places = range(b * block, min((b + 1) * block, len(query)))
        output[places.start : places.stop] = mixer_attention(query[places.start : places.stop], keys, values)
    return output


def mixer_sinkhorn_weights(
    query, key, *, causal=False, key_mask=None, block, temperature=0.75, iterations=7, rng=None, gumbel=None
):
    """w: what `mixer_sinkhorn` gives for the unit vectors as values."""
    knobs = {"block": block, "temperature": temperature, "iterations": iterations, "gumbel": gumbel}
    return mixer_sinkhorn(query, key, np.eye(len(key)), causal=causal, key_mask=key_mask, **knobs)
