"""Adaptive discriminator augmentation: the differentiable pipeline (Karras et al. 2020b).

Blits, geometric and colour transforms, each applied to an item with probability p times its own
multiplier, in the order, with the distributions and with the filtering of stylegan2-ada-pytorch's
`training/augment.py`. All geometric transforms of an item are one 3 x 3 matrix and all colour
transforms one 4 x 4 matrix: `draw` chooses their parameters, `geometry_matrix` and `colour_matrix`
compose them, `warp` and `recolour` apply them.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxface.nets.ops import fir_taps, upfirdn

# The low-pass filter of the "sym6" wavelet (Daubechies 1992, table 6.3): orthogonal, so that
# filtering up and down without a transform between is the identity.
SYM6 = fir_taps(
    [
        0.015404109327027373,
        0.0034907120842174702,
        -0.11799011114819057,
        -0.048311742585633,
        0.4910559419267466,
        0.787641141030194,
        0.3379294217276218,
        -0.07263752278646252,
        -0.021060292512300564,
        0.04472490177066578,
        0.0017677118642428036,
        -0.007800708325034148,
    ]
)
# Samples of the output, at single resolution, that the final filter needs beyond either edge.
_MARGIN = len(SYM6) // 4


@dataclasses.dataclass(frozen=True)
class AugmentSettings:
    """Multipliers of the probability of each transform, and the transforms' extents.

    The defaults are the reference's ``bgc`` (blits, geometry, colour); 0 turns a transform off.
    """

    xflip: float = 1.0
    rotate90: float = 1.0
    xint: float = 1.0
    scale: float = 1.0
    rotate: float = 1.0
    aniso: float = 1.0
    xfrac: float = 1.0
    brightness: float = 1.0
    contrast: float = 1.0
    lumaflip: float = 1.0
    hue: float = 1.0
    saturation: float = 1.0
    xint_max: float = 0.125
    """Largest whole-pixel translation, of the image's side."""
    scale_std: float = 0.2
    """Deviation of log2 of isotropic scaling."""
    rotate_max: float = 1.0
    """Largest rotation; 1 is half a turn either way."""
    aniso_std: float = 0.2
    """Deviation of log2 of anisotropic scaling."""
    xfrac_std: float = 0.125
    """Deviation of fractional translation, of the image's side."""
    brightness_std: float = 0.2
    contrast_std: float = 0.5
    """Deviation of log2 of contrast."""
    hue_max: float = 1.0
    """Largest rotation of hue; 1 is half a turn either way."""
    saturation_std: float = 1.0
    """Deviation of log2 of saturation."""


@struct.dataclass
class Draw:
    """The transforms of N items; what does not happen has its neutral value."""

    flip: jax.Array  # [N] 0 or 1
    quarter_turns: jax.Array  # [N] 0..3
    shift: jax.Array  # [N, 2] of the side, rounded to whole pixels when applied; x, y
    scale: jax.Array  # [N]
    rotation_before: jax.Array  # [N] radians, before anisotropic scaling
    stretch: jax.Array  # [N] factor of x, inverse factor of y
    rotation_after: jax.Array  # [N] radians
    fraction: jax.Array  # [N, 2] translation, of the side
    brightness: jax.Array  # [N] added
    contrast: jax.Array  # [N] factor
    luma_flip: jax.Array  # [N] 0 or 1
    hue: jax.Array  # [N] radians
    saturation: jax.Array  # [N] factor


def augment(
    images: jax.Array, p: jax.Array, key: jax.Array, settings: AugmentSettings
) -> jax.Array:
    """Images [N, R, R, 3] transformed at random, every item on its own.

    Args:
      images: in [-1, 1]; the result may leave that range.
      p: scalar, the overall probability; 0 gives the images back up to rounding.
      key: typed key.
      settings: which transforms.
    """
    count, side = images.shape[:2]
    drawn = draw(key, count, p, settings)
    images = warp(images, geometry_matrix(drawn, side))
    return recolour(images, colour_matrix(drawn))


