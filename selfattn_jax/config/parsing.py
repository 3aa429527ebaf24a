"""YAML 1.2 as a tree that remembers where each value stood; safe, and limited in size, depth and aliases."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import Resolver

from selfattn_jax.config.errors import (
    ConfigError,
    Origin,
    Path,
    Problem,
    dotted,
    nearest,
    shown,
    shown_file,
    wrong,
)

LARGEST_FILE = 1 << 17
MOST_VALUES = 10_000
DEEPEST = 64
STANDARD = "tag:yaml.org,2002:"
TAGS = tuple(STANDARD + kind for kind in ("str", "int", "float", "bool", "null", "seq", "map"))
PLAINER = {
    "found character '\\t'": "a tab, where only spaces may stand",
    "mapping values are not allowed": "a second colon; put the text in quotes, or mind the indentation",
    "expected <block end>": "the indentation does not fit the lines above",
}
RESOLVER = Resolver()


@dataclass(frozen=True)
class Tree:
    """A value, or a mapping or list of trees, with the place of its key (of the item itself in a list)."""

    value: Any
    origin: Origin | str

    def plain(self) -> Any:
        """The value without its origins: dict, list, str, int, float, bool or None."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        return [child.plain() for child in self.value] if isinstance(self.value, list) else self.value

    def walk(self, path: Path = ()) -> Iterator[tuple[Path, "Tree"]]:
        """Every path and its tree, this one first."""
        yield path, self
        if isinstance(self.value, dict | list):
            for key, child in self.value.items() if isinstance(self.value, dict) else enumerate(self.value):
                yield from child.walk((*path, key))


