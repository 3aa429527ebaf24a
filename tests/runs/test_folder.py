"""The folder of a run: who may write there, and that nothing half-written stays."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from selfattn_jax.config import ConfigError, to_yaml
from selfattn_jax.runs import folder as folders
from selfattn_jax.runs.folder import (
    FolderError,
    append_metrics,
    open_folder,
    read_config,
    read_result,
    truncate_metrics,
    write_atomically,
)
from tests.tiny import tiny


def open_run(folder: Path, resolved: dict[str, Any]) -> None:
    with open_folder(folder, "config.yaml", resolved, "run"):
        pass


def refusal(folder: Path, resolved: dict[str, Any]) -> str:
    with pytest.raises(FolderError) as refused:
        open_run(folder, resolved)
    return str(refused.value)


# Writing.


@pytest.mark.parametrize("content", ["text: ä\n", b"\x00\xff"])
def test_a_file_is_written_whole(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "file"
    path.write_text("before, and longer than what comes")
    write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "after")
    assert path.read_text() == "before"


# Opening.


def test_a_missing_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    open_run(tmp_path / "a" / "b", tiny().resolved())
    assert read_config(tmp_path / "a" / "b") == tiny()


def test_the_same_run_finds_its_folder_again(tmp_path: Path) -> None:
    open_run(tmp_path, tiny().resolved())
    (tmp_path / "metrics.jsonl").write_text("")
    open_run(tmp_path, tiny().resolved())
    assert (tmp_path / "metrics.jsonl").exists()


def test_another_run_is_refused_with_the_keys_that_differ(tmp_path: Path) -> None:
    open_run(tmp_path, tiny().resolved())
    other = tiny("model.mixer={name: linear, epsilon: 1e-3}", "model.causal=true").resolved()
    *lines, more = refusal(tmp_path, other).splitlines()
    assert lines == [
        f"{tmp_path}: already holds a different run: choose another --out, or remove it",
        "  model.causal: there null, here true",
        '  model.mixer.name: there "attention", here "linear"',
        "  model.mixer.encode: there [], here null",
        '  model.mixer.score: there {"name": "scaled_dot"}, here null',
        "  model.mixer.modifiers: there [], here null",
    ]
    assert re.fullmatch(r"  … and \d+ more", more)
    assert read_config(tmp_path) == tiny()


def test_a_long_difference_is_cut(tmp_path: Path) -> None:
    open_run(tmp_path, {"config": None})
    line = refusal(tmp_path, {"config": {"task": "adding", "model": list(range(100))}}).splitlines()[1]
    assert line.startswith('  config: there null, here {"task": "adding", "model": [0, 1, 2')
    assert line.endswith("…")
    assert len(line) < 100


def test_keys_that_need_not_be_the_same_are_written_anew(tmp_path: Path) -> None:
    def open_study(**resolved: str) -> None:
        with open_folder(tmp_path, "study.yaml", resolved, "study", same=("name",)):
            pass

    open_study(name="a", question="old")
    open_study(name="a", question="new")
    assert "question: new" in (tmp_path / "study.yaml").read_text()
    with pytest.raises(FolderError, match='name: there "a", here "b"'):
        open_study(name="b")


def test_a_folder_of_strangers_is_refused_and_untouched(tmp_path: Path) -> None:
    for name in ("thesis.tex", "a.png", "b.png", "c.png"):
        (tmp_path / name).write_text("mine")
    message = f"{tmp_path}: is not empty (a.png, b.png, c.png, …) and holds no run: choose another --out, or empty it"
    assert refusal(tmp_path, tiny().resolved()) == message
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_of_another_run_without_a_lock_gets_none(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(to_yaml(tiny("model.width=16").resolved()))
    assert "already holds a different run" in refusal(tmp_path, tiny().resolved())
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_what_a_kill_at_the_very_beginning_leaves_is_no_stranger(tmp_path: Path) -> None:
    (tmp_path / "config.yaml.partial").write_text("half")
    (tmp_path / ".lock").write_text("")
    open_run(tmp_path, tiny().resolved())
    assert {path.name for path in tmp_path.iterdir()} == {"config.yaml", ".lock"}


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file" / "below", Path("/proc/selfattn")):
        message = refusal(folder, tiny().resolved())
        assert message.startswith(f"{folder}: cannot write there (")
        assert message.endswith("): choose another --out")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    message = f"{tmp_path / 'file'}: is a file, not a folder: choose another --out"
    assert refusal(tmp_path / "file", tiny().resolved()) == message
    assert (tmp_path / "file").read_text() == "mine"


def test_a_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: Path, content: str | bytes) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(folders, "write_atomically", denied)  # the superuser may write everywhere
    assert (
        refusal(tmp_path, tiny().resolved())
        == f"{tmp_path}: cannot write there (Permission denied): choose another --out"
    )


def test_a_damaged_config_is_said_to_be_damaged_and_where(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("task: {name: adding\nmodel: [")
    with pytest.raises(ConfigError, match=r"config.yaml:2:\d+ .*not YAML"):
        open_run(tmp_path, tiny().resolved())


# The lock.

HOLD = """
import sys, time
from pathlib import Path
from selfattn_jax.runs.folder import open_folder

