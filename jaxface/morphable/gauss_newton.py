"""A fixed number of Gauss-Newton steps that are differentiable in what is fitted to.

All but the last step are taken without gradient. The last step's matrix has none either, so that
the gradient in the observations is that of the minimum by the implicit function theorem, with Gauss
and Newton's matrix for the second derivatives: a solution of one more linear system, whatever the
number of steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array


class Linearised(NamedTuple):
    """A least-squares problem near N solutions.

    Attributes:
        jacobian: of the residuals, [N, R, K].
        residuals: at the solutions, predicted less observed, [N, R].
        precision: of the prior, the inverse of its covariance, [K, K].
        offset: of the solutions from the prior's mean, [N, K].
    """

    jacobian: Array
    residuals: Array
    precision: Array
    offset: Array


def gauss_newton(
    linearise: Callable[[Any, Array], Linearised], observed: Any, start: Array, *, steps: int
) -> Array:
    """The minimum of |residuals|^2 + offset^T precision offset.

    Args:
        linearise: of what is observed and solutions [N, K].
        observed: a pytree.
        start: [N, K].
        steps: at least 1.

    Returns:
        [N, K].
    """
    still = jax.lax.stop_gradient(observed)

    def step(observed: Any, x: Array) -> Array:
        parts = linearise(observed, x)
        jacobian = jax.lax.stop_gradient(parts.jacobian)
        exact = jax.lax.Precision.HIGHEST
        square = jnp.einsum("nrk,nrl->nkl", jacobian, jacobian, precision=exact)
        slope = jnp.einsum("nrk,nr->nk", jacobian, parts.residuals, precision=exact)
        slope = slope + jnp.matmul(parts.offset, parts.precision, precision=exact)
        factor = jax.scipy.linalg.cho_factor(square + parts.precision)
        return x - jax.scipy.linalg.cho_solve(factor, slope[..., None])[..., 0]

    x = jax.lax.stop_gradient(start)
    x = jax.lax.fori_loop(0, steps - 1, lambda _, x: step(still, x), x)
    return step(observed, jax.lax.stop_gradient(x))
