"""Validates a document against a strict pydantic model: every problem at once, each at its place, in plain words.

pydantic names a problem by a location that mixes keys with the labels of unions. `_Translator` walks that location
along the model's schema, so that it knows what every part is: a key, an index, or the label of a union's member.
"""

import functools
import io
import json
import re
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import pydantic
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from selfattn_jax import catalogue
from selfattn_jax.config.errors import ConfigError, Path, Problem, dotted, nearest, shown
from selfattn_jax.config.reading import Document
from selfattn_jax.config.schema import AttentionConfig, Config, ModelConfig, Piece

Model = TypeVar("Model", bound=pydantic.BaseModel)
Schema = Mapping[str, Any]
Details = Mapping[str, Any]

WORDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "none": "null",
    **dict.fromkeys(("list", "tuple", "set", "frozenset"), "a list"),
    **dict.fromkeys(("dict", "model-fields", "typed-dict", "dataclass-args"), "a mapping"),
}
RANGES = {
    "greater_than": "must be greater than {gt}, got {got}",
    "greater_than_equal": "must be at least {ge}, got {got}",
    "less_than": "must be less than {lt}, got {got}",
    "less_than_equal": "must be at most {le}, got {got}",
    "multiple_of": "must be a multiple of {multiple_of}, got {got}",
    "finite_number": "must be finite, got {got}",
    "too_short": "must hold at least {min_length} items, got {actual_length}",
    "too_long": "must hold at most {max_length} items, got {actual_length}",
    "string_too_short": "must be at least {min_length} characters long, got {got}",
    "string_too_long": "must be at most {max_length} characters long, got {got}",
    "string_pattern_mismatch": "must match {pattern}, got {got}",
}
NOUNS = {"positions": "a position encoding", "heads": "a head structure"}
PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./ -]*(?<! )")
SPOKEN = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}


def validate(document: Document, model: type[Model]) -> Model:
    """Checks a document as strictly as its model does; validated as JSON, a list may become a tuple.

    Args:
      document: what was read.
      model: a strict pydantic v2 model. Its unions may be discriminated by `name`, and its validators may turn a bare
        string into `{name: string}`; a ValueError that they raise is reported in its own words. A tuple behind such a
        validator needs `Field(strict=False)`, since pydantic then no longer knows that it came from JSON.

    Returns: an instance of the model.
    Raises: ConfigError with all problems, in the order of the document.
    """
    try:
        return model.model_validate_json(json.dumps(document.data))
    except pydantic.ValidationError as error:
        schema = pydantic.TypeAdapter(model).core_schema
        findings = _Translator(schema, document.data).findings(error.errors(include_url=False), schema, 0, ())
    order = {path: index for index, path in enumerate(document.origins)}
    findings.sort(key=lambda finding: max(order.get(finding.path[:end], 0) for end in range(len(finding.path) + 1)))
    raise ConfigError([finding.problem(document.where(finding.path)) for finding in findings])


def to_yaml(mapping: Mapping[str, Any]) -> str:
    """Writes plain data as YAML that reads back as the same data: mappings as blocks, lists of scalars on one line.

    Args:
      mapping: mappings, lists, tuples (read back as lists), str, int, float, bool and None.

    Returns: the text.
    """
    yaml = YAML()
    yaml.width = 1 << 20
    yaml.representer.ignore_aliases = lambda data: True
    text = io.StringIO()
    yaml.dump(_styled(mapping), text)
    return text.getvalue()


def _styled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_styled(key): _styled(child) for key, child in value.items()}
    if isinstance(value, str):
        return value if PLAIN.fullmatch(value) else DoubleQuotedScalarString(value)  # loses nothing
    if not isinstance(value, list | tuple):
        return value
    items = CommentedSeq(_styled(item) for item in value)
    if not any(isinstance(item, Mapping | list | tuple) for item in value):
        items.fa.set_flow_style()
    return items


@dataclass(frozen=True)
class _Finding:
    """A problem before it is put in words: members of a union that all refuse a value speak with one voice.

    `kind` is type (what came is not `wanted`), name (what came is no known name), missing, unknown or value.
    """

    kind: str
    path: Path
    got: Any = None
    wanted: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    message: str = ""

    def problem(self, where: str) -> Problem:
        return Problem(where, dotted(self.path), self._words(), self._suggestion())

    def _words(self) -> str:
        if self.kind == "type":
            return f"must be {_either(self.wanted)}, got {shown(self.got)}"
        if self.kind == "name":
            return f"unknown name {shown(self.got)}; known are {', '.join(self.names)}{_belongs(self.got)}"
        if self.kind == "unknown" and self._suggestion() is None:
            return f"unknown key; known are {', '.join(self.names)}" if self.names else "unknown key; there are none"
        return self.message

    def _suggestion(self) -> str | None:
        if isinstance(self.got, float) and self.got.is_integer() and "a whole number" in self.wanted:
            return str(int(self.got))
        if not isinstance(self.got, str):
            return None
        if "true" in self.wanted and self.got.lower() in SPOKEN:
            return SPOKEN[self.got.lower()]
        if self.wanted == ("a list",):
            return f"[{self.got}]"
        numbers = {"a whole number": int, "a number": float}
        for convert in (convert for words, convert in numbers.items() if words in self.wanted):
            try:
                return str(convert(self.got))
            except ValueError:
                continue
        known_elsewhere = self.kind == "name" and _belongs(self.got)
        return None if known_elsewhere else nearest(self.got, self.names)


