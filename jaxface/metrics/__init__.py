"""Measures of quality, one per module, each citing what it follows. Images are in [-1, 1]."""

from jaxface.metrics.psnr import psnr
from jaxface.metrics.ssim import ssim

__all__ = ["psnr", "ssim"]
