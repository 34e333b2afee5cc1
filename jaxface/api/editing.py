"""`edit`: the same persons with another pose, expression or light."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.api.shared import drawn, is_path, read_images
from jaxface.errors import UsageError
from jaxface.latents import check_w_plus
from jaxface.methods import pie
from jaxface.methods.direction_matrix.columns import direction_sets
from jaxface.methods.edit_targets import edit_targets
from jaxface.methods.latent_difference.redrawing import (
    Proportions,
    redraw,
    redrawing_of,
    see,
    wished,
)
from jaxface.methods.motion_directions import DIRECTIONS
from jaxface.methods.motion_editing import edit_motion
from jaxface.portraits import Portraits, joined
from jaxface.suite import Suite, drawn_by
from jaxface.vocabulary import LANDMARKS


def edit(
    portraits: Portraits,
    *,
    light: str | None = None,
    strength: float = 0.8,
    like: Any = None,
    groups: Sequence[str] = ("pose",),
    landmarks: Any = None,
    proportions: Proportions = "own",
    direction: str | None = None,
    amount: float = 1.0,
    relative: bool = False,
    feedback: int = 1,
    **values: float,
) -> Portraits:
    """The same persons with another pose, expression or light.

    Args:
      portraits: of `generate`, `invert` or an edit.
      light: where the lamp is, such as "left"; with `strength` from 0, ambient, to 1.
      like: a reference portrait, an image or its file, whose `groups` are taken over: "pose",
        "expression", "illumination", or "landmarks", by which the portraits are redrawn (Latent
        Difference Encoder) before anything else.
      landmarks: 68 points to redraw by, [68, 2] or [N, 68, 2] in pixels of the suite's images.
      proportions: of the landmarks of `like`: "own", moved to each portrait's own face, or "taken".
      direction: of a linear edit of the suite, such as "age.boundary"; by `amount`.
      relative: `values` are added to what the portraits have.
      feedback: rounds of PIE's feedback.
      values: by name: ``yaw``, ``pitch`` and ``roll`` in degrees, expressions such as ``smile``.

    Raises:
      UsageError: nothing is asked for, or the suite has no edit of that name.
      ValueError: no parameter of a face has that name, or landmarks that are none.
      SuiteError: the suite lacks a network.

    Example:
      >>> turned = jaxface.edit(jaxface.generate(2), yaw=20)
      >>> turned.images.shape
      (2, 64, 64, 3)
    """
    if not values and all(each is None for each in (light, like, landmarks, direction)):
        raise UsageError("edit: say what to change, such as yaw=20, light='left' or like=image")
    change = functools.partial(
        _edited,
        values=values,
        light=light,
        strength=strength,
        like=like,
        groups=groups,
        proportions=proportions,
        direction=direction,
        amount=amount,
        relative=relative,
        feedback=feedback,
    )
    points = None if landmarks is None else _points(landmarks, len(portraits))
    if portraits.weights is None:
        return change(portraits.suite, portraits, points)
    return joined(
        [
            change(
                drawn_by(portraits.suite, portraits.generator(row)),
                portraits[row],
                None if points is None else points[row : row + 1],
            )
            for row in range(len(portraits))
        ]
    )


def _points(landmarks: Any, count: int) -> np.ndarray:
    """[count, 68, 2] of one portrait's points or of all portraits'."""
    points = np.asarray(landmarks, np.float32)
    if points.shape not in ((68, 2), (count, 68, 2)) or not np.isfinite(points).all():
        raise ValueError(
            f"edit: expected finite landmarks [68, 2] or [{count}, 68, 2], got shape "
            f"{list(points.shape)}."
        )
    return np.broadcast_to(points, (count, 68, 2))


def _edited(
    suite: Suite,
    portraits: Portraits,
    landmarks: np.ndarray | None,
    *,
    values: Mapping[str, float],
    light: str | None,
    strength: float,
    like: Any,
    groups: Sequence[str],
    proportions: Proportions,
    direction: str | None,
    amount: float,
    relative: bool,
    feedback: int,
) -> Portraits:
    w_plus: Any = jnp.asarray(portraits.w_plus)
    config = suite.generator.config
    check_w_plus("edit", w_plus, num_ws=config.num_ws, w_dim=config.w_dim)
    measures: dict[str, np.ndarray] = {}
    images = reference = None
    if like is not None:
        one = like if is_path(like) else np.asarray(like)[None]
        pixels, _ = read_images(one, config.resolution)
        reference = pixels[0]
    by_landmarks = reference is not None and LANDMARKS in groups
    if landmarks is not None or by_landmarks:
        w_plus, images, points = _redrawn(suite, w_plus, landmarks, reference, proportions)
        measures[LANDMARKS] = points
    groups = [group for group in groups if group != LANDMARKS]
    targets = edit_targets(
        suite,
        values,
        relative=relative,
        light=light,
        strength=strength,
        like=reference if groups else None,
        groups=groups,
    )
    if targets.motion is not None:
        moved = edit_motion(suite, w_plus, targets.motion, feedback=feedback)
        w_plus, images = moved.w_plus, moved.images
        named = targets.attributes[DIRECTIONS]
        measures |= _measures(named, moved.wanted, moved.before, moved.after)
    if targets.groups:
        edits = pie.edit_groups(suite, w_plus, targets.groups, feedback=feedback)
        last = list(edits.values())[-1]
        w_plus, images = last.w_plus, last.images
        for group, done in edits.items():
            told = [each.group(group) for each in (done.wanted, done.before, done.after)]
            measures |= _measures(targets.attributes.get(group, ()), *told)
    if direction is not None:
        key, _, name = direction.partition(".")
        sets = direction_sets(suite)
        if key not in sets:
            raise UsageError(f"edit: the suite has directions {', '.join(sets)}, no {key!r}")
        w_plus, images = sets[key].move(w_plus, name or sets[key].names[0], amount), None
    images = drawn(suite, w_plus) if images is None else np.clip(np.asarray(images), -1, 1)
    return dataclasses.replace(
        portraits, images=images, w_plus=np.asarray(w_plus), measures=measures
    )


def _redrawn(
    suite: Suite, w_plus: Any, landmarks: Any, like: Any, proportions: Proportions
) -> tuple[Any, Any, np.ndarray]:
    """Codes and images with the landmarks that are given, or those of a portrait; and these."""
    networks, generator = redrawing_of(suite), suite.generator
    points = landmarks
    if points is None:
        own = see(networks, generator.synthesis(w_plus))
        other = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (len(w_plus), *leaf.shape[1:])),
            see(networks, like[None]),
        )
        points = wished(networks, own, other, generator.resolution, proportions=proportions)
    moved, images = _redraw(networks, generator, w_plus, points)
    return moved, images, np.asarray(points)


@jax.jit
def _redraw(networks: Any, generator: Any, w_plus: jax.Array, points: Any) -> Any:
    return redraw(networks, generator, w_plus, points, noise="const")


def _measures(named: Sequence[Any], *parameters: Any) -> dict[str, np.ndarray]:
    """{"yaw_wanted": [N], "yaw_before": [N], "yaw": [N]} of each attribute."""
    rows = max(len(each) for each in parameters)
    told = {}
    for each in named:
        for ending, values in zip(("_wanted", "_before", ""), parameters, strict=True):
            column = [each.read(row) for row in np.asarray(values)]
            told[each.name + ending] = np.broadcast_to(column, (rows,))
    return told
