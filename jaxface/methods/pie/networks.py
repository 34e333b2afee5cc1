"""What the energy takes from a suite, by the terms that are chosen."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxface.errors import SuiteError
from jaxface.losses import perceptual
from jaxface.methods.inversion import generator_in
from jaxface.methods.pie.settings import SPREAD, Settings
from jaxface.morphable.bases import models_of
from jaxface.morphable.models import FaceModels
from jaxface.nets import Generator
from jaxface.nets.features.vgg import smallest_side
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.suite import Suite


class FaceEstimate(NamedTuple):
    """What is known of N images I' that a face is compared with.

    Attributes:
      images: I' at the resolution of the comparison, [N, R', R', 3] in [-1, 1].
      landmarks: L_I', [N, 66, 2], in units of the image's side.
      theta: the parameters read from I', [N, 257].
    """

    images: jax.Array
    landmarks: jax.Array
    theta: jax.Array


class Bank(NamedTuple):
    """M latents v whose images were read beforehand.

    Attributes:
      w_plus: v, [M, L, w_dim].
      reading: of I_v.
    """

    w_plus: jax.Array
    reading: FaceEstimate


class Networks(NamedTuple):
    """What the energy needs of a suite; None where no chosen term needs it.

    Attributes:
      generator: w_plus to I_w.
      perceptual: phi, a `VGG16`.
      reconstruction: images to theta, [N, 257].
      rignets: `RigNet` by semantic group.
      recognition: psi, images to embeddings [N, D] of any length; of `Settings.psi`'s role.
      landmarks: images to [N, 68, 2] in their pixels.
      models: of the face, `jaxface.morphable.models.FaceModels`.
      bank: a `Bank` that replaces the sampling of v.
      encoder: images to w_plus, where the optimisation starts from its codes.
    """

    generator: Generator
    perceptual: Any = None
    reconstruction: Any = None
    rignets: Any = None
    recognition: Any = None
    landmarks: Any = None
    models: Any = None
    bank: Any = None
    encoder: Any = None


def theta_of(settings: Settings, networks: Networks, images: jax.Array) -> jax.Array:
    """The face parameters that are read from images [N, R, R, 3] (equation 5): [N, 257]."""
    return networks.reconstruction(images.astype(settings.dtype)).astype(jnp.float32)


def psi(settings: Settings, networks: Networks, images: jax.Array) -> jax.Array:
    """The recognition features of images [N, R, R, 3] (section 4.3): [N, D], of any length."""
    images = images.astype(settings.dtype)
    return portrait_embeddings(networks.recognition, images).astype(jnp.float32)


def phi(settings: Settings, networks: Networks, images: jax.Array) -> perceptual.Features:
    """The features of equation 7 of images [N, R, R, 3]: {layer: [N, h, w, channels]}."""
    # Averaged down before it is rounded.
    images = perceptual.downsample(images, settings.perceptual_resolution)
    values = perceptual.features(
        networks.perceptual,
        images.astype(settings.dtype),
        [name for name, _ in settings.layers],
        resolution=settings.perceptual_resolution,
    )
    return jax.tree.map(lambda x: x.astype(jnp.float32), values)


def required_roles(settings: Settings) -> dict[str, str]:
    """The roles of a suite that are needed, each with the first term that needs it, or "start"."""
    terms = settings.terms
    reading = [term for term in terms if term not in ("synthesis", "recognition", SPREAD)]
    needs = {
        "generator": terms,
        "perceptual": [term for term in terms if term == "synthesis"],
        "reconstruction": reading,
        **{f"rignet_{group}": reading for group in settings.groups},
        settings.psi: [term for term in terms if term.endswith("recognition")],
        "landmarks": settings.editing_terms if settings.landmarks == "network" else (),
        "encoder": ["start"] if settings.start == "encoder" else (),
    }
    return {role: needing[0] for role, needing in needs.items() if needing}


def networks_of(
    suite: Suite, settings: Settings, *, models: FaceModels | None, bank: Bank | None
) -> Networks:
    """The networks in `required_roles`.

    Args:
      suite: has them.
      settings: the terms, the groups and the size of the bank.
      models: of the face; None: those of what the suite's reconstruction network reads.
      bank: as `jaxface.methods.pie.draw_bank` makes it, or None.

    Raises:
      SuiteError: the suite lacks one; the message names the role and the term. Or its generator has
        no image of `settings.w_resolution`.
      ValueError: the bank is not of the size that the settings give.
    """
    size = 0 if bank is None else len(bank.w_plus)
    expected = settings.bank if settings.editing_terms else 0
    if size != expected:
        raise ValueError(
            f"invert: the settings ask for a bank of {expected}, got one of {size}; make it with "
            "draw_bank(suite, settings, key)."
        )
    _check_w_resolution(settings, suite)
    roles = required_roles(settings)
    chosen = {role: _network(suite, role, term) for role, term in roles.items()}
    chosen["generator"] = generator_in(suite, settings.dtype)
    rignets = {group: chosen.pop(f"rignet_{group}", None) for group in settings.groups}
    recognition = chosen.pop(settings.psi, None)
    reads = "reconstruction" in chosen
    return Networks(
        **chosen,
        recognition=recognition,
        rignets=rignets if reads else None,
        models=(models or _face_models(suite)) if reads else None,
        bank=bank,
    )


def _check_w_resolution(settings: Settings, suite: Suite) -> None:
    """Refuses a `w_resolution` that the suite's generator draws nothing at."""
    wanted = settings.w_resolution
    if wanted is None:
        return
    config, smallest = suite.generator.config, 1
    if "synthesis" in settings.terms:
        smallest = smallest_side([name for name, _ in settings.layers])
    lower = [r for r in config.image_resolutions[:-1] if r >= smallest]
    if wanted not in lower:
        raise SuiteError(
            f"suite {suite.name!r}: expected a w_resolution of {lower}, below the generator's, "
            "large enough for the layers of phi, and one that it makes images at (of StyleGAN2's "
            f"the 'skip' architecture alone has such); got {wanted} and images at "
            f"{list(config.image_resolutions)}"
        )


def _face_models(suite: Suite) -> FaceModels:
    """Of the face model that the suite's reconstruction network reads."""
    return models_of(suite.reconstruction, suite.face_model if "face_model" in suite else None)


def _network(suite: Suite, role: str, term: str) -> Any:
    group = role.removeprefix("rignet_")
    try:
        if group == role:
            return getattr(suite, role)
        if group not in (rignets := suite.rignets):
            raise SuiteError(f"suite {suite.name!r} has no {role}; it edits {', '.join(rignets)}")
        return rignets[group]
    except SuiteError as error:
        raise missing(term, error) from error


def missing(term: str, error: SuiteError) -> SuiteError:
    """What the suite lacks, and the term that needs it."""
    return SuiteError(f"{error}. {needed_by(term)}")


def needed_by(term: str) -> str:
    """A sentence on what needs a role of `required_roles`."""
    if term == "start":
        return "The setting start='encoder' needs it"
    return (
        f"The energy's term {term!r} needs it; the setting `terms` chooses the terms, `psi` the "
        "role that recognises persons"
    )
