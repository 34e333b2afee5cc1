"""The frozen protocol of `jaxface evaluate reenactment`: clips, pairs, crops, units, reductions.

What is measured, of what, in which unit and by which network is written here and nowhere else, and
its digest stands in the results: two documents with one digest compare, others need not.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.morphable import FaceParameters, Scene
from jaxface.morphable.key_poses import WIDER, key_poses, moving_factors, through_key_poses
from jaxface.morphable.worlds import World

VERSION = 2
SEED = 40_000_007
"""Of the persons and their clips; no training and no other evaluation uses it."""

RANGE_SAMPLES = 2000
"""Scenes whose expressions give the coefficients' ranges (as many as the code of Bounareli et al.
2022 takes)."""

EXTREME = 15.0
"""Degrees between the source's rotation and the driver's from which a frame is of the extreme
split."""

NEAR = 0.6
"""Radians between the source's rotation and the driver's up to which the targets hold."""

KEYS = 4
"""Poses and expressions that a clip goes through, the first of them the source's."""

_RANGES = 0x72616E67
"""Folded into the seed's key, apart from every person's number."""


class Measure(NamedTuple):
    """A row of the tables.

    Attributes:
      title: with its unit.
      better: "higher" or "lower".
      compared: what a result is compared with, in self- and in cross-reenactment.
      how: of numbers, for the report.
    """

    title: str
    better: str
    compared: tuple[str, str]
    how: str = ".3f"


_TARGET = ("driving frame", "driving frame")
NETWORK_MEASURES: Mapping[str, Measure] = {
    "csim": Measure("CSIM", "higher", ("driving frame", "source")),
    "identity_still": Measure("CSIM of the reconstruction", "higher", ("source", "source")),
    "identity_perfect": Measure("CSIM of the perfect result", "higher", ("source", "source")),
    "identity_kept": Measure(
        "identity, share of the reconstruction's", "higher", ("source", "source")
    ),
    "perceptual": Measure("perceptual distance", "lower", ("driving frame", "-"), ".4f"),
    "fid": Measure("Fréchet distance", "lower", ("driving frames", "sources")),
    "nme": Measure("NME by the root of the face's box, 10^-3", "lower", _TARGET, ".1f"),
    "pose": Measure("pose, mean of three angles, degrees", "lower", _TARGET, ".2f"),
    "expression": Measure("expression, shares of the ranges", "lower", _TARGET, ".4f"),
    "expression_raw": Measure("expression, coefficients", "lower", _TARGET),
    "akd_fomm": Measure("AKD, mean of |x| and |y|, px of 256", "lower", _TARGET, ".2f"),
    "akd_l2": Measure("AKD, mean distance, px of 256", "lower", _TARGET, ".2f"),
    "aed_fomm": Measure("AED, embeddings of identity", "lower", ("driving frame", "source")),
    "aed_pirenderer": Measure("AED, all expression coefficients", "lower", _TARGET),
    "apd_pirenderer": Measure("APD, angles in rad and translation", "lower", _TARGET, ".4f"),
    "apd_radians": Measure("APD, angles in rad", "lower", _TARGET, ".4f"),
    "warping_error": Measure("warping error, 10^-3", "lower", ("driving clip's flow", "-")),
    "acceleration": Measure("landmarks' acceleration, px of 256", "lower", ("-", "-"), ".2f"),
}
"""By networks: what papers report. Between two people landmarks, and so NME and AKD, differ for a
perfect result too."""

_PERFECT = ("perfect result", "perfect result")
TRUE_MEASURES: Mapping[str, Measure] = {
    "csim": Measure("CSIM", "higher", _PERFECT),
    "perceptual": Measure("perceptual distance", "lower", _PERFECT, ".4f"),
    "fid": Measure("Fréchet distance", "lower", _PERFECT),
    "still_psnr": Measure("PSNR of the reconstruction, dB", "higher", ("source", "source"), ".2f"),
    "psnr": Measure("PSNR, dB", "higher", _PERFECT, ".2f"),
    "mouth_psnr": Measure("PSNR of the mouth, dB", "higher", _PERFECT, ".2f"),
    "eyes_psnr": Measure("PSNR of the eyes, dB", "higher", _PERFECT, ".2f"),
    "rotation": Measure("rotation of the fitted face, rad", "lower", ("truth", "truth"), ".4f"),
    "turn": Measure("rotation that is read, rad", "lower", ("truth", "truth"), ".4f"),
    "landmarks": Measure(
        "landmarks of the true identity, % of the face", "lower", ("truth", "truth"), ".2f"
    ),
    "nme": Measure("NME, 10^-3", "lower", ("true landmarks", "true landmarks"), ".1f"),
    "pose": Measure("pose, degrees", "lower", ("truth", "truth"), ".2f"),
    "expression": Measure("expression, shares of the ranges", "lower", ("truth", "truth"), ".4f"),
    "expression_raw": Measure("expression, coefficients", "lower", ("truth", "truth")),
    "akd_l2": Measure(
        "AKD, mean distance, px of 256", "lower", ("true landmarks", "true landmarks"), ".2f"
    ),
    "warping_error": Measure("warping error, 10^-3", "lower", ("exact flow", "exact flow")),
    "acceleration": Measure("acceleration beyond the truth's", "lower", ("truth", "truth"), ".2f"),
}
"""By the truth: against the render of the subject with the driver's rotation and expression, and
its parameters. Pose is that of the true face fitted to the result; expression is what the
reconstruction network reads of it, against the true coefficients. "turn" is the angle between the
rotation that it reads and the true one; "landmarks" are those of the subject's true face with what
it reads of rotation and expression."""

