"""What every method promises of its microbatches; each method's tests call it."""

import dataclasses

import jax
import numpy as np

# Unoptimised code compiles in half the time.
QUICK = {"xla_backend_optimization_level": 0}


def assert_parts_agree(make_phase, settings, state, constants, batch, *, optimizer="optimizer"):
    """A step in two microbatches has the metrics and the gradients of a step in one."""
    found = []
    for parts in (1, 2):
        phase = make_phase(dataclasses.replace(settings, microbatches=parts))
        step = jax.jit(phase.fn, compiler_options=QUICK)
        after, metrics = step(state, constants, batch, jax.random.key(5))
        # Adam's averages are the gradients and their squares; the weights would only show signs.
        found.append(jax.device_get((metrics, getattr(after, optimizer))))
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        # Float32 sums over the items in two orders; gradients that cancel are compared with the
        # largest of their array.
        scale = np.abs(one).max(initial=0)
        np.testing.assert_allclose(other, one, rtol=1e-3, atol=2e-5 * scale)
