"""Networks of seeded weights at a trained network's scale, without compiling an initialisation."""

import numpy as np

from jaxface.weights import abstract_network, build_network, network_names


def seeded_arrays(class_name, config, seed=0):
    """Arrays of a network: kernels by He's rule, norms near the identity, small biases."""
    random = np.random.default_rng(seed)
    arrays = {}
    for name, spec in network_names(abstract_network(class_name, config)).items():
        u = random.normal(size=spec.shape)
        if name.endswith("variance"):
            u = np.exp(0.2 * u)
        elif len(spec.shape) > 1:
            u *= np.sqrt(2 / np.prod(spec.shape[:-1]))
        else:
            u = 0.1 * u + float(name.endswith(("weight", "scale")))
        arrays[name] = u.astype(np.float32)
    return arrays


def seeded_network(class_name, config, seed=0):
    """The network of those arrays."""
    return build_network(class_name, config, seeded_arrays(class_name, config, seed))