class _Translator:
    """Turns pydantic's errors into findings.

    Args:
      schema: the model's core schema.
      data: what was validated.
    """

    def __init__(self, schema: Schema, data: Any):
        self.definitions = {definition["ref"]: definition for definition in schema.get("definitions", ())}
        self.data = data

    def findings(
        self, errors: Iterable[Details], schema: Schema | None, at: int, path: Path, keys: Sequence[str] = ()
    ) -> list[_Finding]:
        """What is wrong at `path` and below it.

        Args:
          errors: all of whose locations begin alike, up to `at`.
          schema: what stands at `path`, or None where that is not known.
          at: how much of the locations has been walked.
          path: the walked part without labels.
          keys: the keys that may stand beside the last part of `path`.

        Returns: the findings.
        """
        core = self._core(schema) if schema else {}
        here: list[_Finding] = []
        deeper: dict[str | int, list[Details]] = {}
        for error in errors:
            if len(error["loc"]) == at:
                here.append(self._finding(error, schema, path, keys))
            else:
                deeper.setdefault(error["loc"][at], []).append(error)
        if core.get("type") == "union" and deeper:
            return here + self._nearest_member(deeper, core, at, path)
        for part, below in deeper.items():
            child, child_path = self._step(core, part, path)
            here += self.findings(below, child, at + 1, child_path, tuple(map(str, self._fields(core))))
        return here

    def _nearest_member(
        self, members: Mapping[str | int, list[Details]], union: Schema, at: int, path: Path
    ) -> list[_Finding]:
        """The findings of the member that fits best; where none fits, one finding that says what all of them want."""
        choices = _choices(union)
        schemas = choices if len(choices) == len(members) else [None] * len(members)
        each = [
            self.findings(errors, schema, at + 1, path)
            for errors, schema in zip(members.values(), schemas, strict=True)
        ]
        best = min(each, key=lambda findings: _misfit(findings, path))
        refusals = [finding for findings in each for finding in findings if finding.kind in ("type", "name")]
        refusals = [finding for finding in refusals if finding.path[: len(path) + 1] in (path, (*path, "name"))]
        wanted = tuple(dict.fromkeys(words for finding in refusals for words in finding.wanted))
        names = tuple(dict.fromkeys(name for finding in refusals for name in finding.names))
        return [replace(finding, wanted=wanted, names=names) if finding in refusals else finding for finding in best]

    def _finding(self, error: Details, schema: Schema | None, path: Path, keys: Sequence[str]) -> _Finding:
        kind, got, context = error["type"], error["input"], error.get("ctx", {})
        core = self._core(schema) if schema else {}
        wanted = self._wanted(schema) if schema else ()
        if kind == "extra_forbidden":
            return _Finding("unknown", path, str(path[-1]), names=tuple(keys), message="unknown key")
        if kind == "missing":
            return _Finding("missing", path, message=f"missing; needs {_either(wanted)}" if wanted else "missing")
        if kind in ("union_tag_invalid", "union_tag_not_found"):
            return self._name_finding(kind, core, path)
        if kind in RANGES:
            plain = {key: f"{value:g}" if isinstance(value, float) else value for key, value in context.items()}
            return _Finding("value", path, message=RANGES[kind].format(**{**plain, "got": shown(got)}))
        if wanted and (kind in ("literal_error", "enum", "int_from_float") or kind.endswith(("_type", "_parsing"))):
            kind = "name" if kind == "literal_error" and path[-1:] == ("name",) else "type"
            return _Finding(kind, path, got, wanted, self._names(core))
        return _Finding("value", path, message=" ".join(str(context.get("error", error["msg"])).split()))

    def _name_finding(self, kind: str, core: Schema, path: Path) -> _Finding:
        key = core.get("discriminator")
        value = self._at(path)
        named = (*path, key) if isinstance(key, str) and isinstance(value, Mapping) else path
        if kind == "union_tag_not_found":
            return _Finding("missing", named, message=f"missing; needs one of {', '.join(self._names(core))}")
        got = value.get(key) if isinstance(value, Mapping) else value
        return _Finding("name", named, got, names=self._names(core))

    def _step(self, core: Schema, part: str | int, path: Path) -> tuple[Schema | None, Path]:
        """The schema below, and the path: it grows unless the part is the label of a union's member."""
        kind = core.get("type")
        if kind == "tagged-union":
            return core["choices"].get(part), path
        if kind in ("model-fields", "typed-dict", "dataclass-args"):
            return self._fields(core).get(part), (*path, part)
        if kind == "dict" and part != "[key]":
            return core.get("values_schema"), (*path, part)
        items = core.get("items_schema")
        if kind == "tuple" and isinstance(part, int):
            return items[min(part, len(items) - 1)] if items else None, (*path, part)
        if kind in ("list", "set", "frozenset"):
            return items, (*path, part)
        value = self._at(path)
        exists = part in value if isinstance(value, Mapping) else isinstance(value, list) and isinstance(part, int)
        return None, (*path, part) if exists else path

    def _at(self, path: Path) -> Any:
        value = self.data
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def _inner(self, schema: Schema) -> Schema | None:
        """What a wrapper wraps (a default, a validator, a model around its fields), or None."""
        if schema["type"] == "definition-ref":
            return self.definitions.get(schema["schema_ref"])
        if schema["type"] == "chain":
            return schema["steps"][0]
        return schema.get("schema") or schema.get("json_schema") or schema.get("strict_schema")

    def _core(self, schema: Schema) -> Schema:
        while (inner := self._inner(schema)) is not None:
            schema = inner
        return schema

    def _fields(self, core: Schema) -> dict[str | int, Schema]:
        """Key → schema of a model, by the key that a config uses."""
        fields = core.get("fields", {})
        named = fields.items() if isinstance(fields, Mapping) else ((field["name"], field) for field in fields)
        aliases = ((field.get("validation_alias"), name, field) for name, field in named)
        return {alias if isinstance(alias, str) else name: field for alias, name, field in aliases}

    def _names(self, core: Schema) -> tuple[str, ...]:
        """The names or the literal values that a value may have."""
        if core.get("type") == "tagged-union" and callable(core["discriminator"]):
            cores = (self._core(choice) for choice in core["choices"].values())
            return tuple(name for choice in cores for name in self._names(choice))
        if core.get("type") == "tagged-union":
            return tuple(str(name) for name in core["choices"])
        values = core.get("expected") or [getattr(member, "value", member) for member in core.get("members", ())]
        return tuple(str(value) for value in values)

    def _wanted(self, schema: Schema) -> tuple[str, ...]:
        """What a schema wants, in plain words: any of these; empty where there are no words."""
        if schema["type"] == "nullable":
            return (*self._wanted(schema["schema"]), "null")
        inner = self._inner(schema)
        if inner is not None:
            return self._wanted(inner)
        if schema["type"] == "union" or callable(schema.get("discriminator")):
            return tuple(dict.fromkeys(words for choice in _choices(schema) for words in self._wanted(choice)))
        names = self._names(schema)
        if schema["type"] == "tagged-union":
            return (f"one of {', '.join(names)}",)
        if schema["type"] == "bool":
            return "true", "false"
        return tuple(map(shown, names)) or ((WORDS[schema["type"]],) if schema["type"] in WORDS else ())


