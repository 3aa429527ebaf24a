"""Scores along an axis: every answer that is asked lands in the bin of its value, and in no other."""

import numpy as np
from numpy.testing import assert_array_equal

from selfattn_jax.runs.axes import DEPTHS, Marked, bins, scores_along, scores_by_depth
from selfattn_jax.tasks import Example, evaluation_set, needle


def examples(weights, distance, lengths, difficulty=0) -> Example:
    weights, distance = np.asarray(weights, np.float32), np.asarray(distance, np.int32)
    size = weights.shape[1] if weights.ndim > 1 else max(lengths)
    mask = np.arange(size)[None, :] < np.asarray(lengths)[:, None]
    return Example(mask.astype(np.int32), distance, weights, mask, distance, np.full_like(distance, difficulty))


def test_bins_are_the_values_where_they_are_few_and_cover_all_where_they_are_many():
    low, high = bins(np.array([7, 3, 3, 9]))
    assert_array_equal(low, [3, 7, 9])
    assert_array_equal(high, [3, 7, 9])
    for values in (np.arange(1, 500), np.arange(100, 160)):
        low, high = bins(values)
        assert (low[0], high[-1]) == (values[0], values[-1])
        assert_array_equal(low[1:], high[:-1] + 1)
        assert low.size <= 12


def test_an_answer_counts_where_it_stands_and_only_if_it_is_asked():
    drawn = examples([[1, 1, 0], [0, 1, 1]], [[1, 2, 5], [5, 2, 1]], lengths=(3, 3))
    points = np.array([[[1, 0, 1], [1, 1, 0]], [[1, 1, 1], [0, 1, 1]]], np.float32)
    found = scores_along([Marked(drawn, points, {})])
    assert list(found) == ["distance"]  # all are of one length
    assert found["distance"] == {
        "low": [1, 2],
        "high": [1, 2],
        "count": [2, 2],
        "runs": [[0.5, 0.5], [1.0, 1.0]],
        "shortcuts": {},
        "trained": 2,
    }


def test_further_sets_reach_further_than_the_training_data():
    near = examples([1, 1], [2, 2], lengths=(3, 4), difficulty=1)
    far = examples([1], [9], lengths=(12,), difficulty=2)
    found = scores_along([Marked(near, np.ones((1, 2)), {}), Marked(far, np.zeros((1, 1)), {})])
    for axis, low, runs, trained in (
        ("distance", [2, 9], [1.0, 0.0], 2),
        ("length", [3, 4, 12], [1.0, 1.0, 0.0], 4),
        ("difficulty", [1, 2], [1.0, 0.0], 1),
    ):
        assert (found[axis]["low"], found[axis]["runs"], found[axis]["trained"]) == (low, [runs], trained)


def test_what_is_undefined_has_no_axis():
    assert scores_along([Marked(examples([1, 1], [0, 0], lengths=(3, 3)), np.ones((1, 2)), {})]) == {}


def test_a_run_that_diverged_has_no_score():
    drawn = examples([1, 1], [1, 2], lengths=(2, 2))
    assert scores_along([Marked(drawn, np.array([[np.nan, 1.0]]), {})])["distance"]["runs"] == [[None, 1.0]]


def test_shortcuts_are_scored_on_the_targets_of_each_bin_and_only_on_those_that_are_asked():
    drawn = examples([[1, 1, 0], [0, 1, 1]], [[1, 2, 5], [5, 2, 1]], lengths=(3, 3))
    guesses = {"second": np.array([[1, 0, 1], [1, 1, 1]]), "first": np.array([[0, 1, 1], [1, 1, 0]])}
    found = scores_along([Marked(drawn, np.zeros((1, 2, 3)), guesses)])["distance"]
    assert found["shortcuts"] == {"second": [1.0, 0.5], "first": [0.0, 1.0]}
    assert found["runs"] == [[0.0, 0.0]]


def test_a_shortcut_that_one_set_does_not_know_has_no_score_where_its_targets_are():
    near, far = examples([1, 1], [1, 2], lengths=(3, 3)), examples([1, 1], [2, 3], lengths=(3, 3))
    sets = [Marked(near, np.ones((1, 2)), {"some": np.array([0.0, 1.0])}), Marked(far, np.ones((1, 2)), {})]
    found = scores_along(sets)["distance"]
    assert (found["low"], found["count"]) == ([1, 2, 3], [1, 2, 1])
    assert found["shortcuts"] == {"some": [0.0, None, None]}
    assert found["runs"] == [[1.0, 1.0, 1.0]]


def test_a_cell_holds_what_is_asked_at_its_depth_in_sequences_of_its_length():
    near = examples([1, 1, 1, 1, 0], [10, 7, 1, 1, 1], lengths=(10,) * 5)  # depths 0, 0.3, 0.9, 0.9, one not asked
    far = examples([1, 1, 1], [20, 7, 0], lengths=(20,) * 3)  # depths 0, 0.65, one without a distance
    points = np.array([[1, 0, 1, 0, 1]]), np.array([[0, 1, 1]])
    guesses = {"guess": np.array([0, 0, 1, 1, 0])}, {"guess": np.array([1, 0, 0]), "other": np.array([1, 1, 1])}
    found = scores_by_depth([Marked(near, points[0], guesses[0]), Marked(far, points[1], guesses[1])])
    assert found is not None
    assert (found["low"], found["high"], found["trained"]) == ([10, 20], [10, 20], 10)
    nothing = [None, None]
    told = {0: ([1, 1], [1, 0], [0, 1], [None, 1]), 3: ([1, 0], [0, None], [0, None], nothing)}
    told |= {6: ([0, 1], [None, 1], [None, 0], [None, 1]), 9: ([2, 0], [0.5, None], [1, None], nothing)}
    for depth in range(DEPTHS):
        cells = (table[depth] for table in (found["count"], found["runs"][0], *found["shortcuts"].values()))
        assert tuple(cells) == told.get(depth, ([0, 0], nothing, nothing, nothing)), depth
    assert list(found["shortcuts"]) == ["guess", "other"]


def test_depth_is_how_deep_a_needle_lies():
    sets = []
    for length in (21, 41):  # of 10 and 20 slots: the tenths of the slots are the tenths of the sequence
        drawn = evaluation_set(needle(length=length), "test", 300, 0)
        tenth = np.asarray(drawn.difficulty) - 1
        sets.append(Marked(drawn, np.stack([tenth == depth for depth in range(DEPTHS)]).astype(np.float32), {}))
    found = scores_by_depth(sets)
    assert found is not None and found["low"] == [21, 41]
    for depth, run in enumerate(found["runs"]):
        assert_array_equal(run, np.repeat(np.arange(DEPTHS) == depth, 2).reshape(DEPTHS, 2))


def test_there_is_no_map_of_one_length_or_where_a_length_tells_the_depth():
    one = Marked(examples([1, 1], [1, 9], lengths=(10, 10)), np.ones((1, 2)), {})
    assert scores_by_depth([one]) is None
    ends = Marked(examples([1, 1, 1], [9, 19, 19], lengths=(10, 20, 20)), np.ones((1, 3)), {})
    assert scores_by_depth([ends]) is None
    assert scores_by_depth([ends, one]) is not None
