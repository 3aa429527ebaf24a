"""The oracles of kernels, low rank, hashing, sorting and synthesizers, against numbers that can be worked by hand."""

import functools
import inspect
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import oracles

LN3 = math.log(3)
QUERIES, KEYS, WIDTH = 5, 7, 4
KERNELS = "performer cosformer random_feature taylor hedgehog".split()
LOW_RANK = "linformer luna latent_bottleneck".split()
SQUARE = "nystrom clustered reformer sinkhorn".split()
ELEMENTWISE = "aft_full aft_simple".split()
CAUSAL = [*KERNELS, *ELEMENTWISE, "reformer"]
MIXERS = [*KERNELS, *LOW_RANK, *SQUARE, *ELEMENTWISE]


def mixer(name):
    return getattr(oracles, f"mixer_{name}")


def weights_of(name):
    return getattr(oracles, f"mixer_{name}_weights")


def case_of(name):
    """Query, key, value and knobs of a mixer, all random."""
    rng = np.random.default_rng(MIXERS.index(name))

    def normal(*shape):
        return rng.normal(size=shape)

    knobs = {
        "performer": lambda: {"projection": normal(6, WIDTH)},
        "cosformer": lambda: {"maximum": 9},
        "random_feature": lambda: {"projection": normal(6, WIDTH)},
        "taylor": dict,
        "hedgehog": lambda: {"query_weight": normal(WIDTH, 3), "key_weight": normal(WIDTH, 3)},
        "linformer": lambda: {"key_projection": normal(9, 3), "value_projection": normal(9, 3)},
        "luna": lambda: {"packed_query": normal(3, WIDTH)},
        "latent_bottleneck": lambda: {"latent_query": normal(3, WIDTH), "latent_key": normal(3, WIDTH)},
        "nystrom": lambda: {"landmarks": 3},
        "clustered": lambda: {"clusters": 3},
        "reformer": lambda: {"rotations": normal(2, WIDTH, 2), "chunk": 3},
        "sinkhorn": lambda: {"block": 3},
        "aft_full": lambda: {"query_factors": normal(9, 2), "key_factors": normal(9, 2)},
        "aft_simple": dict,
    }[name]()
    rows = KEYS if name in SQUARE else QUERIES
    return [normal(rows, WIDTH), normal(KEYS, WIDTH), normal(KEYS, WIDTH if name in ELEMENTWISE else 3)], knobs


# What holds for all of them.


@pytest.mark.parametrize("name", MIXERS)
def test_hidden_keys_are_never_read(name):
    """NaN at a hidden position, and in its query where there is one, leaves every other position as it was."""
    (query, key, value), knobs = case_of(name)
    key_mask = np.array([True, False, True, True, True, False, False])
    plain = mixer(name)(query, key, value, key_mask=key_mask, **knobs)
    assert np.isfinite(plain).all()
    key[~key_mask], value[~key_mask] = np.nan, np.nan
    others = np.ones(len(query), bool)
    if name in SQUARE:
        query[~key_mask], others = np.nan, key_mask
    assert_array_equal(mixer(name)(query, key, value, key_mask=key_mask, **knobs)[others], plain[others])
    if name not in ELEMENTWISE:
        weights = weights_of(name)(query, key, key_mask=key_mask, **knobs)[others]
        assert_array_equal(weights[:, ~key_mask], 0)
        assert_allclose(weights[:, key_mask] @ value[key_mask], plain[others], atol=1e-12)


@pytest.mark.parametrize("name", MIXERS)
def test_seeing_nothing_gives_0(name):
    (query, key, value), knobs = case_of(name)
    nothing = np.zeros(KEYS, bool)
    assert_array_equal(mixer(name)(query, key, value, key_mask=nothing, **knobs), np.zeros((len(query), len(value[0]))))
    if name not in ELEMENTWISE:
        weights = weights_of(name)(query, key, key_mask=nothing, **knobs)
        assert_array_equal(weights, np.zeros((len(query), KEYS)))


@pytest.mark.parametrize("name", [*KERNELS, *ELEMENTWISE])
def test_causal_is_what_each_prefix_gives_its_last_query(name):
    (query, key, value), knobs = case_of(name)
    key_mask = np.array([False, True, True, False, True, True, True])
    output = mixer(name)(query, key, value, causal=True, key_mask=key_mask, **knobs)
    assert_array_equal(output[0], 0)
    for t in range(QUERIES):
        prefix = [query[: t + 1], key[: t + 1], value[: t + 1]]
        assert_allclose(output[t], mixer(name)(*prefix, key_mask=key_mask[: t + 1], **knobs)[t], atol=1e-12)


