"""Avatars on the disk::

    DIR/avatar.json              what they were made with: suite, settings, clip, training frames
    DIR/generator.safetensors    the person's generator
    DIR/mappers.safetensors      F_rot and F_expr with their anchors
    DIR/motion.safetensors       the clip's motion, a template of `jaxface.jobs.inputs.motion_files`

A folder is named by itself, or by the folder of `jaxface personalise` that holds it as ``avatar``.
"""

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxface.errors import UsageError, on_one_line
from jaxface.jobs.inputs.motion_files import read_motion_file, write_motion
from jaxface.licences import terms_of
from jaxface.methods.pvp import Avatar
from jaxface.runtime.files import atomic_path, write_json
from jaxface.suite import Suite, load_suite
from jaxface.weights import load_network, save_network

HEADER, FOLDER, VERSION = "avatar.json", "avatar", 1


class StoredAvatar(NamedTuple):
    """An avatar and when its clip's frames are.

    Attributes:
      avatar: it.
      times: [T] seconds of `avatar.clip`'s frames, the first one 0.
      header: of the file.
    """

    avatar: Avatar
    times: tuple[Fraction, ...]
    header: Mapping[str, Any]


def avatar_folder(path: str | Path) -> Path | None:
    """The folder of an avatar that a path names; None where it names none."""
    return next(
        (each for each in (Path(path), Path(path) / FOLDER) if (each / HEADER).is_file()), None
    )


def write_avatar(
    folder: str | Path,
    avatar: Avatar,
    times: Sequence[Fraction],
    key_frames: Sequence[int],
    *,
    told: Mapping[str, Any],
) -> Path:
    """Writes an avatar; the folder appears whole or not at all.

    Args:
      folder: of the avatar; there is none of that name, or an empty one.
      avatar: what is written.
      times: [T] seconds of its clip's frames.
      key_frames: rows of the clip that the anchors are of.
      told: what else its header says, JSON-like.

    Returns:
      The folder.

    Raises:
      UsageError: there is something of that name.
    """
    folder = Path(folder)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder}: is there already; name another folder, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    known = avatar.suite.metadata("generator")
    terms = terms_of(known).header()
    if "source_sha256" in known:
        terms["source_sha256"] = known["source_sha256"]
    header = {
        "version": VERSION,
        "suite": avatar.suite.name,
        "suite_generator": avatar.suite.digest("generator"),
        "basis": avatar.clip.basis,
        "training": [int(row) for row in avatar.training],
        "key_frames": [int(row) for row in key_frames],
        **told,
    }
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        save_network(temporary / "generator.safetensors", avatar.generator, metadata=terms)
        save_network(temporary / "mappers.safetensors", avatar.mappers)
        write_motion(temporary / "motion.safetensors", avatar.clip, times)
        write_json(temporary / HEADER, header)
    return folder


def read_avatar(path: str | Path, *, suite: Suite | str | None = None) -> StoredAvatar:
    """Reads an avatar.

    Args:
      path: its folder, or that of `jaxface personalise`.
      suite: whose networks read drivers and edit; None: the one that it was made with.

    Raises:
      UsageError: there is none, it is damaged, or was made with another generator.
      SuiteError: its suite is not there.
      WeightsError: a network is damaged.
    """
    folder = avatar_folder(path)
    if folder is None:
        raise UsageError(f"{path}: no avatar of `jaxface personalise` ({HEADER})")
    try:
        header = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        if header["version"] != VERSION:
            raise UsageError(
                f"{folder}: an avatar of version {header['version']}; expected {VERSION}"
            )
        training = np.array(header["training"], int)
        key_frames = np.array(header["key_frames"], int)
        name, digest = header["suite"], header["suite_generator"]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder / HEADER}: damaged: {on_one_line(repr(error))}") from error
    if not isinstance(suite, Suite):
        suite = load_suite(name if suite is None else suite)
    if suite.digest("generator") != digest:
        raise UsageError(
            f"{folder}: was tuned from another generator than that of the suite {suite.name!r}; "
            "name the suite that it was made with"
        )
    mappers = load_network(folder / "mappers.safetensors")
    motion, times = read_motion_file(str(folder / "motion.safetensors"))
    if max(training.max(initial=-1), key_frames.max(initial=-1)) >= len(motion):
        raise UsageError(f"{folder}: its clip has {len(motion)} frames, fewer than it was made of")
    avatar = Avatar(
        suite=suite,
        w_plus=mappers.anchors[...],
        motion=motion[key_frames],
        generator=load_network(folder / "generator.safetensors"),
        mappers=mappers,
        clip=motion,
        training=training,
    )
    return StoredAvatar(avatar, times, header)
