"""PVP (`jaxface.methods.pvp`): a tuning step, a mapper step, and rendering.

``tune`` is an update of one generator by a batch of key frames, with LPIPS on AlexNet and
locality regularisation on one sample, Adam included; ``map`` a step of the mappers with all seven
losses and both branches, LPIPS on VGG-16, DECA's encoder and IR-SE50 included; ``render`` is pose
and expression to images. What is returned of parameters is how far they moved.

Lin et al. 2023 state some three hours for 200 pivots on an RTX 3080, some four for 50,000 mapper
steps on an A10, and 54 frames a second (sections 5.2 and 5.4).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxface.benchmark.lines import summary_lines
from jaxface.benchmark.problem import Problem, fields_of, random_weights
from jaxface.benchmark.workload import Benchmark, Call, Program, Workload
from jaxface.methods import pti
from jaxface.methods.pvp.features import Layout
from jaxface.methods.pvp.losses import Batch, Frozen
from jaxface.methods.pvp.settings import FAST
from jaxface.methods.pvp.training import Constants, Training
from jaxface.methods.pvp.tuning import Constants as TuningConstants
from jaxface.methods.pvp.tuning import Tuning
from jaxface.morphable.flame_parameters import FlameParameters
from jaxface.morphable.motion import Motion, motion_of_deca
from jaxface.nets import (
    IRSE,
    LPIPS,
    AvatarConfig,
    AvatarMappers,
    DECAEncoder,
    DECAEncoderConfig,
    IRSEConfig,
    LPIPSConfig,
)
from jaxface.nets.torch_layers import adaptive_average_pool
from jaxface.weights import build_network

PAPER_TUNING_HOURS, PAPER_MAPPER_HOURS, PAPER_FRAMES = 3, 4, 54
PAPER_UPDATES, PAPER_STEPS = 350 * 200, 50_000

_EXPRESSION = 53
_SMALL = {"channels": (8, 8, 16, 16), "units": (1, 1, 1, 1), "reduction": 4}


@struct.dataclass
class CropReader:
    """DECA of the middle of an image, in place of a crop by landmarks.

    Attributes:
        encoder: DECA's.
    """

    encoder: DECAEncoder

    def read(self, portraits: jax.Array) -> FlameParameters:
        """Of images [N, R, R, 3]."""
        return FlameParameters.from_flat(self.encoder(adaptive_average_pool(portraits, 224)))

    def motion(self, faces: FlameParameters) -> Motion:
        """Pose and expression."""
        return motion_of_deca(faces)


@dataclasses.dataclass(frozen=True)
class PVPProblem(Problem):
    """A problem with an LPIPS network, and the networks of PVP.

    Attributes:
        seed: of the networks.
        anchors: of the mappers, key frames.
        networks: "published", VGG-16, DECA's encoder and IR-SE50, or "small" ones.
    """

    seed: int
    anchors: int = 200
    networks: str = "published"

    @property
    def options(self) -> dict[str, Any]:
        """What a report says beside the generator's sizes."""
        return {"anchors": self.anchors, "networks": self.networks}

    def mappers(self) -> AvatarMappers:
        """F_rot and F_expr with random weights and anchors."""
        config = AvatarConfig(
            anchors=self.anchors,
            num_ws=self.config.num_ws,
            expression=_EXPRESSION,
            w_dim=self.config.w_dim,
            expression_rows=min(8, self.config.num_ws),
        )
        return self._random(AvatarMappers, config)

    def recognition(self) -> IRSE:
        """The judge of identity with random weights."""
        small = IRSEConfig(**_SMALL, embedding_dim=16, resolution=16)  # type: ignore[arg-type]
        return self._random(IRSE, small if self.networks == "small" else IRSEConfig())

    def mapper_lpips(self) -> LPIPS:
        """What compares in the mappers' step, LPIPS on VGG-16 with random weights."""
        small = LPIPSConfig("vgg", (4, 4, 4, 4, 4))
        return self._random(LPIPS, small if self.networks == "small" else LPIPSConfig("vgg"))

    def reader(self) -> CropReader:
        """The reader of faces with random weights."""
        small = DECAEncoderConfig(blocks=(1, 1, 1, 1), width=8, hidden=16)
        config = small if self.networks == "small" else DECAEncoderConfig()
        return CropReader(self._random(DECAEncoder, config))

    def _random(self, network: type, config: Any) -> Any:
        weights = random_weights(network, config, seed=self.seed)
        return build_network(network.__name__, config, weights)


def pvp_problem(problem: Problem, **options: Any) -> PVPProblem:
    """A problem with an LPIPS network, and the options of :class:`PVPProblem`."""
    return PVPProblem(**fields_of(problem), **options)


