"""What a network that no training reads says of a generator: gaze, mouths and glasses."""

import dataclasses
from collections.abc import Iterable, Sequence

import jax
import jax.numpy as jnp

from jaxface.evaluation.generator_draws import batches, draw, eight_bits
from jaxface.methods.attribute_regression import attribute_errors, attributes
from jaxface.morphable.worlds import World
from jaxface.nets import FaceReconstruction, Generator


@dataclasses.dataclass(frozen=True)
class JudgeScores:
    """What the network of the role ``attributes`` says.

    Attributes:
      frechet, frechet_floor: as of `jaxface.evaluation.generator.GeneratorScores`, in its features.
      renders: its own `attribute_errors`, of renders.
      samples: the same of samples, against the factors that they were drawn from; None for a
        generator whose z does not begin with them.
    """

    frechet: float
    frechet_floor: float
    renders: dict[str, float]
    samples: dict[str, float] | None


@jax.jit
def judge_features(judge: FaceReconstruction, images: jax.Array) -> jax.Array:
    """Of images [N, R, R, 3], [N, hidden]."""
    return judge.features(images)


_READ = 2_048
"""Portraits whose attributes are read."""


def errors_of_renders(
    judge: FaceReconstruction, of: World, key: jax.Array, size: int
) -> dict[str, float]:
    """`attribute_errors` of the judge itself."""
    rows = list(batches(key, _READ, of.num_factors, 64))
    return _errors(judge, rows, (eight_bits(of.render(of.scenes(row), size)) for row in rows))


def errors_of_samples(
    judge: FaceReconstruction, of: World, key: jax.Array, generator: Generator
) -> dict[str, float]:
    """The same of samples whose z begins with the factors."""
    latents = list(batches(key, _READ, generator.config.z_dim, 64))
    rows = [z[:, : of.num_factors] for z in latents]
    return _errors(judge, rows, (eight_bits(draw(generator, z)) for z in latents))


def _errors(
    judge: FaceReconstruction, rows: Sequence[jax.Array], batches: Iterable[jax.Array]
) -> dict[str, float]:
    read = jnp.concatenate([_read(judge, images) for images in batches])
    errors = attribute_errors(read, attributes(jnp.concatenate(rows)))
    return {name: float(value) for name, value in errors.items()}


@jax.jit
def _read(judge: FaceReconstruction, images: jax.Array) -> jax.Array:
    return judge(images)


def judge_rows(judge: JudgeScores) -> list[tuple[str, str]]:
    """Of the report: a measure and its value each."""
    rows = [
        (
            "Fréchet distance in the judge's features",
            f"{judge.frechet:.4f}, {judge.frechet / judge.frechet_floor:.1f} times the floor",
        )
    ]
    for name, label, shown in (
        ("gaze_degrees", "gaze, as the judge reads it", "{:.1f} degrees off"),
        ("jaw_open", "opening of the jaw, as the judge reads it", "{:.1%} of the range off"),
        ("glasses_accuracy", "glasses told right, balanced", "{:.3f}"),
    ):
        own = shown.format(judge.renders[name])
        value = own if judge.samples is None else shown.format(judge.samples[name])
        rows.append((label, f"{value} (renders {own})"))
    return rows