@pytest.mark.parametrize("name", ["performer", "random_feature", "taylor", "hedgehog", "luna", "latent_bottleneck"])
def test_hiding_is_leaving_out_where_order_does_not_count(name):
    (query, key, value), knobs = case_of(name)
    key_mask = np.array([True, False, True, True, True, False, False])
    hidden = mixer(name)(query, key, value, key_mask=key_mask, **knobs)
    assert_allclose(mixer(name)(query, key[key_mask], value[key_mask], **knobs), hidden, atol=1e-12)


@pytest.mark.parametrize("name", MIXERS)
def test_all_are_called_alike(name):
    """All take `causal`; those that cannot be causal insist on False."""
    (query, key, value), knobs = case_of(name)
    assert {"causal", "key_mask"} <= inspect.signature(mixer(name)).parameters.keys()
    if name not in CAUSAL:
        with pytest.raises(AssertionError):
            mixer(name)(query, key, value, causal=True, **knobs)


# Kernels.


def test_taylor_by_hand():
    """x = 0 and 2 have the kernels 1 and 1 + 2 + 2."""
    arguments = ([[1.0], [1.0]], [[0.0], [2.0]], [[6.0], [12.0]])
    assert_allclose(oracles.mixer_taylor(*arguments, epsilon=0.0), [[11], [11]])
    assert_allclose(oracles.mixer_taylor(*arguments, epsilon=6.0), [[5.5], [5.5]])
    assert_allclose(oracles.mixer_taylor(*arguments, causal=True, epsilon=0.0), [[6], [11]])
    wide = oracles.mixer_taylor_weights([[1.0] * 4], [[0.0] * 4, [1.0] * 4], epsilon=0.0)  # 4/√4 = 2 again
    assert_allclose(wide, [[1 / 6, 5 / 6]])


def test_taylor_of_a_query_at_0_is_the_mean():
    value = [[3.0], [9.0], [6.0]]
    assert_allclose(oracles.mixer_taylor([[0.0]], [[1.0], [-5.0], [7.0]], value, epsilon=0.0), [[6]])


def test_performer_by_hand():
    """With ω = 1, φ(x) = exp(x − x²/2) is the same at 0 and at 2; with ω = 0, φ(√(2 ln 3)) = 1/3."""
    projection = [[1.0]]
    assert_allclose(oracles.mixer_performer_weights([[4.0]], [[0.0], [2.0]], projection=projection), [[0.5, 0.5]])
    half = oracles.mixer_performer_weights([[4.0]], [[0.0], [1.0]], projection=projection)
    assert_allclose(half[0, 1] / half[0, 0], math.exp(0.5))
    far = [[0.0], [math.sqrt(2 * LN3)]]
    for features in ("positive", "hyperbolic"):
        weights = oracles.mixer_performer_weights([[4.0]], far, projection=[[0.0]], features=features)
        assert_allclose(weights, [[0.75, 0.25]])
    with pytest.raises(ValueError, match="features"):
        oracles.mixer_performer_weights([[4.0]], far, projection=projection, features="negative")


def test_performer_scales_by_the_fourth_root_of_the_width():
    """x' = x/2 at a width of 16: the key 4e₁ has x' = 2e₁, hence φ = 1 as at 0."""
    key = np.zeros((2, 16))
    key[1, 0] = 4.0
    weights = oracles.mixer_performer_weights(np.ones((1, 16)), key, projection=np.eye(1, 16))
    assert_allclose(weights, [[0.5, 0.5]])


def test_hyperbolic_features_are_those_of_both_signs():
    weights = oracles.mixer_performer_weights([[0.0]], [[0.0], [1.0]], projection=[[1.0]], features="hyperbolic")
    assert_allclose(weights[0, 1] / weights[0, 0], math.cosh(1) * math.exp(-0.5))
    signs = oracles.mixer_performer_weights([[1.0]], [[1.0], [-1.0]], projection=[[1.0]], features="hyperbolic")
    assert_allclose(signs[0, 0] / signs[0, 1], math.cosh(2))


