"""Costs: counted by hand where a hand can count, and near what the compiler counts."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from selfattn_jax.build import make_encoder, make_task
from selfattn_jax.config import ConfigError, from_mapping, validate
from selfattn_jax.config.schema import Config
from selfattn_jax.costs import flops, model_costs, parameter_count
from tests.tiny import tiny

LENGTH, WIDTH, VOCABULARY = 8, 8, 12


def config(**model: Any) -> Config:
    task = {"name": "multi_query_recall", "length": LENGTH, "pairs": 2, "vocabulary": VOCABULARY}
    return validate(from_mapping({"task": task, "model": {"width": WIDTH, "layers": 1, **model}}), Config)


def array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


# Parameters.


def test_parameters_are_those_that_a_hand_counts() -> None:
    embed, readout = VOCABULARY * WIDTH, WIDTH * VOCABULARY + VOCABULARY
    projections, norms = 4 * WIDTH * WIDTH, 2 * WIDTH
    assert model_costs(config())["parameters"] == embed + readout + projections + norms


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ({"positions": "learned"}, LENGTH * WIDTH),
        ({"positions": "sinusoidal"}, 0),
        ({"layers": 3}, 2 * (4 * WIDTH * WIDTH + WIDTH)),
        ({"block": {"mlp": "gelu"}}, 2 * WIDTH * 32 + 32 + WIDTH + WIDTH),
        ({"block": {"mlp": "swiglu"}}, 3 * WIDTH * 32 + WIDTH),
        ({"block": {"norm": "layer"}}, 2 * WIDTH),
        ({"heads": {"name": "multi_query", "count": 4}}, -2 * WIDTH * 6),
        ({"mixer": {"name": "attention", "normalizer": "sink"}, "heads": {"count": 4}}, 4),
        ({"mixer": "linear"}, 0),
    ],
)
def test_a_part_has_the_parameters_that_it_learns(model: dict[str, Any], more: int) -> None:
    assert model_costs(config(**model))["parameters"] - model_costs(config())["parameters"] == more


def test_parameters_of_a_module_and_of_a_tree_are_counted_alike() -> None:
    made = config()
    encoder = nnx.eval_shape(lambda: make_encoder(made, make_task(made), nnx.Rngs(0)))
    assert parameter_count(encoder) == parameter_count(nnx.state(encoder, nnx.Param)) == 476
    assert parameter_count({"a": jnp.zeros((2, 3)), "b": jnp.zeros(())}) == 7


# Operations.


def test_a_product_of_matrices_is_two_operations_per_pair() -> None:
    assert flops(jnp.matmul, array(3, 5), array(5, 7)) == 2 * 3 * 5 * 7
    assert flops(lambda a, b: jnp.einsum("bij,bjk->bik", a, b), array(4, 3, 5), array(4, 5, 7)) == 4 * 2 * 3 * 5 * 7
    assert flops(jnp.vdot, array(9), array(9)) == 18


def test_any_other_number_computed_is_one_operation() -> None:
    assert flops(lambda a: jnp.exp(a) * 2 + a, array(6)) == 18
    assert flops(lambda a: jnp.sum(a), array(4, 5)) == 20
    assert flops(lambda a: jnp.cumsum(a), array(6)) == 6


def test_moving_numbers_is_free() -> None:
    assert flops(lambda a: a.T.reshape(5, 4)[::-1, :2], array(4, 5)) == 0
    assert flops(lambda a: jnp.where(jnp.arange(4) > 1, a, 0), array(4)) == 0


def test_a_scan_counts_as_often_as_it_loops() -> None:
    def scanned(state: Any, weights: Any) -> Any:
        return jax.lax.scan(lambda state, _: (weights @ state, None), state, length=11)[0]

    assert flops(scanned, array(5), array(5, 5)) == 11 * 2 * 5 * 5
    assert flops(lambda rows: jax.lax.map(jnp.exp, rows), array(7, 3)) == 21


def test_a_branch_counts_as_its_dearest_arm() -> None:
    def branch(which: Any, rows: Any) -> Any:
        return jax.lax.cond(which, lambda rows: rows @ rows, lambda rows: rows + 1, rows)

    assert flops(branch, array(dtype=jnp.bool_), array(4, 4)) == 2 * 4**3


def test_what_is_called_inside_is_counted_inside() -> None:
    inner = jax.jit(lambda a: a @ a)
    custom = jax.custom_jvp(lambda a: a @ a)
    custom.defjvp(lambda primals, tangents: (custom(*primals), tangents[0]))
    for function in (inner, custom, jax.checkpoint(lambda a: a @ a)):
        assert flops(lambda a, function=function: function(a) + 1, array(4, 4)) == 2 * 4**3 + 16


# Models.

MIXERS = {
    "attention": {"name": "attention"},
    "cosine": {"name": "attention", "score": "cosine", "modifiers": [{"name": "softcap", "cap": 5}]},
    "rope": {"name": "attention", "encode": ["rope"], "normalizer": "sink"},
    "additive": {"name": "attention", "score": "additive"},
    "alibi": {"name": "attention", "biases": ["alibi"], "mask": {"name": "window", "left": 3}},
    "linear": {"name": "linear"},
}


@pytest.mark.parametrize("mixer", MIXERS.values(), ids=MIXERS)
def test_operations_are_near_what_the_compiler_counts(mixer: dict[str, Any]) -> None:
    task = {"name": "multi_query_recall", "length": 64, "pairs": 2, "vocabulary": 12}
    model = {"width": 32, "layers": 1, "heads": {"count": 2}, "mixer": mixer}
    made = validate(from_mapping({"task": task, "model": model}), Config)
    structure, state = nnx.split(nnx.eval_shape(lambda: make_encoder(made, make_task(made), nnx.Rngs(0))))
    forward = jax.jit(lambda state, inputs: nnx.merge(structure, state)(inputs))
    counted = forward.lower(state, array(1, 64, dtype=jnp.int32)).compile().cost_analysis()
    assert counted is not None
    assert model_costs(made)["forward_flops"] == pytest.approx(counted["flops"], rel=0.25)


def test_layers_cost_alike() -> None:
    one, two, five = (model_costs(config(layers=layers)) for layers in (1, 2, 5))
    for key in ("parameters", "forward_flops", "activation_bytes"):
        assert five[key] - one[key] == 4 * (two[key] - one[key]) > 0


def test_attention_grows_with_the_square_of_the_length_and_linear_attention_does_not() -> None:
    def cost(mixer: str, length: int) -> int:
        return model_costs(tiny(f"model.mixer={mixer}", f"task.length={length}"))["forward_flops"]

    assert cost("attention", 2048) / cost("attention", 1024) > 3.5
    assert cost("linear", 2048) / cost("linear", 1024) == pytest.approx(2, rel=0.05)


def test_the_state_of_a_run_is_parameters_and_two_moments() -> None:
    costs = model_costs(config())
    assert costs["state_bytes"] == 3 * 4 * costs["parameters"]


def test_activations_grow_with_the_batch() -> None:
    small, large = (model_costs(tiny(f"training.batch={batch}")) for batch in (4, 12))
    assert large["activation_bytes"] == 3 * small["activation_bytes"]
    assert large["forward_flops"] == small["forward_flops"]


def test_what_cannot_work_is_said_before_it_is_counted() -> None:
    with pytest.raises(ConfigError, match="count must divide the width"):
        model_costs(config(heads={"count": 3}))
