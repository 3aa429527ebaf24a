"""The schema of a config, derived from the catalogue: a knob's annotation is its type and range, its default too.

A piece stands for itself (`score: cosine`) or with its knobs (`score: {name: cosine, temperature: 0.2}`).
"""

import functools
import inspect
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import jax
from annotated_types import Ge, Lt
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    Tag,
    create_model,
    model_validator,
)
from pydantic_core import CoreSchema

from selfattn_jax import catalogue
from selfattn_jax.catalogue import Entry
from selfattn_jax.choosing import Implementation
from selfattn_jax.modules.encoder import Placement, Pool
from selfattn_jax.shapes import Fraction, NonNegative, NonNegativeInt, Positive, PositiveInt


class Strict(BaseModel):
    """What every part of a config obeys: no unknown key, no conversion between types, no change once read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, validate_default=True, allow_inf_nan=False)


# A YAML list is a tuple once read (hashable); the items stay strict.
_A_LIST = Field(strict=False)

Seed = Annotated[int, Ge(0), Lt(2**32)]


def _filled(values: tuple) -> tuple:
    """Refuses an empty list; a `min_length` would count the items that are right, and complain of wrong ones twice."""
    if not values:
        raise ValueError("must hold at least one item")
    return values


def _distinct(values: tuple) -> tuple:
    """Refuses a run that would count twice in every mean and interval."""
    twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
    if twice:
        raise ValueError(f"must all be different, {twice[0]} comes twice")
    return values


def _as_written(annotation: Any) -> Any:
    """A knob's type as a config sees it: an array is for code alone, and a tuple is written as a list."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        kept = [_as_written(part) for part in typing.get_args(annotation) if part is not jax.Array]
        return typing.Union[tuple(kept)]  # noqa: UP007 (the parts are known at run time only)
    return Annotated[annotation, _A_LIST] if typing.get_origin(annotation) is tuple else annotation


@functools.cache
def entry_model(entry: Entry) -> type[Strict]:
    """The config of one catalogue entry: its name and the knobs of its function or module.

    Args:
      entry: of the catalogue; its maker's keyword-only parameters are the fields.
    Returns: a pydantic model with `name` fixed.
    """
    fields: dict[str, Any] = {"name": (Literal[entry.name], ...)}
    for name, parameter in entry.knobs().items():
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[name] = (_as_written(parameter.annotation), default)
    return create_model(f"{entry.kind}_{entry.name}", __base__=Strict, __doc__=entry.summary, **fields)


def _named(default: str | None, value: Any) -> Any:
    if isinstance(value, str):
        return {"name": value}
    if isinstance(value, dict) and default is not None and not {"name", "any", "all", "not"} & value.keys():
        return {"name": default, **value}
    return value


@dataclass(frozen=True)
class Piece:
    """The type of a config key that holds one piece: `Annotated[Any, Piece("score")]`.

    Attributes:
      slot: of the catalogue's entries that may stand there.
      default: the name that a mapping without one has.
    """

    slot: str
    default: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        members = [
            AttentionConfig if entry.name == "attention" else entry_model(entry)
            for entry in catalogue.in_slot(self.slot).values()
            if entry.in_config
        ]
        union = typing.Union[tuple(members)]  # noqa: UP007 (the members are known at run time only)
        chosen = union if len(members) == 1 else Annotated[union, Field(discriminator="name")]
        return handler.generate_schema(Annotated[chosen, BeforeValidator(functools.partial(_named, self.default))])


class AnyMask(Strict):
    """Either of the masks."""

    any: "Annotated[tuple[MaskConfig, ...], _A_LIST, AfterValidator(_filled)]"


class AllMask(Strict):
    """All of the masks."""

    all: "Annotated[tuple[MaskConfig, ...], _A_LIST, AfterValidator(_filled)]"


class NotMask(Strict):
    """What the mask hides."""

    negated: "MaskConfig" = Field(alias="not")


def _mask_form(value: Any) -> str:
    keys = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, BaseModel) else {}
    return next(
        (form for form in ("any", "all", "not") if form in keys or (form == "not" and "negated" in keys)), "name"
    )


MaskConfig = Annotated[
    Annotated[AnyMask, Tag("any")]
    | Annotated[AllMask, Tag("all")]
    | Annotated[NotMask, Tag("not")]
    | Annotated[Any, Piece("mask"), Tag("name")],
    Discriminator(_mask_form),
]


class ParallelMixers(Strict):
    """Several mixers side by side, each with its share of the heads."""

    parallel: "Annotated[tuple[MixerConfig, ...], _A_LIST, AfterValidator(_filled)]"


