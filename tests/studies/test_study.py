"""Studies: which trials a file means, and what is made of their results."""

import io
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from selfattn_jax.config import ConfigError, read, to_yaml
from selfattn_jax.config.schema import Config
from selfattn_jax.reports.reading import ReportError
from selfattn_jax.runs.execute import Interrupted
from selfattn_jax.runs.folder import FolderError, open_folder, read_config
from selfattn_jax.runs.progress import RunProgress
from selfattn_jax.studies import study as studies
from selfattn_jax.studies.statistics import INTERVAL
from selfattn_jax.studies.study import Study, compare, load_study
from tests.tiny import SETTINGS, programs_kept, share_programs, tiny


@pytest.fixture(autouse=True, scope="module")
def _programs_kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with programs_kept(tmp_path_factory), pytest.MonkeyPatch.context() as patch:
        share_programs(patch)
        yield


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are named as if one stood beside them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text(to_yaml(SETTINGS))


def study_of(text: str, *overrides: str, only: tuple[str, ...] = ()) -> Study:
    Path("study.yaml").write_text("name: demo\nquestion: which?\n" + text)
    return load_study("study.yaml", overrides, only)


def refusal(text: str, *overrides: str, only: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        study_of(text, *overrides, only=only)
    return str(refused.value).splitlines()


def silent(total: int = 24) -> RunProgress:
    return RunProgress(Console(file=io.StringIO()), total)


# Which trials there are.


def test_variants_are_trials_in_the_order_of_the_file() -> None:
    study = study_of(
        "base: base.yaml\n"
        "variants:\n"
        "  softmax: {}\n"
        "  cosine: {model.mixer.score: cosine}\n"
        "  linear: {model.mixer: linear, training.learning_rate: 0.1}\n"
    )
    assert (study.name, study.question) == ("demo", "which?")
    assert [trial.name for trial in study.trials] == ["softmax", "cosine", "linear"]
    assert [dict(trial.settings) for trial in study.trials] == [
        {},
        {"model.mixer.score": "cosine"},
        {"model.mixer": "linear", "training.learning_rate": 0.1},
    ]
    softmax, cosine, linear = (trial.config for trial in study.trials)
    assert softmax == tiny()
    assert cosine == tiny("model.mixer.score=cosine")
    assert linear == tiny("model.mixer=linear", "training.learning_rate=0.1")


def test_without_variants_and_grid_there_is_one_trial() -> None:
    [trial] = study_of("base: base.yaml\n").trials
    assert (trial.name, trial.settings, trial.config) == ("base", {}, tiny())


def test_a_grid_multiplies_every_variant() -> None:
    study = study_of(
        "base: base.yaml\n"
        "variants: {softmax: {}, linear: {model.mixer: linear}}\n"
        "grid: {task.length: [8, 16], model.heads.count: [1, 2]}\n"
    )
    assert [trial.name for trial in study.trials] == [
        f"{variant} length={length} count={count}"
        for variant in ("softmax", "linear")
        for length in (8, 16)
        for count in (1, 2)
    ]
    assert dict(study.trials[6].settings) == {"model.mixer": "linear", "task.length": 16, "model.heads.count": 1}
    assert study.trials[6].config == tiny("model.mixer=linear", "task.length=16", "model.heads.count=1")


def test_a_grid_alone_names_its_trials_after_its_values() -> None:
    grid = "{model.mixer.score: [cosine, {name: cosine, temperature: 0.5}], model.causal: [true, null]}"
    study = study_of(f"base: base.yaml\ngrid: {grid}\n")
    assert [trial.name for trial in study.trials] == [
        "base score=cosine causal=true",
        "base score=cosine causal=null",
        "base score=cosine(temperature=0.5) causal=true",
        "base score=cosine(temperature=0.5) causal=null",
    ]


def test_a_grid_may_go_inside_what_a_variant_sets() -> None:
    study = study_of(
        "base: base.yaml\n"
        "variants: {cosine: {model.mixer.score: {name: cosine}}}\n"
        "grid: {model.mixer.score.temperature: [0.1, 0.2]}\n"
    )
    assert [trial.config.model.mixer.score.temperature for trial in study.trials] == [0.1, 0.2]


def test_the_config_may_stand_in_the_study_itself() -> None:
    study = study_of("config:\n  task: adding\n  model: {width: 8}\nvariants: {a: {model.layers: 1}}\n")
    assert (study.trials[0].config.model.width, study.trials[0].config.model.layers) == (8, 1)


def test_the_base_is_found_beside_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study_of("base: base.yaml\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_study("../study.yaml").trials[0].config == tiny()


def test_a_mapping_in_a_variant_is_merged_unless_it_says_what_it_is() -> None:
    study = study_of(
        "base: base.yaml\n"
        "variants: {merged: {model: {layers: 2}}, replaced: {model.mixer: {name: attention, score: cosine}}}\n"
    )
    merged, replaced = (trial.config.model for trial in study.trials)
    assert (merged.layers, merged.width, merged.mixer.dropout) == (2, 8, 0.1)
    assert (replaced.mixer.score.name, replaced.mixer.dropout) == ("cosine", 0.0)


def test_overrides_change_every_trial() -> None:
    study = study_of(
        "base: base.yaml\nvariants: {a: {}, b: {model.mixer: linear}}\n", "training.steps=3", "runs.seeds=[7]"
    )
    assert [trial.config.training.steps for trial in study.trials] == [3, 3]
    assert [trial.config.runs.seeds for trial in study.trials] == [(7,), (7,)]


def test_only_the_trials_that_are_asked_for_run() -> None:
    text = "base: base.yaml\nvariants: {a: {}, b: {model.mixer: linear}}\ngrid: {model.heads.count: [1, 2]}\n"
    study = study_of(text, only=("b count=2", "a count=1"))
    assert [trial.name for trial in study.trials] == ["a count=1", "b count=2"]
    assert list(study.resolved["variants"]) == ["a count=1", "b count=2"]


def test_what_is_resolved_means_the_same_trials(tmp_path: Path) -> None:
    study = study_of(
        "base: base.yaml\n"
        "variants:\n"
        "  'soft max': {}\n"
        "  cosine: {model.mixer.score: {name: cosine}, training.learning_rate: 1.0e-5}\n"
        "grid:\n"
        "  model.mixer.mask: [null, {any: [causal, {name: window, left: 2}]}]\n"
        "  model.heads.count: [1, 2]\n",
        "training.steps=5",
    )
    (tmp_path / "saved.yaml").write_text(to_yaml(study.resolved))
    again = load_study(tmp_path / "saved.yaml")
    assert again.trials == study.trials
    assert (again.name, again.question) == (study.name, study.question)
    assert again.resolved == study.resolved


# What is refused.

ONE = "give one of base (a config file) and config (its keys)"
VALUES = "must be a list of values, not empty"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", f"study.yaml:1:1  base  {ONE}"),
        ("base: base.yaml\nconfig: {task: adding}\n", f"study.yaml:1:1  base  {ONE}"),
        ("base: base.yaml\nvariants: {}\n", "study.yaml:4:1  variants  must name at least one variant"),
        ("base: bass.yaml\n", "study.yaml:3:1  base  there is no file bass.yaml"),
        ("base: base.yaml\ngrid: {model.width: 8}\n", f"study.yaml:4:8  grid.model.width  {VALUES}"),
        ("base: base.yaml\ngrid: {model.width: []}\n", f"study.yaml:4:8  grid.model.width  {VALUES}"),
        ("base: base.yaml\nvariant: {}\n", "study.yaml:4:1  variant  unknown key  did you mean variants?"),
        (
            "base: base.yaml\nvariants:\n  a: {model.width: 16}\ngrid: {model.width: [8]}\n",
            "study.yaml:5:7  model.width  is set by the grid too (model.width), which would win",
        ),
        (
            "base: base.yaml\nvariants:\n  a b: {}\n  a/b: {model.layers: 1}\n",
            "study.yaml:6:3  variants.a/b  'a/b' and 'a b' would share the folder trials/a-b: rename one",
        ),
        (
            "base: base.yaml\ngrid: {model.layers: [1, 2, 1]}\n",
            "study.yaml:1:1  variants.base  the grid makes 'base layers=1' twice",
        ),
    ],
)  # fmt: skip
def test_a_study_that_says_too_much_or_too_little_is_refused(text: str, line: str) -> None:
    assert refusal(text) == [line]


