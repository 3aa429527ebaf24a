"""What a model costs: parameters, operations and bytes, counted from the traced program and not from a second list."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend import core

from selfattn_jax import catalogue
from selfattn_jax.build import abstract_encoder, make_other_tasks, make_task
from selfattn_jax.choosing import Explanation, explanations
from selfattn_jax.config.schema import Config
from selfattn_jax.formulas import evaluate, letters_of
from selfattn_jax.functional.bind import is_lead
from selfattn_jax.modules.attention import made

# Primitives that move, compare or choose numbers without computing any.
FREE = frozenset(
    (
        "and argmax argmin bitcast_convert_type broadcast_in_dim concatenate convert_element_type copy device_put "
        "dynamic_slice dynamic_update_slice eq gather ge gt iota le lt ne not or pad random_bits random_wrap "
        "random_unwrap random_seed random_fold_in random_split reshape rev scatter select_n slice sort split "
        "squeeze stop_gradient transpose xor is_finite shift_right_logical shift_left"
    ).split()
)


def _fft(equation: core.JaxprEqn) -> int:
    """5·N·log₂ N for a transform of N complex numbers, half of that where they are real on one side."""
    lengths = equation.params["fft_lengths"]
    numbers = max(_size(variable) for variable in (*equation.invars, *equation.outvars))
    real = "RFFT" in str(equation.params["fft_type"])
    return round((2.5 if real else 5) * numbers * math.log2(max(2, math.prod(lengths))))


def _triangular_solve(equation: core.JaxprEqn) -> int:
    """N² for every column that a triangle of N rows is solved for."""
    return equation.invars[0].aval.shape[-1] * _size(equation.outvars[0])  # pyright: ignore


def _convolution(equation: core.JaxprEqn) -> int:
    """A multiplication and an addition for every tap of every number that comes out."""
    kernel = equation.invars[1].aval.shape  # pyright: ignore
    features = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
    return 2 * _size(equation.outvars[0]) * math.prod(kernel) // features


# Primitives that compute more than one operation for each number that comes out.
DEAR: dict[str, Callable[[core.JaxprEqn], int]] = {
    "fft": _fft,
    "triangular_solve": _triangular_solve,
    "conv_general_dilated": _convolution,
}


def flops(function: Callable, *arguments: Any) -> int:
    """Counts the floating-point operations of a call, from its traced program.

      2·M·N·P for a product [M,N]·[N,P], 1 for every other number computed; a scan counts as often as it loops, a
      branch as its dearest arm. A `while` loop's body counts once: its length is not known.

    Args:
      function: traceable.
      *arguments: arrays, or anything with a shape and dtype.
    Returns: operations of one call.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: core.Jaxpr) -> int:
    return sum(_equation(equation) for equation in jaxpr.eqns)


def _equation(equation: core.JaxprEqn) -> int:
    name, parameters = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = parameters["dimension_numbers"]
        depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)  # pyright: ignore
        return 2 * depth * _size(equation.outvars[0])
    if name == "cond":
        return max(_count(branch.jaxpr) for branch in parameters["branches"])
    inner = [_count(part) for part in _inner(parameters)]
    if inner:
        return sum(inner) * (parameters["length"] if name == "scan" else 1)
    if name in FREE:
        return 0
    if name in DEAR:
        return DEAR[name](equation)
    if name.startswith(("reduce_", "cum")):
        return _size(equation.invars[0])
    return sum(_size(variable) for variable in equation.outvars)


def _inner(parameters: dict[str, Any]) -> list[core.Jaxpr]:
    # The rules for differentiation hold programs too, but are functions: they are not run by the call itself.
    parts = [part for part in parameters.values() if isinstance(part, (core.Jaxpr, core.ClosedJaxpr))]
    return [part.jaxpr if isinstance(part, core.ClosedJaxpr) else part for part in parts]


def _size(variable: Any) -> int:
    return math.prod(getattr(variable.aval, "shape", ()))


def parameter_count(tree: Any) -> int:
    """The number of trained numbers in a tree of parameters or a module."""
    state = nnx.state(tree, nnx.Param) if isinstance(tree, nnx.Module) else tree
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(state))


def model_costs(config: Config) -> dict[str, int]:
    """What the model of a config costs.

    Args:
      config: of the experiment.
    Returns: parameters; forward_flops of one sequence; state_bytes of one run (parameters and AdamW's two moments);
      activation_bytes: the numbers that one training batch computes forward, an upper bound of what is kept for the
      backward pass.
    Raises: ConfigError for what cannot work.
    """
    task = make_task(config)
    model = abstract_encoder(config, task, make_other_tasks(config))
    structure, state = nnx.split(model)
    shape = (1, task.length) if task.features is None else (1, task.length, task.features)
    inputs = jax.ShapeDtypeStruct(shape, jnp.int32 if task.features is None else jnp.float32)

    def forward(state: Any, inputs: jax.Array) -> jax.Array:
        return nnx.merge(structure, state)(inputs)

    jaxpr = jax.make_jaxpr(forward)(state, inputs)
    parameters = parameter_count(model)
    return {
        "parameters": parameters,
        "forward_flops": _count(jaxpr.jaxpr),
        "state_bytes": 3 * 4 * parameters,
        "activation_bytes": config.training.batch * _bytes(jaxpr.jaxpr),
    }


