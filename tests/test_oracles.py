"""The oracles themselves, against numbers that can be worked by hand."""

import functools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import oracles


def row(normalizer, scores, visible=None, **knobs):
    """The weights of one row; `visible` says which of its pairs are not masked."""
    mask = [[True] * len(scores) if visible is None else visible]
    return getattr(oracles, f"normalizer_{normalizer}")([scores], mask, [sum(mask[0])], **knobs)[0]


def illustrated():
    """The Illustrated Self-Attention example: query, key and value as printed."""
    inputs = np.array([[1, 0, 1, 0], [0, 2, 0, 2], [1, 1, 1, 1]])
    query = inputs @ np.array([[1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 1]])
    key = inputs @ np.array([[0, 0, 1], [1, 1, 0], [0, 1, 0], [1, 1, 0]])
    value = inputs @ np.array([[0, 2, 0], [0, 3, 0], [1, 0, 3], [1, 1, 0]])
    return query, key, value


def test_illustrated_self_attention():
    result = oracles.attend(*illustrated(), score=oracles.score_dot, normalizer=oracles.normalizer_softmax)
    assert_array_equal(result["scores"], [[2, 4, 4], [4, 16, 12], [4, 12, 10]])
    weights = [[0.063379, 0.468311, 0.468311], [6.0337e-6, 0.982008, 0.017986], [2.9539e-4, 0.880537, 0.119168]]
    output = [[1.936621, 6.683105, 1.595068], [1.999994, 7.963992, 0.053976], [1.999705, 7.759892, 0.358389]]
    assert_allclose(result["weights"], weights, rtol=0, atol=1e-6)
    assert_allclose(result["output"], output, rtol=0, atol=1e-6)


def test_scores_by_hand():
    query, key = [[3.0, 4.0], [0.0, 0.0]], [[4.0, 3.0], [0.0, 5.0], [0.0, 0.0]]
    assert_allclose(oracles.score_dot(query, key), [[24, 20, 0], [0, 0, 0]])
    assert_allclose(oracles.score_scaled_dot(query, key), np.array([[24, 20, 0], [0, 0, 0]]) / math.sqrt(2))
    assert_allclose(oracles.score_cosine(query, key, temperature=0.5), [[1.92, 1.6, 0], [0, 0, 0]])
    additive = oracles.score_additive(
        [[1.0, 2.0]], [[3.0]], query_weight=[[1.0, 0.0], [0.0, 1.0]], key_weight=[[1.0, -1.0]], readout=[2.0, 10.0]
    )
    assert_allclose(additive, [[2 * math.tanh(4) + 10 * math.tanh(-1)]])


def test_more_scores_by_hand():
    query, key = [[1.0, 2.0]], [[4.0, 6.0], [1.0, 2.0]]
    assert_allclose(oracles.score_bilinear(query, key, weight=[[1.0, 0.0], [10.0, 100.0]]), [[1284, 421]])
    assert_allclose(oracles.score_squared_distance(query, key), [[-25 / math.sqrt(2), 0]])
    assert_allclose(oracles.score_gaussian(query, key, bandwidth=5.0), [[math.exp(-0.5), 1]])
    assert_allclose(oracles.score_zero(query, key), [[0, 0]])
    concat = oracles.score_concat(
        [[1.0]], [[3.0]], weight=[[1.0, 2.0], [10.0, -1.0]], readout=[2.0, 10.0]
    )  # the tanh of 1 + 30 and of 2 − 3
    assert_allclose(concat, [[2 * math.tanh(31) + 10 * math.tanh(-1)]])


def test_modifiers_by_hand():
    arguments = ([[2.0, -4.0], [2.0, 6.0], [2.0, 6.0]], [2, 1, 0], [0, 1, 2], [0, 1])
    log_two = math.log(2)
    assert_allclose(oracles.modifier_temperature(*arguments, temperature=2.0), [[1, -2], [1, 3], [1, 3]])
    assert_allclose(oracles.modifier_log_length(*arguments), [[2 * log_two, -4 * log_two], [0, 0], [0, 0]])
    assert_allclose(oracles.modifier_log_length(*arguments, base=4), [[1, -2], [0, 0], [0, 0]])
    softcap = oracles.modifier_softcap(*arguments, cap=2.0)
    assert_allclose(softcap[0], [2 * math.tanh(1), -2 * math.tanh(2)])