def test_a_study_needs_a_name() -> None:
    Path("study.yaml").write_text("base: base.yaml\n")
    with pytest.raises(ConfigError, match=r"study\.yaml:1:1  name  missing; needs text"):
        load_study("study.yaml")


def test_the_problems_of_all_variants_are_told_at_once_with_their_places() -> None:
    lines = refusal(
        "base: base.yaml\n"
        "variants:\n"
        "  good: {}\n"
        "  typo: {model.mixer.scor: cosine}\n"
        "  heads:\n"
        "    model.heads.count: 3\n"
        "  type: {training.steps: many}\n"
        "  both: {training.steps: many}\n"
    )
    assert [" ".join(line.split()) for line in lines] == [
        "study.yaml:6:10 model.mixer.scor unknown key did you mean score?",
        "study.yaml:8:5 model.heads count must divide the width, got count=3 and width=8: change one, or set key_width",
        "study.yaml:9:10 training.steps must be a whole number, got 'many'",
        "study.yaml:10:10 training.steps must be a whole number, got 'many'",
    ]


def test_what_a_task_refuses_is_told_where_the_variant_sets_it() -> None:
    [line] = refusal("base: base.yaml\nvariants:\n  short: {task.length: 1}\n")
    assert line.startswith("study.yaml:5:11  task  length=1: length must be at least 2")


