"""Whether computing in bfloat16 costs quality: the same portraits inverted in both.

An inversion ends where its start leads it, so a difference of the ends means something only beside
how far apart equal runs end. Each key gives a run a start of its own, the mean of `START_SAMPLES`
random latents in W, as PTI's and StyleGAN2's projectors take it (600 and 10,000 of them; PTI's
``w_projector.py``, ``w_avg_samples``), and its samples of v where the energy has some. The standard
deviation of float32 runs over the keys is the noise; bfloat16 passes where it is worse by no more
than `TOLERANCE` of these.

Both runs' latents are judged in float32.
"""

import dataclasses
import functools
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.evaluation.generator_draws import SEED, renders
from jaxface.evaluation.outputs import Outcome, Workspace
from jaxface.evaluation.pie import scaled
from jaxface.keys import item_keys
from jaxface.methods import inversion, pie, presets
from jaxface.methods.pie.energy import evaluate
from jaxface.methods.pie.inversion import read_targets
from jaxface.metrics import psnr
from jaxface.runtime.devices import divisor_mesh
from jaxface.suite import Suite

START_SAMPLES = 600
TOLERANCE = 2.0
DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Parity:
    """What the runs of both dtypes reached.

    Attributes:
      loss: by dtype, the final energy of each run, its mean over the portraits: [keys].
      psnr: likewise, in dB.
      portraits: how many.
    """

    loss: dict[str, list[float]]
    psnr: dict[str, list[float]]
    portraits: int

    def difference(self, measure: str) -> float:
        """Mean over bfloat16's runs less mean over float32's, of "loss" or "psnr"."""
        runs = getattr(self, measure)
        return statistics.fmean(runs["bfloat16"]) - statistics.fmean(runs["float32"])

    def noise(self, measure: str) -> float:
        """Standard deviation over float32's runs."""
        return statistics.stdev(getattr(self, measure)["float32"])

    def within(self, measure: str) -> bool:
        """Whether bfloat16 is worse by no more than `TOLERANCE` times the noise, or better."""
        worse = self.difference(measure) * {"loss": 1, "psnr": -1}[measure]
        return worse <= TOLERANCE * self.noise(measure)

    @property
    def passed(self) -> bool:
        """Whether both measures are within."""
        return self.within("loss") and self.within("psnr")

    def document(self) -> dict[str, Any]:
        """Every number and verdict, in JSON's types."""
        return dataclasses.asdict(self) | {
            "tolerance": TOLERANCE,
            "passed": self.passed,
            **{
                f"{measure}_{name}": getattr(self, name)(measure)
                for measure in ("loss", "psnr")
                for name in ("difference", "noise", "within")
            },
        }


def evaluate_precision(
    suite: Suite,
    settings: pie.Settings,
    *,
    portraits: int = 8,
    keys: int = 4,
    say: Callable[[str], None] = lambda text: None,
) -> Parity:
    """Inverts held-out renders in float32 and in bfloat16, with several keys each.

    Args:
      suite: has the networks that the settings' terms need.
      settings: how the portraits are inverted; their dtype is replaced, and a bank is not used.
      portraits: how many, >= 1.
      keys: runs of each dtype, >= 2.
      say: receives a line before each run.

    Raises:
      ValueError: fewer keys.
      SuiteError: the suite lacks a network.
    """
    if keys < 2:
        raise ValueError(f"evaluate_precision: keys must be >= 2 to tell the noise, got {keys}.")
    generator, mesh = suite.generator, divisor_mesh(portraits)
    names = [f"held-{number}" for number in range(portraits)]
    (images,) = renders(jax.random.key(SEED), portraits, generator.resolution, portraits)
    exact = dataclasses.replace(settings.sampled(), dtype="float32")
    networks = pie.networks_of(suite, exact, models=None, bank=None)
    judge = _Judge(exact, networks, images, item_keys(jax.random.key(SEED), names))
    loss, ratio = {}, {}
    for dtype in DTYPES:
        chosen = dataclasses.replace(exact, dtype=dtype)
        program = inversion.compiled(chosen, generator.config, mesh=mesh)
        networks = pie.networks_of(suite, chosen, models=None, bank=None)
        loss[dtype], ratio[dtype] = [], []
        for number in range(keys):
            say(f"inverting {portraits} portraits in {dtype}, run {number + 1} of {keys}")
            key = jax.random.key(number)
            started = networks.generator.with_w_mean(_start(generator, key))
            own = networks._replace(generator=started)
            result = inversion.run(program, own, images, item_keys(key, names))
            energy, decibels = judge(result.w_plus)
            loss[dtype].append(energy)
            ratio[dtype].append(decibels)
    return Parity(loss, ratio, portraits)


