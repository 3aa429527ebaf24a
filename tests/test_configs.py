"""Configs and studies that come with the project: what stands in two places is the same."""

from pathlib import Path

import pytest

from selfattn_jax import catalogue
from selfattn_jax.build import abstract_encoder, make_other_tasks, make_task
from selfattn_jax.config.loading import load
from selfattn_jax.costs import mixer_costs
from selfattn_jax.studies.study import load_study

ROOT = Path(__file__).parents[1]
MIXERS = sorted(path for path in (ROOT / "configs/mixers").glob("*.yaml") if path.stem != "base")


def test_every_mixer_has_a_config():
    named = {path.stem for path in MIXERS}
    assert {entry.name for entry in catalogue.entries if entry.kind == "mixers"} <= named


@pytest.mark.slow
def test_the_configs_of_the_mixers_are_the_variants_of_their_study():
    study = load_study(ROOT / "experiments/mixers/study.yaml")
    assert {trial.name: trial.config for trial in study.trials} == {path.stem: load(path, [])[0] for path in MIXERS}


@pytest.mark.slow
@pytest.mark.parametrize("path", MIXERS, ids=[path.stem for path in MIXERS])
def test_a_mixer_s_config_makes_a_model_that_can_be_called(path):
    config = load(path, [])[0]
    assert abstract_encoder(config, make_task(config)) is not None
    assert mixer_costs(config)


def test_the_needle_is_looked_for_in_shorter_and_longer_sequences_than_those_of_the_training():
    config = load(ROOT / "configs/recall/needle.yaml", [])[0]
    trained, others = make_task(config).length, [task.length for task in make_other_tasks(config)]
    assert config.task.name == "needle" and min(others) < trained < max(others)
    assert config.model.positions is None  # none that a longer sequence would meet for the first time
