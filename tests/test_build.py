"""Building: a config becomes task, encoder and optimiser, and what cannot work says why and where."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from selfattn_jax import catalogue
from selfattn_jax.build import (
    Hyperparameters,
    abstract_encoder,
    make_encoder,
    make_mask,
    make_optimizer,
    make_other_tasks,
    make_task,
)
from selfattn_jax.config import ConfigError, from_mapping, validate
from selfattn_jax.config.loading import load, located
from selfattn_jax.config.schema import Config, TrainingConfig
from selfattn_jax.functional.masks import evaluate
from selfattn_jax.modules.encoder import Encoder, GatedMlp, Mlp
from selfattn_jax.runs.engine import make_experiment
from selfattn_jax.tasks import Task

RECALL = {"name": "multi_query_recall", "length": 8, "pairs": 2, "vocabulary": 12}
ADDING = {"name": "adding", "length": 8}


def config(task: dict[str, Any] = RECALL, **model: Any) -> Config:
    return validate(from_mapping({"task": task, "model": {"width": 8, "layers": 1, **model}}), Config)


def abstract(task: dict[str, Any] = RECALL, **model: Any) -> Encoder:
    """The encoder with shapes in place of numbers."""
    made = config(task, **model)
    return abstract_encoder(made, make_task(made))


def shapes(module: nnx.Module) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(module, nnx.Param))
    named = ((jax.tree_util.keystr(path, simple=True, separator="."), leaf.shape) for path, leaf in leaves)
    return {name.removesuffix(".value"): shape for name, shape in named}


# Tasks and encoders.


def test_a_task_is_made_with_its_knobs() -> None:
    task = make_task(config({**RECALL, "length": 16}))
    assert isinstance(task, Task)
    assert (task.name, task.length, task.vocabulary, task.outputs) == ("multi_query_recall", 16, 12, 12)


def test_an_encoder_has_the_sizes_of_its_config_and_its_task() -> None:
    heads = {"name": "grouped", "count": 4, "groups": 2, "key_width": 3, "value_width": 5}
    block = {
        "mixer.query.kernel": (8, 4 * 3),
        "mixer.key.kernel": (8, 2 * 3),
        "mixer.value.kernel": (8, 2 * 5),
        "mixer.output.kernel": (4 * 5, 8),
        "mixer_norm.scale": (8,),
    }
    assert shapes(abstract(layers=2, heads=heads)) == {
        "embed.embedding": (12, 8),
        **{f"blocks.{index}.{name}": shape for index in range(2) for name, shape in block.items()},
        "norm.scale": (8,),
        "readout.kernel": (8, 12),
        "readout.bias": (12,),
    }


def test_continuous_inputs_are_projected_and_a_sequence_is_pooled() -> None:
    encoder = abstract(ADDING, pool="last")
    assert shapes(encoder)["embed.kernel"] == (2, 8)
    assert encoder.pool == "last"


def test_a_class_per_position_needs_no_pooling() -> None:
    assert abstract(pool="last").pool is None


@pytest.mark.parametrize(("mlp", "kind"), [("none", type(None)), ("gelu", Mlp), ("relu", Mlp), ("swiglu", GatedMlp)])
def test_a_block_has_the_mlp_that_is_asked_for(mlp: str, kind: type) -> None:
    [block] = abstract(block={"mlp": mlp, "expansion": 3}).blocks
    assert type(block.mlp) is kind
    if block.mlp is not None:
        assert block.mlp.up.kernel.shape == (8, 24)
    if isinstance(block.mlp, Mlp):
        assert block.mlp.activation is {"gelu": jax.nn.gelu, "relu": jax.nn.relu}[mlp]


@pytest.mark.parametrize(("norm", "kind"), [("rms", nnx.RMSNorm), ("layer", nnx.LayerNorm)])
def test_norms_stand_where_they_are_placed(norm: str, kind: type) -> None:
    before, after = (abstract(block={"norm": norm, "placement": placement}) for placement in ("pre", "post"))
    assert type(before.norm) is type(before.blocks[0].mixer_norm) is kind
    assert (after.norm, type(after.blocks[0].mixer_norm)) == (None, kind)


@pytest.mark.parametrize(("task", "wanted"), [(RECALL, True), (ADDING, False)])
def test_causality_is_the_tasks_unless_the_model_says_otherwise(task: dict[str, Any], wanted: bool) -> None:
    assert abstract(task).blocks[0].mixer.causal is wanted
    assert abstract(task, causal=not wanted).blocks[0].mixer.causal is not wanted


def test_a_causal_encoder_does_not_see_what_is_to_come() -> None:
    made = config(positions="learned")
    call = jax.jit(lambda inputs: make_encoder(made, make_task(made), nnx.Rngs(0))(inputs))
    inputs = jnp.arange(8)[None] % 12
    changed = call(inputs.at[0, 5].set(11))
    np.testing.assert_array_equal(call(inputs)[0, :5], changed[0, :5])
    assert not np.array_equal(call(inputs)[0, 5], changed[0, 5])


def test_every_slot_of_attention_is_filled_in_order() -> None:
    mixer = abstract(
        heads={"count": 2},
        mixer={
            "name": "attention",
            "encode": [{"name": "rope", "base": 5.0}],
            "score": {"name": "cosine", "temperature": 0.2},
            "modifiers": [{"name": "softcap", "cap": 3}, "temperature", "log_length"],
            "biases": ["alibi"],
            "rowwise": ["cope"],
            "mask": {"name": "window", "left": 2},
            "normalizer": "sink",
            "dropout": 0.25,
        },
    ).blocks[0].mixer.mixer  # fmt: skip
    names = [type(module).__name__ for module in (*mixer.encode, mixer.score, *mixer.modifiers)]
    assert names == ["Fixed", "Cosine", "Fixed", "Temperature", "Fixed"]
    assert mixer.encode[0]().knobs["base"] == 5.0
    assert mixer.modifiers[0]().knobs == {"cap": 3.0}
    assert mixer.score.log_temperature.shape == (2,)
    assert [type(module).__name__ for module in (*mixer.biases, *mixer.rowwise, mixer.normalizer)] == [
        "Alibi",
        "Cope",
        "Sink",
    ]
    assert mixer.dropout == 0.25
    assert mixer.mask().__name__ == "window"


def test_a_mixer_gets_its_knobs() -> None:
    mixer = abstract(mixer={"name": "linear", "epsilon": 0.5}).blocks[0].mixer.mixer
    assert mixer.mixer().knobs == {"epsilon": 0.5}
    assert mixer.effective.__name__ == "linear_weights"


@pytest.mark.parametrize(
    ("mask", "wanted"),
    [
        ("causal", lambda i, j: j <= i),
        ({"not": "causal"}, lambda i, j: j > i),
        ({"any": [{"name": "window", "left": 1}, {"name": "prefix", "length": 2}]}, lambda i, j: (j <= i) | (j < 2)),
        ({"all": ["causal", {"name": "window", "left": 9, "right": 9}, {"not": {"name": "window", "left": 1}}]},
         lambda i, j: j < i - 1),
        ({"any": [{"name": "window", "left": 0}]}, lambda i, j: i == j),
    ],
)  # fmt: skip
def test_masks_are_combined_as_the_config_says(mask: Any, wanted: Any) -> None:
    mask = make_mask(config(mixer={"name": "attention", "mask": mask}).model.mixer.mask, {"heads": 1})()
    positions = jnp.arange(5, dtype=jnp.int32)
    i, j = np.mgrid[:5, :5]
    np.testing.assert_array_equal(evaluate(mask, positions, positions), wanted(i, j))


# What cannot work.


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    """The one line that says what is wrong with a config file."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    loaded, document = load(path, overrides)
    with pytest.raises(ConfigError) as refused, located(document):
        make_experiment(loaded)
    [line] = str(refused.value).splitlines()
    return line


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        (
            "task: {name: adding}\nmodel:\n  width: 8\n  heads: {count: 3}\n",
            "bad.yaml:4:3  model.heads",
            "count must divide the width, got count=3 and width=8",
        ),
        (
            "task: {name: adding}\nmodel:\n  heads: {name: grouped, count: 4, groups: 3}\n",
            "bad.yaml:3:3  model.heads",
            "groups must divide count",
        ),
        (
            "task: {name: adding, length: 9}\nmodel:\n\n  positions: {name: learned, maximum: 8}\n",
            "bad.yaml:4:3  model.positions",
            "maximum must be at least the 9 positions there are, got 8",
        ),
        (
            "model: {width: 8}\ntask:\n  name: multi_query_recall\n  length: 9\n",
            "bad.yaml:2:1  task",
            "length=9: length must be even",
        ),
        (
            "task: {name: adding}\nmodel: {mixer: {encode: [{name: rope, rotated: 3}]}}\n",
            "bad.yaml:2:1  model",
            "rotated must be even",
        ),
    ],
)  # fmt: skip
def test_what_cannot_work_is_told_with_its_place_and_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, place: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    line = refusal(tmp_path, text)
    assert line.startswith(place + "  ")
    assert message in line


