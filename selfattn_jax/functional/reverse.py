"""An identity that says, where a forward-mode derivative is computed, why there is none and what has one."""

from typing import NoReturn

from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from selfattn_jax.shapes import Array

NO_FORWARD_MODE = (
    "the blockwise form has derivatives in reverse mode only: for jvp, jacfwd and linearize take the rows form, "
    'implementation="rows"'
)


def reverse_only(array: Array) -> Array:
    """The array; a gradient passes, evaluating its tangent raises.

    Args:
      array: of floating point.
    Returns: it.
    Raises: NotImplementedError naming the rows form, when a tangent is computed (under `jit`: when it is compiled).
    """
    return _guarded.bind(array)


# `jax.custom_vjp` refuses forward mode as well, but it names no way out, and under `jit` only while lowering. A linear
# primitive in the tangent's way, which can be transposed but not evaluated, refuses first.
_guarded = Primitive("reverse_only")
_tangent = Primitive("reverse_only_tangent")


def _refuse(*_: object, **__: object) -> NoReturn:
    raise NotImplementedError(NO_FORWARD_MODE)


def _same(array: Array) -> Array:
    return array


def _jvp(primals: tuple, tangents: tuple) -> tuple:
    (tangent,) = tangents
    # The primal goes on unguarded: derivatives of the gradient itself are plain JAX.
    return primals[0], tangent if type(tangent) is ad.Zero else _tangent.bind(tangent)


_guarded.def_abstract_eval(_same)
_guarded.def_impl(_same)
mlir.register_lowering(_guarded, lambda _, array: [array])
batching.primitive_batchers[_guarded] = lambda arrays, axes: (_guarded.bind(arrays[0]), axes[0])
ad.primitive_jvps[_guarded] = _jvp

# Whoever evaluates, compiles or maps a tangent goes forward; a gradient transposes it before any of these.
_tangent.def_abstract_eval(_same)
_tangent.def_impl(_refuse)
mlir.register_lowering(_tangent, _refuse)
batching.primitive_batchers[_tangent] = _refuse
ad.deflinear2(_tangent, lambda cotangent, _: [cotangent])
