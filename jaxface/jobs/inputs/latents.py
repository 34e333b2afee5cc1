"""What an editing job is to read: latent codes that `jaxface invert` or `jaxface edit` wrote.

Codes of a tuned generator (PTI) come with its weights, from the file that the results name.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from jaxface.convert.refusal import Refusal
from jaxface.errors import JaxfaceError, UsageError
from jaxface.jobs.inputs.foreign_latents import SUFFIXES, read_codes
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.outputs.rows import rows_in
from jaxface.runtime.files import open_regular

UNREADABLE = "unreadable"
NOT_AN_EMBEDDING = "not_an_embedding"
ROWS_FILE = "results.jsonl"
_ONE_ROW = "other_tool"  # in the header of a code that may be one of W
_OK = "ok"


class LatentError(JaxfaceError):
    """A file that holds no usable latent code. `status` is the failure's name in a row."""

    def __init__(self, status: str, message: str):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Latent:
    """The latent code of a portrait.

    Attributes:
      w_plus: [L, w_dim].
      header: what its file says of it.
      weights: the file of its generator's tuned weights, or its bytes; None: the suite's own.
    """

    w_plus: np.ndarray
    header: dict[str, str]
    weights: str | bytes | None = None

    @property
    def noise(self) -> str:
        """The generator's noise that it was inverted with: "const" or "none"."""
        return "none" if self.header.get("settings.noise") == "none" else "const"

    @property
    def may_be_of_w(self) -> bool:
        """Whether one row stands for all of them: another tool's code may be one of W."""
        return _ONE_ROW in self.header


@dataclass(frozen=True)
class FoundLatents:
    """The items in a stable order, and remarks on what was passed over, one line each.

    An item's `load` gives a `Latent`, or raises `LatentError`. Its `path` is its own, with ``#``
    and the code's name or row where a file holds several.
    """

    items: tuple[Item, ...]
    remarks: tuple[str, ...] = ()


def find_latents(arguments: Sequence[str]) -> FoundLatents:
    """Resolves what the user named.

    Args:
      arguments: files of latents (other tools' too, see `jaxface.jobs.inputs.foreign_latents`), and
        output folders of `jaxface invert` or `jaxface edit`, which stand for everything in them
        that is `ok`; those of a job in shards once they are merged.

    Raises:
      UsageError: an argument is neither; a folder has no latent code; two different files are of
        the same id.
    """
    items: dict[str, Item] = {}
    remarks: list[str] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            some = _of_folder(path, remarks)
        elif path.is_file() and path.suffix.lower() in SUFFIXES:
            some = _of_other_tools(path)
        elif path.is_file():
            some = [_item(_id_of_file(path), path)]
        else:
            raise UsageError(f"{argument!r}: no such file or folder")
        for item in some:
            parts = Path(item.id).parts
            if not parts or "\0" in item.id or Path(item.id).is_absolute() or ".." in parts:
                raise UsageError(f"{item.path}: its id, {item.id!r}, is no relative path")
            other = items.setdefault(item.id, item)
            if Path(other.path).resolve() != Path(item.path).resolve():
                raise UsageError(
                    f"{item.path} and {other.path} are both of {item.id}; give them different --out"
                )
    return FoundLatents(tuple(items.values()), tuple(remarks))


def failed_inputs(folder: str | Path) -> list[Item]:
    """Items that stand for the inputs of a finished job that have no embedding, and say why.

    Frames of clips without a face are no failure, and are not among them.

    Args:
      folder: the output folder of `jaxface invert`.
    """
    path = Path(folder) / ROWS_FILE
    return [
        Item(row["id"], row["path"], functools.partial(_fail, row["status"], row["reason"]))
        for row in rows_in(path.read_bytes(), str(path))
        if row["status"] != _OK and row.get("frame") is None
    ]


def _fail(status: str, reason: str) -> Any:
    raise LatentError(status, reason)


def read_latent(item: Item, shape: tuple[int, int]) -> Latent:
    """Reads the code of a generator whose W+ is of that shape.

    Raises:
      LatentError: the file cannot be read, or holds none.
    """
    latent = load_latent(item)
    if not fits(latent.w_plus.shape, shape, latent.may_be_of_w):
        raise LatentError(
            NOT_AN_EMBEDDING,
            f"{item.path}: w_plus is {list(latent.w_plus.shape)}; this suite's generator takes "
            f"{list(shape)}",
        )
    if not np.isfinite(latent.w_plus).all():
        raise LatentError(NOT_AN_EMBEDDING, f"{item.path}: w_plus has values that are not finite")
    code = np.broadcast_to(latent.w_plus, shape).astype(np.float32)  # of W: in every row
    return Latent(code, latent.header, latent.weights)


