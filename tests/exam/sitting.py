"""How an entry of the catalogue sits the exam: built as a config builds it, and asked by one program; `marking` judges.

A new entry joins by itself. It needs an oracle called KIND_NAME in `tests/oracles`, whose parameters are called what
the slot's values and the knobs are called in the package; a data mask with a knob of a new name needs a line in DATA.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from pydantic import TypeAdapter

import selfattn_jax as sa
from selfattn_jax import build, catalogue
from selfattn_jax.catalogue import Entry
from selfattn_jax.config.schema import Piece
from selfattn_jax.functional.attend import Inspection
from selfattn_jax.functional.attend import inspect as inspect_one_head
from selfattn_jax.functional.bind import Bound, bind, is_lead, lead, signature_of
from selfattn_jax.functional.masks import as_mask
from tests import oracles

B, T, S, H, G, K, V = 2, 5, 7, 4, 2, 8, 3
# The length is below S, so that what depends on it (a table, a maximum) is put to the test.
SIZES = dict(heads=H, groups=G, width=16, key_width=K, value_width=V, length=3, reach=3, causal=False)

# Compiling is most of an exam's time. These make it shorter; the programs are too small to run slower for it.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
}
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)

PIECES = catalogue.COMPOSED
SEVERAL = ("encode", "modifiers", "biases", "rowwise")


def squash(score: jax.Array, query_position: jax.Array, key_position: jax.Array, strength: jax.Array) -> jax.Array:
    """A score_mod: linear in the score and in a parameter, and not the same to the left and to the right."""
    strength = jnp.asarray(strength, jnp.result_type(score))
    return jnp.where(key_position <= query_position, score * (1 + 0.1 * strength), 0.5 * score - strength)


def forgotten(random: np.random.Generator, size: int) -> np.ndarray:
    """Sums of logarithms of forget gates [B,H,size]."""
    return -np.cumsum(random.random((B, H, size)), axis=-1).astype(np.float32)


# What a piece that is made of data is given, by the name of the knob.
DATA: dict[str, Callable[[np.random.Generator], Any]] = {
    "function": lambda random: squash,
    "parameters": lambda random: lead(random.normal(size=H).astype(np.float32), "H"),
    "query_sum": lambda random: lead(forgotten(random, S)[..., :T], "BHT"),
    "key_sum": lambda random: lead(forgotten(random, S), "BHS"),
    "parents": lambda random: lead(np.int32([[-1, 0, 0, 1, 1, 2, 3], [-1, 0, 1, 1, 3, 3, -1]]), "BS"),
    "query_nodes": lambda random: lead(np.int32([[0, 3, 2, 1, 3], [3, 1, 2, 3, 0]]), "BT"),
    "key_valid": lambda random: lead(random.random((B, S)) < 0.7, "BS"),
    "query_segments": lambda random: lead(np.int32([[0, 0, 1, 1, 2], [0, 1, 1, 1, 1]]), "BT"),
    "key_segments": lambda random: lead(np.int32([[0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 1, 2]]), "BS"),
    "values": lambda random: lead(random.random((B, H, T, S)) < 0.6, "BHTS"),
}


def slot_of(entry: Entry) -> str | None:
    """The slot of a composition in which an entry acts; None for what is no piece of one."""
    return entry.slot if entry.slot in PIECES else None


def is_made_of_data(entry: Entry) -> bool:
    """Whether the exam must say what it holds: a config cannot name it, or its module reads a layer's inputs."""
    return not entry.in_config or "inputs" in signature_of(entry.maker.__call__).needs


def every(holds: Callable[[Entry], Any]) -> pytest.MarkDecorator:
    """Parametrises a test over the entries for which something holds, whatever the catalogue comes to contain."""
    entries = [entry for entry in catalogue.entries if holds(entry)]
    parameters = [pytest.param(entry, id=f"{entry.kind}-{entry.name}") for entry in entries]
    # The scope puts the tests of an entry next to each other, on one worker, which then compiles its program once.
    return pytest.mark.parametrize("entry", parameters, scope="module")


every_piece = every(slot_of)


def of_heads(entry: Entry) -> bool:
    """Whether it is a mixer of query, key and value."""
    return entry.kind == "mixers" and entry.takes == "heads"


