"""Masks: which pairs may attend."""

import numpy as np

from tests.oracles.helpers import pair_mask, table


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


def mask_dilated(query_positions, key_positions, left, right=0, dilation=2):
    """mᵢⱼ = −left·d ≤ n ≤ right·d and d divides n, n = pⱼ − pᵢ, d the dilation (Beltagy et al. 2020)."""

    def may_attend(query, key):
        return -left * dilation <= key - query <= right * dilation and (key - query) % dilation == 0

    return pair_mask(query_positions, key_positions, may_attend)


def mask_strided(query_positions, key_positions, stride):
    """mᵢⱼ = |pⱼ − pᵢ| < stride or stride divides pⱼ − pᵢ (Child et al. 2019)."""

    def may_attend(query, key):
        return abs(key - query) < stride or (key - query) % stride == 0

    return pair_mask(query_positions, key_positions, may_attend)


def mask_fixed(query_positions, key_positions, block, summary=1):
    """mᵢⱼ = ⌊pᵢ/block⌋ = ⌊pⱼ/block⌋ or pⱼ mod block ≥ block − summary (Child et al. 2019)."""

    def may_attend(query, key):
        return query // block == key // block or key % block >= block - summary

    return pair_mask(query_positions, key_positions, may_attend)


def mask_block_local(query_positions, key_positions, block, left=0, right=0):
    """mᵢⱼ = −left ≤ ⌊pⱼ/block⌋ − ⌊pᵢ/block⌋ ≤ right (Parmar et al. 2018)."""
    return pair_mask(query_positions, key_positions, lambda query, key: -left <= key // block - query // block <= right)


def mask_global_tokens(query_positions, key_positions, count):
    """mᵢⱼ = pᵢ < count or pⱼ < count (Beltagy et al. 2020)."""
    return pair_mask(query_positions, key_positions, lambda query, key: query < count or key < count)


def mask_random_blocks(query_positions, key_positions, block, count, length, seed=0):
    """mᵢⱼ = ⌊pⱼ/block⌋ is among the min(count, N) of N = ⌈length/block⌉ blocks drawn for ⌊pᵢ/block⌋; in [0, length)."""
    blocks = -(-int(length) // int(block))
    drawn = []
    for a in range(blocks):
        random = np.random.default_rng((int(seed), a))
        drawn.append({int(b) for b in random.choice(blocks, min(int(count), blocks), replace=False)})

    def may_attend(query, key):
        return 0 <= query < length and 0 <= key < length and key // block in drawn[query // block]

    return pair_mask(query_positions, key_positions, may_attend)


def mask_longformer(query_positions, key_positions, window, dilation=1, count=1):
    """m = a dilated window to both sides, or the first `count` positions (Beltagy et al. 2020)."""
    near = mask_dilated(query_positions, key_positions, left=window, right=window, dilation=dilation)
    first = mask_global_tokens(query_positions, key_positions, count=count)
    return table(*near.shape, lambda i, j: near[i, j] or first[i, j], bool)


def mask_bigbird(query_positions, key_positions, block, length, random=1, count=1, seed=0):
    """m = the block and its neighbours, or the first `count` blocks, or `random` drawn blocks (Zaheer et al. 2020)."""
    near = mask_block_local(query_positions, key_positions, block=block, left=1, right=1)
    first = mask_global_tokens(query_positions, key_positions, count=count * block)
    drawn = mask_random_blocks(query_positions, key_positions, block=block, count=random, length=length, seed=seed)
    return table(*near.shape, lambda i, j: near[i, j] or first[i, j] or drawn[i, j], bool)


def mask_neighbourhood_2d(query_positions, key_positions, rows, columns, radius):
    """mᵢⱼ = |rⱼ − clip(rᵢ, radius, rows−1−radius)| ≤ radius, columns alike; p = r·columns + c (Hassani et al. 2022)."""

    def near(query, key, size):
        return abs(key - min(max(query, radius), size - 1 - radius)) <= radius

    def may_attend(query, key):
        if not (0 <= query < rows * columns and 0 <= key < rows * columns):
            return False
        return near(query // columns, key // columns, rows) and near(query % columns, key % columns, columns)

    return pair_mask(query_positions, key_positions, may_attend)


def mask_axial(query_positions, key_positions, columns):
    """mᵢⱼ = same row or same column, p = row·columns + column (Ho et al. 2019)."""

    def may_attend(query, key):
        return query // columns == key // columns or query % columns == key % columns

    return pair_mask(query_positions, key_positions, may_attend)


def mask_tree(query_positions, key_positions, parents, query_nodes):
    """mᵢⱼ = node j is the query's node or one of its ancestors; −1 is the parent of a root (Miao et al. 2023)."""

    def path(node):
        nodes = set()
        while node >= 0 and node not in nodes:
            nodes.add(node)
            node = int(parents[node])
        return nodes

    paths = [path(int(node)) for node in query_nodes]
    return table(len(query_positions), len(key_positions), lambda i, j: j in paths[i], bool)
