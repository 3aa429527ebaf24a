"""How much faster are the chunks of a recurrent mixer than its steps, one `lax.scan` over the positions?

    python experiments/mixers/chunks.py

Forward and backward, as `selfattn bench` does: the output, and the gradients of every array for a given gradient of the
output. The two forms in turns in one process.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from selfattn_jax import functional as fn
from selfattn_jax.bench.timing import interleaved, summary
from selfattn_jax.runs.devices import keep_freed_memory
from selfattn_jax.shapes import Array

HEADS, WIDTH, STATES = 4, 64, 64
OF_HEADS = ("query", "key", "value")
# What each mixer takes, by head: a letter of the shape for each axis, then the range it is drawn from.
ARRAYS: dict[str, dict[str, tuple[str, float, float]]] = {
    "retention": {"log_decay": ("", -0.1, -0.01)},
    "simple_gated": {"log_decay": ("T", -0.5, 0.0)},
    "gated_linear": {"log_decay": ("TK", -0.5, 0.0)},
    "delta": {"write": ("T", 0.1, 0.9)},
    "gated_delta": {"write": ("T", 0.1, 0.9), "log_decay": ("T", -0.5, 0.0)},
    "ssd": {"step": ("T", 0.01, 0.1), "rate": ("", 0.5, 2.0), "skip": ("", 0.5, 1.5)},
    "rwkv": {"log_decay": ("TK", -0.5, 0.0), "bonus": ("K", -0.5, 0.5)},
}


def arrays_of(name: str, length: int) -> dict[str, Array]:
    """What a mixer is given: arrays with heads in front, float32."""
    random, sizes = np.random.default_rng(0), {"T": length, "K": WIDTH}
    kinds = {each: ("TK", -1.0, 1.0) for each in OF_HEADS} | ARRAYS[name]
    shapes = {each: (HEADS, *(sizes[letter] for letter in letters)) for each, (letters, *_) in kinds.items()}
    return {
        each: jnp.asarray(random.uniform(low, high, shapes[each]), jnp.float32)
        for each, (_, low, high) in kinds.items()
    }


def gradients_of(form: Callable[..., Any], arrays: dict[str, Array]) -> Callable[[], Any]:
    """One call that computes a form's output, and its gradients by every array."""

    def one_head(head: dict[str, Array]) -> Array:
        knobs = {each: array for each, array in head.items() if each not in OF_HEADS}
        return form(*(head[each] for each in OF_HEADS), **knobs)[0]

    def forward_backward(arrays: dict[str, Array], cotangent: Array) -> tuple[Array, Any]:
        output, pullback = jax.vjp(jax.vmap(one_head), arrays)
        return output, pullback(cotangent)

    random = np.random.default_rng(1)
    cotangent = jnp.asarray(random.standard_normal(arrays["value"].shape), jnp.float32)
    program = jax.jit(forward_backward).lower(arrays, cotangent).compile()
    return lambda: jax.block_until_ready(program(arrays, cotangent))


def compare(names: list[str], length: int, repeats: int) -> Table:
    """Times both forms of each mixer; a row for each."""
    table = Table("mixer", "steps", "chunks", "steps / chunks")
    for name in names:
        arrays = arrays_of(name, length)
        forms = {form: getattr(fn.mixers, f"{name}_{form}") for form in ("steps", "chunks")}
        calls = {form: gradients_of(function, arrays) for form, function in forms.items()}
        samples, failures = interleaved(calls, repeats)
        if failures:
            raise SystemExit(f"{name}: {failures}")
        steps, chunks = (summary(samples[form]).median for form in ("steps", "chunks"))
        table.add_row(name, f"{steps * 1e3:.0f} ms", f"{chunks * 1e3:.0f} ms", f"{steps / chunks:.1f}")
    return table


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=partial(argparse.RawTextHelpFormatter))
    options.add_argument("mixers", nargs="*", default=list(ARRAYS), help=", ".join(ARRAYS))
    options.add_argument("--length", type=int, default=4096)
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    keep_freed_memory()
    Console().print(compare(chosen.mixers, chosen.length, chosen.repeats))
