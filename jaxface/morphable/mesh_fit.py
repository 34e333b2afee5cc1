"""The morphable head fitted to points of a face and to its colours, by least squares with priors.

First the geometry: rotation, translation, identity and expression so that chosen vertices of the
head lie where points of a mesh were seen, in the image and in depth; identity is a standard normal
vector, and expressions lie near what is known of them beforehand. Then reflectance and light, so
that the shaded vertices have the image's colours (MoFA's shading model, Tewari et al. 2017): the
reflectance is a standard normal vector too, and light is Gaussian. Both are Gauss-Newton steps
(`gauss_newton`).
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.annotation import LandmarkModel
from jaxface.morphable.arkit import ARKIT_UNITS
from jaxface.morphable.camera import Camera, project, transform
from jaxface.morphable.gauss_newton import Linearised, gauss_newton
from jaxface.morphable.illumination import SH_BANDS, decode, spherical_harmonics
from jaxface.morphable.model import FaceModel, face_reflectance
from jaxface.morphable.motion import euler_angles
from jaxface.morphable.parameters import WIDTHS, FaceParameters
from jaxface.morphable.photometric import bilinear_samples, placed_vertices
from jaxface.nets.landmarks.canonical_face import rotation_between

STEPS = 4
"""Of the geometry."""
COLOUR_STEPS = 4
POINT_DEVIATION = 0.005
"""Of the points in the image, in its sides."""
DEPTH_DEVIATION = 0.03
"""The same of their depths."""
UNIT_DEVIATION = 0.1
"""Of ARKit's units from what is known of them beforehand."""
FINE_DEVIATION = 0.35
"""Of the motions without a name, the world's."""
PLACE_DEVIATION = 0.5
"""Of the distance from the camera in head units, wider than the world's; across the image all is
free."""
COLOUR_DEVIATION = 0.15
"""Of a vertex's linear radiosity: shadows and sheen, which neighbours share, more than noise."""
OCCLUDED = 0.15
"""Difference of radiosity that Geman and McClure's weight halves: hair and glasses are no skin."""
COLOUR_RESOLUTION = 256
"""Sides of images that colours are taken from."""

_FREE = 1e-6  # precision of what has no prior
_POSE = 7  # rotation, translation, and where depths begin


def fit_geometry(model: LandmarkModel, points: Array, expression: Array) -> FaceParameters:
    """Heads whose vertices lie where N faces' points were seen.

    Args:
        model: P chosen vertices of a head.
        points: [N, P, 3], x right and y down in the images' sides, z in x's scale and smaller
            towards the camera, from anywhere; as `jaxface.nets.landmarks.portrait_mesh` gives them.
        expression: what is known of it beforehand, [N, 64].

    Returns:
        With reflectance and illumination of zero.
    """
    depth = points[..., 2].mean(axis=1, keepdims=True) - points[..., 2]
    scale = jnp.array([POINT_DEVIATION, POINT_DEVIATION, DEPTH_DEVIATION])
    weight = 1.0 / scale
    basis = jnp.concatenate([model.identity_basis, model.expression_basis])
    count, modes = len(points), len(basis)
    units = np.arange(WIDTHS["expression"]) < len(ARKIT_UNITS)
    free = [_FREE] * 5 + [PLACE_DEVIATION**-2, _FREE]
    precision = jnp.diag(
        jnp.concatenate(
            [
                jnp.array(free),
                jnp.ones(WIDTHS["identity"]),
                jnp.where(units, UNIT_DEVIATION, FINE_DEVIATION) ** -2.0,
            ]
        )
    )
    start = _start(model, points, expression)

    def linearise(observed: tuple[Array, Array], x: Array) -> Linearised:
        seen, prior = observed
        pose, coefficients = x[:, :_POSE], x[:, _POSE:]
        head = model.vertices + jnp.einsum("nk,kpi->npi", coefficients, basis)

        def place(pose: Array, point: Array) -> Array:
            return _seen(model.camera, pose, point)

        per_point = jax.vmap(jax.vmap(place, (None, 0)))
        slopes = jax.vmap(jax.vmap(jax.jacfwd(place, (0, 1)), (None, 0)))
        by_pose, by_point = slopes(pose, head)
        by_mode = jnp.einsum("npij,kpj->npik", by_point, basis)
        jacobian = jnp.concatenate([by_pose, by_mode], axis=-1) * weight[:, None]
        residuals = (per_point(pose, head) - seen) * weight
        mean = jnp.concatenate([jnp.zeros((count, x.shape[1] - prior.shape[1])), prior], axis=1)
        return Linearised(
            jacobian.reshape(count, -1, _POSE + modes),
            residuals.reshape(count, -1),
            precision,
            x - mean,
        )

    seen = jnp.concatenate([points[..., :2], depth[..., None]], axis=-1)
    x = gauss_newton(linearise, (seen, expression), start, steps=STEPS)
    ends = np.cumsum([3, 3, 1, WIDTHS["identity"]]).tolist()
    rotation, translation, _, identity, found = jnp.split(x, ends, axis=1)
    return FaceParameters(
        rotation=rotation,
        translation=translation,
        identity=identity,
        reflectance=jnp.zeros((count, WIDTHS["reflectance"])),
        expression=found,
        illumination=jnp.zeros((count, WIDTHS["illumination"])),
    )


