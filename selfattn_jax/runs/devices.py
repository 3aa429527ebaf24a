"""What JAX must know before it first computes: a CPU device per core for the runs, and where compiled programs stay."""

import os
from pathlib import Path

import jax


def use_all_cores() -> None:
    """Lets runs spread over the cores of a CPU; a machine with accelerators is left as it is.

    Raises: RuntimeError when JAX has computed something already.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jax.config.update("jax_num_cpu_devices", cores)


def keep_compiled_programs() -> None:
    """Keeps compiled programs in the user's cache folder, so that the second run of a config starts at once."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(home / "selfattn_jax" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def leave_memory_to_others() -> None:
    """Takes memory of an accelerator as it is needed, so that another library has some; before JAX first computes."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
