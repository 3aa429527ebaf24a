"""Folders on disk → records: whole, unfinished and damaged ones."""

from pathlib import Path

import numpy as np
import pytest

from selfattn_jax.reports.reading import ReportError, read_run, read_study
from tests.reports.fake import Fake, write_run, write_study


def test_a_run_is_read_whole(tmp_path: Path):
    written = write_run(tmp_path / "softmax", Fake("softmax"))
    record = read_run(tmp_path / "softmax")
    assert record.name == "softmax" and record.finished and record.result == written
    assert "multi_query_recall" in record.config
    assert len(record.metrics) == 4 * 20 and record.metrics[0]["step"] == 100
    assert record.attention is not None and record.attention["weights"].shape == (2, 1, 32, 32)


def test_an_unfinished_run_keeps_its_metrics(tmp_path: Path):
    write_run(tmp_path / "run", Fake("softmax", finished=False))
    record = read_run(tmp_path / "run")
    assert not record.finished and record.result is None and record.metrics


def test_a_last_line_cut_off_is_left_out(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3, "val')
    assert [line["step"] for line in read_run(tmp_path).metrics] == [1, 2]


def test_a_damaged_line_in_the_middle_is_an_error(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(ReportError, match=r"Damaged line 2 .*metrics\.jsonl"):
        read_run(tmp_path)


@pytest.mark.parametrize(("text", "what"), [('{"metric": ', "Damaged JSON"), ("[1]", "Not a JSON object")])
def test_a_damaged_result_is_an_error(tmp_path: Path, text: str, what: str):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ReportError, match=what) as caught:
        read_run(tmp_path)
    assert caught.value.where == tmp_path / "result.json" and caught.value.remedy


@pytest.mark.parametrize("content", [b"not a zip", b"PK\x03\x04cut off", b""])
def test_damaged_attention_is_a_note(tmp_path: Path, content: bytes):
    write_run(tmp_path / "run", Fake("softmax"))
    (tmp_path / "run" / "attention.npz").write_bytes(content)
    record = read_run(tmp_path / "run")
    assert record.attention is None and record.notes == ("attention.npz cannot be read.",)


def test_attention_of_another_shape_is_a_note(tmp_path: Path):
    write_run(tmp_path / "run", Fake("softmax", attention=None))
    np.savez(tmp_path / "run" / "attention.npz", weights=np.zeros((3, 3)))
    assert "got [3, 3]" in read_run(tmp_path / "run").notes[0]


def test_a_mixer_without_an_attention_matrix_is_nothing_to_note(tmp_path: Path):
    write_run(tmp_path / "run", Fake("bag", attention=None))
    np.savez(tmp_path / "run" / "attention.npz", inputs=np.zeros(3), run=np.asarray(0))
    record = read_run(tmp_path / "run")
    assert record.attention is None and not record.notes


def test_a_study_holds_its_trials(tmp_path: Path):
    folder = write_study(tmp_path / "study", [Fake("softmax"), Fake("cosine", finished=False)], name="recall")
    record = read_study(folder)
    assert record.name == "recall" and list(record.trials) == ["cosine", "softmax"]
    assert [row["variant"] for row in record.table["rows"]] == ["softmax"]
    assert not record.trials["cosine"].finished and "recall.yaml" in record.config


def test_a_study_without_a_table_has_no_rows_yet(tmp_path: Path):
    folder = write_study(tmp_path / "study", [Fake("softmax")])
    (folder / "table.json").unlink()
    (folder / "trials" / "only_started").mkdir()
    record = read_study(folder)
    assert record.name == "study" and record.table == {} and not record.trials["only_started"].finished


def test_a_table_without_a_list_of_rows_is_an_error(tmp_path: Path):
    (tmp_path / "table.json").write_text('{"rows": 3}')
    with pytest.raises(ReportError, match="rows must be a list"):
        read_study(tmp_path)


def test_the_wrong_folder_is_an_error_that_says_what_to_do(tmp_path: Path):
    write_run(tmp_path / "run", Fake("softmax", attention=None))
    write_study(tmp_path / "study", [Fake("softmax", attention=None)])
    with pytest.raises(ReportError, match=r"(?s)Not a run folder.*study folder: read it as one"):
        read_run(tmp_path / "study")
    with pytest.raises(ReportError, match=r"(?s)Not a study folder.*run folder: read it as one"):
        read_study(tmp_path / "run")
    with pytest.raises(ReportError, match=r"(?s)Not a run folder.*Give the folder of a run"):
        read_run(tmp_path)
    with pytest.raises(ReportError, match="No such folder"):
        read_study(tmp_path / "nowhere")