class MixerCost(NamedTuple):
    """What one mixer of a model costs by the catalogue's formulas.

    Attributes:
      name: of the entry.
      parameters: trained numbers of the mixer itself, without the projections around it.
      learned: the formula of their number.
      flops: of all heads for one sequence: a multiplication and an addition for each unit of `cost`.
      state: numbers that all heads need to go on with the next position.
    """

    name: str
    parameters: int
    learned: str
    cost: str
    flops: float
    carries: str
    state: float


def mixer_costs(config: Config) -> list[MixerCost]:
    """What the mixers of a config's layers cost by formula; those that are alike come once.

    Args:
      config: of the experiment.
    Returns: a cost for each; of mixers in parallel, one for each part.
    Raises: ConfigError for what cannot work.
    """
    task = make_task(config)
    encoder = abstract_encoder(config, task, make_other_tasks(config))
    alike: dict[Any, MixerCost] = {}
    for mixer, block in zip(config.model.mixers, encoder.blocks, strict=True):
        parts = getattr(mixer, "parallel", (mixer,))
        layer: Any = block.mixer
        modules = getattr(layer.mixer, "mixers", (layer.mixer,))
        for part, module in zip(parts, modules, strict=True):
            if part not in alike:
                alike[part] = _mixer_cost(part, module, layer, config.model.width, task.length, len(parts))
    return list(alike.values())


def _mixer_cost(config: Any, module: Any, layer: Any, width: int, length: int, parts: int) -> MixerCost:
    entry = catalogue.in_slot("mixer")[config.name]
    heads = layer.heads.count // parts if hasattr(layer, "heads") else 1
    sizes = {"T": length, "S": length, "D": width}
    if hasattr(layer, "heads"):
        sizes |= {"K": layer.heads.key_width, "V": layer.heads.value_width}
    if entry.takes == "vectors":  # of heads it mixes the values side by side
        sizes["D"], heads = heads * sizes.get("V", width), 1
    if entry.name != "attention":
        module = getattr(module, "mixer", module) if entry.takes == "vectors" and parts > 1 else module
        inputs = jax.ShapeDtypeStruct((1, length, width), jnp.float32)
        sizes |= letters_of(entry.function, knob_shapes(module.mixer, inputs))
    flops, state = (evaluate(formula, sizes) for formula in (entry.cost, entry.carries))
    return MixerCost(
        entry.name,
        parameter_count(module),
        entry.learned,
        entry.cost,
        2 * heads * flops,
        entry.carries,
        heads * state,
    )


def knob_shapes(module: Any, inputs: jax.ShapeDtypeStruct) -> dict[str, Any]:
    """The knobs of a module's piece as one head of one sequence has them: shapes in place of arrays.

    Args:
      module: that gives the piece.  inputs: [B,T,D], those of a layer.
    Returns: name → shape and dtype, or the number itself.
    """
    structure, state = nnx.split(module)
    piece = jax.eval_shape(lambda state, inputs: made(nnx.merge(structure, state), inputs=inputs), state, inputs)

    def own(knob: Any) -> Any:
        if not is_lead(knob):
            return knob
        mapped = len(set(knob.letters) & {"B", "H"})
        return jax.ShapeDtypeStruct(knob.array.shape[mapped:], knob.array.dtype)

    return {name: own(knob) for name, knob in piece.knobs.items()}


def forms(config: Config) -> list[Explanation]:
    """Which form every attention of a config's model takes on a training batch, and why, layer by layer.

    Args:
      config: of the experiment.
    Returns: the explanations; none for a layer whose mixer is not an attention.
    Raises: ConfigError for what cannot work.
    """
    task = make_task(config)
    structure, state = nnx.split(abstract_encoder(config, task, make_other_tasks(config)))
    batch = config.training.batch
    features = () if task.features is None else (task.features,)
    inputs = jax.ShapeDtypeStruct((batch, task.length, *features), jnp.int32 if not features else jnp.float32)
    with explanations() as found:
        jax.eval_shape(lambda state, inputs: nnx.merge(structure, state)(inputs), state, inputs)
    return found


def _bytes(jaxpr: core.Jaxpr) -> int:
    """Bytes of all intermediate results, scans multiplied by their length."""
    total = 0
    for equation in jaxpr.eqns:
        inner = [_bytes(part) for part in _inner(equation.params)]
        if inner:
            total += sum(inner) * (equation.params["length"] if equation.primitive.name == "scan" else 1)
        elif equation.primitive.name not in ("broadcast_in_dim", "reshape", "squeeze", "iota"):
            total += sum(_size(variable) * variable.aval.dtype.itemsize for variable in equation.outvars)  # pyright: ignore
    return total
