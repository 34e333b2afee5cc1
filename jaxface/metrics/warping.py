"""Warping error: how much of a clip's change from frame to frame is flicker and not motion.

After Lai et al., "Learning Blind Video Temporal Consistency" (ECCV 2018): each frame is compared
with the next one, warped to it along the optical flow of the input clip, where nothing is occluded.
Occluded is what Ruder et al., "Artistic Style Transfer for Videos" (GCPR 2016), take for it: where
the flow there and the flow back do not cancel. Lai et al. have the flow from a network; here it is
Lucas and Kanade's (IJCAI 1981), coarse to fine, which needs none and suits the small motions of a
face that is followed. So numbers compare with each other, not with the paper's.
"""

import math

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

WINDOW = 2.0
"""Standard deviation, in pixels, of the window in which all pixels move alike."""
ITERATIONS = 8
SMALLEST = 12  # pixels a side of the coarsest images
_FLAT = 1e-4  # what is added to the tensor's diagonal, so that nothing moves where nothing is seen


def warping_error(
    frames: Float[Array, "t h w c"], guide: Float[Array, "t h w c"] | None = None
) -> Float[Array, " steps"]:
    """The mean squared difference of each frame to the next one, warped, over what both show.

    Args:
      frames: [T, H, W, C] in [-1, 1], T >= 2.
      guide: [T, H, W, C] in [-1, 1], whose flow is taken: the clip before its edit; None: `frames`.

    Returns:
      [T - 1], from 0; not a number where no pixel is seen twice.

    Raises:
      ValueError: the shapes differ, are not of rank 4, or there is one frame.
    """
    guide = frames if guide is None else guide
    if frames.ndim != 4 or len(frames) < 2 or frames.shape != guide.shape:
        raise ValueError(
            f"warping_error: both must be [T, H, W, C] with T >= 2, got {frames.shape} and "
            f"{guide.shape}."
        )
    errors = [
        _pair(*(jnp.asarray(each) for each in (frames[i], frames[i + 1], guide[i], guide[i + 1])))
        for i in range(len(frames) - 1)
    ]
    return jnp.stack(errors)


@jax.jit
def optical_flow(first: Float[Array, "h w"], second: Float[Array, "h w"]) -> Float[Array, "h w 2"]:
    """Where each pixel of one image is in another.

    Args:
      first, second: [H, W], grey.

    Returns:
      [H, W, 2], pixels to the right and down.
    """
    levels = max(0, math.floor(math.log2(max(1, min(first.shape) / SMALLEST))))
    flow = jnp.zeros((*first.shape, 2))
    for level in range(levels, -1, -1):
        shape = tuple(-(-side // 2**level) for side in first.shape)
        one, other = (jax.image.resize(each, shape, "linear") for each in (first, second))
        scale = jnp.array([shape[1] / flow.shape[1], shape[0] / flow.shape[0]])
        flow = _refined(one, other, jax.image.resize(flow, (*shape, 2), "linear") * scale)
    return flow


@jax.jit
def _pair(first: jax.Array, second: jax.Array, one: jax.Array, other: jax.Array) -> jax.Array:
    grey, next_grey = one.mean(-1), other.mean(-1)
    there, back = optical_flow(grey, next_grey), optical_flow(next_grey, grey)
    returned = jnp.stack([_warped(back[..., i], there) for i in range(2)], -1)
    y, x = _grid(first)
    inside = (jnp.abs(x + there[..., 0] - (first.shape[1] - 1) / 2) <= (first.shape[1] - 1) / 2) & (
        jnp.abs(y + there[..., 1] - (first.shape[0] - 1) / 2) <= (first.shape[0] - 1) / 2
    )
    lengths = (there**2).sum(-1) + (returned**2).sum(-1)
    seen = inside & (((there + returned) ** 2).sum(-1) <= 0.01 * lengths + 0.5)
    warped = jnp.stack([_warped(second[..., i], there) for i in range(second.shape[-1])], -1)
    squared = ((first - warped) ** 2).mean(-1)
    return squared.sum(where=seen) / seen.sum(dtype=squared.dtype)


def _refined(first: jax.Array, second: jax.Array, flow: jax.Array) -> jax.Array:
    """A flow after some of Newton's steps, at one size."""
    down, right = jnp.gradient(first)
    across, upright, mixed = _blurred(right**2), _blurred(down**2), _blurred(right * down)
    across, upright = across + _FLAT, upright + _FLAT
    determinant = across * upright - mixed**2
    for _ in range(ITERATIONS):
        change = _warped(second, flow) - first
        by_x, by_y = _blurred(right * change), _blurred(down * change)
        step = jnp.stack([upright * by_x - mixed * by_y, across * by_y - mixed * by_x], -1)
        flow = flow - jnp.clip(step / determinant[..., None], -1, 1)
    return flow


def _warped(image: jax.Array, flow: jax.Array) -> jax.Array:
    """An image [H, W] as it is seen where its pixels come from."""
    y, x = _grid(image)
    return map_coordinates(image, [y + flow[..., 1], x + flow[..., 0]], order=1, mode="nearest")


def _grid(image: jax.Array) -> jax.Array:
    """Row and column of each pixel, [2, H, W]."""
    height, width = image.shape[:2]
    return jnp.mgrid[: float(height), : float(width)]


def _blurred(image: jax.Array) -> jax.Array:
    reach = math.ceil(3 * WINDOW)
    weights = jnp.exp(-0.5 * (jnp.arange(-reach, reach + 1.0) / WINDOW) ** 2)
    weights /= weights.sum()
    padded = jnp.pad(image, reach, mode="edge")
    rows = jax.vmap(lambda line: jnp.convolve(line, weights, mode="valid"))(padded)
    return jax.vmap(lambda line: jnp.convolve(line, weights, mode="valid"))(rows.T).T
