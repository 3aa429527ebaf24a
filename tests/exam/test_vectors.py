"""Mixers of the vectors of a sequence, through their modules: what holds for every one of them."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose, assert_array_equal

from selfattn_jax import build, catalogue
from selfattn_jax.catalogue import Entry
from selfattn_jax.functional.bind import bind, signature_of
from tests.exam import sitting
from tests.exam.marking import oracle_of
from tests.exam.sitting import B, S, cast, every, of_vectors, quick_jit
from tests.exam.test_gradients import check_grads

D = sitting.SIZES["width"]
SIZES = sitting.SIZES | {"length": S, "reach": S}


def every_way(holds: Callable[[Entry], Any] = lambda entry: True) -> pytest.MarkDecorator:
    """Parametrises a test over the mixers for which something holds, both ways and causal, where they can be."""
    ways = [
        pytest.param(entry, causal, id=f"{'causal' if causal else 'both_ways'}-{entry.name}")
        for entry in catalogue.entries
        for causal in (False, True)
        if of_vectors(entry) and holds(entry) and (entry.causal if causal else entry.both_ways)
    ]
    return pytest.mark.parametrize(("entry", "causal"), ways, scope="module")


def can_hide(entry: Entry) -> bool:
    return entry.mask != "none"


class Question(NamedTuple):
    inputs: np.ndarray
    key_mask: np.ndarray
    cotangent: np.ndarray


class Answer(NamedTuple):
    output: jax.Array
    gradients: tuple


class Sitter(NamedTuple):
    """A mixer's module, taken apart for `jit`."""

    structure: Any
    parameters: Any
    rest: Any


def build_mixer(entry: Entry, *, causal: bool, off_default: bool = False, seed: int = 0) -> Sitter:
    config = sitting.config_of(entry, off_default=off_default)
    mixer = build.make_vector_mixer(config, SIZES | {"causal": causal}, nnx.Rngs(seed))
    return Sitter(*nnx.split(sitting.perturbed(mixer, np.random.default_rng(seed)), nnx.Param, ...))


def question(entry: Entry, dtype: Any = np.float32) -> Question:
    """Random arrays; some positions are hidden where they can be, never the first."""
    random = np.random.default_rng(11)
    inputs, cotangent = (random.normal(size=(B, S, D)).astype(np.float32) for _ in range(2))
    key_mask = random.random((B, S)) < 0.7 if can_hide(entry) else np.ones((B, S), bool)
    key_mask[:, 0] = True
    return Question(inputs.astype(dtype), key_mask, cotangent.astype(dtype))


traced: list[str] = []


@functools.partial(quick_jit, static_argnames=("structure", "causal", "masked"))
def mix(structure, parameters, rest, asked: Question, *, causal: bool, masked: bool) -> Answer:
    traced.append("mix")
    hidden = {"key_mask": asked.key_mask} if masked else {}

    def total(parameters, inputs):
        output = nnx.merge(structure, parameters, rest)(inputs, causal=causal, **hidden)
        return jnp.sum(output.astype(asked.cotangent.dtype) * asked.cotangent), output

    gradients, output = jax.grad(total, argnums=(0, 1), has_aux=True)(parameters, asked.inputs)
    return Answer(output, gradients)


def answer(entry: Entry, sitter: Sitter, asked: Question, *, causal: bool) -> Answer:
    # Blocked for, since a test may change what it asked in place.
    return jax.block_until_ready(mix(*sitter, asked, causal=causal, masked=can_hide(entry)))


def leaves(given: Answer) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(given)]


def expected(entry: Entry, sitter: Sitter, asked: Question, *, causal: bool) -> np.ndarray:
    """By the oracle, sequence by sequence."""
    own = sitting.own_knobs(nnx.merge(*sitter).mixer(), 0, 0)
    knobs = {name: knob for name, knob in own.items() if name not in ("key_mask", "causal", "chunk")}
    oracle = functools.partial(oracle_of("mixers", entry.name), causal=causal, **knobs)
    rows = zip(asked.inputs, asked.key_mask, strict=True)
    return np.array([oracle(inputs, key_mask=visible) for inputs, visible in rows])


