"""The engine: all runs of a config in one program, each as if it were alone."""

from typing import Any, NamedTuple

import jax
import numpy as np
import pytest

from selfattn_jax.runs import engine
from selfattn_jax.runs.engine import Programs, RunState, make_experiment, runs_of
from selfattn_jax.tasks import Example, evaluation_set
from tests.tiny import experiment_of, tiny

RATES = (0.01, 1e30, 0.003)  # nobody survives the second
STEPS = 20  # of 150: enough to tell runs apart
COSINE = ("training.steps=150", "training.schedule=cosine")
DIVERGING = [3, 4, 5]


class Trained(NamedTuple):
    """Programs, and what 20 steps in one go made of their runs."""

    programs: Programs
    before: RunState
    after: RunState
    losses: np.ndarray
    traces: list[str]


def nine(*overrides: str) -> engine.Experiment:
    """Three seeds × three learning rates: an odd number of runs for two devices."""
    sweep = f"runs.sweep.training.learning_rate={list(RATES)}"
    return experiment_of(tiny(*COSINE, sweep, *overrides))


@pytest.fixture(scope="module")
def trained() -> Trained:
    traces: list[str] = []

    def counted(*arguments: Any) -> Any:
        traces.append("train")
        return original(*arguments)

    original = engine.train
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "train", counted)
        programs = Programs(nine())
    before = host(programs.initial())
    states, losses = programs.train(programs.initial(), 0, STEPS)
    return Trained(programs, before, host(states), losses, traces)


@pytest.fixture(scope="module")
def validation(trained: Trained) -> Example:
    return examples_of(trained.programs)


def examples_of(programs: Programs, size: int = 12) -> Example:
    return jax.tree.map(np.asarray, evaluation_set(programs.experiment.task, "validation", size, 0))


def host(states: RunState) -> RunState:
    """States that no later call can overwrite."""
    return jax.tree.map(np.array, states)


def run_of(states: Any, index: int) -> Any:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], states)


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def assert_same(first: Any, second: Any) -> None:
    """Bit for bit."""
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for left, right in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_array_equal(left, right)


def assert_close(first: Any, second: Any, tolerance: float = 1e-6) -> None:
    for left, right in zip(leaves(first), leaves(second), strict=True):
        np.testing.assert_allclose(left, right, rtol=tolerance, atol=tolerance)


def train_from_start(programs: Programs, *stops: int) -> RunState:
    states, at = programs.initial(), 0
    for stop in stops:
        states, _ = programs.train(states, at, stop)
        at = stop
    return host(states)


# How many runs there are, and where they live.


def test_every_learning_rate_is_run_with_every_seed() -> None:
    runs = runs_of(tiny("runs.seeds=[4, 7]", "runs.sweep.training.learning_rate=[0.1, 0.2]"))
    assert [(run.seed, run.hyperparameters.learning_rate) for run in runs] == [(4, 0.1), (7, 0.1), (4, 0.2), (7, 0.2)]


def test_without_a_sweep_every_seed_has_the_one_learning_rate() -> None:
    runs = runs_of(tiny("runs.seeds=2", "training.learning_rate=0.5"))
    assert [(run.seed, run.hyperparameters.learning_rate) for run in runs] == [(0, 0.5), (1, 0.5)]


def test_runs_are_spread_over_both_devices(trained: Trained) -> None:
    states = trained.programs.initial()
    assert trained.programs.mesh.devices.size == 2
    assert all(len(leaf.sharding.device_set) == 2 for leaf in jax.tree.leaves(states))
    assert {leaf.shape[0] for leaf in leaves(states)} == {10}


def test_fewer_runs_than_devices_leave_a_device_out() -> None:
    assert Programs(experiment_of(tiny("runs.seeds=1"))).mesh.devices.size == 1


def test_what_fills_the_devices_never_starts(trained: Trained) -> None:
    assert np.flatnonzero(~trained.before.alive).tolist() == [9]
    assert_same(run_of(trained.after, 9), run_of(trained.before, 9))


def test_what_fills_the_devices_never_appears(trained: Trained, validation: Example) -> None:
    assert trained.losses.shape == (9,)
    states = trained.programs.place(trained.programs.gather(trained.after))
    assert [part.shape for part in trained.programs.judge(states, validation)] == [(9,), (9,)]
    assert {leaf.shape[0] for leaf in leaves(trained.programs.gather(trained.after))} == {9}


# Every run is its own.


