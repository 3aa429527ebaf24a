"""What must be said before JAX first computes: a CPU device per core, and where memory and programs stay."""

import ctypes
import os

import jax

from selfattn_jax.tasks.host_cache import cache_folder

# Of mallopt, in glibc's malloc.h: nothing by mmap, nothing given back, 64 MiB at once, one arena for all threads.
MALLOC_OPTIONS = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_TOP_PAD": (-2, 2**26), "M_ARENA_MAX": (-8, 1)}


def use_all_cores() -> None:
    """Lets runs spread over the cores of a CPU; a machine with accelerators is left as it is.

    Raises: RuntimeError when JAX has computed something already.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    jax.config.update("jax_num_cpu_devices", cores)


def keep_compiled_programs() -> None:
    """Keeps compiled programs in the user's cache folder, so that the second run of a config starts at once."""
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def leave_memory_to_others() -> None:
    """Takes memory of an accelerator as it is needed, so that another library has some; before JAX first computes."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def keep_freed_memory() -> bool:
    """Lets this process keep the memory of arrays that are gone, so that the next ones need not get it from the system.

    On a CPU XLA takes the memory of every result anew. From about a megabyte on the C library gets it from the system
    and gives it back at once, and then each 4 kB cost a page fault: half of the time of what only reads and writes.

    Returns: whether the C library (glibc) has taken all of it; another one is left as it is.
    """
    try:
        library = ctypes.CDLL(None)
        library.gnu_get_libc_version  # noqa: B018  another library's mallopt may mean something else by these numbers
        return all([library.mallopt(number, value) for number, value in MALLOC_OPTIONS.values()])
    except (AttributeError, OSError, TypeError):  # no such function, no such library, no name for all of them
        return False