def test_score_mod_by_hand():
    arguments = {"scores": [[2.0, -4.0]], "query_positions": [5], "key_positions": [0, 7]}
    minus = oracles.modifier_score_mod(**arguments, function=lambda x, i, j: x - abs(i - j))
    assert_allclose(minus, [[-3, -6]])
    scaled = oracles.modifier_score_mod(**arguments, function=lambda x, i, j, p: x * p["a"], parameters={"a": 3.0})
    assert_allclose(scaled, [[6, -12]])


def test_qk_norm_by_hand():
    """The root mean square of (1, 7) is 5, that of (3, 3) is 3, and √(0 + ε) is what 0 is divided by."""
    query, key = oracles.modifier_qk_norm(
        [[1.0, 7.0], [0.0, 0.0]], [[3.0, 3.0]], query_gain=[5.0, 10.0], key_gain=[2.0, 1.0], epsilon=1e-12
    )
    assert_allclose(query, [[1, 14], [0, 0]])
    assert_allclose(key, [[2, 1]])


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([1.0, 0.0], [1, 0]),
        ([0.5, 0.0], [0.75, 0.25]),
        ([2.0, 2.0, 2.0, -9.0], [1 / 3, 1 / 3, 1 / 3, 0]),
        ([0.0, 1.0, 0.4], [0, 0.8, 0.2]),
        ([1e9 + 1, 1e9], [1, 0]),
    ],
)
def test_sparsemax_by_hand(scores, expected):
    assert_allclose(row("sparsemax", scores), expected, atol=1e-15)


def test_normalizers_by_hand():
    scores = [math.log(2), math.log(3), math.log(5)]
    assert_allclose(row("softmax", scores), [0.2, 0.3, 0.5])
    assert_allclose(row("softmax_one", scores), np.array([2, 3, 5]) / 11)
    assert_allclose(row("sink", scores, sink=math.log(10)), [0.1, 0.15, 0.25])
    assert_allclose(row("sigmoid", scores, maximum_length=4), [2 / 6, 3 / 7, 5 / 9])
    assert_allclose(row("softmax_one", [1000.0, 1000.0]), [0.5, 0.5])
    assert_allclose(row("sigmoid", [1000.0, -1000.0], maximum_length=4), [1, 0])


def test_entmax_by_hand():
    """0.8² + 0.6² = 1 with scores 2(0.8 − 0.6) apart, and 0.6 + 0.4 = 1 with scores (0.6² − 0.4²)/2 apart."""
    assert_allclose(row("entmax15", [7.4, 7.0]), [0.64, 0.36], atol=1e-13)
    assert_allclose(row("entmax15", [2.0, 0.0]), [1, 0], atol=1e-13)
    assert_allclose(row("entmax", [0.1, 0.0], alpha=3.0), [0.6, 0.4], atol=1e-13)
    assert_allclose(row("entmax15", [2e4, -3.0, 2e4]), [0.5, 0, 0.5], atol=1e-13)
    assert_allclose(row("entmax", [1.0, 1.0, 1.0], alpha=1.15), [1 / 3] * 3, atol=1e-13)


@pytest.mark.parametrize("alpha", [1.2, 1.5, 2.0, 4.0])
def test_entmax_sums_to_one_and_is_sparsemax_at_two(alpha):
    scores = np.random.default_rng(0).normal(size=9)
    assert_allclose(row("entmax", scores, alpha=alpha).sum(), 1, rtol=1e-12)
    if alpha == 2:
        assert_allclose(row("entmax", scores, alpha=alpha), row("sparsemax", scores), atol=1e-13)