def test_a_config_is_no_study() -> None:
    with pytest.raises(ConfigError) as refused:
        load_study("base.yaml")
    line = "base.yaml:1:1  task  is a key of a config, this command takes a study: selfattn run base.yaml"
    assert str(refused.value) == line


def test_a_problem_of_the_base_is_told_once_and_where_it_stands() -> None:
    Path("base.yaml").write_text("task: adding\nmodel: {width: 0}\n")
    lines = refusal("base: base.yaml\nvariants: {a: {}, b: {model.layers: 1}}\n")
    assert lines == ["base.yaml:2:9  model.width  must be greater than 0, got 0"]


def test_an_override_of_what_a_trial_sets_is_refused() -> None:
    text = "base: base.yaml\nvariants: {a: {}, b: {model.mixer.score: cosine}}\ngrid: {model.heads.count: [1, 2]}\n"
    [line] = refusal(text, "model.mixer.score=dot")
    assert line == (
        "command line: model.mixer.score=dot  model.mixer.score  "
        "is set by b count=1, b count=2, which would win; change it in the study's file"
    )
    for override in ("model.mixer=linear", "model.mixer.score.temperature=0.5", "model.heads={count: 2}"):
        assert "which would win" in refusal(text, override)[0]
    study_of(text, "model.mixer.dropout=0.0")


def test_an_override_of_what_a_trial_sets_is_welcome_where_that_trial_does_not_run() -> None:
    text = "base: base.yaml\nvariants: {a: {}, b: {model.mixer.score: cosine}}\n"
    [trial] = study_of(text, "model.mixer.score=dot", only=("a",)).trials
    assert trial.config.model.mixer.score.name == "dot"


def test_an_override_of_what_the_sweep_sets_is_refused() -> None:
    text = "base: base.yaml\nvariants: {a: {runs.sweep: {training.learning_rate: [0.1, 0.2]}}}\n"
    [line] = refusal(text, "training.learning_rate=0.5")
    assert "is swept by runs.sweep, which would win" in line


def test_only_names_of_trials_can_be_asked_for() -> None:
    [line] = refusal("base: base.yaml\nvariants: {a: {}, b: {}}\n", only=("a", "c"))
    assert line == "command line: --only  c  is no trial; the trials are a, b"


# What is made of results: invented ones.


