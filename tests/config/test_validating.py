"""Validating: every kind of mistake, its place and its words, and that what is written reads back."""

from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    RootModel,
    Tag,
    field_validator,
    model_validator,
)

from selfattn_jax import catalogue
from selfattn_jax.config import ConfigError, from_mapping, read, schema, to_yaml, validate, with_overrides
from selfattn_jax.config.validating import _belongs


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Window(Strict):
    name: Literal["window"]
    left: Annotated[int, Field(gt=0)]
    window: int = 1


class Softcap(Strict):
    name: Literal["softcap"]
    cap: Annotated[float, Field(ge=0, lt=100)] = 30.0
    shape: tuple[int, int] = (1, 1)


class Causal(Strict):
    name: Literal["causal"] = "causal"


def named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Piece = Annotated[Window | Softcap, Field(discriminator="name"), BeforeValidator(named)]


class Not(Strict):
    hidden: "Mask" = Field(alias="not")


class AnyOf(Strict):
    any: "list[Mask]"


def form(value: Any) -> str:
    return next((key for key in ("any", "not") if isinstance(value, dict) and key in value), "name")


Mask = Annotated[
    Annotated[AnyOf, Tag("any")] | Annotated[Not, Tag("not")] | Annotated[Piece, Tag("name")], Discriminator(form)
]


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Model(Strict):
    width: Annotated[int, Field(gt=0, multiple_of=4)] = 64
    rate: Annotated[float, Field(gt=0, le=0.5, allow_inf_nan=False)] = 0.1
    causal: bool | None = None
    mixer: Piece = Softcap(name="softcap")
    modifiers: tuple[Piece, ...] = ()
    layers: int | list[Piece] = 2
    either: Literal["auto"] | Window | Annotated[int, Field(gt=0)] = "auto"
    mask: Mask | None = None
    only: Annotated[Causal, BeforeValidator(named)] = Causal()
    schedule: Literal["constant", "cosine"] = "constant"
    label: Annotated[str, Field(min_length=2, max_length=4, pattern="^[a-z]*$")] = "ab"
    sweep: dict[str, list[float]] = {}
    pair: tuple[int, str] = (1, "a")
    several: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    colour: Colour = Colour.RED
    dotted: int = Field(default=1, alias="training.rate")

    @field_validator("label")
    @classmethod
    def no_x(cls, value: str) -> str:
        if "x" in value:
            raise ValueError("x is taken; choose another letter")
        return value


class Config(Strict):
    task: str
    model: Model = Model()

    @model_validator(mode="after")
    def together(self) -> "Config":
        if self.task == self.model.label:
            raise ValueError("task and\nmodel.label must differ")
        return self


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def document(text, *overrides):
    with open("config.yaml", "w", encoding="utf-8", newline="") as file:
        file.write(text)
    return read("config.yaml", overrides)


def mistakes(text, *overrides, model: type[BaseModel] = Config):
    with pytest.raises(ConfigError) as caught:
        validate(document(text, *overrides), model)
    return [(found.where, found.path, found.message, found.suggestion) for found in caught.value.problems]


def test_what_is_right():
    text = "task: t\nmodel: {rate: 0.25, modifiers: [window, softcap], pair: [3, b], colour: blue, training.rate: 5}\n"
    config = validate(document(text, "model.modifiers.0.left=3", "model.mixer={name: softcap, cap: 5}"), Config)
    assert config.model.modifiers == (Window(name="window", left=3), Softcap(name="softcap"))
    assert repr(config.model.mixer) == "Softcap(name='softcap', cap=5.0, shape=(1, 1))"
    assert config.model.pair == (3, "b") and config.model.colour is Colour.BLUE and config.model.dotted == 5
    masked = validate(document("task: t\nmodel: {mask: {not: {any: [softcap, {name: window, left: 1}]}}}"), Config)
    assert isinstance(masked.model.mask, Not) and isinstance(masked.model.mask.hidden, AnyOf)


KNOWN = "unknown name 'windw'; known are window, softcap"


