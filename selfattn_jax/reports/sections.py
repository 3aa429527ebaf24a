"""What each section of a page shows, as plain values for the template."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from markupsafe import Markup

from selfattn_jax.reports import along, depths, drawing, formats, maps, plots, strips
from selfattn_jax.reports.inline import inline_svg
from selfattn_jax.reports.plots import Curve
from selfattn_jax.reports.reading import RunRecord
from selfattn_jax.reports.rows import Row, further, higher_is_better, ranked_baselines, run_rows, shown_rate

#: Inches: beside a page's full width, and on a telephone.
BROAD, NARROW = (9.4, 4.3), (4.3, 4.1)
SIZES_ALONG = {"broad": (9.4, 3.2), "narrow": (4.3, 3.2)}

BAND = "the band reaches from the worst seed to the best."
SHORTCUTS = "Dashed lines: shortcuts that do not solve the task."
CROSSES = "A cross marks where a seed diverged; from there on the line is the mean of the seeds that are left."


@dataclass(frozen=True)
class Trial:
    """A run folder as a page shows it."""

    label: str
    run: RunRecord
    learning_rate: float | None
    index: int  # of its colour


@dataclass(frozen=True)
class Subject:
    """What a page is about."""

    title: str
    metric: str
    solved_at: Any
    baselines: Mapping[str, Any]
    rows: Sequence[Row]
    trials: Sequence[Trial]
    curves: Sequence[Curve]

    @property
    def results(self) -> list[Mapping[str, Any]]:
        """The results of the trials that have finished."""
        return [trial.run.result for trial in self.trials if trial.run.result is not None]

    @property
    def scale(self) -> strips.Scale:
        """The scale that all strips share."""
        return strips.common_scale(self.rows, self.metric, self.baselines, self.solved_at)


def words(metric: str) -> str:
    """The metric's name in words."""
    return metric.replace("_", " ") or "score"


def metric_of(runs: Iterable[RunRecord]) -> str:
    """The metric of the first run that says one."""
    return next((str(run.result["metric"]) for run in runs if run.result and run.result.get("metric")), "")


def tint(index: int) -> str:
    """The style class of a colour."""
    return f"series-{index % len(drawing.SERIES)}"


def study_entry(subject: Subject, index: int, *, best: bool) -> dict[str, Any]:
    """A variant's line in the table of scores."""
    row = subject.rows[index]
    details = [f"{key} = {formats.plain(value)}" for key, value in row.settings.items()]
    return _entry(subject, index) | {"details": details, "winner": best, "aside": False}


def run_entry(subject: Subject, index: int) -> dict[str, Any]:
    """A learning rate's line in the table of scores; those not chosen step back."""
    chosen = ", chosen" if index == 0 and len(subject.rows) > 1 else ""
    detail = f"validation {formats.score(subject.rows[index].validation, subject.metric)}{chosen}"
    return _entry(subject, index) | {"details": [detail], "winner": False, "aside": index > 0}


def _entry(subject: Subject, index: int) -> dict[str, Any]:
    row = subject.rows[index]
    return {
        "row": row,
        "tint": tint(index),
        "strip": strips.row_strip(row, subject.scale, subject.metric),
        "score": formats.score(row.mean, subject.metric),
        "interval": formats.interval(row.low, row.high, subject.metric, like=row.mean),
        "solve_interval": formats.rate_interval(row.solve_low, row.solve_high),
    }


def guides(subject: Subject) -> strips.Guides:
    """The lines behind all strips."""
    return strips.guides(subject.scale, subject.metric, subject.baselines, subject.solved_at)


def shortcuts(subject: Subject) -> list[tuple[str, str, strips.Strip]]:
    """(name, score, strip) of every shortcut baseline, best first."""
    ranked = ranked_baselines(subject.baselines, higher_is_better(subject.metric))
    return [
        (name, formats.score(score, subject.metric), strips.shortcut_strip(name, score, subject.scale, subject.metric))
        for name, score in ranked
    ]


def solved_text(subject: Subject) -> str:
    """From which score a seed counts as solved."""
    if formats.finite(subject.solved_at) is None:
        return ""
    bound = "more" if higher_is_better(subject.metric) else "less"
    return f"{formats.score(subject.solved_at, subject.metric)} or {bound}"


def curves(subject: Subject, line: str) -> dict[str, Any] | None:
    """The learning curves, once for broad screens and once for narrow ones; None without a single evaluation.

    Args:
      subject: what the page is about.
      line: what a line is, in words.
    """
    drawn = [curve for curve in subject.curves if curve.steps.size]
    if not drawn:
        return None
    ends = [f"{curve.label} {formats.score(float(curve.mean[-1]), subject.metric)}" for curve in drawn]
    text = f"Learning curves. Last validation score: {', '.join(ends)}."
    draw = partial(plots.learning_curves, drawn, metric=subject.metric, baselines=subject.baselines)
    pictures = {"broad": inline_svg(draw(size=BROAD), text), "narrow": inline_svg(draw(size=NARROW), text)}
    crosses = CROSSES if any(curve.stops for curve in drawn) else ""
    shortcut = SHORTCUTS if ranked_baselines(subject.baselines, True) else ""
    return pictures | {"caption": " ".join(filter(None, (f"{line}; {BAND}", shortcut, crosses)))}


