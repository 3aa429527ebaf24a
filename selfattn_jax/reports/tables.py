"""Tables for the terminal and for Markdown: best first, shortcuts below a rule, no winner that ties."""

from collections.abc import Mapping
from typing import Any

from rich.box import HORIZONTALS
from rich.table import Table
from rich.text import Text

from selfattn_jax.reports import formats
from selfattn_jax.reports.reading import RunRecord, StudyRecord
from selfattn_jax.reports.rows import Row, further, higher_is_better, ranked_baselines, run_rows, study_rows, winner

COLUMNS = ("score", "seeds solved", "learning rate", "parameters", "forward", "time")


def study_table(table: Mapping[str, Any]) -> Table:
    """The table.json of a study, for the terminal."""
    metric = str(table.get("metric", ""))
    view = _empty(str(table.get("name", "")), _caption(table))
    view.add_column("variant", overflow="fold")
    for name in COLUMNS:
        view.add_column(name, justify="left" if name in COLUMNS[:2] else "right", no_wrap=name != "seeds solved")
    rows = study_rows(table)
    best = winner(rows)
    for row in rows:
        view.add_row(*map(Text, (row.label, *_cells(row, metric, pad=7))), style="bold" if row is best else None)
    view.add_section()
    for name, score in ranked_baselines(table.get("baselines") or {}, higher_is_better(metric)):
        view.add_row(*map(Text, (name, f"{formats.score(score, metric):>7}", "shortcut")), style="dim")
    return view


def study_markdown(table: Mapping[str, Any]) -> str:
    """The table.json of a study as Markdown, with its name, its question and how to read it."""
    metric = str(table.get("metric", ""))
    rows = study_rows(table)
    best = winner(rows)
    lines = [f"# {_escape(table.get('name', ''))}", "", _escape(table.get("question", "")), ""]
    lines += ["| " + " | ".join(("variant", *COLUMNS)) + " |", "|:---" + "|---:" * len(COLUMNS) + "|"]
    for row in rows:
        name = f"**{_escape(row.label)}**" if row is best else _escape(row.label)
        lines.append("| " + " | ".join((name, *_cells(row, metric))) + " |")
    for name, score in ranked_baselines(table.get("baselines") or {}, higher_is_better(metric)):
        cells = (f"*shortcut: {_escape(name)}*", formats.score(score, metric), *[""] * (len(COLUMNS) - 1))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", _escape(_caption(table)), ""])


def run_table(record: RunRecord) -> Table:
    """One run folder, for the terminal: a row per learning rate, the best on validation data first."""
    result = record.result or {}
    metric = str(result.get("metric", ""))
    chosen = "The first learning rate is the one chosen: the best mean validation score over seeds."
    view = _empty(record.name, chosen if record.finished else "This run has not finished yet.")
    for name in ("learning rate", "validation", "test", "seeds solved"):
        view.add_column(name, justify="right", no_wrap=name != "seeds solved")
    for row in run_rows(record):
        solved = ", ".join(filter(None, (row.solved_text, row.diverged_text)))
        cells = (row.label, formats.score(row.validation, metric), formats.score(row.mean, metric), solved)
        view.add_row(*map(Text, cells))
    view.add_section()
    for name, score in ranked_baselines(result.get("baselines") or {}, higher_is_better(metric)):
        view.add_row(*map(Text, (name, "", formats.score(score, metric), "shortcut")), style="dim")
    return view


def further_table(record: RunRecord | StudyRecord) -> Table | None:
    """What a run, or every trial of a study, scored on the further tests, each beside the best shortcut there.

    Returns: the table; None where there are no further tests.
    """
    view = _empty("further tests", "")
    view.add_column("variant", overflow="fold")
    view.add_column("test", overflow="fold")
    for name in ("score", "seeds", "best shortcut"):
        view.add_column(name, justify="right", no_wrap=name == "score")
    for label, run, rate in _trials(record):
        metric = str((run.result or {}).get("metric", ""))
        for test in further(run, rate):
            best = [f"{name} {formats.score(score, metric)}" for name, score in test.baselines[:1]]
            cells = (formats.score(test.mean, metric), formats.span(test.scores, metric), *best)
            view.add_row(*map(Text, (label, test.knobs, *cells)))
    return view if view.row_count else None


def _trials(record: RunRecord | StudyRecord) -> list[tuple[str, RunRecord, float | None]]:
    """(label, run folder, learning rate; None = the one that counts), best first."""
    if isinstance(record, RunRecord):
        return [(record.name, record, None)]
    rows = study_rows(record.table)
    return [(row.label, record.trials[row.folder], row.learning_rate) for row in rows if row.folder in record.trials]


def _empty(title: str, caption: str) -> Table:
    view = Table(title=Text(title, style="bold"), caption=Text(caption), box=HORIZONTALS)
    view.title_justify = view.caption_justify = "left"
    return view


def _cells(row: Row, metric: str, *, pad: int = 0) -> tuple[str, ...]:
    """What stands in the COLUMNS of a row; the mean is padded to a width so that means stand below each other."""
    interval = formats.interval(row.low, row.high, metric, like=row.mean)
    solved = f"{row.solved_text} {formats.rate_interval(row.solve_low, row.solve_high)}".strip()
    return (
        f"{formats.score(row.mean, metric):>{pad}} {interval}".rstrip(),
        ", ".join(filter(None, (solved, row.diverged_text))),
        formats.learning_rate(row.learning_rate),
        formats.quantity(row.parameters),
        formats.quantity(row.forward_flops, "FLOP"),
        formats.duration(row.seconds),
    )


def _caption(table: Mapping[str, Any]) -> str:
    metric = str(table.get("metric", ""))
    direction, bound = ("higher", "more") if higher_is_better(metric) else ("lower", "less")
    solved_at = formats.score(table.get("solved_at"), metric)
    words = [f"score: {metric.replace('_', ' ')} on the test stream, {direction} is better"]
    words += [f"solved: {solved_at} or {bound}"]
    words += [str(table["interval"])] if table.get("interval") else []
    return "; ".join(words) + "."


def _escape(text: Any) -> str:
    """Text that Markdown and the HTML in it leave as it is, on one line."""
    line = " ".join(str(text).split()).replace("\\", "\\\\")
    for character in "|*_`[]#":
        line = line.replace(character, f"\\{character}")
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
