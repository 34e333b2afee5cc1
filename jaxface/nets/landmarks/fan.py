"""FAN, the face alignment network: 68 landmarks from four stacked hourglasses (Bulat and
Tzimiropoulos 2017, "How far are we from solving the 2D & 3D Face Alignment problem?"; the form of
github.com/1adrianb/face-alignment, ``face_alignment/models``).

The input is the project's, [-1, 1] RGB, square, of any size: the face's crop, as the original cuts
it before it asks the network. It is resized to 256 x 256 bilinearly without antialiasing
(``cv2.INTER_LINEAR`` there) and taken to the network's [0, 1]. The original's crop is the square
whose side is 200 / 195 of the detector's box's width plus height, and whose centre is the box's,
moved up by 0.12 of its height.

Points are (x, y) in pixels of the given images, x to the right, y down, the first pixel's centre at
(0.5, 0.5). The original adds the same half pixel to its heatmaps' indices (``get_preds_fromhm``),
but then truncates a point in the photograph to whole pixels; here it stays as found.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.torch_layers import (
    BatchNorm,
    Conv2d,
    average_pool,
    check_images,
    resize_bilinear,
)

# Each landmark's partner in the mirror image: jaw, brows, nose, eyes, mouth.
MIRRORED = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),
)

# A heatmap is trained towards a Gaussian of height 1 and 3.25 px deviation (draw_gaussian in the
# original: 13 px wide, a quarter of it). To this power it is 0.7 px wide, as narrow as the grid
# resolves, and 4096 pixels of background weigh some 1e-5 of it.
SHARPNESS = 20.0

# Below this height a heatmap's peak is taken for noise, and its point drifts to the image's centre.
LEAST_PEAK = 0.05


@dataclasses.dataclass(frozen=True)
class FANConfig:
    """Sizes of the network; the defaults are 2DFAN-4's.

    Args:
        stacks: hourglasses in a row.
        depth: how often each halves its input.
        channels: widths of the first convolution, of the next blocks and of the hourglasses.
        num_landmarks: heatmaps.
        input_size: side of the network's input; heatmaps have a quarter of it.
    """

    stacks: int = 4
    depth: int = 4
    channels: tuple[int, int, int] = (64, 128, 256)
    num_landmarks: int = 68
    input_size: int = 256

    def __post_init__(self) -> None:
        if self.stacks < 1 or self.depth < 1 or self.num_landmarks < 1:
            raise ValueError(
                f"stacks, depth, num_landmarks: expected at least 1, got {self.stacks}, "
                f"{self.depth}, {self.num_landmarks}"
            )
        if self.channels[0] < 1 or any(c < 4 or c % 4 for c in self.channels[1:]):
            raise ValueError(
                f"channels: expected the second and third to be multiples of 4, got {self.channels}"
            )
        if self.input_size < 1 or self.input_size % (4 << self.depth):
            raise ValueError(
                f"input_size: expected a multiple of {4 << self.depth} (a quarter, halved "
                f"{self.depth} times), got {self.input_size}"
            )


class ConvBlock(nnx.Module):
    """Three 3 x 3 convolutions, each after a norm and a ReLU; their outputs joined, plus the input.

    The hierarchical, parallel and multi-scale block of Bulat and Tzimiropoulos 2017, "Binarized
    Convolutional Landmark Localizers for Human Pose Estimation and Face Alignment with Limited
    Resources".
    """

    def __init__(self, in_channels: int, out_channels: int, *, rngs: nnx.Rngs):
        widths = (in_channels, out_channels // 2, out_channels // 4, out_channels // 4)
        self.norms = nnx.List([BatchNorm(n, rngs=rngs) for n in widths[:3]])
        self.convs = nnx.List(
            [
                Conv2d(n, m, 3, padding=1, bias=False, rngs=rngs)
                for n, m in itertools.pairwise(widths)
            ]
        )
        self.project = nnx.List([])
        if in_channels != out_channels:
            conv = Conv2d(in_channels, out_channels, 1, bias=False, rngs=rngs)
            self.project = nnx.List([BatchNorm(in_channels, rngs=rngs), conv])

    def __call__(self, x: Float[Array, "n h w i"]) -> Float[Array, "n h w o"]:
        """[N, H, W, in] to [N, H, W, out]."""
        y, outputs = x, []
        for norm, conv in zip(self.norms, self.convs, strict=True):
            y = conv(jax.nn.relu(norm(y)))
            outputs.append(y)
        if self.project:
            norm, conv = self.project
            x = conv(jax.nn.relu(norm(x)))
        return jnp.concatenate(outputs, axis=-1) + x


class Hourglass(nnx.Module):
    """Down by halves and up again, with a block beside each level (Newell et al. 2016)."""

    def __init__(self, channels: int, depth: int, *, rngs: nnx.Rngs):
        def blocks() -> nnx.List:
            return nnx.List([ConvBlock(channels, channels, rngs=rngs) for _ in range(depth)])

        # From the full size down.
        self.beside, self.down, self.up = blocks(), blocks(), blocks()
        self.bottom = ConvBlock(channels, channels, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        """[N, H, W, C] to the same; sides are multiples of 2 ** depth."""
        beside = []
        for skip, down in zip(self.beside, self.down, strict=True):
            beside.append(skip(x))
            x = down(average_pool(x, 2, stride=2))
        x = self.bottom(x)
        for skipped, up in zip(reversed(beside), reversed(self.up), strict=True):
            x = skipped + jnp.repeat(jnp.repeat(up(x), 2, axis=1), 2, axis=2)
        return x


class Stack(nnx.Module):
    """An hourglass, its heatmaps, and what the next one is told of both."""

    def __init__(self, config: FANConfig, *, last: bool, rngs: nnx.Rngs):
        width, points = config.channels[2], config.num_landmarks
        self.hourglass = Hourglass(width, config.depth, rngs=rngs)
        self.block = ConvBlock(width, width, rngs=rngs)
        self.conv = Conv2d(width, width, 1, rngs=rngs)
        self.norm = BatchNorm(width, rngs=rngs)
        self.heat = Conv2d(width, points, 1, rngs=rngs)
        self.back = nnx.List([])
        if not last:
            self.back = nnx.List(
                [Conv2d(width, width, 1, rngs=rngs), Conv2d(points, width, 1, rngs=rngs)]
            )

    def __call__(
        self, x: Float[Array, "n h w c"]
    ) -> tuple[Float[Array, "n h w c"], Float[Array, "n h w k"]]:
        """Features to the next stack's features and this one's heatmaps."""
        y = self.block(self.hourglass(x))
        y = jax.nn.relu(self.norm(self.conv(y)))
        heat = self.heat(y)
        if self.back:
            features, heats = self.back
            x = x + features(y) + heats(heat)
        return x, heat


class FAN(nnx.Module):
    """Heatmaps of facial landmarks, and the points in them."""

    def __init__(self, config: FANConfig, *, rngs: nnx.Rngs):
        self.config = config
        first, middle, width = config.channels
        self.conv = Conv2d(3, first, 7, stride=2, padding=3, rngs=rngs)
        self.norm = BatchNorm(first, rngs=rngs)
        self.blocks = nnx.List(
            [
                ConvBlock(first, middle, rngs=rngs),
                ConvBlock(middle, middle, rngs=rngs),
                ConvBlock(middle, width, rngs=rngs),
            ]
        )
        last = config.stacks - 1
        self.stacks = nnx.List(
            [Stack(config, last=i == last, rngs=rngs) for i in range(config.stacks)]
        )

    def heatmaps(self, images: Float[Array, "n s s 3"]) -> list[Float[Array, "n h h k"]]:
        """The heatmaps of every stack; the last ones are the network's answer.

        Args:
            images: [N, S, S, 3] in [-1, 1], the crop of a face each.

        Returns:
            For each stack [N, input_size / 4, input_size / 4, num_landmarks], about 1 at a
            landmark and 0 elsewhere.

        Raises:
            ValueError: for images that are not [N, H, W, 3], or not square.
        """
        check_images("FAN", images)
        if images.shape[1] != images.shape[2]:
            raise ValueError(
                f"FAN: expected square images, the crop of a face, got {images.shape[1]} x "
                f"{images.shape[2]}"
            )
        size = self.config.input_size
        x = resize_bilinear((images + 1) / 2, (size, size), align_corners=False)
        x = jax.nn.relu(self.norm(self.conv(x)))
        x = average_pool(self.blocks[0](x), 2, stride=2)
        x = self.blocks[2](self.blocks[1](x))
        found = []
        for stack in self.stacks:
            x, heat = stack(x)
            found.append(heat)
        return found

    def mirrored_heatmaps(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n h h k"]:
        """The last heatmaps' mean over the image and its mirror image.

        What the original does unless told not to (``flip_input``), at twice the cost.

        Args:
            images: as for :meth:`heatmaps`.

        Returns:
            [N, input_size / 4, input_size / 4, 68].

        Raises:
            ValueError: as :meth:`heatmaps`, and for a network without the 68 landmarks.
        """
        if self.config.num_landmarks != len(MIRRORED):
            raise ValueError(
                f"FAN: the mirror's order is known for {len(MIRRORED)} landmarks, not for "
                f"{self.config.num_landmarks}"
            )
        mirrored = self.heatmaps(images[:, :, ::-1])[-1][:, :, ::-1, np.array(MIRRORED)]
        return (self.heatmaps(images)[-1] + mirrored) / 2

    def __call__(
        self, images: Float[Array, "n s s 3"], *, mirrored: bool = True
    ) -> Float[Array, "n k 2"]:
        """Landmarks as the original reads them from the heatmaps; not differentiable.

        Args:
            images: as for :meth:`heatmaps`.
            mirrored: also ask the mirror image, :meth:`mirrored_heatmaps`.

        Returns:
            [N, num_landmarks, 2] in pixels of `images`.

        Raises:
            ValueError: as :meth:`heatmaps` and :meth:`mirrored_heatmaps`.
        """
        heat = self.mirrored_heatmaps(images) if mirrored else self.heatmaps(images)[-1]
        return peaks(heat) * (images.shape[1] / heat.shape[1])

    def soft_landmarks(self, images: Float[Array, "n s s 3"]) -> Float[Array, "n k 2"]:
        """Landmarks as centres of mass, :func:`centres`: differentiable in the images.

        Args:
            images: as for :meth:`heatmaps`.

        Returns:
            [N, num_landmarks, 2] in pixels of `images`.

        Raises:
            ValueError: as :meth:`heatmaps`.
        """
        heat = self.heatmaps(images)[-1]
        return centres(heat) * (images.shape[1] / heat.shape[1])


def peaks(heatmaps: Float[Array, "n h w k"]) -> Float[Array, "n k 2"]:
    """The largest pixel of each map, moved a quarter pixel towards its larger neighbour.

    ``get_preds_fromhm`` of the original: on each axis by the sign of the neighbours' difference,
    for a peak that does not touch the map's edge; of equal pixels the first in reading order.

    Args:
        heatmaps: [N, H, W, K].

    Returns:
        [N, K, 2] in pixels of the map, the first one's centre at (0.5, 0.5).
    """
    n, height, width, count = heatmaps.shape
    index = heatmaps.reshape(n, height * width, count).argmax(axis=1)
    y, x = index // width, index % width
    inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
    item, point = jnp.arange(n)[:, None], jnp.arange(count)

    def at(dy: int, dx: int) -> jax.Array:
        # Where a neighbour is outside, the result is not used.
        rows, columns = jnp.clip(y + dy, 0, height - 1), jnp.clip(x + dx, 0, width - 1)
        return heatmaps[item, rows, columns, point]

    slope = jnp.stack([at(0, 1) - at(0, -1), at(1, 0) - at(-1, 0)], axis=-1)
    centre = jnp.stack([x, y], axis=-1).astype(heatmaps.dtype) + 0.5
    return centre + 0.25 * jnp.sign(slope) * inside[..., None].astype(slope.dtype)


def centres(
    heatmaps: Float[Array, "n h w k"], *, sharpness: float = SHARPNESS
) -> Float[Array, "n k 2"]:
    """The mean position under softmax(sharpness * map / its maximum): a soft, smooth ``argmax``.

    Differentiable almost everywhere, unlike :func:`peaks`, whose gradient is zero: for energies
    such as PIE's landmark term. Not the original's. Dividing by the maximum makes a faint peak as
    sharp as a strong one.

    Args:
        heatmaps: [N, H, W, K].
        sharpness: larger is closer to the largest pixel, smaller is smoother.

    Returns:
        [N, K, 2] in pixels of the map, the first one's centre at (0.5, 0.5).
    """
    _, height, width, _ = heatmaps.shape
    peak = jnp.maximum(heatmaps.max(axis=(1, 2), keepdims=True), LEAST_PEAK)
    weights = jax.nn.softmax(sharpness * heatmaps / peak, axis=(1, 2))
    columns, rows = (jnp.arange(size, dtype=weights.dtype) + 0.5 for size in (width, height))
    x = jnp.einsum("nhwk,w->nk", weights, columns, precision=jax.lax.Precision.HIGHEST)
    y = jnp.einsum("nhwk,h->nk", weights, rows, precision=jax.lax.Precision.HIGHEST)
    return jnp.stack([x, y], axis=-1)
