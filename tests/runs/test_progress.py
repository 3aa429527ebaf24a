"""Progress: a plain line now and then, a live bar on a terminal."""

import io
import re

import pytest
from rich.console import Console

from selfattn_jax.runs import progress
from selfattn_jax.runs.progress import RunProgress


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def plain() -> tuple[RunProgress, io.StringIO]:
    text = io.StringIO()
    return RunProgress(Console(file=text, width=200), 100), text


def test_a_line_is_said_now_and_then_with_the_time_left(clock: Clock) -> None:
    progress, text = plain()
    progress.begin("softmax")
    for clock.now in (4.0, 8.0, 12.0, 16.0):
        progress.advance(10, f"accuracy {clock.now / 100}")
    assert text.getvalue() == "softmax: 30/100 steps, accuracy 0.12, about 28 s left\n"


def test_steps_of_an_earlier_stretch_do_not_make_the_time_left_shorter(clock: Clock) -> None:
    progress, text = plain()
    progress.begin("softmax")
    clock.now = 11.0
    progress.skip(60, "")
    assert text.getvalue() == ""
    clock.now = 20.0
    progress.advance(10, "accuracy 1.0")
    assert text.getvalue() == "softmax: 70/100 steps, accuracy 1.0, about 60 s left\n"


def test_a_terminal_shows_a_bar_with_label_steps_and_note() -> None:
    text = io.StringIO()
    with RunProgress(Console(file=text, force_terminal=True, width=150, color_system=None), 100) as shown:
        shown.begin("softmax")
        shown.skip(20, "")
        shown.advance(5, "accuracy 0.5")
        shown.say("a line that stays")
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue()).splitlines()[-1]
    assert "softmax" in last
    assert "25/100 steps" in last
    assert last.rstrip().endswith("accuracy 0.5")
    assert "a line that stays" in text.getvalue()