CORRELATED = ("csim", "perceptual", "nme", "pose", "expression", "akd_l2")
"""Network judges whose ranks of frames are compared with the truth's."""
CORRELATED_WITH: Mapping[str, str] = {"pose": "rotation", "expression": "mouth_psnr"}
"""The truth that stands against a judge, where it is not of the same name: an error of expression
against the mouth's PSNR, with its sign turned."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How much is measured.

    Attributes:
      persons: each is a subject once by its own clip and once by the next person's; >= 2.
      frames: of a clip, at 25 a second; >= 3.
      iterations: factor of the numbers of steps of a method's inversion.
    """

    persons: int = 6
    frames: int = 8
    iterations: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """Everything that is frozen."""
        measures = {
            name: {key: each._asdict() for key, each in some.items()}
            for name, some in (("network", NETWORK_MEASURES), ("truth", TRUE_MEASURES))
        }
        constants = {
            "version": VERSION,
            "seed": SEED,
            "range_samples": RANGE_SAMPLES,
            "extreme_degrees": EXTREME,
            "near_radians": NEAR,
            "keys": KEYS,
            "wider": WIDER,
            "correlated": list(CORRELATED),
            "correlated_with": dict(CORRELATED_WITH),
            "crop": "the whole portrait, aligned as the world draws it",
            "reduction": "mean over a clip's frames, then over clips",
        }
        return {**dataclasses.asdict(self), **constants, "measures": measures}

    @property
    def digest(self) -> str:
        """SHA-256 of `to_json`."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class PersonClip(NamedTuple):
    """A clip of a person of the world.

    Attributes:
      scenes: its T frames; the first is the source.
    """

    scenes: Scene

    @property
    def face(self) -> FaceParameters:
        """Of the frames."""
        return self.scenes.face


def person_clip(protocol: Protocol, number: int, of: World) -> PersonClip:
    """The clip of a person of a world; another number of persons leaves it as it is."""
    return random_clip(jax.random.fold_in(jax.random.key(SEED), number), protocol.frames, of)


def random_clip(key: jax.Array, frames: int, of: World) -> PersonClip:
    """A clip of a person of an embedded world; traceable.

    The head goes smoothly through `KEYS` poses, and the face through as many expressions; light,
    hair, clothes, backdrop and place stay.
    """
    return PersonClip(of.scenes(random_factors(key, frames, of)))


def random_factors(key: jax.Array, frames: int, of: World) -> jax.Array:
    """The whitened factors of `random_clip`, [T, of.num_factors]."""
    person, moving = jax.random.split(key)
    u = jax.random.normal(person, (of.num_factors,))
    at = jnp.linspace(0, KEYS - 1, frames)
    return through_key_poses(u, key_poses(moving, KEYS, of), at, of)


def perfect_factors(protocol: Protocol, subject: int, driver: int, of: World) -> jax.Array:
    """The factors of `perfect_scenes` of two numbered persons, [T, of.num_factors]."""
    own, other = (
        random_factors(jax.random.fold_in(jax.random.key(SEED), number), protocol.frames, of)
        for number in (subject, driver)
    )
    moving = moving_factors(of)
    return jnp.broadcast_to(own[:1], own.shape).at[:, moving].set(other[:, moving])


def perfect_scenes(subject: PersonClip, driver: PersonClip) -> Scene:
    """The subject with the driver's rotation and expression: what a perfect method shows."""
    face = dataclasses.replace(
        subject.face, rotation=driver.face.rotation, expression=driver.face.expression
    )
    still = jax.tree.map(
        lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), subject.scenes.nuisance
    )
    return Scene(face, still)


def expression_ranges(of: World) -> np.ndarray:
    """The least and the largest of each expression coefficient over the world, [64, 2]."""
    key = jax.random.fold_in(jax.random.key(SEED), _RANGES)
    u = jax.random.normal(key, (RANGE_SAMPLES, of.num_factors))
    values = np.asarray(of.scenes(u).face.expression)
    return np.stack([values.min(axis=0), values.max(axis=0)], axis=1)