@pytest.mark.parametrize("index", [4, *(pytest.param(index, marks=pytest.mark.slow) for index in (0, 8))])
def test_a_run_among_others_is_the_same_run_alone(trained: Trained, validation: Example, index: int) -> None:
    run = trained.programs.experiment.runs[index]
    only = (f"runs.seeds=[{run.seed}]", f"training.learning_rate={run.hyperparameters.learning_rate}")
    alone = Programs(experiment_of(tiny(*COSINE, *only)))
    states, losses = alone.train(alone.initial(), 0, STEPS)
    assert_close(run_of(states, 0), run_of(trained.after, index))
    together = trained.programs.judge(trained.programs.place(trained.after), validation)
    np.testing.assert_allclose(losses[0], trained.losses[index], rtol=1e-6)
    np.testing.assert_allclose(alone.judge(states, validation), np.asarray(together)[:, [index]], rtol=1e-6, atol=1e-6)


def test_a_run_is_a_function_of_its_seed_and_not_of_its_place(trained: Trained) -> None:
    turned = train_from_start(Programs(nine("runs.seeds=[2, 0, 1]")), STEPS)
    for place, seed in enumerate([2, 0, 1]):
        assert_same(run_of(turned, place), run_of(trained.after, seed))


def test_runs_of_different_seeds_differ_in_initialisation_and_outcome(trained: Trained) -> None:
    for states in (trained.before, trained.after):
        for leaf in leaves(states.parameters):
            if np.ptp(leaf) > 0 and not np.array_equal(leaf, np.ones_like(leaf)):
                assert not np.array_equal(leaf[0], leaf[1])
    assert trained.losses[0] != trained.losses[1]


def test_one_seed_begins_alike_at_every_learning_rate(trained: Trained) -> None:
    assert_same(run_of(trained.before.parameters, 0), run_of(trained.before.parameters, 6))
    assert not np.array_equal(leaves(trained.after.parameters)[0][0], leaves(trained.after.parameters)[0][6])


def test_every_step_and_every_seed_has_data_of_its_own_and_every_learning_rate_the_same(trained: Trained) -> None:
    alike = jax.tree.map(lambda leaf: np.broadcast_to(leaf[:1], leaf.shape), trained.before)
    alike = alike._replace(alive=trained.before.alive)
    losses = []
    for step in (0, 1, 2):
        _, loss = trained.programs.train(trained.programs.place(alike), step, step + 1)
        losses.append(loss.reshape(3, 3))
    rates, seeds = np.asarray(losses).transpose(1, 0, 2), 3
    np.testing.assert_array_equal(rates[0], rates[1])
    np.testing.assert_array_equal(rates[0], rates[2])
    assert len({float(loss) for loss in rates[0].ravel()}) == len(losses) * seeds


def test_the_loss_falls(trained: Trained) -> None:
    states, _ = trained.programs.train(trained.programs.initial(), 0, 100)
    _, late = trained.programs.train(states, 100, 150)
    assert (late[:3] < 0.7 * trained.losses[:3]).all()


# Stopping and going on.


def test_training_in_stretches_is_training_in_one_go(trained: Trained) -> None:
    assert_same(train_from_start(trained.programs, 7, STEPS), trained.after)
    assert_same(train_from_start(trained.programs, 1, 2, 19, STEPS), trained.after)


def test_the_loss_of_a_stretch_is_the_mean_over_its_steps(trained: Trained) -> None:
    states, first = trained.programs.train(trained.programs.initial(), 0, 7)
    _, second = trained.programs.train(states, 7, STEPS)
    healthy = [0, 1, 2, 6, 7, 8]
    mean = (7 * first + 13 * second)[healthy] / 20
    np.testing.assert_allclose(mean, trained.losses[healthy], rtol=1e-5)


def test_states_that_were_gathered_and_placed_go_on_as_if_nothing_had_happened(trained: Trained) -> None:
    states, _ = trained.programs.train(trained.programs.initial(), 0, 7)
    kept = host(trained.programs.gather(states))
    resumed, _ = trained.programs.train(trained.programs.place(kept), 7, STEPS)
    assert_same(trained.programs.gather(resumed), trained.programs.gather(trained.after))


def test_what_was_gathered_can_be_placed_on_another_number_of_devices(trained: Trained) -> None:
    kept = trained.programs.gather(trained.after)
    for programs in (trained.programs, Programs(trained.programs.experiment, jax.devices()[:1])):
        placed = programs.place(kept)
        assert_same(programs.gather(placed), kept)
        assert leaves(placed)[0].shape[0] == programs.padded
        assert not np.asarray(placed.alive)[9:].any()


