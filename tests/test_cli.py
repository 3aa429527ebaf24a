"""The command line: what it prints and writes, and that every mistake gets one clear message."""

import io
import json
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from jax.errors import JaxRuntimeError
from rich.console import Console
from typer.testing import CliRunner, Result

from selfattn_jax import catalogue, cli
from selfattn_jax.bench import execute as bench_execute
from selfattn_jax.bench.record import Row, Times
from selfattn_jax.config import read, to_yaml, validate
from selfattn_jax.config.schema import Config
from selfattn_jax.runs import execute, progress
from selfattn_jax.runs.folder import open_folder
from tests.tiny import SETTINGS, cache_home, programs_kept, share_programs

ROOT = Path(__file__).parents[1]
COMMANDS = ("run", "compare", "show", "list", "draw", "schema", "report", "bench")
STUDY = "name: demo\nbase: tiny.yaml\nvariants: {slow: {training.learning_rate: 0.001}, fast: {}}\n"


@pytest.fixture(autouse=True, scope="module")
def _programs_kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with programs_kept(tmp_path_factory), pytest.MonkeyPatch.context() as patch:
        share_programs(patch)
        patch.setattr(cli, "_prepare", lambda: None)  # JAX has computed something already
        patch.setattr(progress, "SECONDS_BETWEEN_LINES", math.inf)
        yield


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(to_yaml(SETTINGS))
    Path("study.yaml").write_text(STUDY)


