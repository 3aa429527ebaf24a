"""Growth by formula, worked by hand."""

import math

import pytest

from selfattn_jax.bench.claims import claims
from selfattn_jax.bench.contestants import contestants
from tests.bench.fake import settings


def claimed(source: str, lengths: str = "2048,8192") -> tuple[float | None, float | None]:
    return claims(contestants([source])[0].mixer, settings(lengths, width=32))


def power(short: float, long: float) -> float:
    """Of what grows so from 2,048 to 8,192."""
    return math.log(long / short) / math.log(4)


@pytest.mark.parametrize(
    ("source", "time", "memory"),
    [
        ("attention", 2, 1),
        ("linear", 1, 1),
        ("aft_full", 2, 1 + power(2048 + 1024, 8192 + 1024)),
        ("bag", 1, 0),
        ("{name: linformer, rank: 8}", 1, 1),
        ("sinkhorn", 1.5, 1 + power(3 * math.sqrt(2048) + 64, 3 * math.sqrt(8192) + 64)),
        ("taylor", 1, power(2 * 2048 * 64 + 768 * 1024, 2 * 8192 * 64 + 768 * 1024)),
    ],
)
def test_growth_is_that_of_the_formulas_at_the_lengths(source, time, memory):
    assert claimed(source) == pytest.approx((time, memory))


def test_short_lengths_count_only_where_there_are_no_long_ones():
    assert claimed("sinkhorn", "16,2048,8192") == claimed("sinkhorn")
    assert claimed("sinkhorn", "16,64")[1] == pytest.approx(1 + math.log((24 + 64) / (12 + 64), 4))


@pytest.mark.parametrize("source", ["jax.nn", "dense", "{mask: {name: window, left: 4}}"])
def test_nothing_is_claimed_of_others(source):
    assert claimed(source) == (None, None)


def test_one_length_shows_no_growth():
    assert claimed("linear", "2048") == (None, None)
