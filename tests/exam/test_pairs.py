"""Every two entries together: the rules hold for what the capability table allows, and the table is exact."""

import functools
import itertools
import random
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.testing import assert_allclose

from selfattn_jax import build, catalogue
from selfattn_jax.config import ConfigError, from_mapping, validate
from selfattn_jax.config.schema import Config
from selfattn_jax.functional.bind import Bound, call
from selfattn_jax.functional.normalizers import streaming
from selfattn_jax.modules.attention import SelfAttention
from selfattn_jax.tasks import Task
from tests.exam import pairs, sitting
from tests.exam.marking import expected_layer
from tests.exam.sitting import quick_jit

B, T, WIDTH = 2, 6, 16
AXES = pairs.axes()
ROWS = list(pairs.all_pairs(AXES, pairs.allowed))
QUICK = {tuple(row.items()) for row in random.Random(1).sample(ROWS, 20)}


def title(row: pairs.Row) -> str:
    return "-".join(entry.name if entry else "none" for entry in row.values())


def every_row() -> pytest.MarkDecorator:
    """Twenty rows in the fast tier, the others in the slow one."""
    parameters = [
        pytest.param(row, id=title(row), marks=() if tuple(row.items()) in QUICK else pytest.mark.slow) for row in ROWS
    ]
    return pytest.mark.parametrize("row", parameters)


def test_every_allowed_pair_meets():
    met = set().union(*map(pairs.pairs_of, ROWS))
    for first, second in itertools.combinations(AXES, 2):
        for x, y in itertools.product(AXES[first], AXES[second]):
            assert (frozenset([(first, x), (second, y)]) in met) == pairs.allowed({first: x, second: y})


def config_of(row: pairs.Row) -> Config:
    """The config that names all entries of a row, each in its slot."""
    mixer: dict[str, Any] = {}
    for entry in (row["score"], row["normalizer"], row["position"], row["modifier"], row["mask"]):
        if entry is not None:
            piece = {"name": entry.name, **entry.example}
            several = entry.slot in sitting.SEVERAL
            mixer[entry.slot] = [*mixer.get(entry.slot, []), piece] if several else piece
    heads = {"name": row["heads"].name, "count": 2, "key_width": 4, "value_width": 3}
    return validate(from_mapping({"task": "adding", "model": {"width": WIDTH, "heads": heads, "mixer": mixer}}), Config)


def layer_of(row: pairs.Row) -> SelfAttention:
    """The layer of a row, with every parameter moved."""
    config = config_of(row).model
    heads = build.make("heads", config.heads, {"width": WIDTH})
    sizes = {
        "heads": heads.count, "groups": heads.groups, "width": WIDTH, "key_width": heads.key_width,
        "value_width": heads.value_width, "length": T, "reach": T, "causal": False,
    }  # fmt: skip
    mixer = build.make_mixer(config.mixer, sizes, nnx.Rngs(0))
    structure = row["heads"].layer or SelfAttention
    return sitting.perturbed(structure(WIDTH, heads, mixer, rngs=nnx.Rngs(1)), np.random.default_rng(0))


class Answers(NamedTuple):
    """Outputs in three forms, gradients by parameters and projections, and outputs of projections in bfloat16."""

    dense: jax.Array
    rows: jax.Array
    blockwise: jax.Array | None
    dense_gradients: Any
    blockwise_gradients: Any
    dense_narrow: jax.Array | None
    blockwise_narrow: jax.Array | None