def test_more_normalizers_by_hand():
    scores = [math.log(2), math.log(3), math.log(5)]
    assert_allclose(row("scalable_softmax", [1.0, 2.0, 0.0]), np.array([3, 9, 1]) / 13)
    assert_allclose(row("scalable_softmax", [1.0, 2.0], scale=2.0), np.array([4, 16]) / 20)
    assert_allclose(row("relu", [2.0, -1.0, 3.0], maximum_length=4), [0.5, 0, 0.75])
    assert_allclose(row("squared_relu", [2.0, -1.0, 3.0], maximum_length=4), [1, 0, 2.25])
    assert_allclose(row("softpick", [math.log(3), math.log(0.5), math.log(2.5)], epsilon=0.0), [0.5, 0, 0.375])
    assert_allclose(row("softpick", [math.log(2), 0.0], epsilon=0.5), [0.5, 0])
    assert_allclose(row("softpick", [1000.0, 0.0], epsilon=0.0), [1, 0])
    assert_array_equal(row("softpick", [-1.0, -1000.0]), [0, 0])
    assert_allclose(row("top_k", scores, count=2), [0, 3 / 8, 5 / 8])
    assert_allclose(row("top_k", [1.0, 0.0, 0.0, -1.0], count=2)[3], 0)
    assert_allclose(row("top_k", [0.0, 0.0, 0.0], count=2), [1 / 3] * 3)
    assert_allclose(row("top_k", scores, count=9), [0.2, 0.3, 0.5])
    assert_array_equal(row("hard", [1.0, 3.0, 3.0, 2.0]), [0, 0.5, 0.5, 0])
    assert_array_equal(row("identity", [1.0, -3.0]), [1, -3])


def test_gumbel_softmax_by_hand():
    """u = e^{−1/a} adds ln a to a score, so it weighs a times as much."""
    plain = oracles.normalizer_gumbel_softmax([[0.0, math.log(3)]], [[True, True]], None, temperature=0.5)
    assert_allclose(plain, [[0.1, 0.9]])
    uniform = [[math.exp(-1 / 2), math.exp(-1 / 3), 0.0]]
    noisy = oracles.normalizer_gumbel_softmax([[0.0, 0.0, math.nan]], [[True, True, False]], uniform)
    assert_allclose(noisy, [[0.4, 0.6, 0]])


@pytest.mark.parametrize(
    ("normalizer", "knobs"),
    [
        ("softmax", {}),
        ("softmax_one", {}),
        ("sink", {"sink": 2.0}),
        ("sigmoid", {"maximum_length": 4}),
        ("scalable_softmax", {"scale": 0.5}),
        ("entmax15", {}),
        ("entmax", {"alpha": 1.3}),
        ("relu", {"maximum_length": 4}),
        ("squared_relu", {"maximum_length": 4}),
        ("softpick", {}),
        ("top_k", {"count": 1}),
        ("hard", {}),
        ("identity", {}),
        ("sparsemax", {}),
    ],
)
def test_masked_pairs_count_for_nothing(normalizer, knobs):
    kept = row(normalizer, [0.3, -0.2], **knobs)
    masked = row(normalizer, [0.3, math.nan, -0.2], visible=[True, False, True], **knobs)
    assert_array_equal(masked, [kept[0], 0, kept[1]])
    assert_array_equal(row(normalizer, [math.nan, 1e30], visible=[False, False], **knobs), [0, 0])


def test_log_normalizers_by_hand():
    scores, mask = [[math.log(2), math.log(3), math.nan], [9.0] * 3], [[True, True, False], [False] * 3]
    assert_allclose(oracles.log_normalizer_softmax(scores, mask), [math.log(5), -math.inf])
    assert_allclose(oracles.log_normalizer_softmax_one(scores, mask), [math.log(6), 0])
    assert_allclose(oracles.log_normalizer_sink(scores, mask, sink=math.log(4)), [math.log(9), math.log(4)])


def test_scalable_log_normalizer_by_hand():
    scores, mask = [[1.0, 3.0, math.nan], [9.0] * 3], [[True, True, False], [False] * 3]
    logs = oracles.log_normalizer_scalable_softmax(scores, mask, [2, 0], scale=1.0)
    assert_allclose(logs, [math.log(2 + 8), -math.inf])