def test_performer_neither_overflows_nor_vanishes():
    weights = oracles.mixer_performer_weights([[100.0]], [[100.0], [100.0]], projection=[[1.0], [30.0]])
    assert_allclose(weights, [[0.5, 0.5]])


def test_cosformer_by_hand():
    """At a maximum of 3, keys 0, 1, 2 away count cos 0, cos 30° and cos 60°."""
    ones, value = np.ones((3, 1)), np.eye(3)
    third = math.sqrt(3) / 2
    kernels = np.array([[1, third, 0.5], [third, 1, third], [0.5, third, 1]])
    assert_allclose(
        oracles.mixer_cosformer(ones, ones, value, maximum=3, epsilon=1.0), (kernels.T / (kernels.sum(1) + 1)).T
    )
    causal = oracles.mixer_cosformer_weights(ones, ones, causal=True, maximum=3, epsilon=0.0)
    assert_allclose(causal[1], [third / (1 + third), 1 / (1 + third), 0])
    with pytest.raises(ValueError, match="maximum"):
        oracles.mixer_cosformer(ones, ones, value, maximum=2)


def test_cosformer_far_below_its_maximum_is_relu():
    query, key = [[1.0, -9.0], [-1.0, -2.0]], [[1.0, 5.0], [3.0, 5.0], [-2.0, 5.0]]
    weights = oracles.mixer_cosformer_weights(query, key, maximum=10**9, epsilon=0.0)
    assert_allclose(weights, [[0.25, 0.75, 0], [0, 0, 0]])


def test_random_feature_by_hand():
    """κ = cos(ω(q' − k')) with q', k' = ±1 or 0: 1, cos 120° and cos 60° for ω = 60°."""
    key, value, projection = [[2.0], [-7.0], [0.0]], [[1.0], [10.0], [100.0]], [[math.pi / 3]]
    assert_allclose(oracles.mixer_random_feature([[5.0]], key, value, projection=projection), [[1 - 5 + 50]])
    only = {"key_mask": [False, True, False], "projection": projection}
    assert_allclose(oracles.mixer_random_feature([[5.0]], key, value, **only), [[-0.5 / 0.01 * 10]])
    assert_allclose(oracles.mixer_random_feature([[5.0]], key, value, epsilon=4.0, **only), [[-0.5 / 4 * 10]])
    twice = oracles.mixer_random_feature_weights([[5.0]], key, projection=projection * 2)
    assert_allclose(twice, [[1, -0.5, 0.5]])


def test_hedgehog_by_hand():
    """The features of 1, 0, −1 are (3, 1, 1, 3)/4, (2, 2, 2, 2)/4, (1, 3, 3, 1)/4; keys are doubled on the way."""
    knobs = {"query_weight": [[LN3, 0.0]], "key_weight": [[2 * LN3, 0.0]]}
    key, value = [[0.5], [0.0], [-0.5]], [[12.0], [120.0], [1200.0]]
    weights = oracles.mixer_hedgehog_weights([[1.0]], key, epsilon=0.0, **knobs)
    assert_allclose(weights, [[5 / 12, 4 / 12, 3 / 12]])
    assert_allclose(oracles.mixer_hedgehog([[1.0]], key, value, epsilon=0.0, **knobs), [[5 + 40 + 300]])
    assert_allclose(oracles.mixer_hedgehog([[1.0]], key, value, epsilon=3.0, **knobs), [[345 / 2]])


# Low rank, landmarks, clusters.


def test_linformer_with_identities_is_attention():
    (query, key, value), _ = case_of("linformer")
    identity = np.eye(KEYS + 2, KEYS)
    output = oracles.mixer_linformer(query, key, value, key_projection=identity, value_projection=identity)
    assert_allclose(output, oracles.mixer_attention(query, key, value), rtol=1e-12)


def test_linformer_by_hand():
    """Keys 1 and 2 become 1 + 2 and 1 − 2, values 4 and 8 become 4 + 8 and 2·8; the scores differ by ln 3."""
    knobs = {"key_projection": [[1.0, 1.0], [1.0, -1.0]], "value_projection": [[1.0, 0.0], [1.0, 2.0]]}
    arguments = ([[LN3 / 4]], [[1.0], [2.0]], [[4.0], [8.0]])
    assert_allclose(oracles.mixer_linformer(*arguments, **knobs), [[0.75 * 12 + 0.25 * 16]])
    assert_allclose(oracles.mixer_linformer_weights(*arguments[:2], **knobs), [[0.75, 0.75 + 0.25 * 2]])
    masked = oracles.mixer_linformer(*arguments, key_mask=[True, False], **knobs)  # the key 1 becomes 1 and 1
    assert_allclose(masked, [[0.5 * 4]])
    for name in knobs:
        with pytest.raises(ValueError, match=name):
            oracles.mixer_linformer(*arguments, **knobs | {name: [[1.0, 1.0]]})


