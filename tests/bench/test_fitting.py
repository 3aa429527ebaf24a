"""Slopes by numbers that can be checked by hand."""

import math

import pytest

from selfattn_jax.bench.fitting import growth, slope


def test_a_power_law_has_its_exponent():
    assert slope({2: 12.0, 4: 48.0, 8: 192.0}) == pytest.approx(2.0)
    assert slope({10: 7.0, 1000: 7.0}) == pytest.approx(0.0)


def test_least_squares_by_hand():
    # log₂ T = 0, 1, 2 and log₂ y = 0, 2, 1: p = ((−1)(−1) + 0·1 + 1·0) / (1 + 0 + 1) = 1/2
    assert slope({1: 1.0, 2: 4.0, 4: 2.0}) == pytest.approx(0.5)


def test_short_lengths_count_only_where_there_are_no_two_long_ones():
    flat_then_steep = {512: 1.0, 1024: 1.0, 2048: 1.0, 4096: 8.0}
    assert slope(flat_then_steep) == pytest.approx(3.0)
    # x = −1.5, −0.5, 0.5, 1.5 (log₂), y = 0, 0, 0, 3: p = 1.5 · 3 / 5
    assert slope({length // 2: figure for length, figure in flat_then_steep.items()}) == pytest.approx(0.9)


@pytest.mark.parametrize("points", [{}, {512: 1.0}, {512: 1.0, 1024: None}, {512: 0, 1024: 2.0}])
def test_one_point_has_no_slope(points: dict):
    assert slope(points) is None


def test_growth_is_that_of_the_last_two_lengths_within_reason():
    assert growth([(512, 3.0)], 1024) == pytest.approx(4.0)
    assert growth([(256, 1.0), (512, 2.0), (1024, 2.0 * 2**1.5)], 2048) == pytest.approx(2**1.5)
    assert growth([(512, 2.0), (1024, 1.0)], 2048) == pytest.approx(2.0)
    assert growth([(512, 1.0), (1024, 100.0)], 2048) == pytest.approx(8.0)
    assert math.isfinite(growth([(512, 1.0), (1024, 1.0)], 1 << 20))