@pytest.mark.parametrize(
    ("setting", "column", "path", "message", "suggestion"),
    [
        ("widht: 8", 9, "widht", "unknown key", "width"),
        ("width: ten", 9, "width", "must be a whole number, got 'ten'", None),
        ("width: '12'", 9, "width", "must be a whole number, got '12'", "12"),
        ("width: 8.0", 9, "width", "must be a whole number, got 8.0", "8"),
        ("width: 8.5", 9, "width", "must be a whole number, got 8.5", None),
        ("width: true", 9, "width", "must be a whole number, got true", None),
        ("width: null", 9, "width", "must be a whole number, got null", None),
        ("width: [8]", 9, "width", "must be a whole number, got a list", None),
        ("width: -4", 9, "width", "must be greater than 0, got -4", None),
        ("width: 6", 9, "width", "must be a multiple of 4, got 6", None),
        ("rate: '1e-3'", 9, "rate", "must be a number, got '1e-3'", "0.001"),
        ("rate: true", 9, "rate", "must be a number, got true", None),
        ("rate: 0.0", 9, "rate", "must be greater than 0, got 0.0", None),
        ("rate: 1", 9, "rate", "must be at most 0.5, got 1", None),
        ("rate: .nan", 9, "rate", "must be finite, got nan", None),
        ("causal: yes", 9, "causal", "must be true, false or null, got 'yes'", "true"),
        ("causal: 1", 9, "causal", "must be true, false or null, got 1", None),
        ("mixer: {name: softcap, cap: 100}", 32, "mixer.cap", "must be less than 100, got 100", None),
        ("mixer: {name: softcap, cap: -1}", 32, "mixer.cap", "must be at least 0, got -1", None),
        ("mixer: {name: softcap, cup: 1}", 32, "mixer.cup", "unknown key", "cap"),
        ("mixer: {name: softcap, zzz: 1}", 32, "mixer.zzz", "unknown key; known are name, cap, shape", None),
        ("mixer: {name: windw, left: 1}", 17, "mixer.name", KNOWN, "window"),
        ("mixer: windw", 9, "mixer", KNOWN, "window"),
        ("mixer: {name: 5}", 17, "mixer.name", "unknown name 5; known are window, softcap", None),
        ("mixer: {left: 5}", 9, "mixer.name", "missing; needs one of window, softcap", None),
        ("mixer: 5", 9, "mixer", "must be one of window, softcap, got 5", None),
        ("mixer: window", 9, "mixer.left", "missing; needs a whole number", None),
        ("mixer: {name: window, window: 8}", 9, "mixer.left", "missing; needs a whole number", None),
        ("modifiers: softcap", 9, "modifiers", "must be a list, got 'softcap'", "[softcap]"),
        ("modifiers: [windw]", 21, "modifiers.0", KNOWN, "window"),
        ("modifiers: [{name: windw}]", 22, "modifiers.0.name", KNOWN, "window"),
        ("modifiers: [softcap, window]", 30, "modifiers.1.left", "missing; needs a whole number", None),
        ("layers: ten", 9, "layers", "must be a whole number or a list, got 'ten'", None),
        ("layers: '3'", 9, "layers", "must be a whole number or a list, got '3'", "3"),
        ("layers: [windw]", 18, "layers.0", KNOWN, "window"),
        ("layers: [{name: softcap, cup: 1}]", 34, "layers.0.cup", "unknown key", "cap"),
        ("either: aut", 9, "either", "must be 'auto', a mapping or a whole number, got 'aut'", "auto"),
        ("either: 0", 9, "either", "must be greater than 0, got 0", None),
        ("either: {name: window, lft: 1, left: 2}", 32, "either.lft", "unknown key", "left"),
        ("mask: windw", 9, "mask", KNOWN, "window"),
        ("mask: {any: [windw]}", 22, "mask.any.0", KNOWN, "window"),
        ("mask: {not: {any: [{not: {name: windw}}]}}", 35, "mask.not.any.0.not.name", KNOWN, "window"),
        ("mask: {not: softcap, nto: 1}", 30, "mask.nto", "unknown key", "not"),
        ("mask: 5", 9, "mask", "must be one of window, softcap, got 5", None),
        ("only: casual", 9, "only.name", "unknown name 'casual'; known are causal", "causal"),
        ("only: {x: 1}", 16, "only.x", "unknown key; known are name", None),
        ("schedule: cosin", 9, "schedule", "must be 'constant' or 'cosine', got 'cosin'", "cosine"),
        ("schedule: 1", 9, "schedule", "must be 'constant' or 'cosine', got 1", None),
        ("colour: bleu", 9, "colour", "must be 'red' or 'blue', got 'bleu'", "blue"),
        ("label: 5", 9, "label", "must be text, got 5", None),
        ("label: a", 9, "label", "must be at least 2 characters long, got 'a'", None),
        ("label: abcde", 9, "label", "must be at most 4 characters long, got 'abcde'", None),
        ("label: A1", 9, "label", "must match ^[a-z]*$, got 'A1'", None),
        ("label: axe", 9, "label", "x is taken; choose another letter", None),
        ("sweep: {a.b: [x]}", 23, "sweep.a.b.0", "must be a number, got 'x'", None),
        ("sweep: {a.b: 1}", 17, "sweep.a.b", "must be a list, got 1", None),
        ("sweep: 1", 9, "sweep", "must be a mapping, got 1", None),
        ("pair: [1, 2]", 19, "pair.1", "must be text, got 2", None),
        ("pair: [1]", 9, "pair.1", "missing; needs text", None),
        ("pair: [1, a, 2]", 9, "pair", "must hold at most 2 items, got 3", None),
        ("several: []", 9, "several", "must hold at least 1 items, got 0", None),
        ("several: [1, b]", 22, "several.1", "must be a whole number, got 'b'", None),
        ("training.rat: 1", 9, "training.rat", "unknown key", "training.rate"),
    ],
)
def test_every_kind_of_mistake(setting, column, path, message, suggestion):
    where = f"config.yaml:2:{column}"
    assert mistakes(f"task: t\nmodel: {{{setting}}}\n") == [(where, f"model.{path}", message, suggestion)]


