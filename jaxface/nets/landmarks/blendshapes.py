"""MediaPipe's blendshapes: what the points of a face say in ARKit's 52 words of expression.

The form of ``face_blendshapes.tflite`` of MediaPipe's face landmarker: an MLP-Mixer (Tolstikhin
et al. 2021) over 146 of the mesh's points, with one more token, which is read.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.torch_layers import Linear
from jaxface.nets.variables import Buffer

ROWS = (
    0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65,
    66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136,
    144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172,
    173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276, 282, 283,
    284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318, 321, 323, 324,
    332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381, 382, 384, 385,
    386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472,
    473, 474, 475, 476, 477
)  # fmt: skip
"""Of the mesh's 478 points, those that the network reads, in its order."""

NAMES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft",
    "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft",
    "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft",
    "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen",
    "jawRight", "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight"
)  # fmt: skip
"""Of the coefficients: ARKit's, after one that means nothing."""

EPSILON = np.float16(1e-6).item()
"""Of the normalisation, as the published file stores it."""


@dataclasses.dataclass(frozen=True)
class BlendshapesConfig:
    """Size of the network; the defaults are the published one's.

    Args:
        tokens: that the points are mixed to, beside the one that is read.
        channels: of a token.
        token_hidden, channel_hidden: widths inside the two kinds of mixing.
        blocks: of both kinds.

    Raises:
        ValueError: for sizes below 1.
    """

    tokens: int = 96
    channels: int = 64
    token_hidden: int = 384
    channel_hidden: int = 256
    blocks: int = 4

    def __post_init__(self) -> None:
        if min(dataclasses.astuple(self)) < 1:
            raise ValueError(f"BlendshapesConfig: expected sizes of at least 1, got {self}")


class ScaleNorm(nnx.Module):
    """Tokens of mean 0 and variance 1 over their channels, times a factor for each channel."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        del rngs  # nothing is drawn
        self.scale = nnx.Param(jnp.ones((channels,)))

    def __call__(self, x: Float[Array, "n t c"]) -> Float[Array, "n t c"]:
        """[..., channels]."""
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(centred), axis=-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + EPSILON) * self.scale[...].astype(x.dtype)


class MixerBlock(nnx.Module):
    """Mixes tokens, then channels."""

    def __init__(self, config: BlendshapesConfig, *, rngs: nnx.Rngs):
        tokens, channels = config.tokens + 1, config.channels
        self.token_norm = ScaleNorm(channels, rngs=rngs)
        self.token_in = Linear(tokens, config.token_hidden, rngs=rngs)
        self.token_out = Linear(config.token_hidden, tokens, rngs=rngs)
        self.channel_norm = ScaleNorm(channels, rngs=rngs)
        self.channel_in = Linear(channels, config.channel_hidden, rngs=rngs)
        self.channel_out = Linear(config.channel_hidden, channels, rngs=rngs)

    def __call__(self, x: Float[Array, "n t c"]) -> Float[Array, "n t c"]:
        """[N, tokens + 1, channels] to the same."""
        mixed = self.token_in(self.token_norm(x).swapaxes(1, 2))
        x = x + self.token_out(jax.nn.relu(mixed)).swapaxes(1, 2)
        return x + self.channel_out(jax.nn.relu(self.channel_in(self.channel_norm(x))))


class Blendshapes(nnx.Module):
    """Coefficients of expression of a mesh; differentiable in the points."""

    def __init__(self, config: BlendshapesConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.gain = Buffer(jnp.asarray(0.5))
        self.to_tokens = Linear(len(ROWS), config.tokens, rngs=rngs)
        self.to_channels = Linear(2, config.channels, rngs=rngs)
        self.token = nnx.Param(jnp.zeros((config.channels,)))
        self.blocks = nnx.List(MixerBlock(config, rngs=rngs) for _ in range(config.blocks))
        self.head = Linear(config.channels, len(NAMES), rngs=rngs)

    def __call__(self, points: Float[Array, "n p 2"]) -> Float[Array, "n b"]:
        """Coefficients.

        Args:
            points: [N, 478, 2 or 3], (x, y) of the mesh in square pixels of any size, y down.

        Returns:
            [N, 52] in [0, 1], in the order of `NAMES`.

        Raises:
            ValueError: for points of another shape.
        """
        if points.ndim != 3 or points.shape[1] <= max(ROWS) or points.shape[2] not in (2, 3):
            raise ValueError(f"Blendshapes: expected [N, 478, 2], got {list(points.shape)}")
        x = points[:, np.array(ROWS), :2]
        x = x - jnp.mean(x, axis=1, keepdims=True)
        size = jnp.mean(jnp.sqrt(jnp.sum(jnp.square(x), axis=-1, keepdims=True)), 1, keepdims=True)
        x = x / size * self.gain[...]
        x = self.to_channels(self.to_tokens(x.swapaxes(1, 2)).swapaxes(1, 2))
        token = jnp.broadcast_to(self.token[...], (len(x), 1, x.shape[-1]))
        x = jnp.concatenate([token, x], axis=1)
        for block in self.blocks:
            x = block(x)
        return jax.nn.sigmoid(self.head(x[:, 0]))
