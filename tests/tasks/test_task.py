from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from selfattn_jax import catalogue
from selfattn_jax.shapes import Array
from selfattn_jax.tasks import (
    STREAMS,
    Example,
    Task,
    evaluation_set,
    identity_hash,
    is_solved,
    loss,
    predict,
    score,
    shortcut_points,
    shortcut_scores,
    stream_key,
)
from selfattn_jax.tasks.task import integers_below, unit_interval
from tests.tasks.checks import SIZE, build
from tests.tasks.files import knobs_of

TASKS = catalogue.of_kind("tasks")

# The first 4,000 training examples of seed 0. A change here is a change of the data: raise the task's version with it.
GOLDEN = {
    "multi_query_recall": "195d5b794c6e38df",
    "associative_recall": "08032e32cd19b744",
    "recall": "25ef90fb62611ac5",
    "noisy_recall": "dbc9ff0880a405ee",
    "fuzzy_recall": "8ca1e9ea2ca93b21",
    "needle": "dbc7b872315a25b1",
    "compression": "e16f5b19338a9ad9",
    "memorization": "9a2cc6dba0a56f37",
    "induction": "e72844833846135a",
    "induction_extrapolation": "9310c95cd8bfe050",
    "k_hop": "ae07835d9b75b79b",
    "adding": "19a68fc3470695ea",
    "copy": "57086b85648ac0ab",
    "selective_copy": "9dc4014410acee22",
    "reverse": "02ecc976e9e599b1",
    "odds_first": "fa64a38c8778700c",
    "duplicate": "a831ee343623aa9c",
    "missing_duplicate": "43facae0b8946f4b",
    "sort": "7b976c790d652cc5",
    "bucket_sort": "f610d3832cb10d8f",
    "histogram": "0faa1a2d15712449",
    "most_frequent": "e78f57a065452dc1",
    "parity": "7e6239f475749ab9",
    "cumulative_parity": "2dac273e5943b1eb",
    "majority": "f7013526f8bb49bc",
    "even_pairs": "0934f0c8bc35ba7a",
    "first": "6743f2b8ee7ab987",
    "dyck": "96c6472179a7c133",
    "flip_flop": "31447e22f38e1c5f",
    "cycle_navigation": "ef2cbcb2bad4a90a",
    "modular_arithmetic": "531a8280582e7c2b",
    "stack_manipulation": "6c4d14639899607f",
    "binary_addition": "1f7b60874a64e876",
    "pathfinder": "570b1296570d4d81",
    "digits": "9a9358eb3671e59b",
    "listops": "16719dcbe71d326b",
    "listops_files": "fcb0829aa85539f1",
    "text": "f064c341ced95fec",
    "text_classification": "2aa5b1886fd2aacc",
}


