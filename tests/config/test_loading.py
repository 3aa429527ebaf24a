"""Loading: a file with overrides becomes a checked config, and what is found wrong later is located too."""

from pathlib import Path

import pytest

from selfattn_jax.config import ConfigError, Problem
from selfattn_jax.config.loading import check_sweep, load, located
from selfattn_jax.config.schema import Config


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text("task: {name: adding, length: 8}\nmodel:\n  width: 8\n  heads: {count: 2}\n")
    return path


def refusal(path: Path, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(path, overrides)
    return str(refused.value).splitlines()


def test_a_file_is_loaded_with_its_overrides(file: Path) -> None:
    config, document = load(file, ["model.width=16", "model.mixer.score=cosine", "runs.seeds=[1, 2]"])
    assert isinstance(config, Config)
    assert (config.task.length, config.model.width, config.model.heads.count) == (8, 16, 2)
    assert config.model.mixer.score.name == "cosine"
    assert config.runs.seeds == (1, 2)
    assert document.where(("model", "heads")) == "small.yaml:4:3"
    assert document.where(("model", "width")) == "command line: model.width=16"


def test_every_problem_of_a_file_and_its_overrides_is_told_with_its_place(file: Path) -> None:
    file.write_text("task: {name: adding, lenght: 8}\nmodel:\n  width: '8'\n")
    assert refusal(file, "training.steps=0", "runs.seed=3") == [
        "small.yaml:1:22                 task.lenght     unknown key  did you mean length?",
        "small.yaml:3:3                  model.width     must be a whole number, got '8'  did you mean 8?",
        "command line: training.steps=0  training.steps  must be greater than 0, got 0",
        "command line: runs.seed=3       runs.seed       unknown key  did you mean seeds?",
    ]


def test_an_override_of_what_the_sweep_sets_is_refused_and_says_what_to_do(file: Path) -> None:
    sweep = "runs.sweep.training.learning_rate=[1e-3, 3e-3]"
    [line] = refusal(file, sweep, "training.learning_rate=0.1")
    assert line.startswith("command line: training.learning_rate=0.1  training.learning_rate  is swept by runs.sweep")
    assert "runs.sweep.training.learning_rate=[…]" in line
    with pytest.raises(ConfigError):
        load(file, ["training.learning_rate=0.1", sweep])


def test_an_override_may_change_or_end_the_sweep(file: Path) -> None:
    with file.open("a") as text:
        text.write("runs: {sweep: {training.learning_rate: [1.0e-3, 3.0e-3]}}\n")
    assert load(file, ["runs.sweep.training.learning_rate=[0.5]"])[0].runs.sweep.learning_rate == (0.5,)
    config, _ = load(file, ["runs.sweep.training.learning_rate=[]", "training.learning_rate=0.1"])
    assert (config.training.learning_rate, config.runs.sweep.learning_rate) == (0.1, ())


def test_a_learning_rate_in_the_file_beside_a_sweep_is_no_override(file: Path) -> None:
    config, _ = load(file, ["runs.sweep.training.learning_rate=[1e-3]"])
    check_sweep(config, ["training.steps=3", "model.width=8"])


def test_what_is_found_wrong_in_building_gets_its_place(file: Path) -> None:
    _, document = load(file)
    with pytest.raises(ConfigError) as refused, located(document):
        raise ConfigError(
            [
                Problem("", "model.heads", "does not fit"),
                Problem("", "model.mixer.score", "does not fit"),
                Problem("elsewhere", "task", "is placed already"),
            ]
        )
    assert [problem.where for problem in refused.value.problems] == ["small.yaml:4:3", "small.yaml:2:1", "elsewhere"]


def test_other_errors_pass_through(file: Path) -> None:
    _, document = load(file)
    with pytest.raises(KeyError), located(document):
        raise KeyError("bug")