def selfattn(*arguments: str) -> Result:
    result = CliRunner().invoke(cli.app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def said(*arguments: str) -> str:
    """What a command that succeeds prints."""
    result = selfattn(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    return result.stdout


def complaint(*arguments: str, status: int) -> str:
    """The one message of a command that fails."""
    result = selfattn(*arguments)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("selfattn: ")
    assert result.stderr.count("selfattn: ") == 1
    assert "Traceback" not in result.stderr
    return result.stderr.removeprefix("selfattn: ").rstrip("\n")


# Mistakes.

BAD_CONFIGS = {
    "an unknown key": (
        "task: adding\nmodel: {widht: 8}\n",
        "bad.yaml:2:9  model.widht  unknown key  did you mean width?",
    ),
    "a wrong type": (
        "task: adding\ntraining: {steps: '9'}\n",
        "bad.yaml:2:12  training.steps  must be a whole number, got '9'  did you mean 9?",
    ),
    "no steps": (
        "task: adding\ntraining:\n  steps: 0\n",
        "bad.yaml:3:3  training.steps  must be greater than 0, got 0",
    ),
    "a duplicate key": (
        "task: adding\nmodel: {width: 8}\nmodel: {width: 16}\n",
        "bad.yaml:3:1  model  duplicate key, already given at bad.yaml:2:1",
    ),
    "an unknown name": (
        "task: ading\n",
        f"bad.yaml:1:1  task  unknown name 'ading'; known are {', '.join(catalogue.of_kind('tasks'))}  "
        "did you mean adding?",
    ),
    "a piece in the wrong slot": (
        "task: adding\nmodel: {mixer: {biases: [rope]}}\n",
        "bad.yaml:2:26  model.mixer.biases.0  unknown name 'rope'; known are alibi, ",
    ),
    "no task": (
        "model: {width: 8}\n",
        f"bad.yaml:1:1  task  missing; needs one of {', '.join(catalogue.of_kind('tasks'))}",
    ),
    "a file that is missing": (
        "extends: basis.yaml\ntask: adding\n",
        "bad.yaml:1:1  extends  no such file: basis.yaml",
    ),
    "a circle": (
        "extends: bad.yaml\ntask: adding\n",
        "bad.yaml:1:1  extends  the files extend each other in a circle: bad.yaml → bad.yaml",
    ),
    "no mapping": ("- task\n", "bad.yaml:1:1  a config is a mapping, this file holds a list"),
    "no YAML": ("task: {name: adding\nmodel: 3\n", "bad.yaml:2:"),
    "heads that do not divide the width": (
        "task: adding\nmodel: {width: 8, heads: {count: 3}}\n",
        "bad.yaml:2:19  model.heads  count must divide the width, got count=3 and width=8: change one, or set ",
    ),
    "a task longer than the table": (
        "task: {name: adding, length: 9}\nmodel: {positions: {name: learned, maximum: 8}}\n",
        "bad.yaml:2:9  model.positions  maximum must be at least the 9 positions there are, got 8: a position has no "
        "vector",
    ),
    "a study": (
        "name: demo\nbase: tiny.yaml\n",
        "bad.yaml:2:1  base  is a key of a study, this command takes a config: selfattn compare bad.yaml",
    ),
    "what fails only when it is called": (
        "task: adding\nmodel: {mixer: {encode: [{name: rope, rotated: 3}]}}\n",
        "bad.yaml:2:1  model  rope turns pairs of coordinates: rotated must be even and at most K=64, got 3",
    ),
}


@pytest.mark.parametrize("command", ["run", "show"])
@pytest.mark.parametrize(("text", "message"), BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_a_mistake_in_a_config_gets_one_message_with_its_place(command: str, text: str, message: str) -> None:
    Path("bad.yaml").write_text(text)
    found = complaint(command, "bad.yaml", status=2)
    assert found.startswith(message)
    assert "\n" not in found
    assert sorted(path.name for path in Path().iterdir()) == ["bad.yaml", "study.yaml", "tiny.yaml"]


BAD_OVERRIDES = {
    "no value": ("training.steps", "training.steps  an override is key.path=value"),
    "no key": ("=3", "an override is key.path=value"),
    "an empty value": ("training.steps=", "training.steps  no value; say training.steps=null for nothing"),
    "a hole in the key": ("training..steps=3", "training..steps  a key needs a word before, between and after"),
    "no YAML": ("training={", "training  not YAML"),
    "an unknown key": ("training.step=3", "training.step  unknown key  did you mean steps?"),
    "a wrong type": ("runs.seeds=many", "runs.seeds  must be a whole number or a list, got 'many'"),
    "a number with keys": ("training.steps.x=1", "training.steps.x  training.steps is 12, which has no keys"),
    "no steps": ("training.steps=0", "training.steps  must be greater than 0, got 0"),
    "no seeds": ("runs.seeds=[]", "runs.seeds  must hold at least one item"),
    "a task": ("task.length=1", "task  length=1: length must be at least 2"),
    "a piece in the wrong slot": (
        "model.positions=rope",
        "model.positions  unknown name 'rope'; known are sinusoidal, learned",
    ),
    "heads": ("model.heads.count=3", "model.heads  count must divide the width, got count=3 and width=8"),
}  # fmt: skip


@pytest.mark.parametrize(("override", "message"), BAD_OVERRIDES.values(), ids=BAD_OVERRIDES)
def test_a_mistake_in_an_override_gets_one_message_that_repeats_it(override: str, message: str) -> None:
    found = complaint("run", "tiny.yaml", override, status=2)
    assert found.startswith(f"command line: {override}  {message}")
    assert not Path("runs").exists()


def test_an_override_of_what_the_sweep_sets_is_refused() -> None:
    sweep = "runs.sweep.training.learning_rate=[0.1, 0.2]"
    found = complaint("run", "tiny.yaml", sweep, "training.learning_rate=0.3", status=2)
    assert found.startswith("command line: training.learning_rate=0.3  training.learning_rate  is swept by runs.sweep")


def test_all_mistakes_are_told_at_once() -> None:
    found = complaint("show", "tiny.yaml", "model.widht=1", "runs.seed=2", "training.steps=-1", status=2)
    assert len(found.splitlines()) == 3


def test_a_missing_file_is_named_with_one_like_it() -> None:
    assert complaint("run", "tiny.yml", status=2) == "tiny.yml  no such file  did you mean tiny.yaml?"
    assert complaint("compare", "stud.yaml", status=2).endswith("did you mean study.yaml?")
    assert complaint("show", ".", status=2) == ".  a directory, not a file"


@pytest.mark.parametrize("command", ["run tiny.yaml", "compare study.yaml"])
def test_a_file_is_no_folder_to_write(command: str) -> None:
    found = complaint(*command.split(), "--out", "tiny.yaml", status=1)
    assert found == "tiny.yaml: is a file, not a folder: choose another --out"


@pytest.mark.parametrize("out", ["tiny.yaml/below", "/proc/nothing"])
@pytest.mark.parametrize("command", ["run tiny.yaml", "compare study.yaml"])
def test_a_folder_that_cannot_be_written_is_refused(command: str, out: str) -> None:
    found = complaint(*command.split(), "--out", out, status=1)
    assert re.fullmatch(re.escape(f"{out}: cannot write there (") + r"[\w ]+\): choose another --out", found)


@pytest.mark.parametrize("command", ["run tiny.yaml", "compare study.yaml"])
def test_a_folder_of_strangers_is_refused(command: str) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("")
    found = complaint(*command.split(), "--out", "mine", status=1)
    assert found.startswith("mine: is not empty (thesis.tex) and holds no ")
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.tex"]


def test_a_study_does_not_write_over_the_file_that_it_was_read_from() -> None:
    assert complaint("compare", "study.yaml", "--out", ".", status=1).startswith(".: already holds a different study")
    assert Path("study.yaml").read_text() == STUDY


@pytest.mark.slow
def test_a_full_disk_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "out/metrics.jsonl")

    monkeypatch.setattr(execute, "append_metrics", full)
    found = complaint("run", "tiny.yaml", "--out", "out", status=1)
    assert found == "out/metrics.jsonl: No space left on device; what was saved before is kept"


def test_too_little_memory_is_told_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 503600001448 bytes.\nAllocations: …")

    monkeypatch.setattr(execute, "execute", full)
    first, second = complaint("run", "tiny.yaml", status=1).splitlines()
    assert first == "RESOURCE_EXHAUSTED: Out of memory allocating 503600001448 bytes."
    for key in ("training.batch", "runs.seeds", "evaluation.batch"):
        assert key in second


def test_other_errors_of_jax_are_bugs_and_keep_their_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any, **__: Any) -> None:
        raise JaxRuntimeError("INTERNAL: a bug")

    monkeypatch.setattr(execute, "execute", bug)
    with pytest.raises(JaxRuntimeError, match="INTERNAL"):
        selfattn("run", "tiny.yaml")


def test_a_folder_that_another_process_writes_is_refused() -> None:
    config = validate(read("tiny.yaml"), Config)
    with open_folder(Path("out"), "config.yaml", config.resolved(), "run"):
        found = complaint("run", "tiny.yaml", "--out", "out", status=1)
    assert found == "out: is being written by another process: wait for it, or choose another --out"


def test_an_unknown_kind_is_told_with_the_known_ones() -> None:
    found = complaint("list", "score", status=2)
    assert found == f"command line  KIND  'score' is none of {', '.join(catalogue.KINDS)}"


def test_a_folder_without_results_has_no_report() -> None:
    assert "No such folder: nowhere" in complaint("report", "nowhere", status=1)
    Path("empty").mkdir()
    found = complaint("report", "empty", status=1)
    assert "Neither a study folder nor a run folder: empty" in found
    assert "result.json" in found


BAD_STUDIES = {
    "an unknown base": ("name: a\nbase: nowhere.yaml\n", "study.yaml:2:1  base  there is no file nowhere.yaml"),
    "no base": ("name: a\n", "study.yaml:1:1  base  give one of base (a config file) and config (its keys)"),
    "a typo": (
        "name: a\nbase: tiny.yaml\nvariants: {a: {model.mixr: linear}}\n",
        "study.yaml:3:16  model.mixr  unknown key  did you mean mixer?",
    ),
    "a config": (
        "task: adding\n",
        "study.yaml:1:1  task  is a key of a config, this command takes a study: selfattn run study.yaml",
    ),
    "no name": ("base: tiny.yaml\n", "study.yaml:1:1  name  missing; needs text"),
}


@pytest.mark.parametrize(("text", "message"), BAD_STUDIES.values(), ids=BAD_STUDIES)
def test_a_mistake_in_a_study_gets_one_message(text: str, message: str) -> None:
    Path("study.yaml").write_text(text)
    assert complaint("compare", "study.yaml", status=2).startswith(message)
    assert not Path("runs").exists()


def test_what_a_study_sets_cannot_be_overridden_nor_unknown_trials_asked_for() -> None:
    found = complaint("compare", "study.yaml", "training.learning_rate=1", status=2)
    assert found.endswith("is set by slow, which would win; change it in the study's file")
    found = complaint("compare", "study.yaml", "--only", "fast,medium", status=2)
    assert found == "command line: --only  medium  is no trial; the trials are slow, fast"


@pytest.mark.parametrize("arguments", ["run", "run tiny.yaml --bogus", "show", "nonsense", "report", "list a b"])
def test_a_command_that_is_used_wrongly_says_how_it_is_used(arguments: str) -> None:
    result = selfattn(*arguments.split())
    assert result.exit_code == 2
    assert "Usage: " in result.stderr
    assert "Traceback" not in result.stderr


# Running.


class Ran(NamedTuple):
    """A run from the command line: where, and what it printed."""

    folder: Path
    printed: str


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    place = tmp_path_factory.mktemp("ran")
    (place / "tiny.yaml").write_text(to_yaml(SETTINGS))
    return Ran(place / "out", said("run", str(place / "tiny.yaml"), "--out", str(place / "out")))


def test_a_run_prints_a_table_and_writes_a_report(ran: Ran) -> None:
    names = {".lock", "config.yaml", "metrics.jsonl", "result.json", "attention.npz", "checkpoints", "report.html"}
    assert {path.name for path in ran.folder.iterdir()} == names
    assert f"report: {ran.folder / 'report.html'}" in ran.printed
    for word in ("learning rate", "validation", "test", "seeds solved", "0.01", "predict_one", "first_marked"):
        assert word in ran.printed
    assert (ran.folder / "report.html").read_text().lstrip().lower().startswith("<!doctype html>")


def test_the_same_command_again_shows_the_result_again(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    def compile_nothing(*_: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(execute, "Programs", compile_nothing)
    before = (ran.folder / "result.json").read_bytes()
    # On a slow machine lines of progress stand before the table the first time.
    assert ran.printed.endswith(said("run", "tiny.yaml", "--out", str(ran.folder)))
    assert (ran.folder / "result.json").read_bytes() == before


def test_a_folder_of_another_run_is_refused_with_what_differs(ran: Ran) -> None:
    found = complaint("run", "tiny.yaml", "model.width=16", "--out", str(ran.folder), status=1).splitlines()
    assert found == [
        f"{ran.folder}: already holds a different run: choose another --out, or remove it",
        "  model.width: there 8, here 16",
    ]


def test_the_folder_is_named_after_the_config_and_what_the_command_line_changes(
    ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy(config: Config, folder: Path, *_: Any, **__: Any) -> None:
        shutil.copytree(ran.folder, folder)

    monkeypatch.setattr(execute, "execute", copy)
    said("run", "tiny.yaml")
    said("run", "tiny.yaml", "training.learning_rate=0.02")
    said("run", "tiny.yaml", "training.learning_rate=0.03")
    plain, *changed = sorted(path.name for path in Path("runs").iterdir())
    assert plain == "tiny"
    assert len(changed) == 2
    assert all(re.fullmatch(r"tiny-[0-9a-f]{6}", name) for name in changed)


def test_a_report_is_written_again(ran: Ran) -> None:
    before = (ran.folder / "report.html").read_text()
    (ran.folder / "report.html").unlink()
    assert said("report", str(ran.folder)) == f"report: {ran.folder / 'report.html'}\n"
    assert (ran.folder / "report.html").read_text() == before


def test_a_study_is_run_and_set_side_by_side() -> None:
    printed = said("compare", "study.yaml")
    folder = Path("runs") / Path().resolve().name
    assert {path.name for path in (folder / "trials").iterdir()} == {"slow", "fast"}
    for word in ("slow", "fast", "demo", f"report: {folder / 'report.html'}"):
        assert word in printed
    assert [row["variant"] for row in json.loads((folder / "table.json").read_text())["rows"]] == ["slow", "fast"]
    assert said("compare", "study.yaml") == printed
    assert said("report", str(folder)).startswith("report: ")
    only = said("compare", "study.yaml", "--only", "fast", "--out", "only")
    assert "fast" in only
    assert "slow" not in only


# Looking.


def test_show_prints_a_config_that_means_the_same_and_what_it_costs() -> None:
    printed = said("show", "tiny.yaml", "model.mixer.score=cosine")
    _, costs = printed.split("\n\n", 1)
    Path("shown.yaml").write_text(printed)
    shown = validate(read("shown.yaml"), Config)
    assert shown == validate(read("tiny.yaml", ["model.mixer.score=cosine"]), Config)
    assert re.search(r"^# parameters +306$", costs, re.MULTILINE)
    for line in ("# forward ", "# state ", "# activations ", "# runs         3, 12 steps each\n"):
        assert line in costs
    assert not Path("runs").exists()


def test_what_show_prints_into_a_file_is_neither_cut_nor_taken_for_markup() -> None:
    rates = [round(0.001 * step, 3) for step in range(1, 60)]
    override = f"runs.sweep.training.learning_rate={rates}"
    Path("shown.yaml").write_text(said("show", "tiny.yaml", override))
    assert validate(read("shown.yaml"), Config).runs.sweep.learning_rate == tuple(rates)
    assert str(rates) in Path("shown.yaml").read_text()


def test_show_is_pretty_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    text = io.StringIO()
    monkeypatch.setattr(cli, "console", Console(file=text, force_terminal=True, width=100))
    assert said("show", "tiny.yaml") == ""
    assert "\x1b[" in text.getvalue()
    assert re.search(r"^parameters +\d+ *$", text.getvalue(), re.MULTILINE)
    assert "# parameters" not in text.getvalue()


def test_show_measures_a_step_and_the_batch_in_it() -> None:
    line = said("show", "tiny.yaml", "--profile").splitlines()[-1]
    found = re.fullmatch(r"# step +(\S+) ms on one device; (\S+) % of it makes the batch \((\S+) ms\)", line)
    assert found
    step, share, sampling = map(float, found.groups())
    assert 0 < sampling < step
    assert abs(share - 100 * sampling / step) < 1


def test_examples_are_drawn_with_what_shortcuts_score() -> None:
    printed = said("draw", "induction", "length=6", "vocabulary=5", "--count", "2")
    assert printed.count("targets  · · · · · ") == 2
    assert "shortcuts on 1,000 test examples: chance 2" in printed
    assert (
        said("draw", "induction", "length=6", "vocabulary=5", "--count", "1")
        == printed.split("\n\n")[0] + "\n\n" + (printed.rsplit("\n\n", 1)[1])
    )
    assert "answer" in said("draw", "tiny.yaml", "length=4", "--count", "1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("induktion",), "unknown name 'induktion'"),
        (("induction", "lenght=4"), "did you mean length?"),
        (("induction", "length=2"), "length must be at least 3"),
    ],
)
def test_a_mistake_in_what_is_drawn_gets_one_message(arguments: tuple[str, ...], message: str) -> None:
    assert message in complaint("draw", *arguments, status=2)


@pytest.mark.parametrize("kind", catalogue.KINDS)
def test_every_kind_is_listed_with_what_it_has(kind: Any) -> None:
    printed = said("list", kind)
    assert printed.startswith(kind)
    described = {entry["name"]: entry for entry in json.loads(said("list", kind, "--json"))}
    assert list(described) == list(catalogue.of_kind(kind))
    for name, entry in catalogue.of_kind(kind).items():
        assert re.search(rf"^{name} ", printed, re.MULTILINE)
        assert described[name]["summary"] == entry.summary
        assert described[name]["kind"] == kind
        if entry.in_config:
            assert list(described[name]["knobs"]) == list(entry.knobs())


def test_without_a_kind_everything_is_listed() -> None:
    printed = said("list")
    assert [line for line in printed.splitlines() if line.strip() in catalogue.KINDS] != []
    assert len(json.loads(said("list", "--json"))) == len(catalogue.entries)


def test_the_schema_is_json_schema_of_a_config() -> None:
    schema = json.loads(said("schema"))
    assert schema["type"] == "object"
    assert set(validate(read("tiny.yaml"), Config).resolved()) == set(schema["properties"])
    names = {reference.rpartition("/")[2] for reference in re.findall(r'"#/\$defs/\w+"', json.dumps(schema))}
    assert {name.strip('"') for name in names} <= set(schema["$defs"])


# Timing.


def test_a_bench_prints_tables_and_writes_a_record_and_a_plot() -> None:
    printed = said("bench", "dense", "bad={implementation: blockwise, normalizer: sparsemax}", "--lengths", "16,32",
                   "--width", "8", "--heads", "2", "--repeats", "2", "--no-backward", "--out", "out")  # fmt: skip
    for word in (
        "length 16: 1 of 2 variants timed",
        "length 32: ",
        "over the time of dense",
        "T^",
        "record: out/bench.json",
    ):
        assert word in printed
    assert "bad at 16 and 32: sparsemax needs" in printed
    found = json.loads(Path("out/bench.json").read_text())
    assert (found["finished"], found["settings"]["lengths"]) == (True, [16, 32])
    assert Path("out/bench.png").read_bytes().startswith(b"\x89PNG")


def test_ctrl_c_ends_a_bench_with_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> Iterator[tuple[int, list[Row]]]:
        yield 16, [Row(variant="dense", forward=Times.of([0.5]))]
        raise KeyboardInterrupt

    monkeypatch.setattr(bench_execute, "measure", stopped)
    result = selfattn("bench", "dense", "--no-backward")
    assert result.exit_code == 130
    assert "500 ms" in result.stdout
    assert result.stderr.startswith("selfattn: stopped; the lengths that were finished are kept")
    assert json.loads(Path("runs/bench/bench.json").read_text())["finished"] is False


BAD_BENCHES = {
    "an unknown name": ("blokwise", "command line: blokwise  VARIANT  unknown name 'blokwise'; known are auto, "),
    "an unknown key": ("{scor: dot}", "command line: {scor: dot}  model.mixer.scor  unknown key  did you mean score?"),
    "no number": ("--lengths=2x", "command line  lengths.0  must be a whole number, got '2x'"),
    "no variant": ("--against=rows", "command line: --against rows  no variant with the label 'rows' takes part"),
}


@pytest.mark.parametrize(("argument", "message"), BAD_BENCHES.values(), ids=BAD_BENCHES)
def test_a_mistake_in_a_bench_gets_one_message(argument: str, message: str) -> None:
    assert complaint("bench", "dense", argument, status=2).startswith(message)
    assert not Path("runs").exists()


# Help.


def help_of(*command: str) -> str:
    result = CliRunner().invoke(cli.app, [*command, "--help"], env={"COLUMNS": "160", "TERMINAL_WIDTH": "160"})
    assert result.exit_code == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", result.stdout)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_every_option_and_an_example_on_a_line_of_its_own(command: str) -> None:
    text = help_of(command)
    parameters = typer.main.get_command(cli.app).commands[command].params  # pyright: ignore[reportAttributeAccessIssue]
    for parameter in parameters:
        words = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]
        for word in words:
            assert word in text
    examples = [line.strip() for line in text.splitlines() if line.strip().startswith(f"selfattn {command}")]
    assert examples
    assert all(line.count("selfattn ") == 1 for line in examples)


def test_help_of_all_names_every_command() -> None:
    text = help_of()
    assert all(re.search(rf"^│ {command} ", text, re.MULTILINE) for command in COMMANDS)
    assert selfattn().exit_code in (0, 2)
    assert "Usage" in selfattn().output


def test_the_examples_of_the_help_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for command in ("run", "show", "list"):
        for line in help_of(command).splitlines():
            words = shlex.split(line) if line.strip().startswith(f"selfattn {command}") else []
            for end in {"--out", ">"} & set(words):
                words = words[: words.index(end)]
            if words:
                said("list" if command == "list" else "show", *words[2:])


# Real processes.


def environment(factory: pytest.TempPathFactory) -> dict[str, str]:
    return {**os.environ, "XDG_CACHE_HOME": str(cache_home(factory))}


@pytest.mark.slow
def test_ctrl_c_stops_a_run_that_the_same_command_finishes(tmp_path_factory: pytest.TempPathFactory) -> None:
    changes = ["training.steps=300", "training.evaluate_every=10", "training.checkpoint_every=1000"]
    command = [sys.executable, "-m", "selfattn_jax.cli", "run", "tiny.yaml", *changes, "--out", "out"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    metrics = Path("out/metrics.jsonl")
    with subprocess.Popen(command, env=environment(tmp_path_factory), **pipes) as process:
        while process.poll() is None and not (metrics.exists() and metrics.read_text()):
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        printed, complaints = process.communicate()
    assert process.returncode == 130
    assert "stopping at the next evaluation; Ctrl-C again stops at once" in printed
    stopped = re.fullmatch(
        r"selfattn: stopped at step (\d+), saved in out: the same command goes on from there\n", complaints
    )
    assert stopped, complaints
    assert 0 < int(stopped[1]) < 300
    assert not Path("out/result.json").exists()

    finished = subprocess.run(command, env=environment(tmp_path_factory), check=False, **pipes)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert f"out: goes on from step {stopped[1]}" in finished.stdout
    assert "report: out/report.html" in finished.stdout
    said("run", "tiny.yaml", *changes, "--out", "whole")
    assert metrics.read_text() == Path("whole/metrics.jsonl").read_text()
    runs = [json.loads(Path(folder, "result.json").read_text())["runs"] for folder in ("out", "whole")]
    assert runs[0] == runs[1]
