"""Where a bench runs: versions, device, cores and memory; and what JAX leaves off while it is measured."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import jax
from jax.experimental.compilation_cache import compilation_cache

PACKAGES = ("selfattn_jax", "jax", "jaxlib", "flax", "numpy", "torch")
LIMIT = Path("/sys/fs/cgroup/memory.max")  # of a container, where there is one
PROCESSORS = Path("/proc/cpuinfo")


def versions() -> dict[str, str | None]:
    """Python's version and those of the packages; None for one that is not installed."""
    return {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def device_name() -> str:
    """What computes: an accelerator by its kind, a CPU by the name of its processor."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return f"{device.platform}: {device.device_kind}"
    lines = PROCESSORS.read_text(encoding="utf-8").splitlines() if PROCESSORS.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"cpu: {next(names, platform.processor() or platform.machine())}"


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int | None:
    """The memory of this machine or of the container that it is, or None where that is not told."""
    try:
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    limit = LIMIT.read_text(encoding="utf-8").strip() if LIMIT.exists() else ""
    return min(there, int(limit)) if limit.isdecimal() else there


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Compiles every program anew for as long as it lasts: a compile time is not that of reading a file."""
    before = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()  # whether it is used, JAX asks only once
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()
