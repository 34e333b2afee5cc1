"""What a job is to read: files, folders, globs, manifests, archives, data sets; with stable ids.

An item's id is the name of its results and the seed of its random key. It is made of the last
parts of the item's path: a file's folder and name (``photos/anna.jpg``), a folder's name and the
path below it (``photos/2024/anna.jpg``), an archive's name and the path within it
(``shard-00.tar/000012.jpg``), a data set's name, split and index
(``synthetic_portraits/64/2.0.0/test/00000012``). So it depends neither on the other inputs nor on
their order, on the working folder or on where a collection is mounted. Only where two different
items would get the same id (``/a/photos/x.jpg`` and ``/b/photos/x.jpg``) both take further parts
from the left until they differ. A manifest may give ids of its own.
"""

import functools
import glob
import hashlib
import io
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxface.errors import UsageError
from jaxface.jobs.inputs.folders import is_image, list_images, passed_over
from jaxface.jobs.inputs.manifests import read_manifest
from jaxface.jobs.inputs.records import is_record_folder, open_records, refuse_remote_records
from jaxface.jobs.inputs.tars import TAR_SUFFIX, is_tar, open_tar, tars_in
from jaxface.jobs.storage import filesystem, is_remote, read_bytes
from jaxface.media.image_errors import UnreadableImageError, of_one_image
from jaxface.media.images import (
    MAX_PIXELS,
    LoadedImage,
    decode_image,
    pixel_limit,
    read_image,
)


