import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from selfattn_jax.tasks.host_cache import Arrays, Tell, cached_arrays, told


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SELFATTN_CACHE", str(tmp_path))
    return tmp_path / "tasks"


class Maker:
    """Counts how often it is called."""

    calls = 0

    def __call__(self, tell: Tell) -> Arrays:
        self.calls += 1
        tell("numbers", 5, 5)
        return {"numbers": np.arange(5), "names": np.ones((2, 3), np.uint8)}


def test_arrays_are_made_once_and_read_after_that() -> None:
    make = Maker()
    first, second = (cached_arrays("numbers", {"version": 1}, make) for _ in range(2))
    assert make.calls == 1
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array)
        assert second[name].dtype == array.dtype


def test_other_content_is_another_file() -> None:
    make = Maker()
    for version in (1, 2):
        cached_arrays("numbers", {"version": version}, make)
    assert make.calls == 2


@pytest.mark.parametrize(
    "harm", [lambda data: data[:-30], lambda data: b"", lambda data: data.replace(b"\x03", b"\x07")]
)
def test_a_file_that_was_cut_off_or_changed_is_made_anew(cache: Path, harm) -> None:
    make = Maker()
    cached_arrays("numbers", {}, make)
    (path,) = cache.glob("*.npz")
    path.write_bytes(harm(path.read_bytes()))
    np.testing.assert_array_equal(cached_arrays("numbers", {}, make)["numbers"], np.arange(5))
    assert make.calls == 2
    cached_arrays("numbers", {}, make)
    assert make.calls == 2


def test_who_listens_hears_how_far_it_is() -> None:
    heard = []
    with told(lambda *said: heard.append(said)):
        cached_arrays("numbers", {}, Maker())
    cached_arrays("numbers", {"version": 2}, Maker())
    assert heard == [("numbers", 5, 5)]


TWO = """
import time, numpy as np
from selfattn_jax.tasks.host_cache import cached_arrays

def make(tell):
    print("made", flush=True)
    time.sleep(1)
    return {"numbers": np.arange(3)}

print(cached_arrays("slow", {}, make)["numbers"].sum())
"""


def test_of_two_processes_one_makes_and_the_other_waits() -> None:
    both = [subprocess.Popen([sys.executable, "-c", TWO], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(process.communicate()[0] for process in both)
    assert (said.count("made"), said.count("3")) == (1, 2)
