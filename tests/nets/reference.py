"""Float64 NumPy references for StyleGAN2's operators, written from their definitions: loops and
explicit zeros, sharing no code and no algebra with the library."""

import numpy as np


def upfirdn(x, taps, *, up=1, down=1, padding=(0, 0, 0, 0), gain=1.0, flip=False):
    """[N, H, W, C]: insert zeros, pad or crop, filter with a full 2-D kernel, decimate."""
    x, taps = np.asarray(x, np.float64), np.asarray(taps, np.float64)
    kernel = np.outer(taps, taps) if taps.ndim == 1 else taps
    if not flip:
        kernel = kernel[::-1, ::-1]
    n, h, w, c = x.shape
    y = np.zeros((n, h * up, w * up, c))
    y[:, ::up, ::up] = x
    y0, y1, x0, x1 = padding
    y = np.pad(y, ((0, 0), (max(y0, 0), max(y1, 0)), (max(x0, 0), max(x1, 0)), (0, 0)))
    y = y[:, max(-y0, 0) : y.shape[1] - max(-y1, 0), max(-x0, 0) : y.shape[2] - max(-x1, 0)]
    return gain * correlate(y, kernel[:, :, None, None] * np.eye(c))[:, ::down, ::down]


def correlate(x, kernel, pad=0):
    """[N, H, W, I] with [k, l, I, O], zero padding."""
    x = np.pad(np.asarray(x, np.float64), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    kh, kw = kernel.shape[:2]
    rows, columns = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    y = np.zeros((x.shape[0], rows, columns, kernel.shape[3]))
    for i in range(kh):
        for j in range(kw):
            y += x[:, i : i + rows, j : j + columns] @ np.asarray(kernel[i, j], np.float64)
    return y


def transposed_conv(x, kernel):
    """y[2i + k, 2j + l] += x[i, j] kernel[k, l]: [N, 2H + k - 2, 2W + l - 2, O]."""
    x = np.asarray(x, np.float64)
    n, h, w, _ = x.shape
    kh, kw = kernel.shape[:2]
    y = np.zeros((n, 2 * h + kh - 2, 2 * w + kw - 2, kernel.shape[3]))
    for k in range(kh):
        for m in range(kw):
            y[:, k : k + 2 * h : 2, m : m + 2 * w : 2] += x @ np.asarray(kernel[k, m], np.float64)
    return y


def conv_resample(x, kernel, taps, *, up=1, down=1):
    """Convolution with the reference's order of filtering and its alignment."""
    size = kernel.shape[0]
    if up == 1 and down == 1:
        return correlate(x, kernel, pad=size // 2)
    t = len(taps)
    if down == 2:
        # Filter so that the k x k convolution of stride 2 is centred between two samples.
        total = t - 2 + 2 * (size // 2)
        before, after = total - total // 2, total // 2
        y = upfirdn(x, taps, padding=(before, after, before, after))
        return correlate(y, kernel)[:, ::2, ::2]
    if size == 1:
        y = correlate(x, kernel)
        return upfirdn(y, taps, up=2, gain=4, padding=((t + 1) // 2, (t - 2) // 2) * 2)
    y = transposed_conv(x, kernel)
    total = 2 * x.shape[1] + t - 1 - y.shape[1]
    before, after = total - total // 2, total // 2
    return upfirdn(y, taps, gain=4, padding=(before, after, before, after))


def modulated_conv(x, kernel, styles, taps, *, up=1, demodulate=True):
    """One kernel per image: scale by the style, normalise each output map, convolve."""
    kernel, styles = np.asarray(kernel, np.float64), np.asarray(styles, np.float64)
    outputs = []
    for image, style in zip(x, styles, strict=True):
        own = kernel * style[:, None]
        if demodulate:
            own = own / np.sqrt(np.sum(own**2, axis=(0, 1, 2), keepdims=True) + 1e-8)
        outputs.append(conv_resample(image[None], own, taps, up=up)[0])
    return np.stack(outputs)


def bias_act(x, bias, *, activation, gain=1.0, clamp=None):
    """Bias, activation, gain, clamp."""
    y = np.asarray(x, np.float64) + bias
    if activation == "lrelu":
        y = np.where(y >= 0, y, 0.2 * y) * np.sqrt(2)
    y = y * gain
    return y if clamp is None else np.clip(y, -clamp * gain, clamp * gain)
