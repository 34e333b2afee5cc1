"""What a RigNet's edits do to latents that it was not trained on, and how they look.

Held-out latents come in pairs like those of training, without style mixing, and each takes the
group's parameters of its partner as F reads them: what F does not see in images, single modes of
expression for instance, RigNet has not seen either. Where z begins with a scene's factors, the
wanted face is known: the source's true parameters with the partner's true group, and so is its
image. Otherwise what F reads from the partner stands for the truth.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

from jaxface.methods.face_errors import parameter_errors
from jaxface.methods.known_scenes import world_of_samples
from jaxface.methods.rignet.latents import (
    Models,
    draw_latents,
    in_chunks,
    observe_all,
    sample_z,
    swap_pairs,
)
from jaxface.metrics import psnr
from jaxface.morphable import SEMANTIC_GROUPS, FaceParameters, Scene
from jaxface.morphable.bases import basis_of
from jaxface.nets import RigNet

_ROWS, _COLUMNS = 5, 8  # of the sheet, whose first row and column are latents

# The measures of `parameter_errors` that are about one field; landmarks follow several.
_FIELDS = {
    "rotation_rad": "rotation",
    "translation": "translation",
    "identity_sigma": "identity",
    "reflectance_sigma": "reflectance",
    "expression": "expression",
    "illumination_relative": "illumination",
}
# What the landmarks do not show.
_MEASURES = {
    "pose": ("rotation_rad", "translation", "landmarks_relative"),
    "expression": ("expression", "landmarks_relative"),
    "illumination": ("illumination_relative",),
}


_edit = jax.jit(lambda network, w_plus, wanted: network(w_plus, wanted))


class HeldOut(struct.PyTreeNode):
    """N latents and what is known of them."""

    w_plus: jax.Array
    images: jax.Array
    """What the generator draws."""
    read: FaceParameters
    """What F reads from them."""
    true: FaceParameters
    """The true parameters; where they are unknown, `read`."""
    renders: jax.Array | None
    """The true images of the edits, where the truth is known."""
    own_renders: jax.Array | None
    """The true images of the latents themselves."""


def held_out_latents(
    group: str, models: Models, words: np.ndarray, *, known_scenes: bool
) -> HeldOut:
    """The latents of the items with these key words, uint32 [N, 2], N even.

    Args:
      group: that the edits are of.
      models: frozen.
      words: see `jaxface.data.latent_items.key_data`.
      known_scenes: see `RigNetSettings`.

    Raises:
      UsageError: see `world_of_samples`.
    """
    keys = jax.random.wrap_key_data(jnp.asarray(words))
    w_plus = draw_latents(models.generator, keys)
    images, read = observe_all(models, w_plus)
    true, renders, own_renders = read, None, None
    if known_scenes:
        basis = basis_of(models.reconstruction)
        of = world_of_samples("rignet", models.generator, basis)
        scenes = of.scenes(sample_z(keys, models.generator.config.z_dim)[:, : of.num_factors])
        true = scenes.face
        wanted = true.with_group(group, swap_pairs(true))
        own_renders, renders = (
            in_chunks(lambda part: of.render(part, models.generator.resolution), each)
            for each in (scenes, Scene(wanted, scenes.nuisance))
        )
    return HeldOut(w_plus, images, read, true, renders, own_renders)


def edit_scores(group: str, models: Models, network: RigNet, held_out: HeldOut) -> dict[str, float]:
    """Means over the held-out latents, each given its partner's parameters of the group.

    Returns:
      Errors of the group in the units of `jaxface.methods.face_errors.parameter_errors`
      (landmarks: of the wanted face with the predicted group): ``edit_*`` of the edits as F reads
      them, ``unedited_*`` of the latents as they were, ``best_*`` of the partners' own images,
      F's error. ``kept_*``: what F reads after the edit against what it read before, for all else,
      landmarks with the former group. Where renders are known, dB: ``edit_psnr`` and
      ``unedited_psnr`` against the true image of the edit, ``best_psnr`` of the latents against
      their own.
    """
    edited = _edit(network, held_out.w_plus, swap_pairs(held_out.read).group(group))
    images, predicted = observe_all(models, edited)
    wanted = held_out.true.with_group(group, swap_pairs(held_out.true))

    marks = models.face.landmarks

    def errors(name: str, of: FaceParameters) -> dict[str, float]:
        values = parameter_errors(wanted.with_group(group, of), wanted, landmarks=marks)
        return {f"{name}_{measure}": float(values[measure]) for measure in _MEASURES[group]}

    still = predicted.with_group(group, held_out.read)
    kept = parameter_errors(still, held_out.read, landmarks=marks)
    others = [name for name in kept if _FIELDS.get(name) not in SEMANTIC_GROUPS[group]]
    scores = (
        errors("edit", predicted)
        | errors("unedited", held_out.read)
        | errors("best", swap_pairs(held_out.read))
        | {f"kept_{name}": float(kept[name]) for name in others}
    )
    if held_out.renders is not None and held_out.own_renders is not None:
        ratios = {
            "edit_psnr": (images, held_out.renders),
            "unedited_psnr": (held_out.images, held_out.renders),
            "best_psnr": (held_out.images, held_out.own_renders),
        }
        for name, (here, there) in ratios.items():
            scores[name] = float(jnp.mean(psnr(jnp.clip(here, -1.0, 1.0), there)))
    return scores


def edit_sheet(
    group: str, models: Models, held_out: HeldOut, *, rows: int = _ROWS, columns: int = _COLUMNS
) -> Callable[[RigNet], jax.Array]:
    """network -> images [rows * columns, R, R, 3], row by row, fewer where the latents are few.

    The first row are latents that give the group's parameters, the first column those that take
    them; the corner is white.
    """
    count = held_out.w_plus.shape[0]
    columns, rows = min(columns, count // 2 + 1), min(rows, count // 2 + 1)
    givers, takers = held_out.read.group(group)[: columns - 1], held_out.w_plus[-(rows - 1) :]
    given = held_out.images[: columns - 1]
    taken = held_out.images[-(rows - 1) :]
    w_plus = jnp.repeat(takers, columns - 1, axis=0)
    wanted = jnp.tile(givers, (rows - 1, 1))

    def sheet(network: RigNet) -> jax.Array:
        images, _ = observe_all(models, _edit(network, w_plus, wanted))
        images = images.reshape(rows - 1, columns - 1, *images.shape[1:])
        body = jnp.concatenate([taken[:, None], images], axis=1)
        head = jnp.concatenate([jnp.ones_like(given[:1]), given])
        return jnp.concatenate([head, body.reshape(-1, *body.shape[2:])])

    return sheet
