"""Accuracy by depth and length as a picture: every cell in its place, in its colour, told in words too."""

import json
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from selfattn_jax.reports.depths import DepthMap, colour_scale, depth_map, draw, in_words, percent, shortcut_map
from selfattn_jax.reports.reading import read_run
from tests.reports.fake import Fake, write_run, write_study
from tests.reports.test_page import page_of

SVG = "{http://www.w3.org/2000/svg}"
DEPTHS = {
    "low": [16, 32, 40],
    "high": [16, 32, 64],
    "count": [[2, 2, 2], [4, 4, 0]],
    "runs": [
        [[1.0, 0.5, 0.0], [1.0, 1.0, None]],
        [[1.0, 0.25, 0.5], [1.0, 0.5, None]],
        [[None, None, None], [None, None, None]],
    ],
    "shortcuts": {
        "chance": [[0.125, 0.125, 0.125], [0.0, 0.125, None]],
        "latest": [[0.0, 0.0, None], [0.75, 0.5, None]],
    },
    "trained": 32,
}


@pytest.fixture
def record(tmp_path):
    result = write_run(tmp_path / "run", Fake("one", scores=(1.0, 0.9, None), attention=None))
    (tmp_path / "run" / "result.json").write_text(json.dumps(result | {"depths": DEPTHS}))
    return read_run(tmp_path / "run")


def texts(picture: bytes) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_a_map_is_the_mean_of_the_seeds_that_are_left(record):
    found = depth_map(record, 0.003, "one")
    assert found is not None
    np.testing.assert_array_equal(found.scores, [[1.0, 0.375, 0.25], [1.0, 0.75, np.nan]])
    assert (found.lengths, found.trained) == (["16", "32", "40–64"], 32)
    assert depth_map(record, 0.1, "one") is None


def test_the_best_shortcut_of_each_cell_is_shown_and_all_of_them_are_named(record):
    found = shortcut_map(record, True)
    assert found is not None and found.label == "chance, latest"
    np.testing.assert_array_equal(found.scores, [[0.125, 0.125, 0.125], [0.75, 0.5, np.nan]])


def test_a_folder_that_came_before_maps_has_none(tmp_path):
    write_run(tmp_path / "run", Fake("one", attention=None))
    record = read_run(tmp_path / "run")
    assert depth_map(record, None, "one") is None and shortcut_map(record, True) is None
    assert "By depth and length" not in page_of(tmp_path / "run").text


def test_every_cell_has_its_place_its_colour_and_its_number(record):
    found = depth_map(record, None, "one")
    assert found is not None
    picture = draw(found)
    assert picture == draw(found)
    assert [text for text in texts(picture) if text.isdigit()] == ["16", "32", "100", "38", "25", "100", "75"]
    assert {"40–64", "0 %", "100 %", "depth", "length", "trained up to 32"} <= set(texts(picture))
    for score, cells in ((1.0, 2), (0.375, 1), (0.25, 1), (0.75, 1)):  # however small, 0 … 1 is the whole scale
        assert picture.count(f"fill: {to_hex(matplotlib.colormaps['viridis'](score))}".encode()) == cells
    assert draw(found, format="png").startswith(b"\x89PNG")


def test_colours_are_shapes_that_a_page_in_dark_mode_leaves_as_they_are(record):
    found = depth_map(record, None, "one")
    assert found is not None
    assert b"<image" not in draw(found) and b"<image" not in colour_scale()


def test_many_lengths_carry_no_numbers_in_their_cells():
    many = DepthMap("one", tuple(range(1, 14)), tuple(range(1, 14)), np.full((10, 13), 0.5), 13)
    assert "50" not in texts(draw(many)) and not any("trained" in text for text in texts(draw(many)))


def test_lengths_that_would_run_into_each_other_are_turned():
    short, long = (
        DepthMap("one", low, tuple(one + 199 for one in low), np.ones((10, len(low))), 9999)
        for low in (tuple(range(1000, 1600, 200)), tuple(range(1000, 3400, 200)))
    )
    assert b"rotate(-45" not in draw(short) and draw(long).count(b"rotate(-45") == 12


def test_a_map_is_told_in_words(record):
    found = depth_map(record, None, "one")
    assert found is not None
    assert in_words(found) == (
        "Test accuracy by depth and length, one. length 16: 100 % at every depth asked; length 32: from 37.5 % at "
        "depths of 0–50 % to 75.0 %; length 40–64: 25.0 % at every depth asked."
    )


@pytest.mark.parametrize(("score", "text"), [(0.0, "0"), (0.001, "1"), (0.5, "50"), (0.996, "99"), (1.0, "100")])
def test_a_cell_is_never_rounded_to_a_0_or_a_100_that_it_is_not(score: float, text: str):
    assert percent(score) == text


def test_the_page_shows_a_map_for_every_variant_and_one_of_the_shortcuts(tmp_path):
    folder = write_study(tmp_path / "study", [Fake(name, (1.0,) * 3, attention=None) for name in ("a", "b")])
    for name in ("a", "b"):
        path = folder / "trials" / name / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"depths": DEPTHS}))
    page = page_of(folder)
    maps = [value for name, value in page.attributes if name == "aria-label" and "by depth and length" in value]
    assert [text.partition(".")[0].partition(", ")[2] for text in maps] == ["a", "b", "best shortcut: chance, latest"]
    assert "By depth and length" in page.text and "Colour scale of the accuracy" in page.source


def test_errors_have_no_map_in_percent(tmp_path):
    result = write_run(tmp_path / "run", Fake("one", (1.0,) * 3, attention=None), metric="mean_squared_error")
    (tmp_path / "run" / "result.json").write_text(json.dumps(result | {"depths": DEPTHS}))
    assert "By depth and length" not in page_of(tmp_path / "run").text
