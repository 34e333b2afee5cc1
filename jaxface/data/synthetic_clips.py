"""`synthetic_clips`: people who speak, look and move, every true parameter of every frame.

A TFDS data set of the embedded world in array_record files, one record a frame:

    jaxface data --clips 2 --out DIR --resolution 64 --train 200 --test 20

A clip is a person on an occasion through `frames` frames at 25 a second. Of the world's version 3
they act as `jaxface.morphable.behaviour` says; of version 2 (`--world 2.0.0`), which the shipped
networks know, head and face go from one key pose to the next, one every half second
(`jaxface.morphable.key_poses`). Frames lie in order: by person, clip and frame. One holds

* ``image`` uint8 [R, R, 3], RGB, ``matte`` uint8 [R, R], 255 where the person is;
* ``flow`` float32 [R, R, 2], pixels (x, y) from each pixel's centre to where its surface point is
  in the next frame, exactly (`jaxface.morphable.flow`); of the last frame, in the one that would
  follow;
* ``face`` float32 [257], ``nuisance`` float32 [K] and ``landmarks`` float32 [68, 2], as in
  `jaxface.data.synthetic_portraits`; of version 3 also its ``gaze`` float32 [2] and ``boxes``
  float32 [3, 4];
* of version 3, whose people speak and blink, ``speaking`` float32, 1 within a phrase and 0 in a
  pause, and ``blink`` float32, 1 where lids are shut;
* ``person``, ``clip`` and ``frame`` int64: who, which of the person's clips, which of its frames.

The persons of the splits are different people; those of the test split are numbered after those of
the training split. A clip depends on (seed, split, person of the split, clip) and a frame also on
its number, on nothing else.
"""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import tensorflow_datasets as tfds

from jaxface.data.scene_items import SPLITS, person_keys, scene_columns, scene_factors
from jaxface.data.sharded_builder import GenerationError, ShardedBuilder, tensor
from jaxface.morphable.acting import act
from jaxface.morphable.annotation import FEATURES
from jaxface.morphable.behaviour import FPS
from jaxface.morphable.flow import optical_flow
from jaxface.morphable.parameters import PortraitNuisance, Scene
from jaxface.morphable.worlds import world

AT_ONCE = 25
"""Frames rendered together, from a clip's first on, so that pixels do not depend on the rest."""

VERSIONS = ("2.0.0", "3.0.0")
"""Of the world, and of the data set."""


@dataclasses.dataclass(kw_only=True)
class ClipsConfig(tfds.core.BuilderConfig):
    """One data set: its size and its seed.

    Attributes:
      resolution: pixels per side, >= 16.
      num_train, num_test: persons, >= 1 and >= 0.
      clips: of each person, >= 1.
      frames: of each clip, >= 1; 25 are a second.
      every: of those 25 a second each n-th is made, >= 1, and flow leads to the next one that is:
        clips for who needs much of a person in few frames.
      seed: of all clips.
      shard_size: clips per file; what a killed run loses at most.
      version: of the world, and of the data set.
      name: derived from the others if empty.
    """

    name: str = ""
    resolution: int
    num_train: int = 200
    num_test: int = 20
    clips: int = 2
    frames: int = 75
    every: int = 1
    seed: int = 0
    shard_size: int = 16
    version: str = "3.0.0"

    def __post_init__(self):
        if self.version not in VERSIONS:
            raise GenerationError(
                f"synthetic_clips: version must be {' or '.join(VERSIONS)}, got {self.version!r}."
            )
        sizes = (self.num_train, self.clips, self.frames, self.every, self.shard_size)
        if self.resolution < 16 or min(sizes) < 1 or self.num_test < 0:
            raise GenerationError(
                "synthetic_clips: need resolution >= 16, num_train, clips, frames, every and "
                f"shard_size >= 1 and num_test >= 0; got {self.resolution}, "
                f"{', '.join(map(str, sizes))} and {self.num_test}."
            )
        if not self.name:
            every = f"every{self.every}_" if self.every > 1 else ""
            self.name = (
                f"{self.resolution}px_{self.num_train}_{self.num_test}_{self.clips}clips_"
                f"{self.frames}frames_{every}seed{self.seed}"
            )