@every_way()
@sitting.in_float32_and_slowly_in_float64
def test_equals_its_oracle(entry, causal, dtype):
    moved = dtype == np.float64
    sitter, asked = cast(build_mixer(entry, causal=causal, off_default=moved), dtype), question(entry, dtype)
    with jax.enable_x64(moved):
        got = answer(entry, sitter, asked, causal=causal)
        wanted = expected(entry, sitter, asked, causal=causal)
    assert got.output.dtype == dtype
    assert_allclose(got.output, wanted, rtol=0, atol=1e-10 if moved else 2e-5)


@every_way(can_hide)
def test_hidden_positions_may_hold_anything_and_get_zero(entry, causal):
    sitter, asked = build_mixer(entry, causal=causal), question(entry)
    before = answer(entry, sitter, asked, causal=causal)
    assert not np.asarray(before.output)[~asked.key_mask].any()
    for garbage in (np.nan, np.inf, 1e4):
        asked.inputs[~asked.key_mask] = garbage
        after = answer(entry, sitter, asked, causal=causal)
        for was, now in zip(leaves(before), leaves(after), strict=True):
            assert_array_equal(now, was)
            assert np.isfinite(now).all()
    assert not np.asarray(after.gradients[1])[~asked.key_mask].any()


@every_way(can_hide)
def test_padding_behind_changes_nothing(entry, causal):
    sitter, asked = build_mixer(entry, causal=causal), question(entry)
    asked.key_mask[:] = np.arange(S) < S - 2
    asked.inputs[:, S - 2 :] = np.nan
    cut = Question(*(array[:, : S - 2] for array in asked))
    padded = answer(entry, sitter, asked, causal=causal)
    assert_allclose(padded.output[:, : S - 2], expected(entry, sitter, cut, causal=causal), rtol=0, atol=2e-5)


@every_way(can_hide)
def test_an_empty_example_gets_zero_and_harms_nobody(entry, causal):
    sitter, asked = build_mixer(entry, causal=causal), question(entry)
    unharmed = answer(entry, sitter, asked, causal=causal)
    asked.key_mask[1] = False
    got = answer(entry, sitter, asked, causal=causal)
    assert not got.output[1].any()
    assert not np.asarray(got.gradients[1])[1].any()
    assert all(np.isfinite(leaf).all() for leaf in leaves(got))
    assert_array_equal(got.output[0], unharmed.output[0])


@every(lambda entry: of_vectors(entry) and entry.causal)
def test_causal_means_no_derivative_by_what_comes_later(entry):
    """Exactly 0; a transform of the whole sequence keeps its rounding to itself by 1e-5."""
    sitter, asked = build_mixer(entry, causal=True), question(entry)
    cotangent, tolerance = asked.cotangent.copy(), 1e-5 if "log T" in entry.cost else 0
    for t in range(S):
        asked.cotangent[:] = 0
        asked.cotangent[:, t] = cotangent[:, t]
        _, by_inputs = answer(entry, sitter, asked, causal=True).gradients
        assert np.abs(by_inputs[:, t + 1 :]).max(initial=0) <= tolerance


@pytest.mark.slow
@every_way()
@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16], ids=["bfloat16", "float16"])
def test_dtype_goes_in_and_out_and_gradients_are_finite(entry, causal, dtype):
    """At random points, and where all is zero; close to float32's numbers in a narrower dtype."""
    sitter, asked = build_mixer(entry, causal=causal), question(entry, dtype)
    got = answer(entry, sitter, asked, causal=causal)
    exact = np.asarray(answer(entry, sitter, cast(asked, np.float32), causal=causal).output)
    assert got.output.dtype == dtype
    error = np.abs(np.asarray(got.output, np.float32) - exact)
    assert (error <= 4 * float(jnp.finfo(dtype).eps) * np.abs(exact).max(axis=-1, keepdims=True)).all()
    for _ in range(2):
        assert all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in leaves(got))
        asked.inputs[:] = 0
        got = answer(entry, sitter, asked, causal=causal)


