"""What every method promises of its microbatches; each method's tests call it."""

import dataclasses

import jax
import numpy as np

# Unoptimised code compiles in half the time.


def assert_parts_agree(make_phase, settings, state, constants, batch, *, optimizer="optimizer"):
    """A step in two microbatches has the metrics and the gradients of a step in one."""
    found = []
    for parts in (1, 2):
        phase = make_phase(dataclasses.replace(settings, microbatches=parts))
        step = jax.jit(phase.fn)
        after, metrics = step(state, constants, batch, jax.random.key(5))
        # Adam's averages are the gradients and their squares; the weights would only show signs.
        moments = [leaf for leaf in jax.tree.leaves(getattr(after, optimizer)) if leaf.ndim]
        found.append(jax.device_get((metrics, moments)))
    (one, moments), (other, others) = found
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-3)  # float32 sums in two orders
    # Gradients that are zero but for rounding (of a bias before a normalisation) are compared with
    # the largest of all.
    largest = max(np.abs(moment).max() for moment in moments)
    for moment, again in zip(moments, others, strict=True):
        np.testing.assert_allclose(again, moment, rtol=1e-3, atol=1e-5 * largest)
