"""Settings of the Latent Difference Encoder's training, each with its source, and the presets.

The paper (Herrmann and Zengerle 2020) has one loss and prints no number. The authors' code has one
branch for each row of its table; its weights are here by the branch's number. A training differs
from those in what each preset's words say and in nothing else: networks, batches and schedule are
the code's where it says nothing.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jaxface.methods import encoder
from jaxface.nets import (
    DiscriminatorConfig,
    KeypointConfig,
    LatentDifferenceConfig,
    NaiveConfig,
    StyleGAN1DiscriminatorConfig,
)
from jaxface.nets.edits import latent_difference as networks
from jaxface.settings import check_words
from jaxface.training.recipe import Recipe

CODE_ADVERSARIAL = 0.05
"""``D_scale`` of master's ``loss_encoder.py``."""

HIGHER_ADVERSARIAL = 0.2
"""Four times as much, in the branches 58, 59 and 61."""

CODE_PERCEPTUAL = 5e-5
"""``feature_scale``, of the mean squared difference of VGG-16's features of images in 0..255."""

CODE_LAST_RATE = 0.8**2
"""A step counts twice in the code's learning rate schedule, 0.8 for each quarter of the
iterations: its step counter hangs on both optimisers."""

IMAGE_TERMS = ("pixel", "perceptual")


