"""Settings of all tests: two CPU devices, no implicit promotion of ranks, and little time spent on optimising programs
that run for a moment; processes that tests start inherit the last.
"""

import atexit
import os
import shutil
import tempfile

import jax

os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
if jax.__version_info__ < (0, 11):  # later versions have no such choice
    # A third of the time to compile: what is spent on a loop over each array does not pay here.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_use_fusion_emitters=false"
jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
# What tasks make on the host is made for the tests alone; workers and the processes that tests start share it.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="selfattn-tests-")
    os.environ.pop("SELFATTN_CACHE", None)
    atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
