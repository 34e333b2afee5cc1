"""Operators of StyleGAN2: FIR resampling, convolution with resampling, dense layers.

Layout: images are NHWC, kernels HWIO, dense weights [in, out]. Every operator is a pure
function of arrays with a float64 NumPy reference in ``tests/nets``.
"""

from jaxface.nets.ops.activation import bias_act
from jaxface.nets.ops.convolution import conv_resample, demodulation, modulated_conv
from jaxface.nets.ops.fir import downsample, filter2d, fir_taps, upfirdn, upsample

__all__ = [
    "bias_act",
    "conv_resample",
    "demodulation",
    "downsample",
    "filter2d",
    "fir_taps",
    "modulated_conv",
    "upfirdn",
    "upsample",
]
