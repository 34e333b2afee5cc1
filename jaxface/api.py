"""One line a job, on arrays in memory: `generate`, `invert`, `edit`, `reenact`, `personalise`.

Collections of files, with rows, resuming and shards, are `jaxface.jobs`'s and the command's; the
parts with all of their settings are in `jaxface.methods`.
"""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import UsageError
from jaxface.jobs.personalisation import tell_unknown_gaze
from jaxface.jobs.reenactment import own_motion
from jaxface.keys import item_keys, samples_key
from jaxface.latents import check_w_plus
from jaxface.media.images import (
    from_uint8,
    read_image,
    resize,
    to_square,
    to_uint8,
)
from jaxface.methods import inversion, pie, pvp
from jaxface.methods.direction_matrix.columns import direction_sets
from jaxface.methods.direction_matrix.faces import suite_faces
from jaxface.methods.edit_targets import edit_targets
from jaxface.methods.inversion import Inverter
from jaxface.methods.latent_difference.redrawing import (
    Proportions,
    redraw,
    redrawing_of,
    see,
    wished,
)
from jaxface.methods.motion_directions import DIRECTIONS
from jaxface.methods.motion_editing import edit_motion
from jaxface.methods.presets import preset as named_preset
from jaxface.methods.pvp import pvp_preset
from jaxface.methods.reenactment import Moved
from jaxface.methods.reenactment_presets import is_image_driven, reenactment_preset
from jaxface.morphable.retargeting import Retargeting
from jaxface.portraits import Person, Portraits, joined
from jaxface.runtime.chunks import by_chunks
from jaxface.runtime.devices import compute_dtype, divisor_mesh
from jaxface.settings import apply_overrides
from jaxface.suite import Suite, drawn_by, load_suite
from jaxface.vocabulary import ANGLES, LANDMARKS


def generate(
    count: int = 8, *, suite: Suite | str = "embedded", seed: int = 0, truncation: float = 0.7
) -> Portraits:
    """Samples of a suite's generator.

    Args:
      count: how many, N.
      suite: or a shipped one's name, or a folder.
      seed: a sample depends on it and its number alone.
      truncation: 1 for the generator's whole distribution, towards 0 for its average face.

    Example:
      >>> portraits = jaxface.generate(4, seed=1)
      >>> portraits.images.shape
      (4, 64, 64, 3)
    """
    suite = _opened(suite)
    names = tuple(f"sample_{number}" for number in range(count))
    keys = item_keys(jax.random.key(seed), names)
    z = jax.vmap(lambda key: jax.random.normal(key, (suite.generator.config.z_dim,)))(keys)
    w_plus = suite.generator.mapping(z, truncation=truncation)
    return Portraits(suite, _drawn(suite, w_plus), np.asarray(w_plus), names)


def invert(
    images: Any,
    *,
    suite: Suite | str = "embedded",
    preset: str = "pie_embedded",
    seed: int = 0,
    names: Sequence[str] | None = None,
    **settings: Any,
) -> Portraits:
    """Embeds aligned portraits into a suite's latent space.

    Args:
      images: [N, H, H, 3], uint8 or float in [-1, 1], of any size; or paths of N files, of which
        the central square is taken. `jaxface invert --align` cuts faces out of photographs.
      suite: or a shipped one's name, or a folder.
      preset: one of `jaxface.methods.presets.PRESETS`.
      seed: of the keys that each portrait's own is derived from, by its name.
      names: N different ones; default: the files' names, or numbers.
      settings: changes of the preset; dots of nested ones are two underscores,
        ``tuning__steps=100``.

    Raises:
      ImageError: a file is no usable image.
      UsageError: an unknown preset or setting; names that repeat.
      SuiteError: the suite lacks a network.
      ValueError: no batch of square images.

    Example:
      >>> found = jaxface.invert(jaxface.generate(2).images, w_steps=2, w_plus_steps=2)
      >>> found.w_plus.shape
      (2, 10, 512)
    """
    method = _changed(named_preset(preset), settings)
    return _embedded(method, _opened(suite), images, names, seed)


def _changed(method: Any, settings: Mapping[str, Any]) -> Any:
    """A preset with some of its settings changed; dots of nested ones are two underscores."""
    changes = [f"{name.replace('__', '.')}={value}" for name, value in settings.items()]
    return apply_overrides(method, changes)


def _embedded(
    method: Inverter, suite: Suite, images: Any, names: Sequence[str] | None, seed: int
) -> Portraits:
    images, own = _read(images, suite.generator.config.resolution)
    names = tuple(own if names is None else names)
    if len(names) != len(images) or len(set(names)) != len(names):
        raise UsageError(f"invert: expected {len(images)} different names, got {list(names)[:8]}")
    key = jax.random.key(seed)
    result = inversion.invert(
        method.computing_in(compute_dtype()),
        suite,
        images,
        keys=item_keys(key, names),
        networks_key=samples_key(key),
        mesh=divisor_mesh(len(images)),
    )
    return Portraits(
        suite,
        np.clip(result.images, -1, 1),
        result.w_plus,
        names,
        dict(result.losses),
        result.weights,
    )


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


