"""Measures of quality, one per module, each citing what it follows. Images are in [-1, 1]."""

from jaxface.metrics.aspect_ratios import aspect_ratios, ratio_correlations
from jaxface.metrics.frechet import frechet_distance
from jaxface.metrics.linear_probe import linear_probe_r2
from jaxface.metrics.nme import nme
from jaxface.metrics.path_length import perceptual_path_length
from jaxface.metrics.precision_recall import PrecisionRecall, precision_recall
from jaxface.metrics.psnr import psnr
from jaxface.metrics.ssim import ssim
from jaxface.metrics.verification import (
    true_accept_rate,
    verification_accuracy,
    verification_pairs,
)
from jaxface.metrics.warping import optical_flow, warping_error

__all__ = [
    "PrecisionRecall",
    "aspect_ratios",
    "frechet_distance",
    "linear_probe_r2",
    "nme",
    "optical_flow",
    "perceptual_path_length",
    "precision_recall",
    "psnr",
    "ratio_correlations",
    "ssim",
    "true_accept_rate",
    "verification_accuracy",
    "verification_pairs",
    "warping_error",
]
