"""Learning curves and attention maps: what they hold, and that they come out the same every time."""

from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from selfattn_jax.reports import drawing, maps, plots
from selfattn_jax.reports.inline import inline_svg
from selfattn_jax.reports.reading import RunRecord

PNG = b"\x89PNG\r\n"


def record(lines: list[tuple]) -> RunRecord:
    """A run folder with lines of (step, seed, learning rate, score, diverged_at)."""
    names = ("step", "seed", "learning_rate", "validation_score", "diverged_at")
    metrics = [dict(zip(names, line, strict=True)) | {"run": f"{line[1]}/{line[2]}"} for line in lines]
    return RunRecord("run", Path("run"), "", metrics, None, None)


TWO_SEEDS = [(1, 0, 0.1, 0.2, None), (1, 1, 0.1, 0.4, None), (2, 0, 0.1, 0.6, None), (2, 1, 0.1, 1.0, None)]


def test_a_curve_is_the_mean_with_the_range():
    curve = plots.curve(record([*TWO_SEEDS, (1, 0, 0.5, 0.0, None)]), 0.1, "a")
    assert curve.steps.tolist() == [1, 2] and curve.mean == pytest.approx([0.3, 0.8])
    assert curve.low.tolist() == [0.2, 0.6] and curve.high.tolist() == [0.4, 1.0] and not curve.stops


@pytest.mark.parametrize("lost", [(2, 1, 0.1, None, 2), (2, 1, 0.1, float("nan"), None), (2, 1, 0.1, 0.9, 2)])
def test_a_diverged_seed_stops_where_it_was_last_seen(lost: tuple):
    curve = plots.curve(record([*TWO_SEEDS[:3], lost]), 0.1, "a")
    assert curve.stops == [(1.0, 0.4)] and curve.mean == pytest.approx([0.3, 0.6])


def test_latest_learning_rate():
    lines = [(1, 0, 0.1, 0.9, None), (2, 0, 0.1, 0.2, None), (2, 0, 0.5, 0.3, None), (2, 0, 0.9, None, 2)]
    assert plots.latest_learning_rate(record(lines), True) == 0.5
    assert plots.latest_learning_rate(record(lines), False) == 0.1
    assert plots.latest_learning_rate(record([]), True) is None


def test_learning_curves_hold_every_name_and_are_the_same_every_time():
    one = plots.curve(record(TWO_SEEDS), 0.1, "$x_1$ <script>&日本")
    other = plots.curve(record([(5, 0, 0.1, 0.5, None)]), 0.1, "one_point", 9)
    draw = partial(plots.learning_curves, [one, other], metric="accuracy")
    first, second = draw(baselines={"last": 0.1, "none": None}), draw(baselines={"last": 0.1, "none": None})
    assert first == second and len(first) < 40_000
    texts = [element.text for element in ElementTree.fromstring(first).iter("{http://www.w3.org/2000/svg}text")]
    assert {"$x_1$ <script>&日本", "one_point", "last", "training step", "100 %"} <= set(texts)
    assert draw(format="png").startswith(PNG)


@pytest.mark.parametrize("scores", [(0.5, 0.4), (5.0, 0.001), (0.0, 0.0), (-1.0, 2.0)])
def test_learning_curves_of_errors(scores: tuple[float, float]):
    curve = plots.curve(record([(step, 0, 0.1, score, None) for step, score in enumerate(scores)]), 0.1, "a")
    assert b"<svg" in plots.learning_curves([curve], metric="mean_squared_error", baselines={"mean": 0.2})


def test_learning_curves_of_nothing():
    assert b"<svg" in plots.learning_curves([plots.curve(record([]), None, "a")], metric="")


def attention(layers: int, heads: int, length: int) -> dict[str, np.ndarray]:
    weights = np.random.default_rng(0).dirichlet(np.ones(length), size=(layers, heads, length))
    return {"weights": weights.astype(np.float32), "inputs": np.arange(100, 100 + length)}


def test_attention_panels():
    first, second = maps.attention_panels(attention(2, 4, 8))
    assert first.title == "layer 1 of 2, mean of 4 heads" and second.title.startswith("layer 2 of 2") and not first.note
    texts = [element.text for element in ElementTree.fromstring(first.image).iter("{http://www.w3.org/2000/svg}text")]
    assert sorted(filter(None, texts)) == sorted([str(token) for token in range(100, 108)] * 2)
    assert maps.attention_panels(attention(2, 4, 8))[0].image == first.image
    assert maps.attention_panels(attention(1, 1, 8), format="png")[0].image.startswith(PNG)
    assert maps.attention_panels(None) == []


def test_many_layers_are_thinned_out():
    assert [panel.title for panel in maps.attention_panels(attention(7, 1, 4))] == [
        f"layer {layer} of 7" for layer in (1, 3, 5, 7)
    ]


def test_long_sequences_are_pooled_and_carry_no_tokens():
    (panel,) = maps.attention_panels(attention(1, 1, 200))
    assert panel.tokens == 0 and "3 × 3 weights" in panel.note and len(panel.image) < 60_000
    weights = np.zeros((200, 200))
    weights[199, 7], weights[0, 0] = 0.5, -0.75
    cells, factor = maps._pooled(weights)
    assert factor == 3 and cells.shape == (67, 67) and cells[66, 2] == 0.5 and cells[0, 0] == -0.75


def test_odd_weights_are_said_to_be_odd():
    assert "negative" in maps.attention_panels({"weights": np.full((1, 1, 3, 3), -0.5)})[0].note
    assert "exceed 1" in maps.attention_panels({"weights": np.full((1, 1, 3, 3), 2.0)})[0].note
    broken = np.full((1, 2, 3, 3), np.inf)
    broken[0, 0] = np.nan
    assert "not a number" in maps.attention_panels({"weights": broken, "inputs": np.zeros((3, 2))})[0].note


def test_spread_moves_labels_apart_and_keeps_their_order():
    places = drawing.spread([1.0, 1.0, 0.99, 0.2], 0.1, 0.0, 1.05)
    assert places[3] == 0.2 and max(places) <= 1.05 + 1e-9
    gaps = np.diff(sorted(places))
    assert np.all(gaps >= 0.1 - 1e-9) and places[2] < places[0]
    assert drawing.spread([], 0.1, 0.0, 1.0) == []


def test_labels_fit():
    assert drawing.label("short", 9) == "short" and drawing.label("a\x00b\n c", 9) == "a·b c"
    assert drawing.label("0123456789", 7) == "012…789"


def test_an_inline_svg_is_slim_and_keeps_its_text():
    name = ' version="1" id="x" #0068b0'
    picture = plots.learning_curves([plots.curve(record(TWO_SEEDS), 0.1, name)], metric="accuracy")
    svg = str(inline_svg(picture, '"A" & <b>\\1'))
    assert svg.startswith('<svg class="chart" role="img" aria-label="&#34;A&#34; &amp; &lt;b&gt;\\1" viewBox=')
    assert "http" not in svg and "<metadata" not in svg and "font-family" not in svg and "<style" not in svg
    assert 'version="1" id="x" #0068b0</text>' in svg and "var(--series-0)" in svg and len(svg) < len(picture)


def test_an_inline_svg_drops_groups_that_hold_nothing_and_no_others():
    picture = b'<svg viewBox="0 0 1 1"><g id="a"><g id="b"/></g><g id="c"><path/><g id="d"/></g><g><defs/> </g></svg>'
    assert str(inline_svg(picture, "a")).endswith('viewBox="0 0 1 1"><g><path/></g></svg>')