@pytest.fixture(scope="module", params=sorted(TASKS))
def task(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Task:
    if request.param == "digits":
        pytest.importorskip("sklearn")
    return build(TASKS[request.param].function, **knobs_of(request.param, tmp_path_factory.mktemp("files")))


def sample_sum(rng: Array) -> Example:
    inputs = jax.random.key_data(rng).astype(jnp.float32)[:, None]
    mask, nothing = jnp.ones(2, bool), jnp.zeros((), jnp.int32)
    return Example(inputs, inputs.sum(), jnp.ones((), jnp.float32), mask, nothing, nothing)


@pytest.fixture(scope="module")
def numbers() -> Task:
    sizes: dict[str, Any] = {"length": 2, "features": 1, "outputs": 1, "per": "sequence", "causal": False}
    judged: dict[str, Any] = {"metric": "mean_squared_error", "solved_at": 0.01}
    return Task(name="sum", version=1, **sizes, **judged, sample=sample_sum, shortcuts={})


@pytest.fixture(scope="module")
def classes(numbers: Task) -> Task:
    return replace(numbers, metric="accuracy", outputs=3, solved_at=0.99)


def assert_same(left: Example, right: Example) -> None:
    jax.tree.map(np.testing.assert_array_equal, left, right)


def draw_one(task: Task, rng: Array) -> Example:
    """An example by itself, of whatever data there are."""
    return task.sample(rng) if task.data is None else task.sample(rng, task.arrays)


# What every task keeps.


def test_an_example_is_shaped_as_the_contract_says(task: Task) -> None:
    example = jax.eval_shape(partial(draw_one, task), jax.random.key(0))
    answers = () if task.answers is None else (task.answers,)
    like_targets = (task.length,) if task.per == "position" else answers
    inputs = ((task.length,), jnp.int32) if task.features is None else ((task.length, task.features), jnp.float32)
    kind = jnp.int32 if task.metric == "accuracy" else jnp.float32
    assert (example.inputs.shape, example.inputs.dtype) == inputs
    assert (example.targets.shape, example.targets.dtype) == (like_targets, kind)
    assert (example.weights.shape, example.weights.dtype) == (like_targets, jnp.float32)
    assert (example.key_mask.shape, example.key_mask.dtype) == ((task.length,), jnp.bool_)
    for leaf in (example.distance, example.difficulty):
        assert (leaf.shape, leaf.dtype) == (like_targets, jnp.int32)


def test_dtypes_do_not_widen_with_x64(task: Task) -> None:
    narrow = jax.eval_shape(partial(draw_one, task), jax.random.key(0))
    with jax.enable_x64(True):
        assert jax.eval_shape(partial(draw_one, task), jax.random.key(0)) == narrow


def test_shortcuts_answer_in_the_shape_of_the_targets(task: Task) -> None:
    rng = jax.random.key(0)
    example = jax.eval_shape(partial(draw_one, task), rng)
    for shortcut in task.shortcuts.values():
        answer = jax.eval_shape(shortcut, rng, example.inputs)
        assert (answer.shape, answer.dtype) == (example.targets.shape, example.targets.dtype)


def test_a_compiled_batch_is_the_loop_of_eager_draws(task: Task) -> None:
    batch = evaluation_set(task, "train", SIZE, 0)
    keys = jax.random.split(stream_key(0, "train"), SIZE)
    for index in (0, SIZE - 1):
        assert_same(draw_one(task, keys[index]), Example(*(np.asarray(leaf)[index] for leaf in batch)))


def test_data_are_the_recorded_ones(task: Task) -> None:
    assert identity_hash(task, evaluation_set(task, "train", SIZE, 0)) == GOLDEN[task.name]


def test_a_task_can_be_static(task: Task) -> None:
    assert {task: 1}[task] == 1


# Streams.


def test_streams_never_share_a_key() -> None:
    seen: set[bytes] = set()
    drawn = 0
    for seed in range(4):
        for stream in STREAMS:
            parent = stream_key(seed, stream)
            children = jax.random.key_data(jax.random.split(parent, 1000))
            keys = [*np.asarray(children), np.asarray(jax.random.key_data(parent))]
            seen.update(key.tobytes() for key in keys)
            drawn += len(keys)
    assert len(seen) == drawn


def test_the_seed_of_a_stream_may_be_traced() -> None:
    traced = jax.jit(lambda seed: stream_key(seed, "validation"))(jnp.int32(7))
    assert traced == stream_key(7, "validation")


def test_an_unknown_stream_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stream='dev': .*init, train, validation, test"):
        stream_key(0, "dev")  # pyright: ignore[reportArgumentType]


def test_evaluation_sets_repeat_and_differ_between_streams_and_seeds(numbers: Task) -> None:
    first = evaluation_set(numbers, "test", 8, 0)
    assert_same(first, evaluation_set(numbers, "test", 8, 0))
    assert not np.array_equal(first.inputs, evaluation_set(numbers, "validation", 8, 0).inputs)
    assert not np.array_equal(first.inputs, evaluation_set(numbers, "test", 8, 1).inputs)


def test_a_fixed_split_is_given_whatever_the_size(numbers: Task) -> None:
    fixed = evaluation_set(numbers, "test", 5, 0)
    real = replace(numbers, fixed={"test": fixed})
    assert_same(evaluation_set(real, "test", 8, 1), fixed)


def test_an_empty_evaluation_set_is_refused(numbers: Task) -> None:
    with pytest.raises(ValueError, match="size=0: size must be at least 1"):
        evaluation_set(numbers, "test", 0, 0)


def test_integers_below_spread_evenly() -> None:
    bits = jnp.array([0, 1, 6, 7, 2**32 - 1], jnp.uint32)
    np.testing.assert_array_equal(integers_below(bits, 7), [0, 1, 6, 0, (2**32 - 1) % 7])
    np.testing.assert_array_equal(integers_below(bits, jnp.array([1, 1, 4, 4, 2], jnp.int32)), [0, 0, 2, 3, 1])


def test_the_unit_interval_is_open_above() -> None:
    bits = jnp.array([0, 255, 256, 2**31, 2**32 - 1], jnp.uint32)
    np.testing.assert_array_equal(
        unit_interval(bits), np.array([0, 0, 2**-24, 0.5, 1 - 2**-24], np.float32), strict=True
    )


# Scores and losses.

compiled_loss = jax.jit(loss, static_argnums=0)
compiled_score = jax.jit(score, static_argnums=0)


def test_accuracy_counts_weights(classes: Task) -> None:
    predictions, targets = jnp.array([1, 2, 0, 0], jnp.int32), jnp.array([1, 2, 1, 0], jnp.int32)
    assert compiled_score(classes, predictions, targets, jnp.array([1.0, 0.5, 0.5, 0.0])) == 0.75


def test_mean_squared_error_counts_weights(numbers: Task) -> None:
    predictions, targets = jnp.array([1.0, 2.0, 9.0]), jnp.array([2.0, 4.0, 0.0])
    assert compiled_score(numbers, predictions, targets, jnp.array([1.0, 1.0, 0.0])) == 2.5


def test_shortcuts_score_answer_by_answer_and_in_the_mean_of_what_is_asked(numbers: Task) -> None:
    def first(rng: Array, inputs: Array) -> Array:
        return inputs[0, 0]

    guessing = replace(numbers, shortcuts={"two": lambda rng, inputs: jnp.float32(2), "first": first})
    inputs, nothing = jnp.array([[[1.0]], [[5.0]], [[7.0]]]), jnp.zeros(3, jnp.int32)
    examples = Example(
        inputs, jnp.array([1.0, 4.0, 9.0]), jnp.array([1.0, 1.0, 0.0]), jnp.ones((3, 1), bool), nothing, nothing
    )
    points = shortcut_points(guessing, examples, 0)
    assert {name: values.tolist() for name, values in points.items()} == {"two": [1, 4, 49], "first": [0, 1, 4]}
    assert shortcut_scores(guessing, examples, 0) == {"two": 2.5, "first": 0.5}


def test_cross_entropy_by_hand(classes: Task) -> None:
    outputs = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])) + 3
    targets, weights = jnp.array([1, 0], jnp.int32), jnp.array([1.0, 3.0])
    np.testing.assert_allclose(
        compiled_loss(classes, outputs, targets, weights), (np.log(4) + 3 * np.log(10)) / 4, rtol=1e-6
    )


