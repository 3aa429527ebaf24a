"""Mixers, attention among them, through their modules: what holds for every one, by key mask, causality and length."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from selfattn_jax import build, catalogue
from selfattn_jax.catalogue import Entry
from selfattn_jax.functional.bind import bind, signature_of
from selfattn_jax.modules.attention import Mixer, made
from tests.exam import sitting
from tests.exam.marking import oracle_of
from tests.exam.sitting import B, G, H, K, S, T, V, cast, every, every_mixer_of_heads, of_heads, quick_jit
from tests.exam.test_gradients import check_grads


def every_way(holds: Callable[[Entry], Any] = lambda entry: True) -> pytest.MarkDecorator:
    """Parametrises a test over the mixers for which something holds, both ways and causal, where they can be."""
    ways = [
        pytest.param(entry, causal, id=f"{'causal' if causal else 'both_ways'}-{entry.name}")
        for entry in catalogue.entries
        for causal in (False, True)
        if of_heads(entry) and holds(entry) and (entry.causal if causal else entry.both_ways)
    ]
    return pytest.mark.parametrize(("entry", "causal"), ways, scope="module")


def can_hide(entry: Entry) -> bool:
    return entry.mask != "none"


class Question(NamedTuple):
    """The inputs [B,S,D] are those of the layer, from which some mixers compute how long they remember."""

    query: np.ndarray
    key: np.ndarray
    value: np.ndarray
    key_mask: np.ndarray
    cotangent: np.ndarray
    inputs: np.ndarray


class Answer(NamedTuple):
    output: jax.Array
    weights: jax.Array | None
    gradients: tuple


class Sitter(NamedTuple):
    """A mixer's module, taken apart for `jit`."""

    structure: Any
    parameters: Any
    rest: Any


def by_nature(entry: Entry) -> bool:
    """Whether it is causal when it is not asked to be."""
    return not entry.both_ways


def build_mixer(entry, *, causal: bool | None = None, off_default: bool = False, seed: int = 0) -> Sitter:
    config = sitting.config_of(entry, off_default=off_default and entry.name != "attention")
    causal = by_nature(entry) if causal is None else causal
    sizes = sitting.SIZES | {"causal": causal} | ({"value_width": K} if entry.elementwise else {})
    mixer = build.make_mixer(config, sizes, nnx.Rngs(seed))
    return Sitter(*nnx.split(sitting.perturbed(mixer, np.random.default_rng(seed)), nnx.Param, ...))


def question(entry, *, causal: bool = False, dtype: Any = np.float32, queries: int = T, keys: int = S) -> Question:
    """Random arrays; T ≠ S unless causal or square. Some keys are hidden where they can be, never the first."""
    random = np.random.default_rng(11)
    queries = keys if causal or entry.square else queries
    values = K if entry.elementwise else V
    shapes = ((B, queries, H, K), (B, keys, G, K), (B, keys, G, values), (B, queries, H, values))
    query, key, value, cotangent = (random.normal(size=shape).astype(np.float32) for shape in shapes)
    inputs = random.normal(size=(B, keys, sitting.SIZES["width"])).astype(np.float32)
    key_mask = np.ones((B, keys), bool)
    if entry.mask != "none":
        key_mask = random.random((B, keys)) < 0.7
        key_mask[:, 0] = True
    return Question(query.astype(dtype), key.astype(dtype), value.astype(dtype), key_mask, cotangent, inputs)


traced: list[str] = []


