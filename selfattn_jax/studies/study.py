"""A study: variants of one config, each a run folder, judged alike and set side by side."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from selfattn_jax.config import (
    ConfigError,
    Document,
    Problem,
    from_mapping,
    read,
    subdocument,
    validate,
    with_overrides,
)
from selfattn_jax.config.errors import shown_file
from selfattn_jax.config.loading import check_sweep, located
from selfattn_jax.config.schema import Config, Strict
from selfattn_jax.reports.page import write_report
from selfattn_jax.reports.reading import ReportError
from selfattn_jax.reports.tables import study_markdown
from selfattn_jax.runs.engine import make_experiment
from selfattn_jax.runs.execute import Interrupted, execute
from selfattn_jax.runs.folder import FolderError, open_folder, read_result, write_atomically
from selfattn_jax.runs.progress import RunProgress
from selfattn_jax.studies.statistics import INTERVAL, summarise


class StudyConfig(Strict):
    """A question, a config, and the variants of it that are compared.

    `variants` gives each name the keys that it changes; `grid` multiplies every variant by the values of further keys.
    """

    name: str
    question: str = ""
    base: str | None = None
    config: dict[str, Any] | None = None
    variants: dict[str, dict[str, Any]] = Field(default_factory=lambda: {"base": {}})
    grid: dict[str, Any] = Field(default_factory=dict)


STUDY_KEYS = StudyConfig.model_fields.keys() - {"name", "question"}


@dataclass(frozen=True)
class Trial:
    """One row to be: a variant's name, what it changes, and its whole config."""

    name: str
    settings: Mapping[str, Any]
    config: Config


class Point(NamedTuple):
    """What makes a trial: its variant's settings (with their places in the file), those of the grid, and both."""

    variant: Document
    cell: dict[str, Any]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Study:
    """A study made ready to run, and its file as it can be run again."""

    name: str
    question: str
    trials: tuple[Trial, ...]
    resolved: Mapping[str, Any]


def load_study(path: str | PathLike[str], overrides: Sequence[str] = (), only: Sequence[str] = ()) -> Study:
    """Reads a study, makes every trial's config and builds every model once, so that nothing fails in mid-study.

    Args:
      path: of the study's file.
      overrides: `key.path=value`, for the config of every trial.
      only: names of trials; empty = all.

    Returns: the study.
    Raises: ConfigError with the problems of all trials at once.
    """
    document = read(path)
    if "task" in document.data and not STUDY_KEYS & document.data.keys():
        message = f"is a key of a config, this command takes a study: selfattn run {shown_file(fspath(path))}"
        raise ConfigError([Problem(document.where(("task",)), "task", message)])
    header = validate(document, StudyConfig)
    base = _base(document, header, Path(path))
    points = _points(document, header)
    unknown = [name for name in only if name not in points]
    if unknown:
        problem = Problem("command line: --only", unknown[0], f"is no trial; the trials are {', '.join(points)}")
        raise ConfigError([problem])
    points = {name: point for name, point in points.items() if not only or name in only}
    _check_overrides(points, overrides)
    base = with_overrides(base, overrides)
    trials, problems = [], []
    for name, point in points.items():
        try:
            trials.append(_trial(name, base, point, overrides))
        except ConfigError as error:
            problems += [problem for problem in error.problems if problem not in problems]
    if problems:
        raise ConfigError(problems)
    resolved = {
        "name": header.name,
        "question": header.question,
        "config": base.data,
        "variants": {name: point.settings for name, point in points.items()},
    }
    return Study(header.name, header.question, tuple(trials), resolved)


def _base(document: Document, header: StudyConfig, path: Path) -> Document:
    if (header.base is None) == (header.config is None):
        message = "give one of base (a config file) and config (its keys)"
        raise ConfigError([Problem(document.where(()), "base", message)])
    if header.base is None:
        return subdocument(document, ("config",))
    file = path.parent / header.base
    if not file.is_file():
        raise ConfigError([Problem(document.where(("base",)), "base", f"there is no file {file}")])
    return read(file)