def test_iterated_inverse_by_hand():
    """Z₀ = diag(1, 2)/(2·2), hence AZ₀ = diag(1/4, 1), and 1 stays."""
    step = (13 - (15 - (7 - 1 / 4) / 4) / 4) / 4 / 4
    assert_allclose(oracles.iterated_inverse(np.diag([1.0, 2.0]), 0), np.diag([0.25, 0.5]))
    assert_allclose(oracles.iterated_inverse(np.diag([1.0, 2.0]), 1), np.diag([step, 0.5]))
    matrix = np.array([[1.0, 3.0], [-2.0, 5.0]])
    assert_allclose(oracles.iterated_inverse(matrix, 20), np.linalg.inv(matrix), rtol=1e-10)
    assert_allclose(oracles.iterated_inverse(matrix, 0), matrix.T / (8 * 7))


@pytest.mark.parametrize("landmarks", [KEYS, KEYS + 5])
def test_nystrom_with_all_positions_as_landmarks_is_attention(landmarks):
    (query, key, value), _ = case_of("nystrom")
    output = oracles.mixer_nystrom(query, key, value, landmarks=landmarks, iterations=40)
    assert_allclose(output, oracles.mixer_attention(query, key, value), rtol=1e-6)


def test_nystrom_with_one_landmark_attends_with_the_mean_query():
    """Keys at 0 and 1, a mean query of ln 3; two of four positions hold data."""
    query, key, value = [[0.0], [2 * LN3], [7.0], [-7.0]], [[0.0], [1.0], [5.0], [5.0]], [[0.0], [8.0], [9.0], [9.0]]
    nystrom = functools.partial(oracles.mixer_nystrom, query, key, value, key_mask=[True, True, False, False])
    assert_allclose(nystrom(landmarks=1, iterations=1), [[6]] * 4)
    # Of four segments two are dead.
    assert_allclose(nystrom(landmarks=4, iterations=3), nystrom(landmarks=2, iterations=3))


def test_nystrom_segments_are_the_floors():
    """Two segments of five positions hold three and two: all that the landmarks depend on are the two means."""
    (query, key, value), _ = case_of("nystrom")
    query, key, value = query[:5], key[:5], value[:5]
    means = [[rows[:3].mean(axis=0), rows[3:].mean(axis=0)] for rows in (query, key)]
    first = oracles.mixer_attention_weights(query, means[1])
    second = oracles.iterated_inverse(oracles.mixer_attention_weights(*means), 6)
    third = oracles.mixer_attention_weights(means[0], key)
    assert_allclose(oracles.mixer_nystrom_weights(query, key, landmarks=2), first @ second @ third, rtol=1e-12)


def test_luna_by_hand():
    """Packed queries 0 and ln 3 pack the keys into 1/2 and 3/4, the values into 4 and 6."""
    packed_query, key, value = [[0.0], [LN3]], [[0.0], [1.0]], [[0.0], [8.0]]
    assert_allclose(oracles.mixer_luna([[4 * LN3], [0.0]], key, value, packed_query=packed_query), [[5.5], [5]])
    weights = oracles.mixer_luna_weights([[0.0]], key, packed_query=packed_query)
    assert_allclose(weights, [[(0.5 + 0.25) / 2, (0.5 + 0.75) / 2]])


def test_latent_bottleneck_by_hand():
    """The latents gather 4 and 6, and the query weighs them 1 : 3."""
    knobs = {"latent_query": [[0.0], [LN3]], "latent_key": [[0.0], [LN3]]}
    key, value = [[0.0], [1.0]], [[0.0], [8.0]]
    assert_allclose(oracles.mixer_latent_bottleneck([[1.0], [0.0]], key, value, **knobs), [[5.5], [5]])
    weights = oracles.mixer_latent_bottleneck_weights([[1.0]], key, key_mask=[False, True], **knobs)
    assert_allclose(weights, [[0, 1]])


