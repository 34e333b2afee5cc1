"""Fréchet distance between two sets of features: Heusel et al. 2017, "GANs Trained by a Two
Time-Scale Update Rule Converge to a Local Nash Equilibrium", equation 6.

The Fréchet Inception distance is this one between features of ``jaxface.nets.InceptionV3``.
"""

import numpy as np
from jaxtyping import Float


def frechet_distance(samples: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"]) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of two Gaussians fitted to features.

    In float64. The trace of the root is that of the symmetric (C1^(1/2) C2 C1^(1/2))^(1/2), whose
    eigenvalues are real, where the reference takes the real part of a general matrix root.

    Args:
      samples: [N, D], more items than dimensions for covariances of full rank.
      real: [M, D].

    Raises:
      ValueError: the shapes do not fit, or a set has fewer than two items.
    """
    _check("frechet_distance", samples, real)
    (mean1, covariance1), (mean2, covariance2) = (
        (x.mean(axis=0), np.atleast_2d(np.cov(x, rowvar=False)))
        for x in (np.asarray(samples, np.float64), np.asarray(real, np.float64))
    )
    values, vectors = np.linalg.eigh(covariance1)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    inner = np.linalg.eigvalsh(root @ covariance2 @ root)
    trace = np.trace(covariance1) + np.trace(covariance2)
    trace -= 2.0 * np.sqrt(np.maximum(inner, 0.0)).sum()
    return float(np.square(mean1 - mean2).sum() + max(trace, 0.0))


def _check(name: str, samples: np.ndarray, real: np.ndarray) -> None:
    if samples.ndim != 2 or real.ndim != 2 or samples.shape[1] != real.shape[1]:
        raise ValueError(
            f"{name}: expected features [N, D] and [M, D], got {samples.shape} and {real.shape}."
        )
    if min(len(samples), len(real)) < 2:
        raise ValueError(
            f"{name}: expected at least two items each, got {len(samples)} and {len(real)}."
        )