def draw(key: jax.Array, count: int, p: jax.Array, settings: AugmentSettings) -> Draw:
    """Random transforms for `count` items at probability `p`."""
    s = settings
    keys = iter(jax.random.split(key, 26))

    def gated(value: jax.Array, neutral: float, probability: jax.Array | float) -> jax.Array:
        happens = jax.random.uniform(next(keys), (count,)) < probability
        happens = happens.reshape(count, *[1] * (value.ndim - 1))
        return jnp.where(happens, value, neutral)

    def whole(options: int) -> jax.Array:
        return jnp.floor(jax.random.uniform(next(keys), (count,)) * options)

    def symmetric(*shape: int) -> jax.Array:
        return jax.random.uniform(next(keys), (count, *shape), minval=-1.0, maxval=1.0)

    def normal(*shape: int) -> jax.Array:
        return jax.random.normal(next(keys), (count, *shape))

    # Two rotations, of which at least one happens with probability p.
    once = 1.0 - jnp.sqrt(jnp.clip(1.0 - s.rotate * p, 0.0, 1.0))
    half_turn = np.float32(np.pi)
    return Draw(
        flip=gated(whole(2), 0.0, s.xflip * p),
        quarter_turns=gated(whole(4), 0.0, s.rotate90 * p),
        shift=gated(symmetric(2) * s.xint_max, 0.0, s.xint * p),
        scale=gated(jnp.exp2(normal() * s.scale_std), 1.0, s.scale * p),
        rotation_before=gated(symmetric() * (half_turn * s.rotate_max), 0.0, once),
        stretch=gated(jnp.exp2(normal() * s.aniso_std), 1.0, s.aniso * p),
        rotation_after=gated(symmetric() * (half_turn * s.rotate_max), 0.0, once),
        fraction=gated(normal(2) * s.xfrac_std, 0.0, s.xfrac * p),
        brightness=gated(normal() * s.brightness_std, 0.0, s.brightness * p),
        contrast=gated(jnp.exp2(normal() * s.contrast_std), 1.0, s.contrast * p),
        luma_flip=gated(whole(2), 0.0, s.lumaflip * p),
        hue=gated(symmetric() * (half_turn * s.hue_max), 0.0, s.hue * p),
        saturation=gated(jnp.exp2(normal() * s.saturation_std), 1.0, s.saturation * p),
    )


def geometry_matrix(drawn: Draw, side: int) -> jax.Array:
    """[N, 3, 3]: from a position in the output to the one in the input that is shown there.

    Positions are homogeneous (x, y, 1) in pixels from the image's centre. The factors are the
    inverses of the transforms, the first transform leftmost.
    """
    shift = jnp.round(drawn.shift * side)
    fraction = drawn.fraction * side
    matrix = _scaling(1.0 - 2.0 * drawn.flip, jnp.ones_like(drawn.flip))
    matrix = matrix @ _rotation(drawn.quarter_turns * np.float32(np.pi / 2))
    matrix = matrix @ _translation(-shift[:, 0], -shift[:, 1])
    matrix = matrix @ _scaling(1.0 / drawn.scale, 1.0 / drawn.scale)
    matrix = matrix @ _rotation(drawn.rotation_before)
    matrix = matrix @ _scaling(1.0 / drawn.stretch, drawn.stretch)
    matrix = matrix @ _rotation(drawn.rotation_after)
    return matrix @ _translation(-fraction[:, 0], -fraction[:, 1])


def colour_matrix(drawn: Draw) -> jax.Array:
    """[N, 4, 4]: from homogeneous (r, g, b, 1) to the new colour, the last transform leftmost."""
    identity = jnp.eye(4)
    luma = jnp.array([1.0, 1.0, 1.0, 0.0]) / np.float32(np.sqrt(3.0))
    along = jnp.outer(luma, luma)
    offset = jnp.zeros((4, 4)).at[:3, 3].set(1.0)

    def per_item(values: jax.Array) -> jax.Array:
        return values[:, None, None]

    matrix = identity + per_item(drawn.brightness) * offset
    colours = jnp.diag(jnp.array([1.0, 1.0, 1.0, 0.0]))
    matrix = (identity + per_item(drawn.contrast - 1.0) * colours) @ matrix
    matrix = (identity - 2.0 * per_item(drawn.luma_flip) * along) @ matrix
    matrix = _hue_rotation(drawn.hue) @ matrix
    return (along + per_item(drawn.saturation) * (identity - along)) @ matrix


def recolour(images: jax.Array, matrix: jax.Array) -> jax.Array:
    """Images [N, H, W, 3] with each colour mapped by the item's matrix [N, 4, 4]."""
    mixed = jnp.einsum("nij,nhwj->nhwi", matrix[:, :3, :3], images)
    return mixed + matrix[:, None, None, :3, 3]


