"""The schema: the catalogue's knobs and nothing else, strictly, and what is resolved reads back as the same."""

import inspect
import types
import typing
from pathlib import Path
from typing import Any

import jax
import pytest
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from ruamel.yaml import YAML

from selfattn_jax import catalogue
from selfattn_jax.catalogue import Entry
from selfattn_jax.config import ConfigError, from_mapping, read, to_yaml, validate
from selfattn_jax.config.schema import AttentionConfig, Config, entry_model

CONFIG_FILES = Path(__file__).parents[2] / "configs"
TASK = {"name": "adding"}
IN_CONFIG = [entry for entry in catalogue.entries if entry.in_config and entry.name != "attention"]
PLACES = {
    "task": lambda piece: {"task": piece},
    "heads": lambda piece: {"task": TASK, "model": {"heads": piece}},
    "positions": lambda piece: {"task": TASK, "model": {"positions": piece}},
    "position_ids": lambda piece: {"task": TASK, "model": {"position_ids": piece}},
    "mixer": lambda piece: {"task": TASK, "model": {"mixer": piece}},
    "encode": lambda piece: {"task": TASK, "model": {"mixer": {"encode": [piece]}}},
    "score": lambda piece: {"task": TASK, "model": {"mixer": {"score": piece}}},
    "modifiers": lambda piece: {"task": TASK, "model": {"mixer": {"modifiers": [piece]}}},
    "biases": lambda piece: {"task": TASK, "model": {"mixer": {"biases": [piece]}}},
    "rowwise": lambda piece: {"task": TASK, "model": {"mixer": {"rowwise": [piece]}}},
    "mask": lambda piece: {"task": TASK, "model": {"mixer": {"mask": piece}}},
    "normalizer": lambda piece: {"task": TASK, "model": {"mixer": {"normalizer": piece}}},
    "aggregate": lambda piece: {"task": TASK, "model": {"mixer": {"aggregate": piece}}},
}


def config(**parts: Any) -> Config:
    return validate(from_mapping({"task": TASK, **parts}), Config)


def mixer(**slots: Any) -> Any:
    return config(model={"mixer": {"name": "attention", **slots}}).model.mixer


def complaints(**parts: Any) -> list[tuple[str, str]]:
    """Path and message of every problem."""
    with pytest.raises(ConfigError) as refused:
        config(**parts)
    return [(problem.path, problem.message) for problem in refused.value.problems]


# The catalogue is the schema.


