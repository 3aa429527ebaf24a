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


def test_modifiers_by_hand():
    arguments = ([[2.0, -4.0], [2.0, 6.0], [2.0, 6.0]], [2, 1, 0], [0, 1, 2], [0, 1])
    log_two = math.log(2)
    assert_allclose(oracles.modifier_temperature(*arguments, temperature=2.0), [[1, -2], [1, 3], [1, 3]])
    assert_allclose(oracles.modifier_log_length(*arguments), [[2 * log_two, -4 * log_two], [0, 0], [0, 0]])
    assert_allclose(oracles.modifier_log_length(*arguments, base=4), [[1, -2], [0, 0], [0, 0]])
    softcap = oracles.modifier_softcap(*arguments, cap=2.0)
    assert_allclose(softcap[0], [2 * math.tanh(1), -2 * math.tanh(2)])


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


@pytest.mark.parametrize(
    ("normalizer", "knobs"),
    [
        ("softmax", {}),
        ("softmax_one", {}),
        ("sink", {"sink": 2.0}),
        ("sigmoid", {"maximum_length": 4}),
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


def test_sinusoidal_by_hand():
    expected = [[0, 1, 0, 1], [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]]
    assert_allclose(oracles.position_sinusoidal([0, 1], 4), expected)


def test_learned_by_hand():
    rows = oracles.position_learned([1, 0, -1, 2], [[1.0, 2.0], [3.0, 4.0]])
    assert_array_equal(rows, [[3, 4], [1, 2], [math.nan] * 2, [math.nan] * 2])


def test_rope_by_hand():
    quarter = [[1.0, 2.0, 3.0, 4.0]]
    half, _ = oracles.position_rope(quarter, quarter, [1], [0], base=100.0, layout="half")
    cos, sin, slow_cos, slow_sin = math.cos(1), math.sin(1), math.cos(0.1), math.sin(0.1)
    expected = [cos - 3 * sin, 2 * slow_cos - 4 * slow_sin, sin + 3 * cos, 2 * slow_sin + 4 * slow_cos]
    assert_allclose(half, [expected])
    pairs, _ = oracles.position_rope(quarter, quarter, [1], [0], base=100.0, layout="interleaved")
    expected = [cos - 2 * sin, sin + 2 * cos, 3 * slow_cos - 4 * slow_sin, 3 * slow_sin + 4 * slow_cos]
    assert_allclose(pairs, [expected])
    part, unmoved = oracles.position_rope(quarter, quarter, [1], [0], base=100.0, layout="half", rotated=2)
    assert_allclose(part, [[cos - 2 * sin, sin + 2 * cos, 3, 4]])
    assert_array_equal(unmoved, quarter)


@pytest.mark.parametrize("layout", ["half", "interleaved"])
@pytest.mark.parametrize("rotated", [2, 4])
def test_rope_keeps_norms_and_sees_only_distances(layout, rotated):
    random = np.random.default_rng(0)
    query, key = random.normal(size=(5, 8)), random.normal(size=(6, 8))
    rope = functools.partial(oracles.position_rope, base=10000.0, layout=layout, rotated=rotated)
    here = rope(query, key, np.arange(5), np.arange(6))
    there = rope(query, key, np.arange(5) + 37, np.arange(6) + 37)
    assert_allclose(np.linalg.norm(here[0], axis=1), np.linalg.norm(query, axis=1))
    assert_allclose(np.linalg.norm(here[1], axis=1), np.linalg.norm(key, axis=1))
    assert_allclose(oracles.score_dot(*there), oracles.score_dot(*here), atol=1e-12)
    assert not np.allclose(oracles.score_dot(*here), oracles.score_dot(query, key))


def test_alibi_by_hand():
    assert_allclose(oracles.alibi_slopes(8), [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256])
    between = [2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    assert_allclose(oracles.alibi_slopes(12), [*(2.0**-h for h in range(1, 9)), *between])
    assert_allclose(oracles.alibi_slopes(1), [2**-8])
    assert_allclose(oracles.alibi_slopes(3), [2**-4, 2**-8, 2**-2])
    assert_allclose(oracles.position_alibi([2, 3], [0, 5], slope=0.5), [[-1, -1.5], [-1.5, -1]])


def test_cope_by_hand():
    """Scores of 0 open every gate by half, so positions count visible keys in halves, from the right."""
    scores, query, embedding = np.zeros((2, 4)), [[1.0], [2.0]], [[10.0], [20.0]]
    mask = [[True, True, True, False], [False, False, False, False]]
    expected = [[20, 20, 15, 10], [20, 20, 20, 20]]
    assert_allclose(oracles.position_cope(scores, query, mask, embedding), expected)


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
