"""Inception-v3 as the Fréchet Inception distance uses it: the network of TensorFlow's
``inception-2015-12-05`` graph, in the PyTorch form of ``pytorch-fid`` (``inception.py`` there).

It differs from other Inception-v3s in its pooling. Average pools inside the mixed blocks count only
pixels inside the image, and the last block takes a maximum where the others take the average.

The input is the project's, [-1, 1] RGB of any size. It is resized to 299 x 299 as ``pytorch-fid``
does: bilinear, ``align_corners=False``, without antialiasing; [-1, 1] is the network's own range.
(TensorFlow's graph samples its corners otherwise, and distances made with it differ by the resize.)
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.features.inception_blocks import ConvNorm, Mixed, Spec
from jaxface.nets.torch_layers import check_images, max_pool, resize_bilinear

INPUT_SIZE = 299

# The outputs of pytorch-fid's four blocks, of 64, 192, 768 and 2048 channels.
LAYER_NAMES = ("pool1", "pool2", "mixed6", "pool3")

# Every width of the official network is a multiple of this.
OFFICIAL_UNIT = 16


@dataclasses.dataclass(frozen=True)
class InceptionConfig:
    """Width of the network.

    Args:
        unit: every layer has 1/16 of `unit` times the published width, which are all multiples
            of 16; 1 is the narrowest, 16 the published network.
    """

    unit: int = OFFICIAL_UNIT

    def __post_init__(self) -> None:
        if self.unit < 1:
            raise ValueError(f"unit: expected at least 1, got {self.unit}")

    @property
    def num_features(self) -> int:
        """Length of the pooled features, 2048 at the published width."""
        return self.width(2048)

    def width(self, published: int) -> int:
        """Channels of a layer that has `published` ones in the official network."""
        return published // OFFICIAL_UNIT * self.unit


class Block(NamedTuple):
    """A mixed block by its published widths; see :class:`Mixed`."""

    branches: tuple[tuple[Spec | tuple[Spec, Spec], ...], ...]
    pool: Literal["average", "max", "reduce"]
    pooled: int | None = None


def _block_a(pooled: int) -> Block:
    """1 x 1; 5 x 5; two of 3 x 3 (figure 5 of the paper)."""
    branches = (
        (Spec(64),),
        (Spec(48), Spec(64, 5)),
        (Spec(64), Spec(96, 3), Spec(96, 3)),
    )
    return Block(branches, "average", pooled)


def _block_c(inner: int) -> Block:
    """1 x 1; 7 x 7 in two factors; twice that (figure 6)."""
    wide, tall = (1, 7), (7, 1)
    branches = (
        (Spec(192),),
        (Spec(inner), Spec(inner, wide), Spec(192, tall)),
        (Spec(inner), Spec(inner, tall), Spec(inner, wide), Spec(inner, tall), Spec(192, wide)),
    )
    return Block(branches, "average", 192)


def _block_e(pool: Literal["average", "max"]) -> Block:
    """1 x 1; 3 x 3 as two factors side by side; that after a 3 x 3 (figure 7)."""
    pair = (Spec(384, (1, 3)), Spec(384, (3, 1)))
    branches = ((Spec(320),), (Spec(384), pair), (Spec(448), Spec(384, 3), pair))
    return Block(branches, pool, 192)


MIXED = {
    "5b": _block_a(32),
    "5c": _block_a(64),
    "5d": _block_a(64),
    "6a": Block(((Spec(384, 3, 2),), (Spec(64), Spec(96, 3), Spec(96, 3, 2))), "reduce"),
    "6b": _block_c(128),
    "6c": _block_c(160),
    "6d": _block_c(160),
    "6e": _block_c(192),
    "7a": Block(
        (
            (Spec(192), Spec(320, 3, 2)),
            (Spec(192), Spec(192, (1, 7)), Spec(192, (7, 1)), Spec(192, 3, 2)),
        ),
        "reduce",
    ),
    "7b": _block_e("average"),
    "7c": _block_e("max"),
}


class InceptionV3(nnx.Module):
    """Features of images, for distances between sets of them."""

    def __init__(self, config: InceptionConfig, *, rngs: nnx.Rngs):
        self.config = config
        w = config.width
        self.stem1 = nnx.List(
            [
                ConvNorm(3, w(32), 3, stride=2, rngs=rngs),
                ConvNorm(w(32), w(32), 3, rngs=rngs),
                ConvNorm(w(32), w(64), 3, padding=1, rngs=rngs),
            ]
        )
        self.stem2 = nnx.List(
            [ConvNorm(w(64), w(80), 1, rngs=rngs), ConvNorm(w(80), w(192), 3, rngs=rngs)]
        )
        blocks, channels = [], w(192)
        for block in MIXED.values():
            branches = [[_scaled(spec, config) for spec in branch] for branch in block.branches]
            pooled = None if block.pooled is None else w(block.pooled)
            blocks.append(Mixed(channels, branches, pool=block.pool, pooled=pooled, rngs=rngs))
            channels = blocks[-1].out_channels
        self.mixed = nnx.List(blocks)

    def __call__(self, images: Float[Array, "n h w 3"]) -> Float[Array, "n d"]:
        """The pooled features of the distance.

        Args:
            images: [N, H, W, 3] in [-1, 1], of any size.

        Returns:
            [N, num_features].

        Raises:
            ValueError: for images that are not [N, H, W, 3].
        """
        return self.features(images, ("pool3",))["pool3"]

    def features(
        self, images: Float[Array, "n h w 3"], layers: Sequence[str]
    ) -> dict[str, Float[Array, "n ..."]]:
        """Features at the named layers; nothing past the deepest one is computed.

        Args:
            images: [N, H, W, 3] in [-1, 1], of any size.
            layers: names out of ``LAYER_NAMES``: after the first and the second maximum pooling,
                before the auxiliary classifier, after the mean over the image.

        Returns:
            name to [N, 73, 73, 64], [N, 35, 35, 192], [N, 17, 17, 768] or [N, 2048], at the
            published width.

        Raises:
            ValueError: for an unknown layer or images that are not [N, H, W, 3].
        """
        unknown = sorted(set(layers) - set(LAYER_NAMES))
        if unknown or not layers:
            raise ValueError(f"InceptionV3: expected layers out of {LAYER_NAMES}, got {layers}")
        check_images("InceptionV3", images)
        last = max(LAYER_NAMES.index(name) for name in layers)
        x = resize_bilinear(images, (INPUT_SIZE, INPUT_SIZE), align_corners=False)
        found: dict[str, jax.Array] = {}
        for index, name in enumerate(LAYER_NAMES[: last + 1]):
            x = self._stage(index, x)
            found[name] = x
        return {name: found[name] for name in layers}

    def _stage(self, index: int, x: jax.Array) -> jax.Array:
        if index < 2:
            for layer in (self.stem1, self.stem2)[index]:
                x = layer(x)
            return max_pool(x, 3, stride=2)
        before = list(MIXED).index("7a")
        for block in self.mixed[:before] if index == 2 else self.mixed[before:]:
            x = block(x)
        return x if index == 2 else x.mean(axis=(1, 2))


def _scaled(item: Spec | tuple[Spec, Spec], config: InceptionConfig) -> Spec | tuple[Spec, Spec]:
    def scaled(spec: Spec) -> Spec:
        return spec._replace(channels=config.width(spec.channels))

    return scaled(item) if isinstance(item, Spec) else (scaled(item[0]), scaled(item[1]))
