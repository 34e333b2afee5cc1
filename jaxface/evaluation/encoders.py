"""A suite's encoders beside each other: what their inversions lose, and how editable codes are."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.evaluation.judges import recognition_error
from jaxface.evaluation.reenactment_judges import perceptual_distance
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods import encoder
from jaxface.methods.pie.editing import EditingNetworks, Target, apply_edits, editing_networks
from jaxface.runtime.chunks import by_chunks
from jaxface.suite import Suite

CHUNK = 16
EDIT_YAW = 20.0
"""Degrees that codes are turned by, to see how editable they are."""


def suite_encoders(suite: Suite) -> list[encoder.Settings]:
    """How portraits are embedded by each encoder that a suite has: `encoder`, and the second one,
    `in_domain_encoder`."""
    every = [encoder.Settings(kind) for kind in ("any", "in_domain")]
    return [each for each in every if each.role in suite]


def encoders_judged(suite: Suite, images: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """What each encoder makes of portraits, and what judges say.

    Args:
      suite: has a recognition network and what measures perceptual distances.
      images: [N, R, R, 3] uint8.

    Returns:
      By role, arrays of N rows: ``l2`` (mean square in [-1, 1]), ``perceptual`` and ``identity``
      (cosine) of the inversions, uint8 ``inversion``; and where the suite has a RigNet of the pose,
      of codes that it turned by `EDIT_YAW` ``editability``, the share of the turn that the
      reconstruction network reads, ``identity_turned`` (cosine with the portrait) and uint8
      ``turned``.
    """
    found = {}
    for settings in suite_encoders(suite):
        networks = settings.networks(suite, jax.random.key(0))

        def judged(part: Any, networks: Any = networks, settings: Any = settings) -> Any:
            part = from_uint8(jnp.asarray(part))
            w_plus, drawn = inverted(settings, networks, part)
            return {
                "l2": jnp.mean(jnp.square(drawn - part), axis=(1, 2, 3)),
                "perceptual": perceptual_distance(suite, drawn, part),
                "identity": 1 - recognition_error(suite, drawn, part),
                "inversion": to_uint8(drawn),
                **_edited(suite, w_plus, part),
            }

        found[settings.role] = by_chunks(judged, images, size=CHUNK)
    return found


def means(judged: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, float]]:
    """Of the numbers of `encoders_judged`, by role."""
    return {
        role: {name: float(each.mean()) for name, each in values.items() if each.ndim == 1}
        for role, values in judged.items()
    }


def _edited(suite: Suite, w_plus: jax.Array, portraits: jax.Array) -> dict[str, jax.Array]:
    if "rignet_pose" not in suite:
        return {}
    edit = _turned({"pose": editing_networks(suite, "pose")}, w_plus)
    images = eight_bits(edit.images)
    turned = edit.after.rotation[:, 1] - edit.before.rotation[:, 1]
    return {
        "editability": jnp.rad2deg(turned) / EDIT_YAW,
        "identity_turned": 1 - recognition_error(suite, images, portraits),
        "turned": to_uint8(images),
    }


@jax.jit
def _turned(networks: dict[str, EditingNetworks], w_plus: jax.Array) -> Any:
    values = jnp.zeros((len(w_plus), 6)).at[:, 1].set(jnp.deg2rad(EDIT_YAW))
    target = Target(values, jnp.ones(6, bool), jnp.ones(()))
    return apply_edits(networks, w_plus, {"pose": target}, feedback=0, noise="const")["pose"]


def eight_bits(images: jax.Array) -> jax.Array:
    """Images as they would be stored, in [-1, 1]."""
    return from_uint8(to_uint8(images))


def _inverted(
    settings: encoder.Settings, networks: encoder.Networks, images: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Codes [N, L, D] of portraits in [-1, 1], and what is drawn of them in [-1, 1]."""
    w_plus = encoder.encode(settings, networks, images)
    return w_plus, eight_bits(networks.generator.synthesis(w_plus, "const"))


inverted = jax.jit(_inverted, static_argnums=0)