def of_vectors(entry: Entry) -> bool:
    """Whether it is a mixer of the vectors of a sequence."""
    return entry.kind == "mixers" and entry.takes == "vectors"


every_mixer_of_heads = every(of_heads)
in_float32_and_slowly_in_float64 = pytest.mark.parametrize(
    "dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.slow)], ids=["float32", "float64"]
)


# Building.


def config_of(entry: Entry, *, off_default: bool = False) -> Any:
    """What a config that names the entry reads as: with the knobs of its example, or with every knob moved."""
    knobs = dict(entry.example)
    if off_default:
        defaults = {name: parameter.default for name, parameter in entry.knobs().items()} | knobs
        knobs = {name: _moved(parameter, defaults[name]) for name, parameter in entry.knobs().items()}
    return read_config(entry, knobs)


def read_config(entry: Entry, knobs: Mapping[str, Any]) -> Any:
    """What a config that names the entry with these knobs reads as."""
    slot = typing.Annotated[Any, Piece(entry.slot)]
    return TypeAdapter(slot).validate_python({"name": entry.name, **knobs})


def _moved(parameter: inspect.Parameter, value: Any) -> Any:
    """Another value for a knob; None becomes 4, above the length and below the width, so that it means something."""
    if typing.get_origin(parameter.annotation) is Literal:
        return next(choice for choice in typing.get_args(parameter.annotation) if choice != value)
    if isinstance(value, bool):
        return not value
    return 4 if value is None else value + 1 if isinstance(value, int) else 0.7 * value + 0.1


def build_piece(entry: Entry, *, seed: int = 0, off_default: bool = False) -> Bound:
    """The bound piece of an entry; what learns is moved off its initial value, masks of data are given random data."""
    random = np.random.default_rng(seed)
    if is_made_of_data(entry):
        knobs = signature_of(bind(entry.function).function).knobs
        unknown = sorted(set(knobs) - set(DATA))
        assert not unknown, f"tests/exam/sitting.py must say in DATA what {', '.join(unknown)} of {entry.name} may hold"
        return bind(entry.function, **{name: DATA[name](random) for name in knobs})
    made = build.make(entry.slot, config_of(entry, off_default=off_default), SIZES, nnx.Rngs(seed))
    return perturbed(made, random)() if isinstance(made, nnx.Module) else made


def perturbed(module: Any, random: np.random.Generator) -> Any:
    """The module with noise on every parameter, so that none sits at a special value."""
    structure, parameters, rest = nnx.split(module, nnx.Param, ...)
    noisy = jax.tree.map(lambda leaf: np.float32(leaf + 0.3 * random.normal(size=leaf.shape)), parameters)
    return nnx.merge(structure, noisy, rest)


def own_knobs(piece: Bound, example: int, head: int) -> dict[str, Any]:
    """The knobs as one head of one example has them, defaults included; what carries no axis, all have."""
    index = {"B": example, "H": head}

    def own(knob: Any) -> Any:
        return np.asarray(knob.array)[tuple(index.get(letter, slice(None)) for letter in knob.letters)]

    parameters = inspect.signature(piece.function).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
    taken = {
        name: jax.tree.map(lambda k: own(k) if is_lead(k) else k, knob, is_leaf=is_lead)
        for name, knob in piece.knobs.items()
    }
    return defaults | taken


def one_head(piece: Bound, example: int, head: int) -> Bound:
    """The piece as one head of one example has it."""
    return bind(piece.function, **own_knobs(piece, example, head))


def cast(tree: Any, dtype: Any) -> Any:
    """Its floating-point leaves in another dtype, as NumPy arrays; Python's floats too."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype) if is_float(leaf) else leaf, tree)


def is_float(leaf: Any) -> bool:
    """Whether a leaf can be differentiated."""
    return jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


# Asking.


class Question(NamedTuple):
    """What a composition is asked; the gradients are those of Σ output · cotangent."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    mask: np.ndarray
    lengths: np.ndarray
    query_positions: np.ndarray
    key_positions: np.ndarray
    cotangent: np.ndarray


