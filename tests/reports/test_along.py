"""Scores along an axis as a picture: the seeds of the rate that is shown, those that diverged left out."""

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from selfattn_jax.reports.along import along, line, shortcut
from selfattn_jax.reports.reading import read_run
from tests.reports.fake import Fake, write_run, write_study
from tests.reports.test_page import page_of

AXES = {
    "distance": {
        "low": [1, 2, 40],
        "high": [1, 8, 80],
        "count": [5, 5, 5],
        "runs": [[1.0, 0.5, 0.0], [0.5, 0.5, 0.5], [None, 0.1, 0.1]],
        "shortcuts": {"chance": [0.25, 0.25, None], "latest": [1.0, 0.125, None]},
        "trained": 40,
    }
}
ALSO = [{"knobs": {"length": 128}, "baselines": {"chance": 0.25, "latest": 0.5}, "runs": [0.75, 0.25, None]}]


@pytest.fixture
def record(tmp_path):
    result = write_run(tmp_path / "run", Fake("one", scores=(1.0, 0.9, None)))
    (tmp_path / "run" / "result.json").write_text(json.dumps(result | {"axes": AXES, "also": ALSO}))
    return read_run(tmp_path / "run")


def texts(picture: bytes) -> set[str | None]:
    return {element.text for element in ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")}


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
    for words in ("length = 128", "50.0 %", "25.0 % to 75.0 %", "latest 50.0 %", "chance 25.0 %"):
        assert words in page.text
    said = "Best shortcut (latest, chance): latest 100 % at 1, chance 25.0 % at 2–8."
    assert sum(said in value for name, value in page.attributes if name == "aria-label") == 2


def test_the_best_shortcut_of_every_bin_is_named(record):
    found = shortcut(record, "distance", True)
    assert found is not None
    assert found.best == (("latest", 1.0), ("chance", 0.25), None)
    assert found.names == ["latest", "chance"]
    np.testing.assert_array_equal(found.scores, [1.0, 0.25, np.nan])
    lowest = shortcut(record, "distance", False)
    assert lowest is not None and lowest.names == ["chance", "latest"]


def test_a_folder_that_came_before_shortcuts_along_axes_has_none(record):
    axes = {"distance": {key: value for key, value in AXES["distance"].items() if key != "shortcuts"}}
    path = record.folder / "result.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"axes": axes}))
    assert shortcut(read_run(record.folder), "distance", True) is None
    page = page_of(record.folder)
    assert "Where answers are right" in page.text and "Best shortcut (" not in page.source


def test_the_best_shortcut_is_a_line_with_its_name(record):
    found, floor = line(record, "distance", None, "one"), shortcut(record, "distance", True)
    assert found is not None and floor is not None
    with_name, without = (
        texts(along([found], "distance", metric="accuracy", shortcuts=shortcuts))
        for shortcuts in ({"latest, chance": floor}, None)
    )
    assert with_name - without == {"latest, chance"}
    small = along([found], "distance", metric="accuracy", shortcuts={"latest, chance (one)": floor}, size=(4.3, 3.2))
    assert "best shortcut" in texts(small) and not any("…" in (text or "") for text in texts(small))


def test_trials_tested_alike_share_the_line_of_shortcuts_and_others_have_their_own(tmp_path):
    folder = write_study(tmp_path / "study", [Fake("a", (1.0,)), Fake("b", (1.0,)), Fake("c", (1.0,))])
    axis = {"low": [1, 2], "high": [1, 2], "count": [1, 1], "runs": [[1.0, 1.0]], "trained": 2}
    for name, score in (("a", 0.5), ("b", 0.5), ("c", 0.125)):
        path = folder / "trials" / name / "result.json"
        axes = {"length": axis | {"shortcuts": {"guess": [score, score]}}}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"axes": axes}))
    labels = [value for name, value in page_of(folder).attributes if name == "aria-label"]
    text, _ = (label for label in labels if "by the length" in label)
    assert text.count("Best shortcut") == 2
    assert "(guess (a)): guess 50.0 % at 1" in text and "(guess (c)): guess 12.5 % at 1" in text


def test_the_shortcuts_stand_below_the_scores_of_every_learning_rate(tmp_path):
    write_run(tmp_path / "run", Fake("one", attention=None))
    page = page_of(tmp_path / "run")
    assert '<td class="number">last_value</td><td class="number">–</td><td class="number">12.5 %</td>' in page.source


def test_a_page_without_axes_has_no_such_section(tmp_path):
    write_run(tmp_path / "run", Fake("one"))
    assert "Where answers are right" not in page_of(tmp_path / "run").text