def as_if_queries_were(query, key, value):
    return oracles.mixer_attention(np.array(query, float)[:, None], key, value)


def test_clustered_by_hand():
    """0, 3, 4, 100 with centroids from 0 and 4: first {0}, {3, 4, 100}; after one iteration {0, 3, 4}, {100}."""
    query, key, value = [[0.0], [3.0], [4.0], [100.0]], [[0.0], [0.1], [-0.1], [0.2]], np.eye(4)
    start = oracles.mixer_clustered(query, key, value, clusters=2, iterations=0)
    assert_allclose(start, as_if_queries_were([0, 107 / 3, 107 / 3, 107 / 3], key, value))
    for iterations in (1, 10):
        output = oracles.mixer_clustered(query, key, value, clusters=2, iterations=iterations)
        assert_allclose(output, as_if_queries_were([7 / 3, 7 / 3, 7 / 3, 100], key, value))
    assert_allclose(oracles.mixer_clustered_weights(query, key, clusters=2), output)


def test_clustered_breaks_ties_to_the_lowest():
    key, value = [[0.0], [1.0], [-1.0]], np.eye(3)
    output = oracles.mixer_clustered([[0.0], [2.0], [1.0]], key, value, clusters=2, iterations=0)
    assert_allclose(output, as_if_queries_were([0.5, 2, 0.5], key, value))


def test_hidden_queries_join_a_cluster_but_do_not_move_it():
    key, value, key_mask = [[0.0], [0.1], [9.0], [0.3]], np.eye(4), [True, True, False, True]
    output = oracles.mixer_clustered([[0.0], [1.0], [50.0], [9.0]], key, value, key_mask=key_mask, clusters=2)
    assert_allclose(output[2], output[3])
    kept = [0, 1, 3]
    assert_allclose(output[kept][:, kept], as_if_queries_were([0.5, 0.5, 9], np.array(key)[kept], np.eye(3)))


def test_as_many_clusters_as_queries_is_attention():
    (query, key, value), _ = case_of("clustered")
    for clusters in (KEYS, KEYS + 3):
        output = oracles.mixer_clustered(query, key, value, clusters=clusters)
        assert_allclose(output, oracles.mixer_attention(query, key, value), rtol=1e-12)


def test_more_clusters_than_visible_queries():
    (query, key, value), _ = case_of("clustered")
    key_mask = np.array([False, True, False, False, True, False, False])
    output = oracles.mixer_clustered(query, key, value, key_mask=key_mask, clusters=4)
    plain = oracles.mixer_attention(query, key, value, key_mask=key_mask)
    assert_allclose(output[key_mask], plain[key_mask], rtol=1e-12)


def test_aft_by_hand():
    """A query at 0 gates by 1/2; weights 1 : 3 come from the keys, or from the factors; each width has its own."""
    query, key, value = [[0.0, 0.0]], [[0.0, 1000.0], [LN3, 1000.0]], [[0.0, 4.0], [8.0, 8.0]]
    assert_allclose(oracles.mixer_aft_simple(query, key, value), [[6 / 2, 6 / 2]])
    factors = {"query_factors": [[1.0, 2.0]], "key_factors": [[0.0, 0.0], [LN3, 0.0], [9.0, 9.0]]}
    assert_allclose(oracles.mixer_aft_full(query, np.zeros((2, 2)), value, **factors), [[6 / 2, 7 / 2]])
    gates = oracles.mixer_aft_simple([[LN3, -LN3]], key[:1], [[8.0, 8.0]])
    assert_allclose(gates, [[6, 2]])
    for name, knobs in (("aft_full", factors), ("aft_simple", {})):
        with pytest.raises(ValueError, match="wide"):
            mixer(name)(query, key, [[1.0], [2.0]], **knobs)


# Hashing and sorting.

ONE_BUCKET = np.zeros((1, 1, 1))
BY_SIGN = np.ones((1, 1, 1))


def reformed(query, value, **knobs):
    """The outputs of queries and values of width 1; the keys are not read."""
    query, value = np.array(query, float)[:, None], np.array(value, float)[:, None]
    return list(oracles.mixer_reformer(query, np.full_like(query, np.nan), value, **knobs)[:, 0])


