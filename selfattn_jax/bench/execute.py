"""A bench in its folder: measured length by length, each written as soon as it is finished."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from selfattn_jax.bench.claims import claims
from selfattn_jax.bench.contestants import Contestant, check_contestants, choose_against, contestants
from selfattn_jax.bench.machine import core_count, device_name, nothing_kept, versions
from selfattn_jax.bench.measuring import measure
from selfattn_jax.bench.plots import bench_plot
from selfattn_jax.bench.record import Bench, Variant
from selfattn_jax.bench.settings import BenchSettings
from selfattn_jax.reports.formats import short_time
from selfattn_jax.runs.folder import open_folder, write_atomically

RECORD, PLOT, SETTINGS = "bench.json", "bench.png", "bench.yaml"


class Teller(Protocol):
    """Who is told how far a bench is."""

    def note(self, note: str) -> None:
        """Shows what is being worked on."""

    def say(self, line: str) -> None:
        """Prints a line that stays."""


def bench(sources: Sequence[str], settings: BenchSettings, folder: Path, teller: Teller) -> Bench:
    """Measures variants, and writes bench.json after every length and bench.png at the end.

    Args:
      sources: what the command line calls the variants; none at all means the usual ones.
      settings: what is measured.
      folder: for what it writes; what another bench has left there is replaced.
      teller: told of every length.
    Returns: the record; after Ctrl-C it holds the lengths that were finished, and says that it is not.
    Raises: ConfigError for a mistake; FolderError for a folder that cannot take it.
    """
    found = contestants(sources)
    check_contestants(found, settings)
    present = [one for one in found if one.absent is None]
    record = begin(found, settings, choose_against([one.label for one in present], settings.against))
    described = {"format": record.format, "variants": [one.source for one in found], **settings.model_dump(mode="json")}
    with open_folder(folder, SETTINGS, described, "bench", same=("format",)), nothing_kept():
        (folder / PLOT).unlink(missing_ok=True)
        write_record(folder, record)
        try:
            for length, rows in measure(present, settings, teller.note):
                record = record.with_length(length, rows)
                write_record(folder, record)
                teller.say(_line(record))
            record = record.model_copy(update={"finished": True})
        except KeyboardInterrupt:
            teller.note("stopped: writing what was finished")
        write_record(folder, record)
        if record.lengths:
            write_atomically(folder / PLOT, bench_plot(record))
    return record


def begin(found: Sequence[Contestant], settings: BenchSettings, against: str) -> Bench:
    """The record before anything was measured."""
    variants = tuple(
        Variant(
            label=one.label,
            source=one.source,
            mixer=None if one.mixer is None else one.mixer.model_dump(mode="json", by_alias=True),
            absent=one.absent,
            **dict(zip(("time_power", "memory_power"), claims(one.mixer, settings), strict=True)),
        )
        for one in found
    )
    return Bench(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        settings=settings,
        versions=versions(),
        device=device_name(),
        cores=core_count(),
        against=against,
        variants=variants,
    )


def write_record(folder: Path, record: Bench) -> None:
    """Writes bench.json, the whole of it or nothing."""
    write_atomically(folder / RECORD, record.model_dump_json(indent=2) + "\n")


def read_record(folder: Path) -> Bench:
    """Reads bench.json. Raises: OSError without one, ValueError for what is none."""
    return Bench.model_validate_json((folder / RECORD).read_text(encoding="utf-8"))


def _line(record: Bench) -> str:
    """What is said of the length that was finished last: the quickest, and who has no time."""
    last, step = record.lengths[-1], record.settings.steps[-1]
    timed = {row.variant: median for row in last.rows if (median := row.median(step)) is not None}
    without = [row.variant for row in last.rows if row.variant not in timed]
    quickest = min(timed, key=lambda label: timed[label], default=None)
    said = [f"length {last.length:,}: {len(timed)} of {len(last.rows)} variants timed"]
    said += [f"quickest {quickest}, {short_time(timed[quickest])}"] if quickest is not None else []
    said += [f"without {', '.join(without)}"] if without else []
    return "; ".join(said)
