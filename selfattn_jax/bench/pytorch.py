"""PyTorch's attention beside ours, where PyTorch is installed. It is imported by name: nothing here depends on it."""

import functools
import os
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import jax
import numpy as np

from selfattn_jax.bench.programs import Compiled, Data
from selfattn_jax.bench.settings import BenchSettings, Step

Attend = Callable[[Any, Any, Any], Any]  # query, key, value [B,H,T,K] → [B,H,T,K]


def installed() -> bool:
    """Whether PyTorch can be imported."""
    return find_spec("torch") is not None


def absent() -> str | None:
    """Why PyTorch cannot take part on the device that JAX uses, or None if it can."""
    if not installed():
        return "PyTorch is not installed: pip install torch"
    try:
        torch = _torch()
    except (ImportError, OSError) as error:
        return f"PyTorch cannot be imported: {error}"
    if jax.default_backend() == "gpu" and not torch.cuda.is_available():
        return "this PyTorch computes on the CPU alone, JAX on the GPU"
    if jax.default_backend() not in ("cpu", "gpu"):
        return f"PyTorch does not compute on the {jax.default_backend()} that JAX uses"
    return None


def _torch() -> Any:
    """PyTorch, whose threads wait for work without taking a core: spinning ones keep a core from those of JAX, and, by
    the scheduler's clock, a call of half a millisecond can take eight.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read once, when PyTorch is first imported
    return import_module("torch")


def compile_scaled_dot_product(step: Step, settings: BenchSettings, data: Data) -> Compiled:
    """`torch.nn.functional.scaled_dot_product_attention`, which chooses its kernel by itself."""
    attend = _torch().nn.functional.scaled_dot_product_attention
    return _program(functools.partial(attend, is_causal=settings.causal), step, data)


def compile_flex(step: Step, settings: BenchSettings, data: Data) -> Compiled:
    """`torch.nn.attention.flex_attention`, compiled by `torch.compile` when it is first called."""
    return _program(_flex(data.query.shape[1], settings.causal, _device()), step, data)


@functools.lru_cache(maxsize=1)
def _flex(length: int, causal: bool, device: str) -> Attend:
    torch, flex = _torch(), import_module("torch.nn.attention.flex_attention")
    torch.compiler.reset()  # else the ninth length would silently run without a compiler
    mask = None
    if causal:
        visible = lambda b, h, query, key: query >= key  # noqa: E731 (PyTorch reads it)
        mask = flex.create_block_mask(visible, None, None, length, length, device=device)
    return functools.partial(torch.compile(flex.flex_attention, dynamic=False), block_mask=mask)


def _program(attend: Attend, step: Step, data: Data) -> Compiled:
    """The program of a step: gradients are those by query, key and value of sum(output · cotangent)."""
    torch = _torch()
    query, key, value, cotangent = (_tensor(array) for array in data[:4])

    def forward() -> Any:
        with torch.no_grad():
            return _done(attend(query, key, value))

    def forward_backward() -> Any:
        output = attend(query, key, value)
        return _done((output, torch.autograd.grad(output, (query, key, value), cotangent)))

    if step == "forward_backward":
        query, key, value = (tensor.detach().requires_grad_() for tensor in (query, key, value))
    return Compiled(forward if step == "forward" else forward_backward)


def _tensor(array: jax.Array) -> Any:
    """An array [B,T,H,K] as PyTorch wants it: a view [B,H,T,K], which is what models hand over."""
    torch = _torch()
    tensor = torch.from_numpy(np.array(array, np.float32)).to(_device(), getattr(torch, array.dtype.name))
    return tensor.transpose(1, 2)


def _device() -> str:
    return "cuda" if jax.default_backend() == "gpu" else "cpu"


def _done(result: Any) -> Any:
    """What was computed, once it is computed."""
    if _device() == "cuda":
        _torch().cuda.synchronize()
    return result
