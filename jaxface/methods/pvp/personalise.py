"""From the frames of a clip to an avatar, stage by stage.

    frames -> motion, landmarks -> key frames -> pivots -> one tuned generator -> mappers -> avatar

`Personalisation` has a member for each stage, so that whoever runs them can keep what each gives
(`jaxface.jobs.personalisation` does, on the disk); `personalise` runs them in memory. Everything
random follows from one key.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import UsageError
from jaxface.keys import item_keys, samples_key
from jaxface.losses.perceptual import downsample
from jaxface.media.images import from_uint8, to_uint8
from jaxface.methods import inversion, pti
from jaxface.methods.direction_matrix.faces import FlameFaces, suite_faces
from jaxface.methods.inversion import generator_in
from jaxface.methods.pvp.avatar import Avatar
from jaxface.methods.pvp.features import Features, Layout, features_of
from jaxface.methods.pvp.key_frames import KeyFrames, choose_key_frames, middle
from jaxface.methods.pvp.losses import Batch, Frozen, embedded
from jaxface.methods.pvp.pivots import moved
from jaxface.methods.pvp.regions import eyes_and_mouth
from jaxface.methods.pvp.settings import PVPSettings
from jaxface.methods.pvp.training import Training, fresh_mappers, prior_mappers, with_noise
from jaxface.methods.pvp.tuning import Tuned, Tuning
from jaxface.morphable.motion import Motion
from jaxface.nets import LPIPS, AvatarMappers
from jaxface.nets.stylegan2.generator import with_synthesis
from jaxface.runtime.chunks import by_chunks, chunks
from jaxface.suite import Suite

LEAST = 8
"""Training frames that a clip must have: K = 8 is the least that the hull was looked at with."""

CHUNK = 16
"""Frames that are read, embedded or drawn together."""

_KEY_FRAMES, _TUNING, _MAPPERS, _TRAINING = range(4)


class Seen(NamedTuple):
    """What networks see in T frames.

    Attributes:
      motion: poses and expressions.
      landmarks: [T, 68, 2] in pixels of the frame's side.
    """

    motion: Motion
    landmarks: np.ndarray


class Split(NamedTuple):
    """Rows of a clip's frames by what they are for; those in no part lie between two parts."""

    training: np.ndarray
    selection: np.ndarray
    held_out: np.ndarray


def split_frames(settings: PVPSettings, seconds: Any) -> Split:
    """Which frames are learned from, chosen by and judged by: first to last, as in the paper.

    Args:
      settings: shares, and the gap that is left before each later part.
      seconds: [T], of the frames, increasing.

    Raises:
      UsageError: too few are left to learn from.
    """
    seconds = np.asarray(seconds, np.float64)
    count = len(seconds)
    held = round(settings.held_out * count)
    chosen = round(settings.selection * count)
    ends = (count - held - chosen, count - held, count)
    parts, first = [], 0
    for place, end in enumerate(ends):
        rows = np.arange(first, end)
        later = [other for other in ends[place:-1] if other < count]
        if len(rows) and later:
            rows = rows[seconds[rows] < seconds[later[0]] - settings.gap + 1e-9]
        parts.append(rows)
        first = end
    if len(parts[0]) < LEAST:
        raise UsageError(
            f"{count} frames with a face leave {len(parts[0])} to learn from; at least {LEAST} are "
            "needed, some hundreds are good: take a longer clip, or set held_out, selection or gap "
            "to 0"
        )
    return Split(*parts)


def see(suite: Suite, images: Any, *, progress: Callable[[int, int], None] | None = None) -> Seen:
    """Reads frames.

    Args:
      suite: has what reads faces (`jaxface.methods.direction_matrix.faces.suite_faces`).
      images: uint8 [T, R, R, 3], aligned.
      progress: called with the frames done and all frames.

    Raises:
      UsageError: the suite reads no faces.
    """
    faces = suite_faces(suite)
    network = suite.landmarks if "landmarks" in suite else None

    def seen(part: Any) -> tuple[Motion, jax.Array]:
        return _see(faces, network, from_uint8(np.asarray(part)))

    return Seen(*by_chunks(seen, images, size=CHUNK, progress=progress))


@jax.jit
def _see(faces: Any, network: Any, images: Any) -> tuple[Motion, jax.Array]:
    images = jnp.asarray(images)
    found = faces.read(images)
    if network is not None:
        return faces.motion(found), network(images)
    assert not isinstance(faces, FlameFaces)  # whose crop needs landmarks
    from_side = images.shape[1] / 224
    return faces.motion(found), faces.shape(found).landmarks * from_side


