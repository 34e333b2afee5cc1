"""The losses of a reenacted image, equations 3 to 7, and the pose that it is to have."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx, struct

from jaxface.latents import truncate
from jaxface.losses import face_shape, identity, perceptual, photometric
from jaxface.methods.direction_matrix.columns import column_values
from jaxface.methods.direction_matrix.faces import Faces, Shape
from jaxface.methods.direction_matrix.settings import Losses, MatrixSettings, Perceptual
from jaxface.nets import LPIPS, VGG16, DirectionMatrix, Generator
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.runtime.devices import apart, beside

JOHNSON_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
"""Of the feature loss of Johnson et al. 2016, section 4."""
PERCEPTUAL_SIDE = 256
"""Images are averaged down to this before they are compared, as every image of the code is."""


@struct.dataclass
class Models:
    """What training reads and does not change.

    Attributes:
      generator: G.
      faces: Net_3D and its face model.
      recognition: F of equation 6.
      distance: of L_per: LPIPS, or VGG-16 for "vgg".
      portraits: embedded portraits, or None.
      pairs: embedded pairs, or None.
    """

    generator: Generator
    faces: Faces
    recognition: Any
    distance: Any
    portraits: "Embedded | None" = None
    pairs: "Embedded | None" = None


@struct.dataclass
class Embedded:
    """Portraits that an encoder has embedded; leading axes [M], or [M, 2] for pairs.

    Attributes:
      w_plus: [..., L, w_dim].
      images: the portraits themselves, [..., R, R, 3] uint8.
    """

    w_plus: jax.Array
    images: jax.Array


@struct.dataclass
class Cases:
    """N sources and what each is to become.

    Attributes:
      w_plus: of the sources, [N, L, w_dim].
      target_w_plus: of the targets.
      images: of the sources where they are `real`, else not looked at: [N, R, R, 3] uint8.
      target_images: the same of the targets.
      real: whether source and target are images beside their latents, [N] bool.
      real_target: the same of the targets.
      single: whether one number alone changes, [N] bool.
      column: which, [N].
      uniform: by how much, [N] in [0, 1).
    """

    w_plus: jax.Array
    target_w_plus: jax.Array
    images: jax.Array
    target_images: jax.Array
    real: jax.Array
    real_target: jax.Array
    single: jax.Array
    column: jax.Array
    uniform: jax.Array


def draw(generator: Generator, w_plus: jax.Array, truncation: float) -> jax.Array:
    """G at latents drawn towards the mean of W, as every image of the code is: [N, R, R, 3]."""
    if truncation != 1.0:
        w_plus = truncate(w_plus, generator.w_mean, truncation)
    return generator.synthesis(w_plus)


def distance_network(kind: Perceptual, network: Any) -> LPIPS | VGG16:
    """What `Models.distance` is, of the network of `PERCEPTUAL_ROLES`."""
    return LPIPS.of_trunk(network) if kind == "features" else network


def full_change(matrix: DirectionMatrix, source: jax.Array, target: jax.Array) -> jax.Array:
    """dp [N, K] from the sources' numbers [N, K] to the targets'."""
    return (target - source) * matrix.slope[...]


def single_change(
    settings: MatrixSettings, rescaled: jax.Array, column: jax.Array, uniform: jax.Array
) -> jax.Array:
    """dp [N, K] of one number each.

    Args:
      settings: what is uniform in [-a, a].
      rescaled: the sources' numbers, [N, K].
      column: which changes, [N].
      uniform: [N] in [0, 1); 0 is the largest.
    """
    here = jnp.arange(rescaled.shape[1]) == column[:, None]
    now = jnp.sum(jnp.where(here, rescaled, 0.0), axis=1) if settings.single == "result" else 0.0
    step = settings.spread * (1.0 - 2.0 * uniform) - now
    return jnp.where(here, step[:, None], 0.0)


def wanted_faces(
    settings: MatrixSettings,
    faces: Faces,
    matrix: DirectionMatrix,
    source: Any,
    target: Any,
    cases: Cases,
) -> tuple[jax.Array, Any]:
    """dp [N, K], and the parameters of the faces that it is to give.

    Args:
      settings: of the single numbers.
      faces: of source and target.
      matrix: whose columns they are; none of its weights is used.
      source: what is read of the sources.
      target: what is read of the targets.
      cases: which change one number alone.
    """
    names, basis = matrix.names, matrix.config.basis
    here, there = (column_values(names, basis, faces.motion(x)) for x in (source, target))
    rescaled = matrix.rescaled(here)
    single = single_change(settings, rescaled, cases.column, cases.uniform)
    change = jnp.where(cases.single[:, None], single, full_change(matrix, here, there))
    alone = faces.with_values(source, names, matrix.unscaled(rescaled + single), cases.column)
    whole = faces.moved(source, target)
    wanted = jax.tree.map(
        lambda a, b: jnp.where(cases.single.reshape(-1, *(1,) * (a.ndim - 1)), a, b), alone, whole
    )
    return change, wanted


def shape_terms(losses: Losses, shape: Shape, wanted: Shape) -> dict[str, jax.Array]:
    """L_sh, L_eye and L_mouth of N faces, [N] each, without weights."""
    return {
        "shape": face_shape.vertices(shape.vertices, wanted.vertices),
        "eye": face_shape.eyes(shape.landmarks, wanted.landmarks, reading=losses.distances),
        "mouth": face_shape.mouth(shape.landmarks, wanted.landmarks, reading=losses.distances),
    }


def image_terms(
    losses: Losses, models: Models, images: jax.Array, compared: jax.Array, *, paired: bool
) -> dict[str, jax.Array]:
    """L_id, L_per and of pairs L_pix of N images, [N] each, without weights.

    Args:
      losses: readings.
      models: networks.
      images: reenacted, [N, R, R, 3] in [-1, 1].
      compared: what they are compared with: the sources, or of pairs the targets.
      paired: of which stage they are.
    """
    embeddings = [portrait_embeddings(models.recognition, x) for x in (images, compared)]
    terms = {
        "identity": identity.distance(*embeddings),
        "perceptual": perceptual_distance(
            losses, models.distance, images, compared, in_bytes=paired and losses.paired_in_bytes
        ),
    }
    if paired:
        terms["pixel"] = 127.5 * photometric.l1(images, compared)
    return terms


def perceptual_distance(
    losses: Losses, network: Any, images: jax.Array, compared: jax.Array, *, in_bytes: bool
) -> jax.Array:
    """L_per, [N]; `in_bytes`: of the images in [0, 255]."""
    seen = [perceptual.downsample(x, PERCEPTUAL_SIDE) for x in (images, compared)]
    if in_bytes:
        seen = [(x + 1.0) * 127.5 for x in seen]
    if losses.perceptual == "vgg":
        found = [network.features(x, layers=JOHNSON_LAYERS) for x in seen]
        return perceptual.distance(*found, weights=dict.fromkeys(JOHNSON_LAYERS, 1.0))
    return network(*seen)


def matrix_losses(
    settings: MatrixSettings, models: Models, matrix: DirectionMatrix, cases: Cases, *, paired: bool
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss of each case, [N], and its terms without weights.

    Args:
      settings: weights and readings.
      models: frozen.
      matrix: A.
      cases: sources and targets.
      paired: whether both are frames of one clip (equation 7).
    """
    losses, faces, generator = settings.losses, models.faces, models.generator

    def seen(w_plus: jax.Array, images: jax.Array, real: jax.Array) -> jax.Array:
        drawn = draw(generator, w_plus, settings.truncation)
        stored = images.astype(jnp.float32) / 127.5 - 1.0
        return jnp.where(real[:, None, None, None], stored, drawn)

    sources = seen(cases.w_plus, cases.images, cases.real)
    targets = seen(cases.target_w_plus, cases.target_images, cases.real_target)
    source, target = apart(faces.read(beside(sources, targets)), 2)
    frozen = nnx.merge(*nnx.split(jax.lax.stop_gradient(matrix)))
    change, wanted = wanted_faces(settings, faces, frozen, source, target, cases)
    if paired and losses.paired_identity == "target":
        wanted = target
    change, wanted, sources, targets = jax.lax.stop_gradient((change, wanted, sources, targets))

    shifted = matrix(cases.w_plus, change)
    images = draw(generator, shifted, settings.truncation)
    terms = shape_terms(losses, faces.shape(faces.read(images)), faces.shape(wanted))
    terms |= image_terms(losses, models, images, targets if paired else sources, paired=paired)
    if paired and losses.latent_weight:
        terms["latent"] = jnp.mean(jnp.abs(shifted - cases.target_w_plus), axis=(1, 2))
    weighted = [getattr(losses, f"{name}_weight") * term for name, term in terms.items()]
    return jnp.sum(jnp.stack(weighted), axis=0), terms