def read_text(path: str, place: str, key: str) -> str:
    """The text of a file; `place` and `key` say what named it, for the ConfigError of one that cannot be read."""
    file_said = "" if place == shown_file(path) else f": {shown_file(path)}"  # nothing is said twice
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except FileNotFoundError:
        raise wrong(place, key, f"no such file{file_said}", _similar_file(path)) from None
    except IsADirectoryError:
        raise wrong(place, key, f"a directory, not a file{file_said}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise wrong(place, key, f"cannot be read ({reason}){file_said}") from None
    if len(content) > LARGEST_FILE:
        raise wrong(place, key, f"larger than {LARGEST_FILE} bytes, no config{file_said}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode("utf-8")
        raise wrong(Origin(path, *_place(before, len(before))), "", "not UTF-8 text") from None


def _similar_file(path: str) -> str | None:
    folder, name = os.path.split(path)
    try:
        return nearest(name, os.listdir(folder))
    except OSError:
        return None


def _place(text: str, index: int) -> tuple[int, int]:
    """Line and column, from 1, of an index into a text."""
    return text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)


class Builder:
    """Builds a tree from the events of a YAML text; no constructor runs, so that a text can do nothing but hold data.

    Args:
      text: YAML 1.2.
      locate: line and column, from 1 → origin.
      path: where the text's value stands in the config.
    """

    def __init__(self, text: str, locate: Callable[[int, int], Origin | str], path: Path):
        self.text, self.locate, self.path = text, locate, path
        self.problems: list[Problem] = []
        self.anchors: dict[str, Tree | None] = {}
        self.values = 0

    def document(self) -> Tree | None:
        """The text's only document, or None if it has none. Raises: ConfigError."""
        try:
            self.events = YAML(typ="safe", pure=True).parse(self.text)
            tree = self._document()
        except MarkedYAMLError as error:
            reason = next((plain for sign, plain in PLAINER.items() if sign in str(error.problem)), error.problem)
            raise self._stopped(error.problem_mark, f"not YAML: {reason}") from None
        except ReaderError as error:
            place = self.locate(*_place(self.text, error.position))
            raise wrong(place, dotted(self.path), f"not YAML: the character U+{error.character:04X}") from None
        except (ValueError, OverflowError) as error:  # what `chr` raises for an escape beyond Unicode
            raise wrong(self.locate(1, 1), dotted(self.path), f"not YAML: {error}") from None
        if self.problems:
            raise ConfigError(self.problems)
        return tree

    def _document(self) -> Tree | None:
        next(self.events)
        start = next(self.events)
        if isinstance(start, StreamEndEvent):
            return None
        if start.version not in (None, (1, 2)):
            raise self._stopped(start.start_mark, "a config is YAML 1.2")
        tree = self._node(next(self.events), self.path, 0)
        next(self.events)
        end = next(self.events)
        if isinstance(end, DocumentStartEvent):
            raise self._stopped(end.start_mark, "a second document starts here, a config is one document")
        return tree

    def _node(self, event: Any, path: Path, depth: int) -> Tree:
        if isinstance(event, AliasEvent):
            return self._alias(event, path, depth)
        self._count(event, path, 1, depth)
        if event.anchor:
            self.anchors[event.anchor] = None
        if event.tag not in (None, "!", *TAGS):
            shortened = event.tag.replace(STANDARD, "!!")
            self._problem(event, path, f"the tag {shortened} is not allowed: a config holds plain data only")
        if isinstance(event, ScalarEvent):
            value = self._scalar(event, path)
        elif isinstance(event, SequenceStartEvent):
            value = self._sequence(path, depth + 1)
        else:
            value = self._mapping(path, depth + 1)
        tree = Tree(value, self._at(event))
        if event.anchor:
            self.anchors[event.anchor] = tree
        return tree

    def _alias(self, event: Any, path: Path, depth: int) -> Tree:
        if event.anchor not in self.anchors:
            raise self._stopped(event.start_mark, f"*{event.anchor} has no anchor &{event.anchor} above it")
        tree = self.anchors[event.anchor]
        if tree is None:
            raise self._stopped(event.start_mark, f"*{event.anchor} stands inside its own anchor")
        paths = [inside for inside, _ in tree.walk()]
        self._count(event, path, len(paths), depth + max(map(len, paths)))
        return replace(tree, origin=self._at(event))

    def _count(self, event: Any, path: Path, values: int, depth: int) -> None:
        self.values += values
        if self.values > MOST_VALUES:
            raise self._stopped(event.start_mark, f"more than {MOST_VALUES} values, counting those of aliases")
        if depth > DEEPEST:
            raise self._stopped(event.start_mark, f"nested more than {DEEPEST} deep")

    def _sequence(self, path: Path, depth: int) -> list[Tree]:
        items: list[Tree] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), depth))
        return items

    def _mapping(self, path: Path, depth: int) -> dict[str, Tree]:
        children: dict[str, Tree] = {}
        inherited: list[Tree] = []
        while not isinstance(event := next(self.events), MappingEndEvent):
            key = self._key(event, path, depth)
            value = self._node(next(self.events), (*path, key), depth)
            plain = isinstance(event, ScalarEvent) and event.implicit[0]
            if plain and key == "<<":
                inherited.extend(self._inherited(event, value, path))
                continue
            if key in children:
                self._problem(event, (*path, key), f"duplicate key, already given at {children[key].origin}")
            if plain and ":" in key and value.value is None:
                self._problem(event, (*path, key), "a colon needs a space after it", key.replace(":", ": "))
            children[key] = replace(value, origin=self._at(event))
        for tree in inherited:
            children = {**tree.value, **children}
        return children

    def _key(self, event: Any, path: Path, depth: int) -> str:
        value = self._node(event, path, depth).value
        if isinstance(value, str):
            return value
        written = event.value if isinstance(event, ScalarEvent) else shown(value)
        self._problem(event, (*path, written), f"a key must be text: put {written!r} in quotes")
        return written

    def _inherited(self, event: Any, value: Tree, path: Path) -> list[Tree]:
        trees = value.value if isinstance(value.value, list) else [value]
        if all(isinstance(tree.value, dict) for tree in trees):
            return trees
        self._problem(event, (*path, "<<"), "<< merges a mapping or a list of mappings")
        return []

    def _scalar(self, event: Any, path: Path) -> str | int | float | bool | None:
        resolved = str(RESOLVER.resolve(ScalarNode, event.value, event.implicit))
        kind = (event.tag if event.tag in TAGS else resolved).removeprefix(STANDARD)
        digits = event.value.replace("_", "").lower()
        try:
            if kind == "int":
                return int(digits, 0 if digits.lstrip("+-")[1:2] in ("b", "o", "x") else 10)
            if kind == "float":
                return float(digits.replace(".inf", "inf").replace(".nan", "nan"))
            if kind == "bool":
                return {"true": True, "false": False}[digits]
        except (ValueError, KeyError):
            self._problem(event, path, f"{shown(event.value)} is not a {'bool' if kind == 'bool' else 'number'}")
        if any("\ud800" <= character <= "\udfff" for character in event.value):
            self._problem(event, path, "half of a surrogate pair is not text")
        return None if kind == "null" else event.value

    def _at(self, event: Any) -> Origin | str:
        return self.locate(event.start_mark.line + 1, event.start_mark.column + 1)

    def _stopped(self, mark: Any, message: str) -> ConfigError:
        return wrong(self.locate(mark.line + 1, mark.column + 1), dotted(self.path), message)

    def _problem(self, event: Any, path: Path, message: str, suggestion: str | None = None) -> None:
        self.problems.append(Problem(str(self._at(event)), dotted(path), message, suggestion))