def test_an_override_that_cannot_work_is_told_as_it_was_typed(tmp_path: Path) -> None:
    line = refusal(tmp_path, "task: {name: adding}\nmodel: {width: 8}\n", "model.heads.count=3")
    assert line.startswith("command line: model.heads.count=3  model.heads  count must divide the width")


def test_a_mixer_that_cannot_be_causal_is_refused_where_the_model_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    without = tuple(replace(entry, causal=False) if entry.name == "linear" else entry for entry in catalogue.entries)
    monkeypatch.setattr(catalogue, "entries", without)
    line = refusal(tmp_path, "task: {name: induction}\nmodel: {mixer: linear}\n")
    assert line.startswith("bad.yaml:2:9  model.mixer  linear cannot be causal: set model.causal to false")


def test_a_missing_package_is_told_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    assert "pip install" in refusal(tmp_path, "task: digits\n")


# The optimiser.


def steps_of(training: TrainingConfig, rate: float, gradients: list[float], start: float = 0.0) -> list[float]:
    """Where one parameter is after each step."""
    optimizer = make_optimizer(training, Hyperparameters(rate))
    parameters = jnp.asarray([start], jnp.float32)
    state, path = optimizer.init(parameters), []
    update = jax.jit(optimizer.update)
    for gradient in gradients:
        moved, state = update(jnp.asarray([gradient], jnp.float32), state, parameters)
        parameters = parameters + moved
        path.append(float(parameters[0]))
    return path


