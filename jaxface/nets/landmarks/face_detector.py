"""BlazeFace, MediaPipe's short-range face detector (Bazarevsky et al. 2019).

A single-shot detector: every cell of a 16 x 16 grid has two anchors and every cell of an 8 x 8 grid
six, each of which scores whether a face is there and places a box and six points: the eyes, the
nose, the mouth, the ears. Suppressing those that mean one face is the caller's.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.tensorflow_layers import SameConv, SameDepthwise, widened
from jaxface.nets.torch_layers import check_images, max_pool

POINTS = 6
BOX = 4 + 2 * POINTS
"""Numbers of an anchor: dx, dy, width, height, and the points."""


@dataclasses.dataclass(frozen=True)
class FaceDetectorConfig:
    """Size of the network; the defaults are the published one's.

    Args:
        input_size: side of the images.
        stem: channels after the first convolution, which halves the side.
        channels: of each block.
        strided: blocks that halve the side. The fine grid is read before the last of them.
        fine_anchors, coarse_anchors: of a cell of each grid.

    Raises:
        ValueError: for channels that shrink, or strided blocks that are no blocks.
    """

    input_size: int = 128
    stem: int = 24
    channels: tuple[int, ...] = (24, 28, 32, 36, 42, 48, 56, 64, 72, 80, 88, *(96,) * 5)
    strided: tuple[int, ...] = (2, 5, 11)
    fine_anchors: int = 2
    coarse_anchors: int = 6

    def __post_init__(self) -> None:
        if self.stem < 1 or list(self.channels) != sorted(self.channels):
            raise ValueError(f"channels: expected growing widths, got {self.channels}")
        if not self.strided or not set(self.strided) <= set(range(1, len(self.channels))):
            raise ValueError(f"strided: expected some of the blocks, got {self.strided}")
        if self.input_size % (2 << len(self.strided)):
            raise ValueError(
                f"input_size: expected a multiple of {2 << len(self.strided)}, got "
                f"{self.input_size}"
            )

    @property
    def grids(self) -> tuple[tuple[int, int], ...]:
        """(cells a side, anchors of a cell), fine and coarse."""
        coarse = self.input_size // (2 << len(self.strided))
        return (2 * coarse, self.fine_anchors), (coarse, self.coarse_anchors)


class Detections(NamedTuple):
    """What N images' A anchors say.

    Attributes:
        scores: [N, A], logits.
        boxes: [N, A, 4]: left, top, right, bottom in units of the image's side.
        points: [N, A, 6, 2]: the image's left and right eye, nose, mouth, ears; (x, y).
    """

    scores: jax.Array
    boxes: jax.Array
    points: jax.Array


class DetectorBlock(nnx.Module):
    """Depthwise, then 1 x 1, plus the input, then a ReLU."""

    def __init__(self, in_channels: int, out_channels: int, *, stride: int, rngs: nnx.Rngs):
        self.depthwise = SameDepthwise(in_channels, stride=stride, rngs=rngs)
        self.pointwise = SameConv(in_channels, out_channels, 1, rngs=rngs)

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n _ _ _"]:
        """[N, H, W, in] to [N, H / stride, W / stride, out]."""
        y = self.pointwise(self.depthwise(x))
        if self.depthwise.stride == 2:
            x = max_pool(x, 2, stride=2)
        return jax.nn.relu(y + widened(x, y.shape[-1]))


class FaceDetector(nnx.Module):
    """Faces in squares."""

    def __init__(self, config: FaceDetectorConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.stem = SameConv(3, config.stem, 5, stride=2, rngs=rngs)
        blocks, channels, fine_channels = [], config.stem, config.stem
        for index, width in enumerate(config.channels):
            if index == config.strided[-1]:
                fine_channels = channels
            stride = 2 if index in config.strided else 1
            blocks.append(DetectorBlock(channels, width, stride=stride, rngs=rngs))
            channels = width
        self.blocks = nnx.List(blocks)
        fine, coarse = config.fine_anchors, config.coarse_anchors
        self.fine_scores = SameConv(fine_channels, fine, 1, rngs=rngs)
        self.coarse_scores = SameConv(channels, coarse, 1, rngs=rngs)
        self.fine_boxes = SameConv(fine_channels, fine * BOX, 1, rngs=rngs)
        self.coarse_boxes = SameConv(channels, coarse * BOX, 1, rngs=rngs)

    def raw(self, images: Float[Array, "n h w 3"]) -> tuple[jax.Array, jax.Array]:
        """The heads' outputs.

        Args:
            images: [N, input_size, input_size, 3] in [-1, 1].

        Returns:
            [N, A, 16] in pixels from the anchors, and the scores' logits [N, A].

        Raises:
            ValueError: for images of another shape.
        """
        check_images("FaceDetector", images)
        size = self.config.input_size
        if images.shape[1:3] != (size, size):
            raise ValueError(f"FaceDetector: expected {size} px, got {list(images.shape)}")
        x = fine = jax.nn.relu(self.stem(images))
        for index, block in enumerate(self.blocks):
            if index == self.config.strided[-1]:
                fine = x
            x = block(x)
        count = images.shape[0]
        boxes = [self.fine_boxes(fine), self.coarse_boxes(x)]
        scores = [self.fine_scores(fine), self.coarse_scores(x)]
        return (
            jnp.concatenate([part.reshape(count, -1, BOX) for part in boxes], axis=1),
            jnp.concatenate([part.reshape(count, -1) for part in scores], axis=1),
        )

    def __call__(self, images: Float[Array, "n h w 3"]) -> Detections:
        """Every anchor's face; arguments and errors as `raw`."""
        found, scores = self.raw(images)
        size = self.config.input_size
        anchors = anchor_centres(self.config)
        centre = found[..., :2] / size + anchors
        half = found[..., 2:4] / size / 2
        points = found[..., 4:].reshape(*found.shape[:2], POINTS, 2) / size + anchors[:, None]
        boxes = jnp.concatenate([centre - half, centre + half], axis=-1)
        return Detections(scores.astype(jnp.float32), boxes, points)


def anchor_centres(config: FaceDetectorConfig) -> np.ndarray:
    """[A, 2]: (x, y) of each anchor in units of the side, cell by cell, the fine grid first."""
    found = []
    for cells, anchors in config.grids:
        places = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 1, 2)
        found.append(np.broadcast_to(grid, (cells**2, anchors, 2)).reshape(-1, 2))
    return np.concatenate(found).astype(np.float32)
