"""The choice of a form: which of dense, rows and blockwise computes an attention, in what pieces, and why.

The thresholds were measured on two CPU cores (float32, width 64, forward and backward), where tiles stay in the cache
and a [T,S] array does not. Other platforms are not measured: there a form that holds all pairs is taken while they fit.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, get_args

import jax

from selfattn_jax.functional import blockwise
from selfattn_jax.functional.attend import Composition, Inspection, attend_composed
from selfattn_jax.functional.blockwise import attend_by_blocks, why_not
from selfattn_jax.functional.masks import Mask
from selfattn_jax.functional.rows import attend_by_rows
from selfattn_jax.functional.tiles import Block, visited

Implementation = Literal["auto", "dense", "rows", "blockwise"]

# The forms, each with what keeps it from a composition: (composition, want) → reasons, none = it can. A fused kernel or
# a ring over devices joins here.
FORMS: dict[str, tuple[Callable[..., Inspection], Callable[[Composition, Collection[str]], list[str]]]] = {
    "dense": (attend_composed, lambda composition, want: []),
    "rows": (attend_by_rows, lambda composition, want: []),
    "blockwise": (attend_by_blocks, why_not),
}

FEW_PAIRS = 2**16  # T · S of one head, up to which dense wins on a CPU whatever the batch
FEW_IN_ALL = 2**18  # B · H · T · S, likewise
MANY_IN_ALL = 2**28  # B · H · T · S, a gibibyte of float32: what a dense form holds several times over
TILE = 2**20  # pairs computed side by side on a CPU: of many heads, or of one large tile
KEPT = 2**22  # B · H · T · S, likewise where a tile holds a head: without a loop XLA keeps scores for its gradient

# The tiles that are weighed on a CPU, and what each costs beside its pairs: the threads of a CPU meet after every
# product, and what belongs to a tile is copied. Small ones visit fewer pairs around a mask's edge.
SHAPES = (Block.square(blockwise.BLOCK), Block.square(1024), Block(1024, 2048, 1024), Block(256, 512, 256))
STEP = 2**15  # in pairs


class Plan(NamedTuple):
    """How an attention is computed; hashable, so that one compiled program serves all that are alike."""

    implementation: str
    block: Block | None  # the shape of a tile; None = the form has none
    at_once: int | None  # heads, of all examples, that are computed side by side; None = all

    def attend(self, *arguments: Any) -> Inspection:
        """The form itself, of one head; the arguments are those of `attend_composed`."""
        blocks = {} if self.block is None else {"block": self.block}
        return FORMS[self.implementation][0](*arguments, **blocks)

    def __str__(self) -> str:
        heads = f"{self.at_once} head{'s' if self.at_once != 1 else ''} at once"
        said = ", ".join(([f"tiles of {self.block}"] if self.block else []) + ([heads] if self.at_once else []))
        return f"{self.implementation} ({said})" if said else self.implementation


class Explanation(NamedTuple):
    """Which form computes an attention, and why; printed, a line for the form and one for each reason."""

    plan: Plan
    reasons: dict[str, str]  # form → why it was taken, or not

    @property
    def implementation(self) -> str:
        """The form."""
        return self.plan.implementation

    def __str__(self) -> str:
        return "\n".join([str(self.plan), *(f"  {form}: {reason}" for form, reason in self.reasons.items())])


_collected: ContextVar[list[Explanation] | None] = ContextVar("_collected", default=None)


@contextmanager
def explanations() -> Iterator[list[Explanation]]:
    """Gathers every choice that is made inside, in order: of a model that is traced, layer by layer.

    Yields: a list that fills.
    """
    found: list[Explanation] = []
    token = _collected.set(found)
    try:
        yield found
    finally:
        _collected.reset(token)


def choose(
    implementation: Implementation,
    composition: Composition,
    heads: int,
    queries: int,
    keys: int,
    want: Collection[str] = (),
    *,
    default: bool = True,
) -> Explanation:
    """Decides how an attention is computed.

    Args:
      implementation: a form, or "auto".
      composition: from `compose`.
      heads: B·H.  queries: T.  keys: S.
      want: extras, as for `inspect`.
      default: whether positions are 0, 1, 2 …, so that it is known which tiles a mask empties.
    Returns: the explanation of the choice.
    Raises: ValueError for an unknown implementation.
    """
    if implementation not in get_args(Implementation):
        raise ValueError(f"implementation must be one of {', '.join(get_args(Implementation))}, got {implementation!r}")
    cpu = jax.default_backend() == "cpu"
    if implementation != "auto":
        form, reasons = implementation, {implementation: "asked for"}
    else:
        form, reasons = _automatic(composition, heads, queries, keys, want, cpu=cpu)
    explanation = Explanation(_plan(form, composition, heads, queries, keys, default=default, cpu=cpu), reasons)
    collected = _collected.get()
    if collected is not None:
        collected.append(explanation)
    return explanation


def _automatic(
    composition: Composition, heads: int, queries: int, keys: int, want: Collection[str], *, cpu: bool
) -> tuple[str, dict[str, str]]:
    """The form, and what speaks for and against each that was looked at."""
    pairs, sizes = heads * queries * keys, f"{heads} × [{queries},{keys}] pairs"
    few = queries * keys <= FEW_PAIRS or pairs <= FEW_IN_ALL if cpu else pairs <= MANY_IN_ALL
    if few:
        place = "are few: all at once is fastest" if cpu else "fit in memory (not measured on this platform)"
        return "dense", {"dense": f"{sizes} {place}"}
    against = FORMS["blockwise"][1](composition, want)
    if not against:
        return "blockwise", {"blockwise": f"{sizes} are many: tiles need memory O(T)", "dense": "would hold all pairs"}
    reasons = {"blockwise": "; ".join(against)}
    if {"weights", "scores"} & set(want):
        return "dense", {**reasons, "dense": "all pairs are asked for"}
    if pairs <= MANY_IN_ALL:
        return "dense", {**reasons, "dense": f"{sizes} fit in memory"}
    return "rows", {**reasons, "rows": f"{sizes} are many: a block of rows at a time", "dense": "would hold all pairs"}


def _plan(
    form: str, composition: Composition, heads: int, queries: int, keys: int, *, default: bool, cpu: bool
) -> Plan:
    """A form with the shape of its tiles, and how many heads it computes side by side."""
    if form != "blockwise":
        return Plan(form, None, None)
    block = _block(composition.mask, queries, keys, default=default) if cpu else Block.square(blockwise.BLOCK)
    rows, columns, _ = block.within(queries, keys)
    tile = rows * columns
    most = max(TILE // 2 // tile, TILE // max(tile, blockwise.BLOCK**2), 1) if cpu else max(MANY_IN_ALL // tile, 1)
    if cpu and rows >= queries and columns >= keys and heads * tile <= KEPT:
        most = heads
    return Plan(form, block, None if most >= heads else most)


def _block(mask: Mask | None, queries: int, keys: int, *, default: bool) -> Block:
    """The cheapest tiles on a CPU, by the pairs that they hold together and by how many they are."""

    def cost(block: Block) -> int:
        rows, columns, _ = block
        return len(visited(mask, queries, keys, block, default=default)) * (rows * columns + STEP)

    return min((_evened(block, queries, keys) for block in SHAPES), key=cost)


def _evened(block: Block, queries: int, keys: int) -> Block:
    """A block that as many rows of tiles, and as many units of keys, fill as evenly as they can."""
    unit = _even_part(keys, block.unit)
    return Block(_even_part(queries, block.rows), block.columns // block.unit * unit, unit).within(queries, keys)


def _even_part(size: int, most: int) -> int:
    """The largest of the fewest parts of at most `most` that hold all; a multiple of 16 where there are several."""
    count = max(-(-size // most), 1)
    return max(size, 1) if count == 1 else -(-size // (16 * count)) * 16