@functools.partial(quick_jit, static_argnames=("structure", "causal", "masked"))
def mix(structure, parameters, rest, asked: Question, *, causal: bool, masked: bool = True) -> Answer:
    """Output, effective weights and gradients: by the parameters, query, key, value and the layer's inputs."""
    traced.append("mix")
    hidden = {"causal": causal, "key_mask": asked.key_mask if masked else None}

    def total(parameters, query, key, value, inputs):
        output = nnx.merge(structure, parameters, rest)(query, key, value, inputs=inputs, **hidden)
        return jnp.sum(output.astype(asked.cotangent.dtype) * asked.cotangent), output

    by = jax.grad(total, argnums=(0, 1, 2, 3, 4), has_aux=True)
    gradients, output = by(parameters, *asked[:3], asked.inputs)
    weights = nnx.merge(structure, parameters, rest).weights(*asked[:2], inputs=asked.inputs, **hidden)
    return Answer(output, weights, gradients)


def answer(entry, sitter: Sitter, asked: Question, *, causal: bool | None = None) -> Answer:
    causal = by_nature(entry) if causal is None else causal
    # Blocked for, since a test may change what it asked in place.
    return jax.block_until_ready(mix(*sitter, asked, causal=causal, masked=entry.mask != "none"))


def leaves(given: Answer) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(given)]


class Told(NamedTuple):
    """What the oracles of one head are told: the piece, and what it gets of query, key and value."""

    piece: Any
    query: np.ndarray
    key: np.ndarray
    value: np.ndarray


def told(sitter: Sitter, asked: Question) -> Told:
    mixer, arrays = nnx.merge(*sitter), asked[:3]
    if not isinstance(mixer, Mixer):  # attention as it comes
        return Told(None, *arrays)
    arrays = map(np.asarray, mixer.prepared(*map(jnp.asarray, arrays), jnp.asarray(asked.key_mask)))
    return Told(made(mixer.mixer, inputs=asked.inputs), *arrays)


def by_oracle(
    entry, given: Told, asked: Question, *, causal: bool, example: int, head: int, weights: bool = False
) -> np.ndarray:
    """The output [T,V], or the effective weights [T,S], of one head of one example."""
    own = {} if given.piece is None else sitting.own_knobs(given.piece, example, head)
    knobs = {**own, "causal": causal, "key_mask": asked.key_mask[example]}
    query, group = given.query[example, :, head], head // (H // G)
    key, value = given.key[example, :, group], given.value[example, :, group]
    if weights:
        knobs.pop("initial_state", None)
        return oracle_of("mixers", f"{entry.name}_weights")(query, key, **knobs)
    return oracle_of("mixers", entry.name)(query, key, value, **knobs)


def expected(
    entry, sitter: Sitter, asked: Question, *, causal: bool | None = None, weights: bool = False
) -> np.ndarray:
    """By the oracles, head by head: the output [B,T,H,V], or the effective weights [B,H,T,S]."""
    causal, given = by_nature(entry) if causal is None else causal, told(sitter, asked)
    places = functools.partial(by_oracle, entry, given, asked, causal=causal, weights=weights)
    heads = np.array([[places(example=b, head=h) for h in range(H)] for b in range(B)])
    return heads if weights else heads.swapaxes(1, 2)


