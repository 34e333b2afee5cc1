"""VGG-Face, the face descriptor of Parkhi et al. 2015 ("Deep Face Recognition"), on VGG-16.

The published network takes 224 x 224 images with values from 0 to 255, minus a mean colour. Caffe's
and Torch's files take BGR, MatConvNet's and those made from it RGB; here the first kernel is always
that for RGB, and the converter turns it.

The caller crops the face: the paper's crops are those of a detector, and its images were whole
faces with some margin. Square images of any size are resized to 224 x 224, bilinearly and, where
they shrink, antialiased. MatConvNet's demonstration (``examples/vggfaces/cnn_vgg_faces.m``) uses
MATLAB's ``imresize``, which antialiases too, with a bicubic kernel; images of 224 x 224 are not
resampled at all.
"""

import dataclasses
from collections.abc import Sequence

import jax
from flax import nnx
from jaxtyping import Array, Float

from jaxface.nets.features import vgg
from jaxface.nets.features.vgg import VGG16, VGGConfig
from jaxface.nets.torch_layers import Linear, check_images, max_pool, resize_bilinear

FULLY_CONNECTED = ("fc6", "relu6", "fc7", "relu7")
LAYER_NAMES = (*vgg.LAYER_NAMES, *FULLY_CONNECTED)

# Five poolings halve the image.
REDUCTION = 32


@dataclasses.dataclass(frozen=True)
class VGGFaceConfig:
    """Widths, working resolution and the mean colour.

    The defaults are the published network's; ``mean`` is the ``averageImage`` of MatConvNet's file
    (Caffe's is the same to four digits).

    Raises:
        ValueError: if the resolution is no positive multiple of 32.
    """

    channels: tuple[int, int, int, int, int] = (64, 128, 256, 512, 512)
    width: int = 4096
    """Outputs of fc6 and of fc7."""
    resolution: int = 224
    mean: tuple[float, float, float] = (129.186279296875, 104.76238250732422, 93.59396362304688)
    """RGB, of values from 0 to 255."""

    def __post_init__(self) -> None:
        if self.resolution < REDUCTION or self.resolution % REDUCTION:
            raise ValueError(
                f"VGGFaceConfig.resolution: expected a multiple of {REDUCTION}, got "
                f"{self.resolution}"
            )


class VGGFace(nnx.Module):
    """Descriptors of faces; the classifier of the 2622 training identities, fc8, is left out."""

    def __init__(self, config: VGGFaceConfig, *, rngs: nnx.Rngs):
        self.config = config
        red, green, blue = (value / 255 for value in config.mean)
        # On [0, 1], minus the mean over 1 / 255: on [0, 255], minus the mean.
        inputs = VGGConfig(
            config.channels, mean=(red, green, blue), std=(1 / 255, 1 / 255, 1 / 255)
        )
        self.trunk = VGG16(inputs, rngs=rngs)
        positions = (config.resolution // REDUCTION) ** 2
        self.fc6 = Linear(positions * config.channels[-1], config.width, rngs=rngs)
        self.fc7 = Linear(config.width, config.width, rngs=rngs)

    def __call__(
        self, images: Float[Array, "n r r 3"], *, layer: str = "relu7"
    ) -> Float[Array, "n d"]:
        """One descriptor a face.

        Args:
            images: [N, R, R, 3] in [-1, 1], of any R.
            layer: ``fc6`` or ``fc7``, or ``relu6`` or ``relu7`` after the ReLU. ``relu7`` is the
                paper's phi, what its classifier sees (section 4.1), which is compared after
                division by its length.

        Returns:
            [N, width], not normalised.

        Raises:
            ValueError: for another layer, or images that are not square floats [N, R, R, 3].
        """
        if layer not in FULLY_CONNECTED:
            raise ValueError(f"VGGFace: expected a layer out of {FULLY_CONNECTED}, got {layer!r}")
        return self.features(images, (layer,))[layer]

    def features(
        self, images: Float[Array, "n r r 3"], layers: Sequence[str]
    ) -> dict[str, Float[Array, "n ..."]]:
        """Features at the named layers; nothing past the deepest one is computed.

        Args:
            images: [N, R, R, 3] in [-1, 1], of any R; they are resized to the working resolution.
            layers: names out of ``LAYER_NAMES``.

        Returns:
            name to [N, h, w, C] for convolutions, to [N, width] for fully connected layers.

        Raises:
            ValueError: for an unknown layer, or images that are not square floats [N, R, R, 3].
        """
        unknown = sorted(set(layers) - set(LAYER_NAMES))
        if unknown or not layers:
            raise ValueError(f"VGGFace: expected layers out of {LAYER_NAMES}, got {list(layers)}")
        check_images("VGGFace", images)
        height, width = images.shape[1:3]
        if height != width:
            raise ValueError(f"VGGFace: expected square images of a face, got {height} x {width}")
        if height != self.config.resolution:
            size = (self.config.resolution, self.config.resolution)
            images = resize_bilinear(images, size, align_corners=False, antialias=True)
        wanted = [name for name in layers if name not in FULLY_CONNECTED]
        is_deep = len(wanted) < len(layers)
        found = self.trunk.features(images, [*wanted, "relu5_3"] if is_deep else wanted)
        if is_deep:
            x = max_pool(found["relu5_3"], 2, stride=2)
            for number, dense in (("6", self.fc6), ("7", self.fc7)):
                x = found[f"fc{number}"] = dense(x.reshape(x.shape[0], -1))
                x = found[f"relu{number}"] = jax.nn.relu(x)
                if not {"fc7", "relu7"} & set(layers):
                    break
        return {name: found[name] for name in layers}
