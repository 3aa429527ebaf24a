"""What a bench has found: the contents of bench.json.

    {"format": 1, "finished": false = stopped by Ctrl-C, "date": ISO 8601 in UTC,
     "settings": {"lengths", "batch", "heads", "width", "dtype", "causal", "backward", "repeats", "budget", "against"},
     "versions": {package: version, or null if not installed}, "device": the accelerator or processor, "cores",
     "against": label of the variant that ratios refer to,
     "variants": [{"label", "source": what the command line said, "mixer": its config with every default, or null for a
                   reference, "absent": why it took no part, or null,
                   "time_power", "memory_power": of the length, of the catalogue's formulas at these lengths, or null
                   where it does not say}],
     "lengths": [{"length": T,
                  "rows": [{"variant": label,
                            "forward", "forward_backward": {"median", "low", "high" (quartiles), "samples"}, or null,
                            "forward_ratio", "forward_backward_ratio": median / median of "against", or null,
                            "compile_seconds", "temporary_bytes": of the last program of settings, or null,
                            "parameters": trained numbers, "reason": why something is null, or null}]}],
     "slopes": [{"variant", "forward", "forward_backward", "memory": exponent of the length, or null}]}

Seconds and bytes throughout. Temporary bytes are XLA's own plan, beside arguments and results; PyTorch tells neither
them nor its time to compile.
"""

from typing import Any, Literal

from selfattn_jax.bench.fitting import slope
from selfattn_jax.bench.settings import BenchSettings, Step
from selfattn_jax.bench.timing import summary
from selfattn_jax.config.schema import Strict


class Times(Strict):
    """Seconds of one program at one length."""

    median: float
    low: float
    high: float
    samples: tuple[float, ...]

    @classmethod
    def of(cls, samples: list[float]) -> "Times":
        """The median and the quartiles of samples, and the samples."""
        return cls(**summary(samples)._asdict(), samples=tuple(samples))


class Row(Strict):
    """What was found of one variant at one length."""

    variant: str
    forward: Times | None = None
    forward_backward: Times | None = None
    forward_ratio: float | None = None
    forward_backward_ratio: float | None = None
    compile_seconds: float | None = None
    temporary_bytes: int | None = None
    parameters: int = 0
    reason: str | None = None

    def median(self, step: Step) -> float | None:
        """The median of a program's seconds, or None."""
        times = self.forward if step == "forward" else self.forward_backward
        return None if times is None else times.median


class Length(Strict):
    """What was found at one length."""

    length: int
    rows: tuple[Row, ...]


class Slopes(Strict):
    """The exponents with which one variant's figures grow with length."""

    variant: str
    forward: float | None
    forward_backward: float | None
    memory: float | None


class Variant(Strict):
    """Who took part, or why not."""

    label: str
    source: str
    mixer: dict[str, Any] | None
    absent: str | None
    time_power: float | None = None
    memory_power: float | None = None


class Bench(Strict):
    """Everything that a bench has found so far."""

    format: Literal[1] = 1
    finished: bool = False
    date: str
    settings: BenchSettings
    versions: dict[str, str | None]
    device: str
    cores: int
    against: str
    variants: tuple[Variant, ...]
    lengths: tuple[Length, ...] = ()
    slopes: tuple[Slopes, ...] = ()

    def with_length(self, length: int, rows: list[Row]) -> "Bench":
        """The record with one more length, its ratios, and slopes that know it."""
        lengths = (*self.lengths, Length(length=length, rows=with_ratios(rows, self.against)))
        present = [one.label for one in self.variants if one.absent is None]
        return self.model_copy(
            update={"lengths": lengths, "slopes": tuple(slopes(label, lengths) for label in present)}
        )


def with_ratios(rows: list[Row], against: str) -> tuple[Row, ...]:
    """The rows of one length, each median over that of the row called `against`."""
    reference = next((row for row in rows if row.variant == against), None)

    def ratio(row: Row, step: Step) -> float | None:
        mine, other = row.median(step), reference.median(step) if reference else None
        return mine / other if mine is not None and other else None

    steps: tuple[Step, ...] = ("forward", "forward_backward")
    return tuple(row.model_copy(update={f"{step}_ratio": ratio(row, step) for step in steps}) for row in rows)


def slopes(label: str, lengths: tuple[Length, ...]) -> Slopes:
    """How the figures of one variant grow over the lengths at which it has some."""
    rows = {one.length: row for one in lengths for row in one.rows if row.variant == label}
    return Slopes(
        variant=label,
        forward=slope({length: row.median("forward") for length, row in rows.items()}),
        forward_backward=slope({length: row.median("forward_backward") for length, row in rows.items()}),
        memory=slope({length: row.temporary_bytes for length, row in rows.items()}),
    )