def reenact(
    portraits: Any,
    driving: Any,
    *,
    method: str = "direction_matrix",
    suite: Suite | str = "embedded",
    relative: bool = False,
    regions: Sequence[str] = ("all",),
    gains: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Portraits:
    """Portraits that move as a driver's frames do.

    Args:
      portraits: who is to move: of `invert` or an edit; or N images or paths as `invert` takes
        them, which are embedded as the method wants them. "transfer" has seen no other latents
        than those of the suite's encoder: with it give images. A `Person` is drawn by networks of
        their own, whatever the method, in their own proportions; other options do not apply.
      driving: T frames of the driver, aligned, as `invert` takes images; they are read as a clip.
      method: one of `jaxface.methods.reenactment_presets`: by motion, or "transfer" by images.
      suite: of images that are embedded; a shipped one's name, or a folder.
      relative: the driver's changes since its mean frame are added to what the portraits have;
        without, they become as the driver is.
      regions: what follows a driver of motion: "pose", "expression", "mouth", "eyes", "all".
      gains: factors of the driver's motion by region, such as ``{"pose": 1.2}``.
      seed: of the keys that the embedding of images draws from.

    Returns:
      N T portraits, all frames of the first one, then of the next; named after the portrait and the
      frame's number. Of methods driven by motion, `measures` have the pose that each was to have,
      ``pitch_wanted``, ``yaw_wanted`` and ``roll_wanted`` in degrees.

    Raises:
      UsageError: an unknown method; regions, gains or relative motion of a method that is driven by
        images, or that the driver's motion does not have.
      ImageError: a file is no usable image.
      SuiteError: the suite lacks a network.
      ValueError: no batch of square images.

    Example:
      >>> driver = jaxface.edit(jaxface.generate(2, seed=5), yaw=20)
      >>> moved = jaxface.reenact(jaxface.generate(1), driver.images)
      >>> moved.names
      ('sample_0_0000', 'sample_0_0001')
    """
    if isinstance(portraits, Person):
        return _person_driven(portraits, driving)
    by: Any = reenactment_preset(method)
    by_images = is_image_driven(by)
    if by_images and (relative or gains or tuple(regions) != ("all",)):
        raise UsageError(
            f"reenact: {method} is driven by images, not by relative motion or regions"
        )
    scaled = tuple((gains or {}).items())
    try:
        retargeting = Retargeting(relative, regions=tuple(regions), gains=scaled)
    except ValueError as error:
        raise UsageError(f"reenact: {error}") from error
    by = by if by_images else by.following(retargeting.groups)
    if not isinstance(portraits, Portraits):
        portraits = _embedded(by.inversion, _opened(suite), portraits, None, seed)
    using = portraits.suite
    using.require(by.driving_roles())
    frames, _ = _read(driving, using.generator.config.resolution)
    if relative and len(frames) < 2:
        raise UsageError("reenact: one frame has no motion relative to itself")
    networks = by.networks(using)
    read = by_chunks(functools.partial(_read_frames, networks, method=by), frames, size=_CHUNK)
    if not by_images:
        try:
            retargeting.check(read.basis, read.basis)
        except ValueError as error:
            raise UsageError(f"reenact: {error}") from error
    neutral = retargeting.neutral_of(read) if relative else None
    target = None if by_images else functools.partial(retargeting, driver=read, neutral=neutral)
    rows = range(len(portraits))
    return joined([_driven(by, networks, portraits[row], read, target) for row in rows])


_CHUNK = 8  # frames that one program reads or draws, however many there are


@functools.partial(jax.jit, static_argnames="method")
def _read_frames(networks: Any, images: Any, *, method: Any) -> Any:
    return method.read(networks, images)


@functools.partial(jax.jit, static_argnames="method")
def _moved(networks: Any, generator: Any, w_plus: Any, *wanted: Any, method: Any) -> Moved:
    return method.move(networks, generator, w_plus, *wanted, noise="const")


def _driven(by: Any, networks: Any, portrait: Portraits, read: Any, target: Any) -> Portraits:
    """One portrait's frames.

    Args:
      by: the method, with its `networks`.
      read: what it read of the driver's frames, T rows.
      target: of a method driven by motion, the motion that the portrait's own becomes.
    """
    count = len(jax.tree.leaves(read)[0])
    generator = portrait.generator(0)
    rows, measures = (read,), {}
    if target is not None:
        code = jnp.asarray(portrait.w_plus)
        own = own_motion(networks, generator, code, method=by, noise="const")
        wanted = target(own)
        rows = (jax.tree.map(lambda leaf: jnp.repeat(leaf, count, 0), own), wanted)
        degrees = np.asarray(wanted.degrees)
        measures = {f"{name}_wanted": degrees[:, place] for place, name in enumerate(ANGLES)}
    move = functools.partial(_moved, networks, generator, method=by)
    moved = by_chunks(move, np.repeat(portrait.w_plus, count, 0), *rows, size=_CHUNK)
    return Portraits(
        portrait.suite,
        np.clip(moved.images, -1, 1),
        moved.w_plus,
        tuple(f"{portrait.names[0]}_{frame:04d}" for frame in range(count)),
        measures,
        jax.tree.map(lambda leaf: np.repeat(leaf, count, 0), portrait.weights),
    )


def _person_driven(person: Person, driving: Any) -> Portraits:
    avatar = person.avatar
    frames, _ = _read(driving, avatar.generator.resolution)
    read = functools.partial(_motion_of, suite_faces(avatar.suite))
    motion = by_chunks(read, frames, size=_CHUNK)
    # One frame is in no proportion to itself: its numbers are taken as they are.
    return person.moved(motion if len(motion) < 2 else avatar.own(motion, clip=motion))


@jax.jit
def _motion_of(faces: Any, images: jax.Array) -> Any:
    return faces.motion(faces.read(images))


def personalise(
    frames: Any,
    *,
    suite: Suite | str = "embedded",
    preset: str = "embedded",
    fps: float = 25.0,
    seed: int = 0,
    **settings: Any,
) -> Person:
    """An avatar of the person in a clip (PVP).

    Args:
      frames: [T, H, H, 3], uint8 or float in [-1, 1], aligned frames in their order; or paths of T
        files, of which the central square is taken. `jaxface personalise --align` finds and
        follows the face in a clip.
      suite: or a shipped one's name, or a folder.
      preset: one of `jaxface.methods.pvp.PVP_PRESETS`.
      fps: frames a second.
      seed: of everything random.
      settings: changes of the preset; dots of nested ones are two underscores,
        ``mappers__steps=500``.

    Returns:
      Who can be drawn: ``person.images`` is the clip replayed, ``person.turned(yaw=20)`` turns the
      head, `reenact` drives them, and ``person.save(DIR)`` keeps them for ``jaxface reenact DIR``.

    Raises:
      ImageError: a file is no usable image.
      UsageError: an unknown preset or setting; too few frames.
      SuiteError: the suite lacks a network.
      ValueError: no batch of square images.
    """
    suite = _opened(suite)
    images, _ = _read(frames, suite.generator.config.resolution)
    method = _changed(pvp_preset(preset), settings).computing_in(compute_dtype())
    if "mappers__gaze_weight" in settings:
        tell_unknown_gaze(suite, method)
    found = pvp.personalise(
        method,
        suite,
        np.asarray(to_uint8(images)),
        seconds=np.arange(len(images)) / fps,
        key=jax.random.key(seed),
    )
    times = tuple(Fraction(row) / Fraction(fps) for row in range(len(images)))
    return Person(found.avatar, times, tuple(int(row) for row in found.key_frames.frames))


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
        pixels, _ = _read(like if _is_path(like) else np.asarray(like)[None], config.resolution)
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
    drawn = _drawn(suite, w_plus) if images is None else np.clip(np.asarray(images), -1, 1)
    return dataclasses.replace(
        portraits, images=drawn, w_plus=np.asarray(w_plus), measures=measures
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
            column = np.asarray(values)[:, each.place] / each.unit
            told[each.name + ending] = np.broadcast_to(column, (rows,))
    return told


def _opened(suite: Suite | str | os.PathLike[str]) -> Suite:
    return suite if isinstance(suite, Suite) else load_suite(suite)


def _drawn(suite: Suite, w_plus: Any) -> np.ndarray:
    return np.clip(np.asarray(_synthesize(suite.generator, jnp.asarray(w_plus))), -1, 1)


@jax.jit
def _synthesize(generator: Any, w_plus: jax.Array) -> jax.Array:
    return generator.synthesis(w_plus)


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def _read(images: Any, size: int) -> tuple[np.ndarray, list[str]]:
    """[N, size, size, 3] in [-1, 1], and names."""
    if _is_path(images):
        images = [images]
    if not hasattr(images, "shape") and images and all(_is_path(each) for each in images):
        pixels = [to_square(read_image(path), size).pixels for path in images]
        return np.stack(pixels), [Path(path).stem for path in images]
    array = np.asarray(images)
    if array.ndim != 4 or array.shape[1] != array.shape[2] or array.shape[3] != 3:
        raise ValueError(f"expected images [N, H, H, 3], got {list(array.shape)}.")
    array = from_uint8(array) if array.dtype == np.uint8 else array.astype(np.float32)
    array = array if array.shape[1] == size else np.asarray(resize(array, size))
    return array, [f"image_{number}" for number in range(len(array))]