def result(*runs: tuple[int, float, float | None, float | None], **more: Any) -> dict[str, Any]:
    """A result whose runs are (seed, learning rate, validation score, test score); None diverged."""
    return {
        "task": {"name": "adding", "version": 1, "seed": 0, "hash": "0"},
        "metric": "accuracy",
        "solved_at": 0.9,
        "baselines": {"chance": 0.25},
        "runs": [
            {
                "run": index,
                "seed": seed,
                "learning_rate": rate,
                "validation_score": validation,
                "test_score": test,
                "test_loss": 0.5,
                "diverged_at": 3 if test is None else None,
            }
            for index, (seed, rate, validation, test) in enumerate(runs)
        ],
        "parameters": 100,
        "forward_flops": 1000,
        "seconds": 2.5,
        **more,
    }


@pytest.fixture
def invented(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Lets trials, by their labels, have invented results, or fail."""

    def invent(results: dict[str, Any]) -> None:
        def execute(config: Config, folder: Path, progress: RunProgress, *, label: str) -> dict[str, Any]:
            with open_folder(folder, "config.yaml", config.resolved(), "run"):
                progress.advance(config.training.steps, label)
                if isinstance(results[label], BaseException):
                    raise results[label]
                (folder / "result.json").write_text(json.dumps(results[label]))
                return results[label]

        monkeypatch.setattr(studies, "execute", execute)

    return invent


def test_the_learning_rate_is_chosen_by_validation_alone(invented: Callable[[dict[str, Any]], None]) -> None:
    tested_better = [(0, 0.1, 0.5, 1.0), (1, 0.1, 0.5, 1.0)]
    validated_better = [(0, 0.2, 0.6, 0.3), (1, 0.2, 0.7, 0.5)]
    invented({"base (1/1)": result(*tested_better, *validated_better)})
    table = compare(study_of("base: base.yaml\n"), Path("out"), silent())
    [row] = table["rows"]
    assert row["learning_rate"] == 0.2
    assert row["scores"] == [0.3, 0.5]
    assert row["mean"] == pytest.approx(0.4)
    assert row["solved"] == 0


def test_the_table_holds_what_the_design_says(invented: Callable[[dict[str, Any]], None]) -> None:
    invented(
        {
            "a (1/2)": result((0, 0.1, 1.0, 0.95), (1, 0.1, 1.0, None)),
            "b count=2 (2/2)": result((0, 0.1, 0.1, 0.2), (1, 0.1, 0.1, 0.2), parameters=120),
        }
    )
    study = study_of("base: base.yaml\nvariants: {a: {}, b count=2: {model.heads.count: 2}}\n")
    rows: list[dict[str, Any]] = []
    progress = silent()
    table = compare(study, Path("out"), progress, report=rows.append)
    assert list(table) == ["name", "question", "metric", "solved_at", "interval", "baselines", "rows"]
    assert {key: table[key] for key in list(table)[:-1]} == {
        "name": "demo",
        "question": "which?",
        "metric": "accuracy",
        "solved_at": 0.9,
        "interval": INTERVAL,
        "baselines": {"chance": 0.25},
    }
    fields = "variant settings learning_rate seeds scores mean low high solved solve_low solve_high diverged"
    fields += " parameters forward_flops seconds folder"
    assert [list(row) for row in table["rows"]] == [fields.split()] * 2
    first, second = table["rows"]
    assert (first["variant"], first["settings"], first["folder"]) == ("a", {}, "trials/a")
    assert (first["scores"], first["diverged"], first["solved"]) == ([0.95, None], 1, 1)
    assert (second["settings"], second["folder"]) == ({"model.heads.count": 2}, "trials/b-count=2")
    assert (second["parameters"], second["forward_flops"], second["seconds"]) == (120, 1000, 2.5)
    assert rows == table["rows"]
    assert progress.done == progress.total
    assert json.loads(Path("out/table.json").read_text()) == table
    assert {path.name for path in Path("out").iterdir()} == {
        ".lock",
        "study.yaml",
        "trials",
        "table.json",
        "table.md",
        "report.html",
    }
    assert "| a " in Path("out/table.md").read_text()


def test_the_table_grows_trial_by_trial(
    invented: Callable[[dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    invented({"a (1/2)": result((0, 0.1, 1.0, 0.95))})  # nothing is known of b: it fails
    with pytest.raises(KeyError):
        compare(study_of("base: base.yaml\nvariants: {a: {}, b: {}}\n"), Path("out"), silent())
    assert [row["variant"] for row in json.loads(Path("out/table.json").read_text())["rows"]] == ["a"]


@pytest.mark.parametrize("error", [Interrupted(Path("out/trials/b"), 4), FolderError("damaged")])
def test_a_study_that_stops_reports_the_trials_that_are_done(
    invented: Callable[[dict[str, Any]], None], error: Exception
) -> None:
    study = study_of("base: base.yaml\nvariants: {alpha: {}, b: {}}\n")
    invented({"alpha (1/2)": result((0, 0.1, 1.0, 0.95)), "b (2/2)": error})
    with pytest.raises(type(error)):
        compare(study, Path("out"), silent())
    page = Path("out/report.html").read_text()
    assert "alpha" in page
    assert "Not in the table yet: b" in page


def test_a_study_stopped_in_its_first_trial_has_a_report_too(invented: Callable[[dict[str, Any]], None]) -> None:
    invented({"base (1/1)": Interrupted(Path("out/trials/base"), 4)})
    with pytest.raises(Interrupted):
        compare(study_of("base: base.yaml\n"), Path("out"), silent())
    assert "Not in the table yet: base" in Path("out/report.html").read_text()


def test_a_report_that_fails_does_not_hide_why_a_study_stopped(
    invented: Callable[[dict[str, Any]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(folder: Path) -> None:
        raise ReportError("Damaged JSON", folder, "Run it again.")

    monkeypatch.setattr(studies, "write_report", damaged)
    invented({"base (1/1)": Interrupted(Path("out/trials/base"), 4)})
    with pytest.raises(Interrupted):
        compare(study_of("base: base.yaml\n"), Path("out"), silent())


def test_two_do_not_write_the_folder_of_one_study(invented: Callable[[dict[str, Any]], None]) -> None:
    invented({"base (1/1)": result((0, 0.1, 1.0, 0.95))})
    study = study_of("base: base.yaml\n")

    def again(row: dict[str, Any]) -> None:
        with pytest.raises(FolderError, match=r"^out: is being written by another process"):
            compare(study, Path("out"), silent())

    compare(study, Path("out"), silent(), report=again)


def test_a_folder_of_another_study_is_refused(invented: Callable[[dict[str, Any]], None]) -> None:
    invented({"base (1/1)": result((0, 0.1, 1.0, 0.95))})
    compare(study_of("base: base.yaml\n"), Path("out"), silent())
    Path("study.yaml").write_text("name: other\nbase: base.yaml\n")
    with pytest.raises(
        FolderError, match=r'out: already holds a different study.*\n  name: there "demo", here "other"'
    ):
        compare(load_study("study.yaml"), Path("out"), silent())


def test_a_study_is_not_written_over_the_file_of_another_kind_of_study(
    invented: Callable[[dict[str, Any]], None],
) -> None:
    invented({"base (1/1)": result((0, 0.1, 1.0, 0.95))})
    study = study_of("base: base.yaml  # a comment\n")
    before = Path("study.yaml").read_text()
    with pytest.raises(FolderError, match="already holds a different study"):
        compare(study, Path(), silent())
    assert Path("study.yaml").read_text() == before
    assert not Path("trials").exists()


def test_variants_may_come_and_go_between_two_calls(invented: Callable[[dict[str, Any]], None]) -> None:
    one = result((0, 0.1, 1.0, 0.95))
    invented({"a (1/1)": one})
    compare(study_of("base: base.yaml\nvariants: {a: {}}\n"), Path("out"), silent())
    invented({"b (1/2)": one, "a (2/2)": one})
    both = "base: base.yaml\nvariants: {b: {model.layers: 2}, a: {}}\n"
    table = compare(study_of(both), Path("out"), silent())
    assert [row["variant"] for row in table["rows"]] == ["b", "a"]
    assert list(read(Path("out/study.yaml")).data["variants"]) == ["b", "a"]
    invented({"b (1/1)": one})
    table = compare(study_of(both, only=("b",)), Path("out"), silent())
    assert [row["variant"] for row in table["rows"]] == ["b"]
    assert Path("out/trials/a/result.json").exists()


def test_a_trial_that_has_changed_is_refused_by_its_folder(invented: Callable[[dict[str, Any]], None]) -> None:
    invented({"a (1/1)": result((0, 0.1, 1.0, 0.95))})
    compare(study_of("base: base.yaml\nvariants: {a: {}}\n"), Path("out"), silent())
    with pytest.raises(
        FolderError, match=r"^out/trials/a: already holds a different run.*\n  model.layers: there 1, here 2$"
    ):
        compare(study_of("base: base.yaml\nvariants: {a: {model.layers: 2}}\n"), Path("out"), silent())


# A real one.

TWO = "base: base.yaml\nvariants: {slow: {training.learning_rate: 0.001}, fast: {training.learning_rate: 0.02}}\n"


class Pressed(RunProgress):
    """Progress during which Ctrl-C comes once, when so many steps are done."""

    def __init__(self, at: int):
        super().__init__(Console(file=io.StringIO()), 24)
        self.at = at

    def advance(self, steps: int, note: str) -> None:
        super().advance(steps, note)
        if self.done == self.at:
            signal.raise_signal(signal.SIGINT)


@pytest.mark.slow
def test_a_study_that_was_stopped_goes_on_and_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "write_report", lambda folder: None)
    study = study_of(TWO)
    whole = compare(study, tmp_path / "whole", silent())
    for at, name in ((4, "slow"), (16, "fast")):
        with pytest.raises(Interrupted) as stopped:
            compare(study, tmp_path / "stopped", Pressed(at))
        assert stopped.value.folder == tmp_path / "stopped" / "trials" / name
    progress = silent()
    table = compare(study, tmp_path / "stopped", progress)
    assert progress.done == 24

    def timeless(table: dict[str, Any]) -> dict[str, Any]:
        return {**table, "rows": [{**row, "seconds": 0} for row in table["rows"]]}

    assert timeless(table) == timeless(whole)
    assert [row["variant"] for row in table["rows"]] == ["slow", "fast"]
    assert table["rows"][0]["scores"] != table["rows"][1]["scores"]
    for name in ("slow", "fast"):
        files = [tmp_path / folder / "trials" / name / "metrics.jsonl" for folder in ("whole", "stopped")]
        assert files[0].read_text() == files[1].read_text()
        assert (
            read_config(tmp_path / "whole" / "trials" / name).training.learning_rate
            == {"slow": 1e-3, "fast": 0.02}[name]
        )
    saved = load_study(tmp_path / "whole" / "study.yaml")
    assert saved.trials == study.trials
    assert compare(saved, tmp_path / "whole", silent()) == whole
    assert read(tmp_path / "whole" / "study.yaml").data["variants"]["fast"] == {"training.learning_rate": 0.02}


@pytest.mark.slow
def test_ctrl_c_while_one_trial_is_tested_stops_before_the_next(tmp_path: Path) -> None:
    class Testing(Pressed):
        def note(self, note: str) -> None:
            super().note(note)
            if note == "testing":
                signal.raise_signal(signal.SIGINT)

    study = study_of(TWO)
    with pytest.raises(Interrupted):
        compare(study, tmp_path / "out", Testing(-1))
    assert (tmp_path / "out" / "trials" / "slow" / "result.json").exists()
    assert [row["variant"] for row in json.loads((tmp_path / "out" / "table.json").read_text())["rows"]] == ["slow"]
    assert "slow" in (tmp_path / "out" / "report.html").read_text()
    assert not (tmp_path / "out" / "trials" / "fast").exists()
