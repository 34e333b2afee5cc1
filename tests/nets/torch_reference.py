"""Float64 NumPy references for PyTorch's layers, written from their definitions: NHWC images, the
source's own weight layouts, loops over the window. They share no code with the library."""

import numpy as np


def pair(value):
    return (value, value) if isinstance(value, int) else value


def windows(x, size, stride, padding, fill):
    """Every pixel of each window: [taps, N, rows, columns, C]."""
    (kh, kw), (py, px) = pair(size), pair(padding)
    x = np.pad(x, ((0, 0), (py, py), (px, px), (0, 0)), constant_values=fill)
    rows, columns = ((n - k) // stride + 1 for n, k in zip(x.shape[1:3], (kh, kw), strict=True))
    return np.stack(
        [
            x[:, i : i + stride * rows : stride, j : j + stride * columns : stride][
                :, :rows, :columns
            ]
            for i in range(kh)
            for j in range(kw)
        ]
    )


def conv(x, weight, bias=None, *, stride=1, padding=0):
    """Weight [O, I, kh, kw], correlated."""
    weight = np.asarray(weight, np.float64)
    taps = windows(np.asarray(x, np.float64), weight.shape[2:], stride, padding, 0.0)
    kernel = weight.transpose(2, 3, 1, 0).reshape(len(taps), *weight.shape[1::-1])
    y = sum(tap @ k for tap, k in zip(taps, kernel, strict=True))
    return y if bias is None else y + bias


def batch_norm(x, weight, bias, mean, variance, *, epsilon):
    """By the running statistics."""
    return (x - mean) / np.sqrt(variance + epsilon) * weight + bias


def max_pool(x, size, *, stride, padding=0):
    return windows(x, size, stride, padding, -np.inf).max(axis=0)


def average_pool(x, size, *, stride, padding=0, count_padding=True):
    fill = 0.0 if count_padding else np.nan
    return np.nanmean(windows(x, size, stride, padding, fill), axis=0)


def resize(x, height, width):
    """Bilinear by the distance between pixel centres, the outermost pixel repeated."""
    x = np.asarray(x, np.float64)
    for axis, size in ((1, height), (2, width)):
        rows = []
        for i in range(size):
            centre = (i + 0.5) * x.shape[axis] / size - 0.5
            centre = min(max(centre, 0.0), x.shape[axis] - 1.0)
            low = int(np.floor(centre))
            high = min(low + 1, x.shape[axis] - 1)
            part = centre - low
            rows.append((1 - part) * x.take(low, axis) + part * x.take(high, axis))
        x = np.stack(rows, axis)
    return x


def relu(x):
    return np.maximum(x, 0.0)