def test_reformer_in_one_bucket_and_one_chunk_attends_to_all_but_itself():
    """Keys are unit vectors: all 1 for positive queries."""
    assert_allclose(reformed([1, 2, 3], [3, 9, 6], rotations=ONE_BUCKET, chunk=3), [7.5, 4.5, 6])
    assert_allclose(reformed([1, 2, 3], [3, 9, 6], rotations=ONE_BUCKET, chunk=3, causal=True), [3, 3, 6])
    weights = oracles.mixer_reformer_weights([[LN3], [5.0], [-5.0]], None, rotations=ONE_BUCKET, chunk=3)
    assert_allclose(weights[0], [0, 0.9, 0.1])


def test_reformer_without_buckets_is_attention_to_unit_keys_but_the_own():
    (query, key, value), _ = case_of("reformer")
    units = query / np.linalg.norm(query, axis=1, keepdims=True)
    pieces = {"score": oracles.score_scaled_dot, "normalizer": oracles.normalizer_softmax}
    wanted = oracles.attend(query, units, value, mask=~np.eye(KEYS, dtype=bool), **pieces)["output"]
    output = oracles.mixer_reformer(query, key, value, rotations=np.zeros((3, WIDTH, 2)), chunk=KEYS)
    assert_allclose(output, wanted, rtol=1e-12)


def test_reformer_looks_at_its_own_chunk_and_the_one_before():
    value = [3, 9, 6, 1]
    assert_allclose(reformed([1] * 4, value, rotations=ONE_BUCKET, chunk=1), [3, 3, 9, 6])
    assert_allclose(reformed([1] * 4, value, rotations=ONE_BUCKET, chunk=2), [9, 3, (3 + 9 + 1) / 3, 6])
    assert_allclose(reformed([1] * 4, value, rotations=ONE_BUCKET, chunk=2, causal=True), [3, 3, 6, 7.5])


def test_reformer_hashes_by_sign():
    """With one rotation, queries fall into a positive and a negative bucket; sorted, these are 0, 2 and 1, 3."""
    query, value = [1, -1, 2, -3], [3, 9, 6, 1]
    assert_allclose(reformed(query, value, rotations=BY_SIGN, chunk=4), [6, 1, 3, 9])
    assert_allclose(reformed(query, value, rotations=BY_SIGN, chunk=1), [3, 9, 3, 9])
    assert oracles.hash_bucket([1.0, -2.0], np.eye(2)) == 3
    assert oracles.hash_bucket([-2.0, -2.0], np.eye(2)) == 2
    assert oracles.hash_bucket([0.0, 0.0], np.eye(2)) == 0


def test_reformer_counts_a_key_once_however_many_rounds_find_it():
    query, value, both = [1, -1, 2, -3], [3, 9, 6, 1], np.concatenate([BY_SIGN, ONE_BUCKET, BY_SIGN])
    once = reformed(query, value, rotations=ONE_BUCKET, chunk=4)
    assert_allclose(reformed(query, value, rotations=both, chunk=4), once)


def test_hidden_positions_take_no_place_in_a_chunk():
    key_mask = [True, False, True, True]
    assert_allclose(
        reformed([1, np.nan, 1, 1], [3, np.nan, 6, 1], rotations=ONE_BUCKET, chunk=2, key_mask=key_mask),
        [6, 0, 3, (3 + 6) / 2],
    )


def test_sinkhorn_of_one_block_is_attention():
    """Its own block twice."""
    (query, key, value), _ = case_of("sinkhorn")
    for block in (KEYS, KEYS + 2):
        output = oracles.mixer_sinkhorn(query, key, value, block=block)
        assert_allclose(output, oracles.mixer_attention(query, key, value), rtol=1e-12)


def sorted_mean(value, **knobs):
    """The outputs of values of width 1 in blocks of 2, with queries at 0, which average what they see."""
    zeros, value = np.zeros((len(value), 1)), np.array(value, float)[:, None]
    return list(oracles.mixer_sinkhorn(zeros, zeros, value, block=2, **knobs)[:, 0])


def test_sinkhorn_by_hand():
    """Blocks (0, 2) and (4, 10): sorted half and half (2, 6); by noise swapped, or left in place."""
    value = [0, 2, 4, 10]
    assert_allclose(sorted_mean(value), [2.5, 2.5, 5.5, 5.5])
    assert_allclose(sorted_mean(value, gumbel=[[0.0, 99.0], [99.0, 0.0]]), [4, 4, 4, 4])
    assert_allclose(sorted_mean(value, gumbel=[[99.0, 0.0], [0.0, 99.0]]), [1, 1, 7, 7])


