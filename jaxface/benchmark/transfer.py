"""Transfer (`jaxface.methods.transfer`): a whole training step, and driven frames.

``step`` is one step of the paper's recipe on a batch: E_m forwards and back once, two results with
gradients and one without, LPIPS on AlexNet, IR-SE50, and Ranger's update of E_m and M. What is
returned is the losses and how far the parameters moved. ``frames`` is what an identity costs for
each driving frame once it is encoded: E_m, M and G.

Jahoda and Cech 2023 state up to 20 frames a second at 1024 px on "a modern GPU", after half a
second for the identity, and 50 frames a second for the baseline, whose inversions of every frame
are not part of that figure (section 4.3).
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
from jaxface.errors import UsageError
from jaxface.methods import transfer
from jaxface.methods.transfer.drawing import draw
from jaxface.methods.transfer.losses import Frozen
from jaxface.methods.transfer.training import (
    Constants,
    TransferState,
    initial_state,
    transfer_phase,
)
from jaxface.nets import IRSE, IRSEConfig, LPIPSConfig, TransferConfig, TransferNetwork
from jaxface.weights import build_network

PAPER_FRAMES, PAPER_IDENTITY, PAPER_BASELINE = 20, 0.5, 50
"""Frames a second, seconds for an identity, and the baseline's frames a second (section 4.3)."""

_LEAST_SIDE = 64  # of whose crops AlexNet leaves something
_SMALL = {"channels": (8, 8, 16, 16), "units": (1, 1, 1, 1), "reduction": 4}


@dataclasses.dataclass(frozen=True)
class TransferProblem(Problem):
    """A problem with an LPIPS network, and the networks of Transfer.

    Attributes:
        seed: of the networks.
        encoders: "ir-se50", the published E_m and recognition network, or "small" ones.
    """

    seed: int
    encoders: str = "ir-se50"

    @property
    def options(self) -> dict[str, Any]:
        """What a report says beside the generator's sizes."""
        return {"encoders": self.encoders}

    @property
    def side(self) -> int:
        """At which E_m reads and results are compared."""
        return min(self.resolution, 256)

    def settings(self) -> transfer.TransferSettings:
        """The paper's, at this generator's size; batch sizes are the calls'."""
        sizes: dict[str, Any] = {"num_ws": self.config.num_ws, "w_dim": self.config.w_dim}
        if self.encoders == "small":
            sizes |= _SMALL | {"pool": 1, "hidden": 16}
        network = TransferConfig(resolution=self.side, **sizes)
        return dataclasses.replace(transfer.PAPER, network=network)

    def transfer_network(self) -> TransferNetwork:
        """E_m and M with random weights."""
        return self._random(TransferNetwork, self.settings().network)

    def recognition_network(self) -> IRSE:
        """The judge of identity with random weights."""
        small = IRSEConfig(**_SMALL, embedding_dim=16, resolution=16)  # type: ignore[arg-type]
        return self._random(IRSE, small if self.encoders == "small" else IRSEConfig())

    def _random(self, network: type, config: Any) -> Any:
        weights = random_weights(network, config, seed=self.seed)
        return build_network(network.__name__, config, weights)


def transfer_problem(problem: Problem, **options: Any) -> TransferProblem:
    """A problem with an LPIPS network, and the options of :class:`TransferProblem`.

    Raises:
        UsageError: for images whose crops (equation 6) are too small for LPIPS on AlexNet.
    """
    made = TransferProblem(**fields_of(problem), **options)
    if made.side < _LEAST_SIDE:
        raise UsageError(
            f"--resolution {made.resolution}: LPIPS of the crops needs images of at least "
            f"{_LEAST_SIDE} px"
        )
    return made


class Transfer:
    """jaxface as a contender."""

    def __init__(self, problem: TransferProblem):
        settings, network = problem.settings(), problem.transfer_network()
        generator = problem.generator()
        frozen = Frozen(problem.lpips_network(), problem.recognition_network())
        state = initial_state(settings, network, generator)
        self._phase, self._key = transfer_phase(settings), jax.random.key(problem.seed)
        self.step = Program(self._step, state, Constants(generator, frozen))
        self.frames = Program(draw, network, generator)

    def _step(
        self,
        state: TransferState,
        constants: Constants,
        source: jax.Array,
        identity: jax.Array,
        other: jax.Array,
    ) -> tuple[jax.Array, jax.Array]:
        """Losses [6], the sum first, and the length of the parameters' change."""
        batch = {"source": source, "identity": identity, "other_identity": other}
        after, metrics = self._phase.fn(state, constants, batch, self._key)
        squares = [
            jnp.sum(jnp.square(new - old))
            for new, old in zip(
                jax.tree.leaves(after.network), jax.tree.leaves(state.network), strict=True
            )
        ]
        return jnp.stack([*metrics.values()]), jnp.sqrt(jnp.sum(jnp.stack(squares)))


def workload(problem: TransferProblem, *, batch: int, rng: np.random.Generator) -> Workload:
    """Standard normal codes; frames uniform in [-1, 1]."""
    shape = (batch, problem.config.num_ws, problem.config.w_dim)
    identity, other = rng.standard_normal((2, *shape), dtype=np.float32)
    frames = rng.uniform(-1, 1, (batch, problem.side, problem.side, 3)).astype(np.float32)
    return Workload(
        batch=batch,
        calls=(
            Call("step", (frames, identity, other), outputs=("losses", "moved")),
            Call("frames", (identity[:1], frames), outputs=("images",)),
        ),
    )


def summary(report: Mapping[str, Any]) -> str:
    """Steps and frames a second of each batch size, beside the paper's."""
    published = (
        f'paper, 1024 px, "a modern GPU": {PAPER_IDENTITY} s for an identity, then '
        f"{PAPER_FRAMES} frames/s; baseline {PAPER_BASELINE} frames/s without its inversions"
    )
    return summary_lines(report, "Transfer", _told, published)


def _told(row: Mapping[str, Any]) -> str:
    seconds = row["seconds"]["median"]
    if row["method"] == "step":
        return f"{1 / seconds:.3g} training steps/s"
    return f"{row['batch'] / seconds:.3g} frames/s"


BENCHMARK = Benchmark(
    workload,
    Transfer,
    lpips=LPIPSConfig("alex"),
    completed=transfer_problem,
    summary=summary,
)