def _points(document: Document, header: StudyConfig) -> dict[str, Point]:
    """Every trial's name with the settings that make it: its variant's, then one value of every grid key."""
    wrong = [
        Problem(document.where(("grid", key)), f"grid.{key}", "must be a list of values, not empty")
        for key, values in header.grid.items()
        if not isinstance(values, list) or not values
    ]
    wrong += [
        Problem(document.where(("variants", name, own)), own, f"is set by the grid too ({key}), which would win")
        for name, settings in header.variants.items()
        for own, key in itertools.product(settings, header.grid)
        if f"{own}.".startswith(f"{key}.")
    ]
    if not header.variants:
        wrong.append(Problem(document.where(("variants",)), "variants", "must name at least one variant"))
    if wrong:
        raise ConfigError(wrong)
    points, folders = {}, {}
    for name in header.variants:
        for values in itertools.product(*header.grid.values()):
            cell = dict(zip(header.grid, values, strict=True))
            label = " ".join([name, *(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in cell.items())])
            other = folders.setdefault(_folder_name(label).casefold(), label)
            if label in points or other != label:
                message = f"{label!r} and {other!r} would share the folder trials/{_folder_name(label)}: rename one"
                message = f"the grid makes {label!r} twice" if label in points else message
                raise ConfigError([Problem(document.where(("variants", name)), f"variants.{name}", message)])
            variant = subdocument(document, ("variants", name)) if "variants" in document.data else from_mapping({})
            points[label] = Point(variant, cell, {**variant.data, **cell})
    return points


def _check_overrides(points: Mapping[str, Point], overrides: Sequence[str]) -> None:
    """Refuses an override of a key that a trial sets itself: the trial would win."""
    problems = []
    for override in overrides:
        key = override.partition("=")[0].strip()
        names = [name for name, point in points.items() if any(_inside(own, key) for own in point.settings)]
        if names:
            message = f"is set by {', '.join(names)}, which would win; change it in the study's file"
            problems.append(Problem(f"command line: {override}", key, message))
    if problems:
        raise ConfigError(problems)


def _inside(first: str, second: str) -> bool:
    return f"{first}.".startswith(f"{second}.") or f"{second}.".startswith(f"{first}.")


def _trial(name: str, base: Document, point: Point, overrides: Sequence[str]) -> Trial:
    document = with_overrides(with_overrides(base, point.variant), point.cell, source=f"grid of {name}")
    config = validate(document, Config)
    check_sweep(config, overrides)
    with located(document):
        make_experiment(config)
    return Trial(name, point.settings, config)


def _short(value: Any) -> str:
    """A value of the grid as a part of a trial's name: no two values may look alike."""
    if isinstance(value, Mapping) and "name" in value:
        knobs = ",".join(f"{key}={_short(knob)}" for key, knob in value.items() if key != "name")
        return f"{value['name']}({knobs})" if knobs else str(value["name"])
    return value if isinstance(value, str) else json.dumps(value)


def compare(study: Study, folder: Path, progress: RunProgress, *, report: Callable[[dict], None] | None = None) -> dict:
    """Runs every trial of a study that is not done yet and sets them side by side.

    Args:
      study: from `load_study`.
      folder: for trials/, table.json, table.md and report.html; it may hold the same study, begun.
      progress: told of every step.
      report: called with each row of the table as soon as it is known.

    Returns: the contents of table.json.
    Raises: FolderError, Interrupted, as `execute`; the table and report of the trials that are done are written.
    """
    # Variants may come and go between two calls: every trial's own folder tells whether it is still the same run.
    # Where there is no trial yet, study.yaml may be a file that somebody wrote by hand: it is not written over.
    same = ("name",) if (folder / "trials").is_dir() else ()
    with open_folder(folder, "study.yaml", dict(study.resolved), "study", same=same):
        try:
            table = _compared(study, folder, progress, report)
        except (FolderError, Interrupted):
            progress.note("writing the report")
            with suppress(ReportError, OSError):  # why the study stopped matters more
                write_report(folder)
            raise
        write_report(folder)
        return table


def _compared(study: Study, folder: Path, progress: RunProgress, report: Callable[[dict], None] | None) -> dict:
    """The study's table; it is written after every trial."""
    rows, table = [], {}
    for index, trial in enumerate(study.trials, 1):
        place = f"trials/{_folder_name(trial.name)}"
        label = f"{trial.name} ({index}/{len(study.trials)})"
        stopped = None
        try:
            result = execute(trial.config, folder / place, progress, label=label)
        except Interrupted as error:
            result, stopped = read_result(folder / place), error
            if result is None:
                raise
        row = {"variant": trial.name, "settings": dict(trial.settings), **summarise(result), "folder": place}
        rows.append(row)
        if report:
            report(row)
        table = _table(study, result, rows)
        write_atomically(folder / "table.json", json.dumps(table, indent=2, allow_nan=False) + "\n")
        write_atomically(folder / "table.md", study_markdown(table))
        if stopped:  # Ctrl-C came too late to stop this trial
            raise stopped
    return table


def _table(study: Study, result: Mapping[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": study.name,
        "question": study.question,
        "metric": result["metric"],
        "solved_at": result["solved_at"],
        "interval": INTERVAL,
        "baselines": result["baselines"],
        "rows": rows,
    }


def _folder_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_.=" else "-" for letter in name)
