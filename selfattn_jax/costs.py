"""What a model costs: parameters, operations and bytes, counted from the traced program and not from a second list."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend import core

from selfattn_jax.build import abstract_encoder, make_task
from selfattn_jax.choosing import Explanation, explanations
from selfattn_jax.config.schema import Config

# Primitives that move, compare or choose numbers without computing any.
FREE = frozenset(
    (
        "and argmax argmin bitcast_convert_type broadcast_in_dim concatenate convert_element_type copy device_put "
        "dynamic_slice dynamic_update_slice eq gather ge gt iota le lt ne not or pad random_bits random_wrap "
        "random_unwrap random_seed random_fold_in random_split reshape rev scatter select_n slice sort split "
        "squeeze stop_gradient transpose xor is_finite shift_right_logical shift_left"
    ).split()
)


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
    model = abstract_encoder(config, task)
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


def forms(config: Config) -> list[Explanation]:
    """Which form every attention of a config's model takes on a training batch, and why, layer by layer.

    Args:
      config: of the experiment.
    Returns: the explanations; none for a layer whose mixer is not an attention.
    Raises: ConfigError for what cannot work.
    """
    task = make_task(config)
    structure, state = nnx.split(abstract_encoder(config, task))
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
