"""PIE's energy, one value a portrait (equation 6):

    E(w) = E_syn(w) + E_id(w) + E_edit(w) + E_inv(w) + E_recog(w)

with (sections 4.1 to 4.3, equations 7 to 15)

    E_syn(w)   = lambda_l2 |I - I_w|^2 + lambda_p |phi(I) - phi(I_w)|^2                      (7)
    E_id(w)    = lambda_id |w - RigNet(w, theta_w^tau)|^2                                    (8)
    I_v        = I([theta_v^-tau, theta_w^^tau])  for every v, if tau is edited as asked     (9)
    l(I', th)  = lambda_ph |I' - I_th|^2_face + lambda_lm |L_I' - L_th|^2                    (10)
    E_edit(w)  = lambda_e E_v[ l(I_v, [theta_v^-tau, theta_w^^tau]) ]                        (11)
    I          = I([theta_w^^-tau, theta_I^tau])  for every v, if nothing else is edited     (12)
    E_inv(w)   = lambda_inv E_v[ l(I, [theta_w^^-tau, theta_I^tau]) ]                        (13)
    l_recog(I, w) = |psi(I) - psi(I_w)|^2                                                    (14)
    E_recog(w) = lambda_rw l_recog(I, w) + lambda_r E_v[ l_recog(I, w^) ]                    (15)

v is a sampled latent of the generator; w^ = RigNet(w, theta_v^tau) is the portrait with v's
semantic group tau: pose, expression or illumination. I_w is the generator's image of w, theta_w
what the face reconstruction network reads from it (equation 5), theta^-tau all parameters but
tau's, I_theta and L_theta the rendered face and its 66 landmarks. phi are features of VGG-16 at
conv1_1, conv1_2, conv3_2 and conv4_2 (section 4.1), psi those of a face recognition network: the
paper's is VGG-Face (section 4.3), here it is `Settings.psi`'s.

The paper writes norms, that is sums; all terms here are means, and `published_weights` and
`published_editing_weights` convert.

I and I_v do not change with w, so they are read once (`Targets`, `FaceEstimate`), and l has no
gradient with respect to an image: only theta_w^ carries one.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxface.latents import broadcast_w
from jaxface.losses import identity, perceptual, photometric
from jaxface.methods.pie.networks import FaceEstimate, Networks, phi, psi, theta_of
from jaxface.methods.pie.sampling import choose_groups, mix, rig, sample
from jaxface.methods.pie.settings import SPREAD, Settings
from jaxface.morphable import LANDMARKS_66, FaceParameters
from jaxface.morphable.annotation import project_landmarks
from jaxface.morphable.photometric import photometric_square


class Targets(NamedTuple):
    """What stays the same during an inversion; None where no chosen term needs it.

    Attributes:
      images: I, [N, R, R, 3] in [-1, 1].
      features: phi(I), {layer: [N, h, w, channels]}.
      reading: `FaceEstimate` of I.
      embedding: psi(I), [N, D].
      coarse: images and features of I averaged down to `Settings.w_resolution`.
    """

    images: jax.Array
    features: Any = None
    reading: Any = None
    embedding: Any = None
    coarse: Any = None

    def at_w_resolution(self) -> "Targets":
        """The same, to be compared with images of `Settings.w_resolution`."""
        return self._replace(images=self.coarse.images, features=self.coarse.features)


class Renderings(NamedTuple):
    """What the generator makes of N portraits, with E edits of each, or none.

    Attributes:
      images: I_w, and beside it each I_w^: [N, 1 + E, R, R, 3].
      tau: the groups of the edits, and of the identity term, [N, E, G].
      v: `FaceEstimate` of the N images that the edits have tau from, None if no term edits.
    """

    images: jax.Array
    tau: jax.Array
    v: Any


def energy(
    settings: Settings,
    num_ws: int,
    resolution: int | None,
    w: jax.Array,
    networks: Networks,
    targets: Targets,
    keys: jax.Array,
    step: jax.Array,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The energy of each portrait, in the form of `jaxface.solving.solver.Energy`.

    Args:
      settings: terms, weights and noise.
      num_ws: L.
      resolution: of I_w, `settings.w_resolution`; None: the generator's.
      w: [N, w_dim] in W or [N, L, w_dim] in W+.
      networks: see `Networks`.
      targets: see `Targets`.
      keys: [N] typed keys of this step, for the portrait's noise, v and tau.
      step: unused; the energy is the same at every step.

    Returns:
      [N], and its terms without their weights, [N] each: "l2" and "perceptual", which make up
      "synthesis", and the others under their names; "edit" and "invariance" are E_v[l].
    """
    noise = keys if settings.noise == "random" else settings.noise
    w, targets = to_w_plus(w, num_ws), targets if resolution is None else targets.at_w_resolution()
    loss, terms, _ = evaluate(settings, w, networks, targets, keys, noise, resolution)
    return loss, terms


def evaluate(
    settings: Settings,
    w: jax.Array,
    networks: Networks,
    targets: Targets,
    keys: jax.Array,
    noise: jax.Array | str,
    resolution: int | None = None,
) -> tuple[jax.Array, dict[str, jax.Array], jax.Array]:
    """`energy` of w [N, L, w_dim] with noise of [N] keys, "const" or "none"; and I_w as the third.

    The targets are of the same `resolution`. One synthesis draws a portrait and its edits; one pass
    of each network reads them.
    """
    chosen, values = settings.terms, {}
    renderings = synthesize(settings, w, networks, keys, noise, resolution)
    if "synthesis" in chosen:
        values |= synthesis_terms(settings, renderings.images[:, 0], networks, targets)
    if {"identity", "edit", "invariance"} & set(chosen):
        values |= parameter_terms(settings, w, renderings, networks, targets)
    if "recognition" in chosen or "edit_recognition" in chosen:
        values |= recognition_terms(settings, renderings, networks, targets)
    if SPREAD in chosen:
        values[SPREAD] = spread(w)
    weighted = [getattr(settings, f"{name}_weight") * term for name, term in values.items()]
    return jnp.sum(jnp.stack(weighted), axis=0), values, renderings.images[:, 0]


