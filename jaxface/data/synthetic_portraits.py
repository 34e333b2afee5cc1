"""`synthetic_portraits`: renders of the embedded face world, every true parameter beside the image.

A TFDS data set in array_record files, made and read without TensorFlow:

    jaxface data --out DIR --resolution 64 --train 100000

    builder = tfds.builder_from_directory(PATH)      # the command prints PATH
    source = builder.as_data_source(split="train")   # for Grain: jaxface.data.pipelines

One record holds

* ``image`` uint8 [R, R, 3], RGB;
* ``face`` float32 [257], PIE's parameters, `morphable.FaceParameters.flat`;
* ``nuisance`` float32 [K], hair, clothes and background, `morphable.Nuisance.flat`;
* ``factors`` float32 [F], the whitened scene, independent N(0, 1); the scene is a function of it,
  `scenes` of the version's `morphable.world`;
* ``landmarks`` float32 [68, 2], (x, y) in pixels;
* ``gaze`` float32 [2] (version 3), yaw and pitch of the eyes in degrees relative to the head;
* ``boxes`` float32 [3, 4] (version 3), left, top, right and bottom of the image's left eye, its
  right eye and the mouth in pixels;
* ``id`` int64, the item's number in its split;
* ``person`` int64, who it is, where `images_per_identity` is more than 1: the same
  `person_factors` of the world in so many items in a row.

`PortraitsConfig.version` chooses the world: 2.0.0, which the shipped networks were trained on, or
3.0.0. Item i depends on (seed, split, i) and the world's version, on nothing else: not on the
number of items, of shards, or of interruptions. A killed generation keeps its finished shards, and
the same command goes on after them.

Images are stored as bytes, not as PNG: decoding a record takes 0.05 ms instead of about 0.25 ms at
64 px, and array_record compresses its records itself.
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

from jaxface.data.scene_items import (
    RENDER_BATCH,
    SPLITS,
    item_keys,
    person_keys,
    scene_items,
)
from jaxface.data.sharded_builder import GenerationError, ShardedBuilder, tensor
from jaxface.morphable.annotation import FEATURES
from jaxface.morphable.parameters import PortraitNuisance
from jaxface.morphable.worlds import world

VERSIONS = ("2.0.0", "3.0.0")
"""Versions that can be made; older ones can be read."""


@dataclasses.dataclass(kw_only=True)
class PortraitsConfig(tfds.core.BuilderConfig):
    """One data set: its size and its seed.

    Attributes:
      resolution: pixels per side, >= 16.
      num_train, num_test: items, >= 1 and >= 0.
      seed: of all items.
      shard_size: items per file, a multiple of 32; what a killed run loses at most.
      images_per_identity: items in a row that show the same person, a divisor of both sizes.
      version: of the world, and of the data set.
      name: derived from the others if empty.
    """

    name: str = ""
    resolution: int
    num_train: int = 100_000
    num_test: int = 2_000
    seed: int = 0
    shard_size: int = 2048
    images_per_identity: int = 1
    version: str = "2.0.0"

    def __post_init__(self):
        if self.version not in VERSIONS:
            raise GenerationError(
                f"synthetic_portraits: version must be {' or '.join(VERSIONS)}, got "
                f"{self.version!r}."
            )
        if self.resolution < 16 or self.num_train < 1 or self.num_test < 0:
            raise GenerationError(
                "synthetic_portraits: need resolution >= 16, num_train >= 1 and num_test >= 0; got "
                f"{self.resolution}, {self.num_train} and {self.num_test}."
            )
        if self.shard_size < 1 or self.shard_size % RENDER_BATCH:
            raise GenerationError(
                f"synthetic_portraits: shard_size must be a multiple of {RENDER_BATCH}, "
                f"got {self.shard_size}."
            )
        each = self.images_per_identity
        if each < 1 or self.num_train % each or self.num_test % each:
            raise GenerationError(
                "synthetic_portraits: images_per_identity must divide num_train and num_test; got "
                f"{each}, {self.num_train} and {self.num_test}."
            )
        if not self.name:
            self.name = f"{self.resolution}px_{self.num_train}_{self.num_test}_seed{self.seed}"
            if each > 1:
                self.name += f"_{each}each"

    def num_items(self, split: str) -> int:
        return {"train": self.num_train, "test": self.num_test}[split]


class SyntheticPortraits(ShardedBuilder[PortraitsConfig]):
    """TFDS builder of `synthetic_portraits`; see the module's words.

    Configs "64" and "128" are the standard sizes; `PortraitsConfig(...)` makes any other.
    """

    VERSION = tfds.core.Version("2.0.0")
    SUPPORTED_VERSIONS: ClassVar = [tfds.core.Version("3.0.0")]
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "3.0.0": "An anatomical head with ARKit's units, eyes that look, sheen and shadows.",
        "2.0.0": "Glasses, age, patterned backdrops, wider turns of the head, stronger lights.",
        "1.0.0": "The first world.",
    }
    BUILDER_CONFIGS = (
        PortraitsConfig(name="64", resolution=64),
        PortraitsConfig(name="128", resolution=128),
    )

    def _info(self) -> tfds.core.DatasetInfo:
        size = self.settings.resolution

        of_world = world(self.settings.version)
        factors = jax.ShapeDtypeStruct((1, of_world.num_factors), jnp.float32)
        scene = jax.eval_shape(of_world.scenes, factors)
        num_nuisance = jax.eval_shape(lambda scene: scene.nuisance.flat, scene).shape[1]
        number = tfds.features.Scalar(dtype=np.int64)
        more = {"person": number} if self.settings.images_per_identity > 1 else {}
        if isinstance(scene.nuisance, PortraitNuisance):
            more |= {"gaze": tensor(2), "boxes": tensor(len(FEATURES), 4)}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Rendered portraits with the parameters they were rendered from.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tensor(size, size, 3, dtype=np.uint8),
                    "face": tensor(257),
                    "nuisance": tensor(num_nuisance),
                    "factors": tensor(of_world.num_factors),
                    "landmarks": tensor(68, 2),
                    "id": number,
                    **more,
                }
            ),
            metadata=tfds.core.MetadataDict(seed=self.settings.seed),
            disable_shuffling=True,
        )

    def sizes(self) -> tuple[dict[str, int], int]:
        """Items of each split, and per shard."""
        config = self.settings
        return {split: config.num_items(split) for split in SPLITS}, config.shard_size

    def items(self, split: str, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """Items of a shard in order."""
        return _render(self.settings, split, start, stop)


def generate(config: PortraitsConfig, directory: str | os.PathLike[str]) -> pathlib.Path:
    """Makes the data set under `directory`, or goes on making it; returns its folder.

    Nothing is done if it is there already. Read it with `tfds.builder_from_directory`.

    Raises:
      GenerationError: a killed generation left shards of another world or machine there.
    """
    builder = SyntheticPortraits(config=config, data_dir=os.fspath(directory))
    builder.prepare()
    return builder.folder


def is_generated(config: PortraitsConfig, directory: str | os.PathLike[str]) -> bool:
    """Whether `generate` would have nothing to do."""
    return SyntheticPortraits(config=config, data_dir=os.fspath(directory)).is_complete


def _render(config: PortraitsConfig, split: str, start: int, stop: int) -> Iterator[dict]:
    """Items start, ..., stop - 1 in order; `start` is a multiple of RENDER_BATCH."""

    def submit(first):
        indices = jnp.arange(first, first + RENDER_BATCH)
        if each == 1:
            keys = item_keys(config.seed, split, indices)
            return scene_items(keys, config.resolution, version=config.version)
        persons, keys = person_keys(config.seed, split, indices, each)
        return scene_items(keys, config.resolution, persons, version=config.version)

    each = config.images_per_identity
    ahead = submit(start)  # the next batch renders while this one is written
    for first in range(start, stop, RENDER_BATCH):
        batch, ahead = ahead, submit(first + RENDER_BATCH) if first + RENDER_BATCH < stop else None
        columns = jax.device_get(batch)
        for row in range(min(RENDER_BATCH, stop - first)):
            numbers = {"id": first + row}
            if each > 1:
                numbers["person"] = (first + row) // each
            yield {name: column[row] for name, column in columns.items()} | numbers
