"""What a direction matrix is trained on: losses, stages, and the published choices."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax

from jaxface.data.sources import DataSource
from jaxface.losses.face_shape import Reading
from jaxface.methods.direction_matrix.faces import AngleReading
from jaxface.settings import check_words
from jaxface.training.recipe import Recipe

Kind = Literal["synthetic", "mixed", "paired"]
Perceptual = Literal["lpips", "vgg", "features"]

ROWS = 8
"""Of W+ that move: those of the layers up to 32 px (section 4: L = 8)."""
SPREAD = 6.0
"""a (``shift_scale``)."""
ANGLE_REACH = {"yaw": 40.0, "pitch": 20.0, "roll": 20.0}
"""Degrees that the code rescales to a, whatever the estimated ranges are."""
PERCEPTUAL_ROLES: Mapping[Perceptual, str] = {
    "lpips": "lpips",
    "vgg": "perceptual",
    "features": "perceptual",
}


@dataclasses.dataclass(frozen=True)
class Losses:
    """Weights and readings of equations 3 to 7.

    The paper gives no weights; all are those of the code (``libs/configs/config_arguments.py``).

    Attributes:
      shape_weight: of L_sh.
      eye_weight: of L_eye.
      mouth_weight: of L_mouth.
      identity_weight: lambda_id.
      perceptual_weight: lambda_per.
      pixel_weight: lambda_pix, of differences in [0, 255]; of paired stages.
      latent_weight: of the mean absolute difference of latents, off in the code; of paired stages.
      distances: how L_eye and L_mouth compare landmarks, see `jaxface.losses.face_shape`.
      perceptual: what L_per is. "lpips": LPIPS, as in the code; "vgg": the squared differences of
        VGG-16's features that the paper cites (Johnson et al. 2016); "features": LPIPS's form on
        the suite's perceptual features, for suites without LPIPS.
      paired_in_bytes: whether L_per of paired stages is of images in [0, 255], which the code gives
        to a network that expects [-1, 1].
      paired_identity: whose shape a paired stage wants: the "source"'s with the target's pose and
        expression, as in equation 1, or the "target"'s own, as in the code.
    """

    shape_weight: float = 1.0
    eye_weight: float = 1.0
    mouth_weight: float = 1.0
    identity_weight: float = 10.0
    perceptual_weight: float = 10.0
    pixel_weight: float = 1.0
    latent_weight: float = 0.0
    distances: Reading = "paper"
    perceptual: Perceptual = "vgg"
    paired_in_bytes: bool = False
    paired_identity: Literal["source", "target"] = "source"

    def __post_init__(self):
        check_words(self)


PAPER_LOSSES = Losses()
CODE_LOSSES = Losses(
    distances="code", perceptual="lpips", paired_in_bytes=True, paired_identity="target"
)


@dataclasses.dataclass(frozen=True)
class MatrixStage:
    """A stage of the training.

    Attributes:
      kind: "synthetic": sources and targets are sampled; "mixed": half of the sources are embedded
        portraits; "paired": source and target are frames of one clip.
      steps: of it.
      batch_size: even.
    """

    kind: Kind
    steps: int
    batch_size: int = 12

    def __post_init__(self):
        if self.kind not in ("synthetic", "mixed", "paired"):
            raise ValueError(
                f"MatrixStage: kind must be synthetic, mixed or paired, got {self.kind!r}."
            )
        if self.steps < 1 or self.batch_size < 2 or self.batch_size % 2:
            raise ValueError(
                f"MatrixStage: expected steps and an even batch_size, got {self.steps} and "
                f"{self.batch_size}."
            )


@dataclasses.dataclass(frozen=True)
class MatrixSettings:
    """Training of a direction matrix; a `jaxface.training.recipe.Trainable`.

    Attributes:
      stages: one after the other; the optimiser's state goes on.
      losses: weights and readings.
      expressions: coefficients that have a column, the first ones of the basis: the code has jaw
        and 11 of DECA's, which are the paper's m_e = 12.
      angles: of the head that have a column.
      rows: of W+ that move; fewer where the generator has fewer.
      bias: dw = A dp + b, as in the code.
      initial: "normal", of deviation 0.03; or "eye": the first coordinates of every row are the
        columns'.
      spread: a.
      samples: that ranges are estimated from; the code's 2000, the paper's 10K.
      fixed_angles: whether angles are rescaled by `ANGLE_REACH` in place of their ranges.
      truncation: psi of every image, of embedded codes too.
      half: which of a batch changes one number alone. "second": the second half, which in mixed
        stages are the sampled sources, as in the code; "alternate": every other item of either.
      single: what is uniform in [-a, a] there: the "change" (the paper), or the number that
        "results" (the code).
      angle_reading: see `jaxface.methods.direction_matrix.faces`; of FLAME alone.
      portraits: data with an ``image``, for mixed stages.
      pairs: data with an ``image`` [N, 2, ...] of two frames of a clip, for paired stages.
      embedded: portraits, and pairs, that the encoder embeds before the first step.
      learning_rate: of Adam.
      cosine: whether it falls to zero over all stages.
      weight_decay: L2 in the gradient, as torch's Adam has it.
      ema_half_life: of the EMA of the matrix, in items; 0 for none, as published.
      microbatches: equal parts of a batch whose gradients are accumulated; see docs/training.md.
      known_scenes: see `jaxface.methods.rignet.RigNetSettings`.
    """

    stages: tuple[MatrixStage, ...]
    losses: Losses = PAPER_LOSSES
    expressions: int = 11
    angles: tuple[str, ...] = ("yaw", "pitch", "roll")
    rows: int = ROWS
    bias: bool = False
    initial: Literal["normal", "eye"] = "normal"
    spread: float = SPREAD
    samples: int = 10_000
    fixed_angles: bool = False
    truncation: float = 1.0
    half: Literal["second", "alternate"] = "alternate"
    single: Literal["change", "result"] = "change"
    angle_reading: AngleReading = "exact"
    portraits: DataSource | None = None
    pairs: DataSource | None = None
    embedded: int = 2_000
    learning_rate: float = 1e-4
    cosine: bool = False
    weight_decay: float = 0.0
    ema_half_life: float = 0.0
    microbatches: int = 1
    known_scenes: bool = False

    def __post_init__(self):
        if not self.stages:
            raise ValueError("MatrixSettings: expected one stage or more.")
        check_words(self)
        if min(self.samples, self.embedded) < 2 or self.rows < 1 or not self.spread > 0:
            raise ValueError(
                "MatrixSettings: expected samples and embedded >= 2, rows >= 1 and spread > 0, got "
                f"{self.samples}, {self.embedded}, {self.rows} and {self.spread}."
            )

    @property
    def trains(self) -> str:
        """The role ``direction_matrix``."""
        return "direction_matrix"

    @property
    def steps(self) -> int:
        """Of all stages."""
        return sum(stage.steps for stage in self.stages)

    def recipe(
        self, *, key: jax.Array, networks: Mapping[str, Any], held_out: Mapping[str, Any] | None
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`.

        Reads a generator, what reads faces, ``recognition``, the perceptual network, and for mixed
        and paired stages an ``encoder``. Begins with ``direction_matrix`` where it is given.

        Raises:
          UsageError: a network or data is missing or does not fit.
        """
        from jaxface.methods.direction_matrix.training import matrix_recipe

        return matrix_recipe(self, key=key, networks=networks, held_out=held_out)


PUBLISHED_STAGES = (MatrixStage("mixed", 20_000), MatrixStage("paired", 150_000))
"""Section 4: 20K iterations on synthetic and real images, 150K on pairs."""

PAPER = MatrixSettings(PUBLISHED_STAGES)
"""The paper's text, with the code's weights where it gives none."""

CODE = MatrixSettings(
    PUBLISHED_STAGES,
    losses=CODE_LOSSES,
    bias=True,
    samples=2_000,
    fixed_angles=True,
    truncation=0.7,
    half="second",
    single="result",
    angle_reading="code",
    weight_decay=5e-4,
)
"""What the authors' code does, its mistakes included: docs/direction_matrix.md lists them."""

EMBEDDED = MatrixSettings(
    (MatrixStage("synthetic", 1_000),),
    losses=Losses(
        identity_weight=40.0, perceptual_weight=1.0, distances="code", perceptual="features"
    ),
    expressions=14,
    samples=4_096,
    single="result",
    learning_rate=3e-3,
    cosine=True,
)
"""For the embedded suite, at 64 px: configs/embedded_direction_matrix.py."""
