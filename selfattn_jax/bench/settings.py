"""What a bench measures, and how often: checked as strictly as a config, with the same words for a mistake."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from selfattn_jax.config import from_mapping, validate
from selfattn_jax.config.schema import Strict
from selfattn_jax.shapes import Positive, PositiveInt

Step = Literal["forward", "forward_backward"]


def _ascending(lengths: tuple[int, ...]) -> tuple[int, ...]:
    """The lengths in order, so that what a short one took says what a long one will take."""
    if not lengths:
        raise ValueError("must hold at least one length")
    twice = next((length for length in lengths if lengths.count(length) > 1), None)
    if twice is not None:
        raise ValueError(f"must all be different, {twice} comes twice")
    return tuple(sorted(lengths))


class BenchSettings(Strict):
    """Sizes, what is computed, and how long it may take.

    Attributes:
      lengths: T = S of the sequences, ascending.
      batch: B.  heads: H = G.  width: K = V, of one head.
      dtype: of query, key and value; a mixer's parameters are float32.
      causal: whether a query sees its past alone.
      backward: whether gradients are measured too.
      repeats: how often each program is timed.
      budget: seconds that a variant may take at one length, compiling included.
      against: label of the variant that ratios refer to, or None to choose one.
    """

    lengths: Annotated[tuple[PositiveInt, ...], Field(strict=False), AfterValidator(_ascending)]
    batch: PositiveInt = 1
    heads: PositiveInt = 4
    width: PositiveInt = 64
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    causal: bool = False
    backward: bool = True
    repeats: PositiveInt = 5
    budget: Positive = 60.0
    against: str | None = None

    @property
    def steps(self) -> tuple[Step, ...]:
        """What is timed of every variant; the last is what compile time and memory are of."""
        return ("forward", "forward_backward") if self.backward else ("forward",)


def read_settings(said: Mapping[str, Any]) -> BenchSettings:
    """Checks what the command line says.

    Args:
      said: option → value; lengths as text, such as "256,512".
    Returns: the settings.
    Raises: ConfigError with every problem at once.
    """
    lengths = [_number(part.strip()) for part in str(said["lengths"]).split(",") if part.strip()]
    return validate(from_mapping({**said, "lengths": lengths}, source="command line"), BenchSettings)


def _number(text: str) -> int | str:
    """A whole number; what is none stays text, for the check to name it."""
    return int(text) if text.lstrip("-").isdecimal() else text
