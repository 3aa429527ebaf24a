"""How a mixer's cost should grow with the length, by the catalogue's formulas."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from selfattn_jax import catalogue
from selfattn_jax.bench.contestants import model_sizes
from selfattn_jax.bench.fitting import slope
from selfattn_jax.bench.settings import BenchSettings
from selfattn_jax.build import make_mixer
from selfattn_jax.config.schema import AttentionConfig, ParallelMixers
from selfattn_jax.costs import knob_shapes
from selfattn_jax.formulas import evaluate, letters_of


def claims(mixer: Any, settings: BenchSettings) -> tuple[float | None, float | None]:
    """The powers of the length with which a mixer's time and memory grow at the lengths of a bench.

    The formulas have terms that matter at some lengths only, √T beside K for example: lines are fitted through their
    values as through what is measured.

    Args:
      mixer: its config, or None.  settings: lengths, heads and width.
    Returns: for time and memory; None where nothing is claimed: of a reference, of an attention that a mask thins out
      or that a form was chosen for, of several mixers in parallel, and of a single length.
    """
    whole = not isinstance(mixer, AttentionConfig) or (mixer.mask is None and mixer.implementation == "auto")
    if mixer is None or isinstance(mixer, ParallelMixers) or not whole:
        return None, None
    entry = catalogue.in_slot("mixer")[mixer.name]
    letters = {length: found for length in settings.lengths if (found := _letters(entry, mixer, settings, length))}
    time, memory = (
        slope({length: evaluate(formula, sizes) for length, sizes in letters.items()})
        for formula in (entry.cost, entry.memory)
    )
    return time, memory


def _letters(entry: catalogue.Entry, mixer: Any, settings: BenchSettings, length: int) -> dict[str, int] | None:
    """The sizes that a formula's letters stand for; None at a length that the mixer cannot have."""
    width, sizes = settings.heads * settings.width, model_sizes(settings, length)
    letters = {"T": length, "S": length, "D": width, "H": settings.heads, "K": settings.width, "V": settings.width}
    if isinstance(mixer, AttentionConfig):
        return letters
    try:
        module: Any = nnx.eval_shape(lambda: make_mixer(mixer, sizes, nnx.Rngs(0)))
    except ValueError:
        return None
    module = module.mixer if entry.takes == "vectors" else module
    inputs = jax.ShapeDtypeStruct((1, length, width), jnp.float32)
    return letters | letters_of(entry.function, knob_shapes(module.mixer, inputs))
