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


def places(path: Path, refused: str, message: str, *overrides: str) -> list[str]:
    """Where a problem of a key is found that building has with a file and its overrides."""
    _, document = load(path, overrides)
    with pytest.raises(ConfigError) as caught, located(document):
        raise ConfigError([Problem("", refused, message)])
    return [problem.where for problem in caught.value.problems]


LONG = "command line: task.length=9"
WIDE = "command line: model.heads.key_width=3"


@pytest.mark.parametrize(
    ("refused", "message", "overrides", "where"),
    [
        ("task", "length must be even, got 9", ["task.length=9"], LONG),
        ("task", "does not fit", ["task.length=9"], LONG),
        ("task", "does not fit", ["training.steps=9"], "small.yaml:1:1"),
        ("task", "does not fit", [], "small.yaml:1:1"),
        ("model.heads", "key_width must be even", ["model.heads.key_width=3", "model.heads.count=4"], WIDE),
        (
            "model.heads",
            "do not fit",
            ["model.heads.key_width=3", "model.heads.count=4"],
            f"command line: model.heads.count=4, {WIDE}",
        ),
        ("model.heads", "do not fit", ["model.heads={name: multi_head, count: 4}", "task.length=9"], None),
        ("model", "width is odd", ["model.width=9", "model.layers=1"], "command line: model.width=9"),
    ],
)
def test_what_building_refuses_is_placed_at_the_override_inside_it(
    file: Path, refused: str, message: str, overrides: list[str], where: str | None
) -> None:
    assert places(file, refused, message, *overrides) == [where or f"command line: {overrides[0]}"]


def test_what_building_refuses_is_placed_in_the_file_that_set_the_key(file: Path) -> None:
    over = file.with_name("over.yaml")
    over.write_text("extends: small.yaml\ntask: {name: adding}\n")
    assert places(over, "task", "length must be even") == ["small.yaml:1:22"]
    assert places(over, "task", "does not fit") == ["over.yaml:2:1"]


def test_a_study_is_no_config_and_says_what_takes_it(file: Path) -> None:
    file.write_text("name: demo\nbase: small.yaml\nvariants: {a: {}}\n")
    line = "small.yaml:2:1  base  is a key of a study, this command takes a config: selfattn compare small.yaml"
    assert refusal(file) == refusal(file, "training.steps=3") == [line]


def test_a_config_with_a_key_of_a_study_is_a_config(file: Path) -> None:
    file.write_text("base: other.yaml\ntask: adding\n")
    [line] = refusal(file)
    assert line.startswith("small.yaml:1:1  base  unknown key")


def test_other_errors_pass_through(file: Path) -> None:
    _, document = load(file)
    with pytest.raises(KeyError), located(document):
        raise KeyError("bug")
