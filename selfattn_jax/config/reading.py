"""Reads config files, with `extends:` and `key.path=value` overrides.

An extending file is merged over what it extends: mappings key by key; lists and scalars replace. A mapping that says
*what it is* (`name:`, or the combinations `any:`, `all:`, `not:`) replaces a mapping that is something else, and so
does a bare string, which is short for `{name: string}`. An override that says what a mapping is always replaces it.
The top of a config is no piece: there `name:` is a key like any other.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

from selfattn_jax.config.errors import (
    ConfigError,
    Origin,
    Path,
    Problem,
    dotted,
    gathered,
    shown,
    shown_file,
    wrong,
)
from selfattn_jax.config.parsing import DEEPEST, Builder, Tree, read_text

LONGEST_CHAIN = 32
IDENTITY = ("name", "any", "all", "not", "parallel")
DOTTED_KEYS = "sweep"  # its keys hold dots themselves: `sweep: {training.learning_rate: […]}`


@dataclass(frozen=True)
class Document:
    """A config as plain data that knows where each of its values came from."""

    tree: Tree

    @cached_property
    def data(self) -> dict[str, Any]:
        """The whole config as dict, list, str, int, float, bool and None."""
        return self.tree.plain()

    @cached_property
    def origins(self) -> dict[Path, Origin | str]:
        """Path → the place in a file, or the text of the override; in the order of the config."""
        return {path: tree.origin for path, tree in self.tree.walk()}

    def where(self, path: Path) -> str:
        """The place of a path, or of its nearest parent that exists: `file:line:column` or the override's text."""
        return next(str(self.origins[path[:end]]) for end in range(len(path), -1, -1) if path[:end] in self.origins)


