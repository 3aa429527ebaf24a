"""What JAX is told before it computes."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from selfattn_jax.runs.devices import keep_compiled_programs, keep_freed_memory, use_all_cores


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
    monkeypatch.delenv("SELFATTN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    keep_compiled_programs()
    assert told["jax_compilation_cache_dir"] == str(tmp_path / "selfattn_jax" / "compiled")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    keep_compiled_programs()
    assert told["jax_compilation_cache_dir"] == str(tmp_path / ".cache" / "selfattn_jax" / "compiled")


FAULTS = """
import resource, sys
import jax, jax.numpy as jnp
from selfattn_jax.runs.devices import keep_freed_memory

faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
kept = sys.argv[1] == "keep" and keep_freed_memory()
add, numbers = jax.jit(lambda numbers: numbers + 1), jnp.zeros(2**23)
for _ in range(32):  # the first dozen find no hole that fits; then there are enough
    add(numbers).block_until_ready()
before = faults()
for _ in range(4):
    add(numbers).block_until_ready()
print(kept, faults() - before)
"""


def test_an_array_of_32_mb_costs_page_faults_once() -> None:
    def faults(how: str) -> tuple[bool, int]:
        program = [sys.executable, "-c", FAULTS, how]
        kept, count = subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()
        return kept == "True", int(count)

    pages = 4 * 2**25 // os.sysconf("SC_PAGE_SIZE")  # of the four results
    kept, count = faults("keep")
    assert kept == (sys.platform == "linux")
    if kept:
        assert count < pages / 100 < pages / 2 < faults("leave")[1]


def test_another_c_library_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def called(*arguments: int) -> int:
        raise AssertionError(arguments)

    other = type("Library", (), {"mallopt": staticmethod(called)})
    monkeypatch.setattr(ctypes, "CDLL", lambda name: other)
    assert not keep_freed_memory()