def test_all_stretches_share_one_compiled_program(trained: Trained) -> None:
    train_from_start(trained.programs, 3, 4, 11)
    assert trained.traces == ["train"]


def test_warming_up_changes_nothing(trained: Trained, validation: Example) -> None:
    assert_same(trained.programs.warm(trained.programs.initial(), validation), trained.before)


# Divergence.


def test_a_run_whose_loss_is_not_finite_stops_where_it_was(trained: Trained) -> None:
    diverged = trained.after.diverged_at[:9]
    assert [index for index in range(9) if diverged[index] >= 0] == DIVERGING
    assert not trained.after.alive[DIVERGING].any()
    assert (diverged[DIVERGING] == 1).all()  # the first step moved it out of this world, the second one found out
    assert all(np.isfinite(leaf[DIVERGING]).all() for leaf in leaves(trained.after.parameters))


def test_a_diverged_run_keeps_the_state_of_its_last_good_step(trained: Trained) -> None:
    states = train_from_start(trained.programs, 1)
    for index in DIVERGING:
        assert_same(run_of(states.parameters, index), run_of(trained.after.parameters, index))
        assert_same(run_of(states.optimizer, index), run_of(trained.after.optimizer, index))


def test_runs_beside_a_diverged_one_do_not_notice(trained: Trained) -> None:
    programs = Programs(nine("runs.sweep.training.learning_rate=[0.01, 0.02, 0.003]"))
    states = train_from_start(programs, STEPS)
    assert (states.diverged_at < 0).all()
    for index in (0, 1, 2, 6, 7, 8):
        assert_same(run_of(states, index), run_of(trained.after, index))


def test_a_run_that_takes_no_step_has_no_training_loss(trained: Trained) -> None:
    states, losses = trained.programs.train(trained.programs.initial(), 0, 7)
    assert not np.isfinite(losses[DIVERGING]).any()
    _, later = trained.programs.train(states, 7, STEPS)
    assert np.isnan(later[DIVERGING]).all()
    assert np.isfinite(later[:3]).all()


# Judging.


@pytest.mark.parametrize("batch", [4, 5, 100])
def test_judging_in_batches_is_judging_in_one_go(trained: Trained, validation: Example, batch: int) -> None:
    weights = np.linspace(0.0, 2.0, 12, dtype=np.float32)  # batches that weigh differently
    validation = validation._replace(weights=weights)
    whole = trained.programs.judge(trained.programs.place(trained.after), validation)
    programs = Programs(nine(f"evaluation.batch={batch}"))
    parts = programs.judge(programs.place(trained.after), validation)
    healthy = [0, 1, 2, 6, 7, 8]
    np.testing.assert_allclose(np.asarray(parts)[:, healthy], np.asarray(whole)[:, healthy], rtol=1e-5)


def test_judging_is_what_the_encoder_of_a_run_answers(trained: Trained, validation: Example) -> None:
    experiment = trained.programs.experiment
    answer = jax.jit(lambda state: experiment.encoder(state)(validation.inputs, key_mask=validation.key_mask))
    outputs = np.asarray(answer(run_of(trained.after, 7)))
    error = np.mean((outputs[:, 0] - validation.targets) ** 2)
    losses, scores = trained.programs.judge(trained.programs.place(trained.after), validation)
    np.testing.assert_allclose([losses[7], scores[7]], [error, error], rtol=1e-5)


# On accelerators.


@pytest.mark.slow
def test_runs_side_by_side_are_runs_one_after_the_other(trained: Trained, validation: Example) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "one_by_one", lambda device: False)
        programs = Programs(nine())
        states, losses = programs.train(programs.initial(), 0, STEPS)
        healthy = [0, 1, 2, 6, 7, 8]
        assert_close(run_of(programs.initial().parameters, healthy), run_of(trained.before.parameters, healthy))
        assert_close(run_of(states, healthy), run_of(trained.after, healthy))
        np.testing.assert_allclose(losses[healthy], trained.losses[healthy], rtol=1e-6)
        np.testing.assert_array_equal(states.diverged_at, trained.after.diverged_at)
        assert_same(run_of(host(states), 9), run_of(host(programs.initial()), 9))
        judged = np.asarray(programs.judge(states, validation))[:, healthy]
        together = trained.programs.judge(trained.programs.place(trained.after), validation)
        np.testing.assert_allclose(judged, np.asarray(together)[:, healthy], rtol=1e-5)


def test_nothing_is_computed_to_make_an_experiment_ready() -> None:
    experiment = make_experiment(tiny("model.width=65536"))
    assert len(experiment.runs) == 3
