"""What an editing job is to read: latents that `jaxface invert` or `jaxface edit` wrote."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxface.errors import JaxfaceError, UsageError
from jaxface.jobs.outputs.results import OK, ROWS_FILE

if TYPE_CHECKING:
    from jaxface.suite import Suite

UNREADABLE = "unreadable"
NOT_AN_EMBEDDING = "not_an_embedding"


class EmbeddingError(JaxfaceError):
    """A file that holds no usable embedding. `status` is the failure's name in a results table."""

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class EmbeddingItem:
    """One input: the id of the portrait that was embedded, and the file of its latents."""

    id: str
    path: Path


@dataclass(frozen=True)
class Embedding:
    """The latents of a portrait, [L, w_dim], and what their file says of them."""

    w_plus: np.ndarray
    header: dict[str, str]

    @property
    def noise(self) -> str:
        """The generator's noise that it was embedded with: "const" or "none"."""
        return "none" if self.header.get("settings.noise") == "none" else "const"


@dataclass(frozen=True)
class FoundEmbeddings:
    """The items in a stable order, and remarks on what was passed over, one line each."""

    items: tuple[EmbeddingItem, ...]
    remarks: tuple[str, ...] = ()


def find_embeddings(arguments: Sequence[str]) -> FoundEmbeddings:
    """Resolves what the user named.

    Args:
      arguments: files of latents, and output folders of `jaxface invert` or `jaxface edit`, which
        stand for everything in them that is `ok`.

    Raises:
      UsageError: an argument is neither; a folder has no embedding; two different files are of the
        same id.
    """
    items: dict[str, EmbeddingItem] = {}
    remarks: list[str] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            found = _of_folder(path, remarks)
        elif path.is_file():
            found = [EmbeddingItem(_id_of_file(path), path)]
        else:
            raise UsageError(f"{argument!r}: no such file or folder")
        for item in found:
            if Path(item.id).is_absolute() or ".." in Path(item.id).parts:
                raise UsageError(f"{item.path}: its id, {item.id}, is no relative path")
            other = items.setdefault(item.id, item)
            if other.path.resolve() != item.path.resolve():
                raise UsageError(
                    f"{item.path} and {other.path} are both of {item.id}; give them different --out"
                )
    return FoundEmbeddings(tuple(items.values()), tuple(remarks))


def suite_of(items: Sequence[EmbeddingItem]) -> "Suite":
    """The suite that embedded the items, as their files tell.

    Raises:
      UsageError: they tell of several, or of none, or the suite of that name has another generator
        by now.
      SuiteError: there is no such suite any more.
    """
    names, generators = set(), set()
    for item in items:
        try:
            header = _read(item.path)[1]
        except EmbeddingError:
            continue  # it gets a row of its own
        if "settings.suite" in header:
            names.add(header["settings.suite"])
        if "settings.generator" in header:
            generators.add(header["settings.generator"])
    if len(names) != 1:
        told = ", ".join(sorted(names)) or "no suite"
        raise UsageError(f"the embeddings' files name {told}; say with --suite which one to use")
    from jaxface.suite import load_suite  # sets up JAX, which a wrong call need not wait for

    suite = load_suite(names.pop())
    if generators - {suite.digest("generator")}:
        raise UsageError(
            f"the embeddings were made with another generator than the suite {suite.name!r} has "
            f"now; embed again, or use it all the same with --suite {suite.name}"
        )
    return suite


def read_embedding(path: Path, shape: tuple[int, int]) -> Embedding:
    """Reads latents of a generator whose W+ is of that shape.

    Raises:
      EmbeddingError: the file cannot be read, or holds none.
    """
    w_plus, header = _read(path)
    if w_plus.shape != shape:
        raise EmbeddingError(
            NOT_AN_EMBEDDING,
            f"{path}: w_plus is {list(w_plus.shape)}; this suite's generator takes {list(shape)}",
        )
    if not np.isfinite(w_plus).all():
        raise EmbeddingError(NOT_AN_EMBEDDING, f"{path}: w_plus has values that are not finite")
    return Embedding(w_plus.astype(np.float32), header)


def _read(path: Path) -> tuple[np.ndarray, dict[str, str]]:
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if "w_plus" not in file.keys():  # noqa: SIM118 (it is no dictionary)
                held = ", ".join(file.keys())
                raise EmbeddingError(NOT_AN_EMBEDDING, f"{path}: holds {held}, not w_plus")
            return file.get_tensor("w_plus"), header
    except OSError as error:
        reason = error.strerror or "no such file"
        raise EmbeddingError(UNREADABLE, f"{path}: cannot be read: {reason}") from error
    except SafetensorError as error:
        raise EmbeddingError(NOT_AN_EMBEDDING, f"{path}: no safetensors file: {error}") from error


def _id_of_file(path: Path) -> str:
    """The id in a file that was named; it has to be an embedding.

    Raises:
      UsageError: it is none.
    """
    try:
        header = _read(path)[1]
    except EmbeddingError as error:
        raise UsageError(f"{error}; expected latents that `jaxface invert` wrote") from error
    return header.get("id", path.stem)


def _of_folder(folder: Path, remarks: list[str]) -> list[EmbeddingItem]:
    try:
        lines = (folder / ROWS_FILE).read_text().splitlines()
    except OSError as error:
        raise UsageError(
            f"{folder}: has no {ROWS_FILE}; expected the output folder of `jaxface invert`, or a "
            "file of latents"
        ) from error
    try:
        rows = [json.loads(line) for line in lines]
        found = [
            EmbeddingItem(row["id"], folder / row["latents"]) for row in rows if row["status"] == OK
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder / ROWS_FILE}: not a results file ({error!r})") from error
    if not found:
        raise UsageError(f"{folder}: no embedding in it is ok")
    if len(found) < len(rows):
        remarks.append(f"{folder}: {len(rows) - len(found)} inputs were not embedded there")
    return found
