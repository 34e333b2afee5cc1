"""What jobs over latent codes have in common: how codes are read, and what is stored of one.

`jaxface.jobs.editing` and `jaxface.jobs.reenactment` are such jobs.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from jaxface.errors import SuiteError, WeightsError
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.latents import (
    NOT_AN_EMBEDDING,
    UNREADABLE,
    Latent,
    LatentError,
    read_latent,
)
from jaxface.jobs.inputs.reading import read_items
from jaxface.jobs.outputs.pasted import pasted_png
from jaxface.jobs.outputs.rows import FRAME_COLUMNS, Result, number, photographs_of
from jaxface.jobs.outputs.tuned import tuned_generator
from jaxface.media.images import ImageError, encode_png
from jaxface.nets import Generator
from jaxface.suite import Suite

NOT_FINITE, NO_PHOTOGRAPH = "not_finite", "no_photograph"
AGAIN = "edited_before"
"""The column of frames that were changed before, and are put back where they were then."""


@dataclasses.dataclass(frozen=True)
class LatentCase:
    """A latent code that is to be changed; a `jaxface.jobs.task.Case`."""

    item: Item
    latent: Latent

    @property
    def id(self) -> str:
        """The portrait's."""
        return self.item.id

    @property
    def columns(self) -> dict[str, Any]:
        """What its file says of it."""
        header = self.latent.header
        transform = header.get("transform")
        weights = self.latent.weights
        return {
            "source": header.get("path"),
            "transform": None if transform is None else json.loads(transform),
            "psnr": _float(header.get("psnr")),
            "key": header.get("key"),
            "weights": weights if isinstance(weights, str) else None,
            **{name: json.loads(header[name]) for name in FRAME_COLUMNS if name in header},
            **({AGAIN: True} if {"frame", "edited"} <= header.keys() else {}),
        }


@dataclasses.dataclass(frozen=True)
class LatentTask:
    """What a `jaxface.jobs.task.Task` over latent codes does whatever becomes of them.

    Attributes:
      suite: whose generator the codes are of.
    """

    suite: Suite

    @property
    def w_plus_shape(self) -> tuple[int, int]:
        """[L, w_dim] of the suite's generator."""
        config = self.suite.generator.config
        return config.num_ws, config.w_dim

    def check_ids(self, ids: Sequence[str]) -> None:
        """See `Task`: all are told apart."""

    def prefetch(
        self, items: Sequence[Item], *, ahead: int
    ) -> contextlib.AbstractContextManager[Iterable[Any]]:
        """See `Task`."""

        def read(item: Item) -> list[LatentCase] | LatentError:
            try:
                return [LatentCase(item, read_latent(item, self.w_plus_shape))]
            except LatentError as error:
                return error

        return read_items(items, read, ahead=ahead)

    def own_generator(self, latent: Latent) -> Generator | None:
        """The generator that was tuned to a portrait; None where it is drawn by the suite's.

        Raises:
          LatentError: its file cannot be read, or is of another generator.
        """
        if latent.weights is None:
            return None
        try:
            return tuned_generator(latent.weights, self.suite)
        except WeightsError as error:
            raise LatentError(UNREADABLE, str(error)) from error
        except SuiteError as error:
            raise LatentError(NOT_AN_EMBEDDING, str(error)) from error

    def unloaded(self) -> Self:
        """See `Task`."""
        return dataclasses.replace(self, suite=dataclasses.replace(self.suite, _loaded={}))

    def stored(
        self,
        case: LatentCase,
        drawn: Mapping[str, Any],
        row: dict[str, Any],
        *,
        settings: Mapping[str, Any],
        paste_back: bool,
        unpasted: Mapping[str, Any],
    ) -> Result:
        """What is stored of a code that was changed: its image, the code, what made it.

        Args:
          case: the code.
          drawn: of the program: "w_plus", "pixels", and "unedited" where that is kept.
          row: of the result.
          settings: of the change, JSON-like; they stay in the code's file, beside what made the
            inversion, so that what was changed can be changed again.
          paste_back: whether a photograph's face goes back into it.
          unpasted: columns of the row where that is not possible.
        """
        header = case.latent.header | {
            "id": case.id,
            "settings.suite": self.suite.name,
            "settings.generator": self.suite.digest("generator"),
            "edited": json.dumps(settings),
        }
        if isinstance(case.latent.weights, str):
            header["weights"] = case.latent.weights
        files = {"edited": encode_png(drawn["pixels"], sources=photographs_of(row))}
        if "unedited" in drawn:
            files["unedited"] = encode_png(drawn["unedited"])
        if paste_back and row.get("frame") is None:
            try:
                files["pasted"] = pasted_png(row, drawn["pixels"])
            except (ImageError, ValueError) as error:
                failed = {"status": NO_PHOTOGRAPH, "reason": f"not pasted back: {error}"}
                return Result({**row, **failed, **unpasted})
        return Result(row, drawn["w_plus"], files, header)


def _float(text: str | None) -> float | None:
    try:
        return None if text is None else number(float(text))
    except ValueError:
        return None