def _seen(camera: Camera, pose: Array, point: Array) -> Array:
    """Where a head's point is seen: x, y and how far it is in front, in the image's sides."""
    placed = transform(point[None], pose[:3], pose[3:6])
    image = project(placed, 1, camera)[0]
    nearer = placed[0, 2] - pose[5]
    scale = camera.focal_length / (camera.distance - pose[5])
    return jnp.stack([image[0], image[1], nearer * scale + pose[6]])


def _start(model: LandmarkModel, points: Array, expression: Array) -> Array:
    """The mean face, turned and placed as the points are, with the expression: [N, 7 + 144]."""
    share = jnp.full(len(model.vertices), 1 / len(model.vertices))
    upright = points * np.array([1.0, -1.0, -1.0], np.float32)
    turn = rotation_between(upright, model.vertices, share)
    turned = jnp.einsum("pj,nij->npi", model.vertices, turn)
    spread, own = (
        jnp.sqrt(jnp.sum(jnp.var(each[..., :2], axis=1), axis=-1)) for each in (upright, turned)
    )
    scale = spread / own
    middle, camera = points[..., :2].mean(axis=1), model.camera
    across = (middle[:, 0] - 0.5) / scale - turned[..., 0].mean(axis=1)
    up = (0.5 - middle[:, 1]) / scale + camera.centre_height - turned[..., 1].mean(axis=1)
    near = camera.distance - camera.focal_length / scale
    pose = jnp.concatenate(
        [euler_angles(turn), jnp.stack([across, up, near, jnp.zeros_like(near)], axis=1)], axis=1
    )
    identity = jnp.zeros((len(points), WIDTHS["identity"]))
    return jnp.concatenate([pose, identity, expression], axis=1)


def fit_colours(
    model: FaceModel,
    chosen: Array,
    face: FaceParameters,
    images: Array,
    light: Array,
    whitening: Array,
) -> FaceParameters:
    """Heads with the reflectance and the light of N images.

    Args:
        model: of the face's region.
        chosen: the vertices whose colours count, [S].
        face: their geometry.
        images: [N, R, R, 3] in [-1, 1]; R as `COLOUR_RESOLUTION`, or less.
        light: the mean of light, [27].
        whitening: [27, 27], which an offset from the mean is multiplied by to be standard normal.
    """
    positions, normals, visible = (
        each[:, chosen] for each in placed_vertices(model, face, images.shape[1])
    )
    observed = decode(bilinear_samples(images, positions))
    harmonics = spherical_harmonics(normals)
    modes, lights = WIDTHS["reflectance"], WIDTHS["illumination"]
    basis = model.reflectance_basis * model.reflectance_deviation[:, None]
    basis = basis.reshape(modes, -1, 3)[:, chosen]
    precision = jax.scipy.linalg.block_diag(jnp.eye(modes), whitening @ whitening.T)
    count = len(images)
    mean = jnp.concatenate([jnp.zeros(modes), light])
    start = jnp.broadcast_to(mean, (count, modes + lights))

    def linearise(seen: tuple[Array, Array], x: Array) -> Linearised:
        observed, harmonics = seen
        guess = replace(face, reflectance=x[:, :modes])
        skin = face_reflectance(model, guess)[:, chosen]
        bands = x[:, modes:].reshape(count, SH_BANDS, 3)
        irradiance = jnp.einsum("nvb,nbc->nvc", harmonics, bands)
        lit = jnp.maximum(irradiance, 0.0)
        residuals = skin * lit - observed
        square = jnp.sum(jnp.square(residuals), axis=-1)
        weight = visible * OCCLUDED**2 / (OCCLUDED**2 + square)
        weight = jax.lax.stop_gradient(weight / COLOUR_DEVIATION)[..., None]
        by_skin = jnp.einsum("nvc,kvc->nvck", lit * weight, basis)
        along = jnp.where(irradiance > 0, skin, 0.0) * weight
        by_light = jnp.einsum("nvc,nvb,cd->nvcbd", along, harmonics, jnp.eye(3))
        parts = [by_skin.reshape(count, -1, modes), by_light.reshape(count, -1, lights)]
        return Linearised(
            jnp.concatenate(parts, axis=-1),
            (residuals * weight).reshape(count, -1),
            precision,
            x - mean,
        )

    x = gauss_newton(linearise, (observed, harmonics), start, steps=COLOUR_STEPS)
    return replace(face, reflectance=x[:, :modes], illumination=x[:, modes:])