class PVP:
    """jaxface as a contender."""

    def __init__(self, problem: PVPProblem):
        self._problem, generator = problem, problem.generator()
        lpips = problem.lpips_network()
        if lpips is None:
            raise ValueError("PVP: the problem needs an LPIPS network")
        self._key, self._mappers = jax.random.key(problem.seed), problem.mappers()
        self._networks = pti.Networks(generator, lpips)
        judges = problem.reader(), problem.mapper_lpips(), problem.recognition()
        self._frozen = Frozen(generator, *judges)
        self.render = Program(_render, self._mappers, generator)

    def set_targets(self, targets: jax.Array) -> None:
        """Take frames [N, R, R, 3]; a step is a batch of all of them."""
        count, problem = len(targets), self._problem
        settings = dataclasses.replace(FAST.tuning, samples=1, dtype=problem.dtype)
        pivots = jnp.zeros((count, problem.config.num_ws, problem.config.w_dim))
        images = np.zeros(targets.shape, np.uint8)
        tuning = Tuning(settings, self._networks, images, pivots, batch=count, key=self._key)
        mapping = dataclasses.replace(FAST.mappers, batch_size=count)
        frames = _frames(count, min(problem.resolution, mapping.resolution), self._embedding())
        training = Training(
            mapping,
            self._mappers,
            self._frozen,
            frames,
            selection=None,
            layout=Layout(3, 0),
            key=self._key,
        )

        def tune(state: Any, networks: Any, images: jax.Array, w_plus: jax.Array) -> Any:
            constants = TuningConstants(networks, images, w_plus, self._key)
            after, told = tuning.step(state, constants, jnp.int32(0))
            return told["loss"], _moved(after.weights, state.weights)

        def mapped(state: Any, mappers: Any, frozen: Any, images: Any, pose: Any, expr: Any) -> Any:
            own = frames._replace(images=images, pose=pose, expression=expr)
            own = jax.tree.map(jnp.asarray, own)
            constants = Constants(mappers, frozen, own, self._key)
            after, told = training.step(state, constants, jnp.int32(0))
            return told["loss"], _moved(after.params, state.params)

        self.tune = Program(tune, tuning.start(), self._networks)
        self.map = Program(mapped, training.start(), self._mappers, self._frozen)

    def _embedding(self) -> int:
        return self._problem.recognition().config.embedding_dim


def workload(problem: PVPProblem, *, batch: int, rng: np.random.Generator) -> Workload:
    """Frames of random pixels, standard normal pivots, poses and expressions of deviation 0.3."""
    size, config = problem.resolution, problem.config
    images = rng.integers(0, 256, (batch, size, size, 3), np.uint8)
    side = min(size, FAST.mappers.resolution)
    small = rng.integers(0, 256, (batch, side, side, 3), np.uint8)
    w_plus = rng.standard_normal((batch, config.num_ws, config.w_dim), dtype=np.float32)
    pose = 0.3 * rng.standard_normal((batch, 2), dtype=np.float32)
    expression = 0.3 * rng.standard_normal((batch, _EXPRESSION), dtype=np.float32)
    return Workload(
        batch=batch,
        calls=(
            Call("tune", (images, w_plus), outputs=("loss", "moved")),
            Call("map", (small, pose, expression), outputs=("loss", "moved")),
            Call("render", (pose, expression), outputs=("images",)),
        ),
        targets=np.zeros((batch, size, size, 3), np.float32),
    )


def _render(mappers: Any, generator: Any, pose: jax.Array, expression: jax.Array) -> jax.Array:
    return generator.synthesis(mappers(pose, expression))


def _frames(count: int, side: int, embedding: int) -> Batch:
    return Batch(
        images=np.zeros((count, side, side, 3), np.uint8),
        pose=np.zeros((count, 2), np.float32),
        expression=np.zeros((count, _EXPRESSION), np.float32),
        rotation=np.zeros((count, 3), np.float32),
        identity=np.ones((count, embedding), np.float32),
        moving=np.zeros((count, side, side), np.uint8),
    )


def _moved(after: Any, before: Any) -> jax.Array:
    squares = [
        jnp.sum(jnp.square(new - old))
        for new, old in zip(jax.tree.leaves(after), jax.tree.leaves(before), strict=True)
    ]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))


def summary(report: Mapping[str, Any]) -> str:
    """Frames a second, and what the paper's and the fast preset's numbers of steps would take."""
    published = (
        f"paper, 1024 px: {PAPER_TUNING_HOURS} h of tuning to 200 pivots (RTX 3080), "
        f"{PAPER_MAPPER_HOURS} h of {PAPER_STEPS} mapper steps (A10), {PAPER_FRAMES} frames/s"
    )
    return summary_lines(report, "PVP", _told, published)


def _told(row: Mapping[str, Any]) -> str:
    seconds, batch = row["seconds"]["median"], row["batch"]
    told = f"{row['method']}, {batch / seconds:.3g} frames/s"
    if row["method"] == "tune":
        updates = FAST.tuning.steps * -(-200 // batch)
        told += f", {updates * seconds / 60:.3g} minutes of {FAST.tuning.steps} rounds"
    elif row["method"] == "map":
        steps = FAST.mappers.steps * FAST.mappers.batch_size / batch
        told += f", {steps * seconds / 60:.3g} minutes of the preset fast's frames"
    return told


BENCHMARK = Benchmark(
    workload, PVP, lpips=LPIPSConfig("alex"), completed=pvp_problem, summary=summary
)