@dataclasses.dataclass(frozen=True)
class LatentDifferenceSettings:
    """Training of an encoder of landmarks and of its conditional discriminator.

    What is trained follows from `network`: the difference of a code by a landmark image or by
    coordinates, or a code of portrait and landmark image at once ("naive").

    Attributes:
      network: sizes and form of the encoder.
      discriminator: of the discriminator: StyleGAN2's, or StyleGAN's first as in the code. Six
        channels, portrait before landmark image.
      steps: of `batch_size` portraits each, one of the encoder and one of the discriminator.
      batch_size: the code's at 128 px.
      microbatches: equal parts of a batch, whose gradients are accumulated; see docs/training.md.
        Batch normalisation takes the statistics of a part.
      learning_rate: of both Adams (beta 0.9 and 0.99).
      quarter_rate: what is left of the learning rates after each quarter of the steps.
      adversarial_weight: of -log D of the manipulated image with the wished landmarks.
      cycle_adversarial_weight: of the same for the image that the cycle comes back to.
      cycle_weight: of what differs at the cycle's end.
      cycle_space: what is compared there: "latent", the mean square of codes; "image", pixels, and
        features by `perceptual_weight`.
      direct_weight: of the pixels and features of a pass with the portrait's own landmarks.
      direct_adversarial_weight: of -log D of that pass.
      perceptual_weight: of the mean squared difference of features within the image terms.
      perceptual_size: images are enlarged to it, by nearest neighbours as in the code, before
        features are taken; None: they are read as they are.
      landmark_weight: of the mean distance of the manipulated image's landmarks, read by the
        suite's network, from the wished ones, in shares of the side. Not the paper's.
      opening_weight: of the mean difference between the two in how far lips, lids, and brows and
        eyes are apart, in shares of the side: an expression moves these few points by little, and
        a turn of the head all of them by more. Not the paper's.
      identity_weight: of one minus the cosine between the portrait's and the manipulated image's
        embeddings. Not the paper's.
      alternating: the naive encoder's schedule: even steps draw the portrait with its own landmarks
        and compare, odd ones another portrait's with these and have the adversarial term alone.
      wish: the landmarks that are wished: "raw", those of another portrait, as in the paper;
        "normalised", what the portrait's own face has with the pose and expression of the other.
      expression_gain: >= 1; of normalised wishes. The other's expression is taken up to so many
        times as strong, rising evenly from 1 over a batch, so that expressions are learned which
        few portraits have. Not the paper's.
      points: where landmarks come from: "data", fields of its items; "network", the suite's network
        of role ``landmarks``, and faces from ``reconstruction``.
      outside: see `jaxface.media.landmark_images`.
      inversion: how portraits are embedded.
      inversion_statistics: of the inversion encoder's norms: "stored", or those of the "batch" as
        in the code, where a portrait's code hangs on its batch.
      r1_gamma: of the gradient penalty, by the portrait's pixels alone.
      r1_interval: steps between penalties, each of which counts so many times.
      ema_half_life: of the average of the encoder's weights, in portraits; None for the last
        weights, as in the code.

    Raises:
      ValueError: a number or a word that a setting does not take, or settings that do not go
        together.
    """

    network: LatentDifferenceConfig | KeypointConfig | NaiveConfig
    discriminator: DiscriminatorConfig | StyleGAN1DiscriminatorConfig
    steps: int
    batch_size: int = 16
    microbatches: int = 1
    learning_rate: float = 1e-4
    quarter_rate: float = 0.8
    adversarial_weight: float = 1.0
    cycle_adversarial_weight: float = 1.0
    cycle_weight: float = 1.0
    cycle_space: Literal["latent", "image"] = "latent"
    direct_weight: float = 0.0
    direct_adversarial_weight: float = 0.0
    perceptual_weight: float = CODE_PERCEPTUAL
    perceptual_size: int | None = 256
    landmark_weight: float = 0.0
    opening_weight: float = 0.0
    identity_weight: float = 0.0
    alternating: bool = False
    wish: Literal["raw", "normalised"] = "raw"
    expression_gain: float = 1.0
    points: Literal["data", "network"] = "data"
    outside: Literal["clip", "grow"] = "clip"
    inversion: encoder.Settings = dataclasses.field(default_factory=encoder.Settings)
    inversion_statistics: Literal["stored", "batch"] = "stored"
    r1_gamma: float = 10.0
    r1_interval: int = 1
    ema_half_life: float | None = None

    def __post_init__(self):
        check_words(self)
        numbers = {name: getattr(self, name) for name in _WEIGHTS}
        if min(*numbers.values(), self.r1_gamma) < 0 or not any(numbers.values()):
            raise ValueError(
                f"{type(self).__name__}: weights must be >= 0, and one above it; got {numbers}."
            )
        if self.batch_size < 2 or self.r1_interval < 1 or not 0 < self.quarter_rate <= 1:
            raise ValueError(
                f"{type(self).__name__}: expected batch_size >= 2 (landmarks are another "
                "portrait's), r1_interval >= 1 and quarter_rate in 0 to 1, got "
                f"{self.batch_size}, {self.r1_interval} and {self.quarter_rate}."
            )
        if self.expression_gain < 1 or (self.expression_gain > 1 and self.wish != "normalised"):
            raise ValueError(
                f"{type(self).__name__}: expected expression_gain >= 1, and above it with "
                f'wish="normalised" alone; got {self.expression_gain} with {self.wish!r}.'
            )
        if self.discriminator.image_channels != 6:
            raise ValueError(
                f"{type(self).__name__}: the discriminator reads portrait and landmark image, 6 "
                f"channels; got discriminator.image_channels={self.discriminator.image_channels}."
            )
        if self.network.resolution != self.discriminator.resolution:
            raise ValueError(
                f"{type(self).__name__}: network and discriminator must have one resolution, got "
                f"{self.network.resolution} and {self.discriminator.resolution}."
            )
        if self.naive and self.cycle_weight and self.cycle_space == "latent":
            raise ValueError(
                f"{type(self).__name__}: the naive encoder has no code to come back to; its "
                'cycle_space is "image".'
            )

    @property
    def naive(self) -> bool:
        """Whether portraits are read in place of codes."""
        return isinstance(self.network, NaiveConfig)

    @property
    def cycles(self) -> bool:
        """Whether any term needs the way back."""
        return not self.alternating and bool(self.cycle_weight or self.cycle_adversarial_weight)

    @property
    def direct(self) -> bool:
        """Whether any term needs the pass with the portrait's own landmarks."""
        return not self.alternating and bool(self.direct_weight or self.direct_adversarial_weight)

    @property
    def adversarial(self) -> bool:
        """Whether any term has the discriminator judge; it does not train otherwise."""
        cycle = self.cycles and self.cycle_adversarial_weight
        direct = self.direct and self.direct_adversarial_weight
        return bool(self.adversarial_weight or cycle or direct)

    @property
    def reads_landmarks(self) -> bool:
        """Whether any term reads the landmarks of what is drawn."""
        return bool(self.landmark_weight or self.opening_weight)

    @property
    def compares_images(self) -> bool:
        """Whether any term compares pixels and features."""
        cycle = self.cycles and self.cycle_weight and self.cycle_space == "image"
        return bool(cycle or self.direct_weight)

    @property
    def trains(self) -> str:
        """The role ``latent_difference``; the run writes ``landmark_discriminator`` too."""
        return "latent_difference"

    @property
    def fields(self) -> tuple[str, ...]:
        """What a batch must hold: ``image``, and where the data knows them ``landmarks`` and
        ``face``, PIE's 257 parameters."""
        if self.points == "network":
            return ("image",)
        return ("image", "landmarks", *(("face",) if self.wish == "normalised" else ()))

    def recipe(
        self, *, key: Any, networks: Mapping[str, Any], held_out: Mapping[str, Any] | None
    ) -> Recipe:
        """The whole training, see `jaxface.methods.latent_difference.training`."""
        from jaxface.methods.latent_difference.training import latent_difference_recipe

        return latent_difference_recipe(self, key=key, networks=networks, held_out=held_out)


