"""RigNet of StyleRig (Tewari et al., CVPR 2020): face parameters as a rig of the generator.

After PIE's account of it (Tewari et al., ACM TOG 39(6), 2020, section 3.1): a latent code and the
parameters of one semantic group give a new code, w' = RigNet(w, theta^tau), and each group has a
network of its own.
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.variables import Buffer, fill_corner
from jaxface.vocabulary import EDITABLE_GROUPS, GROUP_WIDTHS


@dataclasses.dataclass(frozen=True)
class RigNetConfig:
    """Sizes.

    Attributes:
      group: the semantic group that it edits, one of `EDITABLE_GROUPS`.
      num_ws: rows of W+ of the generator.
      w_dim: width of a row.
      hidden: width of the code of a row.
    """

    group: str
    num_ws: int
    w_dim: int = 512
    hidden: int = 32

    def __post_init__(self):
        if self.group not in EDITABLE_GROUPS:
            raise ValueError(
                f"RigNetConfig: unknown group {self.group!r}; expected one of "
                f"{', '.join(EDITABLE_GROUPS)}."
            )
        if min(self.num_ws, self.w_dim, self.hidden) < 1:
            raise ValueError(
                f"RigNetConfig: sizes must be >= 1, got num_ws {self.num_ws}, w_dim {self.w_dim}, "
                f"hidden {self.hidden}."
            )

    @property
    def num_parameters(self) -> int:
        """Width of the group, P: pose 6, expression 64, illumination 27."""
        return GROUP_WIDTHS[self.group]


class RigNet(nnx.Module):
    """w+ and a group's parameters to the w+ of the same portrait with these parameters.

    Row i of W+ has its own linear encoder, l_i = A_i w_i + a_i, and its own linear decoder of
    [l_i, parameters] to a residual d_i; the edited row is w_i + d_i. The decoder begins at zero, so
    a fresh network is the identity.

    The parameters are read in units of `scale` around `mean`, arrays that are stored, not trained:
    radians and light coefficients differ by orders of magnitude. PIE says that the parameters are
    transformed before the network reads them, and leaves the transform to its supplement.
    """

    def __init__(self, config: RigNetConfig, *, rngs: nnx.Rngs):
        self.config = config
        rows, width = config.num_ws, config.num_parameters
        encoder = jax.random.normal(rngs.params(), (rows, config.w_dim, config.hidden))
        self.encoder = nnx.Param(encoder * config.w_dim**-0.5)
        self.encoder_bias = nnx.Param(jnp.zeros((rows, config.hidden)))
        self.decoder = nnx.Param(jnp.zeros((rows, config.hidden + width, config.w_dim)))
        self.decoder_bias = nnx.Param(jnp.zeros((rows, config.w_dim)))
        self.mean = Buffer(jnp.zeros((width,)))
        self.scale = Buffer(jnp.ones((width,)))

    def __call__(
        self, w_plus: Float[Array, "n l d"], parameters: Float[Array, "n p"]
    ) -> Float[Array, "n l d"]:
        """Edits latents.

        Args:
          w_plus: [N, L, w_dim].
          parameters: [N, P], the group's wanted values, as
            `jaxface.morphable.FaceParameters.group` gives them.

        Returns:
          [N, L, w_dim].

        Raises:
          ValueError: an argument has another shape.
        """
        config = self.config
        rows = (config.num_ws, config.w_dim)
        if w_plus.ndim != 3 or w_plus.shape[1:] != rows:
            raise ValueError(
                f"RigNet: expected w_plus [N, {rows[0]}, {rows[1]}], got {list(w_plus.shape)}."
            )
        if parameters.shape != (w_plus.shape[0], config.num_parameters):
            raise ValueError(
                f"RigNet: expected parameters of {config.group} "
                f"[{w_plus.shape[0]}, {config.num_parameters}], got {list(parameters.shape)}."
            )
        code = jnp.einsum("nlw,lwh->nlh", w_plus, self.encoder[...]) + self.encoder_bias[...]
        wanted = (parameters - self.mean[...]) / self.scale[...]
        # [l_i, parameters] times the decoder, without copying the parameters for every row.
        of_code, of_parameters = jnp.split(self.decoder[...], [config.hidden], axis=1)
        residual = jnp.einsum("nlh,lhw->nlw", code, of_code)
        residual += jnp.einsum("np,lpw->nlw", wanted, of_parameters)
        return w_plus + residual + self.decoder_bias[...]

    def with_rows(self, num_ws: int, *, rngs: nnx.Rngs) -> "RigNet":
        """A network for a generator of more rows: it edits these as this one does, no others yet.

        Args:
          num_ws: rows of the larger generator, at least as many as this network's.
          rngs: stream ``params``, for the new rows' encoders.

        Raises:
          ValueError: fewer rows than this network has.
        """
        if num_ws < self.config.num_ws:
            raise ValueError(f"RigNet: cannot go from {self.config.num_ws} rows of W+ to {num_ws}.")
        new = RigNet(dataclasses.replace(self.config, num_ws=num_ws), rngs=rngs)
        for name in ("encoder", "encoder_bias", "decoder", "decoder_bias", "mean", "scale"):
            fill_corner(getattr(new, name), getattr(self, name))
        return new