def question(entry: Entry, dtype: Any = np.float32) -> Question:
    """A random question, with a random mask unless the entry is one. No query is without a key, no key unseen."""
    random = np.random.default_rng(7)
    shapes = ((B, T, H, K), (B, S, G, K), (B, S, G, V), (B, T, H, V))
    query, key, value, cotangent = (random.normal(size=shape).astype(np.float32) for shape in shapes)
    query, key, value = (array.astype(dtype) for array in (query, key, value))
    mask = random.random((B, T, S)) < 0.7
    for t in range(T):
        mask[:, t, t] = True
    mask[:, 0] = True
    if entry.kind == "masks":
        mask[:] = True
    lengths = np.full(B, S, np.int32)
    return Question(
        query, key, value, mask, lengths, np.arange(T, dtype=np.int32), np.arange(S, dtype=np.int32), cotangent
    )


def wicked(asked: Question) -> Iterator[Question]:
    """The question made harder, step by step: zero vectors, ties and a dead row, large scores, nothing but zeros."""
    yield asked
    asked.query[0, 1], asked.key[0, 2], asked.key[1, 4] = 0, 0, asked.key[1, 3]
    asked.mask[1, 2] = False
    yield asked
    asked.query[:], asked.key[:] = 100 * asked.query, 100 * asked.key
    yield asked
    asked.query[:], asked.key[:], asked.value[:] = 0, 0, 0
    yield asked


def with_keys(tree: Any, keys: Any) -> Any:
    """A question, or a piece's data, with some of the keys alone, or with the keys in another order.

    Args:
      tree: a Question or a piece.
      keys: an index into the axis S.
    """
    if isinstance(tree, Question):
        parts = {name: getattr(tree, name)[:, keys] for name in ("key", "value")}
        return tree._replace(**parts, mask=tree.mask[..., keys], key_positions=tree.key_positions[keys])

    def chosen(knob: Any) -> Any:
        if not is_lead(knob) or "S" not in knob.letters:
            return knob
        axes = (slice(None),) * knob.letters.index("S")
        return lead(np.asarray(knob.array)[(*axes, keys)], knob.letters)

    return jax.tree.map(chosen, tree, is_leaf=is_lead)


class Answer(NamedTuple):
    """gradients are by piece (its floating-point leaves), query, key and value."""

    seen: Inspection
    gradients: tuple[list, jax.Array, jax.Array, jax.Array]

    @property
    def output(self) -> np.ndarray:
        return np.asarray(self.seen.output)

    @property
    def weights(self) -> np.ndarray:
        return np.asarray(self.seen.weights)


def leaves(answer: Answer) -> list[np.ndarray]:
    """All that is a number wherever the inputs are: output, weights and gradients."""
    return [np.asarray(leaf) for leaf in jax.tree.leaves((answer.output, answer.weights, answer.gradients))]


def is_exponential(entry: Entry) -> bool:
    """Whether a composition with this entry has a log-normaliser: unless the entry is a normaliser without one."""
    return entry.kind != "normalizers" or hasattr(oracles, f"log_normalizer_{entry.name}")


def extras_of(entry: Entry) -> tuple[str, ...]:
    """What can be seen inside."""
    return (*EXTRAS, "log_normalizer") if is_exponential(entry) else EXTRAS


EXTRAS = ("weights", "scores", "entropy")
traced: list[str] = []  # the entry's name for every time that its program was traced


def slots(entry: Entry, piece: Bound, mask: Any) -> dict[str, Any]:
    """The pieces of a plain composition with one entry in its slot."""
    slot = slot_of(entry)
    if slot == "mask":
        return {"mask": as_mask(mask) & as_mask(piece)}
    return {"mask": mask, str(slot): (piece,) if slot in SEVERAL else piece}


