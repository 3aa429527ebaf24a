"""The terminal's table and Markdown's."""

import io
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from selfattn_jax.reports.reading import RunRecord, read_run, read_study
from selfattn_jax.reports.tables import further_table, run_table, study_markdown, study_table
from tests.reports.fake import Fake, write_run, write_study

FAKES = (
    Fake("softmax", (1.0, 0.998, 0.999)),
    Fake("bag", (0.1, 0.12, None), attention=None),
    Fake("cosine", (1.0, 0.999, 0.999), attention=None),
)


def text(table: Table) -> str:
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


def styled(table: Table) -> list[str]:
    return [str(row.style) for row in table.rows]


def table_of(folder: Path, fakes: tuple[Fake, ...] = FAKES) -> dict:
    return json.loads((write_study(folder / "study", fakes) / "table.json").read_text())


def test_study_table(tmp_path: Path):
    table = study_table(table_of(tmp_path))
    lines = [line.strip() for line in text(table).splitlines()]
    names = [
        line.split()[0] for line in lines if line and line.split()[0] in ["softmax", "cosine", "bag", "last_value"]
    ]
    assert names == ["cosine", "softmax", "bag", "last_value"]
    assert "99.9 % [99.8, 100]" in text(table) and "3/3 [44, 100] %" in text(table)
    assert "0/3 [0, 56] %, 1 diverged" in text(table) and "41.3 k" in text(table) and "5.45 MFLOP" in text(table)
    assert "73 s" in text(table) and "99.0 % or more" in text(table) and "Student's t" in text(table)
    assert "bold" not in styled(table)


def test_only_a_clear_winner_is_bold(tmp_path: Path):
    table = study_table(table_of(tmp_path, FAKES[:2]))
    assert styled(table)[0] == "bold" and "bold" not in styled(table)[1:]
    assert "| **softmax** |" in study_markdown(table_of(tmp_path / "again", FAKES[:2]))


def test_markup_in_names_is_shown_as_it_is(tmp_path: Path):
    fakes = (Fake("[red]odd[/red]", attention=None), Fake("a|b<i>", (0.5,), attention=None))
    table = table_of(tmp_path, fakes)
    assert "[red]odd[/red]" in text(study_table(table))
    markdown = study_markdown(table)
    assert r"a\|b&lt;i&gt;" in markdown and r"\[red\]odd" in markdown


def test_study_markdown(tmp_path: Path):
    markdown = study_markdown(table_of(tmp_path))
    lines = markdown.splitlines()
    assert lines[0] == "# recall" and lines[2].endswith("how surely?")
    assert lines[4] == "| variant | score | seeds solved | learning rate | parameters | forward | time |"
    cells = "99.9 % [99.8, 100] | 3/3 [44, 100] % | 0.003 | 41.3 k | 5.45 MFLOP | 73 s |"
    assert lines[6] == f"| cosine | {cells}" and lines[7].startswith("| softmax | ")
    assert lines[9] == r"| *shortcut: last\_value* | 12.5 % |  |  |  |  |  |"
    assert "**" not in markdown and markdown.endswith(".\n")


def test_tables_of_nothing():
    assert "name" not in text(study_table({}))
    assert study_markdown({}).count("|") > 0
    assert "–" in text(study_table({"rows": [{"variant": "a", "mean": None, "scores": [None]}]}))


def test_run_table(tmp_path: Path):
    write_run(tmp_path / "run", Fake("softmax", (1.0, 0.5), learning_rates=(0.003, 0.001), attention=None))
    lines = [line.split() for line in text(run_table(read_run(tmp_path / "run"))).splitlines()]
    assert ["0.003", "75.0", "%", "75.0", "%", "1/2"] in lines and ["0.001", "52.5", "%", "52.5", "%", "0/2"] in lines
    assert ["last_value", "12.5", "%", "shortcut"] in lines


def test_run_table_of_an_unfinished_run(tmp_path: Path):
    write_run(tmp_path / "run", Fake("softmax", finished=False, attention=None))
    assert "not finished" in text(run_table(read_run(tmp_path / "run")))


def further_record(folder: Path) -> RunRecord:
    result = write_run(folder, Fake("softmax", (1.0, 0.5, None), attention=None))
    shortcuts = {"chance": 0.25, "latest": 0.5}
    also = [
        {"knobs": {"length": 128, "pairs": 8}, "baselines": shortcuts, "runs": [0.75, 0.25, None]},
        {"knobs": {"length": 256}, "baselines": {}, "runs": [0.5, None, None]},
    ]
    (folder / "result.json").write_text(json.dumps(result | {"also": also}))
    return read_run(folder)


def test_further_tests_stand_beside_the_best_shortcut_there(tmp_path: Path):
    view = further_table(further_record(tmp_path / "run"))
    assert view is not None
    columns = [list(column.cells) for column in view.columns]
    assert [[str(cell) for cell in cells] for cells in columns] == [
        ["run", "run"],
        ["length = 128, pairs = 8", "length = 256"],
        ["50.0 %", "50.0 %"],
        ["25.0 % to 75.0 %", ""],
        ["latest 50.0 %", ""],
    ]


def test_without_further_tests_there_is_no_table_of_them(tmp_path: Path):
    write_run(tmp_path / "run", Fake("softmax", attention=None))
    assert further_table(read_run(tmp_path / "run")) is None
    assert further_table(read_study(write_study(tmp_path / "study", FAKES))) is None
