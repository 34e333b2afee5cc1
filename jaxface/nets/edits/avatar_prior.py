"""What the avatars of many persons have in common: mappers of a new person in closed form.

PVP (Lin et al. 2023) trains F_rot and F_expr of every person from nothing and names "a network that
outputs a personalised manifold" as future work. This is such a network. F_expr's offsets mean the
same with everybody, so its MLPs are shared as they are. F_rot's outputs are weights of one person's
anchors and mean nothing with another's; shared is its first layer h(pose), and the last one is
solved by ridge regression over the person's own anchors. Let z = (h(pose), expression) of the
anchors, less its mean, in the rows of Z [K, hidden + E]. The point of the anchors' affine hull that
a linear regression of their codes on z predicts for a pose and the mean expression has weights

    alpha(pose) = 1/K + Z (Z' Z + ridge I)^-1 (h(pose) - mean h, 0),

which are an affine function of h(pose): a last layer. So the mappers are those of
`jaxface.nets.AvatarMappers`, and can be trained on as such. The anchors' expressions are among the
regressors so that a pose in which they happened to smile does not smile. What regression of a last
layer in closed form inside a training is, is Bertinetto et al. 2019, "Meta-learning with
differentiable closed-form solvers".
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import nnx
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float

from jaxface.latents import blend, hull_weights
from jaxface.nets.edits.avatar import TwoLayers
from jaxface.nets.encoders.styles import SLOPE
from jaxface.nets.variables import Buffer

_ITERATIONS = 200  # of conjugate gradients, at most; some dozens are enough with a ridge of 1


@dataclasses.dataclass(frozen=True)
class AvatarPriorConfig:
    """Sizes, as those of the mappers that it gives (`jaxface.nets.AvatarConfig`).

    Attributes:
        num_ws: rows of W+.
        expression: numbers of a face's jaw and expression.
        w_dim: width of a row.
        angles: of head poses that are read, from the first: pitch, yaw and roll.
        expression_rows: of W+ that expressions move, from the first.
        hidden: width between the two layers of each MLP.
        beta, sharpness: of the dilated hull.

    Raises:
        ValueError: sizes that are not positive, or more rows than there are.
    """

    num_ws: int
    expression: int
    w_dim: int = 512
    angles: int = 2
    expression_rows: int = 8
    hidden: int = 128
    beta: float = 0.02
    sharpness: float = 100.0

    def __post_init__(self) -> None:
        sizes = (self.num_ws, self.expression, self.w_dim, self.hidden)
        if min(sizes) < 1 or not 1 <= self.expression_rows <= self.num_ws:
            raise ValueError(
                "AvatarPriorConfig: expected positive sizes and expression_rows from 1 to num_ws, "
                f"got {self}"
            )


class AvatarPrior(nnx.Module):
    """F_expr, the first layer of F_rot, and how its last layer is solved for.

    Arrays that no optimiser touches: ``pose_mean``, ``pose_scale`` [angles] and
    ``expression_scale`` [E] standardise inputs; expressions are less each person's own mean.
    """

    def __init__(self, config: AvatarPriorConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.pose_mean = Buffer(jnp.zeros((config.angles,)))
        self.pose_scale = Buffer(jnp.ones((config.angles,)))
        self.expression_scale = Buffer(jnp.ones((config.expression,)))
        limit = config.angles**-0.5
        draw = jax.random.uniform
        self.weight1 = nnx.Param(
            draw(rngs.params(), (config.angles, config.hidden), minval=-limit, maxval=limit)
        )
        self.bias1 = nnx.Param(draw(rngs.params(), (config.hidden,), minval=-limit, maxval=limit))
        self.expression = TwoLayers(
            config.expression_rows,
            config.expression,
            config.w_dim,
            hidden=config.hidden,
            start=False,
            rngs=rngs,
        )
        self.log_ridge = nnx.Param(jnp.zeros(()))
        self.log_share = nnx.Param(jnp.zeros(()))

    def last_layer(
        self, pose: Float[Array, "k a"], expression: Float[Array, "k e"]
    ) -> tuple[Float[Array, "h k"], Float[Array, " k"]]:
        """Weights and biases of F_rot's last layer over K anchors.

        Args:
            pose: of the anchors: pitch, yaw and roll in radians, of which `angles` are read.
            expression: of the anchors, jaw and expression as they are read.
        """
        hidden = self._hidden(pose)
        mean = hidden.mean(axis=0)
        moved = (expression - expression.mean(axis=0)) / self.expression_scale[...]
        regressors = jnp.concatenate([hidden - mean, jnp.exp(self.log_share[...]) * moved], axis=1)
        precision = jax.lax.Precision.HIGHEST
        # Of K anchors the K x K system, since they are mostly fewer than the regressors.
        gram = jnp.matmul(regressors, regressors.T, precision=precision)
        ridge = jnp.exp(self.log_ridge[...])

        def system(x: jax.Array) -> jax.Array:
            return jnp.matmul(gram, x, precision=precision) + ridge * x

        weight = cg(system, hidden - mean, tol=1e-5, maxiter=_ITERATIONS)[0].T
        return weight, -jnp.matmul(mean, weight, precision=precision)

    def weights(
        self,
        anchor_pose: Float[Array, "k a"],
        anchor_expression: Float[Array, "k e"],
        pose: Float[Array, "n a"],
    ) -> Float[Array, "n k"]:
        """Blending weights of a person's anchors for N head poses."""
        weight, bias = self.last_layer(anchor_pose, anchor_expression)
        residual = jnp.matmul(self._hidden(pose), weight, precision=jax.lax.Precision.HIGHEST)
        config = self.config
        return hull_weights(jnp.tanh(residual + bias), beta=config.beta, sharpness=config.sharpness)

    def offsets(
        self, expression: Float[Array, "n e"], mean: Float[Array, " e"]
    ) -> Float[Array, "n r d"]:
        """F_expr of N expressions of a person, whose mean one is `mean`."""
        return self.expression((expression - mean) / self.expression_scale[...])

    def __call__(
        self,
        anchors: Float[Array, "k l d"],
        anchor_pose: Float[Array, "k a"],
        anchor_expression: Float[Array, "k e"],
        pose: Float[Array, "n a"],
        expression: Float[Array, "n e"],
    ) -> Float[Array, "n l d"]:
        """Latents of N faces of a person who is known by K anchors alone."""
        turned = blend(self.weights(anchor_pose, anchor_expression, pose), anchors)
        offsets = self.offsets(expression, anchor_expression.mean(axis=0))
        return turned.at[:, : self.config.expression_rows].add(offsets)

    def _hidden(self, pose: jax.Array) -> jax.Array:
        standard = (pose[:, : self.config.angles] - self.pose_mean[...]) / self.pose_scale[...]
        y = jnp.matmul(standard, self.weight1[...], precision=jax.lax.Precision.HIGHEST)
        return jax.nn.leaky_relu(y + self.bias1[...], SLOPE)
