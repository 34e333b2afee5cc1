"""Linear probe: how well an affine map reads targets from a representation (Alain and Bengio 2016,
"Understanding Intermediate Layers Using Linear Classifier Probes", in its regression form).
"""

import numpy as np
from jaxtyping import Float


def linear_probe_r2(
    inputs: Float[np.ndarray, "n i"],
    targets: Float[np.ndarray, " n *o"],
    *,
    held_out: float = 0.25,
    ridge: float = 1e-6,
) -> float:
    """Share of the targets' variance that a least-squares fit explains on items it has not seen.

    Args:
      inputs: [N, D]; standardised here.
      targets: [N, K]; the variance is summed over the K columns.
      held_out: share of the items, the last ones, that the fit does not see.
      ridge: added to the inputs' covariance, whose largest eigenvalue is of order D.

    Returns:
      R squared, at most 1; below 0 where the fit is worse than the mean.

    Raises:
      ValueError: the lengths differ, a side is no matrix, or the fit has fewer items than columns.
    """
    if inputs.ndim != 2 or targets.ndim != 2 or len(inputs) != len(targets):
        raise ValueError(
            f"linear_probe_r2: expected [N, D] and [N, K], got {inputs.shape} and {targets.shape}."
        )
    seen = len(inputs) - round(held_out * len(inputs))
    if seen <= inputs.shape[1] or seen == len(inputs):
        raise ValueError(
            f"linear_probe_r2: {len(inputs)} items leave {seen} for the fit of {inputs.shape[1]} "
            "columns and the rest to judge it; give it more."
        )
    x, y = np.asarray(inputs, np.float64), np.asarray(targets, np.float64)
    x = (x - x[:seen].mean(axis=0)) / np.maximum(x[:seen].std(axis=0), 1e-12)
    y = y - y[:seen].mean(axis=0)
    covariance = x[:seen].T @ x[:seen] / seen + ridge * np.eye(x.shape[1])
    weights = np.linalg.solve(covariance, x[:seen].T @ y[:seen] / seen)
    error = np.square(y[seen:] - x[seen:] @ weights).sum()
    spread = np.square(y[seen:] - y[seen:].mean(axis=0)).sum()
    return float(1.0 - error / spread)
