"""Data sources: what an experiment names as its data.

A source is a frozen dataclass of plain values that meets `DataSource`: it gives endless batches of
the fields that a method asks for, and the items that are held out. To add one, write the class and
name it in a configuration; nothing else lists them. It builds its batches with
`jaxface.data.pipelines.batches` (random access to stored items, shuffled) or with an iterator of
its own (`jaxface.data.scene_items.LivePortraits`). `version` is the world's, where there is one.

    data = RenderedPortraits(resolution=64)
    batch = next(data.batches(32, ("image", "factors"), seed=0))

Nothing is read or rendered before `batches` or `held_out` is called, and the libraries that do it
are imported then.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from jaxface.errors import UsageError

NUM_HELD_OUT = 256
"""Items of the test split that scores are taken on."""


class DataIterator(Protocol):
    """An endless stream of batches (pytrees of NumPy arrays, this process's share of each).

    `get_state` returns its position as JSON, the same on every process; after `set_state` with it
    the same batches follow.
    """

    def __next__(self) -> Any: ...

    def get_state(self) -> Any: ...

    def set_state(self, state: Any) -> None: ...


class DataSource(Protocol):
    """What an experiment trains on: a frozen dataclass, one class for each kind of data.

    Its fields are stored with a run, as JSON, and must be the same when it is resumed; all but
    those named ``path`` or ``directory``, which say where files lie, and ``workers``, the number of
    processes that make items.
    """

    @property
    def classes(self) -> Mapping[str, int] | None:
        """Fields that are labels, and the number of their classes; None where it is unknown.

        A method that needs labels compares before anything is read
        (`jaxface.training.recipe.ChecksData`).
        """
        ...

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> DataIterator:
        """Endless batches ``{field: [size, ...]}``, of which each process gets its share of rows.

        Args:
          size: items per batch over all processes.
          fields: what a batch must hold.
          seed: of the order and of random augmentation, where there are any.

        Raises:
          JaxfaceError: the data cannot be read, has no such field, or the batch does not divide
            over the processes.
        """
        ...

    def held_out(self) -> Mapping[str, np.ndarray] | None:
        """Items that no batch holds, arrays [N, ...] by field; None where there are none.

        Which fields, and how many items, is the source's to say. It is called before networks are
        made, so it opens the data and raises what is wrong with it.

        Raises:
          JaxfaceError: the data cannot be read.
        """
        ...


@runtime_checkable
class DescribesItems(Protocol):
    """Data whose items are known without reading any; asked where a training is only compiled."""

    def item_shapes(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """An item by field, without the batch's axis."""
        ...


@dataclasses.dataclass(frozen=True)
class RenderedPortraits:
    """The embedded world's data set, rendered into `directory` unless it is there already.

    Fields: those of `jaxface.data.synthetic_portraits`, held out too.
    """

    resolution: int
    num_train: int = 100_000
    num_test: int = 2_000
    seed: int = 0
    directory: str = "data"
    version: str = "2.0.0"

    @property
    def classes(self) -> Mapping[str, int]:
        """No labels."""
        return {}

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> DataIterator:
        """Shuffled anew in every epoch, see `DataSource`."""
        return _batches(_stored(self._folder()), size, fields, seed=seed)

    def held_out(self) -> dict[str, np.ndarray] | None:
        """The first `NUM_HELD_OUT` items of the test split."""
        folder = self._folder()
        return _first(_stored(folder, "test"), NUM_HELD_OUT) if self.num_test else None

    def item_shapes(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """See `DescribesItems`."""
        return _scene_shapes(self.resolution, self.version)

    def _folder(self) -> pathlib.Path:
        return _render(
            self.directory,
            resolution=self.resolution,
            seed=self.seed,
            num_train=self.num_train,
            num_test=self.num_test,
            version=self.version,
        )


@dataclasses.dataclass(frozen=True)
class IdentityPortraits:
    """Persons of the embedded world, several images of each; rendered like `RenderedPortraits`.

    Those held out are other persons, all of whose images are scored. Fields: those of
    `jaxface.data.synthetic_portraits` with ``person``, in [0, num_identities).
    """

    resolution: int
    num_identities: int = 4_000
    images_per_identity: int = 12
    num_test_identities: int = 200
    seed: int = 0
    mirror: bool = True
    directory: str = "data"
    version: str = "2.0.0"

    @property
    def classes(self) -> Mapping[str, int]:
        """Persons of the training split."""
        return {"person": self.num_identities}

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> DataIterator:
        """Shuffled anew in every epoch, see `DataSource`."""
        return _batches(_stored(self._folder()), size, fields, seed=seed, mirror=self.mirror)

    def held_out(self) -> dict[str, np.ndarray] | None:
        """Every image of the persons of the test split."""
        folder = self._folder()
        return _first(_stored(folder, "test")) if self.num_test_identities else None

    def item_shapes(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """See `DescribesItems`."""
        person = jax.ShapeDtypeStruct((), np.int64)
        return {**_scene_shapes(self.resolution, self.version), "person": person}

    def _folder(self) -> pathlib.Path:
        return _render(
            self.directory,
            resolution=self.resolution,
            seed=self.seed,
            num_train=self.num_identities * self.images_per_identity,
            num_test=self.num_test_identities * self.images_per_identity,
            images_per_identity=self.images_per_identity,
            version=self.version,
        )


@dataclasses.dataclass(frozen=True)
class LiveRenders:
    """The embedded world, rendered on the device that trains; endless, nothing is stored.

    Fields: see `jaxface.data.scene_items.scene_items`, held out too.
    """

    resolution: int
    num_test: int = NUM_HELD_OUT
    seed: int = 0
    version: str = "2.0.0"

    @property
    def classes(self) -> Mapping[str, int]:
        """No labels."""
        return {}

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> DataIterator:
        """In the order of the items' numbers, so that `seed` has no part in it."""
        from jaxface.data.scene_items import LivePortraits

        del seed
        return LivePortraits(
            self.resolution, batch_size=size, seed=self.seed, fields=fields, version=self.version
        )

    def held_out(self) -> dict[str, np.ndarray] | None:
        """The first `num_test` items of the test split."""
        from jaxface.data.scene_items import item_keys, scene_items

        if not self.num_test:
            return None
        keys = item_keys(self.seed, "test", jnp.arange(self.num_test))
        return jax.device_get(scene_items(keys, self.resolution, version=self.version))

    def item_shapes(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """See `DescribesItems`."""
        return _scene_shapes(self.resolution, self.version)


@dataclasses.dataclass(frozen=True)
class EndlessRenders:
    """The embedded world, rendered by worker processes on the CPU; endless, nothing is stored.

    Fields: see `jaxface.data.scene_items.scene_items`, held out too. `uses` is how often each
    render is trained on (`jaxface.data.endless_renders`); 1 is the same stream as `LiveRenders`'.
    """

    resolution: int
    version: str = "3.0.0"
    uses: int = 1
    num_test: int = NUM_HELD_OUT
    seed: int = 0
    workers: int = 1

    @property
    def classes(self) -> Mapping[str, int]:
        """No labels."""
        return {}

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> DataIterator:
        """In the order of the items' numbers, so that `seed` has no part in it."""
        from jaxface.data.endless_renders import RenderedAhead

        del seed
        return RenderedAhead(
            self.resolution,
            batch_size=size,
            seed=self.seed,
            fields=fields,
            version=self.version,
            uses=self.uses,
            workers=self.workers,
        )

    def held_out(self) -> dict[str, np.ndarray] | None:
        """The first `num_test` items of the test split, as the data set has them."""
        from jaxface.data.scene_items import numbered_items

        if not self.num_test:
            return None
        return numbered_items(
            self.seed, "test", 0, self.num_test, self.resolution, version=self.version
        )

    def item_shapes(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """See `DescribesItems`."""
        return _scene_shapes(self.resolution, self.version)


@dataclasses.dataclass(frozen=True)
class PreparedDataset:
    """The folder of a TFDS data set in array_record files, with an ``image`` of the right size."""

    path: str
    split: str = "train"
    mirror: bool = False

    @property
    def classes(self) -> None:
        """Unknown: the data set's description counts no persons."""
        return None

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> DataIterator:
        """Shuffled anew in every epoch, see `DataSource`."""
        items = _stored(self.path, self.split)
        return _batches(items, size, fields, seed=seed, mirror=self.mirror)

    def held_out(self) -> None:
        """None; a wrong path or split is told here."""
        _stored(self.path, self.split)


@dataclasses.dataclass(frozen=True)
class ClipGroups:
    """Frames that belong together, of a data set of clips; fields are [N, K, ...].

    Attributes:
      path: of the data set, `portrait_clips` or `synthetic_clips`.
      group: which frames; one of `jaxface.data.clip_groups`.
      split: that is trained on.
      num_test: groups of the test split that are held out, drawn once; none where it is absent.
      seed: of those.
    """

    path: str
    group: Any
    split: str = "train"
    num_test: int = NUM_HELD_OUT
    seed: int = 0

    @property
    def classes(self) -> None:
        """Unknown: persons are numbered through both splits."""
        return None

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> DataIterator:
        """Drawn anew in every epoch, see `DataSource`."""
        from jaxface.data.clip_groups import group_batches
        from jaxface.data.clip_view import ClipView

        view = ClipView(self.path, split=self.split)
        return group_batches(view, self.group, batch_size=size, seed=seed, fields=fields)

    def held_out(self) -> dict[str, np.ndarray] | None:
        """`num_test` groups of the test split, of every field that is no text."""
        from jaxface.data.clip_groups import numbered_groups
        from jaxface.data.clip_view import ClipView
        from jaxface.data.tfds_folder import open_builder

        ClipView(self.path, split=self.split)  # what is wrong with it is told now
        if not self.num_test or "test" not in open_builder(self.path).info.splits:
            return None
        view = ClipView(self.path, split="test")
        fields = [
            n for n, value in view.source[0].items() if np.asarray(value).dtype.kind in "biuf"
        ]
        return numbered_groups(view, self.group, count=self.num_test, seed=self.seed, fields=fields)


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """A folder of images, centre-cropped and resized. Fields: ``image`` and ``id``."""

    path: str
    resolution: int
    mirror: bool = False

    @property
    def classes(self) -> Mapping[str, int]:
        """No labels."""
        return {}

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> DataIterator:
        """Shuffled anew in every epoch, see `DataSource`."""
        return _batches(self._items(), size, fields, seed=seed, mirror=self.mirror)

    def held_out(self) -> None:
        """None; a folder without images is told here."""
        self._items()

    def item_shapes(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """See `DescribesItems`; without ``id``, which is text."""
        side = self.resolution
        return {"image": jax.ShapeDtypeStruct((side, side, 3), np.uint8)}

    def _items(self) -> Any:
        from jaxface.data.pipelines import FolderSource

        return FolderSource(self.path, self.resolution)


@dataclasses.dataclass(frozen=True)
class Latents:
    """Keys to sample a generator's latents with; endless, for methods that synthesise their images.

    Fields: ``key`` uint32 [N, 2], see `jaxface.data.latent_items`.
    """

    num_test: int = NUM_HELD_OUT
    seed: int = 0

    @property
    def classes(self) -> Mapping[str, int]:
        """No labels."""
        return {}

    def batches(self, size: int, fields: Sequence[str], *, seed: int) -> DataIterator:
        """In the order of the items' numbers, so that `seed` has no part in it.

        Raises:
          UsageError: another field than ``key`` is asked for.
        """
        from jaxface.data.latent_items import LatentKeys

        del seed
        if tuple(fields) != ("key",):
            raise UsageError(f"data: Latents has keys, the method needs {', '.join(fields)}")
        return LatentKeys(batch_size=size, seed=self.seed)

    def held_out(self) -> dict[str, np.ndarray] | None:
        """The first `num_test` keys of the test split."""
        from jaxface.data.latent_items import key_data

        test = np.arange(self.num_test)
        return {"key": key_data(self.seed, "test", test)} if self.num_test else None

    def item_shapes(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """See `DescribesItems`."""
        return {"key": jax.ShapeDtypeStruct((2,), np.uint32)}


def _scene_shapes(resolution: int, version: str) -> Mapping[str, jax.ShapeDtypeStruct]:
    """An item of the embedded world, which is not rendered."""
    from jaxface.data.scene_items import item_keys, scene_items

    keys = item_keys(0, "train", jnp.arange(1))
    items = jax.eval_shape(lambda keys: scene_items(keys, resolution, version=version), keys)
    return {name: jax.ShapeDtypeStruct(item.shape[1:], item.dtype) for name, item in items.items()}


def _render(directory: str, **sizes: Any) -> pathlib.Path:
    """The folder of a `synthetic_portraits` data set, which is made unless it is there.

    Raises:
      UsageError: it is not, and several processes would make it at once.
    """
    from jaxface.data.synthetic_portraits import PortraitsConfig, generate, is_generated

    config = PortraitsConfig(**sizes)
    if jax.process_count() > 1 and not is_generated(config, directory):
        raise UsageError(
            f"{directory}: the data set is not there, and {jax.process_count()} processes would "
            "make it at once; make it first, with `jaxface data`"
        )
    return generate(config, directory)


def _stored(folder: str | pathlib.Path, split: str = "train") -> Any:
    """Random access to the items of a TFDS data set."""
    from jaxface.data.pipelines import tfds_source

    return tfds_source(folder, split=split)


def _batches(
    items: Any, size: int, fields: Sequence[str], *, seed: int, mirror: bool = False
) -> DataIterator:
    from jaxface.data import pipelines

    transform = pipelines.mirror if mirror else None
    return pipelines.batches(items, batch_size=size, seed=seed, fields=fields, transform=transform)


def _first(items: Any, count: int | None = None) -> dict[str, np.ndarray]:
    """The first `count` items (default: all), stacked by field; text is left out."""
    rows = [items[index] for index in range(min(count or len(items), len(items)))]
    columns = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return {name: column for name, column in columns.items() if column.dtype.kind in "biuf"}
