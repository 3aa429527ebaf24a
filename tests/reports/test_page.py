"""The page: one file, nothing from outside, nothing left out, nothing unescaped."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from selfattn_jax.reports import strips
from selfattn_jax.reports.page import write_report
from selfattn_jax.reports.reading import ReportError
from selfattn_jax.reports.rows import Row
from tests.reports.fake import Fake, write_run, write_study

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that tags close in order."""

    def __init__(self, path: Path):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.source = path.read_text()
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def assert_safe(self) -> None:
        """No script, no link, nothing fetched, no handler, and every picture in words."""
        assert not {"script", "link", "iframe", "object", "embed"} & set(self.tags)
        assert "http://" not in self.source and "https://" not in self.source and "url(//" not in self.source
        for name, value in self.attributes:
            assert not name.startswith("on")
            assert name not in ("src", "href") or value.startswith(("#", "data:image/png;base64,"))
        assert self.source.count('role="img"') == self.source.count('role="img" aria-label="')


def page_of(folder: Path) -> Page:
    page = Page(write_report(folder))
    page.assert_safe()
    return page


def test_study(tmp_path: Path):
    fakes = (
        Fake("softmax", (1.0, 0.998, 0.999), learning_rates=(0.003, 0.001), attention=(2, 1, 8)),
        Fake("cosine", (1.0, 0.999, 0.31), attention=(1, 2, 40)),
        Fake("performer", (0.3, None, 0.4), attention=None),
        Fake("late", finished=False, attention=None),
    )
    folder = write_study(tmp_path / "study", fakes, name="recall by score")
    page = page_of(folder)
    assert list(folder.glob("report.html*")) == [folder / "report.html"]
    for words in (
        *("recall by score", "Which attention recalls values", "softmax", "cosine", "performer", "late (unfinished)"),
        *("99.9 %", "3/3", "[44, 100] %", "1 diverged", "Not in the table yet: late.", "last_value", "most_common"),
        *("41.3 k", "5.45 MFLOP", "73 s", "multi_query_recall", "9f2c41d07be3", "Student's t", "jax 0.10.2"),
        *("No single winner: softmax and cosine", "performer in 1 of 3 seeds", "layer 1 of 2", "mean of 2 heads"),
        *("mixer: {name: attention, score: 'performer'}", "base: recall.yaml", "last evaluated at step 400"),
        *("model.mixer.score = softmax", "0.001, 0.003", "99.0\N{NO-BREAK SPACE}% or more", "A cross marks"),
    ):
        assert words in page.text, words
    assert page.tags.count("h1") == 1 and page.tags.count("details") == 5 and page.tags.count("image") == 4
    assert page.source.count('class="dot"') == 3 + 3 + 2 + 1  # the last is the legend's
    assert write_report(folder).read_text() == page.source
    assert len(page.source) < 400_000


def test_run(tmp_path: Path):
    write_run(tmp_path / "run", Fake("softmax", (1.0, None), learning_rates=(0.003, 0.001), attention=(1, 1, 8)))
    page = page_of(tmp_path / "run")
    for words in (
        "selfattn_jax · run report",
        "50.0\N{NO-BREAK SPACE}% with the learning rate 0.003",
        "1/2",
        "validation 50.0 %, chosen",
    ):
        assert words in page.text, words
    assert "rate 0.001" in page.text and page.source.count('class="aside"') == 1


def test_unfinished_run(tmp_path: Path):
    write_run(tmp_path / "run", Fake("softmax", learning_rates=(0.003, 0.001), finished=False, attention=None))
    page = page_of(tmp_path / "run")
    assert (
        "This run has not finished yet." in page.text and "rate 0.003" in page.text and "seeds solved" not in page.text
    )


def test_everything_is_escaped(tmp_path: Path):
    evil = "<script>alert(1)</script>\"'&{{ 7 * 7 }}$x^"
    folder = write_study(tmp_path / "study", [Fake(evil, attention=(1, 1, 4)), Fake("b", attention=None)], name=evil)
    table = json.loads((folder / "table.json").read_text())
    table |= {"question": evil, "interval": evil, "baselines": {evil: 0.1}}
    table["rows"][0]["settings"] = {evil: evil}
    (folder / "table.json").write_text(json.dumps(table))
    (folder / "study.yaml").write_text(evil)
    page = page_of(folder)
    assert page.text.count(evil) > 6 and "<script" not in page.source