@every_row()
def test_the_rules_hold_for_every_two_entries(row):
    """The oracle's numbers in every form; no leak from a padded key; finite gradients, at zero vectors too.

    Rows and tiles divide no length. What does not stream refuses the blockwise form.
    """
    layer, draw = layer_of(row), np.random.default_rng(3)
    structure, parameters, rest = nnx.split(layer, nnx.Param, ...)
    inputs = draw.normal(size=(B, T, WIDTH)).astype(np.float32)
    key_mask = np.arange(T) < np.array([[T], [T - 2]])
    names = [entry.name for entry in row.values() if entry]
    streams = streaming(row["normalizer"].function) and not {"cope", "talking"} & set(names)

    def outputs(implementation, parameters, projected):
        layer = nnx.merge(structure, parameters, rest)
        layer.mixer.implementation = implementation
        return layer.mix(*projected, causal=False, key_mask=key_mask, positions=None, inputs=inputs)

    def both(implementation, parameters, projected):
        def total(parameters, projected):
            output = outputs(implementation, parameters, projected)
            return jnp.sum(jnp.sin(output)), output

        (_, output), gradients = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(parameters, projected)
        return output, gradients

    @quick_jit
    def answer(parameters, projected) -> Answers:
        dense, dense_gradients = both("dense", parameters, projected)
        rows = outputs("rows", parameters, projected)
        if not streams:
            with pytest.raises(NotImplementedError, match="take the rows form"):
                outputs("blockwise", parameters, projected)
            return Answers(dense, rows, None, dense_gradients, None, None, None)
        blockwise, blockwise_gradients = both("blockwise", parameters, projected)
        narrow = [array.astype(jnp.bfloat16) for array in projected]
        narrows = (outputs(form, parameters, narrow) for form in ("dense", "blockwise"))
        return Answers(dense, rows, blockwise, dense_gradients, blockwise_gradients, *narrows)

    projected = [np.array(array) for array in layer.project(inputs, inputs)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selfattn_jax.functional.rows.PAIRS", 4 * T)
        patch.setattr("selfattn_jax.functional.blockwise.BLOCK", 4)
        given = jax.block_until_ready(answer(parameters, projected))
    exact = expected_layer(layer, projected, key_mask, inputs)
    assert_near(given.dense, exact)
    assert_near(given.rows, exact)
    assert all_finite(given)
    if streams:
        assert_tiles_near(given, exact)
    for array in projected[1:]:
        array[1, T - 2 :] = np.nan
    again = jax.block_until_ready(answer(parameters, projected))
    assert_near(again.dense, given.dense, 1e-6)
    assert all_finite(again)
    for array in projected:
        array[0, 1] = 0
    assert all_finite(answer(parameters, projected))


def assert_tiles_near(given: Answers, exact: np.ndarray) -> None:
    """3e-6 of a row's maximum, or thrice what the dense form is wrong by where positive and negative terms cancel."""
    assert_rows_near(given.blockwise, given.dense, 3e-6, 3 * np.abs(given.dense - exact).max(axis=-1))
    assert_rows_near(given.blockwise_narrow, given.dense_narrow, 2 * 2**-8)  # two units in the last place of bfloat16
    gradients = (jax.tree.leaves(found) for found in (given.blockwise_gradients, given.dense_gradients))
    for got, wanted in zip(*gradients, strict=True):
        # Twice what the dense form's own gradients are wrong by where terms cancel, which float64 says is 2e-5.
        assert_allclose(got, wanted, rtol=4e-5, atol=4e-5 * max(1, np.abs(wanted).max()))


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in ROWS if tuple(row.items()) in QUICK], ids=title)
def test_the_rows_form_has_the_derivatives_of_the_dense_one_both_ways(row):
    layer, draw = layer_of(row), np.random.default_rng(4)
    structure, parameters, rest = nnx.split(layer, nnx.Param, ...)
    inputs = draw.normal(size=(B, T, WIDTH)).astype(np.float32)
    key_mask = np.arange(T) < np.array([[T], [T - 2]])
    at = (parameters, layer.project(inputs, inputs))
    direction = jax.tree.map(lambda leaf: draw.normal(size=leaf.shape).astype(np.float32), at)

    @functools.partial(quick_jit, static_argnums=0)
    def derivatives(implementation, at, direction):
        def outputs(parameters, projected):
            layer = nnx.merge(structure, parameters, rest)
            layer.mixer.implementation = implementation
            return layer.mix(*projected, causal=True, key_mask=key_mask, positions=None, inputs=inputs)

        value, forward = jax.jvp(outputs, at, direction)
        return forward, jax.vjp(outputs, *at)[1](jnp.cos(value))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selfattn_jax.functional.rows.PAIRS", 2 * T)  # two rows at a time, or one of two heads
        rows = jax.tree.leaves(derivatives("rows", at, direction))
    for got, wanted in zip(rows, jax.tree.leaves(derivatives("dense", at, direction)), strict=True):
        assert_allclose(got, wanted, rtol=2e-5, atol=2e-5 * max(1, np.abs(wanted).max()))


def assert_rows_near(got: Any, wanted: Any, tolerance: float, floor: Any = 0.0) -> None:
    """Within a tolerance relative to the largest number of each row, or an absolute one by row."""
    got, wanted = np.float32(got), np.float32(wanted)
    error, size = np.abs(got - wanted).max(axis=-1), np.abs(wanted).max(axis=-1)
    assert (error <= np.maximum(tolerance * size, floor)).all(), (
        f"{(error / np.maximum(size, 1e-30)).max():.2g} of a row's maximum"
    )


