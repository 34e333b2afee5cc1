"""Settings of StyleGAN2's training, and the published ones by name."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from jaxface.errors import UsageError
from jaxface.methods.scene_regression import Reconstruction
from jaxface.methods.stylegan2.augmentation import AugmentSettings
from jaxface.nets import DiscriminatorConfig, GeneratorConfig
from jaxface.nets.stylegan2.synthesis import Noise
from jaxface.training.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class StyleGAN2Settings:
    """One training.

    The defaults are the ``stylegan2`` configuration of stylegan2-ada-pytorch's `train.py`, with
    its adaptive augmentation. Numbers of images are counted in real images shown, as there.

    Raises:
      ValueError: the networks do not fit each other, or a number is out of its range.
    """

    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    num_images: int = 25_000_000
    batch_size: int = 32
    microbatches: int = 1
    """Equal parts of a batch, whose gradients are accumulated: docs/training.md."""
    learning_rate: float = 0.002
    beta1: float = 0.0
    beta2: float = 0.99
    r1_gamma: float = 10.0
    path_length_weight: float = 2.0
    path_length_decay: float = 0.01
    path_length_batch_shrink: int = 2
    """The path-length penalty takes the batch divided by this."""
    style_mixing_prob: float = 0.9
    generator_reg_interval: int = 4
    discriminator_reg_interval: int = 16
    ema_half_life: float = 10_000.0
    """Half-life of the EMA of the weights, in images."""
    ema_ramp: float | None = None
    """Limits the half-life to this share of the images seen; None for no limit."""
    noise: str = "random"
    """Noise in training: "random" as the reference, "const" or "none"."""
    augment: AugmentSettings | None = dataclasses.field(default_factory=AugmentSettings)
    """What the discriminator's images go through; None for nothing."""
    augment_initial_p: float = 0.0
    ada_target: float | None = 0.6
    """The mean sign of the real logits that the probability is steered to; None keeps it."""
    ada_interval: int = 4
    ada_images: int = 500_000
    """Images in which the probability can move by 1."""
    reconstruction: Reconstruction = dataclasses.field(default_factory=Reconstruction)
    reconstruction_weight: float = 0.0
    """Weight of the reconstruction of renders (`scene_regression`) in the generator's loss; above
    0 the latents of that step begin with the batch's factors."""
    num_factors: int = 0
    """Factors that z begins with, where there is a reconstruction."""

    @property
    def trains(self) -> str:
        """The role ``generator``."""
        return "generator"

    def __post_init__(self):
        if self.generator.resolution != self.discriminator.resolution:
            raise ValueError(
                f"StyleGAN2Settings: the generator makes {self.generator.resolution} px, the "
                f"discriminator reads {self.discriminator.resolution} px; expected the same."
            )
        if self.generator.c_dim or self.discriminator.c_dim:
            raise ValueError("StyleGAN2Settings: training with class labels is not supported.")
        if self.batch_size % self.path_length_batch_shrink:
            raise ValueError(
                f"StyleGAN2Settings: batch_size must be a multiple of path_length_batch_shrink "
                f"{self.path_length_batch_shrink}, got {self.batch_size}."
            )
        if self.noise not in ("random", "const", "none"):
            raise ValueError(
                f"StyleGAN2Settings.noise: expected 'random', 'const' or 'none', got {self.noise!r}"
            )
        if self.reconstruction_weight and not 0 < self.num_factors <= self.generator.z_dim:
            raise ValueError(
                f"StyleGAN2Settings: a reconstruction needs 1 to {self.generator.z_dim} "
                f"num_factors, got {self.num_factors}."
            )

    @property
    def num_steps(self) -> int:
        """Steps until `num_images` have been shown."""
        return -(-self.num_images // self.batch_size)

    def recipe(
        self,
        *,
        key: jax.Array,
        networks: Mapping[str, Any],
        held_out: Mapping[str, jax.Array] | None,
    ) -> Recipe:
        """The whole training, see `jaxface.training.recipe.Trainable`.

        Writes the role ``discriminator`` beside the generator. Begins with both where they are
        given; reads ``perceptual`` where the reconstruction gives its layers weights. The sample
        grid shows the EMA generator's images of fixed latents; there are no scores.

        Raises:
          UsageError: a network is missing or has other sizes than the settings name.
        """
        from jaxface.methods.stylegan2.training import training_recipe  # which reads the settings

        del held_out
        return training_recipe(self, key=key, networks=networks)


@dataclasses.dataclass(frozen=True)
class _Published:
    """A row of `cfg_specs` in stylegan2-ada-pytorch's `train.py`; kimg are thousands of images."""

    kimg: int
    batch_size: int
    mbstd_group_size: int
    channel_factor: float
    learning_rate: float
    r1_gamma: float
    ema_kimg: float
    ema_ramp: float | None
    mapping_layers: int


_PUBLISHED = {
    "stylegan2": _Published(25_000, 32, 4, 1.0, 0.002, 10.0, 10.0, None, 8),
    "paper256": _Published(25_000, 64, 8, 0.5, 0.0025, 1.0, 20.0, None, 8),
    "paper512": _Published(25_000, 64, 8, 1.0, 0.0025, 0.5, 20.0, None, 8),
    "paper1024": _Published(25_000, 32, 4, 1.0, 0.002, 2.0, 10.0, None, 8),
    "cifar": _Published(100_000, 64, 32, 1.0, 0.0025, 0.01, 500.0, 0.05, 2),
}


def published(name: str, *, resolution: int, devices: int = 8) -> StyleGAN2Settings:
    """The settings of a configuration of stylegan2-ada-pytorch's `train.py` (``--cfg``).

    Its mixed precision (the four highest resolutions in float16, activations clamped at 256) is
    bfloat16 here, with the same clamp.

    Args:
      name: "stylegan2", "paper256", "paper512", "paper1024", "cifar", or "auto", which derives
        the batch, the widths and the R1 weight from the resolution and the devices.
      resolution: of the images.
      devices: read by "auto" only, GPUs in the source.

    Raises:
      UsageError: an unknown name.
    """
    if name not in _PUBLISHED and name != "auto":
        raise UsageError(
            f"stylegan2: no published configuration {name!r}; expected auto or one of "
            f"{', '.join(_PUBLISHED)}"
        )
    spec = _auto(resolution, devices) if name == "auto" else _PUBLISHED[name]
    sizes = {
        "resolution": resolution,
        "channel_base": int(spec.channel_factor * 32768),
        "channel_max": 512,
        "num_reduced_precision_res": 4,
        "conv_clamp": 256.0,
    }
    settings = StyleGAN2Settings(
        generator=GeneratorConfig(**sizes, mapping_layers=spec.mapping_layers),
        discriminator=DiscriminatorConfig(**sizes, mbstd_group_size=spec.mbstd_group_size),
        num_images=spec.kimg * 1000,
        batch_size=spec.batch_size,
        learning_rate=spec.learning_rate,
        r1_gamma=spec.r1_gamma,
        ema_half_life=spec.ema_kimg * 1000,
        ema_ramp=spec.ema_ramp,
    )
    if name != "cifar":
        return settings
    # No path lengths, no style mixing, and no residual connections in the discriminator.
    return dataclasses.replace(
        settings,
        discriminator=dataclasses.replace(settings.discriminator, architecture="orig"),
        path_length_weight=0.0,
        style_mixing_prob=0.0,
    )


def _auto(resolution: int, devices: int) -> _Published:
    batch_size = max(min(devices * min(4096 // resolution, 32), 64), devices)
    return _Published(
        kimg=25_000,
        batch_size=batch_size,
        mbstd_group_size=min(batch_size // devices, 4),
        channel_factor=1.0 if resolution >= 512 else 0.5,
        learning_rate=0.002 if resolution >= 1024 else 0.0025,
        r1_gamma=0.0002 * resolution**2 / batch_size,
        ema_kimg=batch_size * 10 / 32,
        ema_ramp=0.05,
        mapping_layers=2,
    )


def training_noise(settings: StyleGAN2Settings, key) -> Noise:
    """The synthesis network's `noise` argument in training."""
    return key if settings.noise == "random" else settings.noise
