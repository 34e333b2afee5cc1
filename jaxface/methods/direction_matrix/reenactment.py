"""Reenactment by a direction matrix: w_r = w_s + A (p_t - p_s), section 3 of the paper.

A portrait is embedded, and the generator may be tuned to it as PTI does, from the suite's own
weights each time: the authors' code tunes one generator in place, so that every further source
begins where the last one ended. Each driving frame moves the source's latent anew.

Motion is absolute, as in the paper: the subject takes the driver's own numbers. Or it is the change
since a neutral of the driver's. Numbers that a driver does not determine, such as expressions of
another face model, stay the subject's. The code draws every image with a truncation psi, which
brings embedded codes and shifts nearer to the mean of W: here the encoder truncates its codes and
shifts are scaled by psi, which is the same.

Not in the paper: rounds of feedback, PIE's, in which what the frame is read to have is subtracted
from what it was to have, and the difference is added to the change. Directions are straight lines,
and heads turn along none.
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxface.errors import SuiteError
from jaxface.methods import encoder, pti, z_projection
from jaxface.methods.direction_matrix.columns import column_values, columns_given
from jaxface.methods.direction_matrix.faces import Faces, suite_faces
from jaxface.methods.inversion import Inverter
from jaxface.methods.latent_subjects import (
    RelativeTo,
    check_settings,
    embedded,
    neutral_of,
    subject_latent,
)
from jaxface.methods.reenactment import Driving, Moved, Subject
from jaxface.morphable.motion import MOTION_GROUPS, Motion
from jaxface.nets import DirectionMatrix, Generator
from jaxface.suite import Suite
from jaxface.vocabulary import ANGLES

CODE_TUNING = pti.Settings(
    l2_weight=100.0,
    steps=200,
    learning_rate=3e-3,
    stop_below=None,
    first_resolution=32,
    tunes_rgb=False,
)
"""The authors' ``optimize_g``: LPIPS on AlexNet, the convolutions from 32 px on, with their styles,
biases and strengths of noise. PTI's own are 3e-4, 350 steps and all layers."""

PUBLISHED_INVERSION = pti.PivotalTuning(encoder.E4E, CODE_TUNING)
"""e4e's code, and the generator tuned to it."""

EMBEDDED_TUNING = dataclasses.replace(
    CODE_TUNING, distance="perceptual", lpips_weight=0.05, steps=60, learning_rate=1e-3
)
"""For the embedded suites, which have no LPIPS network: its form on their perceptual features."""


@struct.dataclass
class MatrixNetworks:
    """What reads and moves subjects, but for the generator; a pytree."""

    matrix: DirectionMatrix
    faces: Faces


