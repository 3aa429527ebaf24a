"""From a config to what it names: task, encoder, optimiser. What cannot work raises here, before anything runs."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import jax
import optax
from flax import nnx
from pydantic import ValidationError

from selfattn_jax import catalogue
from selfattn_jax.catalogue import SIZES
from selfattn_jax.config.errors import ConfigError, Problem
from selfattn_jax.config.schema import (
    AllMask,
    AnyMask,
    AttentionConfig,
    Config,
    ModelConfig,
    NotMask,
    ParallelMixers,
    TrainingConfig,
)
from selfattn_jax.functional.bind import bind
from selfattn_jax.heads import Heads
from selfattn_jax.modules import masks
from selfattn_jax.modules.attention import Attention, Mixer, SelfAttention, as_module
from selfattn_jax.modules.encoder import Block, Encoder, GatedMlp, Mlp
from selfattn_jax.modules.vectors import OnValues, Parallel, VectorLayer, VectorMixer
from selfattn_jax.shapes import Array
from selfattn_jax.tasks import Task

NORMS = {"rms": nnx.RMSNorm, "layer": nnx.LayerNorm}
ACTIVATIONS = {"gelu": jax.nn.gelu, "relu": jax.nn.relu}


@contextmanager
def _at(path: str) -> Iterator[None]:
    """Says which key of the config an error is about."""
    try:
        yield
    except (ValueError, ImportError, NotImplementedError) as error:
        raise ConfigError([Problem(where="", path=path, message=str(error))]) from error


class _Sizes(NamedTuple):
    """The sizes that a module may ask for by name: its positional parameters."""

    heads: int
    groups: int
    width: int
    key_width: int
    value_width: int
    length: int
    reach: int  # one past the largest position: the length, unless positions are drawn from more
    causal: bool


def make(slot: str, config: Any, sizes: Mapping[str, Any], rngs: nnx.Rngs | None = None) -> Any:
    """Makes what a piece's config names: a module if it has one, else the bound function.

    Args:
      slot: where it stands in a config: one of the values of `catalogue.SLOTS`.
      config: the piece's config, with its name and knobs.
      sizes: of the model, by the names in `catalogue.SIZES`.
      rngs: for a module's parameters.
    Returns: an NNX module, a bound piece, or what the function of a task or of heads returns.
    Raises: ValueError from the piece itself.
    """
    entry = catalogue.in_slot(slot)[config.name]
    knobs = {name: getattr(config, name) for name in entry.knobs()}
    parameters = {parameter.name: parameter for parameter in entry.parameters()}
    if entry.module is None and slot not in ("heads", "task"):
        return bind(entry.function, **knobs)
    wanted = [
        sizes[name]
        for name in parameters
        if name in SIZES and parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY
    ]
    random = {"rngs": rngs} if "rngs" in parameters else {}
    return entry.maker(*wanted, **knobs, **random)


def make_task(config: Config) -> Task:
    """The task that a config names.

    Raises: ConfigError at `task` for knobs that do not fit together, or a missing optional package.
    """
    with _at("task"):
        return make("task", config.task, {})


def make_other_tasks(config: Config) -> tuple[Task, ...]:
    """The task with the knobs that `evaluation.also` gives it, once for each item there.

    Raises: ConfigError at the item whose knobs are unknown, of the wrong type or do not fit together.
    """
    made = []
    for index, item in enumerate(config.evaluation.also):
        knobs = item.model_dump()
        with _at(f"evaluation.also.{index}"):
            unknown = sorted(knobs.keys() - type(config.task).model_fields.keys() | knobs.keys() & {"name"})
            if unknown:
                there = ", ".join(sorted(type(config.task).model_fields.keys() - {"name"})) or "none"
                raise ValueError(f"{unknown[0]} is no knob of {config.task.name}; its knobs: {there}")
            try:
                changed = type(config.task).model_validate({**config.task.model_dump(), **knobs})
            except ValidationError as error:
                wrong = error.errors()[0]
                raise ValueError(f"{'.'.join(map(str, wrong['loc']))}={wrong['input']!r}: {wrong['msg']}") from error
            made.append(make("task", changed, {}))
    return tuple(made)


def make_encoder(config: Config, task: Task, rngs: nnx.Rngs, length: int | None = None) -> Encoder:
    """The encoder that a config describes, for a task.

    Args:
      config: of the experiment.  task: from `make_task`.
      rngs: for the parameters.
      length: of the longest sequence that it may meet; None = the task's.
    Returns: the encoder.
    Raises: ConfigError at the key that cannot work, with the reason.
    """
    model = config.model
    with _at("model.heads"):
        heads: Heads = make("heads", model.heads, {"width": model.width})
    causal = task.causal if model.causal is None else model.causal
    widths, length = (model.width, heads.key_width, heads.value_width), length or task.length
    sizes = _Sizes(heads.count, heads.groups, *widths, length, reach=length, causal=causal)
    norm = NORMS[model.block.norm]
    ids = None
    if model.position_ids is not None:
        with _at("model.position_ids"):
            ids = make("position_ids", model.position_ids, sizes._asdict(), rngs)
        sizes = sizes._replace(reach=ids.maximum)
    positions = None
    if model.positions is not None:
        with _at("model.positions"):
            positions = make("positions", model.positions, sizes._asdict(), rngs)
    pre = model.block.placement == "pre"
    return Encoder(
        model.width,
        [_block(model, mixer, heads, sizes, depth, rngs) for depth, mixer in enumerate(model.mixers, start=1)],
        vocabulary=task.vocabulary,
        features=task.features,
        outputs=task.outputs,
        answers=task.answers,
        positions=positions,
        position_ids=ids,
        pool=model.pool if task.per == "sequence" else None,
        norm=norm if pre else None,
        rngs=rngs,
    )


def abstract_encoder(config: Config, task: Task, others: tuple[Task, ...] = ()) -> Encoder:
    """The encoder that a config describes, with shapes in place of numbers, tried on one sequence of every task.

    Args:
      config: of the experiment.  task: from `make_task`.  others: from `make_other_tasks`.
    Returns: the encoder.
    Raises: ConfigError for what cannot work, be it made or called.
    """
    length = longest(task, others)
    encoder = nnx.eval_shape(lambda: make_encoder(config, task, nnx.Rngs(0), length))

    def call(encoder: Encoder, task: Task) -> Array:
        inputs = jax.numpy.zeros((1, *task.input_shape), "int32" if task.features is None else "float32")
        return encoder(inputs, key_mask=jax.numpy.ones((1, task.length), bool) if task.padded else None)

    with _at("model"):
        try:
            nnx.eval_shape(partial(call, task=task), encoder)
        except ValueError as error:
            if length == task.length:
                raise
            raise ValueError(f"{error} (the model is made for evaluation.also, which reaches {length})") from error
    for index, other in enumerate(others):
        with _at(f"evaluation.also.{index}"):
            if (other.vocabulary, other.outputs, other.answers) != (task.vocabulary, task.outputs, task.answers):
                raise ValueError("changes which tokens or classes there are; a model can be judged on its own alone")
            nnx.eval_shape(partial(call, task=other), encoder)
    return encoder


def longest(task: Task, others: tuple[Task, ...] = ()) -> int:
    """The length of the longest sequences among some tasks."""
    return max(one.length for one in (task, *others))


def _block(model: ModelConfig, mixer: Any, heads: Heads, sizes: _Sizes, depth: int, rngs: nnx.Rngs) -> Block:
    layer = _layer(model, mixer, heads, sizes, depth, rngs)
    hidden = model.width * model.block.expansion
    mlp = None
    if model.block.mlp == "swiglu":
        mlp = GatedMlp(model.width, hidden, rngs=rngs)
    elif model.block.mlp != "none":
        mlp = Mlp(model.width, hidden, activation=ACTIVATIONS[model.block.mlp], rngs=rngs)
    norm, placement = NORMS[model.block.norm], model.block.placement
    return Block(model.width, layer, mlp, norm=norm, placement=placement, rngs=rngs)


def _layer(
    model: ModelConfig, mixer: Any, heads: Heads, sizes: _Sizes, depth: int, rngs: nnx.Rngs
) -> SelfAttention | VectorLayer:
    """What mixes positions in one block: heads around a mixer, or a mixer of vectors by itself."""
    place = "model.mixer" if isinstance(model.layers, int) else f"model.layers.{depth - 1}"
    structure = catalogue.in_slot("heads")[model.heads.name]
    if takes_vectors(mixer):
        with _at("model.heads"):
            if structure.layer is not None:
                raise ValueError(
                    f"{structure.name} heads need queries and keys, which {mixer.name} has not: take multi_head"
                )
        with _at(place):
            made = make_vector_mixer(mixer, sizes._asdict(), rngs)
            projects = catalogue.in_slot("mixer")[mixer.name].projects
            return VectorLayer(model.width, made, causal=sizes.causal, projects=projects, rngs=rngs)
    with _at(place):
        made = make_mixer(mixer, sizes._asdict(), rngs)
    with _at("model.heads"):
        layer = structure.layer or SelfAttention
        return layer(model.width, heads, made, causal=sizes.causal, depth=depth, rngs=rngs)


def takes_vectors(config: Any) -> bool:
    """Whether the mixer that a config names is one of vectors, without queries and keys."""
    return not isinstance(config, ParallelMixers) and catalogue.in_slot("mixer")[config.name].takes == "vectors"


def make_vector_mixer(config: Any, sizes: Mapping[str, Any], rngs: nnx.Rngs) -> VectorMixer:
    """The mixer of vectors that a config names.

    Args: those of `make_mixer`.
    Returns: the mixer.
    Raises: ValueError when it cannot do what the model wants of it.
    """
    entry = _able(config, sizes)
    return VectorMixer(make("mixer", config, sizes, rngs), causal=not entry.both_ways)


def make_mixer(config: Any, sizes: Mapping[str, Any], rngs: nnx.Rngs) -> Attention | Mixer | OnValues | Parallel:
    """The mixer that a config names, as one of heads.

    Args:
      config: an AttentionConfig, the config of another mixer, or several in parallel.
      sizes: of the model, by the names in `catalogue.SIZES`.
      rngs: for the parameters.
    Returns: the mixer; one of vectors mixes the values of its heads.
    Raises: ValueError when the mixer cannot do what the model wants of it.
    """
    if isinstance(config, ParallelMixers):
        return _parallel(config, sizes, rngs)
    entry = _able(config, sizes)
    if isinstance(config, AttentionConfig):
        return _attention(config, sizes, rngs)
    if entry.takes == "vectors":
        of_values = {**sizes, "width": sizes["heads"] * sizes["value_width"]}
        return OnValues(make_vector_mixer(config, of_values, rngs))
    return Mixer(make("mixer", config, sizes, rngs), entry.weights, causal=not entry.both_ways)


def _parallel(config: ParallelMixers, sizes: Mapping[str, Any], rngs: nnx.Rngs) -> Parallel:
    count = len(config.parallel)
    for name in ("heads", "groups"):
        if sizes[name] % count:
            raise ValueError(f"{count} mixers in parallel must divide the {name}, got {name}={sizes[name]}")
    share = {**sizes, "heads": sizes["heads"] // count, "groups": sizes["groups"] // count}
    return Parallel([make_mixer(mixer, share, rngs) for mixer in config.parallel])


def _able(config: Any, sizes: Mapping[str, Any]) -> catalogue.Entry:
    """The entry of a mixer, if it can be as causal as the model is.

    Raises: ValueError that says what to do.
    """
    entry = catalogue.in_slot("mixer")[config.name]
    if sizes["causal"] and not entry.causal:
        raise ValueError(f"{entry.name} cannot be causal: set model.causal to false, or take another mixer")
    if not sizes["causal"] and not entry.both_ways:
        raise ValueError(f"{entry.name} is causal by nature: set model.causal to true, or take another mixer")
    return entry


def _attention(config: AttentionConfig, sizes: Mapping[str, Any], rngs: nnx.Rngs) -> Attention:
    check_encodings(config)

    def each(slot: str, configs: tuple) -> list:
        return [make(slot, piece, sizes, rngs) for piece in configs]

    replaced = {} if config.aggregate is None else {"aggregate": make("aggregate", config.aggregate, sizes, rngs)}
    return Attention(
        encode=each("encode", config.encode),
        score=make("score", config.score, sizes, rngs),
        modifiers=each("modifiers", config.modifiers),
        biases=each("biases", config.biases),
        rowwise=each("rowwise", config.rowwise),
        mask=None if config.mask is None else make_mask(config.mask, sizes),
        normalizer=make("normalizer", config.normalizer, sizes, rngs),
        dropout=config.dropout,
        implementation=config.implementation,
        **replaced,
    )


def check_encodings(config: AttentionConfig) -> None:
    """Refuses an encoding whose meaning the score does not keep.

    Raises: ValueError that names both and the scores that would do.
    """
    score = catalogue.in_slot("score")[config.score.name]
    for piece in config.encode:
        required = catalogue.in_slot("encode")[piece.name].requires
        if required is not None and required not in score.keeps:
            able = [entry.name for entry in catalogue.in_slot("score").values() if required in entry.keeps]
            raise ValueError(
                f"{piece.name} needs a score that keeps {required}, so that it depends on the distance alone, which "
                f"{score.name} does not: take another score ({', '.join(able)}), or another kind of position"
            )


def make_mask(config: Any, sizes: Mapping[str, Any]) -> nnx.Module:
    """The module that gives the mask a config describes, with its any, all and not."""
    if isinstance(config, NotMask):
        return masks.Not(make_mask(config.negated, sizes))
    if isinstance(config, AnyMask):
        return masks.AnyOf([make_mask(part, sizes) for part in config.any])
    if isinstance(config, AllMask):
        return masks.AllOf([make_mask(part, sizes) for part in config.all])
    return as_module(make("mask", config, sizes))


class Hyperparameters(NamedTuple):
    """What may differ between the runs of one compiled program."""

    learning_rate: float | Array


def make_optimizer(config: TrainingConfig, hyperparameters: Hyperparameters) -> optax.GradientTransformation:
    """AdamW with the gradient's norm clipped, warmed up and then constant or cosine to a tenth.

    Args:
      config: the training part of a config.
      hyperparameters: of one run; they may be traced.
    Returns: the optimiser.
    """
    peak = hyperparameters.learning_rate
    decayed = max(config.steps - config.warmup, 1)

    def schedule(step: Any) -> Any:
        warm = jax.numpy.minimum((step + 1) / (config.warmup + 1), 1.0)
        if config.schedule == "constant":
            return peak * warm
        progress = jax.numpy.clip((step - config.warmup) / decayed, 0.0, 1.0)
        return peak * warm * (0.55 + 0.45 * jax.numpy.cos(jax.numpy.pi * progress))

    adamw = optax.adamw(schedule, weight_decay=config.weight_decay)
    chain = adamw if config.clip is None else optax.chain(optax.clip_by_global_norm(config.clip), adamw)
    # One long vector instead of a dozen small arrays: a third fewer kernels to compile and to launch in a tiny model.
    return optax.flatten(chain)