def _mixer_form(value: Any) -> str:
    keys = value if isinstance(value, dict) else type(value).model_fields if isinstance(value, BaseModel) else {}
    return "parallel" if "parallel" in keys else "name"


MixerConfig = Annotated[
    Annotated[ParallelMixers, Tag("parallel")] | Annotated[Any, Piece("mixer", default="attention"), Tag("name")],
    Discriminator(_mixer_form),
]


class AttentionConfig(Strict):
    """The composition: a piece per slot, in the order in which they act."""

    name: Literal["attention"] = "attention"
    encode: Annotated[tuple[Annotated[Any, Piece("encode")], ...], _A_LIST] = ()
    score: Annotated[Any, Piece("score", default="scaled_dot")] = "scaled_dot"
    modifiers: Annotated[tuple[Annotated[Any, Piece("modifiers")], ...], _A_LIST] = ()
    biases: Annotated[tuple[Annotated[Any, Piece("biases")], ...], _A_LIST] = ()
    rowwise: Annotated[tuple[Annotated[Any, Piece("rowwise")], ...], _A_LIST] = ()
    mask: MaskConfig | None = None
    normalizer: Annotated[Any, Piece("normalizer", default="softmax")] = "softmax"
    dropout: Fraction = 0.0
    aggregate: Annotated[Any, Piece("aggregate")] | None = None
    implementation: Implementation = "auto"


class BlockConfig(Strict):
    """What surrounds a mixer."""

    norm: Literal["rms", "layer"] = "rms"
    placement: Placement = "pre"
    mlp: Literal["none", "gelu", "relu", "swiglu"] = "none"
    expansion: PositiveInt = 4


class ModelConfig(Strict):
    """The encoder."""

    width: PositiveInt = 64
    layers: PositiveInt | Annotated[tuple[MixerConfig, ...], _A_LIST, AfterValidator(_filled)] = 2
    causal: bool | None = None
    positions: Annotated[Any, Piece("positions")] | None = None
    position_ids: Annotated[Any, Piece("position_ids")] | None = None
    heads: Annotated[Any, Piece("heads", default="multi_head")] = "multi_head"
    block: BlockConfig = BlockConfig()
    pool: Pool = "mean"
    mixer: MixerConfig = "attention"

    @model_validator(mode="after")
    def _one_list_of_mixers(self) -> Self:
        if not isinstance(self.layers, int) and self.mixer != AttentionConfig():
            raise ValueError("layers names the mixer of every layer: leave mixer out, or make layers a number")
        return self

    @property
    def mixers(self) -> tuple:
        """The mixer of every layer: `layers` names them, or says how often `mixer` comes."""
        return (self.mixer,) * self.layers if isinstance(self.layers, int) else self.layers


class TrainingConfig(Strict):
    """How a run learns: AdamW, with the gradient's norm clipped."""

    steps: PositiveInt = 2000
    batch: PositiveInt = 64
    learning_rate: Positive = 3e-3
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: NonNegativeInt = 0
    weight_decay: NonNegative = 0.0
    clip: Positive | None = 1.0
    evaluate_every: PositiveInt = 100
    checkpoint_every: PositiveInt = 500


class TaskKnobs(Strict):
    """Knobs of the task; which there are, the task says when it is built."""

    model_config = ConfigDict(extra="allow")


class EvaluationConfig(Strict):
    """The streams on which runs are judged: the same for every run, drawn from `seed`.

    Each item of `also` changes knobs of the task, its length for one, for a further test of the finished runs.
    """

    validation: PositiveInt = 256
    test: PositiveInt = 1024
    batch: PositiveInt = 256
    seed: Seed = 0
    also: Annotated[tuple[TaskKnobs, ...], _A_LIST] = ()


class SweepConfig(Strict):
    """Settings that take several values, each with every seed, in the one compiled program."""

    learning_rate: Annotated[tuple[Positive, ...], AfterValidator(_distinct)] = Field(
        default=(), strict=False, alias="training.learning_rate"
    )


class RunsConfig(Strict):
    """How many runs a config makes: seeds × the values of the sweep. `seeds: 5` means 0 … 4."""

    seeds: PositiveInt | Annotated[tuple[Seed, ...], _A_LIST, AfterValidator(_filled), AfterValidator(_distinct)] = 3
    sweep: SweepConfig = SweepConfig()


class Config(Strict):
    """One experiment: a task, a model, how it is trained, and how often."""

    task: Annotated[Any, Piece("task")]
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    runs: RunsConfig = RunsConfig()

    def resolved(self) -> dict[str, Any]:
        """The config with every default written out: what is saved with a run and re-runs it exactly."""
        return self.model_dump(mode="json", by_alias=True)
