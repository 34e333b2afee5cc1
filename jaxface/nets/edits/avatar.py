"""The mappers of a person's avatar: head pose and expression to latents on the person's manifold.

From "PVP: Personalized Video Prior for Editable Dynamic Portraits using StyleGAN" (Lin et al., EGSR
2023), equations 6 to 9:

    w_rot = sum_i alpha_i w_i,   alpha = F_rot(pitch, yaw)
    w = w_rot + F_expr(jaw, expression), on the first rows alone

F_rot is an MLP of two layers whose output is the residual of blending weights from the centroid of
the K anchors; F_expr is such an MLP for each of the first rows of W+ (appendix B). Widths, slopes,
beta and the softplus are those of the authors' code (``models/latent_module.py``, ExprAlphaV2).
"""

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxface.latents import blend, dilated, hull_weights
from jaxface.nets.encoders.styles import SLOPE
from jaxface.nets.variables import Buffer


@dataclasses.dataclass(frozen=True)
class AvatarConfig:
    """Sizes and the manifold.

    Attributes:
        anchors: K, the person's codes that are blended.
        num_ws: rows of W+.
        w_dim: width of a row.
        expression: numbers of a face's jaw and expression.
        angles: of head poses that are read, from the first: pitch, yaw and roll; 2 as published.
        expression_rows: of W+ that expressions move, from the first.
        hidden: width between the two layers of each MLP.
        beta: how far below zero blending weights may be.
        sharpness: of the softplus that holds them there.
        rotation: "blend" is equation 7; "direct" has an MLP give w_rot itself, as a residual from
            the centroid, which is what the paper decides against.
        published_start: whether the last layers begin as PyTorch's do, as in the authors' code;
            else at zero: then the first image is the centroid's.

    Raises:
        ValueError: sizes that are not positive, or more rows than there are.
    """

    anchors: int
    num_ws: int
    expression: int
    w_dim: int = 512
    angles: int = 2
    expression_rows: int = 8
    hidden: int = 128
    beta: float = 0.02
    sharpness: float = 100.0
    rotation: Literal["blend", "direct"] = "blend"
    published_start: bool = True

    def __post_init__(self) -> None:
        sizes = (self.anchors, self.num_ws, self.expression, self.w_dim, self.hidden)
        if min(sizes) < 1 or not 1 <= self.expression_rows <= self.num_ws or self.angles > 3:
            raise ValueError(
                "AvatarConfig: expected positive sizes, expression_rows from 1 to num_ws and at "
                f"most 3 angles, got {self}"
            )
        if self.beta < 0 or not self.sharpness > 0:
            raise ValueError(
                f"AvatarConfig: expected beta >= 0 and sharpness > 0, got {self.beta} and "
                f"{self.sharpness}"
            )
        if self.rotation not in ("blend", "direct"):
            raise ValueError(
                f"AvatarConfig: rotation must be 'blend' or 'direct', got {self.rotation!r}"
            )


class TwoLayers(nnx.Module):
    """`heads` MLPs side by side: dense, leaky ReLU, dense, tanh; [N, in] to [N, heads, out].

    Weights and biases begin as those of ``torch.nn.Linear``, uniform within 1 / sqrt(in).
    """

    def __init__(
        self, heads: int, inputs: int, outputs: int, *, hidden: int, start: bool, rngs: nnx.Rngs
    ):
        self.weight1 = nnx.Param(_uniform(rngs, (heads, inputs, hidden), inputs))
        self.bias1 = nnx.Param(_uniform(rngs, (heads, hidden), inputs))
        scale = 1.0 if start else 0.0
        self.weight2 = nnx.Param(scale * _uniform(rngs, (heads, hidden, outputs), hidden))
        self.bias2 = nnx.Param(scale * _uniform(rngs, (heads, outputs), hidden))

    def __call__(self, x: Float[Array, "n i"]) -> Float[Array, "n h o"]:
        """Every head's outputs, in (-1, 1)."""
        precision = jax.lax.Precision.HIGHEST
        y = jnp.einsum("ni,hij->nhj", x, self.weight1[...], precision=precision)
        y = jax.nn.leaky_relu(y + self.bias1[...], SLOPE)
        y = jnp.einsum("nhj,hjo->nho", y, self.weight2[...], precision=precision)
        return jnp.tanh(y + self.bias2[...])


