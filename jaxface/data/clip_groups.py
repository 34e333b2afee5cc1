"""Grain pipelines of several frames at a time: pairs, windows and persons of a data set of clips.

    view = ClipView(folder)
    data = group_batches(view, TwoOfOneClip(), batch_size=16, seed=0, fields=("image",))
    next(data)["image"]             # uint8 [16, 2, R, R, 3]

A group is drawn from an anchor, a clip or a person: an epoch has every anchor once, in another
order each time, and which of its frames are taken depends on the seed and on the anchor's place in
the stream. So batches are the same however many processes read them, and a position brings them
back; see `jaxface.data.pipelines`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import grain
import numpy as np

from jaxface.data.clip_view import ClipView, Place
from jaxface.data.pipelines import ArraySource, DataError, Item, batches


class Group(Protocol):
    """Which frames belong together."""

    def anchors(self, view: ClipView) -> Sequence[Any]:
        """What groups are drawn from; an epoch has each once.

        Raises:
          DataError: the data set has no such group.
        """
        ...

    def rows(self, anchor: Any, anchors: Sequence[Any], rng: np.random.Generator) -> np.ndarray:
        """A group's records in the split, [K], of one of the anchors."""
        ...


@dataclasses.dataclass(frozen=True)
class TwoOfOneClip:
    """Two different frames of one clip: what is moved, and how it is to look then.

    Attributes:
      apart: frames between them at least, >= 1.
    """

    apart: int = 1

    def __post_init__(self):
        _at_least_one("TwoOfOneClip", apart=self.apart)

    def anchors(self, view: ClipView) -> Sequence[Place]:
        """Clips that are long enough."""
        return _long_enough(view, self.apart + 1, self)

    def rows(self, anchor: Place, anchors: Sequence[Place], rng: np.random.Generator) -> np.ndarray:
        """[2], in either order."""
        del anchors
        # Pairs at least so far apart, each as likely as any other.
        pair = np.sort(rng.choice(len(anchor.rows) - self.apart + 1, 2, replace=False))
        pair += np.array([0, self.apart - 1]) + anchor.rows.start
        return pair if rng.random() < 0.5 else pair[::-1]


@dataclasses.dataclass(frozen=True)
class TwoPersons:
    """A frame of a clip, and one of another person: a source and who drives it."""

    def anchors(self, view: ClipView) -> Sequence[Place]:
        """All clips."""
        if len(view.persons) < 2:
            raise DataError(f"TwoPersons: {view.split} shows one person, {''.join(view.persons)}.")
        return view.places

    def rows(self, anchor: Place, anchors: Sequence[Place], rng: np.random.Generator) -> np.ndarray:
        """[2]: the anchor's frame first. Of the others' clips each is as likely as any other."""
        while (other := anchors[int(rng.integers(len(anchors)))]).person == anchor.person:
            pass
        return np.array([rng.choice(place.rows) for place in (anchor, other)])


@dataclasses.dataclass(frozen=True)
class OnePerson:
    """Different frames of one person, of any of their clips: what a person is known by.

    Attributes:
      frames: in a group, >= 1.
    """

    frames: int = 8

    def __post_init__(self):
        _at_least_one("OnePerson", frames=self.frames)

    def anchors(self, view: ClipView) -> Sequence[np.ndarray]:
        """The records of each person who has enough."""
        rows: dict[str, list[range]] = {}
        for place in view.places:
            rows.setdefault(place.person, []).append(place.rows)
        found = [np.concatenate([np.asarray(one) for one in some]) for some in rows.values()]
        enough = [some for some in found if len(some) >= self.frames]
        if not enough:
            raise DataError(f"{self}: nobody in {view.split} has so many frames.")
        return enough

    def rows(
        self, anchor: np.ndarray, anchors: Sequence[np.ndarray], rng: np.random.Generator
    ) -> np.ndarray:
        """[frames], in no order."""
        del anchors
        return rng.choice(anchor, self.frames, replace=False)