def test_squared_error_by_hand(numbers: Task) -> None:
    outputs, targets = jnp.array([[1.0], [3.0]]), jnp.array([2.0, 0.0])
    assert compiled_loss(numbers, outputs, targets, jnp.array([1.0, 1.0])) == 5.0


@pytest.mark.parametrize("name", ["classes", "numbers"])
def test_nothing_asked_gives_zero_and_a_zero_gradient(name: str, request: pytest.FixtureRequest) -> None:
    judged: Task = request.getfixturevalue(name)
    outputs = jnp.ones((5, judged.outputs))
    targets = jnp.zeros(5, jnp.int32 if judged.metric == "accuracy" else jnp.float32)
    value, gradient = jax.jit(jax.value_and_grad(lambda given: loss(judged, given, targets, jnp.zeros(5))))(outputs)
    assert value == 0
    assert not gradient.any()
    assert compiled_score(judged, predict(judged, outputs), targets, jnp.zeros(5)) == 0


@pytest.mark.parametrize("name", ["classes", "numbers"])
def test_half_precision_outputs_are_judged_in_float32(name: str, request: pytest.FixtureRequest) -> None:
    judged: Task = request.getfixturevalue(name)
    outputs = jnp.ones((5, judged.outputs), jnp.bfloat16)
    targets = jnp.zeros(5, jnp.int32 if judged.metric == "accuracy" else jnp.float32)
    assert compiled_loss(judged, outputs, targets, jnp.ones(5)).dtype == jnp.float32
    assert compiled_score(judged, predict(judged, outputs), targets, jnp.ones(5)).dtype == jnp.float32