def edited(edit: Callable[[dict], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        table = json.loads((folder / "table.json").read_text())
        edit(table)
        (folder / "table.json").write_text(json.dumps(table))

    return apply


@pytest.mark.parametrize(
    "damage",
    [
        edited(lambda table: table["rows"][0].update(scores=[None], mean=None, low=None, high=None, solve_low=None)),
        edited(lambda table: table["rows"][0].update(mean=float("nan"), parameters=None, seconds=float("inf"))),
        edited(lambda table: table["rows"][0].clear()),
        edited(lambda table: table.update(baselines=None, interval=None, solved_at=None, question=None)),
        edited(lambda table: table["rows"].clear()),
        lambda folder: (folder / "table.json").unlink(),
        lambda folder: (folder / "trials" / "only" / "metrics.jsonl").unlink(),
        lambda folder: (folder / "trials" / "only" / "result.json").unlink(),
        lambda folder: (folder / "trials" / "only" / "config.yaml").unlink(),
        lambda folder: (folder / "trials" / "only" / "result.json").write_text("{}"),
        lambda folder: (folder / "trials" / "only").rename(folder / "trials" / "elsewhere"),
        lambda folder: (folder / "trials" / "started").mkdir(),
    ],
)
@pytest.mark.parametrize("metric", ["accuracy", "mean_squared_error"])
def test_odd_studies_still_make_a_page(tmp_path: Path, damage: Callable[[Path], object], metric: str):
    folder = write_study(tmp_path / "study", [Fake("only", (0.5,), attention=None)], metric=metric)
    damage(folder)
    assert "How it was measured" in page_of(folder).text


def test_a_study_in_which_everything_diverged(tmp_path: Path):
    for metric in ("accuracy", "mean_squared_error"):
        fakes = [Fake("a", (None, None), attention=None), Fake("b", (None,), attention=None)]
        assert "2 diverged" in page_of(write_study(tmp_path / metric, fakes, metric=metric)).text


def test_trials_that_differ_in_data_are_flagged(tmp_path: Path):
    folder = write_study(tmp_path / "study", [Fake("a", attention=None), Fake("b", attention=None)])
    path = folder / "trials" / "a" / "result.json"
    result = json.loads(path.read_text())
    result["task"]["hash"] = "another"
    path.write_text(json.dumps(result))
    page = page_of(folder)
    assert "scores cannot be compared" in page.text and "another · 9f2c41d07be3" in page.text


def test_a_folder_that_is_neither_is_an_error(tmp_path: Path):
    with pytest.raises(ReportError, match="Neither a study folder nor a run folder"):
        write_report(tmp_path)
    with pytest.raises(ReportError, match="No such folder"):
        write_report(tmp_path / "nowhere")


def test_strips_place_scores_on_one_scale():
    row = Row("a", scores=(0.5, None, 0.505), mean=0.335, low=0.0, high=1.0)
    strip = strips.row_strip(row, strips.common_scale([row], "accuracy", {}, 0.9), "accuracy")
    assert [x for x, _ in strip.dots] == [50.0, 50.5] and strip.dots[0][1] != strip.dots[1][1]
    assert strip.crosses == [(0.0, 20.0)] and strip.mean == 33.5 and strip.band == (0.0, 100.0)
    assert strip.text == "a: 33.5 % [0, 100]. Seeds: 50.0 %, diverged, 50.5 %."


def test_strips_of_errors_are_logarithmic_where_they_differ_by_much():
    rows = [Row("a", scores=(0.002, 0.003), mean=0.0025, low=0.0, high=0.005), Row("b", scores=(0.9,), mean=0.9)]
    scale = strips.common_scale(rows, "mean_squared_error", {}, 0.01)
    assert scale == strips.Scale(0.001, 1.0, logarithmic=True) and scale.place(0.0) == 0.0 and scale.place(9.0) == 100.0
    assert scale.ticks() == pytest.approx([0.001, 0.01, 0.1, 1.0])
    close = strips.common_scale(rows[1:], "mean_squared_error", {"mean": 0.5}, None)
    assert close == strips.Scale(0.0, 1.0)
