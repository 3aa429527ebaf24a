"""A piece of a composition together with its knobs: one small callable that JAX can trace, map and differentiate.

`bind(alibi, slope=lead(slopes, "H"))` is a pytree whose leaves are its arrays and floats, and whose structure is the
function, the names of its knobs and its int, str, bool and function knobs. A closure would retrace at every rebuild
and would hide its arrays from `vmap` and from hand-written backward passes; a bound piece does neither.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, TypeVar, overload

import jax

from selfattn_jax.shapes import Array

TILE_LETTERS = frozenset("TS")


class Lead:
    """An array knob that says which leading axes it carries; make it with `lead`."""

    def __init__(self, array: Any, letters: str):
        self.array, self.letters = array, letters

    def __repr__(self) -> str:
        return f"lead({self.array!r}, {self.letters!r})"


jax.tree_util.register_pytree_node(
    Lead, lambda knob: ((knob.array,), knob.letters), lambda letters, children: Lead(children[0], letters)
)


def lead(array: Array, letters: str) -> Lead:
    """Says which leading axes an array knob carries, such as "H" (one per head) or "BHS".

    Args:
      array: the knob; its first axes are those of `letters`, any further axes belong to the knob itself.
      letters: of B (batch), H (query heads), T (queries), S (keys), in the array's own order.

    Returns: the array marked for the lift, which maps B and H away before the piece sees it.
    Raises: ValueError for an unknown or repeated letter, or more letters than axes.
    """
    unknown = sorted(set(letters) - set("BHTS"))
    if unknown or len(set(letters)) != len(letters):
        raise ValueError(f"letters must be distinct and of B, H, T, S, got {letters!r}")
    if jax.numpy.ndim(array) < len(letters):
        raise ValueError(f"array has {jax.numpy.ndim(array)} axes, fewer than its letters {letters!r}")
    return Lead(array, letters)


def is_lead(value: Any) -> bool:
    """Whether a value is an array knob made by `lead`."""
    return isinstance(value, Lead)


class Signature(NamedTuple):
    """What a piece's function asks for: `needs` by position, `knobs` by keyword, `required` = knobs without default."""

    needs: tuple[str, ...]
    knobs: tuple[str, ...]
    required: tuple[str, ...]


@functools.cache
def signature_of(function: Callable) -> Signature:
    """Reads a piece's needs (positional parameters) and knobs (keyword-only parameters) off its signature."""
    needs, knobs, required = [], [], []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            needs.append(name)
        elif parameter.kind is parameter.KEYWORD_ONLY:
            knobs.append(name)
            if parameter.default is parameter.empty:
                required.append(name)
    return Signature(tuple(needs), tuple(knobs), tuple(required))


def _is_static(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_static(item) for item in value)
    is_function = callable(value) and not isinstance(value, (Bound, jax.Array))
    return value is None or isinstance(value, (bool, int, str)) or is_function