@every_way()
@sitting.in_float32_and_slowly_in_float64
def test_equals_its_oracle(entry, causal, dtype):
    moved, tolerance = dtype == np.float64, 1e-10 if dtype == np.float64 else 2e-5
    sitter = cast(build_mixer(entry, causal=causal, off_default=moved), dtype)
    asked = cast(question(entry, causal=causal, dtype=dtype), dtype)
    with jax.enable_x64(moved):
        got = answer(entry, sitter, asked, causal=causal)
        output = expected(entry, sitter, asked, causal=causal)
        assert got.output.dtype == dtype
        assert_allclose(got.output, output, rtol=0, atol=tolerance)
        if got.weights is not None:
            weights = expected(entry, sitter, asked, causal=causal, weights=True)
            assert_allclose(got.weights, weights, rtol=0, atol=tolerance)
            value = np.where(asked.key_mask[..., None, None], told(sitter, asked).value, 0).repeat(H // G, axis=2)
            assert_allclose(np.einsum("bhts,bshv->bthv", got.weights, value), got.output, rtol=0, atol=2e-5)
    assert (got.weights is None) == (entry.weights is None and entry.name != "attention")


@pytest.mark.slow
@every_way(lambda entry: hasattr(inspect.getmodule(entry.function), "CHUNK") and not entry.state)
def test_any_length_around_the_chunk_equals_the_oracle(entry, causal):
    chunk = inspect.getmodule(entry.function).CHUNK
    sitter = build_mixer(entry, causal=causal)

    @quick_jit
    def run(parameters, rest, asked):
        masked = {"key_mask": asked.key_mask} if entry.mask != "none" else {}
        return nnx.merge(sitter.structure, parameters, rest)(*asked[:3], causal=causal, inputs=asked.inputs, **masked)

    @settings(max_examples=4, deadline=None, derandomize=True)
    @given(st.sampled_from([chunk - 1, chunk, chunk + 1, 2 * chunk, 2 * chunk + 1]))
    def check(length):
        asked = question(entry, causal=causal, queries=3, keys=length)
        got = run(sitter.parameters, sitter.rest, asked)
        wanted = by_oracle(entry, told(sitter, asked), asked, causal=causal, example=1, head=2)
        assert_allclose(got[1, :, 2], wanted, rtol=0, atol=2e-5)

    check()


@every_way(can_hide)
def test_hidden_keys_may_hold_anything(entry, causal):
    sitter, asked = build_mixer(entry, causal=causal), question(entry, causal=causal)
    before = answer(entry, sitter, asked, causal=causal)
    for garbage in (np.nan, np.inf, 1e4):
        asked.key[~asked.key_mask] = garbage
        asked.value[~asked.key_mask] = -garbage
        asked.inputs[~asked.key_mask] = 1e4  # NaN would already be in the gradients of a layer's projections
        after = answer(entry, sitter, asked, causal=causal)
        for was, now in zip(leaves(before), leaves(after), strict=True):
            assert_array_equal(now, was)
            assert np.isfinite(now).all()
    assert not after.gradients[2][~asked.key_mask].any()
    assert not after.gradients[3][~asked.key_mask].any()


@every(lambda entry: of_heads(entry) and entry.square and can_hide(entry))
def test_a_query_of_padding_may_hold_anything_and_harms_nobody(entry):
    sitter, asked = build_mixer(entry), question(entry)
    before = answer(entry, sitter, asked)
    asked.query[~asked.key_mask] = np.nan
    asked.cotangent[~asked.key_mask] = 0
    after = answer(entry, sitter, asked)
    assert_array_equal(np.asarray(after.output)[asked.key_mask], np.asarray(before.output)[asked.key_mask])
    assert all(np.isfinite(np.asarray(gradient)).all() for gradient in jax.tree.leaves(after.gradients[2:]))


@every(lambda entry: of_heads(entry) and can_hide(entry))
def test_padding_behind_changes_nothing(entry):
    sitter, asked = build_mixer(entry), question(entry)
    asked.key_mask[:] = np.arange(S) < S - 2
    asked.key[:, S - 2 :], asked.value[:, S - 2 :], asked.inputs[:, S - 2 :] = np.nan, 1e4, 1e4
    kept = S - 2 if entry.square else T
    cut = Question(
        asked.query[:, :kept],
        *(array[:, : S - 2] for array in asked[1:4]),
        asked.cotangent[:, :kept],
        asked.inputs[:, : S - 2],
    )
    padded = answer(entry, sitter, asked)
    assert_allclose(padded.output[:, :kept], expected(entry, sitter, cut), rtol=0, atol=2e-5)


@every_way(can_hide)
def test_an_empty_example_gets_zero_and_harms_nobody(entry, causal):
    sitter, asked = build_mixer(entry, causal=causal), question(entry, causal=causal)
    unharmed = answer(entry, sitter, asked, causal=causal)
    asked.key_mask[1] = False
    got = answer(entry, sitter, asked, causal=causal)
    assert not got.output[1].any()
    assert all(np.isfinite(leaf).all() for leaf in leaves(got))
    assert not any(np.asarray(gradient)[1].any() for gradient in got.gradients[1:])
    assert_array_equal(got.output[0], unharmed.output[0])


@every(lambda entry: of_heads(entry) and entry.causal)
def test_causal_means_no_derivative_by_what_comes_later(entry):
    """Exactly 0; a transform of the whole sequence leaves its rounding there."""
    sitter, asked = build_mixer(entry, causal=True), question(entry, causal=True)
    cotangent, seen, rounding = asked.cotangent.copy(), 0.0, 1e-5 if "log T" in entry.cost else 0
    for t in range(S):
        asked.cotangent[:] = 0
        asked.cotangent[:, t] = cotangent[:, t]
        _, *by_arrays = answer(entry, sitter, asked, causal=True).gradients
        assert all(np.abs(gradient[:, t + 1 :]).max(initial=0) <= rounding for gradient in by_arrays)
        seen += np.abs(by_arrays[2]).sum()
    assert seen > 0


@pytest.mark.slow
@every_way()
@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16], ids=["bfloat16", "float16"])
def test_dtype_goes_in_and_out_and_gradients_are_finite(entry, causal, dtype):
    """At random points, at zero vectors, and at ties; close to float32's numbers in a narrower dtype."""
    sitter, asked = build_mixer(entry, causal=causal), question(entry, causal=causal, dtype=dtype)
    got = answer(entry, sitter, asked, causal=causal)
    wide = cast(asked, np.float32)
    exact = np.asarray(answer(entry, sitter, wide, causal=causal).output)
    assert got.output.dtype == dtype
    error = np.abs(np.asarray(got.output, np.float32) - exact)
    assert (error <= 4 * float(jnp.finfo(dtype).eps) * np.abs(exact).max(axis=-1, keepdims=True)).all()
    asked.query[0, 1], asked.key[0, 2], asked.key[1, 4] = 0, 0, asked.key[1, 3]
    for _ in range(2):
        got = answer(entry, sitter, asked, causal=causal)
        assert all(np.isfinite(np.asarray(leaf, np.float32)).all() for leaf in leaves(got))
        asked.query[:], asked.key[:], asked.value[:] = 0, 0, 0


