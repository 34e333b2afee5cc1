"""Settings of Transfer's training, each with its source, and the presets.

Where the paper's text (Jahoda and Cech 2023) and the authors' code say different things, both can
be chosen. The code's mistakes in evaluation and command line are not among the choices.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jaxface.nets import TransferConfig
from jaxface.settings import check_words
from jaxface.training.recipe import Recipe

CODE_CROP = (55 / 256, 243 / 256, 32 / 256, 220 / 256)
"""Rows and columns of the cropped losses in shares of the side, as the code cuts them: a square 21
px of 256 lower than pSp's identity crop, and below the middle."""

CENTRE_CROP = (34 / 256, 222 / 256, 34 / 256, 222 / 256)
"""The same by the paper's words (section 3.2): the central 188 x 188 of 256."""

CODE_NORM_OFFSET = 1e8 - 1
"""What the code's copy of LPIPS adds to the squared length of every feature vector."""

TERMS = ("pixel", "perceptual", "identity", "contrast", "pixel_crop", "perceptual_crop")
"""The paper's losses, each with a weight of its name in `TransferSettings`; 0 leaves one out."""


@dataclasses.dataclass(frozen=True)
class TransferSettings:
    """Training of E_m and M, and of the generator where it is asked for.

    Attributes:
      network: sizes of E_m and M; results are compared at its ``resolution``.
      steps: of `batch_size` pairs each.
      batch_size: the paper's.
      microbatches: equal parts of a batch, whose gradients are accumulated; see docs/training.md.
        Batch normalisation takes the statistics of a part.
      learning_rate: of Ranger.
      encoder_learning_rate: of E_m, if it is another one; None for the same, as published. An M
        that begins as the identity is nearly right, a fresh E_m is not.
      last_learning_rate: share of the learning rates that is left after the last step, on a half
        cosine; 1 for constant ones, as published.
      pixel_weight: of equation 1, s_A beside g_AA.
      perceptual_weight: of equation 2.
      identity_weight: of equation 3.
      contrast_weight: of equation 5, CosFace on motion codes.
      pixel_crop_weight, perceptual_crop_weight: of the same two terms on the crop.
      latent_weight: of the mean square between the latent that M gives for s_A and t_A and the code
        E_i(s_A). Not the paper's: alone it needs no pass of the generator, and gives E_m and M a
        beginning at a quarter of a step's price.
      pixel: "mean_square" is the code's, "norm" the length that equation 1 prints.
      perceptual: "lpips" is the code's, "cosine" equation 2's: one minus the mean cosine of
        features, over positions and layers.
      distance: whose features: "lpips", the suite's network of that role, AlexNet in the paper; or
        "perceptual", the suite's own perceptual trunk with heads of one.
      lpips_norm_offset: see `CODE_NORM_OFFSET`; 0 is LPIPS.
      crop: first row, row after the last, first column and column after the last of the cropped
        terms, in shares of the side.
      identity_target: what equation 3 compares g_AB with: "reconstruction", what the generator
        makes of t_B's code, as in the code; or "target", t_B itself, as in the paper.
      identity_crop: what the recognition network sees: "whole", the image averaged to its side, as
        in the code; or "face", the crop that the network itself cuts out.
      contrast_scale: a of equation 4.
      contrast_margin: b of equation 4, without effect but for rounding.
      noise: of the generator while training: stored maps, or new ones each time as in the code.
      train_generator: the variant "Gen".
      encoder_start: of E_m: "random", or "recognition", the trunk of the suite's recognition
        network.
      mapper_start: of M: "constant", as in the code; "identity" begins with the inversion of t and
        is not the paper's.

    Raises:
      ValueError: a number or a word that a setting does not take.
    """

    network: TransferConfig
    steps: int
    batch_size: int = 8
    microbatches: int = 1
    learning_rate: float = 1e-5
    encoder_learning_rate: float | None = None
    last_learning_rate: float = 1.0
    pixel_weight: float = 0.0
    perceptual_weight: float = 0.05
    identity_weight: float = 0.3
    contrast_weight: float = 0.0
    pixel_crop_weight: float = 2.0
    perceptual_crop_weight: float = 0.3
    latent_weight: float = 0.0
    pixel: Literal["mean_square", "norm"] = "mean_square"
    perceptual: Literal["lpips", "cosine"] = "lpips"
    distance: Literal["lpips", "perceptual"] = "lpips"
    lpips_norm_offset: float = 0.0
    crop: tuple[float, float, float, float] = CODE_CROP
    identity_target: Literal["reconstruction", "target"] = "reconstruction"
    identity_crop: Literal["whole", "face"] = "whole"
    contrast_scale: float = 5.0
    contrast_margin: float = 0.2
    noise: Literal["const", "random"] = "const"
    train_generator: bool = False
    encoder_start: Literal["random", "recognition"] = "random"
    mapper_start: Literal["constant", "identity"] = "constant"

    def __post_init__(self):
        check_words(self)
        if not 0.0 <= self.last_learning_rate <= 1.0:
            raise ValueError(
                "TransferSettings: last_learning_rate must be in 0 to 1, got "
                f"{self.last_learning_rate}."
            )
        weights = {**self.weights, "latent": self.latent_weight}
        if min(weights.values()) < 0 or not any(weights.values()):
            raise ValueError(
                f"TransferSettings: weights must be >= 0, and one above it; got {weights}."
            )
        top, bottom, left, right = self.crop
        if not (0 <= top < bottom <= 1 and 0 <= left < right <= 1):
            raise ValueError(
                f"TransferSettings: crop must be rows and columns in 0 to 1, got {self.crop}."
            )

    @property
    def trains(self) -> str:
        """The role ``transfer``; with `train_generator` the run writes ``generator`` too."""
        return "transfer"

    @property
    def weights(self) -> Mapping[str, float]:
        """The paper's losses' weights by their names in `TERMS`."""
        return {name: getattr(self, f"{name}_weight") for name in TERMS}

    @property
    def fields(self) -> tuple[str, ...]:
        """What a batch must hold, see `jaxface.methods.transfer.losses.Batch`."""
        fields = ["source", "identity"]
        if self.identity_weight or self.contrast_weight:
            fields.append("other_identity")
        if self.identity_weight and self.identity_target == "target":
            fields.append("other_target")
        if self.contrast_weight:
            fields.append("other_source")
        if self.latent_weight:
            fields.append("source_identity")
        return tuple(fields)

    def recipe(
        self, *, key: Any, networks: Mapping[str, Any], held_out: Mapping[str, Any] | None
    ) -> Recipe:
        """The whole training, see `jaxface.methods.transfer.training.transfer_recipe`."""
        from jaxface.methods.transfer.training import transfer_recipe

        return transfer_recipe(self, key=key, networks=networks, held_out=held_out)

    def crop_at(self, side: int) -> tuple[slice, slice]:
        """Rows and columns of the crop in images of this side, rounded to pixels."""
        top, bottom, left, right = (round(share * side) for share in self.crop)
        return slice(top, bottom), slice(left, right)


PAPER = TransferSettings(TransferConfig(), steps=1_000_000)
"""The best model of the paper (section 3.4): batch 8, learning rate 1e-5, about a million steps."""

CODE = dataclasses.replace(
    PAPER,
    steps=500_000,
    batch_size=4,
    learning_rate=1e-4,
    noise="random",
    lpips_norm_offset=CODE_NORM_OFFSET,
)
"""The defaults of the authors' code. Its perceptual terms count for nothing (`CODE_NORM_OFFSET`),
and its targets are of the person, not of the clip: give the data ``target_from="identity"``."""

GEN = dataclasses.replace(PAPER, train_generator=True)
"""The variant "Gen" of Table 1: the generator trains too."""

COS = dataclasses.replace(PAPER, contrast_weight=0.1)
"""The variant "Cos" of Table 1. The paper gives no weight; this one is ours."""
