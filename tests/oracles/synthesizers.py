"""Synthesizers: scores that compare no query with a key (Tay et al. 2021, arXiv:2005.00743)."""

from tests.oracles import helpers
from tests.oracles.helpers import dot, double


def score_synthesizer_dense(query, key, query_positions, key_positions, hidden_weight, output_weight):
    """xᵢⱼ = (relu(qᵢ W₁) W₂)[pⱼ], W₁ the hidden weight, W₂ the output's."""
    query, hidden_weight, output_weight = double(query), double(hidden_weight), double(output_weight)

    def entry(i, j):
        hidden = [max(dot(query[i], hidden_weight[:, f]), 0.0) for f in range(hidden_weight.shape[1])]
        return dot(hidden, output_weight[:, int(key_positions[j])])

    return helpers.table(len(query), len(key), entry)


def score_synthesizer_random(query, key, query_positions, key_positions, table):
    """xᵢⱼ = table[pᵢ, pⱼ]."""
    rows = double(table)
    return helpers.table(len(query), len(key), lambda i, j: rows[int(query_positions[i]), int(key_positions[j])])


def score_synthesizer_factorised(query, key, query_positions, key_positions, query_factors, key_factors):
    """xᵢⱼ = query_factors[pᵢ]·key_factors[pⱼ]."""
    query_factors, key_factors = double(query_factors), double(key_factors)

    def entry(i, j):
        return dot(query_factors[int(query_positions[i])], key_factors[int(key_positions[j])])

    return helpers.table(len(query), len(key), entry)
