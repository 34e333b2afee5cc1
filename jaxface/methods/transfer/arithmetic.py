"""The baseline that Transfer is compared with: arithmetic of inverted latents, without training.

Equation 7 of Jahoda and Cech 2023: z = z_B + alpha (z_A1 - z_A0), with the driver's current frame
A1 and a neutral A0. The neutral is the mean code of all frames of the clip and of their mirror
images, which is frontal, and mostly of a neutral expression; z_B is the same mean of a clip of the
subject (section 4.1). So the baseline draws a neutral subject in motion, not the target image. The
mirrored image is inverted: mirroring has no counterpart in latents.

The authors' code does not contain it. They invert with ReStyle over pSp and over e4e; so either
kind of encoder will do here.
"""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from jaxface.methods import encoder
from jaxface.runtime.chunks import by_chunks


@dataclasses.dataclass(frozen=True)
class LatentArithmetic:
    """Settings of the baseline.

    Attributes:
      inversion: how frames are inverted.
      alpha: of the difference; always 1 in the paper.
      chunk: frames that are inverted or drawn together, >= 1.
    """

    inversion: encoder.Settings = dataclasses.field(default_factory=encoder.Settings)
    alpha: float = 1.0
    chunk: int = 16

    def __post_init__(self):
        if self.chunk < 1:
            raise ValueError(f"LatentArithmetic: chunk must be >= 1, got {self.chunk}.")

    def codes(self, networks: encoder.Networks, images: Any) -> np.ndarray:
        """Inversions of frames.

        Args:
          networks: generator and encoder, `inversion.networks` of a suite.
          images: [T, R, R, 3] in [-1, 1].

        Returns:
          [T, L, w_dim].
        """
        encoded = functools.partial(_encode, self.inversion, networks)
        return by_chunks(encoded, np.asarray(images), size=self.chunk)

    def neutral(self, networks: encoder.Networks, images: Any, *, codes: Any = None) -> np.ndarray:
        """The mean code of a clip's frames and of their mirror images, [L, w_dim].

        Args:
          networks: as for `codes`.
          images: the whole clip.
          codes: of the frames, where they are known already.
        """
        codes = self.codes(networks, images) if codes is None else codes
        mirrored = self.codes(networks, np.asarray(images)[:, :, ::-1])
        return np.concatenate([codes, mirrored]).mean(axis=0)

    def latents(self, subject: Any, codes: Any, neutral: Any) -> np.ndarray:
        """Equation 7.

        Args:
          subject: z_B, [L, w_dim].
          codes: z_A1 of T frames, [T, L, w_dim].
          neutral: z_A0, [L, w_dim].

        Returns:
          [T, L, w_dim].
        """
        return np.asarray(subject) + self.alpha * (np.asarray(codes) - np.asarray(neutral))

    def transfer(self, networks: encoder.Networks, subject: Any, driving: Any) -> np.ndarray:
        """The subject of a clip moving as the driver of another one does.

        Args:
          networks: generator and encoder.
          subject: a clip of the subject, [K, R, R, 3] in [-1, 1]; one frame will do, and is then
            taken to be neutral but for what its mirror image takes back.
          driving: the whole clip of the driver, [T, R, R, 3].

        Returns:
          [T, R, R, 3], not clipped to [-1, 1].
        """
        codes = self.codes(networks, driving)
        neutral = self.neutral(networks, driving, codes=codes)
        w_plus = self.latents(self.neutral(networks, subject), codes, neutral)
        drawn = functools.partial(_draw, networks.generator)
        return by_chunks(drawn, np.asarray(w_plus), size=self.chunk)


_encode = jax.jit(encoder.encode, static_argnums=0)


@jax.jit
def _draw(generator: Any, w_plus: jax.Array) -> jax.Array:
    return generator.synthesis(w_plus, "const")
