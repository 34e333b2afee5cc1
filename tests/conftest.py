"""The whole test session sees eight virtual CPU devices, as a small TPU slice would be."""

import jax

jax.config.update("jax_num_cpu_devices", 8)