def along_axes(subject: Subject) -> list[dict[str, Any]]:
    """A picture for every axis along which scores are known, once for broad screens and once for narrow ones."""
    pictures = []
    for axis, title in along.TITLES.items():
        found = [
            line
            for trial in subject.trials
            if (
                line := along.line(
                    trial.run, axis, shown_rate(trial.run, trial.learning_rate), trial.label, trial.index
                )
            )
        ]
        if found:
            shortcut = _shortcuts_along(subject, axis)
            draw = partial(along.along, found, axis, metric=subject.metric, shortcuts=shortcut)
            said = [_in_words(line, subject.metric) for line in found]
            said += [_shortcut_in_words(name, one, subject.metric) for name, one in shortcut.items()]
            text = f"Test score {title}. {' '.join(said)}"
            pictures.append({name: inline_svg(draw(size=size), text) for name, size in SIZES_ALONG.items()})
    return pictures


def by_depth(subject: Subject) -> dict[str, Any] | None:
    """The heat maps of accuracy by depth and length, those of the best shortcuts last; None where no trial has one."""
    found = [
        (trial, depths.depth_map(trial.run, shown_rate(trial.run, trial.learning_rate), trial.label))
        for trial in subject.trials
    ]
    shown = [(one, tint(trial.index)) for trial, one in found if one]
    if not shown or subject.metric != "accuracy":
        return None
    floors: dict[Any, depths.DepthMap] = {}
    for trial, _ in found:
        if floor := depths.shortcut_map(trial.run, higher_is_better(subject.metric)):
            floors.setdefault((floor.label, floor.low, floor.high, floor.scores.tobytes()), floor)
    shown += [(replace(floor, label=f"best shortcut: {floor.label}"), "muted") for floor in floors.values()]
    figures = [
        {"label": one.label, "tint": kind, "image": inline_svg(depths.draw(one), depths.in_words(one))}
        for one, kind in shown
    ]
    scale = inline_svg(depths.colour_scale(), "Colour scale of the accuracy from 0, darkest, to 100 %, palest")
    return {"figures": figures, "scale": scale}


def _in_words(line: along.Line, metric: str) -> str:
    scores = (
        f"{formats.score(float(mean), metric)} at {low if low == high else f'{low}–{high}'}"
        for low, high, mean in zip(line.low, line.high, line.mean, strict=True)
    )
    return f"{line.label}: {', '.join(scores)}."


def _shortcuts_along(subject: Subject, axis: str) -> dict[str, along.Shortcut]:
    """Label → the best shortcuts along an axis: once, unless the trials were tested on different data."""
    better = higher_is_better(subject.metric)
    owners: dict[along.Shortcut, str] = {}
    for trial in subject.trials:
        if found := along.shortcut(trial.run, axis, better):
            owners.setdefault(found, trial.label)
    several = len(owners) > 1
    return {f"{', '.join(one.names)}{f' ({owner})' if several else ''}": one for one, owner in owners.items()}


def _shortcut_in_words(name: str, shortcut: along.Shortcut, metric: str) -> str:
    scores = (
        f"{best[0]} {formats.score(best[1], metric)} at {low if low == high else f'{low}–{high}'}"
        for low, high, best in zip(shortcut.low, shortcut.high, shortcut.best, strict=True)
        if best
    )
    return f"Best shortcut ({name}): {', '.join(scores)}."


def also(subject: Subject) -> list[dict[str, Any]]:
    """What every trial scored on the further tests, beside the shortcuts there."""
    text = partial(formats.score, metric=subject.metric)
    return [
        {
            "label": trial.label,
            "tint": tint(trial.index),
            "knobs": test.knobs,
            "score": text(test.mean),
            "range": formats.span(test.scores, subject.metric),
            "shortcuts": [f"{name} {text(score)}" for name, score in test.baselines],
        }
        for trial in subject.trials
        for test in further(trial.run, trial.learning_rate)
    ]


def attention(subject: Subject) -> dict[str, Any] | None:
    """The attention maps of every trial that kept some, and how much room they ask for, in rem."""
    shown = [(trial, maps.attention_panels(trial.run.attention)) for trial in subject.trials]
    figures = [_figure(trial, panels) for trial, panels in shown if panels]
    if not figures:
        return None
    tokens = max(panel.tokens for _, panels in shown for panel in panels)
    side = 26 if tokens > 32 else 18 if tokens > 16 else 12
    most = max(len(panels) for _, panels in shown)
    return {"figures": figures, "side": side, "wish": min(60, most * (side + 2)), "scale": _scale()}