@pytest.mark.slow
@every_way()
def test_derivatives_are_right_forward_and_reverse(entry, causal):
    structure, parameters, rest = cast(build_mixer(entry, causal=causal), np.float64)
    asked = question(entry, np.float64)
    masked = {"key_mask": asked.key_mask[0]} if can_hide(entry) else {}

    def output(parameters, inputs):
        return nnx.merge(structure, parameters, rest)(inputs, causal=causal, **masked)

    with jax.enable_x64(True):
        check_grads(output, (parameters, asked.inputs[0]), 2 if entry.smooth and causal == entry.causal else 1)


@every_way()
def test_the_order_of_the_positions_matters_exactly_where_declared(entry, causal):
    """What comes before is permuted: the last position (or every one, where all see all) notices, or does not."""
    sitter, asked = build_mixer(entry, causal=causal), question(entry)
    asked.key_mask[:, -1] = True
    order = np.array([3, 0, 5, 1, 4, 2, 6])
    permuted = Question(*(array[:, order] for array in asked))
    before, after = (np.asarray(answer(entry, sitter, a, causal=causal).output) for a in (asked, permuted))
    if entry.positional:
        assert np.abs(after[:, -1] - before[:, -1]).max() > 1e-3
    else:
        assert_allclose(after[:, -1], before[:, -1], rtol=0, atol=2e-6)


@every_way()
def test_the_compiled_lift_is_an_eager_loop_over_examples(entry, causal):
    sitter, asked = build_mixer(entry, causal=causal), question(entry)
    lifted, bound = answer(entry, sitter, asked, causal=causal).output, nnx.merge(*sitter).mixer()
    ways = {"causal": causal} if "causal" in signature_of(bound.function).knobs else {}
    for example in range(B):
        masked = {"key_mask": jnp.asarray(asked.key_mask[example])} if can_hide(entry) else {}
        own = bind(bound, **ways, **masked)(jnp.asarray(asked.inputs[example]))
        assert_allclose(lifted[example], own, rtol=1e-6, atol=5e-6)


@every(of_vectors)
def test_rebuilt_mixers_do_not_retrace(entry):
    asked, before = question(entry), len(traced)
    for seed in range(3):
        answer(entry, build_mixer(entry, causal=not entry.both_ways, seed=seed), asked, causal=not entry.both_ways)
    assert len(traced) - before <= 1


@every(of_vectors)
def test_it_mixes_the_values_of_heads_as_it_mixes_vectors(entry):
    """In the place of a mixer of heads it mixes the values of all of them side by side, whatever query and key are."""
    causal, asked = not entry.both_ways, question(entry)
    config, sizes = sitting.config_of(entry), SIZES | {"heads": 4, "groups": 4, "value_width": D // 4, "causal": causal}
    alone, of_heads = (make(config, sizes, nnx.Rngs(0)) for make in (build.make_vector_mixer, build.make_mixer))
    value = asked.inputs.reshape(B, S, 4, D // 4)
    got = of_heads(jnp.zeros((B, S, 4, 3)), jnp.zeros((B, S, 4, 3)), value, causal=causal)
    assert_array_equal(got.reshape(B, S, D), alone(asked.inputs, causal=causal))
    assert of_heads.weights(value, value, causal=causal) is None


@every(lambda entry: of_vectors(entry) and not can_hide(entry))
def test_hiding_positions_is_refused_where_declared_impossible(entry):
    asked, mixer = question(entry), nnx.merge(*build_mixer(entry, causal=not entry.both_ways))
    with pytest.raises(ValueError, match=f"{entry.name} cannot hide positions"):
        mixer(asked.inputs, key_mask=asked.key_mask, causal=not entry.both_ways)