def read(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Document:
    """Reads a config file, what it extends, and the overrides on top.

    Args:
      path: a YAML 1.2 file that holds a mapping.
      overrides: such as `training.steps=100` or `model.mixer.biases.0={name: alibi}`.

    Returns: the document, without `extends`.
    Raises: ConfigError naming file, line and column.
    """
    return with_overrides(Document(_read_file(os.path.abspath(os.fspath(path)), (), None, {})), overrides)


def from_mapping(data: Mapping[str, Any], source: str = "settings") -> Document:
    """A document of plain data that stands in no file.

    Args:
      data: mappings with text keys, lists, tuples, str, int, float, bool and None.
      source: what its problems name as their place.

    Returns: the document.
    Raises: ConfigError naming what is no plain data.
    """
    return Document(_planted(data, source, ()))


def subdocument(document: Document, path: str | Path) -> Document:
    """A part of a document, as a document with the same origins.

    Args:
      document: the whole.
      path: one key, or a tuple of keys and indices.

    Returns: the document of that part.
    Raises: KeyError or IndexError where there is no such part, TypeError where it is no mapping.
    """
    tree = document.tree
    for part in (path,) if isinstance(path, str) else path:
        tree = tree.value[part]
    if not isinstance(tree.value, dict):
        raise TypeError(f"only a mapping is a document, {path!r} is {shown(tree.plain())}")
    return Document(tree)


def with_overrides(
    document: Document, overrides: Document | Mapping[str, Any] | Sequence[str], source: str | None = None
) -> Document:
    """Applies settings to a document, in their order.

    Args:
      document: the base; it is not changed.
      overrides: `key.path=value` texts, or a mapping (or a document, whose origins are kept) from dotted keys to
        values. A mapping as a value is merged, unless it says what it is (`name:`): then it replaces.
      source: what stands before `: key=value` in a problem; `command line` for texts, `setting` for a mapping.

    Returns: a new document.
    Raises: ConfigError with every override that is malformed, finds no place, or is undone by a later one.
    """
    if isinstance(overrides, Document):
        settings = gathered(lambda item: _setting(*item), overrides.tree.value.items())
    elif isinstance(overrides, Mapping):
        settings = gathered(partial(_given_setting, source or "setting"), overrides.items())
    else:
        texts = [overrides] if isinstance(overrides, str) else overrides
        settings = gathered(partial(_parsed_setting, source or "command line"), texts)
    _check_order(settings)
    trees = [document.tree]
    gathered(lambda setting: trees.append(_assigned(trees[-1], setting[0], setting[1], ())), settings)
    return Document(trees[-1])


Setting = tuple[tuple[str, ...], Tree]


def _setting(key: str, value: Tree) -> Setting:
    parts = tuple(part.strip() for part in key.split("."))
    if "" in parts:
        raise wrong(value.origin, key, "a key needs a word before, between and after its dots")
    if parts[0] == "extends":
        raise wrong(value.origin, key, "extends is read from a file and cannot be overridden")
    if len(parts) > DEEPEST:
        raise wrong(value.origin, key, f"nested more than {DEEPEST} deep")
    return parts, value


def _given_setting(source: str, item: tuple[Any, Any]) -> Setting:
    origin = f"{source}: {item[0]}={shown(item[1])}"
    return _setting(str(item[0]), _planted(item[1], origin, (str(item[0]),)))


def _parsed_setting(source: str, text: str) -> Setting:
    origin = f"{source}: {text}"
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise wrong(origin, key.strip(), "an override is key.path=value")
    tree = Builder(value, lambda line, column: origin, (key.strip(),)).document()
    if tree is None:
        raise wrong(origin, key, f"no value; say {key}=null for nothing and {key}='' for empty text")
    return _setting(key, tree)


def _check_order(settings: Sequence[Setting]) -> None:
    """A whole piece that replaces what an earlier override set inside it would silently undo it."""
    problems = []
    for later, (parts, value) in enumerate(settings):
        named = parts[-1] in IDENTITY and len(parts) > 1
        if not named and isinstance(value.value, dict) and _identity(value) is None:
            continue
        target = parts[:-1] if named else parts
        for earlier, origin in settings[:later]:
            if earlier[: len(target)] == target and len(earlier) - (earlier[-1] in IDENTITY) > len(target):
                message = f"undone: {dotted(parts)} comes after it and replaces all of {dotted(target)}; put that first"
                problems.append(Problem(str(origin.origin), dotted(earlier), message))
    if problems:
        raise ConfigError(problems)


def _assigned(tree: Tree, parts: tuple[str, ...], new: Tree, done: Path) -> Tree:
    """The tree with the value at `parts` set; bare strings on the way become `{name: string}`."""
    if not parts:
        return _merged(tree, new, override=True, top=not done)
    if isinstance(tree.value, list):
        return _assigned_item(tree, parts, new, done)
    if isinstance(tree.value, str):
        tree = replace(tree, value={"name": tree})
    if not isinstance(tree.value, dict | None):
        raise wrong(new.origin, dotted((*done, *parts)), f"{dotted(done)} is {shown(tree.value)}, which has no keys")
    if len(parts) == 1 and done and parts[0] in IDENTITY:
        return Tree({parts[0]: new}, new.origin)
    children = tree.value or {}
    ends = (end for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in children)
    end = next(ends, len(parts) if done[-1:] == (DOTTED_KEYS,) else 1)
    key = ".".join(parts[:end])
    child = children.get(key, Tree(None, new.origin))
    return replace(tree, value={**children, key: _assigned(child, parts[end:], new, (*done, key))})


def _assigned_item(tree: Tree, parts: tuple[str, ...], new: Tree, done: Path) -> Tree:
    size = len(tree.value)
    if parts[0] not in map(str, range(size)):
        choice = f"its items are {dotted((*done, 0))} … {size - 1}" if size else "it is empty"
        raise wrong(new.origin, dotted((*done, *parts)), f"{dotted(done)} is a list without {parts[0]!r}: {choice}")
    index = int(parts[0])
    item = _assigned(tree.value[index], parts[1:], new, (*done, index))
    return replace(tree, value=[*tree.value[:index], item, *tree.value[index + 1 :]])


def _merged(base: Tree, over: Tree, *, override: bool = False, top: bool = False) -> Tree:
    if not isinstance(over.value, dict):
        return over
    if isinstance(base.value, str):
        base = replace(base, value={"name": base})
    if not isinstance(base.value, dict):
        return over
    identity = None if top else _identity(over)
    if identity is not None and (override or _identity(base) not in (None, identity)):
        return over
    children = dict(base.value)
    for key, child in over.value.items():
        children[key] = _merged(children[key], child, override=override) if key in children else child
    return Tree(children, over.origin)


def _identity(tree: Tree) -> tuple[str, Any] | None:
    """What a mapping says it is: its name, or that it is a combination."""
    key = next((key for key in IDENTITY if key in tree.value), None)
    return None if key is None else (key, tree.value[key].plain() if key == "name" else None)


def _planted(value: Any, origin: str, path: Path) -> Tree:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise wrong(origin, dotted((*path, str(key))), f"a key must be text, got {shown(key)}")
        return Tree({key: _planted(child, origin, (*path, key)) for key, child in value.items()}, origin)
    if isinstance(value, list | tuple):
        return Tree([_planted(child, origin, (*path, index)) for index, child in enumerate(value)], origin)
    if not isinstance(value, str | int | float | bool | None):
        raise wrong(origin, dotted(path), f"must be plain data, got a {type(value).__name__}")
    return Tree(value, origin)


def _read_file(path: str, chain: tuple[str, ...], named: tuple[Origin, str] | None, known: dict[str, Tree]) -> Tree:
    """Reads a file and what it extends.

    Args:
      path: of the file.
      chain: the files that led here.
      named: the place and the key that named the file, if one did.
      known: the files read so far, so that none is read twice.
    """
    place, key = (str(named[0]), named[1]) if named else (shown_file(path), "")
    if any(os.path.realpath(path) == os.path.realpath(earlier) for earlier in chain):
        circle = " → ".join(shown_file(file) for file in (*chain, path))
        raise wrong(place, key, f"the files extend each other in a circle: {circle}")
    if len(chain) >= LONGEST_CHAIN:
        raise wrong(place, key, f"extends goes on for more than {LONGEST_CHAIN} files")
    if path in known:
        return known[path]
    text = read_text(path, place, key)
    tree = Builder(text, lambda line, column: Origin(path, line, column), ()).document()
    if tree is None or not isinstance(tree.value, dict):
        found = "is empty" if tree is None else f"holds {shown(tree.plain())}"
        raise wrong(tree.origin if tree else Origin(path, 1, 1), "", f"a config is a mapping, this file {found}")
    own = Tree({key: child for key, child in tree.value.items() if key != "extends"}, tree.origin)
    merged = None
    for named_by, name in _extended(tree):
        base = _read_file(os.path.normpath(os.path.join(os.path.dirname(path), name)), (*chain, path), named_by, known)
        merged = base if merged is None else _merged(merged, base, top=True)
    known[path] = own if merged is None else _merged(merged, own, top=True)
    return known[path]


def _extended(tree: Tree) -> list[tuple[tuple[Origin, str], str]]:
    """The files that a file extends, each with the place and the key that name it."""
    child = tree.value.get("extends", Tree([], tree.origin))
    several = isinstance(child.value, list)
    names = [(f"extends.{index}", item) for index, item in enumerate(child.value)] if several else [("extends", child)]
    for key, item in names:
        if not isinstance(item.value, str) or not item.value.strip() or "\0" in item.value:
            raise wrong(item.origin, key, f"must name a file or a list of files, got {shown(item.plain())}")
    return [((item.origin, key), item.value) for key, item in names]