class AvatarMappers(nnx.Module):
    """F_rot and F_expr over a person's anchors.

    Arrays that no optimiser touches: ``anchors`` [K, L, w_dim]; and ``pose_mean``, ``pose_scale``
    [angles], ``expression_mean`` and ``expression_scale`` [E], by which inputs are standardised: 0
    and 1 as published, radians and coefficients as they are.
    """

    def __init__(self, config: AvatarConfig, *, rngs: nnx.Rngs):
        self.config = config
        shape = (config.anchors, config.num_ws, config.w_dim)
        self.anchors = Buffer(jnp.zeros(shape))
        self.pose_mean = Buffer(jnp.zeros((config.angles,)))
        self.pose_scale = Buffer(jnp.ones((config.angles,)))
        self.expression_mean = Buffer(jnp.zeros((config.expression,)))
        self.expression_scale = Buffer(jnp.ones((config.expression,)))
        heads = 1 if config.rotation == "blend" else config.num_ws
        outputs = config.anchors if config.rotation == "blend" else config.w_dim
        sizes = {"hidden": config.hidden, "start": config.published_start}
        self.rotation = TwoLayers(heads, config.angles, outputs, **sizes, rngs=rngs)
        self.expression = TwoLayers(
            config.expression_rows, config.expression, config.w_dim, **sizes, rngs=rngs
        )

    def weights(self, pose: Float[Array, "n a"]) -> Float[Array, "n k"]:
        """Blending weights alpha of the anchors.

        Args:
            pose: [N, A], pitch, yaw and roll in radians, of which the first `angles` are read.

        Raises:
            ValueError: `rotation` is "direct", which has none.
        """
        residual = self._residual(pose)
        return hull_weights(residual, beta=self.config.beta, sharpness=self.config.sharpness)

    def weight_sums(self, pose: Float[Array, "n a"]) -> Float[Array, " n"]:
        """What the weights are divided by, [N]: the manifold is well defined where it is positive.

        Raises:
            ValueError: `rotation` is "direct".
        """
        residual = self._residual(pose)
        weights = dilated(residual, beta=self.config.beta, sharpness=self.config.sharpness)
        return jnp.sum(weights, axis=-1)

    def turned(self, pose: Float[Array, "n a"]) -> Float[Array, "n l d"]:
        """w_rot of head poses."""
        if self.config.rotation == "blend":
            return blend(self.weights(pose), self.anchors[...])
        return self.anchors[...].mean(axis=0) + self._rotated(pose)

    def offsets(self, expression: Float[Array, "n e"]) -> Float[Array, "n r d"]:
        """F_expr of jaws and expressions [N, E]: what is added to the first rows."""
        standard = (expression - self.expression_mean[...]) / self.expression_scale[...]
        return self.expression(standard)

    def __call__(
        self, pose: Float[Array, "n a"], expression: Float[Array, "n e"]
    ) -> Float[Array, "n l d"]:
        """Latents of N faces; rows from `expression_rows` on are those of `turned`, bit for bit."""
        return self.moved(self.turned(pose), self.offsets(expression))

    def moved(
        self, turned: Float[Array, "n l d"], offsets: Float[Array, "n r d"]
    ) -> Float[Array, "n l d"]:
        """Equation 9: w_rot with offsets added to its first rows."""
        return turned.at[:, : self.config.expression_rows].add(offsets)

    def _residual(self, pose: jax.Array) -> jax.Array:
        if self.config.rotation != "blend":
            raise ValueError("AvatarMappers: rotation='direct' has no blending weights")
        return self._rotated(pose)[:, 0]

    def _rotated(self, pose: jax.Array) -> jax.Array:
        read = pose[:, : self.config.angles]
        return self.rotation((read - self.pose_mean[...]) / self.pose_scale[...])


def _uniform(rngs: nnx.Rngs, shape: tuple[int, ...], inputs: int) -> jax.Array:
    limit = inputs**-0.5
    return jax.random.uniform(rngs.params(), shape, minval=-limit, maxval=limit)
