"""Clips of `jaxface evaluate pvp`: persons of the embedded world in front of a camera.

They act as the people in the data set of clips (`jaxface.data.synthetic_clips`) of the suite's
world: those of version 2 go from one key pose to the next, one every half second; light, hair,
clothes, backdrop and place stay. The first frames are learned from, some after them
choose the mappers' step, the last ones judge, as the paper's first 750 and last 700 frames do; the
third part is not the paper's, whose code chooses by the frames that it reports.
"""

import dataclasses
import functools
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.media.images import to_uint8
from jaxface.media.video.folder_writing import FolderWriter
from jaxface.morphable import Scene
from jaxface.morphable.acting import KEY_SECONDS, act
from jaxface.morphable.flow import optical_flow
from jaxface.morphable.worlds import World
from jaxface.runtime.chunks import by_chunks

SEED = 50_000_017
"""Of the persons; no training and no other evaluation uses it."""

RATE = 25

HELD_OUT, SELECTION = 0.3, 0.05
"""Shares of a clip's frames."""

EVERY = 3
"""Of the held-out frames each so many-th is drawn and judged: neighbours are alike."""

YAWS = (-40.0, -30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0, 40.0)
"""Degrees of the heads that are asked for, of the mean expression."""

_AT_ONCE = 25


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How much is measured.

    Attributes:
      persons: each has a clip, and drives the next one's avatar; >= 2.
      frames: of each clip, 25 a second; >= 100.
    """

    persons: int = 2
    frames: int = 500

    def to_json(self) -> dict[str, Any]:
        """Everything that is frozen."""
        constants = {
            "seed": SEED,
            "rate": RATE,
            "key_frames": RATE * KEY_SECONDS,
            "held_out": HELD_OUT,
            "selection": SELECTION,
            "every": EVERY,
            "yaws": list(YAWS),
        }
        return dataclasses.asdict(self) | constants


class WorldClip(NamedTuple):
    """A person's clip.

    Attributes:
      scenes: of its T frames.
      images: uint8 [T, R, R, 3].
    """

    scenes: Scene
    images: np.ndarray

    def mattes(self, rows: np.ndarray) -> np.ndarray:
        """Where the person is in some frames, [N, R, R] in [0, 1]."""
        scenes = jax.tree.map(lambda leaf: leaf[rows], self.scenes)
        # The flow is of no interest here: every frame leads to itself.
        size = self.images.shape[1]
        return by_chunks(lambda part: _mattes(part, size), scenes, size=_AT_ONCE)


def world_scenes(number: int, frames: int, of: World) -> Scene:
    """The scenes of a person's clip; a longer one begins as a shorter one."""
    key = jax.random.fold_in(jax.random.key(SEED), number)
    person, moving = jax.random.split(key)
    u = jax.random.normal(person, (of.num_factors,))
    return act(of, moving, u, frames=frames)[0]


def world_clip(number: int, frames: int, *, size: int, of: World) -> WorldClip:
    """A person's clip, rendered at `size`."""
    scenes = world_scenes(number, frames, of)
    return WorldClip(scenes, rendered(scenes, size, of))


def rendered(scenes: Scene, size: int, of: World) -> np.ndarray:
    """Scenes of a world as uint8 [T, size, size, 3]."""
    return by_chunks(lambda part: to_uint8(of.render(part, size)), scenes, size=_AT_ONCE)


def write_clip(folder: Path, images: np.ndarray) -> Path:
    """Writes frames as a folder of PNGs with their times, which loses nothing; returns it."""
    if not folder.is_dir():
        with FolderWriter(folder, width=images.shape[2], height=images.shape[1]) as writer:
            for index, image in enumerate(images):
                writer.write(Fraction(index, RATE), image)
    return folder


def turned_scenes(scenes: Scene, expression: Any) -> Scene:
    """The first scene's person with `expression` [E] in the yaws of `YAWS`."""
    rows = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], len(YAWS), axis=0), scenes)
    angles = jnp.zeros((len(YAWS), 3)).at[:, 1].set(jnp.deg2rad(jnp.array(YAWS)))
    expressions = jnp.broadcast_to(expression, rows.face.expression.shape)
    face = dataclasses.replace(rows.face, rotation=angles, expression=expressions)
    return Scene(face, rows.nuisance)


@functools.partial(jax.jit, static_argnums=1)
def _mattes(scenes: Scene, size: int) -> jax.Array:
    return optical_flow(scenes, scenes, size)[1]
