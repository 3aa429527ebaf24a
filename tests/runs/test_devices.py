"""What JAX is told before it computes."""

import os
from pathlib import Path

import jax
import pytest

from selfattn_jax.runs.devices import keep_compiled_programs, use_all_cores


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    told: dict[str, object] = {}
    monkeypatch.setattr(jax.config, "update", told.__setitem__)
    return told


def test_runs_may_use_every_core_that_the_process_may_use(
    told: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 3, 7}, raising=False)
    use_all_cores()
    assert told == {"jax_num_cpu_devices": 3}


def test_where_a_process_has_no_affinity_every_core_counts(
    told: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    use_all_cores()
    assert told == {"jax_num_cpu_devices": 5}


def test_compiled_programs_stay_in_the_users_cache(
    told: dict[str, object], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_compiled_programs()
    assert told["jax_compilation_cache_dir"] == str(tmp_path / "selfattn_jax" / "compiled")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    keep_compiled_programs()
    assert told["jax_compilation_cache_dir"] == str(tmp_path / ".cache" / "selfattn_jax" / "compiled")