def ask(entry: Entry, piece: Bound, asked: Question) -> Answer:
    """Output, extras and gradients, head by head: one program of one head answers nearly the whole exam."""
    heads = [[ask_head(entry, piece, asked, example, head) for head in range(H)] for example in range(B)]

    def stacked(part: Callable[[Answer], Any]) -> np.ndarray:
        return np.array([[part(head) for head in example] for example in heads])

    def of_groups(by_head: np.ndarray) -> np.ndarray:
        """Gradients by what the heads of a group share."""
        shared = by_head.reshape(B, G, H // G, *by_head.shape[2:]).astype(np.float32).sum(axis=2)
        return shared.swapaxes(1, 2).astype(by_head.dtype)

    extras = {name: stacked(lambda head, name=name: getattr(head.seen, name)) for name in extras_of(entry)}
    inside = Inspection(stacked(lambda head: head.seen.output).swapaxes(1, 2), **extras)
    by_piece = [gradient for example in heads for head in example for gradient in head.gradients[0]]
    by_query, by_key, by_value = (stacked(lambda head, at=at: head.gradients[at]) for at in (1, 2, 3))
    return Answer(inside, (by_piece, by_query.swapaxes(1, 2), of_groups(by_key), of_groups(by_value)))


def ask_lifted(entry: Entry, piece: Bound, asked: Question) -> Answer:
    """What `ask` finds, by the lift over heads, groups and examples."""
    # A test may change what it asked in place, which JAX may share on a CPU: only when the answer is there.
    return jax.block_until_ready(_ask_lifted(entry, piece, asked))


def seen(entry: Entry, piece: Bound, asked: Question, want: tuple[str, ...]) -> Inspection:
    """What `inspect` sees, not compiled."""
    return sa.inspect(
        *asked[:3],
        want=want,
        lengths=asked.lengths,
        query_positions=asked.query_positions,
        key_positions=asked.key_positions,
        **slots(entry, piece, lead(asked.mask, "BTS")),
    )


@functools.partial(quick_jit, static_argnames="entry")
def _ask_lifted(entry: Entry, piece: Bound, asked: Question) -> Answer:
    return _answer(functools.partial(seen, entry, want=extras_of(entry)), piece, asked)


def _answer(see: Callable, piece: Bound, asked: Question) -> Answer:
    """What a function of piece and question sees, and the gradients by all floating-point numbers in them."""
    leaves, structure = jax.tree.flatten(piece)

    def total(floats: list, *arrays: jax.Array) -> tuple[jax.Array, Inspection]:
        given = iter(floats)
        rebuilt = structure.unflatten([next(given) if is_float(leaf) else leaf for leaf in leaves])
        inside = see(rebuilt, asked._replace(query=arrays[0], key=arrays[1], value=arrays[2]))
        return jnp.sum(inside.output.astype(asked.cotangent.dtype) * asked.cotangent), inside

    floats = [leaf for leaf in leaves if is_float(leaf)]
    gradients, inside = jax.grad(total, argnums=(0, 1, 2, 3), has_aux=True)(floats, *asked[:3])
    return Answer(inside, gradients)


# Asking one head, which takes a third of the compiling.


def asked_of_head(asked: Question, example: int, head: int) -> Question:
    """The question that one head of one example gets; its mask knows of the length."""
    group = head // (H // G)
    query, cotangent = (array[example, :, head] for array in (asked.query, asked.cotangent))
    key, value = (array[example, :, group] for array in (asked.key, asked.value))
    mask = asked.mask[example] & (np.arange(len(key)) < asked.lengths[example])
    return asked._replace(query=query, key=key, value=value, mask=mask, cotangent=cotangent)


def look_at_head(entry: Entry, piece: Bound, asked: Question, example: int, head: int) -> Inspection:
    """Output and weights of one head."""
    return jax.block_until_ready(
        _look_at_head(entry, one_head(piece, example, head), asked_of_head(asked, example, head))
    )


def ask_head(entry: Entry, piece: Bound, asked: Question, example: int, head: int) -> Answer:
    """Output, weights and gradients of one head."""
    return jax.block_until_ready(_ask_head(entry, one_head(piece, example, head), asked_of_head(asked, example, head)))


def _seen_by_head(entry: Entry, piece: Bound, asked: Question, want: tuple[str, ...] = ("weights",)) -> Inspection:
    positions = {"query_positions": asked.query_positions, "key_positions": asked.key_positions}
    return inspect_one_head(*asked[:3], want=want, **positions, **slots(entry, piece, asked.mask))


_look_at_head = quick_jit(_seen_by_head, static_argnums=0)


@functools.partial(quick_jit, static_argnames="entry")
def _ask_head(entry: Entry, piece: Bound, asked: Question) -> Answer:
    traced.append(entry.name)
    return _answer(functools.partial(_seen_by_head, entry, want=extras_of(entry)), piece, asked)
