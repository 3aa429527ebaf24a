"""The programs of a module that are timed: its output, and its output with all gradients."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from flax import nnx

from selfattn_jax.bench.machine import memory_bytes
from selfattn_jax.bench.settings import BenchSettings, Step
from selfattn_jax.costs import parameter_count
from selfattn_jax.reports.formats import quantity
from selfattn_jax.shapes import Array


class Data(NamedTuple):
    """What every variant is given at one length; cotangent is what gradients begin with.

    `inputs` are those of a layer, for pieces that compute something from them; `rng` is for dropout and draws.
    """

    query: Array  # [B,T,H,K]
    key: Array  # [B,T,H,K]
    value: Array  # [B,T,H,K]
    cotangent: Array  # [B,T,H,K]
    inputs: Array  # [B,T,H·K]
    rng: Array


class Compiled(NamedTuple):
    """A program that is ready: `call` runs it and waits until it is done.

    Attributes:
      call: returns what was computed.
      seconds: tracing, lowering and compiling took, or None where they are not apart.
      temporary_bytes: between arguments and results, by the compiler's own plan, or None where it tells none.
      parameters: trained numbers.
    """

    call: Callable[[], Any]
    seconds: float | None = None
    temporary_bytes: int | None = None
    parameters: int = 0


def draw(settings: BenchSettings, length: int) -> Data:
    """The same normal numbers for every variant.

    Args:
      settings: batch, heads, width and dtype.  length: T.
    Returns: the data.
    """
    shape = (settings.batch, length, settings.heads, settings.width)
    layer = (settings.batch, length, settings.heads * settings.width)
    keys = jax.random.split(jax.random.key(0), 6)
    shapes = (shape, shape, shape, shape, layer)
    arrays = [jax.random.normal(key, shape, settings.dtype) for key, shape in zip(keys, shapes, strict=False)]
    return Data(*arrays, rng=keys[-1])


def forward(structure: nnx.GraphDef, causal: bool, parameters: Any, fixed: Any, data: Data) -> Array:
    """What a module makes of query, key and value: [B,T,H,K]."""
    mixer: Any = nnx.merge(structure, parameters, fixed)
    return mixer(data.query, data.key, data.value, causal=causal, inputs=data.inputs, rng=data.rng)


def forward_backward(
    structure: nnx.GraphDef, causal: bool, parameters: Any, fixed: Any, data: Data
) -> tuple[Array, tuple[Any, ...]]:
    """The output, and the gradients of sum(output · cotangent) by the parameters, query, key and value.

    The output is returned as well: else a compiler may leave out what the gradients alone do not need, which other
    libraries compute.
    """

    def output_of(parameters: Any, query: Array, key: Array, value: Array) -> Array:
        return forward(structure, causal, parameters, fixed, data._replace(query=query, key=key, value=value))

    output, pullback = jax.vjp(output_of, parameters, data.query, data.key, data.value)
    return output, pullback(data.cotangent)


FUNCTIONS: dict[Step, Callable] = {"forward": forward, "forward_backward": forward_backward}


def compile_module(module: nnx.Module, step: Step, causal: bool, data: Data) -> Compiled:
    """Compiles one program of a module.

    Args:
      module: called with query, key, value and, by keyword, causal, inputs and rng.
      step: which program.  causal: whether a query sees its past alone.  data: what it computes on.
    Returns: the program.
    Raises: what the module raises; MemoryError for a program that this machine cannot hold.
    """
    structure, parameters, fixed = nnx.split(module, nnx.Param, ...)
    began = time.perf_counter()
    program = jax.jit(partial(FUNCTIONS[step], structure, causal)).lower(parameters, fixed, data).compile()
    seconds = time.perf_counter() - began
    plan = program.memory_analysis()
    temporary = None if plan is None else int(plan.temp_size_in_bytes)
    _check_memory(temporary or 0)
    return Compiled(
        lambda: jax.block_until_ready(program(parameters, fixed, data)), seconds, temporary, parameter_count(module)
    )


def check_module(make: Callable[[], nnx.Module], settings: BenchSettings, length: int) -> None:
    """Makes and calls a module with shapes in place of numbers. Raises: what the module raises."""
    structure, parameters, fixed = nnx.split(nnx.eval_shape(make), nnx.Param, ...)
    data = jax.eval_shape(partial(draw, settings, length))
    jax.eval_shape(partial(forward, structure, settings.causal), parameters, fixed, data)


def _check_memory(needed: int) -> None:
    """A CPU's program that is too large would not fail: the operating system would end the process."""
    there = memory_bytes() if jax.default_backend() == "cpu" else None
    if there is not None and needed > there:
        raise MemoryError(f"needs {quantity(needed, 'B')} of memory, this machine has {quantity(there, 'B')}")