def test_mistakes_of_the_whole():
    assert mistakes("model: {}\n") == [("config.yaml:1:1", "task", "missing; needs text", None)]
    assert mistakes("task: t\nmodel: 5\n") == [("config.yaml:2:1", "model", "must be a mapping, got 5", None)]
    assert mistakes("# c\ntask: ab\n") == [("config.yaml:2:1", "", "task and model.label must differ", None)], "a line"


def test_all_mistakes_in_the_order_of_the_files():
    with open("base.yaml", "w", encoding="utf-8") as file:
        file.write("model:\n  mixer: {name: softcap, cap: -1}\n  width: 6\n")
    text = "extends: base.yaml\nmodel:\n  schedule: linear\n  wide: 1\n"
    assert [found[:2] for found in mistakes(text, "model.rate=fast", "model.mixer.cop=2", "modle.width=3")] == [
        ("config.yaml:1:1", "task"),
        ("base.yaml:2:26", "model.mixer.cap"),
        ("command line: model.mixer.cop=2", "model.mixer.cop"),
        ("base.yaml:3:3", "model.width"),
        ("config.yaml:3:3", "model.schedule"),
        ("config.yaml:4:3", "model.wide"),
        ("command line: model.rate=fast", "model.rate"),
        ("command line: modle.width=3", "modle"),
    ]


def test_the_printed_error():
    with pytest.raises(ConfigError) as caught:
        validate(document("task: t\nmodel:\n  mixer: {name: sofcap}\n  widht: 8\n", "model.rate=fast"), Config)
    assert str(caught.value).split("\n") == [
        "config.yaml:3:11               model.mixer.name  unknown name 'sofcap'; known are window, softcap"
        + "  did you mean softcap?",
        "config.yaml:4:3                model.widht       unknown key  did you mean width?",
        "command line: model.rate=fast  model.rate        must be a number, got 'fast'",
    ]


def test_an_override_inside_a_bare_string_is_located():
    text = "task: t\nmodel: {mixer: softcap, modifiers: [window]}\n"
    assert mistakes(text, "model.mixer.cap=x", "model.modifiers.0.lft=1") == [
        ("command line: model.mixer.cap=x", "model.mixer.cap", "must be a number, got 'x'", None),
        ("config.yaml:2:37", "model.modifiers.0.left", "missing; needs a whole number", None),
        ("command line: model.modifiers.0.lft=1", "model.modifiers.0.lft", "unknown key", "left"),
    ]


