"""StyleCLIP's latent mapper (Patashnik et al. 2021, section 5): one text's edit of any W+.

Three networks, for the coarse, the medium and the fine rows of W+, or a single one for all; each is
the mapping network's form with four layers. A level may be left out, and then does not move.
``mapper/latent_mappers.py`` and ``mapper/scripts/inference.py`` of StyleCLIP.

Its ``PixelNorm`` takes the mean square over the second axis, which is the rows of the level, not
the channels: what the published mappers were trained with, and so done here.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.equalized_layers import Dense

# Where each level's rows begin and end (LevelsMapper); a single mapper sees all.
LEVELS: dict[str, tuple[int, int | None]] = {
    "coarse": (0, 4),
    "medium": (4, 8),
    "fine": (8, None),
    "all": (0, None),
}

# What the result is scaled by before it is added to w (``run_on_batch``).
STEP = 0.1
LR_MULTIPLIER = 0.01


@dataclasses.dataclass(frozen=True)
class LatentMapperConfig:
    """Sizes; the defaults are the published ones.

    Args:
        levels: which of ``LEVELS`` have a network: some of ``coarse``, ``medium`` and ``fine``, or
            ``all`` alone.
        w_dim: of W.
        layers: of each network.

    Raises:
        ValueError: for other levels, or sizes below 1.
    """

    levels: tuple[str, ...] = ("coarse", "medium", "fine")
    w_dim: int = 512
    layers: int = 4

    def __post_init__(self) -> None:
        three = ("coarse", "medium", "fine")
        ordered = tuple(level for level in three if level in self.levels)
        if not self.levels or self.levels not in (ordered, ("all",)):
            raise ValueError(
                f"levels: expected some of {three} in this order, or ('all',), got {self.levels}"
            )
        if self.w_dim < 1 or self.layers < 1:
            raise ValueError(f"w_dim, layers: expected at least 1, got {self.w_dim}, {self.layers}")


class LatentMapper(nnx.Module):
    """W+ to an edited W+."""

    def __init__(self, config: LatentMapperConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.levels = nnx.List(
            [
                nnx.List(
                    [
                        Dense(
                            config.w_dim,
                            config.w_dim,
                            activation="lrelu",
                            lr_multiplier=LR_MULTIPLIER,
                            rngs=rngs,
                        )
                        for _ in range(config.layers)
                    ]
                )
                for _ in config.levels
            ]
        )

    def offsets(self, w_plus: Float[Array, "n l d"]) -> Float[Array, "n l d"]:
        """What the networks give, before the step: M(w), [N, L, w_dim], zero where no level is.

        Raises:
            ValueError: if ``w_plus`` is not [N, L, w_dim].
        """
        if w_plus.ndim != 3 or w_plus.shape[2] != self.config.w_dim:
            raise ValueError(
                f"LatentMapper: expected w_plus [N, L, {self.config.w_dim}], got "
                f"{list(w_plus.shape)}"
            )
        found = jnp.zeros_like(w_plus)
        for name, layers in zip(self.config.levels, self.levels, strict=True):
            start, stop = LEVELS[name]
            x = w_plus[:, start:stop]
            if x.shape[1] == 0:  # a generator of few rows has no fine ones
                continue
            x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=1, keepdims=True) + 1e-8)
            for layer in layers:
                x = layer(x)
            found = found.at[:, start:stop].set(x)
        return found

    def __call__(
        self, w_plus: Float[Array, "n l d"], *, strength: float | jax.Array = 1.0
    ) -> Float[Array, "n l d"]:
        """The edit.

        Args:
            w_plus: [N, L, w_dim].
            strength: one, or [N]: 1 is the published step, ``w + 0.1 M(w)``, and 0 leaves w alone.

        Returns:
            w_plus, [N, L, w_dim].

        Raises:
            ValueError: if ``w_plus`` is not [N, L, w_dim].
        """
        scale = STEP * jnp.asarray(strength)
        scale = scale.reshape(scale.shape + (1,) * (w_plus.ndim - scale.ndim))
        return w_plus + scale * self.offsets(w_plus)