@dataclass(frozen=True, slots=True)
class Item:
    """One input.

    Attributes:
      id: unique within the job; a relative path with "/" between its parts.
      path: where it comes from, as the user named it.
      load: reads it; raises `jaxface.media.images.ImageError` if it is no usable image. It pickles,
        so that worker processes can read.
      columns: values that all rows of it have, known before it is read.
    """

    id: str
    path: str
    load: Callable[[], LoadedImage]
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Inputs:
    """The items in a stable order, and remarks on what was passed over, one line each."""

    items: tuple[Item, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """A candidate, kept small because a collection may have millions.

    Attributes:
      key: its full path without the leading "/"; tells candidates apart.
      depth: how many of the key's last parts its id takes.
      path, load: see `Item`.
      id: given by a manifest, instead of the key's parts.
    """

    key: str
    depth: int
    path: str
    load: Callable[[], LoadedImage]
    id: str | None = None


def find_inputs(
    arguments: Sequence[str],
    *,
    manifests: Sequence[str] = (),
    column: str = "path",
    split: str | None = None,
    outside: str | os.PathLike[str] | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Inputs:
    """Resolves what the user named.

    A folder is searched with all its subfolders (`jaxface.jobs.inputs.folders`) for files whose
    suffix is one of an image, whether a decoder for it is installed or not; hidden files and
    folders are passed over, and so is `outside`. A file that is named, or matched
    by a glob (``**`` reaches into subfolders), is taken whatever its suffix. A folder that holds a
    TFDS data set or array_record files is read record by record; a tar archive image by image
    (`jaxface.jobs.inputs.tars`), named or in a folder without images. An input named twice counts
    once.
    Files, folders and globs may be on an object store (``gs://``, ``s3://``), data sets not.

    Args:
      arguments: paths and globs.
      manifests: files that list paths; see `jaxface.jobs.inputs.manifests`.
      column: of the manifests that have columns, the one that holds the paths.
      split: the data set's split; required where it has several.
      outside: a folder whose files are never inputs: the job's own output.
      max_pixels: of an image that are read; see `jaxface.media.images`.

    Raises:
      UsageError: an argument that names nothing, a folder without images, no arguments, a manifest
        that cannot be read or that gives an id twice.
    """
    if not arguments and not manifests:
        raise UsageError("no inputs given; name files, folders, globs or a data set's folder")
    found: list[_Found] = []
    remarks: list[str] = []
    has_splits = False
    for argument in arguments:
        if is_remote(argument):
            found += _remote(argument, outside, remarks)
            continue
        for path in matching_paths(argument):
            if not os.path.isdir(path):
                found += _file_or_tar(str(path), remarks)
            elif is_record_folder(path):
                found += _records(path, split)
                has_splits = True
            else:
                outside_here = None if outside is None or is_remote(outside) else Path(outside)
                found += _folder(path, outside_here, remarks)
    for manifest in manifests:
        entries = [
            _file(entry.path, depth=2, item_id=entry.id)
            for entry in read_manifest(manifest, column)
        ]
        if not entries:
            raise UsageError(f"{manifest}: lists no paths")
        found += entries
    if split is not None and not has_splits:
        raise UsageError(f"--split {split}: no input is a data set, which alone has splits")
    return Inputs(tuple(_with_ids(found, max_pixels)), tuple(remarks))


def find_clips(paths: Sequence[str]) -> tuple[Item, ...]:
    """Clips with their ids; each is a file, or a folder of images.

    Their `load` is of no use: frames are read by `jaxface.jobs.inputs.clips`.

    Args:
      paths: existing ones.
    """
    found = [_file(path, depth=1 if os.path.isdir(path) else 2) for path in paths]
    return tuple(_with_ids(found, MAX_PIXELS))


def matching_paths(argument: str) -> list[Path]:
    """The existing paths that an argument names, sorted.

    Raises:
      UsageError: there is none.
    """
    if os.path.lexists(argument):  # a link to itself is there, and gets its row
        return [Path(argument)]
    if glob.has_magic(argument):
        matches = sorted(glob.glob(argument, recursive=True))
        if not matches:
            raise UsageError(f"{argument!r} matches no file")
        return [Path(match) for match in matches]
    raise UsageError(f"{argument!r}: no such file or folder")


def _key(path: str) -> str:
    """A path that tells files apart: absolute, without the leading "/"; a URL with its scheme."""
    return path.replace("://", "/", 1) if is_remote(path) else os.path.abspath(path).lstrip("/")


def _depth(key: str) -> int:
    return key.count("/") + 1


def _file(path: str, depth: int, item_id: str | None = None) -> _Found:
    key = _key(path)
    return _Found(key, min(depth, _depth(key)), path, loader(path), item_id)


def _file_or_tar(path: str, remarks: list[str]) -> Iterator[_Found]:
    """A named file, or what an archive holds."""
    if not is_tar(path):
        yield _file(path, depth=2)
        return
    key = _key(path)
    for member in open_tar(path, remarks):
        whole = "/".join([path, *member.parts])
        depth = min(_depth(key), 2 if not member.parts else 1) + len(member.parts)
        yield _Found("/".join([key, *member.parts]), depth, whole, member.load)


def _remote(
    argument: str, outside: str | os.PathLike[str] | None, remarks: list[str]
) -> list[_Found]:
    """Files, globs and folders of an object store."""
    files, place = filesystem(argument)
    try:
        if glob.has_magic(argument):
            paths = sorted(files.glob(place))
            if not paths:
                raise UsageError(f"{argument!r} matches no file")
            return [
                found
                for path in paths
                for found in _file_or_tar(files.unstrip_protocol(path), remarks)
            ]
        if not files.isdir(place):
            if not files.exists(place):
                raise UsageError(f"{argument!r}: no such file or folder")
            return [*_file_or_tar(argument, remarks)]
        paths = sorted(files.find(place))
    except OSError as error:
        raise UsageError(f"{argument}: cannot be read: {error}") from error
    root = place.rstrip("/")
    below = {path: path.removeprefix(root).lstrip("/") for path in paths}
    refuse_remote_records(argument, below.values())
    if outside is not None and is_remote(outside):
        not_in = filesystem(os.fspath(outside))[1].rstrip("/")
        if not_in == root:
            raise UsageError(f"{argument}: is the output folder too; name another with --out")
        below = {path: name for path, name in below.items() if not path.startswith(not_in + "/")}
    shown = [
        (path, name)
        for path, name in below.items()
        if not any(part.startswith(".") for part in name.split("/"))
    ]
    images = [(path, name) for path, name in shown if is_image(name)]
    tars = [path for path, name in shown if name.lower().endswith(TAR_SUFFIX)]
    if not images and tars:
        named = (files.unstrip_protocol(path) for path in tars)
        return [found for tar in named for found in _file_or_tar(tar, remarks)]
    if not images:
        raise UsageError(f"{argument}: no images in this folder")
    if others := [name for _, name in shown if not is_image(name)]:
        remarks.append(passed_over(argument, others))
    return [_file(files.unstrip_protocol(path), depth=_depth(name) + 1) for path, name in images]


def _records(folder: Path, split: str | None) -> Iterable[_Found]:
    base = _key(str(folder))
    for record in open_records(folder, split):
        yield _Found(
            key="/".join([base, *record.parts]),
            depth=min(_depth(base), record.name_depth) + len(record.parts),
            path="/".join([str(folder), *record.parts]),
            load=record.load,
        )


def _folder(folder: Path, outside: Path | None, remarks: list[str]) -> list[_Found]:
    if outside is not None and os.path.realpath(outside) == os.path.realpath(folder):
        raise UsageError(f"{folder}: is the output folder too; name another with --out")
    listing = list_images(folder, outside)
    if not listing.images and (tars := tars_in(folder)):
        return [found for tar in tars for found in _file_or_tar(str(tar), remarks)]
    if not listing.images:
        others = listing.others
        what = f"only files of other kinds, such as {others[0]}" if others else "it is empty"
        raise UsageError(f"{folder}: no images in this folder, {what}")
    remarks += listing.remarks
    root_depth = _depth(_key(str(folder)))
    return [_file(path, _depth(_key(path)) - root_depth + 1) for path in listing.images]


def _with_ids(found: Sequence[_Found], max_pixels: int) -> Iterator[Item]:
    """Items in the order found, ids lengthened where different items would share one."""
    firsts: dict[str, _Found] = {}
    for candidate in found:
        firsts.setdefault(candidate.key, candidate)
    unique = list(firsts.values())
    depths = [candidate.depth for candidate in unique]
    ids = [candidate.id or _last_parts(candidate.key, candidate.depth) for candidate in unique]
    while True:
        same: dict[str, list[int]] = defaultdict(list)
        for index, item_id in enumerate(ids):
            same[item_id].append(index)
        clashes = [index for group in same.values() if len(group) > 1 for index in group]
        if not clashes:
            break
        for index in clashes:
            candidate = unique[index]
            if candidate.id is not None:
                one, other = (unique[i].path for i in same[candidate.id][:2])
                raise UsageError(f"id {candidate.id!r} is given to both {one} and {other}")
            depths[index] = min(depths[index] + 1, _depth(candidate.key))
            ids[index] = _last_parts(candidate.key, depths[index])
    valid = {item_id for item_id in ids if not _NO_TEXT.search(item_id)}
    for item_id, candidate in zip(ids, unique, strict=True):
        text = _text(item_id)
        if text != item_id and text in valid:  # another file is really called so
            key = candidate.key.encode(errors="surrogatepass")
            text += f"~{hashlib.sha256(key).hexdigest()[:8]}"
        yield Item(
            text, _text(candidate.path), functools.partial(_guarded, candidate.load, max_pixels)
        )


def _last_parts(key: str, depth: int) -> str:
    return "/".join(key.rsplit("/", depth)[-depth:])


_NO_TEXT = re.compile("[\ud800-\udfff]")
"""Surrogates alone: bytes of a file name that are no UTF-8, or what a manifest's JSON says."""


def _text(name: str) -> str:
    """A file name as valid Unicode: what is none is shown as escapes."""

    def escaped(match: re.Match[str]) -> str:
        code = ord(match.group())
        return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"

    return _NO_TEXT.sub(escaped, name)


def _guarded(load: Callable[[], LoadedImage], max_pixels: int) -> LoadedImage:
    """Reads an item; whatever its reader raises is an `ImageError`, and so the item's own row."""
    with of_one_image(), pixel_limit(max_pixels):
        return load()


def loader(path: str) -> functools.partial[LoadedImage]:
    """What reads the image at a path; it pickles, so that worker processes can read."""
    return functools.partial(_read_remote_image if is_remote(path) else read_image, path)


def _read_remote_image(url: str) -> LoadedImage:
    with of_one_image():
        try:
            data = read_bytes(url)
        except Exception as error:  # the stores' packages have classes of their own
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UnreadableImageError(f"cannot be read: {reason}") from error
        return decode_image(io.BytesIO(data), name=url)
