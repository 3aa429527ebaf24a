"""A bench in its folder: what it writes, and what is left after Ctrl-C."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import pytest

from selfattn_jax.bench import execute
from selfattn_jax.bench.execute import bench, read_record
from selfattn_jax.bench.machine import nothing_kept
from selfattn_jax.bench.record import Row, Times
from selfattn_jax.runs.folder import FolderError
from tests.bench.fake import Silent, settings


def row(label: str) -> Row:
    return Row(variant=label, forward=Times.of([1.0]), forward_backward=Times.of([2.0]))


def test_a_bench_writes_what_it_returns(tmp_path: Path):
    told = Silent()
    record = bench(["dense", "cosine={score: cosine}"], settings("16"), tmp_path / "out", told)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock", "bench.json", "bench.png", "bench.yaml"}
    assert read_record(tmp_path / "out") == record and record.finished and record.against == "dense"
    assert [line.partition(";")[0] for line in told.lines] == ["length 16: 2 of 2 variants timed"]
    for one in (row for length in record.lengths for row in length.rows):
        assert one.reason is None and one.compile_seconds and one.forward_backward and one.forward
        assert len(one.forward.samples) == 2 and 0 < one.forward.median < one.compile_seconds
        assert one.parameters == (2 if one.variant == "cosine" else 0)  # a temperature for each head
    assert record.variants[1].mixer is not None and record.variants[1].mixer["score"]["name"] == "cosine"
    assert record.versions["jax"] == jax.__version__ and record.cores >= 1 and record.device.startswith("cpu")


def test_ctrl_c_keeps_the_lengths_that_are_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stopped(*_: Any) -> Iterator:
        yield 16, [row("dense")]
        assert [one["length"] for one in json.loads((tmp_path / "bench.json").read_text())["lengths"]] == [16]
        raise KeyboardInterrupt

    monkeypatch.setattr(execute, "measure", stopped)
    record = bench(["dense"], settings(), tmp_path, Silent())
    assert not record.finished and [one.length for one in record.lengths] == [16]
    assert read_record(tmp_path) == record and (tmp_path / "bench.png").exists()


def test_an_earlier_bench_is_replaced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def stopped(*_: Any) -> Iterator:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(execute, "measure", lambda *_: iter([(16, [row("dense")])]))
    assert bench(["dense"], settings(), tmp_path, Silent()).finished
    monkeypatch.setattr(execute, "measure", stopped)
    bench(["rows"], settings(), tmp_path, Silent())
    assert read_record(tmp_path).lengths == () and not (tmp_path / "bench.png").exists()


def test_a_folder_of_strangers_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(FolderError, match="holds no bench"):
        bench(["dense"], settings(), tmp_path, Silent())


def test_compiled_programs_are_not_kept_meanwhile():
    assert jax.config.values["jax_enable_compilation_cache"]
    with nothing_kept():
        assert not jax.config.values["jax_enable_compilation_cache"]
    assert jax.config.values["jax_enable_compilation_cache"]
