"""`reenact`: portraits that move as a driver's frames do."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.api.inversion import embedded
from jaxface.api.shared import opened, read_images
from jaxface.errors import UsageError
from jaxface.jobs.reenactment import own_motion
from jaxface.methods.direction_matrix.faces import suite_faces
from jaxface.methods.reenactment import Moved
from jaxface.methods.reenactment_presets import is_image_driven, mover
from jaxface.morphable.retargeting import Retargeting
from jaxface.portraits import Person, Portraits, joined
from jaxface.runtime.chunks import by_chunks
from jaxface.suite import Suite
from jaxface.vocabulary import ANGLES


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
      UsageError: an unknown method, or one that is relative by itself; regions, gains or relative
        motion of a method that is driven by images, or that the driver's motion does not have.
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
    by: Any = mover(method, "relative=True")
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
        portraits = embedded(by.inversion, opened(suite), portraits, names=None, seed=seed)
    using = portraits.suite
    using.require(by.driving_roles())
    frames, _ = read_images(driving, using.generator.config.resolution)
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
    frames, _ = read_images(driving, avatar.generator.resolution)
    read = functools.partial(_motion_of, suite_faces(avatar.suite))
    motion = by_chunks(read, frames, size=_CHUNK)
    # One frame is in no proportion to itself: its numbers are taken as they are.
    return person.moved(motion if len(motion) < 2 else avatar.own(motion, clip=motion))


@jax.jit
def _motion_of(faces: Any, images: jax.Array) -> Any:
    return faces.motion(faces.read(images))