def _belongs(name: Any) -> str:
    """What follows an unknown name that the catalogue knows: what it is, and where it goes."""
    hints = []
    for entry in (entry for entry in catalogue.entries if entry.name == name):
        noun = NOUNS.get(entry.kind, f"a {entry.kind.removesuffix('s')}")
        slots = [key for key, piece in _slots() if piece.slot == entry.slot]
        if not entry.in_config:
            hints.append(f"; {name} takes what a config cannot hold: it is for Python code alone")
        elif slots:
            hints.append(f"; {name} is {noun}: it goes to {_either(slots)}")
    return "".join(hints)


@functools.cache
def _slots() -> tuple[tuple[str, Piece], ...]:
    """Every key of a config that holds pieces of the catalogue, and which."""
    models = {"": Config, "model.": ModelConfig, "model.mixer.": AttentionConfig}
    return tuple(
        (prefix + key, piece)
        for prefix, model in models.items()
        for key, field in model.model_fields.items()
        for part in (field.annotation, *field.metadata)
        for piece in _pieces(part)
    )


def _pieces(annotation: Any) -> Iterator[Piece]:
    if isinstance(annotation, Piece):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _pieces(part)


def _choices(union: Schema) -> list[Schema]:
    choices = union["choices"].values() if isinstance(union["choices"], Mapping) else union["choices"]
    return [choice[0] if isinstance(choice, tuple) else choice for choice in choices]


def _misfit(findings: Sequence[_Finding], path: Path) -> tuple[bool, int, int]:
    """How badly a union's member fits, judged at its own top: the wrong type, then lacking keys, then unknown ones."""
    kinds = [finding.kind for finding in findings if len(finding.path) <= len(path) + 1]
    refused = any(finding.kind == "type" and finding.path == path for finding in findings)
    return refused, kinds.count("missing") + kinds.count("name"), kinds.count("unknown")


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
