"""StyleCLIP's global directions (Patashnik et al. 2021, section 6): a text to an edit of styles.

The method measures once, for every channel of style space, how an image's CLIP embedding moves when
that channel does: its relevance to any text is then a dot product. The published files are those
measurements, ``fs3.npy``, and the standard deviation of every channel, ``S_mean_std``. Only the
convolutions' styles are edited, never the RGB layers'.

CLIP is not part of this module: the caller gives the direction between two texts' embeddings. The
result goes to ``generator.synthesis(w_plus, noise, style_shift)``.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.variables import Buffer

# In style space's order (`GeneratorConfig.style_widths`, architecture skip) the RGB layers are the
# second style, at 4 px, and from there every third.
RGB_FIRST, RGB_EVERY = 1, 3


def is_convolution(index: int) -> bool:
    """Whether a style of a skip architecture is a convolution's, not an RGB layer's."""
    return index % RGB_EVERY != RGB_FIRST


def check_widths(widths: tuple[int, ...]) -> None:
    """Insist on the styles of a skip architecture.

    Raises:
        ValueError: for a width below 1, or a number of styles that no such generator has.
    """
    if min(widths, default=0) < 1:
        raise ValueError(f"widths: expected at least 1, got {widths}")
    if len(widths) % RGB_EVERY != 2:
        raise ValueError(
            "widths: expected two styles at 4 px and three at each further resolution, got "
            f"{len(widths)}"
        )


@dataclasses.dataclass(frozen=True)
class StyleDirectionsConfig:
    """Sizes.

    Args:
        widths: channels of every style, `GeneratorConfig.style_widths` of a skip architecture.
        text_dim: of the embeddings; 512 in CLIP ViT-B/32.

    Raises:
        ValueError: for sizes below 1, or a number of styles that no such generator has.
    """

    widths: tuple[int, ...]
    text_dim: int = 512

    def __post_init__(self) -> None:
        check_widths(self.widths)
        if self.text_dim < 1:
            raise ValueError(f"text_dim: expected at least 1, got {self.text_dim}")

    @property
    def edited(self) -> np.ndarray:
        """Which channels of style space are a convolution's, [sum(widths)] of bool."""
        kept = [is_convolution(i) for i in range(len(self.widths))]
        return np.repeat(kept, self.widths)


class StyleDirections(nnx.Module):
    """Every channel's relevance to texts.

    Stored arrays: ``relevance`` [channels of convolutions, text_dim], rows of unit length, and
    ``deviation`` [all channels], the standard deviation of each.
    """

    def __init__(self, config: StyleDirectionsConfig, *, rngs: nnx.Rngs):
        del rngs  # measured, not initialised
        self.config = config
        self.relevance = Buffer(jnp.zeros((int(config.edited.sum()), config.text_dim)))
        self.deviation = Buffer(jnp.ones((sum(config.widths),)))

    def direction(self, text: Float[Array, " t"], *, threshold: float) -> Float[Array, " s"]:
        """The edit of style space that a text asks for.

        ``GetBoundary`` of StyleCLIP's ``global_torch/StyleCLIP.py``: relevances below the threshold
        are dropped, the largest is scaled to 1, and each channel moves in its standard deviation.

        Args:
            text: [text_dim], embedding of the target minus that of the neutral text; its length
                does not matter.
            threshold: beta in the paper, 0.08 to 0.3 there: the higher, the fewer channels move.

        Returns:
            [sum(widths)]: what a strength (the paper's alpha) of 1 adds to the styles; zero where
            no channel reaches the threshold.

        Raises:
            ValueError: if the text is not [text_dim].
        """
        if text.shape != (self.config.text_dim,):
            raise ValueError(
                f"style directions: expected a text [{self.config.text_dim}], got "
                f"{list(text.shape)}"
            )
        scores = self.relevance[...] @ (text / jnp.linalg.norm(text))
        kept = jnp.where(jnp.abs(scores) < threshold, 0.0, scores)
        largest = jnp.max(jnp.abs(kept))
        kept = kept / jnp.where(largest > 0, largest, 1.0)
        edited = np.flatnonzero(self.config.edited)
        whole = jnp.zeros_like(self.deviation[...]).at[edited].set(kept)
        return whole * self.deviation[...]
