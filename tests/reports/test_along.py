"""Scores along an axis as a picture: the seeds of the rate that is shown, those that diverged left out."""

import json

import numpy as np
import pytest

from selfattn_jax.reports.along import along, line
from selfattn_jax.reports.reading import read_run
from tests.reports.fake import Fake, write_run
from tests.reports.test_page import page_of

AXES = {
    "distance": {
        "low": [1, 2, 40],
        "high": [1, 8, 80],
        "count": [5, 5, 5],
        "runs": [[1.0, 0.5, 0.0], [0.5, 0.5, 0.5], [None, 0.1, 0.1]],
        "trained": 40,
    }
}
ALSO = [{"knobs": {"length": 128}, "baselines": {"chance": 0.25, "latest": 0.5}, "runs": [0.75, 0.25, None]}]


@pytest.fixture
def record(tmp_path):
    result = write_run(tmp_path / "run", Fake("one", scores=(1.0, 0.9, None)))
    (tmp_path / "run" / "result.json").write_text(json.dumps(result | {"axes": AXES, "also": ALSO}))
    return read_run(tmp_path / "run")


def test_a_line_is_the_mean_of_the_seeds_that_are_left(record):
    found = line(record, "distance", 0.003, "one")
    assert found is not None
    assert (found.mean.tolist(), found.worst.tolist(), found.best.tolist()) == (
        [0.75, 0.5, 0.25],
        [0.5, 0.5, 0.0],
        [1.0, 0.5, 0.5],
    )
    assert line(record, "length", 0.003, "one") is None
    assert line(record, "distance", 0.1, "one") is None


def test_the_picture_is_the_same_for_the_same_data(record):
    found = line(record, "distance", None, "one <&>")
    assert found is not None
    pictures = [along([found], "distance", metric="accuracy") for _ in range(2)]
    assert pictures[0] == pictures[1]
    assert np.frombuffer(pictures[0], np.uint8).size > 1000


def test_the_page_shows_where_answers_are_right_and_the_further_tests(record):
    page = page_of(record.folder)
    page.assert_safe()
    assert "Where answers are right" in page.text
    for words in ("length = 128", "50.0 %", "25.0 % to 75.0 %", "latest 50.0 %"):
        assert words in page.text


def test_a_page_without_axes_has_no_such_section(tmp_path):
    write_run(tmp_path / "run", Fake("one"))
    assert "Where answers are right" not in page_of(tmp_path / "run").text