@dataclasses.dataclass(frozen=True)
class MatrixReenactment:
    """Settings, and the `jaxface.methods.reenactment.Reenactor` that they are.

    Attributes:
      inversion: how the subject is embedded, and the generator tuned to it where that does so.
      truncation: psi that the matrix was trained with, by which its shifts are scaled.
      groups: that follow the driver, out of "pose" and "expression".
      feedback: rounds of it, each of which draws and reads the frames once more; 0 as published.
      corrected: columns that feedback corrects, best those that the reading network sees well:
        others cost the person's looks. None: all that follow.
      relative_to: None: absolute, the subject takes the driver's values. Else relative: the change
        since this frame of the driver's clip, or since the clip's "mean".
    """

    inversion: Inverter = PUBLISHED_INVERSION
    truncation: float = 1.0
    groups: tuple[str, ...] = MOTION_GROUPS
    feedback: int = 0
    corrected: tuple[str, ...] | None = None
    relative_to: RelativeTo = None

    def __post_init__(self):
        check_settings(
            "MatrixReenactment",
            groups=self.groups,
            feedback=self.feedback,
            relative_to=self.relative_to,
        )

    @property
    def requires(self) -> tuple[str, ...]:
        """Motion alone."""
        return ("motion",)

    def roles(self) -> dict[str, str]:
        """What the embedding and the matrix need."""
        return {**self.inversion.roles(), **self.driving_roles()}

    def driving_roles(self) -> dict[str, str]:
        """What is needed once the subject is embedded; DECA may stand in for reconstruction."""
        return {"generator": "It draws", "direction_matrix": "Moving the subject needs it"}

    def adapt(self, suite: Suite, frames: Any, *, keys: jax.Array) -> Subject:
        """The subject of one frame, embedded and with a generator of its own.

        Args:
          suite: has the networks of `roles`.
          frames: [1, R, R, 3] in [-1, 1] with R the generator's resolution.
          keys: [1] typed keys; what the inversion samples beforehand is drawn from it too.

        Raises:
          ValueError: wrong shapes, or more than one frame.
          JaxfaceError: the inversion diverged.
        """
        result = embedded("MatrixReenactment", self.inversion, suite, frames, keys=keys)
        generator = None
        if result.weights is not None:
            generator = pti.changed_generator(suite.generator, result.weights, 0)
        return self.subject(suite, result.w_plus, generator=generator)

    def subject(self, suite: Suite, w_plus: Any, *, generator: Generator | None = None) -> Subject:
        """The subject of a latent that there is already, [1, L, w_dim].

        Args:
          suite: has the networks of `roles` but for the inversion's.
          w_plus: the latent, which the generator draws as it is.
          generator: one that was tuned to the subject; None: the suite's.

        Raises:
          ValueError: wrong shapes.
        """
        generator = suite.generator if generator is None else generator
        w_plus = subject_latent("MatrixReenactment", generator, w_plus)
        motion = _seen(self.networks(suite), generator, w_plus)
        return Subject(suite, w_plus, motion, generator)

    def drive(self, subject: Subject, driving: Driving) -> jax.Array:
        """See `jaxface.methods.reenactment.Reenactor.drive`.

        Raises:
          ValueError: the frames have no motion, or no frame `relative_to`.
        """
        driving.check("MatrixReenactment", self.requires)
        assert driving.motion is not None
        assert driving.whole is not None
        neutral = None
        if self.relative_to is not None:
            neutral = neutral_of("MatrixReenactment", driving.whole, self.relative_to)
        networks = self.networks(subject.suite)
        change, follows = self._change(networks.matrix, subject.motion, driving.motion, neutral)
        w_plus = _driven(
            networks,
            subject.generator,
            subject.w_plus,
            subject.motion,
            change,
            self._corrects(networks.matrix, follows),
            self.truncation,
            self.feedback,
        )
        # A program of its own, which draws equal latents equally whatever moved them.
        return _draw(subject.generator, w_plus)

    def following(self, groups: tuple[str, ...]) -> "MatrixReenactment":
        """See `jaxface.methods.reenactment.BatchReenactor.following`."""
        kept = tuple(group for group in self.groups if group in groups)
        return dataclasses.replace(self, groups=kept)

    def networks(self, suite: Suite) -> MatrixNetworks:
        """What reads and moves.

        Raises:
          SuiteError: the suite lacks a network, or its matrix is of another face model.
        """
        matrix, faces = suite.direction_matrix, suite_faces(suite)
        if matrix.config.basis != faces.basis:
            raise SuiteError(
                f"suite {suite.name!r}: the direction_matrix has expressions of "
                f"{matrix.config.basis!r}, and its networks read {faces.basis!r}"
            )
        return MatrixNetworks(matrix, faces)

    def read(self, networks: MatrixNetworks, images: Any) -> Motion:
        """See `BatchReenactor.read`."""
        return networks.faces.motion(networks.faces.read(images))

    def draw(self, generator: Generator, w_plus: Any, *, noise: Literal["const", "none"]) -> Any:
        """See `jaxface.methods.reenactment.BatchReenactor.draw`."""
        return generator.synthesis(w_plus, noise=noise)

    def move(
        self,
        networks: MatrixNetworks,
        generator: Generator,
        w_plus: Any,
        own: Motion,
        wanted: Motion,
        *,
        noise: Literal["const", "none"],
    ) -> Moved:
        """See `BatchReenactor.move`; motion is absolute here, `relative_to` is of no effect."""
        change, follows = self._change(networks.matrix, own, wanted, None)
        values = column_values(networks.matrix.names, networks.matrix.config.basis, own)
        moved = _move(
            networks,
            generator,
            w_plus,
            networks.matrix.rescaled(values),
            change,
            self._corrects(networks.matrix, follows),
            truncation=self.truncation,
            feedback=self.feedback,
            noise=noise,
        )
        return Moved(moved, self.draw(generator, moved, noise=noise))

    def _corrects(self, matrix: DirectionMatrix, follows: np.ndarray) -> jax.Array:
        """The columns that feedback corrects, [K] bool."""
        names = matrix.names if self.corrected is None else self.corrected
        return jnp.asarray(follows & np.isin(matrix.names, names))

    def _change(
        self, matrix: DirectionMatrix, own: Motion, wanted: Motion, neutral: Motion | None
    ) -> tuple[jax.Array, np.ndarray]:
        """dp [T, K], and the columns that follow the driver, [K] bool; in the others dp is 0."""
        names, basis = matrix.names, matrix.config.basis
        there = column_values(names, basis, wanted)
        begin = column_values(names, basis, own if neutral is None else neutral)
        follows = columns_given(names, basis, wanted)
        follows &= [("pose" if name in ANGLES else "expression") in self.groups for name in names]
        return jnp.where(follows, (there - begin) * matrix.slope[...], 0.0), follows


