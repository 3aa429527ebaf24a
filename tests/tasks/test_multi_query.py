import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfattn_jax.tasks import multi_query_recall
from tests.tasks import solvers
from tests.tasks.checks import SIZE, Drawn, assert_likely, assert_shortcuts, assert_solved, build, draw

DEFAULT: dict[str, int] = {}
SMALL = {"length": 12, "pairs": 3, "vocabulary": 10}
LARGE = {"length": 128, "pairs": 16, "vocabulary": 512}


def assert_well_formed(examples: Drawn, pairs: int, vocabulary: int) -> None:
    given, behind = np.split(examples.inputs, [2 * pairs], axis=1)
    keys, values = given[:, 0::2], given[:, 1::2]
    assert keys.min() >= 1
    assert keys.max() < vocabulary // 2
    assert values.min() >= vocabulary // 2
    assert values.max() < vocabulary
    assert (np.diff(np.sort(keys)) > 0).all()
    assert (np.diff(np.sort(values)) > 0).all()
    np.testing.assert_array_equal(np.sort(behind[:, 0::2])[:, -pairs:], np.sort(keys))
    assert np.count_nonzero(behind) == keys.size
    assert (examples.weights.sum(axis=1) == pairs).all()


@pytest.mark.parametrize("knobs", [DEFAULT, SMALL, LARGE])
def test_a_solver_finds_every_answer(knobs: dict[str, int]) -> None:
    examples = draw(build(multi_query_recall, **knobs))
    assert_solved(examples, solvers.multi_query_recall)
    assert_well_formed(examples, knobs.get("pairs", 4), knobs.get("vocabulary", 256))


@settings(max_examples=3, deadline=None, derandomize=True)
@given(pairs=st.integers(1, 9), spare_slots=st.integers(0, 20), spare_keys=st.integers(0, 300))
def test_any_size_that_fits_is_well_formed(pairs: int, spare_slots: int, spare_keys: int) -> None:
    vocabulary = 2 * (pairs + 1 + spare_keys)
    task = build(multi_query_recall, length=4 * pairs + 2 * spare_slots, pairs=pairs, vocabulary=vocabulary)
    examples = draw(task, 100)
    assert_solved(examples, solvers.multi_query_recall)
    assert_well_formed(examples, pairs, vocabulary)


def test_every_ordered_choice_of_keys_and_values_is_equally_likely() -> None:
    inputs = draw(build(multi_query_recall, **SMALL)).inputs
    for tokens, choices in ((inputs[:, 0:6:2], 4), (inputs[:, 1:6:2], 5)):
        _, counts = np.unique(tokens, axis=0, return_counts=True)
        assert counts.size == choices * (choices - 1) * (choices - 2)
        assert_likely(counts, np.ones(counts.size))


def test_gaps_follow_the_power_law() -> None:
    examples = draw(build(multi_query_recall))
    asks_first_key = examples.inputs[:, 8:] == examples.inputs[:, :1]
    slots = (examples.distance[:, 8:][asks_first_key] + 1 - 8) // 2
    assert_likely(np.bincount(slots, minlength=28), np.arange(1.0, 29.0) ** (0.01 - 1))


def test_shortcuts_score_as_documented() -> None:
    queries = SIZE * 4
    in_order, deviation = in_order_by_simulation(slots=28, pairs=4)
    assert abs(in_order - 0.29) < 0.02
    documented = {
        "chance": (2 / 256, np.sqrt(2 / 256 / queries)),
        "context_value": (1 / 4, np.sqrt(1 / 4 * 3 / 4 / queries)),
        "latest_value": (1 / 4, 0.0),
        "in_order": (in_order, deviation * np.sqrt(1 / 2000 + 1 / SIZE)),
    }
    assert_shortcuts(build(multi_query_recall), documented)


def in_order_by_simulation(slots: int, pairs: int) -> tuple[float, float]:
    """Mean and standard deviation over 2,000 sequences of the share of pairs that are asked at their own rank."""
    generator = np.random.default_rng(0)
    power = np.arange(1.0, slots + 1) ** (0.01 - 1)
    chosen = [generator.choice(slots, pairs, replace=False, p=power / power.sum()) for _ in range(2000)]
    shares = [(np.argsort(np.argsort(places)) == np.arange(pairs)).mean() for places in chosen]
    return float(np.mean(shares)), float(np.std(shares))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"pairs": 0}, "pairs=0: pairs must be at least 1"),
        ({"length": 63}, "length=63: length must be even"),
        ({"length": 30, "pairs": 8}, r"length=30: length must be at least 4 \* pairs = 32"),
        ({"vocabulary": 255}, "vocabulary=255: vocabulary must be even"),
        ({"vocabulary": 8, "pairs": 4}, r"vocabulary=8: vocabulary must be at least 2 \* pairs \+ 2 = 10"),
        ({"exponent": 0}, "exponent=0: exponent must be above 0"),
    ],
)
def test_what_does_not_fit_is_refused(knobs: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multi_query_recall(**knobs)