def _figure(trial: Trial, panels: Sequence[maps.Panel]) -> dict[str, Any]:
    return {
        "label": trial.label,
        "tint": tint(trial.index),
        "panels": [
            {
                "title": panel.title,
                "note": panel.note.rstrip("."),
                "image": inline_svg(panel.image, f"Attention map of {trial.label}, {panel.title}"),
            }
            for panel in panels
        ],
    }


def _scale() -> Markup:
    """The colour scale that attention maps share."""
    return inline_svg(maps.colour_scale(), "Colour scale of attention weights from 0, palest, to 1, darkest")


def costs(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What each row costs, with its share of the dearest where there is something to compare."""
    columns = [
        (lambda row: row.parameters, formats.quantity),
        (lambda row: row.forward_flops, lambda number: formats.quantity(number, "FLOP")),
        (lambda row: row.seconds, formats.duration),
    ]
    lines = []
    for index, row in enumerate(rows):
        cells = []
        for value, text in columns:
            most = max((value(other) or 0.0 for other in rows), default=0.0)
            number = value(row)
            share = None if number is None or most <= 0 or len(rows) == 1 else round(100 * number / most, 1)
            cells.append({"text": text(number), "share": share})
        lines.append({"label": row.label, "tint": tint(index), "cells": cells})
    return lines


def measured(subject: Subject, interval: str) -> list[tuple[str, str]]:
    """(term, description) of everything a reader needs to judge the numbers."""
    results = subject.results
    tasks = [result.get("task") or {} for result in results]
    rates = sorted({rate for trial in subject.trials for rate in plots.learning_rates(trial.run)})
    seeds = sorted({row.seeds for row in subject.rows})
    direction = "higher" if higher_is_better(subject.metric) else "lower"
    metric = f"{words(subject.metric)} on a test stream that played no part in training; {direction} is better"
    facts = [
        ("Task", _distinct(task.get("name") for task in tasks)),
        ("Task version", _distinct(task.get("version") for task in tasks)),
        ("Data seed", _distinct(task.get("seed") for task in tasks)),
        ("Data hash", _distinct(task.get("hash") for task in tasks)),
        ("Metric", metric if subject.metric else ""),
        ("Solved", f"a seed whose test score is {solved_text(subject)}" if solved_text(subject) else ""),
        ("Seeds", f"{' or '.join(map(str, seeds))} per {'variant' if interval else 'learning rate'}" if seeds else ""),
        ("Learning rates", ", ".join(map(formats.learning_rate, rates))),
        ("Selection", "the learning rate with the best mean validation score; a diverged seed counts as worst"),
        ("Interval", interval),
        ("Versions", _versions(results)),
    ]
    return [(term, description) for term, description in facts if description]


def disagreements(subject: Subject) -> list[str]:
    """A warning if the trials were not measured alike."""
    tasks = {str(sorted((result.get("task") or {}).items())) for result in subject.results}
    metrics = {str(result.get("metric")) for result in subject.results}
    if len(tasks) > 1 or len(metrics) > 1:
        return ["The trials were not measured on the same data: their scores cannot be compared."]
    return []


def trial(shown: Trial) -> dict[str, Any]:
    """One run folder in full: its state, all its learning rates, its config."""
    run = shown.run
    metric = metric_of([run])
    steps = [step for line in run.metrics if (step := formats.finite(line.get("step"))) is not None]
    status = "" if run.finished else f"last evaluated at step {max(steps):,.0f}" if steps else "not evaluated yet"
    return {
        "label": shown.label,
        "status": status,
        "notes": run.notes,
        "rates": [_rate_cells(row, metric) for row in run_rows(run)],
        "shortcuts": [
            (name, formats.MISSING, formats.score(score, metric), "shortcut")
            for name, score in ranked_baselines((run.result or {}).get("baselines") or {}, higher_is_better(metric))
        ],
        "config": run.config,
    }


def _rate_cells(row: Row, metric: str) -> tuple[str, ...]:
    solved = ", ".join(filter(None, (row.solved_text, row.diverged_text)))
    return row.label, formats.score(row.validation, metric), formats.score(row.mean, metric), solved


def _distinct(values: Iterable[Any]) -> str:
    """The values that occur, in the order in which they do."""
    return " · ".join(dict.fromkeys(str(value) for value in values if value is not None))


def _versions(results: Sequence[Mapping[str, Any]]) -> str:
    versions = [result.get("versions") or {} for result in results]
    names = dict.fromkeys(name for version in versions for name in version)
    return ", ".join(f"{name} {_distinct(version.get(name) for version in versions)}" for name in names)