@pytest.mark.parametrize("entry", IN_CONFIG, ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_an_entry_is_configured_by_its_knobs_with_their_defaults(entry: Entry) -> None:
    model = entry_model(entry)
    knobs = entry.knobs()
    assert list(model.model_fields) == ["name", *knobs]
    assert model.model_fields["name"].is_required()
    for name, parameter in knobs.items():
        field = model.model_fields[name]
        assert field.is_required() == (parameter.default is inspect.Parameter.empty)
        if not field.is_required():
            assert field.default == parameter.default
    made = model(name=entry.name, **entry.example)
    assert made.model_dump()["name"] == entry.name


@pytest.mark.parametrize("entry", IN_CONFIG, ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_an_entry_refuses_a_knob_that_it_does_not_have(entry: Entry) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        entry_model(entry)(name=entry.name, **entry.example, bogus=1)


def test_the_slots_of_attention_in_a_config_are_those_of_the_function() -> None:
    assert list(AttentionConfig.model_fields) == ["name", *catalogue.find("mixers", "attention").knobs()]


def test_every_entry_has_a_place() -> None:
    assert {entry.slot for entry in catalogue.entries} == set(PLACES) == set(catalogue.SLOTS.values())


@pytest.mark.parametrize("slot", PLACES)
def test_every_entry_of_a_slot_can_be_named_there(slot: str) -> None:
    for entry in catalogue.in_slot(slot).values():
        document = from_mapping(PLACES[slot]({"name": entry.name, **entry.example} if entry.example else entry.name))
        if entry.in_config:
            validate(document, Config)
        else:
            with pytest.raises(ConfigError, match=f"unknown name '{entry.name}'"):
                validate(document, Config)


@pytest.mark.parametrize("slot", PLACES)
def test_an_entry_can_stand_only_where_it_acts(slot: str) -> None:
    for entry in catalogue.entries:
        if entry.name not in catalogue.in_slot(slot):
            with pytest.raises(ConfigError) as refused:
                validate(from_mapping(PLACES[slot](entry.name)), Config)
            problem, *_ = refused.value.problems
            assert problem.message.startswith(f"unknown name '{entry.name}'")


# The sample of the design.

SAMPLE = """
extends: base.yaml
task: {name: multi_query_recall, length: 64, pairs: 4, vocabulary: 256}
model:
  width: 64
  layers: 2
  causal: true
  positions: {name: learned}
  heads: {name: multi_head, count: 1}
  block: {norm: rms, placement: pre, mlp: none}
  mixer:
    name: attention
    encode: [{name: rope, base: 10000}]
    score: scaled_dot
    modifiers: [{name: softcap, cap: 30}]
    biases: [alibi]
    mask: {any: [{name: window, left: 8}, {name: prefix, length: 2}]}
    normalizer: softmax
training: {steps: 2000, batch: 64, learning_rate: 3.0e-3}
runs: {seeds: 5, sweep: {training.learning_rate: [1.0e-3, 3.0e-3]}}
"""


def test_the_sample_of_the_design_is_a_config(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("evaluation: {test: 100}\ntraining: {warmup: 7}\n")
    (tmp_path / "softmax.yaml").write_text(SAMPLE)
    sample = validate(read(tmp_path / "softmax.yaml"), Config)
    assert sample.evaluation.test == 100
    assert sample.training.warmup == 7
    assert sample.runs.sweep.learning_rate == (1e-3, 3e-3)
    resolved = sample.resolved()
    assert resolved["model"]["mixer"]["encode"] == [
        {"name": "rope", "base": 10000.0, "layout": "half", "rotated": None}
    ]
    assert resolved["model"]["mixer"]["mask"]["any"][0] == {"name": "window", "left": 8, "right": 0}
    assert resolved["runs"]["sweep"] == {"training.learning_rate": [1e-3, 3e-3]}


@pytest.mark.parametrize("path", sorted(CONFIG_FILES.rglob("*.yaml")), ids=lambda path: path.stem)
def test_the_configs_that_come_with_the_package_are_configs(path: Path) -> None:
    if "task" in read(path).data:
        validate(read(path), Config)


# Names and mappings.


def test_a_piece_is_a_name_or_a_mapping_with_one() -> None:
    assert mixer(score="cosine") == mixer(score={"name": "cosine"})
    assert mixer(score={"name": "cosine", "temperature": 0.2}).score.temperature == 0.2


def test_where_a_piece_has_a_default_its_knobs_alone_will_do() -> None:
    heads = config(model={"heads": {"count": 4}}).model.heads
    assert (heads.name, heads.count) == ("multi_head", 4)
    assert config(model={"mixer": {"dropout": 0.5}}).model.mixer == mixer(dropout=0.5)
    assert config(model={"mixer": {}}).model.mixer == mixer()


def test_what_is_left_out_is_softmax_attention() -> None:
    left = config().model.mixer
    assert (left.score.name, left.normalizer.name, left.mask, left.dropout) == ("scaled_dot", "softmax", None, 0.0)
    assert left.encode == left.modifiers == left.biases == left.rowwise == ()


def test_a_task_must_be_named() -> None:
    with pytest.raises(ConfigError, match="missing"):
        validate(from_mapping({}), Config)
    with pytest.raises(ConfigError, match="missing"):
        validate(from_mapping({"task": {"length": 8}}), Config)


# Masks.


def test_masks_combine_with_any_all_and_not() -> None:
    mask = mixer(
        mask={
            "all": [
                "causal",
                {"not": {"any": [{"name": "window", "left": 2}, {"not": {"name": "prefix", "length": 3}}]}},
            ]
        }
    ).mask
    causal, outer = mask.all
    window, inner = outer.negated.any
    assert (causal.name, window.left, window.right, inner.negated.length) == ("causal", 2, 0, 3)


@pytest.mark.parametrize("form", ["any", "all"])
def test_a_combination_of_no_masks_is_refused(form: str) -> None:
    found = complaints(model={"mixer": {"mask": {form: []}}})
    assert found == [(f"model.mixer.mask.{form}", "must hold at least one item")]


def test_what_is_wrong_inside_a_combination_is_found_there() -> None:
    found = complaints(model={"mixer": {"mask": {"any": ["causal", {"not": {"name": "window", "left": -1}}]}}})
    assert found == [("model.mixer.mask.any.1.not.left", "must be at least 0, got -1")]
    found = complaints(model={"mixer": {"mask": {"any": ["casual"]}}})
    assert [path for path, _ in found] == ["model.mixer.mask.any.0"]


# Strictness.


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("steps", True, "must be a whole number, got true"),
        ("steps", "3", "must be a whole number, got '3'"),
        ("steps", 3.0, "must be a whole number, got 3.0"),
        ("steps", 0, "must be greater than 0, got 0"),
        ("steps", None, "must be a whole number, got null"),
        ("learning_rate", True, "must be a number, got true"),
        ("learning_rate", "0.1", "must be a number, got '0.1'"),
        ("learning_rate", 0.0, "must be greater than 0, got 0.0"),
        ("learning_rate", float("inf"), "must be finite, got inf"),
        ("learning_rate", float("nan"), "must be finite, got nan"),
        ("schedule", "linear", "must be 'constant' or 'cosine', got 'linear'"),
        ("clip", -1.0, "must be greater than 0, got -1.0"),
        ("warmup", -1, "must be at least 0, got -1"),
        ("stepz", 3, "unknown key"),
    ],
)
def test_nothing_is_converted_or_passed_over(part: str, value: Any, message: str) -> None:
    assert complaints(training={part: value}) == [(f"training.{part}", message)]


def test_a_whole_number_is_a_number_too() -> None:
    training = config(training={"learning_rate": 1, "clip": 2, "weight_decay": 0}).training
    assert (training.learning_rate, training.clip, training.weight_decay) == (1.0, 2.0, 0.0)
    assert all(type(value) is float for value in (training.learning_rate, training.clip, training.weight_decay))


def test_a_switch_is_true_false_or_null() -> None:
    assert [config(model={"causal": value}).model.causal for value in (True, False, None)] == [True, False, None]
    [(path, message)] = complaints(model={"causal": 1})
    assert path == "model.causal"
    assert message.startswith("must be")


def test_a_list_becomes_a_tuple_with_strict_items() -> None:
    assert config(runs={"seeds": [3, 1]}).runs.seeds == (3, 1)
    assert config(runs={"sweep": {"training.learning_rate": [1, 0.5]}}).runs.sweep.learning_rate == (1.0, 0.5)
    assert isinstance(mixer(biases=["alibi"]).biases, tuple)
    assert complaints(runs={"seeds": [0, "1"]}) == [("runs.seeds.1", "must be a whole number, got '1'")]
    assert complaints(model={"mixer": {"biases": "alibi"}}) == [("model.mixer.biases", "must be a list, got 'alibi'")]


@pytest.mark.parametrize(
    ("seeds", "path", "message"),
    [
        (0, "runs.seeds", "must be greater than 0, got 0"),
        ([], "runs.seeds", "must hold at least one item"),
        ([4, 4], "runs.seeds", "must all be different, 4 comes twice"),
        ([1 << 32], "runs.seeds.0", "must be less than 4294967296, got 4294967296"),
        ([-1], "runs.seeds.0", "must be at least 0, got -1"),
    ],
)
def test_seeds_are_different_and_fit_a_key(seeds: Any, path: str, message: str) -> None:
    assert complaints(runs={"seeds": seeds}) == [(path, message)]


def test_a_learning_rate_is_swept_once() -> None:
    found = complaints(runs={"sweep": {"training.learning_rate": [0.1, 0.2, 0.1]}})
    assert found == [("runs.sweep.training.learning_rate", "must all be different, 0.1 comes twice")]


def test_the_seed_of_evaluation_fits_a_key() -> None:
    assert config(evaluation={"seed": (1 << 32) - 1}).evaluation.seed == (1 << 32) - 1
    assert complaints(evaluation={"seed": 1 << 32})[0][0] == "evaluation.seed"


def test_every_problem_is_told_at_once() -> None:
    found = complaints(task={"name": "adding", "length": 0}, model={"width": "8", "layer": 2}, training={"batch": None})
    assert [path for path, _ in found] == ["task.length", "model.width", "model.layer", "training.batch"]


def test_a_config_that_was_read_does_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        config().training.steps = 3  # pyright: ignore[reportAttributeAccessIssue]
    assert hash(config()) == hash(config())


# What is resolved reads back.


def knob_values(annotation: Any) -> st.SearchStrategy:
    """Values that a knob's annotation allows."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([knob_values(part) for part in arguments if part is not jax.Array])
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        return st.lists(knob_values(arguments[0]), min_size=1, max_size=3, unique=True)
    if annotation is type(None):
        return st.none()
    low, high, above, below = None, 1e6, False, False
    if origin is typing.Annotated:
        annotation, *bounds = arguments
        for bound in bounds:
            if isinstance(bound, Ge):
                low = bound.ge
            elif isinstance(bound, Gt):
                low, above = bound.gt, True
            elif isinstance(bound, Lt):
                high, below = bound.lt, True
            elif isinstance(bound, Le):
                high = bound.le
    if annotation is int:
        return st.integers((low or 0) + above, 1000)
    if annotation is bool:
        return st.booleans()
    if annotation is str:
        return st.text("aé0 ./:#-'\"", max_size=8)
    assert annotation is float, annotation
    return st.floats(-1e6 if low is None else low, high, exclude_min=above, exclude_max=below)


def pieces(slot: str) -> st.SearchStrategy:
    """A piece of a slot, by name or with knobs."""
    entries = [entry for entry in catalogue.in_slot(slot).values() if entry.in_config and entry.name != "attention"]
    whole = [
        st.fixed_dictionaries(
            {"name": st.just(entry.name)}
            | {
                name: knob_values(knob.annotation) for name, knob in entry.knobs().items() if knob.default is knob.empty
            },
            optional={
                name: knob_values(knob.annotation)
                for name, knob in entry.knobs().items()
                if knob.default is not knob.empty
            },
        )
        for entry in entries
    ]
    plain = [
        st.just(entry.name)
        for entry in entries
        if all(knob.default is not knob.empty for knob in entry.knobs().values())
    ]
    return st.one_of(whole + plain)


MASKS = st.recursive(
    pieces("mask"),
    lambda masks: st.one_of(
        st.fixed_dictionaries({"any": st.lists(masks, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"all": st.lists(masks, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": masks}),
    ),
    max_leaves=4,
)
ATTENTION = st.fixed_dictionaries(
    {"name": st.just("attention")},
    optional={
        "encode": st.lists(pieces("encode"), max_size=2),
        "score": pieces("score"),
        "modifiers": st.lists(pieces("modifiers"), max_size=3),
        "biases": st.lists(pieces("biases"), max_size=2),
        "rowwise": st.lists(pieces("rowwise"), max_size=1),
        "mask": st.none() | MASKS,
        "normalizer": pieces("normalizer"),
        "dropout": st.floats(0, 1, exclude_max=True),
        "aggregate": st.none() | pieces("aggregate"),
        "implementation": st.sampled_from(["auto", "dense", "rows"]),
    },
)
CONFIGS = st.fixed_dictionaries(
    {"task": pieces("task")},
    optional={
        "model": st.fixed_dictionaries(
            {},
            optional={
                "width": st.integers(1, 512),
                "causal": st.sampled_from([None, True, False]),
                "positions": st.none() | pieces("positions"),
                "position_ids": st.none() | pieces("position_ids"),
                "heads": pieces("heads"),
                "block": st.fixed_dictionaries({}, optional={"mlp": st.sampled_from(["none", "gelu", "swiglu"])}),
                "pool": st.sampled_from(["mean", "first", "last"]),
                "mixer": ATTENTION | pieces("mixer"),
            },
        ),
        "training": st.fixed_dictionaries(
            {},
            optional={
                "learning_rate": st.floats(1e-30, 1e30) | st.integers(1, 9),
                "clip": st.none() | st.floats(1e-3, 10),
                "schedule": st.sampled_from(["constant", "cosine"]),
            },
        ),
        "runs": st.fixed_dictionaries(
            {},
            optional={
                "seeds": st.integers(1, 9) | st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3, unique=True),
                "sweep": st.fixed_dictionaries(
                    {"training.learning_rate": st.lists(st.floats(1e-9, 1), max_size=3, unique=True)}
                ),
            },
        ),
    },
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(data=CONFIGS)
def test_what_is_resolved_reads_back_as_the_same_config(data: dict[str, Any], tmp_path: Path) -> None:
    once = validate(from_mapping(data), Config)
    resolved = once.resolved()
    assert validate(from_mapping(resolved), Config) == once
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(resolved))
    again = validate(read(path), Config)
    assert again == once
    assert again.resolved() == resolved
    assert hash(again) == hash(once)


def test_what_is_resolved_holds_every_key() -> None:
    resolved = config(model={"mixer": {"score": "cosine"}}).resolved()
    assert list(resolved) == ["task", "model", "training", "evaluation", "runs"]
    assert resolved["task"] == {"name": "adding", "length": 100}
    assert resolved["model"]["mixer"]["score"] == {"name": "cosine", "temperature": 0.1}
    assert YAML(typ="safe").load(to_yaml(resolved)) == resolved


# For other programs.


def test_the_json_schema_names_every_key_and_every_entry() -> None:
    schema = Config.model_json_schema(by_alias=True)
    assert list(schema["properties"]) == ["task", "model", "training", "evaluation", "runs"]
    assert schema["required"] == ["task"]
    definitions = schema["$defs"]
    for entry in IN_CONFIG:
        definition = definitions[f"{entry.kind}_{entry.name}"]
        assert list(definition["properties"]) == ["name", *entry.knobs()]
        assert definition["additionalProperties"] is False
        assert definition["description"] == entry.summary
    assert list(definitions["SweepConfig"]["properties"]) == ["training.learning_rate"]
    assert list(definitions["NotMask"]["properties"]) == ["not"]
    assert definitions["TrainingConfig"]["properties"]["steps"]["exclusiveMinimum"] == 0