def synthesize(
    settings: Settings,
    w: jax.Array,
    networks: Networks,
    keys: jax.Array,
    noise: jax.Array | str,
    resolution: int | None = None,
) -> Renderings:
    """I_w, and I_w^ for sampled v and tau if a chosen term edits."""
    latents, tau, v = w[:, None], choose_groups(settings, keys), None
    if settings.editing_terms:
        v = sample(settings, networks, keys).reading
        edits = rig(settings, networks, w, v.theta, tau)
        latents = jnp.concatenate([latents, edits], axis=1)
    # Edits lie beside their portrait: on a mesh the rows stay where they are.
    noise = noise if isinstance(noise, str) else jnp.repeat(noise, latents.shape[1])
    images = networks.generator.synthesis(_flat(latents), noise=noise, resolution=resolution)
    return Renderings(images.reshape(*latents.shape[:2], *images.shape[1:]), tau, v)


def synthesis_terms(
    settings: Settings, images: jax.Array, networks: Networks, targets: Targets
) -> dict[str, jax.Array]:
    """Equation 7 of images I_w [N, R, R, 3]: "l2" and "perceptual", [N] without their weights."""
    return {
        "l2": photometric.l2(images, targets.images),
        "perceptual": perceptual.distance(
            phi(settings, networks, images), targets.features, dict(settings.layers)
        ),
    }


def parameter_terms(
    settings: Settings, w: jax.Array, renderings: Renderings, networks: Networks, targets: Targets
) -> dict[str, jax.Array]:
    """Equations 8, 11 and 13, those that are chosen: [N] without their weights."""
    chosen, v, tau, values = settings.terms, renderings.v, renderings.tau, {}
    wanted = renderings.images if "identity" in chosen else renderings.images[:, 1:]
    theta = theta_of(settings, networks, _flat(wanted)).reshape(*wanted.shape[:2], -1)
    if "identity" in chosen:  # theta_w comes first
        again = rig(settings, networks, w, theta[:, 0], tau)
        values["identity"] = jnp.mean(jnp.square(w[:, None] - again), axis=(1, 2, 3))
        theta = theta[:, 1:]
    if "edit" in chosen:
        mixed = mix(settings, v.theta[:, None], theta, tau)
        values["edit"] = face_distance(settings, networks, v, mixed)
    if "invariance" in chosen:
        mixed = mix(settings, theta, targets.reading.theta[:, None], tau)
        values["invariance"] = face_distance(settings, networks, targets.reading, mixed)
    return values


def face_distance(
    settings: Settings, networks: Networks, reading: FaceEstimate, theta: jax.Array
) -> jax.Array:
    """l, equation 10, of images and E faces each, averaged over these.

    The paper's norm over the face is that of all foreground pixels of the rendered face. Here it is
    taken at the model's visible vertices, as MoFA does (Tewari et al. 2017), and both norms are
    means: see `Settings`, also for what occludes a face.

    Args:
      reading: of N images I'.
      theta: [N, E, 257].

    Returns:
      [N].
    """
    rows, each, _ = theta.shape
    face = FaceParameters.from_flat(_flat(theta))
    images, landmarks = (jnp.repeat(a, each, axis=0) for a in (reading.images, reading.landmarks))
    drawn = project_landmarks(networks.models.landmarks, face, 1)[:, jnp.array(LANDMARKS_66)]
    distance = settings.photometric_weight * photometric_square(
        networks.models.region, face, images, settings.occluded
    ) + settings.landmark_weight * jnp.mean(jnp.sum(jnp.square(landmarks - drawn), -1), -1)
    return jnp.mean(distance.reshape(rows, each), axis=1)


def recognition_terms(
    settings: Settings, renderings: Renderings, networks: Networks, targets: Targets
) -> dict[str, jax.Array]:
    """Equation 14 of I_w, and of each I_w^ on average: those that are chosen, without weights.

    Features are taken at unit length, where the squared distance is twice one minus the cosine; the
    paper does not normalise them.
    """
    first = 0 if "recognition" in settings.terms else 1
    last = None if "edit_recognition" in settings.terms else 1
    wanted = renderings.images[:, first:last]
    targets_of_each = jnp.repeat(targets.embedding, wanted.shape[1], axis=0)
    distance = 2 * identity.distance(psi(settings, networks, _flat(wanted)), targets_of_each)
    distance, values = distance.reshape(wanted.shape[:2]), {}
    if "recognition" in settings.terms:
        values["recognition"] = distance[:, 0]
    if "edit_recognition" in settings.terms:
        values["edit_recognition"] = jnp.mean(distance[:, 1 - first :], axis=1)
    return values


def spread(w_plus: jax.Array) -> jax.Array:
    """How far the rows of W+ [N, L, w_dim] lie from their mean: the mean square, [N]."""
    return jnp.mean(jnp.square(w_plus - w_plus.mean(axis=1, keepdims=True)), axis=(1, 2))


def to_w_plus(w: jax.Array, num_ws: int) -> jax.Array:
    """Latents in W as rows of W+; those in W+ as they are."""
    return broadcast_w(w, num_ws) if w.ndim == 2 else w


def _flat(x: jax.Array) -> jax.Array:
    """[N, E, ...] to [N * E, ...]."""
    return x.reshape(-1, *x.shape[2:])
