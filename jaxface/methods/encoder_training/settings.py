"""Settings of an encoder's training."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax

from jaxface.methods import restyle
from jaxface.nets import (
    DiscriminatorConfig,
    E4EEncoder,
    EncoderConfig,
    InDomainConfig,
    InDomainEncoder,
    PSPEncoder,
    RestyleE4EEncoder,
    RestylePSPEncoder,
    StyleGAN1DiscriminatorConfig,
    WEncoder,
)
from jaxface.settings import check_words
from jaxface.training.recipe import Recipe

ENCODERS: Mapping[str, type] = {
    "psp": PSPEncoder,
    "e4e": E4EEncoder,
    "w": WEncoder,
    "restyle_psp": RestylePSPEncoder,
    "restyle_e4e": RestyleE4EEncoder,
    "in_domain": InDomainEncoder,
}

TERMS = ("pixel", "lpips", "features", "identity", "w_norm", "delta", "latent", "adversarial")
"""Of the loss; each has a weight in the settings."""

PROGRESSIVE = ("e4e", "restyle_e4e")
"""Encoders whose styles are the first one and what they deviate by."""


@dataclasses.dataclass(frozen=True)
class EncoderSettings:
    """Training of an encoder. The defaults of the weights are pSp's, which e4e and ReStyle share.

    Raises:
      ValueError: an unknown encoder or distance, no iteration, samples that do not divide into the
        microbatches, progressive training of an encoder without deviations, a network of another
        encoder, or an adversarial term without its discriminator.
    """

    encoder: Literal["psp", "e4e", "w", "restyle_psp", "restyle_e4e", "in_domain"]
    network: EncoderConfig | InDomainConfig
    steps: int
    """With the whole loss."""
    latent_steps: int = 0
    """Before them, from samples' codes alone, on `batch_size` and `samples` together; one pass."""
    batch_size: int = 8
    """Portraits of the data in a step: 8 in pSp (section 4) and ReStyle, with what the authors'
    options leave at 4."""
    samples: int = 8
    """The generator's own samples in a step, beside them."""
    microbatches: int = 1
    """Equal parts of a batch, whose gradients are accumulated: docs/training.md."""
    learning_rate: float = 1e-4
    """The references' (``options/train_options.py``)."""
    warmup_steps: int = 200
    pixel_weight: float = 1.0
    """``l2_lambda``, of the mean squared difference of images in [-1, 1]."""
    lpips_weight: float = 0.8
    """``lpips_lambda``."""
    identity_weight: float = 0.1
    """``id_lambda`` for faces, of one minus the cosine."""
    w_norm_weight: float = 0.0
    """``w_norm_lambda``; pSp's is 0 for inversion and 0.005 for frontalisation."""
    delta_weight: float = 0.0
    """``delta_norm_lambda``; e4e's is 2e-4."""
    latent_weight: float = 0.0
    """Of the mean squared difference of a sample's codes from the true ones."""
    progressive_start: int = 0
    """e4e: the step at which the second style gets a deviation; before it all styles are one. The
    authors' is 20,000 of 200,000 (``progressive_start``)."""
    progressive_every: int = 0
    """e4e: steps until the next style does. The authors' is 2,000 (``progressive_step_every``);
    0: all styles have theirs from the beginning."""
    iterations: int = restyle.ITERATIONS
    """ReStyle: passes in a step (``n_iters_per_batch``)."""
    resolution: int | None = None
    """Side at which images are compared; None: the encoder's, as in the references."""
    lpips_resolution: int | None = None
    """Images larger than this are averaged down to it before LPIPS compares them; None: none."""
    distance: Literal["lpips", "perceptual"] = "lpips"
    """The role whose network LPIPS is: ``lpips``; or ``perceptual``, whose VGG-16 then compares as
    LPIPS does, with heads that were not learned."""

    features_weight: float = 0.0
    """In-domain inversion's perceptual term, of the mean squared difference of VGG-16's features
    (`jaxface.methods.adversarial_training`), of the role ``perceptual``; 5e-5 in the code."""
    features_size: int | None = 256
    """Side at which these are taken; None: as images are compared."""
    adversarial_weight: float = 0.0
    """Of -log D of what is drawn of the codes, D a discriminator that trains beside the encoder, by
    turns; 0.05 in the code (``D_scale``)."""
    discriminator: DiscriminatorConfig | StyleGAN1DiscriminatorConfig | None = None
    """Its sizes. It begins with the suite's ``discriminator`` where that is such a network."""
    r1_gamma: float = 10.0
    """Of its gradient penalty."""
    r1_interval: int = 1
    """Steps between penalties, each of which counts so many times; 1 in the code."""

    @property
    def side(self) -> int:
        """Of the images that are compared."""
        return self.network.resolution if self.resolution is None else self.resolution

    @property
    def trains(self) -> str:
        """The role ``encoder``; of an in-domain encoder ``in_domain_encoder``."""
        return "in_domain_encoder" if self.encoder == "in_domain" else "encoder"

    def __post_init__(self):
        check_words(self)
        if self.iterations < 1:
            raise ValueError(f"EncoderSettings: iterations must be >= 1, got {self.iterations}.")
        if self.samples < 0 or self.samples % self.microbatches:
            raise ValueError(
                f"EncoderSettings: samples must be a multiple of the {self.microbatches} "
                f"microbatches, got {self.samples}."
            )
        if isinstance(self.network, InDomainConfig) != (self.encoder == "in_domain"):
            raise ValueError(
                f"EncoderSettings: {self.encoder!r} cannot have a network of "
                f"{type(self.network).__name__}."
            )
        if self.adversarial_weight and self.discriminator is None:
            raise ValueError("EncoderSettings: adversarial_weight needs a discriminator.")
        judge = self.discriminator
        if judge is not None and (judge.image_channels, judge.resolution) != (3, self.side):
            raise ValueError(
                f"EncoderSettings: the discriminator must read images of {self.side} px and 3 "
                f"channels, got {judge.resolution} and {judge.image_channels}."
            )
        if self.r1_interval < 1:
            raise ValueError(f"EncoderSettings: r1_interval must be >= 1, got {self.r1_interval}.")
        if self.latent_weight and not self.samples:
            raise ValueError("EncoderSettings: latent_weight needs samples, got 0.")
        if self.latent_steps and not self.latent_weight:
            raise ValueError("EncoderSettings: latent_steps need a latent_weight, got 0.")
        progressive = self.delta_weight or self.progressive_every or self.progressive_start
        if progressive and self.encoder not in PROGRESSIVE:
            raise ValueError(
                f"EncoderSettings: delta_weight and progressive training are of "
                f"{' and '.join(PROGRESSIVE)}, got them for {self.encoder!r}."
            )

    def recipe(
        self,
        *,
        key: jax.Array,
        networks: Mapping[str, Any],
        held_out: Mapping[str, jax.Array] | None,
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`.

        Reads ``generator``, the role of `distance`, ``perceptual`` and ``recognition``, those with
        a weight; begins with the role that it trains where it is given. Scores are
        `inversion_scores` of the held-out portraits; the sample grid has rows of them, each
        followed by its inversions.

        Raises:
          UsageError: a network is missing or does not fit.
        """
        from jaxface.methods.encoder_training.training import training_recipe  # reads the settings

        return training_recipe(self, key=key, networks=networks, held_out=held_out)