def warp(images: jax.Array, matrix: jax.Array) -> jax.Array:
    """Images [N, R, R, C] seen through each item's `geometry_matrix` [N, 3, 3], anti-aliased.

    Up by 2 with the wavelet's low-pass filter, bilinear look-up, filter and down by 2. The image is
    continued by reflection. The reflected image is periodic, and so is its up-sampled form, so one
    period is filtered and positions are taken modulo the period: the sizes do not depend on the
    transforms, and the result is the reference's, which pads one reflection on either side.
    """
    side = images.shape[1]
    period = _upsampled_period(images)
    # The output's samples at double resolution, as positions in pixels from the centre. The
    # wavelet's filter delays by half a sample, so sample 2 i of the period lies on pixel i.
    size = 2 * (side + 2 * _MARGIN)
    axis = (jnp.arange(size) - size / 2 + 1) / 2
    x = matrix[:, 0, 0, None, None] * axis + matrix[:, 0, 1, None, None] * axis[:, None]
    y = matrix[:, 1, 0, None, None] * axis + matrix[:, 1, 1, None, None] * axis[:, None]
    x = 2 * (x + matrix[:, 0, 2, None, None]) + (side - 1)
    y = 2 * (y + matrix[:, 1, 2, None, None]) + (side - 1)
    samples = jax.vmap(_look_up)(period, x, y)
    # Down by 2 with the flipped filter; one sample more than it needs lies beyond either edge.
    return upfirdn(samples, SYM6, down=2, padding=(-1, -1, -1, -1), flip=True)


def _upsampled_period(images: jax.Array) -> jax.Array:
    """One period of the reflected image, up by 2: [N, R, R, C] to [N, P, P, C], P = 4 (R - 1)."""
    side, reach = images.shape[1], len(SYM6) // 4
    period = 2 * (side - 1)
    # The period and what the filter needs beyond it, as the pixels they reflect.
    source = np.arange(-reach, period + reach) % period
    source = np.where(source < side, source, period - source)
    # No zero is inserted after the last sample.
    return upfirdn(images[:, source][:, :, source], SYM6, up=2, padding=(0, -1, 0, -1), gain=4)


def _look_up(period: jax.Array, x: jax.Array, y: jax.Array) -> jax.Array:
    """Bilinear samples of a periodic image [P, P, C] at positions x, y [H, W]: [H, W, C].

    Each pixel is laid beside its right, lower and diagonal neighbour, so that a sample is one
    look-up, and its gradient one scatter, which TPUs sort for.
    """
    left, top = jnp.floor(x), jnp.floor(y)
    right_weight, bottom_weight = (x - left)[..., None], (y - top)[..., None]
    column, row = (jnp.mod(place.astype(jnp.int32), len(period)) for place in (left, top))
    lower_pixels = jnp.roll(period, -1, axis=0)
    squares = jnp.concatenate(
        [
            *(period, jnp.roll(period, -1, axis=1)),
            *(lower_pixels, jnp.roll(lower_pixels, -1, axis=1)),
        ],
        axis=-1,
    )
    corners = jnp.split(squares[row, column], 4, axis=-1)
    upper, lower = (
        first + (second - first) * right_weight for first, second in (corners[:2], corners[2:])
    )
    return upper + (lower - upper) * bottom_weight


def _stack(rows: list[list[jax.Array | float]], like: jax.Array) -> jax.Array:
    """A matrix for each item from entries that are numbers or [N]."""
    flat = [jnp.broadcast_to(jnp.asarray(x, like.dtype), like.shape) for row in rows for x in row]
    return jnp.stack(flat, axis=-1).reshape(*like.shape, len(rows), len(rows[0]))


def _translation(x: jax.Array, y: jax.Array) -> jax.Array:
    return _stack([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]], x)


def _scaling(x: jax.Array, y: jax.Array) -> jax.Array:
    return _stack([[x, 0.0, 0.0], [0.0, y, 0.0], [0.0, 0.0, 1.0]], x)


def _rotation(angle: jax.Array) -> jax.Array:
    c, s = jnp.cos(angle), jnp.sin(angle)
    return _stack([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], angle)


def _hue_rotation(angle: jax.Array) -> jax.Array:
    """Rotation about the grey axis (1, 1, 1) / sqrt(3): Rodrigues' formula."""
    c, s = jnp.cos(angle), jnp.sin(angle) / np.float32(np.sqrt(3.0))
    a = (1.0 - c) / 3.0
    return _stack(
        [
            [a + c, a - s, a + s, 0.0],
            [a + s, a + c, a - s, 0.0],
            [a - s, a + s, a + c, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ],
        angle,
    )