class Bound:
    """A function with some of its knobs set; make it with `bind`, call it like the function."""

    def __init__(self, function: Callable, knobs: Mapping[str, Any] | None = None):
        self.function = function
        self.knobs = dict(knobs or {})
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__doc__ = function.__doc__

    @property
    def needs(self) -> tuple[str, ...]:
        """The names of the positional parameters: what this piece wants from a composition."""
        return signature_of(self.function).needs

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function on what it needs, with the knobs; an array knob must have lost its axes B and H."""
        missing = [name for name in signature_of(self.function).required if name not in self.knobs]
        if missing:
            wanted = ", ".join(f"{name}=…" for name in missing)
            raise TypeError(f"{self.__name__} lacks {', '.join(missing)}: write bind({self.__name__}, {wanted})")
        return self.function(*arguments, **self.plain_knobs())

    def plain_knobs(self) -> dict[str, Any]:
        """The knobs as the function takes them: array knobs as bare arrays."""
        return {name: self._plain(name, knob) for name, knob in self.knobs.items()}

    def _plain(self, name: str, knob: Any) -> Any:
        def unwrap(leaf: Any) -> Any:
            if not is_lead(leaf):
                return leaf
            if set(leaf.letters) - TILE_LETTERS:
                raise ValueError(
                    f"{name} of {self.__name__} still carries the axes {leaf.letters!r}: one head has no B and no H; "
                    "use attention (which maps them), or pass this head's own array"
                )
            return leaf.array

        return knob if _is_static(knob) else jax.tree.map(unwrap, knob, is_leaf=is_lead)

    def __repr__(self) -> str:
        knobs = "".join(f", {name}={value!r}" for name, value in self.knobs.items())
        return f"bind({self.__name__}{knobs})"

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other) or not isinstance(other, Bound):
            return False
        mine, theirs = jax.tree.flatten(self), jax.tree.flatten(other)
        return mine[1] == theirs[1] and all(a is b or _equal(a, b) for a, b in zip(mine[0], theirs[0], strict=True))

    def __hash__(self) -> int:
        return hash((type(self), self.function, tuple(sorted(self.knobs))))


def _equal(first: Any, second: Any) -> bool:
    return type(first) is type(second) is float and first == second


def _flatten(bound: Bound) -> tuple[tuple, tuple]:
    knobs = sorted(bound.knobs.items())  # the order in which they were set must not retrace
    traced = {name: knob for name, knob in knobs if not _is_static(knob)}
    static = tuple((name, knob) for name, knob in knobs if name not in traced)
    return tuple(traced.values()), (bound.function, tuple(traced), static)


BoundType = TypeVar("BoundType", bound=Bound)


def register(cls: type[BoundType]) -> type[BoundType]:
    """Registers a class of bound pieces as a pytree."""

    def unflatten(structure: tuple, children: tuple) -> BoundType:
        function, names, static = structure
        return cls(function, {**dict(static), **dict(zip(names, children, strict=True))})

    jax.tree_util.register_pytree_node(cls, _flatten, unflatten)
    return cls


register(Bound)


@overload
def bind(function: BoundType, /, **knobs: Any) -> BoundType: ...
@overload
def bind(function: Callable, /, **knobs: Any) -> Bound: ...
def bind(function: Callable, /, **knobs: Any) -> Bound:
    """Sets knobs of a piece and returns a callable that is a pytree of its array and float knobs.

    Args:
      function: a piece, or one that is bound already (its knobs are kept, those named here replace them).
      **knobs: keyword-only parameters of the function; arrays, floats and pytrees of them are traced, int, str, bool,
        functions and tuples of those are static.

    Returns: the bound piece; `bind(f)` without knobs is f as a pytree.
    Raises: TypeError naming a knob that the function does not have.
    """
    bound = function if isinstance(function, Bound) else Bound(function)
    allowed = signature_of(bound.function).knobs
    for name in knobs:
        if name not in allowed:
            close = get_close_matches(name, allowed, 1)
            hint = f"; did you mean {close[0]}?" if close else ""
            known = ", ".join(allowed) or "none"
            raise TypeError(f"{bound.__name__} has no knob {name!r}; its knobs are: {known}{hint}")

    return type(bound)(bound.function, {**bound.knobs, **knobs}) if knobs else bound


def call(piece: Callable, slot: str, /, **available: Any) -> Any:
    """Calls a piece with what its positional parameters name, out of what its slot has to offer.

    Args:
      piece: a function or bound piece.
      slot: the slot's name, for the error.
      **available: the values that a piece in this slot may ask for, by name.

    Returns: whatever the piece returns.
    Raises: TypeError when the piece asks for something that the slot does not have.
    """
    bound = bind(piece)
    unknown = [name for name in bound.needs if name not in available]
    if unknown:
        raise TypeError(
            f"{slot} {bound.__name__} asks for {', '.join(unknown)}; the positional parameters of a {slot} are among: "
            f"{', '.join(available)} (a knob is keyword-only: put * before it)"
        )
    return bound(*(available[name] for name in bound.needs))
