"""Rows, who wins, and what the verdict dares to say."""

from pathlib import Path

import numpy as np
import pytest

from selfattn_jax.reports.reading import RunRecord
from selfattn_jax.reports.rows import Row, clears, overlapping, run_rows, study_rows, winner
from selfattn_jax.reports.verdict import run_verdict, study_verdict
from selfattn_jax.studies.statistics import select


def row(label: str, mean: float | None, low: float | None = None, high: float | None = None, **others) -> Row:
    return Row(label, mean=mean, low=low, high=high, scores=others.pop("scores", (mean, mean)), **others)


def record(result: dict) -> RunRecord:
    return RunRecord("run", Path("run"), "", [], result, None)


AHEAD = [row("a", 0.9, 0.8, 1.0), row("b", 0.5, 0.4, 0.6)]
TIED = [row("a", 0.9, 0.8, 1.0), row("b", 0.85, 0.7, 0.95), row("c", 0.2, 0.1, 0.3)]


def test_study_rows_are_ordered_best_first():
    table = {"rows": [{"variant": "a", "mean": 0.2}, {"variant": "lost", "mean": None}, {"variant": "b", "mean": 0.4}]}
    assert [one.label for one in study_rows(table | {"metric": "accuracy"})] == ["b", "a", "lost"]
    assert [one.label for one in study_rows(table | {"metric": "mean_squared_error"})] == ["a", "b", "lost"]


def test_the_folder_of_a_row_cannot_leave_the_study():
    table = {"rows": [{"variant": "a", "folder": "../../etc/secret"}]}
    assert study_rows(table)[0].folder == "secret"


def test_a_winner_stands_alone():
    assert winner(AHEAD) is AHEAD[0] and winner(TIED) is None and winner(AHEAD[:1]) is None
    assert [one.label for one in overlapping(TIED)] == ["a", "b"]


def test_one_seed_never_wins():
    assert winner([row("a", 0.9), row("b", 0.1)]) is None
    assert winner([row("a", 0.9, 0.8, 1.0), row("b", 0.1)]) is None


def test_clearing_a_baseline_takes_the_whole_interval():
    assert clears(row("a", 0.5, 0.3, 0.7), 0.2, True) and not clears(row("a", 0.5, 0.1, 0.9), 0.2, True)
    assert clears(row("a", 0.1, 0.0, 0.15), 0.2, False) and not clears(row("a", None), 0.2, False)


def test_verdict_of_a_winner():
    first, second = study_verdict(AHEAD, "accuracy", {"last": 0.1})
    assert first == "a is ahead with 90.0 % [80.0, 100]: no other interval overlaps with its own."
    assert second == "Every variant clears the best shortcut, last (10.0 %)."


def test_verdict_of_a_tie_names_those_who_tie():
    first, second = study_verdict(TIED, "accuracy", {"last": 0.15, "worse": 0.0})
    assert first == "No single winner: a and b cannot be told apart, as their intervals overlap."
    assert second == "c does not clear the best shortcut, last (15.0 %)."


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "No variant has finished yet"),
        ([row("a", None)], "every one diverged"),
        ([row("a", 0.9, 0.8, 1.0, solved=1)], "1 of 2 seeds solved"),
        ([row("a", 0.9, scores=(0.9,)), row("b", 0.1, scores=(0.1,))], "run more seeds"),
        (TIED[:2], "no interval lies apart"),
        ([row(str(index), 0.5, 0.4, 0.6) for index in range(6)] + [row("z", 0.1, 0.0, 0.2)], "0, 1, 2 and 3 more"),
    ],
)
def test_verdicts_of_other_cases(rows: list[Row], words: str):
    assert words in study_verdict(rows, "accuracy", {})[0]


def test_verdict_counts_the_diverged():
    assert study_verdict([row("a", 0.5, 0.0, 1.0, diverged=1)], "accuracy", {})[-1].startswith("Diverged: a in 1 of 2")


def test_verdict_of_a_run():
    first, second = run_verdict([row("0.003", 0.9, solved=2), row("0.001", 0.1)], "accuracy", {"last": 0.1})
    assert first.startswith("90.0 % with the learning rate 0.003, the best of 2 on validation data: 2 of 2 seeds")
    assert second == "It clears the best shortcut, last (10.0 %)."
    assert run_verdict([], "accuracy", {}) == ["This run has not finished yet."]


def test_rows_of_a_run():
    runs = [
        {"seed": 1, "learning_rate": 0.01, "validation_score": 0.5, "test_score": 1.0, "diverged_at": None},
        {"seed": 0, "learning_rate": 0.01, "validation_score": 0.5, "test_score": 1.0, "diverged_at": 3},
        {"seed": 0, "learning_rate": 0.001, "validation_score": 0.9, "test_score": 0.4, "diverged_at": None},
    ]
    first, second = run_rows(record({"metric": "accuracy", "solved_at": 0.9, "runs": runs}))
    assert (first.label, first.validation, first.mean, first.solved) == ("0.001", 0.9, 0.4, 0)
    assert (second.scores, second.validation, second.mean, second.diverged) == ((None, 1.0), 0.25, 0.5, 1)
    assert second.solved == 1 and second.solved_text == "1/2" and second.diverged_text == "1 diverged"


@pytest.mark.parametrize("metric", ["accuracy", "mean_squared_error"])
def test_the_first_row_of_a_run_is_the_learning_rate_that_a_study_selects(metric: str):
    random = np.random.default_rng(0)
    for _ in range(50):
        runs = [
            {
                "seed": seed,
                "learning_rate": rate,
                "validation_score": float(random.integers(0, 3)) / 2,
                "test_score": 0.5,
                "diverged_at": 9 if random.random() < 0.2 else None,
            }
            for rate in (0.001, 0.01, 0.1)
            for seed in range(2)
        ]
        rows = run_rows(record({"metric": metric, "solved_at": 0.9, "runs": runs}))
        assert rows[0].learning_rate == select(runs, higher_is_better=metric == "accuracy")
