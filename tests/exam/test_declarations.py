"""What an entry declares is exactly so: in the catalogue, in its docstring, in the schema of a config."""

import math
import typing
from collections.abc import Iterator
from typing import Any

import annotated_types
import jax
import pytest
from flax import nnx

from selfattn_jax import build, catalogue
from selfattn_jax.catalogue import SIZES, Entry
from selfattn_jax.config import ConfigError, from_mapping, validate
from selfattn_jax.config.schema import Config
from tests.exam import sitting
from tests.exam.sitting import every

every_entry = every(lambda entry: True)
every_in_config = every(lambda entry: entry.in_config)


def read(**model: Any) -> Config:
    """What a config with this model reads as, by the path that a file takes."""
    return validate(from_mapping({"task": "adding", "model": model}), Config)


def config_naming(entry: Entry, **knobs: Any) -> dict[str, Any]:
    """A config that names an entry where it belongs."""
    piece = {"name": entry.name, **entry.example, **knobs}
    slot = entry.slot
    if slot == "task":
        return {"task": piece}
    if slot not in sitting.PIECES:
        return {"task": "adding", "model": {slot: piece}}
    return {"task": "adding", "model": {"mixer": {slot: [piece] if slot in sitting.SEVERAL else piece}}}


@every_entry
def test_says_what_it_is(entry):
    documentation = entry.function.__doc__ or ""
    assert entry.summary.endswith((".", "?")), "the docstring's first line is the summary"
    assert "Args:" in documentation or not entry.parameters()
    assert "Returns:" in documentation
    assert entry.cost
    if entry.in_config:
        assert entry.paper
        assert entry.paper.replace("&", "and") in documentation.replace("&", "and"), (
            "it refers to the catalogue's paper"
        )


@every_entry
def test_has_one_name_within_its_kind(entry):
    assert catalogue.find(entry.kind, entry.name) is entry
    assert entry.name.isidentifier()


@every_entry
def test_declares_only_what_its_kind_can_have(entry):
    assert entry.acts_on is not None or entry.kind != "positions"
    assert catalogue.in_slot(entry.slot)[entry.name] is entry, "one name within a slot"
    assert not entry.keeps or entry.slot == "score"
    assert entry.requires is None or entry.slot == "encode"
    assert not (entry.needs_weights or entry.layer) or entry.kind == "heads"
    assert entry.mask == "arbitrary" or entry.kind == "mixers"
    assert entry.weights is None or entry.kind == "mixers"


@every(lambda entry: entry.module)
def test_a_module_asks_for_sizes_that_the_model_has(entry):
    positional = [p.name for p in entry.parameters() if p.kind is not p.KEYWORD_ONLY]
    assert set(positional) <= set(SIZES)
    assert set(sitting.SIZES) == set(SIZES)


@every_entry
def test_learns_exactly_where_declared(entry):
    if entry.module is None or not entry.in_config:
        assert not entry.learns
        return
    config, rngs = sitting.config_of(entry), nnx.Rngs(0)
    sizes = sitting.SIZES | {"causal": not entry.both_ways}
    mixer = entry.kind == "mixers"
    made = build.make_mixer(config, sizes, rngs) if mixer else build.make(entry.slot, config, sizes, rngs)
    assert bool(jax.tree.leaves(nnx.state(made, nnx.Param))) == entry.learns


@every_in_config
def test_every_knob_has_a_default_or_an_example(entry):
    for name, parameter in entry.knobs().items():
        assert parameter.default is not parameter.empty or name in entry.example
    assert set(entry.example) <= set(entry.knobs())


@every_in_config
def test_a_config_may_name_it(entry):
    validate(from_mapping(config_naming(entry)), Config)


@every(lambda entry: not entry.in_config)
def test_a_config_may_not_name_what_is_made_of_data(entry):
    with pytest.raises(ConfigError, match=f"unknown name '{entry.name}'; known are "):
        validate(from_mapping(config_naming(entry)), Config)


@every(lambda entry: entry.kind == "positions")
def test_a_position_in_the_wrong_slot_is_refused(entry):
    for slot in {"encode", "biases", "rowwise"} - {sitting.slot_of(entry)}:
        with pytest.raises(ConfigError, match=rf"mixer.{slot}.0.name  unknown name '{entry.name}'; known are "):
            read(mixer={slot: [{"name": entry.name}]})
    if entry.acts_on != "inputs":
        with pytest.raises(ConfigError, match=f"model.positions.*unknown name '{entry.name}'; known are "):
            read(positions={"name": entry.name})


@every(lambda entry: entry.kind == "mixers" and entry.name != "attention")
def test_a_mixer_refuses_the_slots_and_masks_of_attention(entry):
    for slot, value in {"mask": "causal", "score": "dot", "dropout": 0.1}.items():
        with pytest.raises(ConfigError, match=f"model.mixer.{slot}  unknown key; known are name"):
            read(mixer={"name": entry.name, slot: value})


def ranges(annotation: Any) -> Iterator[tuple[type, Any]]:
    """The bounds in a knob's annotation, each with the type that it bounds."""
    if typing.get_origin(annotation) is typing.Annotated:
        kind, *metadata = typing.get_args(annotation)
        for bound in metadata:
            yield kind, bound
    else:
        for part in typing.get_args(annotation):
            yield from ranges(part)


def outside(kind: type, bound: Any) -> tuple[Any, float]:
    """The nearest value that a bound refuses, and the bound."""
    if isinstance(bound, (annotated_types.Gt, annotated_types.Lt)):
        limit = getattr(bound, "gt", getattr(bound, "lt", None))
        return kind(limit), limit
    limit, below = (bound.ge, True) if isinstance(bound, annotated_types.Ge) else (bound.le, False)
    step = -1 if below else 1
    return (limit + step if kind is int else math.nextafter(limit, step * math.inf)), limit


@every_in_config
def test_a_value_just_outside_a_range_is_refused(entry):
    for name, parameter in entry.knobs().items():
        for kind, bound in ranges(parameter.annotation):
            value, limit = outside(kind, bound)
            with pytest.raises(ConfigError, match=rf"\.{name}  must be .*\b{limit:g}\b.*, got "):
                validate(from_mapping(config_naming(entry, **{name: value})), Config)


@every_in_config
def test_a_knob_of_the_wrong_type_or_an_unknown_one_is_refused(entry):
    with pytest.raises(ConfigError, match="unknown key"):
        validate(from_mapping(config_naming(entry, no_such_knob=1)), Config)
    for name in entry.knobs():
        with pytest.raises(ConfigError, match=rf"\.{name}"):
            validate(from_mapping(config_naming(entry, **{name: {"not": "a value"}})), Config)


def test_an_unknown_name_says_what_was_meant():
    with pytest.raises(KeyError, match="no normalizers called 'sofmax'; did you mean softmax"):
        catalogue.find("normalizers", "sofmax")
