"""Measures of quality, one per module, each citing what it follows. Images are in [-1, 1]."""

from jaxface.metrics.frechet import frechet_distance
from jaxface.metrics.linear_probe import linear_probe_r2
from jaxface.metrics.path_length import perceptual_path_length
from jaxface.metrics.precision_recall import PrecisionRecall, precision_recall
from jaxface.metrics.psnr import psnr
from jaxface.metrics.ssim import ssim

__all__ = [
    "PrecisionRecall",
    "frechet_distance",
    "linear_probe_r2",
    "perceptual_path_length",
    "precision_recall",
    "psnr",
    "ssim",
]
