"""What is computed of an edit: a few programs, one for each group of face parameters."""

import functools
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxface.losses import identity
from jaxface.media.images import to_uint8
from jaxface.methods import pie
from jaxface.methods.latent_difference.redrawing import (
    Proportions,
    Redrawing,
    Seen,
    redraw,
    see,
    wished,
)
from jaxface.methods.linear_directions import Move
from jaxface.methods.motion_directions import DIRECTIONS as MOTION
from jaxface.methods.motion_editing import apply_motion
from jaxface.methods.pie.editing import apply_together
from jaxface.morphable import EDITABLE_GROUPS
from jaxface.nets import Generator
from jaxface.nets.recognition.crops import portrait_embeddings
from jaxface.solving.one_pass import Step
from jaxface.vocabulary import LANDMARKS

MOMENTS = ("wanted", "before", "after")
_EDIT = "edit_"  # before a group's name, in what the steps know


class EditNetworks(NamedTuple):
    """What the programs read.

    Attributes:
      generator: draws.
      groups: what an edit of each group needs, `pie.editing.EditingNetworks`.
      targets: by group; of those that are driven the values come with each latent code.
      directions: by their names in the suite.
      motion: what an edit of the motion needs, and its target; None without one.
      recognition: judges the identity; None where the suite has nothing that does.
      landmarks: what redraws by landmarks, and whose they are (`Seen` of one); None without.
    """

    generator: Generator
    groups: dict[str, Any]
    targets: dict[str, pie.Target]
    directions: dict[str, Any]
    motion: Any
    recognition: Any
    landmarks: tuple[Redrawing, Seen] | None = None


def edit_program(
    moves: Sequence[Move],
    groups: Sequence[str],
    motion: bool,
    feedback: int,
    unedited: bool,
    together: bool,
    proportions: Proportions | None,
    variant: Hashable,
) -> list[Step]:
    """The steps of an edit; the value between two of them is a dictionary of what is known.

    Their inputs are ``w_plus`` [N, L, w_dim] and ``driven``, by groups that have a target for each
    latent code of its own: [N, P]. Their results are ``w_plus``, ``pixels`` and ``unedited``, uint8
    [N, R, R, 3], ``distance`` [N], ``finite`` [N] and ``edits``, by group what was wanted, and read
    before and after.

    Args:
      moves: along linear directions, made last.
      groups: semantic ones that are edited.
      motion: whether pose and expression are edited along directions of motion.
      feedback: rounds.
      unedited: whether the image that was edited is among the results.
      together: whether the groups are edited in one step.
      proportions: of the landmarks that portraits are redrawn by, first of all; None: they are not.
      variant: the generator's noise, "const" or "none".
    """
    noise: Any = variant
    steps: list[Step] = [_begin]
    if proportions is not None:
        steps.append(functools.partial(_edit_landmarks, proportions, noise))
    if motion:
        steps.append(functools.partial(_edit_motion, feedback, noise))
    ordered = [group for group in EDITABLE_GROUPS if group in groups]
    parts = [tuple(ordered)] if together and ordered else [(group,) for group in ordered]
    steps += [functools.partial(_edit_groups, part, feedback, noise) for part in parts]
    if moves:
        steps.append(functools.partial(_move, tuple(moves)))
    if moves or not (groups or motion or proportions):
        steps.append(functools.partial(_synthesize, noise, "edited", "images"))
    steps.append(functools.partial(_judge, noise, unedited))
    return steps


def _begin(networks: EditNetworks, inputs: dict, keys: jax.Array) -> dict[str, Any]:
    w_plus = inputs["w_plus"]
    return {"before": w_plus, "edited": w_plus, "driven": inputs["driven"]}