@dataclasses.dataclass(frozen=True)
class Window:
    """Frames of one clip that follow each other.

    Attributes:
      frames: in a group, >= 1.
      every: takes each n-th frame, >= 1.
    """

    frames: int = 16
    every: int = 1

    def __post_init__(self):
        _at_least_one("Window", frames=self.frames, every=self.every)

    def anchors(self, view: ClipView) -> Sequence[Place]:
        """Clips that are long enough."""
        return _long_enough(view, self._span, self)

    def rows(self, anchor: Place, anchors: Sequence[Place], rng: np.random.Generator) -> np.ndarray:
        """[frames], in order."""
        del anchors
        first = rng.integers(len(anchor.rows) - self._span + 1)
        return anchor.rows.start + first + self.every * np.arange(self.frames)

    @property
    def _span(self) -> int:
        return (self.frames - 1) * self.every + 1


def group_batches(
    view: ClipView,
    group: Group,
    *,
    batch_size: int,
    seed: int,
    fields: Sequence[str],
    shuffle: bool = True,
    threads: int = 2,
) -> grain.DatasetIterator:
    """Endless batches of groups, ``{field: [N, K, ...]}``; this process's rows of each.

    Args:
      view: the clips.
      group: which frames belong together.
      batch_size: groups per batch over all processes; divisible by their number.
      seed: of the order and of what is drawn.
      fields: of the frames.
      shuffle: whether each epoch has another order.
      threads: that read ahead.

    Returns:
      An iterator with `get_state` and `set_state`, see `jaxface.data.pipelines.batches`.

    Raises:
      DataError: no such group or field, or the batch size does not divide.
    """
    anchors = group.anchors(view)
    check_fields(view, fields)

    def draw(item: Item, rng: np.random.Generator) -> Item:
        rows = group.rows(anchors[int(item["anchor"])], anchors, rng)
        return read_group(view, rows, fields)

    return batches(
        ArraySource({"anchor": np.arange(len(anchors))}),
        batch_size=batch_size,
        seed=seed,
        transform=draw,
        shuffle=shuffle,
        threads=threads,
    )


def numbered_groups(
    view: ClipView, group: Group, *, count: int, seed: int, fields: Sequence[str]
) -> dict[str, np.ndarray]:
    """So many groups, ``{field: [count, K, ...]}``, for scores: the same whenever they are asked
    for. Anchors come in their order, again and again.

    Args:
      view, group, fields: as for `group_batches`.
      count: groups, >= 1.
      seed: of what is drawn.
    """
    anchors = group.anchors(view)
    check_fields(view, fields)
    items = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        rows = group.rows(anchors[number % len(anchors)], anchors, rng)
        items.append(read_group(view, rows, fields))
    return {name: np.stack([item[name] for item in items]) for name in fields}


def read_group(view: ClipView, rows: np.ndarray, fields: Sequence[str]) -> dict[str, np.ndarray]:
    """Records of a group by field, [K, ...] each."""
    items = [view.source[int(row)] for row in rows]
    return {name: np.stack([np.asarray(item[name]) for item in items]) for name in fields}


def check_fields(view: ClipView, fields: Sequence[str]) -> None:
    """Refuses fields that frames do not have.

    Raises:
      DataError: there are such.
    """
    known = view.source[0]
    if absent := set(fields) - set(known):
        raise DataError(f"group_batches: no field {sorted(absent)}; there are {sorted(known)}.")


def _long_enough(view: ClipView, frames: int, group: Group) -> Sequence[Place]:
    enough = [place for place in view.places if len(place.rows) >= frames]
    if not enough:
        raise DataError(f"{group}: no clip of {view.split} has {frames} frames.")
    return enough


def _at_least_one(name: str, **values: int) -> None:
    wrong = {key: value for key, value in values.items() if value < 1}
    if wrong:
        raise DataError(f"{name}: expected at least 1, got {wrong}.")