def test_predictions_are_the_likeliest_class_or_the_number(classes: Task, numbers: Task) -> None:
    answered = predict(classes, jnp.array([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]]))
    np.testing.assert_array_equal(answered, np.array([1, 0], np.int32), strict=True)
    np.testing.assert_array_equal(predict(numbers, jnp.array([[0.5], [1.5]])), [0.5, 1.5])


def test_shapes_that_would_broadcast_are_refused(classes: Task, numbers: Task) -> None:
    with pytest.raises(ValueError, match=r"outputs.shape=\(5, 1\): .*\(5, 3\)"):
        loss(classes, jnp.ones((5, 1)), jnp.zeros(5, jnp.int32), jnp.ones(5))
    with pytest.raises(ValueError, match=r"predictions.shape=\(5, 1\): .*\(5,\)"):
        score(numbers, jnp.ones((5, 1)), jnp.zeros(5), jnp.ones(5))
    with pytest.raises(ValueError, match=r"weights.shape=\(1,\): .*\(5,\)"):
        score(numbers, jnp.ones(5), jnp.zeros(5), jnp.ones(1))


def test_solved_is_above_for_accuracy_and_below_for_errors(classes: Task, numbers: Task) -> None:
    assert classes.higher_is_better
    assert not numbers.higher_is_better
    assert is_solved(classes, classes.solved_at)
    assert not is_solved(classes, classes.solved_at - 0.01)
    assert is_solved(numbers, numbers.solved_at)
    assert not is_solved(numbers, numbers.solved_at + 0.01)
    assert not is_solved(classes, float("nan"))
    assert not is_solved(numbers, float("nan"))


def test_contradicting_fields_are_refused(classes: Task, numbers: Task) -> None:
    with pytest.raises(ValueError, match=r"vocabulary=7: .*features=1"):
        replace(classes, vocabulary=7)
    with pytest.raises(ValueError, match="outputs=4: outputs must be 1"):
        replace(numbers, outputs=4)


# Identity.


def test_the_hash_tells_every_leaf_shape_dtype_and_version(numbers: Task) -> None:
    examples = evaluation_set(numbers, "test", 8, 0)
    changed = {name: np.array(leaf) for name, leaf in examples._asdict().items()}
    for leaf in changed.values():
        leaf.flat[0] = 1 - leaf.flat[0]
    variants = [examples, *(examples._replace(**{name: leaf}) for name, leaf in changed.items())]
    variants += [
        examples._replace(inputs=np.reshape(examples.inputs, (8, 1, 2))),
        examples._replace(weights=np.int32(examples.weights)),
    ]
    hashes = [identity_hash(numbers, variant) for variant in variants]
    assert len(set(hashes)) == len(variants) == 9
    assert identity_hash(replace(numbers, version=2), examples) not in hashes
    assert all(len(text) == 16 for text in hashes)