_WEIGHTS = (
    "adversarial_weight",
    "cycle_adversarial_weight",
    "cycle_weight",
    "direct_weight",
    "direct_adversarial_weight",
    "landmark_weight",
    "opening_weight",
    "identity_weight",
)

PAPER = LatentDifferenceSettings(
    LatentDifferenceConfig(),
    DiscriminatorConfig(128, image_channels=6),
    steps=750_000,
    inversion=encoder.IN_DOMAIN,
)
"""The loss as the paper prints it: three terms of weight 1, the cycle in latent space. 12 million
portraits."""

CODE = dataclasses.replace(
    PAPER,
    network=LatentDifferenceConfig(**networks.CODE),
    discriminator=StyleGAN1DiscriminatorConfig(),
    quarter_rate=CODE_LAST_RATE,
    adversarial_weight=CODE_ADVERSARIAL,
    cycle_adversarial_weight=CODE_ADVERSARIAL,
    outside="grow",
    inversion_statistics="batch",
)
"""Master: the accidents of the form, the first discriminator, weights of 0.05."""

HIGHER = dataclasses.replace(
    CODE,
    adversarial_weight=HIGHER_ADVERSARIAL,
    cycle_adversarial_weight=HIGHER_ADVERSARIAL,
)
"""Branch 58, in all likelihood the table's "Latent Diff. Enc. + Cycle Consistency (Latent)"."""

IMAGE_SPACE = dataclasses.replace(HIGHER, cycle_space="image")
"""Branch 59: the cycle compares images."""

KEYPOINTS = dataclasses.replace(HIGHER, network=KeypointConfig(pixels=True, **networks.CODE))
"""Branch 61: coordinates in place of landmark images; the discriminator still sees images."""

NAIVE = dataclasses.replace(
    CODE,
    network=NaiveConfig(normalised=True),
    alternating=True,
    cycle_weight=0.0,
    cycle_adversarial_weight=0.0,
    direct_weight=1.0,
)
"""Branch 22: no cycle; appearance and pose by turns."""

NAIVE_CYCLE = dataclasses.replace(
    NAIVE,
    alternating=False,
    cycle_space="image",
    cycle_weight=1.0,
    cycle_adversarial_weight=CODE_ADVERSARIAL,
    direct_weight=0.5,
    direct_adversarial_weight=CODE_ADVERSARIAL,
)
"""Branch 24e: three passes, the image re-encoded on the way back."""

ROWS: Mapping[str, LatentDifferenceSettings] = {
    "naive": NAIVE,
    "naive_cycle": NAIVE_CYCLE,
    "image_cycle": IMAGE_SPACE,
    "keypoints": KEYPOINTS,
    "latent_cycle": HIGHER,
}
"""The trained rows of the paper's table, in its order."""


def sized(
    row: LatentDifferenceSettings, like: LatentDifferenceSettings
) -> LatentDifferenceSettings:
    """A published row at another training's size: its losses, with the other's widths, form,
    discriminator, data and schedule.

    Args:
      row: of `ROWS`.
      like: of a latent difference encoder of landmark images.
    """
    sizes = {
        name: getattr(like.network, name)
        for name in ("resolution", "width", "max_width", "num_ws", "w_dim")
    }
    form = {
        name: getattr(like.network, name)
        for name in (*networks.CODE, "landmark_features", "latent_features")
        if hasattr(like.network, name)
    }
    if isinstance(row.network, NaiveConfig):
        normalised = getattr(like.network, "normalised_difference", False)
        network: Any = NaiveConfig(**sizes, normalised=normalised)
    elif isinstance(row.network, KeypointConfig):
        network = KeypointConfig(**sizes, **form)
    else:
        network = LatentDifferenceConfig(**sizes, **form)
    losses = {name: getattr(row, name) for name in (*_WEIGHTS, "cycle_space", "alternating")}
    return dataclasses.replace(like, network=network, **losses)
