"""How a generator is tuned, and the published choices."""

import dataclasses
from typing import Literal

from jaxface.methods.inversion import ComputesIn
from jaxface.runtime.devices import Dtype
from jaxface.settings import check_words

Rows = Literal["unrolled", "map", "vmap"]


@dataclasses.dataclass(frozen=True)
class Settings(ComputesIn):
    """How a generator is tuned. Hashable: equal settings share compiled programs.

    Attributes:
      l2_weight: lambda_L2.
      lpips_weight: lambda_P.
      steps: updates at most.
      learning_rate: of Adam, with its authors' constants.
      stop_below: a portrait ends when its LPIPS is below this; None: never.
      locality: whether L has L_R, at more than twice the cost.
      locality_l2_weight: lambda_L2^R.
      locality_lpips_weight: lambda_P^R.
      alpha: distance of w_r from the pivot.
      samples: w_z of a portrait and step, new ones at each from its key; L_R is their mean.
      truncation: psi of w_z.
      rows: how a batch is computed. No two portraits share weights, so there is no batch for a
        convolution: "unrolled", one after the other in one program; "map", by a loop; "vmap", as
        grouped convolutions. None: "unrolled" on CPU, where convolutions in loops are slow, else
        "map".
      resolution: larger images are averaged down to it before LPIPS compares them; None: it sees
        them at their full size, as in the authors' code.
      distance: the role of the suite whose network LPIPS is: "lpips"; or "perceptual", whose VGG-16
        then compares as LPIPS does, with heads that were not learned.
      first_resolution: of the blocks whose weights are tuned; 4 is the first block.
      last_resolution: of these blocks; None: the generator's last. What a few steps change in the
        blocks of high resolutions is a pattern over the whole image.
      tunes_rgb: whether those of the RGB layers, or of MobileStyleGAN's image head, are.
      dtype: what generator and LPIPS compute in; weights, losses and the optimiser are float32.
    """

    l2_weight: float = 1.0
    lpips_weight: float = 1.0
    steps: int = 350
    learning_rate: float = 3e-4
    stop_below: float | None = 0.06
    locality: bool = False
    locality_l2_weight: float = 0.1
    locality_lpips_weight: float = 0.1
    alpha: float = 30.0
    samples: int = 1
    truncation: float = 0.5
    rows: Rows | None = None
    resolution: int | None = None
    distance: Literal["lpips", "perceptual"] = "lpips"
    first_resolution: int = 4
    last_resolution: int | None = None
    tunes_rgb: bool = True
    dtype: Dtype = "float32"

    def __post_init__(self):
        check_words(self)
        for name in ("steps", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"Settings: {name} must be >= 1, got {getattr(self, name)}.")
        if self.resolution is not None and self.resolution < 1:
            raise ValueError(f"Settings: resolution must be >= 1, got {self.resolution}.")
        if self.first_resolution < 4:
            raise ValueError(
                f"Settings: first_resolution must be >= 4, got {self.first_resolution}."
            )
        if self.last_resolution is not None and self.last_resolution < self.first_resolution:
            raise ValueError(
                f"Settings: last_resolution must be >= first_resolution, "
                f"{self.first_resolution}; got {self.last_resolution}."
            )


REPO = Settings()
"""``configs/hyperparameters.py`` of the authors' code, which leaves the regularisation out."""

PAPER = dataclasses.replace(REPO, locality=True)
"""With the locality regularisation, which the published objective has (PVP, equation 3, too) and
the authors' code leaves out unless asked; its constants are those of that code."""
