"""What the catalogue says of a mixer's cost and state, against what its program computes and carries."""

from collections.abc import Callable

import jax
import numpy as np
import pytest
from flax import nnx

from selfattn_jax import build
from selfattn_jax.costs import flops, knob_shapes, parameter_count
from selfattn_jax.formulas import evaluate, letters_of
from selfattn_jax.functional.bind import bind, signature_of
from tests.exam import sitting
from tests.exam.sitting import every, of_heads

WIDTH, HEAD = 32, 16


def one_head(entry, length: int, causal: bool | None = None) -> tuple[Callable, list, dict[str, float]]:
    """A mixer as a function of the arrays of one head, or one sequence; their shapes; and the sizes of its letters."""
    sizes = {"heads": 1, "groups": 1, "width": WIDTH, "key_width": HEAD, "value_width": HEAD}
    sizes |= {"length": length, "reach": length, "causal": entry.causal}
    causal = entry.causal if causal is None else causal
    make = build.make_mixer if of_heads(entry) else build.make_vector_mixer
    # A maximum that the example says would be too short, and a block too small: they default to what suits the length.
    knobs = {name: knob for name, knob in entry.example.items() if name not in ("maximum", "block", "chunk")}
    config = sitting.read_config(entry, knobs)
    mixer = nnx.eval_shape(lambda: make(config, sizes, nnx.Rngs(0)))
    knobs = knob_shapes(mixer.mixer, jax.ShapeDtypeStruct((1, length, WIDTH), np.float32))
    widths = (HEAD,) * 3 if of_heads(entry) else (WIDTH,)
    arrays = [jax.ShapeDtypeStruct((length, width), np.float32) for width in widths]
    letters = {"T": length, "S": length, "K": HEAD, "V": HEAD, "D": WIDTH} | letters_of(entry.function, knobs)
    if "causal" in signature_of(entry.function).knobs:
        knobs["causal"] = causal
    traced = {name: knob for name, knob in knobs.items() if hasattr(knob, "shape") or isinstance(knob, float)}
    fixed = {name: knob for name, knob in knobs.items() if name not in traced}

    def function(traced: dict, *arrays: jax.Array) -> jax.Array:
        return bind(entry.function, **traced, **fixed)(*arrays)

    return function, [traced, *arrays], letters


@every(lambda entry: entry.kind == "mixers" and entry.name not in ("attention", "none"))
@pytest.mark.parametrize("length", [256, 1024])
def test_the_formula_of_its_cost_is_near_what_its_program_computes(entry, length):
    """A multiplication and an addition for each unit, and whatever is computed number by number beside them."""
    function, arguments, letters = one_head(entry, length)
    ratio = flops(function, *arguments) / (2 * evaluate(entry.cost, letters))
    assert 0.3 < ratio < 6, f"{ratio:.2f}"


@pytest.mark.slow
@every(lambda entry: entry.kind == "mixers" and entry.name not in ("attention", "fourier", "none", "clustered"))
def test_what_its_program_computes_is_near_what_the_compiler_counts(entry):
    """At the longest length at which no loop is left, since the compiler counts a loop's body once.

    Not of Fourier transforms, which it does not count, nor of a loop that does not depend on the length (clustered).
    """
    for length in (64, 16, 1):
        function, arguments, _ = one_head(entry, length, causal=not entry.both_ways)
        compiled = jax.jit(function).lower(*arguments).compile()
        if " while(" not in compiled.as_text():
            break
    analysis = compiled.cost_analysis()
    counted, seen = flops(function, *arguments), analysis["flops"] + analysis.get("transcendentals", 0)
    assert seen / 3 - 100 <= counted <= 3 * seen + 100, f"{counted} {seen} at {length}"


@every(lambda entry: entry.kind == "mixers" and entry.state)
def test_the_state_has_the_size_that_is_said(entry):
    _, (traced, *arrays), letters = one_head(entry, 16)
    _, state = jax.eval_shape(lambda traced, *arrays: bind(entry.steps, **traced)(*arrays), traced, *arrays)
    numbers = sum(
        leaf.size * (2 if np.issubdtype(leaf.dtype, np.complexfloating) else 1) for leaf in jax.tree.leaves(state)
    )
    assert numbers == evaluate(entry.carries, letters)


@every(lambda entry: entry.kind == "mixers" and entry.name != "attention")
def test_it_learns_as_many_numbers_as_are_said(entry):
    """With sizes that no other is a product of, and grouped keys where they may be."""
    sizes = {"heads": 6, "groups": 3, "width": 13, "key_width": 5, "value_width": 5 if entry.elementwise else 7}
    sizes |= {"length": 140, "reach": 140, "causal": entry.causal}
    make = build.make_mixer if of_heads(entry) else build.make_vector_mixer
    mixer = nnx.eval_shape(lambda: make(sitting.config_of(entry), sizes, nnx.Rngs(0)))
    letters = {"G": 3, "H": 6, "K": 5, "V": sizes["value_width"], "D": 13}
    letters |= letters_of(entry.maker, {name: knob.default for name, knob in entry.knobs().items()} | entry.example)
    letters |= letters_of(entry.function, knob_shapes(mixer.mixer, jax.ShapeDtypeStruct((1, 140, 13), np.float32)))
    assert parameter_count(mixer) == evaluate(entry.learned, letters)