def assert_near(got: Any, wanted: Any, tolerance: float = 2e-5) -> None:
    """Within a tolerance that is relative to a row's largest number, and absolute below 1."""
    scale = np.maximum(np.abs(wanted).max(axis=-1, keepdims=True), 1)
    assert (np.abs(np.asarray(got) - np.asarray(wanted)) <= tolerance * scale).all()


def all_finite(tree: Any) -> bool:
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


# The table is exact: what it forbids would be wrong, and says so; what it allows is right.

ENCODINGS = [entry for entry in catalogue.in_slot("encode").values() if entry.requires]
SHIFT = 18  # a whole number of rows of an image


@functools.cache
def scores_at(score: catalogue.Entry, encoding: catalogue.Entry | None, shift: int) -> np.ndarray:
    """The scores of one head in float64, with all positions moved on."""
    draw = np.random.default_rng(0)
    query, key = draw.normal(size=(T, sitting.K)), draw.normal(size=(T, sitting.K))
    positions = np.arange(T, dtype=np.int32) + np.int32(shift)
    places = {"query_positions": positions, "key_positions": positions}
    with jax.enable_x64(True):
        piece = sitting.cast(sitting.one_head(sitting.build_piece(score), 0, 0), np.float64)
        arrays = {"query": jnp.asarray(query), "key": jnp.asarray(key)}
        if encoding is not None:
            encoded = call(plain(encoding), "encode", **arrays, **places, length=jnp.int32(T))
            arrays = dict(zip(("query", "key"), encoded, strict=True))
        return np.asarray(call(piece, "score", **arrays, **places))


def plain(entry: catalogue.Entry) -> Bound:
    return sitting.cast(sitting.build_piece(entry), np.float64)


@pytest.mark.parametrize("score", catalogue.in_slot("score").values(), ids=lambda entry: entry.name)
@pytest.mark.parametrize("encoding", ENCODINGS, ids=lambda entry: entry.name)
def test_an_encoding_may_stand_with_a_score_exactly_where_it_makes_it_depend_on_the_distance_alone(encoding, score):
    relative = np.allclose(scores_at(score, encoding, 0), scores_at(score, encoding, SHIFT), rtol=0, atol=1e-8)
    matters = not np.allclose(scores_at(score, encoding, 0), scores_at(score, None, 0), rtol=0, atol=1e-8)
    may = encoding.requires in score.keeps
    assert may == (relative and matters)
    piece = {"name": encoding.name, **encoding.example}
    mixer = {"score": {"name": score.name, **score.example}, "encode": [piece]}
    config = validate(from_mapping({"task": "adding", "model": {"width": WIDTH, "mixer": mixer}}), Config)
    if may:
        build.check_encodings(config.model.mixer)
    else:
        reason = f"{encoding.name} needs a score that keeps {encoding.requires}, .*{score.name} does not: take another"
        with pytest.raises(ValueError, match=rf"{reason} score \(dot, scaled_dot"):
            build.check_encodings(config.model.mixer)


@pytest.mark.parametrize("mixer", catalogue.in_slot("mixer").values(), ids=lambda entry: entry.name)
@pytest.mark.parametrize("heads", catalogue.in_slot("heads").values(), ids=lambda entry: entry.name)
def test_heads_that_mix_weights_may_stand_exactly_with_the_mixer_that_has_them(heads, mixer):
    piece = {"name": mixer.name, **mixer.example}
    heads_config = {"name": heads.name, "count": 2}
    model = {"width": WIDTH, "layers": 1, "heads": heads_config, "mixer": piece, "causal": not mixer.both_ways}
    config = validate(from_mapping({"task": "adding", "model": model}), Config)
    task: Task = build.make_task(config)
    if mixer.takes == "vectors" and heads.layer is not None:
        with pytest.raises(ConfigError, match=f"model.heads  {heads.name} heads need queries and keys"):
            build.abstract_encoder(config, task)
    elif heads.needs_weights and mixer.name != "attention":
        with pytest.raises(ConfigError, match=f"model.heads  {heads.name} heads mix attention weights"):
            build.abstract_encoder(config, task)
    else:
        build.abstract_encoder(config, task)