def test_sinkhorn_shares_what_its_matrix_says():
    """Weights 3 : 1 and 1 : 1 become 3/5 : 1/3 and 2/5 : 2/3, and these 9/14 : 5/14 and 3/8 : 5/8."""
    value, noise = [0, 0, 14 * 8, 14 * 8], [[2 * LN3, 0.0], [0.0, 0.0]]
    output = sorted_mean(value, gumbel=noise, temperature=2.0, iterations=1)
    assert_allclose(output, [5 * 8 / 2] * 2 + [(14 * 8 + 5 * 14) / 2] * 2)


def test_sinkhorn_matrix_by_hand():
    """The rows first, then the columns; in the end both sum to 1."""
    scores = np.array([[LN3, 0.0], [0.0, 0.0]])
    assert_allclose(oracles.sinkhorn_matrix(scores, 1), [[3 / 5, 1 / 3], [2 / 5, 2 / 3]])
    matrix = oracles.sinkhorn_matrix(np.random.default_rng(0).normal(size=(4, 4)), 60)
    assert_allclose([matrix.sum(axis=0), matrix.sum(axis=1)], np.ones((2, 4)), rtol=1e-12)


def test_sinkhorn_sorts_by_the_means_of_blocks():
    """Means of queries 1 and −1 and of keys −2 and 2 (width 4: scores ∓4/2): at a low temperature the blocks swap."""
    query = np.array([[0.0], [2.0], [-1.0], [-1.0]]) * np.eye(1, 4)
    key = np.array([[-2.0], [-2.0], [4.0], [0.0]]) * np.eye(1, 4)
    swapped = oracles.mixer_sinkhorn_weights(query, key, block=2, temperature=0.01)
    assert_allclose(swapped[0], [0.25] * 4, atol=1e-12)
    matrix = oracles.sinkhorn_matrix(np.array([[-1.0, 1.0], [1.0, -1.0]]) / 0.75, 7)
    shared = oracles.mixer_sinkhorn_weights(query, key, block=2)
    assert_allclose(shared[0], (np.array([1, 1, 0, 0]) + matrix[0, [0, 0, 1, 1]]) / 4, rtol=1e-12)


def test_a_place_that_no_block_fills_is_absent():
    assert_allclose(sorted_mean([0, 2, 4]), [1.5, 1.5, 8 / 3])
    output = sorted_mean([0, np.nan, 4, np.nan], key_mask=[True, False, True, False])
    assert_allclose(output, [1, 1, 3, 3])


def test_a_dead_block_is_neither_read_nor_given_an_output():
    output = sorted_mean([1, 3, np.nan, np.nan, 6, np.nan], key_mask=[True, True, False, False, True, False])
    assert_allclose(output, [(1 + 3 + 3.5 + 3) / 4] * 2 + [0] * 2 + [(6 + 3.5 + 3) / 3] * 2)


# Synthesizers.


def test_synthesizers_by_hand():
    """Positions 1 and 0 of the query, 2 and 0 of the keys."""
    query, key, positions = [[1.0, 2.0], [3.0, -1.0]], np.full((2, 2), np.nan), ([1, 0], [2, 0])
    dense = oracles.score_synthesizer_dense(
        query,
        key,
        *positions,
        hidden_weight=[[1.0, 0.0], [0.0, 1.0]],
        output_weight=[[1.0, 9.0, 2.0], [10.0, 9.0, 20.0]],
    )
    assert_allclose(dense, [[42, 21], [6, 3]])
    random = oracles.score_synthesizer_random(query, key, *positions, table=[[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    assert_allclose(random, [[6, 4], [3, 1]])
    factorised = oracles.score_synthesizer_factorised(
        query, key, *positions, query_factors=[[1.0, 0.0], [1.0, 2.0]], key_factors=[[3.0, 4.0], [9.0, 9.0], [5.0, 6.0]]
    )
    assert_allclose(factorised, [[17, 11], [5, 3]])


def test_attend_tells_synthesizers_the_positions():
    score = functools.partial(oracles.score_synthesizer_random, table=[[9.0, 9.0], [0.0, LN3]])
    pieces = {"score": score, "normalizer": oracles.normalizer_softmax, "query_positions": [1]}
    assert_allclose(oracles.attend([[0.0]], [[0.0], [0.0]], [[0.0], [8.0]], **pieces)["output"], [[6]])
