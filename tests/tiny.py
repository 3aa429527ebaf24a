"""The smallest config that learns, and what keeps tests of runs quick: each program is compiled once."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from selfattn_jax.config import from_mapping, validate, with_overrides
from selfattn_jax.config.schema import Config
from selfattn_jax.runs import execute
from selfattn_jax.runs.engine import Experiment, Programs, make_experiment

SETTINGS: dict[str, Any] = {
    "task": {"name": "adding", "length": 8},
    "model": {"width": 8, "layers": 1, "mixer": {"name": "attention", "dropout": 0.1}},
    "training": {
        "steps": 12,
        "batch": 4,
        "learning_rate": 0.01,
        "warmup": 3,
        "evaluate_every": 4,
        "checkpoint_every": 4,
    },
    "evaluation": {"validation": 12, "test": 12, "batch": 12},
    "runs": {"seeds": 3},
}


def tiny(*overrides: str) -> Config:
    """The smallest config, with overrides."""
    return validate(with_overrides(from_mapping(SETTINGS), overrides), Config)


def cache_home(factory: pytest.TempPathFactory) -> Path:
    """What XDG_CACHE_HOME is for the tests of one process and for the processes that they start."""
    return factory.getbasetemp() / "cache"


@contextmanager
def programs_kept(factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps compiled programs for the other tests."""
    settings = {
        "jax_compilation_cache_dir": str(cache_home(factory) / "selfattn_jax" / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: jax.config.values[name] for name in settings}
    compilation_cache.reset_cache()
    for name, value in settings.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()


@cache
def experiment_of(config: Config) -> Experiment:
    """The one experiment of a config: another one would sample its task in programs of its own."""
    return make_experiment(config)


@cache
def programs_of(experiment: Experiment) -> Programs:
    """The one set of programs of an experiment."""
    return Programs(experiment)


def share_programs(patch: pytest.MonkeyPatch) -> None:
    """Lets all runs of one config in this process use the same compiled programs."""
    patch.setattr(execute, "make_experiment", experiment_of)
    patch.setattr(execute, "Programs", programs_of)