@pytest.mark.slow
@every_way()
def test_derivatives_are_right_forward_and_reverse(entry, causal):
    structure, parameters, rest = cast(build_mixer(entry, causal=causal), np.float64)
    asked = cast(question(entry, causal=causal), np.float64)
    masked = {"key_mask": asked.key_mask[:1]} if entry.mask != "none" else {}
    # Causal is the harder of the two, and the second order is dear.
    order = 2 if entry.smooth and causal == entry.causal else 1

    def output(parameters, query, key, value, inputs):
        return nnx.merge(structure, parameters, rest)(query, key, value, causal=causal, inputs=inputs, **masked)

    with jax.enable_x64(True):
        check_grads(output, (parameters, *(array[:1] for array in asked[:3]), asked.inputs[:1]), order)


@every_mixer_of_heads
def test_the_order_of_the_keys_matters_exactly_where_declared(entry):
    sitter, asked = build_mixer(entry), question(entry)
    if entry.square:
        asked.key_mask[:] = True  # it is the queries' too, which stay where they are
    order = np.random.default_rng(3).permutation(S)
    permuted = asked._replace(
        **{name: getattr(asked, name)[:, order] for name in ("key", "value", "key_mask", "inputs")}
    )
    before, after = (answer(entry, sitter, a).output for a in (asked, permuted))
    if entry.positional:
        assert np.abs(after - before).max() > 1e-3
    else:
        assert_allclose(after, before, rtol=0, atol=2e-6)


