"""Multiply-adds of the published networks, layer by layer from the papers' tables.

Written without the networks' code. A convolution's taps on its zero padding count as nothing, as in
XLA's analysis; norms, activations and pooling are left out.
"""


def conv(in_channels, out_channels, size, side, stride=1):
    """A padded square convolution of odd size on a square map: (multiply-adds, side after it)."""
    outputs = range(0, side, stride)
    taps = sum(0 <= i + k - size // 2 < side for i in outputs for k in range(size))
    return in_channels * out_channels * taps**2, len(outputs)


def resized(rows, columns, channels):
    """A map of `columns` squared to `rows` squared by two products with matrices."""
    return rows * columns * columns * channels + rows * rows * columns * channels


def irse_body(side, in_channels=3):
    """IR-SE50's stem and its four stages of 3, 4, 14 and 3 units."""
    total, side = conv(in_channels, 64, 3, side)
    width = 64
    for channels, units in ((64, 3), (128, 4), (256, 14), (512, 3)):
        for unit in range(units):
            stride = 2 if unit == 0 else 1
            if width != channels:
                total += conv(width, channels, 1, side, stride)[0]
            total += conv(width, channels, 3, side)[0]
            second, side = conv(channels, channels, 3, side, stride)
            total += second + 2 * channels * (channels // 16)
            width = channels
    return total


def irse():
    """An aligned portrait of 256 px: the face's 188 px averaged to 112, then the network."""
    crop = 112 * 188 * 188 * 3 + 112 * 112 * 188 * 3
    return crop + irse_body(112) + 7 * 7 * 512 * 512


def style_block(side):
    """Convolutions of stride 2 down to a point, then dense."""
    total = 512 * 512
    while side > 1:
        layer, side = conv(512, 512, 3, side, 2)
        total += layer
    return total


def pyramid_encoder():
    """pSp's and e4e's: 3 styles off the coarsest map, 4 off the middle one, 11 off the finest."""
    laterals = conv(256, 512, 1, 32)[0] + conv(128, 512, 1, 64)[0]
    raised = resized(32, 16, 512) + resized(64, 32, 512)
    styles = 3 * style_block(16) + 4 * style_block(32) + 11 * style_block(64)
    return irse_body(256) + laterals + raised + styles


def restyle_step():
    """A step's encoder on two images, and the generator's image averaged from 1024 to 256."""
    return irse_body(256, in_channels=6) + resized(256, 1024, 3) + 18 * style_block(16)


def resnet50():
    """224 px to 2048 features (He et al. 2016, table 1; the stride in the 3 x 3 convolution)."""
    # The stem's padding of 3 on even sides leaves one column less of it on the far side.
    outputs = range(0, 224, 2)
    taps = sum(0 <= i + k - 3 < 224 for i in outputs for k in range(7))
    total, side, width = 3 * 64 * taps**2, 56, 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner = 64 << stage
        for block in range(blocks):
            stride = 2 if block == 0 and stage else 1
            total += conv(width, inner, 1, side)[0]
            if block == 0:
                total += conv(width, 4 * inner, 1, side, stride)[0]
            layer, side = conv(inner, inner, 3, side, stride)
            total += layer + conv(inner, 4 * inner, 1, side)[0]
            width = 4 * inner
    return total


def vgg16(side):
    """The thirteen convolutions."""
    total, width = 0, 3
    for channels, layers in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(layers):
            total += conv(width, channels, 3, side)[0]
            width = channels
        side //= 2
    return total


DECA = resnet50() + 2048 * 1024 + 1024 * 236
