"""The expectations of PIE's energy: sampled latents v, and semantic groups tau.

The paper samples another v in every iteration (section 4.4) and has one tau for an inversion
(section 4). A portrait's samples come from its own key of the step, so they do not depend on its
batch.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.losses.perceptual import downsample
from jaxface.methods.pie.networks import Bank, FaceEstimate, Networks, networks_of, theta_of
from jaxface.methods.pie.settings import EDITING_TERMS, Settings
from jaxface.morphable import LANDMARKS_66, SEMANTIC_GROUPS, FaceParameters
from jaxface.morphable.annotation import project_landmarks
from jaxface.morphable.models import FaceModels
from jaxface.morphable.parameters import WIDTHS
from jaxface.suite import Suite

_V, _TAU = 0, 1  # folded into a portrait's key of the step
_DRAWN_AT_ONCE = 8  # latents of a bank; bounds its memory


def estimate(settings: Settings, networks: Networks, images: jax.Array) -> FaceEstimate:
    """Reads images [N, R, R, 3] that do not change: see `FaceEstimate`."""
    theta = theta_of(settings, networks, images)
    if settings.landmarks == "network":
        landmarks = networks.landmarks(images.astype(settings.dtype)) / images.shape[1]
    else:
        landmarks = project_landmarks(networks.models.landmarks, FaceParameters.from_flat(theta), 1)
    return FaceEstimate(
        images=downsample(images, settings.face_resolution),
        landmarks=landmarks[:, np.array(LANDMARKS_66)].astype(jnp.float32),
        theta=theta,
    )


def sample(settings: Settings, networks: Networks, keys: jax.Array) -> Bank:
    """A latent v for each of [N] keys, as a bank of N: from the networks' bank, if they have one.

    v = mapping(z) with z standard normal, truncated; I_v has the generator's stored noise maps
    (none if the settings say so).
    """
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, _V)
    if networks.bank is not None:
        size = len(networks.bank.w_plus)
        chosen = jax.vmap(lambda key: jax.random.randint(key, (), 0, size))(keys)
        return jax.tree.map(lambda leaf: leaf[chosen], networks.bank)
    generator = networks.generator
    z = jax.vmap(lambda key: jax.random.normal(key, (generator.config.z_dim,)))(keys)
    w_plus = generator.mapping(z, truncation=settings.truncation)
    images = generator.synthesis(w_plus, noise="none" if settings.noise == "none" else "const")
    return Bank(w_plus, estimate(settings, networks, images))


def draw_bank(
    suite: Suite, settings: Settings, key: jax.Array, *, models: FaceModels | None = None
) -> Bank:
    """Samples and reads `settings.bank` latents once, for `invert` to choose from at every step.

    Latent i depends on the key and i alone.

    Args:
      suite: has a generator, face reconstruction and what else the settings need to read images.
      settings: those of `invert`; `bank` >= 1.
      key: typed, scalar.
      models: of the face; None: the embedded world's.

    Raises:
      ValueError: the settings ask for no bank, or none of their terms edits.
      SuiteError: the suite lacks a network.
    """
    if settings.bank < 1 or not settings.editing_terms:
        raise ValueError(
            f"draw_bank: settings.bank must be >= 1, got {settings.bank}, and one of the terms "
            f"{', '.join(EDITING_TERMS)}, got {', '.join(settings.terms)}."
        )
    networks = networks_of(suite, settings.sampled(), models=models, bank=None)
    return fill_bank(settings, networks, key)


def fill_bank(settings: Settings, networks: Networks, key: jax.Array) -> Bank:
    """`draw_bank` of networks without one."""
    numbers = np.arange(-(-settings.bank // _DRAWN_AT_ONCE) * _DRAWN_AT_ONCE, dtype=np.uint32)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, numbers)
    parts = [
        _sample(settings, networks, keys[first : first + _DRAWN_AT_ONCE])
        for first in range(0, len(numbers), _DRAWN_AT_ONCE)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves)[: settings.bank], *parts)


_sample = functools.partial(jax.jit, static_argnums=0)(sample)


def choose_groups(settings: Settings, keys: jax.Array) -> jax.Array:
    """Which groups tau each of [N] portraits is edited in: [N, E, G] of 0 and 1, a 1 in each row.

    E is 1 with `settings.groups_per_step` "one", else G, the number of `settings.groups`.
    """
    count = len(settings.groups)
    if settings.groups_per_step == "all":
        return jnp.broadcast_to(jnp.eye(count), (keys.shape[0], count, count))
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, _TAU)
    chosen = jax.vmap(lambda key: jax.random.randint(key, (1,), 0, count))(keys)
    return jax.nn.one_hot(chosen, count)


def rig(
    settings: Settings, networks: Networks, w: jax.Array, theta: jax.Array, tau: jax.Array
) -> jax.Array:
    """RigNet(w, theta^tau).

    Args:
      w: [N, L, w_dim].
      theta: [N, 257].
      tau: [N, E, G], see `choose_groups`.

    Returns:
      [N, E, L, w_dim].
    """
    face = FaceParameters.from_flat(theta)
    rigged = [networks.rignets[group](w, face.group(group)) for group in settings.groups]
    return jnp.einsum("neg,ngld->neld", tau, jnp.stack(rigged, axis=1))


def mix(settings: Settings, rest: jax.Array, group: jax.Array, tau: jax.Array) -> jax.Array:
    """[rest^not-tau, group^tau]: parameters with those of the group tau taken from others.

    Args:
      rest: [N, E or 1, 257].
      group: the same.
      tau: [N, E, G].

    Returns:
      [N, E, 257].
    """
    in_group = np.stack(
        [
            np.concatenate(
                [np.full(width, name in SEMANTIC_GROUPS[each]) for name, width in WIDTHS.items()]
            )
            for each in settings.groups
        ]
    )
    return jnp.where(jnp.einsum("neg,gp->nep", tau, in_group.astype(np.float32)) > 0, group, rest)
