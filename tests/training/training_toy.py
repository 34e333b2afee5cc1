"""A small run with everything a real one has: a network, two phases, an average, noise, constants.

Also a program, for tests that must kill it or need several processes:

    python training_toy.py FOLDER STEPS [ADDRESS PROCESSES PROCESS]
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from jaxface.training.ema import update_ema
from jaxface.training.loop import Phase, fit

BATCH = 16
OPTIMISER = optax.adam(1e-2)
TRACES = {"main": 0, "lazy": 0}


class Stream:
    """Batch k is a function of k; its position is k. A process gets its own rows of it."""

    def __init__(self, length=None):
        self.position, self.length = 0, length

    def __next__(self):
        if self.position == self.length:
            raise StopIteration
        rng = np.random.default_rng(self.position)
        self.position += 1
        image = rng.normal(size=(BATCH, 8, 8, 3)).astype(np.float32)
        return {"image": np.split(image, jax.process_count())[jax.process_index()]}

    def get_state(self):
        return {"position": self.position}

    def set_state(self, state):
        self.position = state["position"]


def initial_state():
    network = nnx.Conv(3, 4, (3, 3), rngs=nnx.Rngs(0))
    return {"network": network, "average": network, "optimiser": OPTIMISER.init(network)}


def main_step(state, target, batch, key):
    TRACES["main"] += 1

    def loss(network):
        noise = 0.1 * jax.random.normal(key, (BATCH, 8, 8, 4))
        return jnp.mean(jnp.square(network(batch["image"]) + noise - target))

    value, gradient = jax.value_and_grad(loss)(state["network"])
    updates, optimiser = OPTIMISER.update(gradient, state["optimiser"])
    network = optax.apply_updates(state["network"], updates)
    average = update_ema(state["average"], network, 0.9)
    return {"network": network, "average": average, "optimiser": optimiser}, {"loss": value}


def lazy_step(state, target, batch, key):
    del target, batch
    TRACES["lazy"] += 1
    scale = 0.98 + 0.01 * jax.random.uniform(key)
    network = jax.tree.map(lambda a: a * scale, state["network"])
    norm = sum(jnp.sum(jnp.square(a)) for a in jax.tree.leaves(network))
    return {**state, "network": network}, {"norm": norm}


def run(directory, steps, *, state=None, data=None, phases=None, seed=0, **options):
    options = {"log_every": 4, "checkpoint_every": 8, **options}
    return fit(
        initial_state() if state is None else state,
        phases or [Phase("main", main_step), Phase("lazy", lazy_step, 4)],
        data or Stream(),
        key=jax.random.key(seed),
        steps=steps,
        directory=pathlib.Path(directory),
        constants=jnp.float32(0.5),
        **options,
    )


if __name__ == "__main__":
    folder, steps, *cluster = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", 4 if cluster else 8)
    if cluster:
        jax.distributed.initialize(cluster[0], int(cluster[1]), int(cluster[2]))
    run(folder, int(steps))