@every_mixer_of_heads
def test_no_program_waits_for_the_threads_it_runs_on(entry):
    """A training step with its draws calls no routine of LAPACK: several at once wait for one another for ever."""
    structure, parameters, rest = build_mixer(entry, off_default=True)
    asked = question(entry)
    hidden = {"causal": by_nature(entry), "rng": jax.random.key(0)}

    def total(parameters, query, key, value, inputs):
        output = nnx.merge(structure, parameters, rest)(query, key, value, inputs=inputs, **hidden)
        return jnp.sum(output * asked.cotangent)

    gradient = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3, 4)))
    assert "lapack" not in gradient.lower(parameters, *asked[:3], asked.inputs).as_text()


@every_mixer_of_heads
def test_rebuilt_mixers_do_not_retrace(entry):
    asked, before = question(entry), len(traced)
    for seed in range(3):
        answer(entry, build_mixer(entry, seed=seed), asked)
    assert len(traced) - before <= 1


@pytest.mark.slow
@every_mixer_of_heads
def test_the_compiled_lift_is_an_eager_loop_over_examples_and_heads(entry):
    sitter, asked = build_mixer(entry), question(entry)
    lifted, given = np.asarray(answer(entry, sitter, asked).output), told(sitter, asked)
    mixer, situation = nnx.merge(*sitter), {"causal": by_nature(entry)}
    for example, head in np.ndindex(B, H):
        group = head // (H // G)
        arrays = (given.query[example, :, head], given.key[example, :, group], given.value[example, :, group])
        masked = {"key_mask": jnp.asarray(asked.key_mask[example])} if entry.mask != "none" else {}
        if given.piece is None:
            own = mixer(*(jnp.asarray(array)[:, None] for array in arrays), **situation, **masked)[:, 0]
        else:
            piece = sitting.one_head(given.piece, example, head)
            ways = situation if "causal" in signature_of(piece.function).knobs else {}
            own = bind(piece, **masked, **ways)(*map(jnp.asarray, arrays))
        # A transform of the whole sequence rounds by its largest number.
        assert_allclose(lifted[example, :, head], own, rtol=0, atol=2e-6 * max(1, np.abs(own).max()))


@every(lambda entry: entry.kind == "mixers")
def test_what_is_declared_not_to_be_possible_is_refused(entry):
    """Causality, sight of what comes later and the hiding of keys, each where it is declared."""
    for causal, able, reason in (
        (True, entry.causal, "cannot be causal: set model.causal to false"),
        (False, entry.both_ways, "is causal by nature: set model.causal to true"),
    ):
        sizes = sitting.SIZES | {"causal": causal}
        if able:
            assert build.make_mixer(sitting.config_of(entry), sizes, nnx.Rngs(0)) is not None
        else:
            with pytest.raises(ValueError, match=f"{entry.name} {reason}"):
                build.make_mixer(sitting.config_of(entry), sizes, nnx.Rngs(0))
    if entry.mask == "none" and of_heads(entry):
        asked = question(entry)
        with pytest.raises(ValueError, match=f"{entry.name} cannot hide positions"):
            nnx.merge(*build_mixer(entry))(*asked[:3], key_mask=asked.key_mask, causal=by_nature(entry))


@every(lambda entry: of_heads(entry) and entry.square)
def test_sequences_of_different_lengths_are_refused(entry):
    asked = question(entry)
    with pytest.raises(ValueError, match=r"key must be \["):
        nnx.merge(*build_mixer(entry))(asked.query[:, :3], *asked[1:3], causal=by_nature(entry), inputs=asked.inputs)


@every(lambda entry: of_heads(entry) and entry.elementwise)
def test_widths_that_differ_are_refused(entry):
    asked, mixer = question(entry), nnx.merge(*build_mixer(entry))
    with pytest.raises(ValueError, match=r"value must be \["):
        mixer(*asked[:2], asked.value[..., :V], causal=by_nature(entry), inputs=asked.inputs)


def test_every_mixer_is_examined():
    assert {"attention", "linear"} <= {entry.name for entry in catalogue.entries if of_heads(entry)}