def fits(shape: tuple[int, ...], wanted: tuple[int, int], may_be_of_w: bool) -> bool:
    """Whether a generator whose W+ is [L, w_dim] takes a code of that shape."""
    return shape == wanted or (may_be_of_w and shape == (1, wanted[1]))


def load_latent(item: Item) -> Latent:
    """What an item of `find_latents` holds, whatever generator it is of.

    Raises:
      LatentError: the file cannot be read, or holds no code.
    """
    return item.load()  # type: ignore (of images elsewhere)


def _of_other_tools(path: Path) -> list[Item]:
    """The codes of a file that jaxface did not write; their header says so.

    Raises:
      UsageError: it holds none.
    """
    try:
        codes = read_codes(path)
    except Refusal as refusal:
        raise UsageError(str(refusal)) from refusal
    some = []
    for name, code in codes:
        item_id = f"{path.stem}{name}"
        header = {"id": item_id, "path": str(path), _ONE_ROW: "yes"}
        load: Any = functools.partial(Latent, code, header)
        some.append(Item(item_id, f"{path}{name}", load))
    return some


def _item(item_id: str, path: Path, weights: str | None = None) -> Item:
    load: Any = functools.partial(_read, path, weights)
    return Item(item_id, str(path), load)


def _read(path: Path, weights: str | None = None) -> Latent:
    try:
        with open_regular(path), safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if "w_plus" not in file.keys():  # noqa: SIM118 (it is no dictionary)
                held = ", ".join(file.keys())
                raise LatentError(NOT_AN_EMBEDDING, f"{path}: holds {held}, not w_plus")
            return Latent(file.get_tensor("w_plus"), header, weights or _weights_of(path, header))
    except OSError as error:
        reason = error.strerror or "no such file"
        raise LatentError(UNREADABLE, f"{path}: cannot be read: {reason}") from error
    except SafetensorError as error:
        raise LatentError(NOT_AN_EMBEDDING, f"{path}: no safetensors file: {error}") from error


def _weights_of(path: Path, header: dict[str, str]) -> str | None:
    """The file of the tuned weights that a header names, below the folder of the results."""
    if "weights" not in header:
        return None
    parts = len(Path(header["id"]).parts)
    folder = path.resolve().parents[min(parts, len(path.resolve().parents) - 1)]
    return str(folder / header["weights"])


def _id_of_file(path: Path) -> str:
    """The id in a file that was named; it has to be a latent code.

    Raises:
      UsageError: it is none.
    """
    try:
        header = _read(path).header
    except LatentError as error:
        raise UsageError(f"{error}; expected latents that `jaxface invert` wrote") from error
    return header.get("id", path.stem)


def _of_folder(folder: Path, remarks: list[str]) -> list[Item]:
    try:
        data = (folder / ROWS_FILE).read_bytes()
    except OSError as error:
        raise UsageError(
            f"{folder}: has no {ROWS_FILE}; expected the output folder of `jaxface invert`, or a "
            "file of latents (a job in shards is merged first: `jaxface merge`)"
        ) from error
    rows = rows_in(data, str(folder / ROWS_FILE))
    try:
        some = [_of_row(folder, row) for row in rows if row["status"] == _OK]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder / ROWS_FILE}: not a results file ({error!r})") from error
    if not some:
        raise UsageError(f"{folder}: no embedding in it is ok")
    if len(some) < len(rows):
        remarks.append(f"{folder}: {len(rows) - len(some)} inputs were not embedded there")
    return some


def _of_row(folder: Path, row: dict[str, Any]) -> Item:
    path = folder / row["latents"]
    if "shard_row" in row:
        load: Any = functools.partial(_read_from_shard, str(path), row["shard_row"])
        return Item(row["id"], f"{path}#{row['shard_row']}", load)
    weights = row.get("weights")
    return _item(row["id"], path, None if weights is None else str((folder / weights).resolve()))


def _read_from_shard(path: str, place: int) -> Latent:
    from jaxface.jobs.outputs.rows import latents_header

    try:
        result = _shard(path)[place]
    except (OSError, ValueError, IndexError, RuntimeError) as error:
        raise LatentError(UNREADABLE, f"{path}: cannot be read: {error}") from error
    if result.w_plus is None:
        raise LatentError(NOT_AN_EMBEDDING, f"{path}: row {place} has no latents")
    return Latent(result.w_plus, latents_header(result.row), result.files.get("weights"))


@functools.lru_cache(maxsize=2)
def _shard(path: str) -> list[Any]:
    """A shard's results, without images; items of a shard follow each other."""
    import dataclasses

    from jaxface.jobs.outputs.shard_formats import read_shard

    return [
        dataclasses.replace(result, files={k: v for k, v in result.files.items() if k == "weights"})
        for result in read_shard(path)
    ]
