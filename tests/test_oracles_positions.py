"""The oracles of positions, against numbers that can be worked by hand; `test_oracles` has the rest."""

import functools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import oracles


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


def turns(rope, width, **knobs):
    """By which angles and which factors position 1 turns the pairs of a query, in the layout of halves."""
    query = [[1.0] * (width // 2) + [0.0] * (width // 2)]
    turned, unmoved = getattr(oracles, f"position_{rope}")(query, query, [1], [0], **knobs)
    cos, sin = turned[0, : width // 2], turned[0, width // 2 :]
    sizes = np.hypot(cos, sin)
    assert_allclose(unmoved[0], [*sizes, *[0] * (width // 2)])
    return np.arctan2(sin, cos), sizes


def test_ropes_of_other_lengths_by_hand():
    assert_allclose(turns("rope_linear", 4, base=100.0, factor=4.0)[0], [0.25, 0.025])
    assert_allclose(turns("rope_ntk", 4, base=100.0, factor=3.0)[0], [1, 1 / 30])
    assert_allclose(turns("rope_ntk", 2, base=100.0, factor=3.0)[0], [1])
    dynamic = {"base": 100.0, "factor": 2.0, "original_length": 4}
    assert_allclose(turns("rope_dynamic_ntk", 4, **dynamic, length=8)[0], [1, 1 / 30])
    assert_allclose(turns("rope_dynamic_ntk", 4, **dynamic, length=2)[0], [1, 1 / 10])


def test_yarn_by_hand():
    """d(n) = log₁₀(1000/n): from ⌊log₁₀ 31.25⌋ = 1 to ⌈log₁₀ 500⌉ = 3 the frequencies come to be halved."""
    knobs = {"base": 1000.0, "original_length": 2000 * math.pi, "fast": 32.0, "slow": 2.0}
    angles, sizes = turns("rope_yarn", 6, **knobs, factor=2.0)
    assert_allclose(angles, [1, 0.1, 0.0075])
    assert_allclose(sizes, [1 + 0.1 * math.log(2)] * 3)
    assert_allclose(turns("rope_yarn", 6, **knobs, factor=1.0), [[1, 0.1, 0.01], [1, 1, 1]])


def test_llama3_by_hand():
    """The pairs turn 25, 2.5 and 0.25 times within the original length: kept, half kept, slowed."""
    angles, sizes = turns("rope_llama3", 6, base=1000.0, original_length=50 * math.pi, factor=8.0)
    assert_allclose(angles, [1, 0.05 + 0.05 / 8, 0.01 / 8])
    assert_allclose(sizes, [1, 1, 1])


def test_plain_factors_are_rope():
    random = np.random.default_rng(0)
    arguments = (random.normal(size=(3, 8)), random.normal(size=(4, 8)), range(3), range(4))
    for layout in ("half", "interleaved"):
        rope = oracles.position_rope(*arguments, layout=layout, rotated=4)
        for name, knobs in {
            "rope_linear": {}, "rope_ntk": {}, "rope_dynamic_ntk": {"length": 4, "original_length": 5},
            "rope_yarn": {"original_length": 100}, "rope_llama3": {"original_length": 100},
        }.items():  # fmt: skip
            other = getattr(oracles, f"position_{name}")(*arguments, layout=layout, rotated=4, factor=1.0, **knobs)
            assert_allclose(np.vstack(other), np.vstack(rope))


def test_xpos_by_hand():
    """ζ₀ = 0.4/1.4 = 2/7 of the only pair: a query at 1 shrinks by it, or a key at 0 does when the centre is 1."""
    vectors = ([[1.0, 0.0]], [[1.0, 0.0]], [1], [0])
    query, key = oracles.position_xpos(*vectors, length=1, scale_base=1.0)
    assert_allclose(query, [[2 / 7 * math.cos(1), 2 / 7 * math.sin(1)]])
    assert_allclose(key, [[1, 0]])
    query, key = oracles.position_xpos(*vectors, length=2, scale_base=1.0)
    assert_allclose(query, [[math.cos(1), math.sin(1)]])
    assert_allclose(key, [[2 / 7, 0]])


def test_axial_rope_by_hand():
    """Position 7 in rows of 5 is at row 1, column 2."""
    query, key = oracles.position_axial_rope([[1.0, 0.0, 0.0, 1.0]], [[1.0, 2.0, 3.0, 4.0]], [7], [0], columns=5)
    assert_allclose(query, [[math.cos(1), math.sin(1), -math.sin(2), math.cos(2)]])
    assert_array_equal(key, [[1, 2, 3, 4]])
    eight, _ = oracles.position_axial_rope([[0, 1, 0, 0, 0, 1, 0, 0]], np.zeros((1, 8)), [7], [0], columns=5)
    assert_allclose(eight, [[0, math.cos(0.1), 0, math.sin(0.1), 0, math.cos(0.2), 0, math.sin(0.2)]])
    with pytest.raises(ValueError, match="divisible by 4"):
        oracles.position_axial_rope([[1.0] * 6], [[1.0] * 6], [0], [0], columns=5)


def test_shaw_by_hand():
    table = [[1.0, 0.0], [2.0, 0.0], [4.0, 0.0]]
    scores = oracles.position_shaw([[3.0, 1.0]], [[1.0, 5.0]] * 4, [2], [0, 2, 3, 9], table)
    assert_allclose(scores, np.array([[8 + 3, 8 + 6, 8 + 12, 8 + 12]]) / math.sqrt(2))
    output = oracles.position_shaw_value([[0.5, 0.0, 0.25]], [[1.0, 8.0]] * 3, [2], [0, 2, 3], table)
    assert_allclose(output, [[0.5 * 2 + 0.25 * 5, 0.5 * 8 + 0.25 * 8]])


def test_transformer_xl_by_hand():
    """e(2) = (sin 2, cos 2): with weights 10 and 100, (3 + 1)·5 + (3 + 2)(10 sin 2 + 100 cos 2)."""
    knobs = {"content_bias": [1.0], "position_bias": [2.0], "weight": [[10.0], [100.0]]}
    scores = oracles.position_transformer_xl([[3.0]], [[5.0], [0.0]], [4], [2, 5], **knobs)
    here, there = 10 * math.sin(2) + 100 * math.cos(2), -10 * math.sin(1) + 100 * math.cos(1)
    assert_allclose(scores, [[20 + 5 * here, 5 * there]])


def test_transformer_xl_slows_down_along_the_waves():
    weight = np.eye(4)
    scores = oracles.position_transformer_xl(
        np.eye(4), np.zeros((1, 4)), [3] * 4, [1], np.zeros(4), np.zeros(4), weight, base=100.0
    )
    assert_allclose(2 * scores[:, 0], [math.sin(2), math.sin(0.2), math.cos(2), math.cos(0.2)])


def test_deberta_by_hand():
    """m = 1: row 0 for keys after the query, row 1 from distance 0 on; the other table looks the other way."""
    arguments = ([[2.0]], [[3.0]] * 3, [4], [1, 4, 5])
    one = oracles.position_deberta(*arguments, key_table=[[10.0], [100.0]])
    assert_allclose(one, np.array([[206, 206, 26]]) / math.sqrt(2))
    both = oracles.position_deberta(*arguments, key_table=[[10.0], [100.0]], query_table=[[1000.0], [10000.0]])
    assert_allclose(both, np.array([[206 + 3000, 206 + 30000, 26 + 30000]]) / math.sqrt(3))
    with pytest.raises(ValueError, match="must be given"):
        oracles.position_deberta(*arguments)


def test_t5_by_hand():
    """Eight buckets as they are; then one more at every power of √2 times 8: 11.3, 16, 22.6 …, 90.5."""
    ahead = [0, 1, 7, 8, 11, 12, 15, 16, 22, 23, 32, 45, 46, 64, 90, 91, 128, 1000]
    buckets = [0, 1, 7, 8, 8, 9, 9, 10, 10, 11, 12, 12, 13, 14, 14, 15, 15, 15]
    bias = oracles.position_t5([0], ahead, np.arange(32.0))
    assert_array_equal(bias[0], [b + 16 if n > 0 else 0 for b, n in zip(buckets, ahead, strict=True)])
    assert_array_equal(oracles.position_t5(ahead, [0], np.arange(32.0))[:, 0], buckets)
    one_way = oracles.position_t5([0, 9, 16, 31, 32, 500], [0, 1], np.arange(32.0), bidirectional=False)
    assert_array_equal(one_way[:, 0], [0, 9, 16, 21, 21, 31])
    assert one_way[0, 1] == 0


def test_distance_biases_by_hand():
    log = oracles.position_kerple_log([2, 3], [0, 3], amplitude=2.0, rate=0.5)
    assert_allclose(log, [[-2 * math.log(2), -2 * math.log(1.5)], [-2 * math.log(2.5), 0]])
    power = oracles.position_kerple_power([2, 3], [0, 3], amplitude=2.0, exponent=2.0)
    assert_allclose(power, [[-8, -2], [-18, 0]])
    forgetting = oracles.position_forgetting([1, 2], [0, 1, 2], query_sum=[-3.0, -7.0], key_sum=[-1.0, -3.0, -7.0])
    assert_allclose(forgetting, [[-2, 0, -4], [-6, -4, 0]])


def test_fire_by_hand():
    """With the threshold at 7, distances 1 and 3 are 1/3 and 2/3; from position 15, 3 and 15 are 1/2 and 1."""
    knobs = {"hidden_weight": [3.0, -4.0], "hidden_bias": [0.0, 2.0], "readout": [10.0, 100.0], "readout_bias": 5.0}
    bias = oracles.position_fire([1, 3, 15], [0, 12], **knobs, curvature=-1.0, threshold=-7.0, epsilon=0.0)
    assert_allclose(bias[:2, 0], [10 + 200 / 3 + 5, 20 + 5])
    assert_allclose(bias[2], [30 + 5, 15 + 5], atol=1e-12)


def test_images_by_hand():
    """Position 7 in rows of 5 is at row 1, column 2."""
    waves = oracles.position_sinusoidal_2d([7], 8, columns=5)
    row = [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]
    assert_allclose(waves, [[*row, math.sin(2), math.cos(2), math.sin(0.02), math.cos(0.02)]])
    rows, columns = [[1.0], [2.0]], [[10.0], [20.0], [30.0]]
    learned = oracles.position_learned_2d([0, 5, 6, -1], rows, columns)
    assert_array_equal(learned, [[1, 10], [2, 30], [math.nan] * 2, [math.nan] * 2])
