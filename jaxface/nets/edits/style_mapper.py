"""StyleCLIP's mapper of style space (Patashnik et al. 2021): one text's edit of styles.

Every convolution's style has a network of its own, as wide as the style; the RGB layers' styles
stay (``WithoutToRGBStyleSpaceMapper`` of StyleCLIP's ``mapper/latent_mappers.py``, which is what
its option ``work_in_stylespace`` makes). The networks are those of
`jaxface.nets.edits.latent_mapper`, but a style has no rows: here the mean square is taken over its
channels.

Styles come from ``generator.synthesis.styles(w_plus)``, and the result goes to
``generator.synthesis(w_plus, noise, style_shift)``.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.edits.latent_mapper import LR_MULTIPLIER, STEP
from jaxface.nets.edits.style_directions import check_widths, is_convolution
from jaxface.nets.equalized_layers import Dense


@dataclasses.dataclass(frozen=True)
class StyleMapperConfig:
    """Sizes.

    Args:
        widths: channels of every style, `GeneratorConfig.style_widths` of a skip architecture.
        layers: of each network.

    Raises:
        ValueError: for sizes below 1, or a number of styles that no such generator has.
    """

    widths: tuple[int, ...]
    layers: int = 4

    def __post_init__(self) -> None:
        check_widths(self.widths)
        if self.layers < 1:
            raise ValueError(f"layers: expected at least 1, got {self.layers}")

    @property
    def edited(self) -> tuple[int, ...]:
        """The styles that have a network, by their number."""
        return tuple(i for i in range(len(self.widths)) if is_convolution(i))


class StyleMapper(nnx.Module):
    """Styles to a shift of them."""

    def __init__(self, config: StyleMapperConfig, *, rngs: nnx.Rngs):
        self.config = config
        options = {"activation": "lrelu", "lr_multiplier": LR_MULTIPLIER, "rngs": rngs}
        self.styles = nnx.List(
            [
                nnx.List([Dense(width, width, **options) for _ in range(config.layers)])
                for width in (config.widths[i] for i in config.edited)
            ]
        )

    def __call__(
        self, styles: Float[Array, "n s"], *, strength: float | jax.Array = 1.0
    ) -> Float[Array, "n s"]:
        """The edit.

        Args:
            styles: [N, sum(widths)].
            strength: one, or [N]: 1 is the published step, 0.1 times what the networks give.

        Returns:
            [N, sum(widths)], what is added to the styles; zero at the RGB layers'.

        Raises:
            ValueError: if ``styles`` is not [N, sum(widths)].
        """
        total = sum(self.config.widths)
        if styles.ndim != 2 or styles.shape[1] != total:
            raise ValueError(f"StyleMapper: expected styles [N, {total}], got {list(styles.shape)}")
        parts = jnp.split(styles, np.cumsum(self.config.widths)[:-1], axis=1)
        shifts = [jnp.zeros_like(part) for part in parts]
        for index, layers in zip(self.config.edited, self.styles, strict=True):
            x = parts[index]
            x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=1, keepdims=True) + 1e-8)
            for layer in layers:
                x = layer(x)
            shifts[index] = x
        return STEP * jnp.asarray(strength)[..., None] * jnp.concatenate(shifts, axis=1)
