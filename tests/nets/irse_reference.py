"""Float64 NumPy references for the IR-SE networks, written from their definitions."""

import jax.numpy as jnp
import numpy as np
import reference


def value(variable):
    """A parameter in float64."""
    return np.asarray(variable[...], np.float64)


def tame(network):
    """Random weights with positive variances and gates that are neither open nor closed."""
    for unit in network.body.units:
        unit.excite.weight[...] *= 0.01
    modules = [network, network.body, *network.body.units]
    for module in modules:
        for name in ("norm", "norm1", "norm2", "shortcut_norm", "output_norm"):
            norm = getattr(module, name, None)
            if norm is not None:
                norm.variance[...] = jnp.square(norm.variance[...]) + 0.5
    return network


def norm(x, layer):
    """Batch normalisation by running statistics, epsilon 1e-5."""
    scale = value(layer.weight) / np.sqrt(value(layer.variance) + 1e-5)
    return (x - value(layer.mean)) * scale + value(layer.bias)


def prelu(x, layer):
    """x or slope * x."""
    return np.where(x >= 0, x, x * value(layer.slope))


def body(network, x):
    """The four stages' outputs of an ``IRSEBody``."""
    x = reference.correlate(x, value(network.conv.weight), pad=1)
    x = prelu(norm(x, network.norm), network.prelu)
    ends, outputs = np.cumsum(network.counts), []
    for number, unit in enumerate(network.units):
        stride = 2 if number in (0, *ends) else 1
        y = reference.correlate(norm(x, unit.norm1), value(unit.conv1.weight), pad=1)
        y = prelu(y, unit.prelu)
        y = reference.correlate(y, value(unit.conv2.weight), pad=1)[:, ::stride, ::stride]
        y = norm(y, unit.norm2)
        gate = np.maximum(y.mean(axis=(1, 2)) @ value(unit.squeeze.weight), 0)
        gate = 0.5 + 0.5 * np.tanh(gate @ value(unit.excite.weight) / 2)  # the sigmoid
        y = y * gate[:, None, None]
        x = x[:, ::stride, ::stride]
        if unit.shortcut is not None:
            x = norm(x @ value(unit.shortcut.weight)[0, 0], unit.shortcut_norm)
        x = x + y
        if number + 1 in ends:
            outputs.append(x)
    return outputs
