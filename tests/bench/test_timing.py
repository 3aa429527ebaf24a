"""Turns, medians and reasons, by a clock that is set by hand."""

import pytest

from selfattn_jax.bench.timing import expected, interleaved, reason, summary
from tests.bench.fake import Clock


def test_calls_take_turns_round_after_round():
    clock, order = Clock(), []
    calls = {name: clock.takes(1.0, lambda name=name: order.append(name)) for name in "abc"}
    samples, failures = interleaved(calls, 3, clock=clock)
    assert "".join(order) == "abcabcabc"
    assert samples == {name: [1.0, 1.0, 1.0] for name in "abc"} and failures == {}


def test_of_a_short_call_the_second_time_in_its_turn_counts():
    clock, order = Clock(), []
    seconds = iter([0.09, 0.01, 0.08, 0.02])

    def uneven() -> None:
        order.append("short")
        clock.now += next(seconds)

    calls = {"short": uneven, "long": clock.takes(0.2, lambda: order.append("long"))}
    samples, _ = interleaved(calls, 2, clock=clock)
    assert order == ["short", "short", "long"] * 2
    assert samples == {"short": pytest.approx([0.01, 0.02]), "long": pytest.approx([0.2, 0.2])}


def test_a_call_that_fails_is_not_called_again_and_the_others_go_on():
    clock, tries = Clock(), []

    def failing() -> None:
        tries.append(1)
        raise MemoryError("too large\nfor this machine")

    samples, failures = interleaved({"bad": failing, "good": clock.takes(2.0)}, 3, clock=clock)
    assert samples == {"good": [2.0] * 3} and failures == {"bad": "too large"} and len(tries) == 1


def test_a_bug_is_no_result():
    def bug() -> None:
        raise AssertionError

    with pytest.raises(AssertionError):
        interleaved({"bug": bug}, 1)


@pytest.mark.parametrize(
    ("samples", "found"),
    [
        ([3.0, 1.0, 2.0, 5.0, 4.0], (3.0, 2.0, 4.0)),
        ([1.0, 100.0], (50.5, 25.75, 75.25)),
        ([7.0], (7.0, 7.0, 7.0)),
    ],
)
def test_medians_and_quartiles(samples: list[float], found: tuple[float, float, float]):
    assert summary(samples) == pytest.approx(found)


def test_a_reason_is_one_line():
    assert reason(ValueError("\n  first \nsecond")) == "first"
    assert reason(MemoryError()) == "MemoryError"
    assert len(reason(ValueError("x" * 1000))) == 240


def test_what_a_length_will_take():
    assert expected(2.0, 3.0, 5) == 2.0 + 6 * 3.0
    assert expected(2.0, 3.0, 5, growth=4.0) == 2.0 + 6 * 12.0