def _edit_groups(
    groups: tuple[str, ...],
    feedback: int,
    noise: Any,
    networks: EditNetworks,
    known: dict,
    keys: jax.Array,
) -> dict[str, Any]:
    own, targets = {}, {}
    for group in groups:
        own[group] = networks.groups[group]._replace(generator=networks.generator)
        target: Any = networks.targets.get(group)
        if group in known["driven"]:
            target = target.replace(values=known["driven"][group])
        targets[group] = target
    edit = apply_together(own, known["edited"], targets, feedback=feedback, noise=noise)
    moments = {
        group: {name: getattr(edit, name).group(group) for name in MOMENTS} for group in groups
    }
    return _edited(known, edit, moments)


def _edit_motion(
    feedback: int, noise: Any, networks: EditNetworks, known: dict, keys: jax.Array
) -> dict[str, Any]:
    own, target = networks.motion
    own = own._replace(generator=networks.generator)
    edit = apply_motion(own, known["edited"], target, feedback=feedback, noise=noise)
    moments = {name: getattr(edit, name) for name in MOMENTS}
    return _edited(known, edit, {MOTION: moments})


def _edit_landmarks(
    proportions: Proportions, noise: Any, networks: EditNetworks, known: dict, keys: jax.Array
) -> dict[str, Any]:
    assert networks.landmarks is not None
    redrawing, like = networks.landmarks
    generator, w_plus = networks.generator, known["edited"]
    size, count = generator.resolution, len(w_plus)
    before = generator.synthesis(w_plus, noise=noise)
    own = see(redrawing, before)
    other = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape[1:])), like)
    points = wished(redrawing, own, other, size, proportions=proportions)
    moved, images = redraw(redrawing, generator, w_plus, points, noise=noise)
    found = dict(zip(MOMENTS, (points, own.points, redrawing.landmarks(images)), strict=True))
    moments = {name: (each / size).reshape(count, -1) for name, each in found.items()}
    new = {"edited": moved, "images": images, f"{_EDIT}{LANDMARKS}": moments}
    return {"unedited": before} | known | new


def _edited(known: dict, edit: Any, moments: dict[str, dict[str, jax.Array]]) -> dict[str, Any]:
    """What is known after an edit; the first one of several has drawn what all began with."""
    new: dict[str, Any] = {"edited": edit.w_plus, "images": edit.images}
    new |= {f"{_EDIT}{group}": found for group, found in moments.items()}
    return {"unedited": edit.unedited} | known | new


def _move(moves: Sequence[Move], networks: EditNetworks, known: dict, keys: jax.Array) -> dict:
    edited = known["edited"]
    for move in moves:
        directions = networks.directions[move.directions]
        edited = directions.move(edited, move.name, move.strength, rows=move.rows)
    return known | {"edited": edited}


def _synthesize(
    noise: Any, latents: str, images: str, networks: EditNetworks, known: dict, keys: jax.Array
) -> dict:
    return known | {images: networks.generator.synthesis(known[latents], noise=noise)}


def _judge(
    noise: Any, unedited: bool, networks: EditNetworks, known: dict, keys: jax.Array
) -> dict[str, Any]:
    """What is stored of an edit, and how near it is to the portrait that was edited."""
    edited, images = known["edited"], known["images"]
    distance = jnp.full(len(edited), jnp.nan)
    if networks.recognition is not None:
        distance = identity.distance(
            portrait_embeddings(networks.recognition, images),
            portrait_embeddings(networks.recognition, _unedited(noise, networks, known)),
        )
    kept = {"unedited": to_uint8(_unedited(noise, networks, known))} if unedited else {}
    return kept | {
        "w_plus": edited,
        "pixels": to_uint8(images),
        "distance": distance,
        "finite": jnp.isfinite(edited).all((1, 2)) & jnp.isfinite(images).all((1, 2, 3)),
        "edits": {k.removeprefix(_EDIT): v for k, v in known.items() if k.startswith(_EDIT)},
    }


def _unedited(noise: Any, networks: EditNetworks, known: dict) -> jax.Array:
    """What the edit began with, drawn unless an edit of a group has."""
    if "unedited" in known:
        return known["unedited"]
    return networks.generator.synthesis(known["before"], noise=noise)
