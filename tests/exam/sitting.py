"""How an entry of the catalogue sits the exam: built as a config builds it, asked by one program, marked by its oracle.

A new entry joins by itself. It needs an oracle called KIND_NAME in `tests/oracles.py`, whose parameters are called what
the slot's values and the knobs are called in the package; a data mask with a knob of a new name needs a line in DATA.
"""

import functools
import inspect
import typing
from collections.abc import Callable
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
from selfattn_jax.functional.bind import Bound, bind, is_lead, lead
from selfattn_jax.functional.masks import as_mask
from tests import oracles

B, T, S, H, G, K, V = 2, 5, 7, 4, 2, 6, 3
# The length is below S, so that what depends on it (a table, a maximum) is put to the test.
SIZES = {"heads": H, "groups": G, "width": 16, "key_width": K, "value_width": V, "length": 3, "causal": False}

# Compiling is most of an exam's time. These cut it to a fifth; the programs are too small to run slower for it.
QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,
    "xla_cpu_parallel_codegen_split_count": 1,
}
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)

SLOTS = {"scores": "score", "modifiers": "modifiers", "normalizers": "normalizer", "masks": "mask"}
ACTS_IN = {"query_key": "encode", "score": "score", "bias": "biases", "rowwise": "rowwise", "value": "aggregate"}
SEVERAL = ("encode", "modifiers", "biases", "rowwise")

# What a mask that is made of data is given, by the name of the knob.
DATA: dict[str, Callable[[np.random.Generator], Any]] = {
    "key_valid": lambda random: lead(random.random((B, S)) < 0.7, "BS"),
    "query_segments": lambda random: lead(np.int32([[0, 0, 1, 1, 2], [0, 1, 1, 1, 1]]), "BT"),
    "key_segments": lambda random: lead(np.int32([[0, 0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 1, 2]]), "BS"),
    "values": lambda random: lead(random.random((B, H, T, S)) < 0.6, "BHTS"),
}


def slot_of(entry: Entry) -> str | None:
    """The slot of a composition in which an entry acts; None for what is no piece of one."""
    return ACTS_IN.get(entry.acts_on or "") if entry.kind == "positions" else SLOTS.get(entry.kind)


def every(holds: Callable[[Entry], Any]) -> pytest.MarkDecorator:
    """Parametrises a test over the entries for which something holds, whatever the catalogue comes to contain."""
    entries = [entry for entry in catalogue.entries if holds(entry)]
    return pytest.mark.parametrize("entry", [pytest.param(entry, id=f"{entry.kind}-{entry.name}") for entry in entries])


every_piece = every(slot_of)
every_mixer = every(lambda entry: entry.kind == "mixers")


# Building.


def config_of(entry: Entry, *, off_default: bool = False, **knobs: Any) -> Any:
    """What a config that names the entry reads as: with the knobs of its example, or with every knob moved."""
    knobs = {**entry.example, **knobs}
    if off_default:
        parameters = entry.knobs()
        knobs = {name: moved(p, knobs.get(name, p.default)) for name, p in parameters.items()} | knobs_given(knobs)
    slot = typing.Annotated[Any, Piece(entry.kind, entry.acts_on)]
    return TypeAdapter(slot).validate_python({"name": entry.name, **knobs})
