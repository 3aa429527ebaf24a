"""One HTML file for a study or a run: no network, no script, every picture inside."""

import os
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from selfattn_jax.reports import drawing, formats, plots, sections
from selfattn_jax.reports.reading import ReportError, RunRecord, StudyRecord, is_run, is_study, read_run, read_study
from selfattn_jax.reports.rows import Row, cost_row, higher_is_better, run_rows, study_rows, winner
from selfattn_jax.reports.sections import Subject, Trial
from selfattn_jax.reports.verdict import run_verdict, study_verdict


def write_report(folder: Path | str) -> Path:
    """Writes report.html into a study folder or a run folder, and returns its path.

    Raises: ReportError for a folder that is neither, or a file in it that is damaged.
    """
    folder = Path(folder)
    if is_study(folder):
        text = study_html(read_study(folder))
    elif is_run(folder):
        text = run_html(read_run(folder))
    else:
        raise ReportError(
            "Neither a study folder nor a run folder" if folder.is_dir() else "No such folder",
            folder,
            "Give a folder that holds table.json and trials/ (a study), or result.json or metrics.jsonl (a run).",
        )
    path, draft = folder / "report.html", folder / "report.html.part"
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)
    return path


def study_html(record: StudyRecord) -> str:
    """The page of a study: a row per variant."""
    table = record.table
    rows = study_rows(table)
    metric = str(table.get("metric") or sections.metric_of(record.trials.values()))
    trials = _trials(record, rows, metric)
    subject = Subject(
        title=record.name,
        metric=metric,
        solved_at=table.get("solved_at"),
        baselines=table.get("baselines") or {},
        rows=rows,
        trials=trials,
        curves=[plots.curve(trial.run, trial.learning_rate, trial.label, trial.index) for trial in trials],
    )
    waiting = [trial.run.name for trial in trials if trial.index >= len(rows)]
    return _render(
        subject,
        kind="study",
        question=str(table.get("question") or ""),
        verdict=study_verdict(rows, metric, subject.baselines)
        + ([f"Not in the table yet: {formats.listed(waiting)}."] if waiting else []),
        notes=sections.disagreements(subject),
        headings={"label": "variant", "score": sections.words(metric), "costs": "variant", "trials": "Every trial"},
        entries=[sections.study_entry(subject, index, best=row is winner(rows)) for index, row in enumerate(rows)],
        interval=str(table.get("interval") or ""),
        costs=sections.costs(rows),
        line="Mean over seeds at the chosen learning rate",
        study_config=record.config,
    )


def run_html(record: RunRecord) -> str:
    """The page of a single run folder: a row per learning rate, the one that counts first."""
    result = record.result or {}
    rows, metric = run_rows(record), str(result.get("metric") or "")
    rates = [row.learning_rate for row in rows] or plots.learning_rates(record)
    subject = Subject(
        title=record.name,
        metric=metric,
        solved_at=result.get("solved_at"),
        baselines=result.get("baselines") or {},
        rows=rows,
        trials=[Trial(record.name, record, None, 0)],
        curves=[plots.curve(record, rate, _rate_label(rate), index) for index, rate in enumerate(rates)],
    )
    return _render(
        subject,
        kind="run",
        question=f"A run on the task {task}." if (task := (result.get("task") or {}).get("name")) else "",
        verdict=run_verdict(rows, metric, subject.baselines),
        notes=[],
        headings={
            "label": "learning rate",
            "score": f"test {sections.words(metric)}",
            "costs": "run",
            "trials": "The run",
        },
        entries=[sections.run_entry(subject, index) for index in range(len(rows))],
        interval="",
        costs=sections.costs([cost_row(record)]) if record.finished else [],
        line="A line per learning rate, the mean over seeds",
        study_config="",
    )


def _rate_label(rate: float | None) -> str:
    return f"rate {formats.learning_rate(rate)}"


def _trials(record: StudyRecord, rows: list[Row], metric: str) -> list[Trial]:
    """The trials behind the rows, in their order, then those that have no row yet."""
    told = [
        Trial(row.label, record.trials[row.folder], row.learning_rate, index)
        for index, row in enumerate(rows)
        if row.folder in record.trials
    ]
    folders = {row.folder for row in rows}
    waiting = [run for name, run in record.trials.items() if name not in folders]
    return told + [
        Trial(
            run.name if run.finished else f"{run.name} (unfinished)",
            run,
            plots.latest_learning_rate(run, higher_is_better(metric)),
            len(rows) + index,
        )
        for index, run in enumerate(waiting)
    ]


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["unbroken"] = lambda text: text.replace(" %", "\N{NO-BREAK SPACE}%")
    return environment.get_template("template.html")


def _render(subject: Subject, **page: Any) -> str:
    """Fills the template. All text in it is escaped; the pictures alone are markup."""
    return _template().render(
        page,
        title=subject.title,
        series=drawing.SERIES,
        series_dark=drawing.SERIES_DARK,
        guides=sections.guides(subject),
        shortcuts=sections.shortcuts(subject),
        solved_text=sections.solved_text(subject),
        any_diverged=any(row.diverged for row in subject.rows),
        curves=sections.curves(subject, page["line"]),
        axes=sections.along_axes(subject),
        depths=sections.by_depth(subject),
        also=sections.also(subject),
        direction="" if higher_is_better(subject.metric) else "lower is better",
        maps=sections.attention(subject),
        measured=sections.measured(subject, page["interval"]),
        trials=[sections.trial(trial) for trial in subject.trials],
    )
