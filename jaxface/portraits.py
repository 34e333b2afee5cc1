"""What the one-line jobs give: portraits, and a person who can be drawn in any pose."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors.numpy
from flax import nnx

from jaxface.jobs.avatars import write_avatar
from jaxface.jobs.outputs.names import file_name
from jaxface.jobs.outputs.tuned import tuned_weights
from jaxface.media.images import write_png
from jaxface.methods.pti import changed_generator
from jaxface.methods.pvp import Avatar
from jaxface.morphable.motion import Motion
from jaxface.nets import Generator
from jaxface.runtime.chunks import by_chunks
from jaxface.runtime.files import atomic_writer
from jaxface.suite import Suite


@dataclasses.dataclass(frozen=True)
class Portraits:
    """Portraits of a suite's generator and the latent codes that draw them.

    Attributes:
      suite: whose generator draws them.
      images: [N, R, R, 3] in [-1, 1].
      w_plus: [N, L, w_dim].
      names: of the portraits; files are named after them.
      measures: {name: [N]}: an inversion's losses, or what an edit wanted, had and reached, in the
        caller's units.
      weights: where each portrait has a generator of its own (PTI), the difference of its synthesis
        network's parameters to the suite's, leaves [N, ...].
    """

    suite: Suite
    images: np.ndarray
    w_plus: np.ndarray
    names: tuple[str, ...]
    measures: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    weights: Any = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: int | slice | Sequence[int]) -> "Portraits":
        """Some of them; one stays a batch."""
        chosen = np.atleast_1d(np.arange(len(self))[rows])  # type: ignore
        return dataclasses.replace(
            self,
            images=self.images[chosen],
            w_plus=self.w_plus[chosen],
            names=tuple(self.names[row] for row in chosen),
            measures={name: values[chosen] for name, values in self.measures.items()},
            weights=jax.tree.map(lambda leaf: leaf[chosen], self.weights),
        )

    def generator(self, row: int) -> Generator:
        """What draws a portrait: the suite's generator, or its own."""
        generator = self.suite.generator
        return (
            generator if self.weights is None else changed_generator(generator, self.weights, row)
        )

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes images (PNG), latents and tuned generators (safetensors), a file for each.

        `jaxface edit FOLDER/latents/*` takes them up.

        Returns:
          The folder.
        """
        folder = Path(folder)
        header = {
            "settings.suite": self.suite.name,
            "settings.generator": self.suite.digest("generator"),
        }
        for row, name in enumerate(self.names):
            write_png(folder / "images" / file_name(name, ".png"), self.images[row])
            files = {}
            told = {"id": name, **header}
            if self.weights is not None:
                difference = jax.tree.map(lambda leaf, row=row: leaf[row], self.weights)
                files["generators"] = tuned_weights(difference, self.suite, name)
                told["weights"] = f"generators/{file_name(name, '.safetensors')}"
            code = {"w_plus": np.ascontiguousarray(self.w_plus[row], np.float32)}
            files["latents"] = safetensors.numpy.save(code, told)
            for kind, data in files.items():
                with atomic_writer(folder / kind / file_name(name, ".safetensors")) as file:
                    file.write(data)
        return folder


@dataclasses.dataclass(frozen=True)
class Person:
    """The person of a clip, who can be drawn in any pose and expression that it shows (PVP).

    Attributes:
      avatar: draws them; see `jaxface.methods.pvp.Avatar` for motion of one's own, edits that stay,
        and what lies beyond the clip's range.
      times: [T] seconds of the clip's frames.
      key_frames: numbers of the frames that the generator was tuned to.
    """

    avatar: Avatar
    times: tuple[Fraction, ...]
    key_frames: tuple[int, ...]

    @functools.cached_property
    def images(self) -> np.ndarray:
        """The clip, drawn: [T, R, R, 3] in [-1, 1]."""
        return _images(self.avatar, self.w_plus)

    @functools.cached_property
    def w_plus(self) -> np.ndarray:
        """Latents of the clip's frames, [T, L, w_dim]."""
        return _latents(self.avatar, self.avatar.clip)

    def turned(self, *, yaw: Any = 0.0, pitch: Any = 0.0) -> "Portraits":
        """Head poses with the clip's mean expression.

        Args:
          yaw, pitch: degrees, a number or [T].
        """
        yaw, pitch = np.broadcast_arrays(np.atleast_1d(yaw), np.atleast_1d(pitch))
        return self.moved(self.avatar.posed(pitch, yaw))

    def moved(self, motion: Motion) -> "Portraits":
        """The person in the motion of T frames, taken as it is.

        The portraits' generator is the person's: they can be edited and saved as tuned ones are.
        """
        avatar, count = self.avatar, len(motion)
        base = nnx.state(avatar.suite.generator.synthesis, nnx.Param)
        own = nnx.state(avatar.generator.synthesis, nnx.Param)
        change = jax.tree.map(lambda x, y: np.asarray(x) - np.asarray(y), own, base)
        w_plus = _latents(avatar, motion)
        return Portraits(
            avatar.suite,
            _images(avatar, w_plus),
            w_plus,
            tuple(f"frame_{number:04d}" for number in range(count)),
            weights=jax.tree.map(lambda x: np.broadcast_to(x, (count, *x.shape)), change),
        )

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes the avatar, which ``jaxface reenact FOLDER`` and `jaxface.jobs.avatars` take up.

        Args:
          folder: there is none of that name, or an empty one.

        Returns:
          The folder.
        """
        return write_avatar(Path(folder), self.avatar, self.times, self.key_frames, told={})


_CHUNK = 16  # frames that one program draws, as `Avatar.drawn` does


def _latents(avatar: Avatar, motion: Motion) -> np.ndarray:
    return by_chunks(avatar.latents, motion, size=_CHUNK)


def _images(avatar: Avatar, w_plus: np.ndarray) -> np.ndarray:
    return np.clip(by_chunks(avatar.draw, w_plus, size=_CHUNK), -1, 1)


def joined(parts: Sequence[Portraits]) -> Portraits:
    """Portraits of one suite, one after the other."""
    first, names = parts[0], parts[0].measures
    return Portraits(
        first.suite,
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.w_plus for part in parts]),
        tuple(name for part in parts for name in part.names),
        {name: np.concatenate([part.measures[name] for part in parts]) for name in names},
        jax.tree.map(lambda *leaves: np.concatenate(leaves), *(part.weights for part in parts)),
    )
