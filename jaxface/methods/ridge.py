"""Linear regression whose penalty is chosen by cross-validation."""

import numpy as np


def ridge(inputs: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression, each output's penalty by generalised cross-validation (Golub et al. 1979).

    Args:
      inputs: [N, D], of mean 0.
      outputs: [N, K], of mean 0 and deviation 1.

    Returns:
      A [K, D], and the share of each output's variance that is explained out of sample [K]; at most
      0 where the inputs tell nothing of it.
    """
    left, singular, right = np.linalg.svd(inputs, full_matrices=False)
    squares, seen = np.square(singular), left.T @ outputs
    best = np.full(outputs.shape[1], np.inf)
    rows = np.zeros((outputs.shape[1], inputs.shape[1]))
    for penalty in squares[0] * np.logspace(-5, 1, 25):
        kept = squares / (squares + penalty)
        missed = outputs - left @ (kept[:, None] * seen)
        # The mean counts as a parameter too.
        score = np.mean(np.square(missed), axis=0) / (1 - (kept.sum() + 1) / len(inputs)) ** 2
        better = score < best
        shrunk = (singular / (squares + penalty))[:, None] * seen
        rows[better] = (right.T @ shrunk).T[better]
        best = np.minimum(best, score)
    return rows, 1 - best
