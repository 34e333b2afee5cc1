"""The losses of the mappers: the seven of equations 11 to 15, and one of gaze.

Of each frame two images are drawn: I' from its pose and expression, which is compared with the
frame by LPIPS, L2 and identity; and I_e from a perturbed expression, of which a reader of faces is
to see what it was drawn from (L_expr, L_pose), and which is to differ from I' at eyes and mouth
alone (L_cons). Gradients pass through the reader to the image and, in L_cons, to both images.

L_gaze is not the paper's, whose reader knows no gaze, so that eyes wander (its limitations): where
the reader knows it, gaze read in I_e is compared with the gaze that it was drawn from.

The neck pose of equation 12 is the head's rotation: DECA knows no neck, and the authors' code
compares the first three numbers of its pose.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import struct

from jaxface.losses import identity, photometric
from jaxface.losses.perceptual import downsample
from jaxface.media.images import as_float
from jaxface.methods.pvp.features import Layout, features_of
from jaxface.methods.pvp.settings import CODE_CROP, MapperSettings
from jaxface.morphable.gaze import gaze_degrees
from jaxface.nets import IRSE, LPIPS, AvatarMappers, Generator
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.nets.torch_layers import adaptive_average_pool
from jaxface.runtime.devices import apart, beside


@struct.dataclass
class Frozen:
    """What draws and judges; None where no term needs it.

    Attributes:
      generator: tuned to the person.
      faces: reads poses and expressions (`jaxface.methods.direction_matrix.faces.Faces`).
      lpips: compares.
      recognition: of identity.
    """

    generator: Generator
    faces: Any = None
    lpips: LPIPS | None = None
    recognition: Any = None


class Batch(NamedTuple):
    """Frames and what is known of them; N rows.

    Attributes:
      images: [N, r, r, 3] at the side of comparison, uint8 or in [-1, 1].
      pose: [N, 3], pitch, yaw and roll.
      expression: [N, E], see `jaxface.methods.pvp.features.Features`.
      rotation: kappa, [N, 3].
      identity: embeddings of the frames, [N, D].
      moving: eyes and mouth, [N, r, r], uint8 or in [0, 1].
    """

    images: Any
    pose: Any
    expression: Any
    rotation: Any
    identity: Any
    moving: Any


class Drawn(NamedTuple):
    """Both branches; what is perturbed is None where no term compares it.

    Attributes:
      image: I', [N, R, R, 3].
      perturbed: I_e, likewise.
      wanted: the perturbed numbers gamma', xi', [N, E].
      offsets: F_expr of each branch that there is, [N, rows, w_dim].
    """

    image: Any
    perturbed: Any
    wanted: Any
    offsets: tuple[Any, ...]


def noise_of(
    settings: MapperSettings,
    mappers: AvatarMappers,
    shape: tuple[int, int],
    *,
    layout: Layout,
    key: Any,
) -> jax.Array:
    """epsilon, [N, E]: what perturbs jaws and expressions, in the scale of their inputs.

    Gaze moves as the perturbed coefficients say, which repeat it (`jaxface.morphable.motion`): a
    face that looks elsewhere than its eyes do cannot be drawn.
    """
    noise = settings.sigma * jax.random.normal(key, shape) * mappers.expression_scale[...]
    jaw, coefficients, gaze = layout.split(noise)
    if not settings.perturb_jaw:
        jaw = jnp.zeros_like(jaw)
    if layout.gaze:
        gaze = jnp.deg2rad(gaze_degrees(coefficients))
    return jnp.concatenate([jaw, coefficients, gaze], axis=1)


def draw(
    settings: MapperSettings,
    mappers: AvatarMappers,
    generator: Generator,
    batch: Batch,
    noise: jax.Array,
) -> Drawn:
    """Both branches of a batch, drawn together.

    Args:
      settings: say whether there is a second branch.
      mappers: F_rot and F_expr.
      generator: G_p.
      batch: has poses and expressions.
      noise: epsilon, [N, E].
    """
    turned = mappers.turned(batch.pose)
    offsets = mappers.offsets(batch.expression)
    latents = mappers.moved(turned, offsets)
    if not settings.perturbs:
        return Drawn(generator.synthesis(latents), None, None, (offsets,))
    wanted = batch.expression + noise
    other = mappers.offsets(wanted)
    joined = generator.synthesis(beside(latents, mappers.moved(turned, other)))
    images, perturbed = apart(joined, 2)
    return Drawn(images, perturbed, wanted, (offsets, other))


def mapper_losses(
    settings: MapperSettings,
    frozen: Frozen,
    batch: Batch,
    drawn: Drawn,
    *,
    expression_scale: jax.Array,
    layout: Layout,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Equation 15 of each frame, and L_gaze.

    Args:
      settings: weights; a term of weight 0 is not computed.
      frozen: what judges.
      batch: the frames.
      drawn: of `draw`, or of other sizes than the generator's.
      expression_scale: [E], by which errors of expressions are divided: 1 as published.
      layout: which numbers are the jaw's, which L_expr leaves out where they are not perturbed, and
        which are gaze, which L_gaze has. Without gaze its weight is to be 0.

    Returns:
      The weighted sum [N], and its terms without weights, [N] by name.
    """
    weights, terms = settings.weights, {}
    target = as_float(batch.images)
    image = downsample(drawn.image, target.shape[1])
    if weights["perceptual"]:
        assert frozen.lpips is not None
        terms["perceptual"] = frozen.lpips(image, target)
    if weights["pixel"]:
        terms["pixel"] = photometric.l2(image, target)
    if weights["identity"]:
        found = embedded(settings, frozen.recognition, image)
        terms["identity"] = identity.distance(found, jax.lax.stop_gradient(batch.identity))
    if settings.reads:
        motion = frozen.faces.motion(frozen.faces.read(drawn.perturbed))
        error = (features_of(motion).expression - drawn.wanted) / expression_scale
        jaw, coefficients, gaze = layout.split(error)
        if weights["expression"]:
            if settings.perturb_jaw:
                coefficients = jnp.concatenate([jaw, coefficients], axis=1)
            terms["expression"] = jnp.mean(jnp.square(coefficients), axis=1)
        if weights["gaze"]:
            terms["gaze"] = jnp.mean(jnp.square(gaze), axis=1)
        if weights["pose"]:
            error = motion.rotation - batch.rotation
            terms["pose"] = jnp.mean(jnp.square(error), axis=1)
    if weights["consistency"]:
        still = 1.0 - shares(batch.moving)[..., None]
        perturbed = downsample(drawn.perturbed, target.shape[1])
        terms["consistency"] = photometric.l2(still * perturbed, still * image)
    if weights["locality"]:
        squares = [jnp.mean(jnp.square(each), axis=(1, 2)) for each in drawn.offsets]
        terms["locality"] = sum(squares, jnp.zeros(()))
    loss = sum((weights[name] * term for name, term in terms.items()), jnp.zeros(()))
    return loss, terms


def shares(values: jax.Array) -> jax.Array:
    """Numbers in [0, 1], which may be stored as 8 bits."""
    return values.astype(jnp.float32) / 255.0 if values.dtype == jnp.uint8 else values


def embedded(settings: MapperSettings, recognition: Any, images: jax.Array) -> jax.Array:
    """Embeddings of images [N, r, r, 3], of the crop that the settings name: [N, D]."""
    if settings.identity_crop == "network" or not isinstance(recognition, IRSE):
        return portrait_embeddings(recognition, images)
    top, bottom, left, right = (round(share * images.shape[1]) for share in CODE_CROP)
    crop = images[:, top:bottom, left:right]
    return recognition.embed(adaptive_average_pool(crop, recognition.config.resolution))