def test_a_setting_of_a_study_is_located():
    changed = with_overrides(document("task: t\n"), {"model.mixer": {"name": "softcap", "cap": "x"}}, "variant capped")
    with pytest.raises(ConfigError, match=r"variant capped: model.mixer=a mapping  model.mixer.cap  must be a number"):
        validate(changed, Config)


def test_other_models():
    class Empty(Strict):
        pass

    class Root(RootModel[dict[str, Strict]]):
        pass

    assert mistakes("a: 1\n", model=Empty) == [("config.yaml:1:1", "a", "unknown key; there are none", None)]
    assert mistakes("a: {b: 1}\n", model=Root)[0][:2] == ("config.yaml:1:5", "a.b")


def test_written_yaml():
    mapping = {"a": {"rate": 0.003, "tiny": 1e-05, "one": 1.0, "on": True, "off": None}, "b": [1, 2], "c": [{"d": "e"}]}
    text = "a:\n  rate: 0.003\n  tiny: 1e-05\n  one: 1.0\n  on: true\n  off: null\nb: [1, 2]\nc:\n- d: e\n"
    assert to_yaml(mapping) == text
    shared = [1, 2]
    assert to_yaml({"a": shared, "b": (shared, ())}) == "a: [1, 2]\nb:\n- [1, 2]\n- []\n"
    assert to_yaml({}) == "{}\n"


TRICKY = list("ab: \n\t-[]{},&*!|>'\"%@`#?\\~=<.01e_+\u2028\x85\ufeffé\r\x00")
WORDS = ["1e-3", "on", "<<", "=", "null", "~", "2001-01-01", "0x1F", ".5e5", "1_0", "-_", "", "010", " a", "a ", "yes"]
texts = st.text() | st.text(st.sampled_from(TRICKY), max_size=12) | st.sampled_from(WORDS)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts
trees = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(texts.filter(lambda key: key != "extends"), trees, max_size=4))
def test_what_is_written_reads_back(mapping):
    again = document(to_yaml(mapping)).data
    assert again == mapping
    assert repr(again) == repr(from_mapping(mapping).data), "types, signs of zero and order too"


# What the catalogue knows, in the wrong place.


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        ("model.positions=rope", "rope is a position encoding: it goes to model.mixer.encode"),
        ("model.mixer.encode=[alibi]", "alibi is a position encoding: it goes to model.mixer.biases"),
        ("model.mixer.biases=[cope]", "cope is a position encoding: it goes to model.mixer.rowwise"),
        ("model.mixer.rowwise=[learned]", "learned is a position encoding: it goes to model.positions"),
        ("model.mixer=softmax", "softmax is a normalizer: it goes to model.mixer.normalizer"),
        ("model.mixer.score={name: softcap, cap: 3}", "softcap is a modifier: it goes to model.mixer.modifiers"),
        ("model.mixer.modifiers=[{name: cosine}]", "cosine is a score: it goes to model.mixer.score"),
        ("model.mixer.normalizer=causal", "causal is a mask: it goes to model.mixer.mask"),
        ("model.mixer.mask={any: [grouped]}", "grouped is a head structure: it goes to model.heads"),
        ("model.heads=linear", "linear is a mixer: it goes to model.layers or model.mixer"),
        ("model.mixer.mask=induction", "induction is a task: it goes to task"),
        ("model.mixer.mask=padding", "padding takes what a config cannot hold: it is for Python code alone"),
    ],
)
def test_a_piece_in_the_wrong_slot_is_told_where_it_goes(override, hint):
    [(where, _, message, suggestion)] = mistakes("task: adding\n", override, model=schema.Config)
    assert where == f"command line: {override}"
    assert message.startswith("unknown name '")
    assert "; known are " in message
    assert message.endswith(f"; {hint}")
    assert suggestion is None


def test_every_piece_that_a_config_can_name_goes_somewhere():
    for entry in catalogue.entries:
        assert ("it goes to " in _belongs(entry.name)) is entry.in_config


def test_a_name_that_nobody_knows_goes_nowhere():
    assert _belongs("softmx") == _belongs(5) == _belongs(None) == ""