class SyntheticClips(ShardedBuilder[ClipsConfig]):
    """TFDS builder of `synthetic_clips`; see the module's words."""

    VERSION = tfds.core.Version("3.0.0")
    SUPPORTED_VERSIONS: ClassVar = [tfds.core.Version("2.0.0")]
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "3.0.0": "The first clips, of the third world.",
        "2.0.0": "Clips of the second world: key poses and expressions, without speech and gaze.",
    }
    BUILDER_CONFIGS = (ClipsConfig(name="64", resolution=64),)

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.settings.resolution

        of_world = world(self.settings.version)
        factors = jax.ShapeDtypeStruct((1, of_world.num_factors), jnp.float32)
        scene = jax.eval_shape(of_world.scenes, factors)
        nuisance = jax.eval_shape(lambda scene: scene.nuisance.flat, scene)
        number = tfds.features.Scalar(dtype=np.int64)
        more = {}
        if isinstance(scene.nuisance, PortraitNuisance):
            share = tfds.features.Scalar(dtype=np.float32)
            more |= {"gaze": tensor(2), "boxes": tensor(len(FEATURES), 4)}
            more |= {"speaking": share, "blink": share}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Rendered clips of people with every frame's parameters.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tensor(size, size, 3, dtype=np.uint8),
                    "matte": tensor(size, size, dtype=np.uint8),
                    "flow": tensor(size, size, 2),
                    "face": tensor(257),
                    "nuisance": tensor(nuisance.shape[1]),
                    "landmarks": tensor(68, 2),
                    "person": number,
                    "clip": number,
                    "frame": number,
                    **more,
                }
            ),
            metadata=tfds.core.MetadataDict(
                seed=self.settings.seed,
                clips=self.settings.clips,
                frames=self.settings.frames,
                every=self.settings.every,
            ),
            disable_shuffling=True,
        )

    def sizes(self) -> tuple[dict[str, int], int]:
        """Frames of each split, and per shard."""
        config = self.settings
        persons = {"train": config.num_train, "test": config.num_test}
        each = config.clips * config.frames
        return {split: each * persons[split] for split in SPLITS}, config.shard_size * config.frames

    def items(self, split: str, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """Frames of a shard in order; `start` is a clip's first."""
        config = self.settings
        before = config.num_train if split == "test" else 0
        for first in range(start, stop, config.frames):
            clip = first // config.frames
            person, number = divmod(clip, config.clips)
            count = min(stop - first, config.frames)
            ids = {"person": before + person, "clip": number}
            for frame, item in enumerate(_frames(config, split, clip, count)):
                yield item | ids | {"frame": frame}


def _frames(config: ClipsConfig, split: str, clip: int, count: int) -> Iterator[dict[str, Any]]:
    """The first `count` frames of a clip, by its number in the split."""
    of = world(config.version)
    persons, occasions = person_keys(config.seed, split, jnp.array([clip]), config.clips)
    u = scene_factors(occasions, persons, version=config.version)[0]
    acting = jax.random.fold_in(occasions[0], 1)  # the key itself drew the occasion's factors
    for first in range(0, count, AT_ONCE):
        # A frame more than is rendered, which the last one's flow leads to.
        scenes, acted = act(of, acting, u, frames=AT_ONCE + 1, first=first, fps=FPS / config.every)
        now, after = _part(scenes, slice(0, -1)), _part(scenes, slice(1, None))
        columns = scene_columns(now, config.resolution, version=config.version)
        columns["flow"], matte = optical_flow(now, after, config.resolution)
        columns["matte"] = (255.0 * matte).astype(jnp.uint8)
        columns = jax.device_get(columns) | acted
        for row in range(min(AT_ONCE, count - first)):
            yield {name: column[row] for name, column in columns.items()}


def _part(scenes: Scene, rows: slice) -> Scene:
    return jax.tree.map(lambda leaf: leaf[rows], scenes)


def generate(config: ClipsConfig, directory: str | os.PathLike[str]) -> pathlib.Path:
    """Makes the data set under `directory`, or goes on making it; returns its folder.

    Nothing is done if it is there already. Read it with `tfds.builder_from_directory`, or as
    `jaxface.data.clip_view.ClipView`.

    Raises:
      GenerationError: a killed generation left shards of another world or machine there.
    """
    builder = SyntheticClips(config=config, data_dir=os.fspath(directory))
    builder.prepare()
    return builder.folder