class Personalisation:
    """The stages of an avatar.

    Args:
      settings: see `PVPSettings`.
      suite: has the networks of `settings.roles` and what reads faces.
      images: uint8 [T, R, R, 3], the frames with a face, R the generator's resolution; they may be
        a file that is mapped into memory.
      seen: of the frames.
      split: of the frames.
      key: typed.

    Raises:
      SuiteError: the suite lacks a network.
      ValueError: frames of another size.
    """

    def __init__(
        self,
        settings: PVPSettings,
        suite: Suite,
        images: Any,
        seen: Seen,
        split: Split,
        *,
        key: jax.Array,
    ):
        suite.require(settings.roles())
        size = suite.generator.resolution
        if images.ndim != 4 or images.shape[1:] != (size, size, 3) or images.dtype != np.uint8:
            raise ValueError(
                f"Personalisation: images must be uint8 [T, {size}, {size}, 3], got "
                f"{images.dtype} {list(images.shape)}."
            )
        self.settings, self.suite, self.images = settings, suite, images
        self.seen, self.split, self._key = seen, split, key

    def key_frames(self) -> KeyFrames:
        """Which rows of the frames are key frames."""
        rows = self.split.training
        key = jax.random.fold_in(self._key, _KEY_FRAMES)
        return choose_key_frames(
            self.settings.key_frames,
            self.seen.motion[rows],
            rows,
            key=key,
            angles=self.settings.mappers.angles,
        )

    def pivots(
        self, key_frames: np.ndarray, *, progress: Callable[[int, int], None] | None = None
    ) -> np.ndarray:
        """The codes of key frames, [K, L, w_dim], as the settings say."""
        if self.settings.pivots == "inverted":
            return self._inverted(key_frames, size=CHUNK, progress=progress)
        motion = self.seen.motion[key_frames]
        place = middle(motion, angles=self.settings.mappers.angles)
        code = self._inverted(key_frames[[place]], size=1)
        return moved(self.suite, code, motion, progress=progress)

    def _inverted(
        self,
        frames: np.ndarray,
        *,
        size: int,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """The codes of frames by the settings' inverter, so many at a time."""
        found = []
        for places, count in chunks(len(frames), size):
            rows = frames[places]
            result = inversion.invert(
                self.settings.pivot,
                self.suite,
                from_uint8(np.asarray(self.images[rows])),
                keys=item_keys(self._key, [f"frame-{row}" for row in rows]),
                networks_key=samples_key(self._key),
                mask=np.arange(size) < count,
            )
            found.append(result.w_plus[:count])
            if progress is not None:
                progress(int(places[count - 1]) + 1, len(frames))
        return np.concatenate(found)

    def tuning(self, key_frames: np.ndarray, pivots: np.ndarray) -> Tuning:
        """The tuning of the generator, ready to run."""
        settings = self.settings
        generator = generator_in(self.suite, settings.dtype)
        lpips = pti.distance_network(self.suite, settings.tuning)
        return Tuning(
            settings.tuning,
            pti.Networks(generator, lpips),
            np.asarray(self.images[key_frames]),
            pivots,
            batch=settings.tuning_batch,
            key=jax.random.fold_in(self._key, _TUNING),
        )

    def training(self, weights: Any, key_frames: np.ndarray, pivots: np.ndarray) -> Training:
        """The training of the mappers on a tuned generator, ready to run.

        Raises:
          UsageError: they begin with a prior that does not fit.
        """
        layout = Layout.of(self.seen.motion)
        settings, suite = self.settings.mappers.knowing(layout), self.suite
        weighted = settings.weights
        lpips = None
        if weighted["perceptual"]:
            perceptual = settings.distance == "perceptual"
            lpips = LPIPS.of_trunk(suite.perceptual) if perceptual else suite.lpips
        generator = with_synthesis(generator_in(suite, self.settings.dtype), weights)
        frozen = Frozen(
            generator,
            suite_faces(suite) if settings.reads else None,
            lpips,
            suite.recognition if weighted["identity"] else None,
        )
        frames = self.frames(self.split.training)
        if settings.start == "prior":
            anchored = features_of(self.seen.motion[key_frames])
            mappers = prior_mappers(settings, suite.avatar_prior, pivots, anchored)
        else:
            mappers = fresh_mappers(
                settings,
                pivots,
                Features(frames.pose, frames.expression),
                key=jax.random.fold_in(self._key, _MAPPERS),
            )
        selection = self.split.selection
        return Training(
            settings,
            mappers,
            frozen,
            frames,
            selection=self.frames(selection) if len(selection) else None,
            layout=layout,
            key=jax.random.fold_in(self._key, _TRAINING),
        )

    def frames(self, rows: np.ndarray) -> Batch:
        """Frames as the mappers' training has them."""
        settings, motion = self.settings.mappers, self.seen.motion[rows]
        features = features_of(motion)
        size = self.images.shape[1]
        side = min(size, settings.resolution)
        recognition = self.suite.recognition if settings.identity_weight else None
        smaller = jax.jit(functools.partial(_smaller, settings, side=side))

        def compared(rows: np.ndarray) -> tuple[jax.Array, jax.Array, jax.Array]:
            points = self.seen.landmarks[rows] * (side / size)
            return smaller(recognition, np.asarray(self.images[rows]), points)

        images, identities, moving = by_chunks(compared, rows, size=CHUNK)
        return Batch(
            images=images,
            pose=np.asarray(features.pose),
            expression=np.asarray(features.expression),
            rotation=np.asarray(motion.rotation),
            identity=identities,
            moving=moving,
        )

    def avatar(
        self, mappers: AvatarMappers, weights: Any, trained: Any, key_frames: np.ndarray
    ) -> Avatar:
        """What comes of it.

        Args:
          mappers: trained.
          weights: of the tuned generator.
          trained: all that the mappers' training changed (noise maps, where it has them).
          key_frames: rows of the frames.
        """
        generator = with_noise(with_synthesis(self.suite.generator, weights), trained)
        return Avatar(
            suite=self.suite,
            w_plus=mappers.anchors[...],
            motion=self.seen.motion[key_frames],
            generator=generator,
            mappers=mappers,
            clip=self.seen.motion,
            training=self.split.training,
        )


def _smaller(settings: Any, recognition: Any, images: Any, landmarks: Any, *, side: int) -> Any:
    small = downsample(from_uint8(jnp.asarray(images)), side)
    if recognition is None:
        known = jnp.zeros((len(small), 1))
    else:
        known = embedded(settings, recognition, small)
    moving = eyes_and_mouth(landmarks, size=side)
    return to_uint8(small), known, jnp.rint(255 * moving).astype(jnp.uint8)


@dataclasses.dataclass(frozen=True)
class Personalised:
    """An avatar and how it came about.

    Attributes:
      avatar: it.
      key_frames: rows of the frames.
      split: of the frames.
      tuned: the generator's tuning.
      trace: of the mappers, see `Training.run`.
    """

    avatar: Avatar
    key_frames: KeyFrames
    split: Split
    tuned: Tuned
    trace: list[dict[str, float]]


def personalise(
    settings: PVPSettings,
    suite: Suite,
    images: Any,
    *,
    seconds: Any,
    key: jax.Array,
    progress: Callable[[str, int, int], None] | None = None,
) -> Personalised:
    """All stages in memory.

    Args:
      settings: such as one of `jaxface.methods.pvp.settings.PVP_PRESETS`.
      suite: has the networks that they need.
      images: uint8 [T, R, R, 3], aligned frames of one person in their order.
      seconds: [T], their times.
      key: typed.
      progress: called with the stage, what is done of it and all of it.

    Raises:
      UsageError: too few frames.
      SuiteError: the suite lacks a network.
      ValueError: frames of another size.
    """

    def told(stage: str) -> Callable[[int, int], None] | None:
        return None if progress is None else functools.partial(progress, stage)

    split = split_frames(settings, seconds)
    seen = see(suite, images, progress=told("reading frames"))
    work = Personalisation(settings, suite, images, seen, split, key=key)
    chosen = work.key_frames()
    pivots = work.pivots(chosen.frames, progress=told("embedding key frames"))
    tuning = work.tuning(chosen.frames, pivots)

    def after_round(_: Any, rounds: Any) -> None:
        if progress is not None:
            progress("tuning the generator", len(rounds), tuning.rounds)

    tuned, _ = tuning.run(tuning.start(), after=after_round)
    training = work.training(tuned.weights, chosen.frames, pivots)

    def after_chunk(_: Any, rows: Any, __: Any) -> None:
        if progress is not None:
            progress("training the mappers", int(rows[-1]["step"]), settings.mappers.steps)

    mappers, trained, trace = training.run(training.start(), after=after_chunk)
    avatar = work.avatar(mappers, tuned.weights, trained, chosen.frames)
    return Personalised(avatar, chosen, split, tuned, trace)