def test_the_learning_rate_warms_up_and_stays() -> None:
    moves = -np.diff([0.0, *steps_of(TrainingConfig(steps=10, warmup=3), 0.1, [1.0] * 8)])
    np.testing.assert_allclose(moves, 0.1 * np.minimum(np.arange(1, 9) / 4, 1), rtol=1e-4)


def test_the_learning_rate_falls_like_a_cosine_to_a_tenth() -> None:
    training = TrainingConfig(steps=12, warmup=2, schedule="cosine")
    moves = -np.diff([0.0, *steps_of(training, 0.1, [1.0] * 14)])
    progress = np.clip((np.arange(14) - 2) / 10, 0, 1)
    warm = np.minimum((np.arange(14) + 1) / 3, 1)
    np.testing.assert_allclose(moves, 0.1 * warm * (0.55 + 0.45 * np.cos(np.pi * progress)), rtol=1e-3)
    assert moves[12] == pytest.approx(0.01, rel=1e-3)


def test_a_gradient_is_clipped_by_its_norm() -> None:
    clipped = steps_of(TrainingConfig(clip=1.0), 0.1, [100.0, 1.0])
    assert clipped == pytest.approx(steps_of(TrainingConfig(clip=None), 0.1, [1.0, 1.0]))
    assert clipped != pytest.approx(steps_of(TrainingConfig(clip=None), 0.1, [100.0, 1.0]))


def test_weights_decay_with_the_learning_rate() -> None:
    [moved] = steps_of(TrainingConfig(weight_decay=0.5), 0.1, [0.0], start=2.0)
    assert moved == pytest.approx(2.0 - 0.1 * 0.5 * 2.0)


def with_further_tests(*items: dict[str, Any], **model: Any) -> Config:
    settings = {"task": RECALL, "model": {"width": 8, "layers": 1, **model}, "evaluation": {"also": list(items)}}
    return validate(from_mapping(settings), Config)


def test_further_tests_change_knobs_of_the_task_and_nothing_else():
    made = with_further_tests({"length": 16}, {"length": 32, "pairs": 3})
    others = make_other_tasks(made)
    assert [other.length for other in others] == [16, 32]
    assert others[0].sample.keywords == make_task(made).sample.keywords | {"length": 16}  # pyright: ignore


def test_positions_are_learned_as_far_as_the_longest_test_reaches():
    made = with_further_tests({"length": 32}, positions={"name": "learned"})
    encoder = abstract_encoder(made, make_task(made), make_other_tasks(made))
    assert encoder.positions is not None
    assert shapes(encoder.positions) == {"table": (32, 8)}


@pytest.mark.parametrize(
    ("item", "model", "message"),
    [
        ({"lenght": 16}, {}, "evaluation.also.0  lenght is no knob of multi_query_recall; its knobs: exponent, length"),
        ({"name": "adding"}, {}, "evaluation.also.0  name is no knob"),
        ({"length": 2.5}, {}, "evaluation.also.0  length=2.5: Input should be a valid integer"),
        ({"length": 6}, {}, "evaluation.also.0  length=6: length must be at least 4 * pairs = 8"),
        ({"vocabulary": 20}, {}, "evaluation.also.0  changes which tokens or classes there are"),
        (
            {"length": 16},
            {"mixer": {"name": "mlp_mixer"}, "causal": False},
            "made for evaluation.also, which reaches 16",
        ),
    ],
)
def test_a_further_test_that_cannot_be_is_refused_before_anything_runs(item, model, message):
    with pytest.raises(ConfigError) as caught:
        make_experiment(with_further_tests(item, **model))
    assert message in str(caught.value)


def test_several_classes_are_read_out_of_one_sequence():
    answers = replace(make_task(config(ADDING)), answers=3, outputs=5, metric="accuracy")
    encoder = nnx.eval_shape(lambda: make_encoder(config(ADDING), answers, nnx.Rngs(0)))
    read = nnx.eval_shape(lambda encoder: encoder(jnp.zeros((2, 8, 2))), encoder)
    assert read.shape == (2, 3, 5)
