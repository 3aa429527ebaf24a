"""Run and study folders as runs and studies would leave them, with invented numbers."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from selfattn_jax.studies.statistics import INTERVAL, summarise

STEPS = tuple(range(100, 2001, 100))
VERSIONS = {"selfattn_jax": "0.1.0", "jax": "0.10.2", "flax": "0.12.8", "numpy": "2.4.6"}


@dataclass(frozen=True)
class Fake:
    """An invented variant: the test score of every seed (None = diverged), and the step at which it learns."""

    name: str
    scores: Sequence[float | None] = (1.0, 1.0, 0.998, 0.999)
    learns_at: float = 700.0
    learning_rates: Sequence[float] = (0.003,)
    parameters: int = 41_300
    seconds: float = 73.0
    attention: tuple[int, int, int] | None = (2, 1, 32)  # layers, heads, length
    finished: bool = True


def write_run(folder: Path, fake: Fake, *, metric: str = "accuracy") -> dict[str, Any]:
    """Writes a run folder and returns its result."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(len(fake.name) + ord(fake.name[0]))
    (folder / "config.yaml").write_text(_config(fake))
    lines, runs = [], []
    for rate_index, rate in enumerate(fake.learning_rates):
        for seed, score in enumerate(fake.scores):
            run = len(runs)
            end = score if score is None or rate_index == 0 else 0.7 * score if metric == "accuracy" else 3 * score
            lines += [_line(run, seed, rate, step, end, fake, metric, random) for step in STEPS]
            runs.append(_run(run, seed, rate, end))
    if not fake.finished:
        lines = [line for line in lines if line["step"] <= 400]
    lines.sort(key=lambda line: line["step"])
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if fake.attention is not None:
        weights, inputs = _attention(*fake.attention, random)
        np.savez(folder / "attention.npz", weights=weights, inputs=inputs)
    result = {
        "task": {"name": "multi_query_recall", "version": 1, "seed": 0, "hash": "9f2c41d07be3"},
        "metric": metric,
        "solved_at": 0.99 if metric == "accuracy" else 0.01,
        "baselines": {"last_value": 0.125, "most_common": 0.031} if metric == "accuracy" else {"mean": 0.167},
        "runs": runs,
        "parameters": fake.parameters,
        "forward_flops": fake.parameters * 132.0,
        "seconds": fake.seconds,
        "compile_seconds": 4.2,
        "versions": VERSIONS,
    }
    if fake.finished:
        (folder / "result.json").write_text(json.dumps(result))
    return result


def write_study(folder: Path, fakes: Sequence[Fake], *, metric: str = "accuracy", name: str = "recall") -> Path:
    """Writes a study folder and returns it; variants that have not finished get no row."""
    rows, result = [], {}
    for fake in fakes:
        place = "".join(letter if letter.isalnum() else "_" for letter in fake.name)
        result = write_run(folder / "trials" / place, fake, metric=metric)
        row = {"variant": fake.name, "settings": {"model.mixer.score": fake.name}, "folder": f"trials/{place}"}
        if fake.finished:
            rows.append(row | summarise(result))
    table = {
        "name": name,
        "question": "Which attention recalls values by their keys, and how surely?",
        "metric": metric,
        "solved_at": result["solved_at"],
        "interval": INTERVAL,
        "baselines": result["baselines"],
        "rows": rows,
    }
    (folder / "table.json").write_text(json.dumps(table))
    (folder / "study.yaml").write_text(f"name: {name}\nbase: recall.yaml\n")
    return folder


def _run(run: int, seed: int, rate: float, end: float | None) -> dict[str, Any]:
    return {
        "run": run,
        "seed": seed,
        "learning_rate": rate,
        "validation_score": end,
        "test_score": end,
        "test_loss": None if end is None else 1 - end,
        "diverged_at": 900 if end is None else None,
    }


def _line(
    run: int, seed: int, rate: float, step: int, end: float | None, fake: Fake, metric: str, random: np.random.Generator
) -> dict[str, Any]:
    gone = end is None and step >= 900
    start, goal = (0.03, 0.6 if end is None else end) if metric == "accuracy" else (0.4, 0.05 if end is None else end)
    middle = fake.learns_at * (1 + 0.12 * seed)
    learnt = 1 / (1 + np.exp(-(step - middle) / 90))
    score = (start + (goal - start) * learnt) * (1 + 0.01 * random.normal())
    score = float(np.clip(score, 0.0, 1.0 if metric == "accuracy" else np.inf))
    return {
        "step": step,
        "run": run,
        "seed": seed,
        "learning_rate": rate,
        "train_loss": 1.0,
        "validation_loss": float("nan") if gone else 1.0,
        "validation_score": float("nan") if gone else score,
        "diverged_at": 900 if gone else None,
    }


def _attention(layers: int, heads: int, length: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.arange(length)[:, None], np.arange(length)
    scores = random.normal(size=(layers, heads, length, length)) * 0.7
    scores[0] += 5.0 * (columns == rows - 1)
    scores[-1] += 5.0 * (columns == (rows * 7 + 3) % (rows + 1))
    scores = np.where(columns <= rows, scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights.astype(np.float32), random.integers(0, 256, size=length, dtype=np.int32)


def _config(fake: Fake) -> str:
    return (
        "task: {name: multi_query_recall, length: 64, pairs: 4, vocabulary: 256}\n"
        f"model:\n  width: 64\n  layers: 2\n  mixer: {{name: attention, score: {fake.name!r}}}\n"
        "training: {steps: 2000, batch: 64}\n"
        f"runs: {{seeds: {len(fake.scores)}, sweep: {{training.learning_rate: {list(fake.learning_rates)}}}}}\n"
    )