class _Judge:
    """The energy and the PSNR of latents, in float32 and with the same v for all."""

    def __init__(
        self, settings: pie.Settings, networks: pie.Networks, images: jax.Array, keys: jax.Array
    ):
        self._networks, self._images, self._keys = networks, images, keys
        self._noise = "none" if settings.noise == "none" else "const"
        self._targets = jax.jit(functools.partial(read_targets, settings))(networks, images)
        self._measure = jax.jit(functools.partial(evaluate, settings), static_argnames="noise")

    def __call__(self, w_plus: np.ndarray) -> tuple[float, float]:
        """Means over the portraits."""
        energies, _, images = self._measure(
            w_plus, self._networks, self._targets, self._keys, noise=self._noise
        )
        ratios = psnr(jnp.clip(images, -1, 1), self._images)
        return float(jnp.mean(energies)), float(jnp.mean(ratios))


@jax.jit
def _start(generator: Any, key: jax.Array) -> jax.Array:
    z = jax.random.normal(key, (START_SAMPLES, generator.config.z_dim))
    return jnp.mean(generator.mapping.to_w(z), axis=0)


def precision_report(suite: Suite, preset: str, parity: Parity) -> str:
    """A table of both dtypes' runs, in Markdown."""
    lines = [
        f"# bfloat16 beside float32: {preset} on the suite {suite.name}",
        "",
        f"{parity.portraits} held-out renders, {len(parity.loss['float32'])} runs of each dtype "
        "that differ in their starts; means over the portraits, latents judged in float32.",
        "",
        "| | float32 | bfloat16 | difference | noise of a float32 run | within |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for measure, name in (("loss", "energy"), ("psnr", "PSNR, dB")):
        means = [statistics.fmean(getattr(parity, measure)[dtype]) for dtype in DTYPES]
        numbers = [*means, parity.difference(measure), parity.noise(measure)]
        cells = [f"{number:.4g}" for number in numbers]
        verdict = "yes" if parity.within(measure) else "no"
        lines.append(f"| {name} | {' | '.join(cells)} | {verdict} |")
    lines += ["", f"Within: worse by no more than {TOLERANCE:g} times the noise, or better."]
    return "\n".join(lines) + "\n"


def run(
    suite: Suite,
    workspace: Workspace,
    *,
    portraits: int,
    iterations: float,
    preset: str,
    runs: int,
) -> Outcome:
    """The evaluation of `jaxface evaluate precision`; see `jaxface.evaluation.Evaluation`.

    Args:
      suite: see `evaluate_precision`.
      workspace: receives ``precision.md`` and ``precision.json``.
      portraits: held-out renders, >= 1.
      iterations: factor of the preset's numbers of steps, > 0.
      preset: a name of `jaxface.methods.presets` that inverts by PIE's energy.
      runs: of each dtype, >= 2.

    Returns:
      Passed if bfloat16 is within the noise of float32.

    Raises:
      UsageError: an unknown preset.
      SuiteError: the suite lacks a network.
    """
    settings = scaled(presets.preset(preset), iterations)
    parity = evaluate_precision(suite, settings, portraits=portraits, keys=runs, say=workspace.say)
    report = precision_report(suite, preset, parity)
    document = {"suite": suite.name, "preset": preset, **parity.document()}
    workspace.write("precision", report, document)
    return Outcome(report, parity.passed)