def test_masks_by_hand():
    positions = ([0, 1, 2], [0, 1, 2])
    assert_array_equal(oracles.mask_causal(*positions), [[1, 0, 0], [1, 1, 0], [1, 1, 1]])
    assert_array_equal(oracles.mask_causal([5], [4, 5, 6]), [[1, 1, 0]])
    assert_array_equal(oracles.mask_window(*positions, left=1, right=0), [[1, 0, 0], [1, 1, 0], [0, 1, 1]])
    assert_array_equal(oracles.mask_prefix(*positions, length=2), [[1, 1, 0], [1, 1, 0], [1, 1, 1]])
    segments = oracles.mask_segments(*positions, query_segments=[0, 0, 1], key_segments=[0, 1, 1])
    assert_array_equal(segments, [[1, 0, 0], [1, 0, 0], [0, 1, 1]])
    assert_array_equal(oracles.mask_padding([0, 1], [0, 1, 2], key_valid=[True, True, False]), [[1, 1, 0]] * 2)
    assert_array_equal(oracles.mask_array([0], [0, 1], values=[[False, True]]), [[0, 1]])


def drawn(mask):
    """A mask as text, a line for each query."""
    return ["".join(".x"[int(may_attend)] for may_attend in queries) for queries in mask]


def test_sparse_masks_by_hand():
    six = (range(6), range(6))
    assert drawn(oracles.mask_dilated([4], range(8), left=2, right=1)) == ["x.x.x.x."]
    assert drawn(oracles.mask_dilated([4], range(8), left=1, right=0, dilation=3)) == [".x..x..."]
    assert drawn(oracles.mask_strided([4], range(9), stride=3)) == [".xxxxxxx."]
    assert drawn(oracles.mask_strided([0, 5], range(9), stride=4)) == ["xxxxx...x", ".xxxxxxxx"]
    assert drawn(oracles.mask_fixed([1, 4], range(9), block=4)) == ["xxxx...x.", "...xxxxx."]
    assert drawn(oracles.mask_fixed([8], range(9), block=4, summary=2)) == ["..xx..xxx"]
    assert drawn(oracles.mask_block_local(*six, block=2, left=1)) == ["xx...."] * 2 + ["xxxx.."] * 2 + ["..xxxx"] * 2
    assert drawn(oracles.mask_block_local([0], range(6), block=2, right=1)) == ["xxxx.."]
    assert drawn(oracles.mask_global_tokens(range(3), range(3), count=1)) == ["xxx", "x..", "x.."]
    assert drawn(oracles.mask_longformer([4], range(9), window=1, dilation=2)) == ["x.x.x.x.."]
    assert drawn(oracles.mask_longformer([0, 1, 4], range(6), window=1, count=2)) == ["xxxxxx", "xxxxxx", "xx.xxx"]
    assert drawn(oracles.mask_tree([0] * 3, range(5), parents=[-1, 0, 0, 1, -1], query_nodes=[3, 2, 4])) == [
        "xx.x.", "x.x..", "....x",
    ]  # fmt: skip


