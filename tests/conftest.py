"""Settings of all tests: two CPU devices, no implicit promotion, and the compiled programs kept between runs."""

import jax

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
