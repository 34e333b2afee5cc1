"""The Latent Difference Encoder: a training step, and portraits redrawn.

``step`` is an iteration of the published setting (`jaxface.methods.latent_difference.HIGHER` in the
form without the code's accidents, or ``--form code``): a step of the encoder, with the manipulated
and the cycle pass, and one of the discriminator with R1, on portraits that the in-domain encoder
embeds. What is returned is the losses and how far the encoder moved. ``frames`` is what a portrait
costs for each image of landmarks once it is embedded: drawing the lines, E and G. The paper states
no times; its setting is 128 px and batches of 16.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.benchmark.lines import summary_lines
from jaxface.benchmark.problem import Problem, fields_of, random_weights
from jaxface.benchmark.workload import Benchmark, Call, Program, Workload
from jaxface.methods import latent_difference
from jaxface.methods.latent_difference.landmarks import conditioned
from jaxface.methods.latent_difference.losses import Frozen
from jaxface.methods.latent_difference.training import (
    LatentDifferenceState,
    discriminator_phase,
    encoder_phase,
    initial_state,
)
from jaxface.nets import (
    DiscriminatorConfig,
    InDomainConfig,
    InDomainEncoder,
    LatentDifferenceConfig,
    LatentDifferenceEncoder,
    StyleGAN1DiscriminatorConfig,
)
from jaxface.nets.edits.latent_difference import CODE
from jaxface.weights import build_network

PAPER_RESOLUTION, PAPER_BATCH = 128, 16


@dataclasses.dataclass(frozen=True)
class LatentDifferenceProblem(Problem):
    """A problem, and the networks of the Latent Difference Encoder.

    Attributes:
        seed: of the networks.
        form: "default", or "code" with the authors' accidents and StyleGAN's first discriminator.
        widths: "published", or "small" ones.
    """

    seed: int
    form: str = "default"
    widths: str = "published"

    @property
    def options(self) -> dict[str, Any]:
        """What a report says beside the generator's sizes."""
        return {"form": self.form, "widths": self.widths}

    def settings(self) -> latent_difference.LatentDifferenceSettings:
        """The published ones at this generator's size; batch sizes are the calls'."""
        code, small = self.form == "code", self.widths == "small"
        network = LatentDifferenceConfig(**self._sizes(), **(CODE if code else {}))
        base = 64 if small else 8192
        judge: Any = DiscriminatorConfig(
            self.resolution,
            image_channels=6,
            channel_base=2 * base,
            channel_max=8 if small else 512,
        )
        if code:
            judge = StyleGAN1DiscriminatorConfig(
                self.resolution, channel_base=base, channel_max=8 if small else 512
            )
        return dataclasses.replace(
            latent_difference.HIGHER,
            network=network,
            discriminator=judge,
            inversion_statistics="batch" if code else "stored",
        )

    def inversion_network(self) -> Any:
        """The in-domain encoder with random weights."""
        config = InDomainConfig(**self._sizes(), normalised=self.form == "code")
        weights = random_weights(InDomainEncoder, config, seed=self.seed)
        return build_network("InDomainEncoder", config, weights)

    def network(self) -> LatentDifferenceEncoder:
        """E with random weights."""
        config = self.settings().network
        weights = random_weights(LatentDifferenceEncoder, config, seed=self.seed)
        network = build_network("LatentDifferenceEncoder", config, weights)
        assert isinstance(network, LatentDifferenceEncoder)
        return network

    def _sizes(self) -> dict[str, Any]:
        sizes: dict[str, Any] = {
            "resolution": self.resolution,
            "num_ws": self.config.num_ws,
            "w_dim": self.config.w_dim,
        }
        return sizes | ({"width": 4, "max_width": 8} if self.widths == "small" else {})


def latent_difference_problem(problem: Problem, **options: Any) -> LatentDifferenceProblem:
    """A problem with the options of :class:`LatentDifferenceProblem`."""
    return LatentDifferenceProblem(**fields_of(problem), **options)


class LatentDifference:
    """jaxface as a contender."""

    def __init__(self, problem: LatentDifferenceProblem):
        settings = problem.settings()
        frozen = Frozen(problem.generator(), problem.inversion_network())
        key = jax.random.key(problem.seed)
        state = initial_state(settings, key, frozen, network=problem.network())
        self._phases = [encoder_phase(settings), discriminator_phase(settings)]
        self._key = key
        self.step = Program(self._step, state, frozen)
        self.frames = Program(_redrawn, state.network, frozen.generator)

    def _step(
        self, state: LatentDifferenceState, frozen: Frozen, images: jax.Array, points: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Losses of both steps, and the length of the encoder's change."""
        batch = {"image": images, "landmarks": points}
        after, losses = state, []
        for phase in self._phases:
            after, metrics = phase.fn(after, frozen, batch, self._key)
            losses.append(metrics["loss"])
        squares = [
            jnp.sum(jnp.square(new - old))
            for new, old in zip(
                jax.tree.leaves(after.network), jax.tree.leaves(state.network), strict=True
            )
        ]
        return jnp.stack(losses), jnp.sqrt(jnp.sum(jnp.stack(squares)))


def _redrawn(network: Any, generator: Any, w_plus: jax.Array, points: jax.Array) -> jax.Array:
    told = conditioned(network, points, generator.resolution)
    codes = jnp.broadcast_to(w_plus, (len(points), *w_plus.shape[1:]))
    return generator.synthesis(network(codes, told), "const")


def workload(problem: LatentDifferenceProblem, *, batch: int, rng: Any) -> Workload:
    """Portraits uniform in [-1, 1], landmarks uniform over the image, standard normal codes."""
    size = problem.resolution
    images = rng.uniform(-1, 1, (batch, size, size, 3)).astype(np.float32)
    points = rng.uniform(0, size, (batch, 68, 2)).astype(np.float32)
    shape = (1, problem.config.num_ws, problem.config.w_dim)
    code = rng.standard_normal(shape, dtype=np.float32)
    return Workload(
        batch=batch,
        calls=(
            Call("step", (images, points), outputs=("losses", "moved")),
            Call("frames", (code, points), outputs=("images",)),
        ),
    )


def summary(report: Mapping[str, Any]) -> str:
    """Steps and frames a second of each batch size."""
    published = (
        f"published: {PAPER_RESOLUTION} px, batches of {PAPER_BATCH}, 750,000 steps; no times"
    )
    return summary_lines(report, "Latent Difference Encoder", _told, published)


def _told(row: Mapping[str, Any]) -> str:
    seconds, batch = row["seconds"]["median"], row["batch"]
    if row["method"] == "step":
        return f"{seconds:.3g} s a training step, {batch / seconds:.3g} portraits/s"
    return f"{batch / seconds:.3g} frames/s"


BENCHMARK = Benchmark(
    workload, LatentDifference, completed=latent_difference_problem, summary=summary
)