def test_random_blocks_by_hand():
    """Twelve positions in six blocks: as many keys for each query as were drawn, and the same for a block's queries."""
    mask = oracles.mask_random_blocks(range(14), range(14), block=2, count=2, length=12, seed=3)
    assert_array_equal(mask.sum(axis=1), [4] * 12 + [0] * 2)
    assert not mask[:, 12:].any()
    assert_array_equal(mask[0:12:2], mask[1:12:2])
    assert_array_equal(mask[:, 0:12:2], mask[:, 1:12:2])
    blocks = np.random.default_rng((3, 1)).choice(6, 2, replace=False)
    assert set(np.flatnonzero(mask[2]) // 2) == set(blocks)
    assert oracles.mask_random_blocks(range(3), range(3), block=2, count=9, length=3).all()
    assert_array_equal(oracles.mask_random_blocks([5], [4, 1], block=2, count=2, length=12, seed=3), mask[5:6, [4, 1]])


def test_bigbird_by_hand():
    """All four blocks drawn leave nothing out; none drawn leave the neighbours and the first block."""
    assert oracles.mask_bigbird(range(8), range(8), block=2, length=8, random=4).all()
    mask = oracles.mask_bigbird(range(8), range(8), block=2, length=8, random=0)
    assert drawn(mask[::2]) == ["xxxxxxxx", "xxxxxx..", "xxxxxxxx", "xx..xxxx"]


def test_image_masks_by_hand():
    """Three rows of four: position 6 is at row 1, column 2; a corner looks at the window that still fits in."""
    size = {"rows": 3, "columns": 4}
    near = oracles.mask_neighbourhood_2d([6, 0, 12], range(13), **size, radius=1)
    assert drawn(near) == [".xxx.xxx.xxx.", "xxx.xxx.xxx..", "." * 13]
    assert drawn(oracles.mask_neighbourhood_2d([6], range(12), **size, radius=0)) == ["......x....."]
    assert drawn(oracles.mask_axial([6], range(12), columns=4)) == ["..x.xxxx..x."]


def test_attend_composes_in_order():
    """log_length, then softcap, then the bias; a hidden key may hold NaN; a dead row gives 0."""
    result = oracles.attend(
    [[1.0], [1.0]], [[2.0], [2.0], [math.nan]], [[1.0], [5.0], [math.nan]],
    score=oracles.score_dot,
    modifiers=[oracles.modifier_log_length, functools.partial(oracles.modifier_softcap, cap=2.0)],
    biases=[functools.partial(oracles.position_alibi, slope=math.log(3))],
    mask=np.array([[True, True, False], [False, False, False]]),
    normalizer=oracles.normalizer_softmax,
    query_positions=[0, 1],
  )  # fmt: skip
    capped = 2 * math.tanh(2 * math.log(2) / 2)
    assert_allclose(result["scores"][0, :2], [capped, capped - math.log(3)])
    assert_allclose(result["weights"], [[0.75, 0.25, 0], [0, 0, 0]])
    assert_allclose(result["output"], [[2], [0]])


def test_attend_gives_positions_to_what_names_them():
    """One key at distance 1 and one at 0: their rows of the tables are 2 and 1."""
    result = oracles.attend(
        [[1.0]], [[0.0], [0.0]], [[0.0], [0.0]],
        score=functools.partial(oracles.position_shaw, table=[[9.0], [0.0], [math.log(3)]]),
        aggregate=functools.partial(oracles.position_shaw_value, table=[[9.0], [4.0], [8.0]]),
        normalizer=oracles.normalizer_softmax, query_positions=[5], key_positions=[5, 6],
    )  # fmt: skip
    assert_allclose(result["weights"], [[0.25, 0.75]])
    assert_allclose(result["output"], [[7]])


def test_length_and_entropy_by_hand():
    mask = [[True, False, False], [False] * 3]
    assert oracles.length_of(mask, [4, 9], [3, 8, 8]) == 5
    assert oracles.length_of(mask, [4, 9], [6, 8, 8]) == 7
    assert oracles.length_of([[False]], [4], [3]) == 0
    assert_allclose(oracles.entropy([[0.5, 0.5], [1, 0], [0, 0], [-2, 2]]), [math.log(2), 0, 0, math.log(2)])


def test_talking_heads_by_hand():
    """Heads 0 and 1 share the keys; swapped before, each weighs as the other would; after, head 0 takes both."""
    query, key, value = np.array([[[1.0], [0.0]]]), np.array([[[0.0]], [[math.log(3)]]]), np.array([[[0.0]], [[8.0]]])
    swap, plain = [[0.0, 1.0], [1.0, 0.0]], np.eye(2)
    assert_allclose(oracles.heads_talking(query, key, value, None, plain, plain), [[[6], [4]]])
    assert_allclose(oracles.heads_talking(query, key, value, None, swap, plain), [[[4], [6]]])
    assert_allclose(oracles.heads_talking(query, key, value, None, plain, [[1.0, 10.0], [0.0, 1.0]]), [[[46], [4]]])
    hidden = np.array([[False, True]])
    assert_allclose(oracles.heads_talking(query, key, value, hidden, plain, plain), [[[8], [8]]])


def test_differential_by_hand():
    """One group: the first query of each pair sees (1/4, 3/4) of the values, the second (1/2, 1/2)."""
    query = np.array([[[1.0], [5.0], [0.0], [1.0]]])
    key = np.array([[[0.0], [0.0]], [[math.log(3)], [0.0]]])
    value = np.array([[[0.0]], [[8.0]]])
    assert_allclose(oracles.heads_differential(query, key, value, None, [0.5, 1.0]), [[[6 - 0.5 * 4], [4 - 4]]])


def test_dropout_is_a_stated_hash():
    """mix(1) = 0x514E28B7 is MurmurHash3's published finalizer; with both words 0, pair (0, 0) hashes to 0."""
    assert oracles.hash_mix(0) == 0
    assert oracles.hash_mix(1) == 0x514E28B7
    assert not oracles.dropout_keep([0, 0], [0], [0], 0.5)[0, 0]
    assert oracles.dropout_keep([0, 0], [0], [0], 0.0)[0, 0]
    keep = oracles.dropout_keep([7, 2**32 - 1], range(64), range(96), 0.25)
    assert 0.72 < keep.mean() < 0.78
    assert_array_equal(keep[5:9, 3:4], oracles.dropout_keep([7, 2**32 - 1], range(5, 9), [3], 0.25))
    assert not oracles.dropout_keep([7, 9], range(9), range(9), 1.0).any()


def test_attention_by_hand():
    """Keys at 0 are all alike: a query averages what it may attend to."""
    arguments = (np.ones((3, 1)), np.zeros((3, 1)), [[3.0], [9.0], [6.0]])
    assert_allclose(oracles.mixer_attention(*arguments), [[6], [6], [6]])
    assert_allclose(oracles.mixer_attention(*arguments, causal=True), [[3], [6], [6]])
    key_mask = [False, True, True]
    assert_allclose(oracles.mixer_attention(*arguments, causal=True, key_mask=key_mask), [[0], [9], [7.5]])
    weights = oracles.mixer_attention_weights(*arguments[:2], causal=True, key_mask=key_mask)
    assert_allclose(weights, [[0, 0, 0], [0, 1, 0], [0, 0.5, 0.5]])


def test_linear_by_hand():
    """φ(0) = 1 and φ(1) = 2: the kernel of a query at 0 counts 1 and 2, so y = (1·3 + 2·9)/3."""
    arguments = ([[0.0], [0.0]], [[0.0], [1.0]], [[3.0], [9.0]])
    assert_allclose(oracles.mixer_linear(*arguments, epsilon=0.0), [[7], [7]])
    assert_allclose(oracles.mixer_linear(*arguments, causal=True, epsilon=0.0), [[3], [7]])
    assert_allclose(oracles.mixer_linear(*arguments, causal=True, epsilon=1.0), [[1.5], [21 / 4]])


@pytest.mark.parametrize("causal", [False, True])
def test_linear_equals_its_weights(causal):
    random = np.random.default_rng(1)
    query, key, value = (random.normal(size=(5, width)) for width in (4, 4, 3))
    key[[0, 3]], value[[0, 3]] = np.nan, np.nan
    key_mask = np.array([False, True, True, False, True])
    output = oracles.mixer_linear(query, key, value, causal=causal, key_mask=key_mask)
    weights = oracles.mixer_linear_weights(query, key, causal=causal, key_mask=key_mask)
    assert_allclose(oracles.aggregate_matmul(weights, np.nan_to_num(value)), output)
    assert np.array_equal(output[0], [0, 0, 0]) == causal
    assert_allclose(weights.sum(axis=1), [0 if causal else 1, 1, 1, 1, 1], atol=1e-5)