@jax.jit
def _seen(networks: MatrixNetworks, generator: Generator, w_plus: jax.Array) -> Motion:
    """The motion of what a generator draws."""
    return networks.faces.motion(networks.faces.read(generator.synthesis(w_plus)))


def _move(
    networks: MatrixNetworks,
    generator: Generator,
    w_plus: jax.Array,
    own: jax.Array,
    change: jax.Array,
    corrected: jax.Array,
    *,
    truncation: float,
    feedback: int,
    noise: Literal["const", "none"] = "const",
) -> jax.Array:
    """Latents [N, L, w_dim] of the rescaled numbers `own` [N, K], changed by dp [N, K].

    Feedback corrects some columns [K], of rows that move at all: one that does not is left as it
    is, bit for bit.
    """
    matrix, faces = networks.matrix, networks.faces
    wanted = own + change
    corrects = corrected & jnp.any(change != 0, axis=1, keepdims=True)
    moved = matrix(w_plus, change, scale=truncation)
    for _ in range(feedback):
        motion = faces.motion(faces.read(generator.synthesis(moved, noise=noise)))
        seen = column_values(matrix.names, matrix.config.basis, motion)
        change = change + jnp.where(corrects, wanted - matrix.rescaled(seen), 0.0)
        moved = matrix(w_plus, change, scale=truncation)
    return moved


@functools.partial(jax.jit, static_argnames=("truncation", "feedback"))
def _driven(
    networks: MatrixNetworks,
    generator: Generator,
    w_plus: jax.Array,
    motion: Motion,
    change: jax.Array,
    corrected: jax.Array,
    truncation: float,
    feedback: int,
) -> jax.Array:
    """Latents of one subject's frames, [T, L, w_dim]."""
    matrix = networks.matrix
    own = matrix.rescaled(column_values(matrix.names, matrix.config.basis, motion))
    w_plus = jnp.repeat(w_plus, len(change), axis=0)
    options = {"truncation": truncation, "feedback": feedback}
    return _move(networks, generator, w_plus, own, change, corrected, **options)


@jax.jit
def _draw(generator: Generator, w_plus: jax.Array) -> jax.Array:
    return generator.synthesis(w_plus)


PAPER = MatrixReenactment()
"""The paper's: e4e and pivotal tuning, with the code's constants, which the paper leaves out."""
CODE = MatrixReenactment(
    inversion=pti.PivotalTuning(encoder.Settings("e4e", truncation=0.7), CODE_TUNING),
    truncation=0.7,
)
"""The authors' ``run_inference.py``: every image is drawn with a truncation of 0.7."""
EMBEDDED = MatrixReenactment(
    inversion=z_projection.EMBEDDED, feedback=2, corrected=(*ANGLES, "jaw_open", "smile")
)
"""For the embedded suite: sources are embedded in Z, where the samples lie that the matrix learned
to move, and no generator is tuned. Feedback corrects what the reconstruction network reads best;
docs/direction_matrix.md has what each of this does."""

EMBEDDED_ENCODER = MatrixReenactment(
    inversion=pti.PivotalTuning(encoder.E4E, dataclasses.replace(EMBEDDED_TUNING, steps=200)),
    feedback=1,
    corrected=ANGLES,
)
"""As the paper embeds: the suite's encoder, and 200 steps of tuning."""