with open_folder(Path(sys.argv[1]), "config.yaml", {"task": "adding"}, "run"):
    print("held", flush=True)
    time.sleep(60)
"""


def busy(folder: Path) -> str:
    return f"{folder}: is being written by another process: wait for it, or choose another --out"


def test_nobody_else_opens_a_folder_that_is_open(tmp_path: Path) -> None:
    with open_folder(tmp_path, "config.yaml", tiny().resolved(), "run"):
        assert refusal(tmp_path, tiny().resolved()) == busy(tmp_path)
    open_run(tmp_path, tiny().resolved())


def test_a_folder_is_given_back_by_what_fails_in_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError), open_folder(tmp_path, "config.yaml", tiny().resolved(), "run"):
        raise KeyError("bug")
    open_run(tmp_path, tiny().resolved())


def test_what_fails_in_an_open_folder_is_no_failure_to_open_it(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"), open_folder(tmp_path, "a.yaml", {}, "run"):
        raise OSError(28, "No space left on device")


def test_a_process_that_is_killed_gives_its_folder_back(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert refusal(tmp_path, {"task": "adding"}) == busy(tmp_path)
        process.kill()
    assert (tmp_path / ".lock").exists()
    open_run(tmp_path, {"task": "adding"})


def test_what_another_process_wrote_before_the_lock_was_free_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(folders.FileLock):
        def acquire(self, *_: Any, **__: Any) -> Any:
            (tmp_path / "config.yaml").write_text("task: adding\n")
            return super().acquire()

    monkeypatch.setattr(folders, "FileLock", Late)
    assert 'task.name: there "adding", here "induction"' in refusal(tmp_path, {"task": "induction"})
    assert (tmp_path / "config.yaml").read_text() == "task: adding\n"


# Metrics and results.


def test_metrics_are_lines_of_strict_json(tmp_path: Path) -> None:
    append_metrics(tmp_path, [{"step": 1, "loss": 0.5}, {"step": 1, "loss": None}])
    append_metrics(tmp_path, [{"step": 2, "loss": 1e-30}])
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": 1, "loss": 0.5},
        {"step": 1, "loss": None},
        {"step": 2, "loss": 1e-30},
    ]
    with pytest.raises(ValueError, match="not JSON compliant"):
        append_metrics(tmp_path, [{"loss": float("nan")}])


@pytest.mark.parametrize("rest", ["", '{"step": 3', '{"step": 30, "run": 0}', "{", '{"step": 3, "run": 1}\n{"st'])
def test_what_metrics_say_past_a_checkpoint_is_dropped_and_so_is_half_a_line(tmp_path: Path, rest: str) -> None:
    append_metrics(tmp_path, [{"step": step, "run": run} for step in (1, 2, 3) for run in (0, 1)])
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(rest)
    truncate_metrics(tmp_path, 2)
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"step": step, "run": run} for step in (1, 2) for run in (0, 1)]
    truncate_metrics(tmp_path, -1)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_there_need_be_no_metrics_to_drop(tmp_path: Path) -> None:
    truncate_metrics(tmp_path, 0)
    assert not (tmp_path / "metrics.jsonl").exists()


def test_a_run_that_has_not_finished_has_no_result(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
    write_atomically(tmp_path / "result.json", '{"runs": []}')
    assert read_result(tmp_path) == {"runs": []}


def test_a_config_from_before_a_key_existed_is_the_same_run(tmp_path: Path) -> None:
    resolved = tiny().resolved()
    older = {**resolved, "evaluation": {name: resolved["evaluation"][name] for name in ("validation", "test", "batch")}}
    with open_folder(tmp_path / "run", "config.yaml", older, "run"):
        pass
    with open_folder(tmp_path / "run", "config.yaml", resolved, "run"):
        pass
    other = tiny("evaluation.also=[{length: 16}]").resolved()
    with (
        pytest.raises(FolderError, match=r"evaluation\.also"),
        open_folder(tmp_path / "run", "config.yaml", other, "run"),
    ):
        pass
