"""Numbers as a person reads them."""

import math

import pytest

from selfattn_jax.reports import formats


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (0.9987, "accuracy", "99.9 %"),
        (1.0, "accuracy", "100 %"),
        (0.99996, "accuracy", ">99.9 %"),
        (0.0003, "accuracy", "<0.1 %"),
        (0, "accuracy", "0 %"),
        (0.312, "mean_squared_error", "0.31"),
        (0.00314, "mean_squared_error", "0.0031"),
        (12.34, "mean_squared_error", "12.3"),
        (1234.5, "mean_squared_error", "1234"),
        (0.0, "mean_squared_error", "0.00"),
        (None, "accuracy", "–"),
        (math.nan, "accuracy", "–"),
        (math.inf, "mean_squared_error", "–"),
    ],
)
def test_score(value: float | None, metric: str, text: str):
    assert formats.score(value, metric) == text


def test_score_interval():
    assert formats.score_interval(0.31, 0.29, 0.33, "mean_squared_error") == "0.31 [0.29, 0.33]"
    assert formats.score_interval(0.9987, 0.992, 1.0, "accuracy") == "99.9 % [99.2, 100]"
    assert formats.score_interval(0.7, None, None, "accuracy") == "70.0 %"
    assert formats.score_interval(None, None, None, "accuracy") == "–"


def test_rate_interval():
    assert formats.rate_interval(0.5101, 1.0) == "[51, 100] %"
    assert formats.rate_interval(None, 1.0) == ""


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (12_345, "", "12.3 k"),
        (1_204_000, "FLOP", "1.2 MFLOP"),
        (999, "", "999"),
        (999_900, "", "1 M"),
        (12, "FLOP", "12 FLOP"),
        (3.2e12, "FLOP", "3.2 TFLOP"),
        (None, "FLOP", "–"),
    ],
)
def test_quantity(value: float | None, unit: str, text: str):
    assert formats.quantity(value, unit) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.4 s"), (73.4, "73 s"), (119.7, "2 min 0 s"), (725, "12 min 5 s"), (7800, "2 h 10 min"), (None, "–")],
)
def test_duration(seconds: float | None, text: str):
    assert formats.duration(seconds) == text


def test_words():
    assert formats.learning_rate(3.0e-3) == "0.003" and formats.learning_rate(1e-5) == "1e-05"
    assert formats.listed(["a"]) == "a" and formats.listed(["a", "b", "c"]) == "a, b and c" and formats.listed([]) == ""
    assert formats.plain("two\nlines") == "two lines" and formats.plain(0.5) == "0.5"
    assert formats.finite(True) is None and formats.finite("3") is None and formats.finite(3) == 3.0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (45.06e-6, "45.1 µs"),
        (0.00123, "1.23 ms"),
        (0.99951e-3, "1 ms"),
        (12.0, "12 s"),
        (3e-10, "3e-10 s"),
        (0.0, "0 s"),
        (None, "–"),
    ],
)
def test_short_time(seconds: float | None, text: str):
    assert formats.short_time(seconds) == text
