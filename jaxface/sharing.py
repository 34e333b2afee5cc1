"""Suites on their way to others: as a folder that says what it is, and from the Hugging Face Hub.

A suite on the Hub is a repository of ``<role>.safetensors`` files, such as `save_suite` writes and
``hf upload OWNER/NAME FOLDER`` sends. Nothing else in a repository is fetched.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from flax import nnx

from jaxface.errors import SuiteError, on_one_line
from jaxface.runtime.files import atomic_path
from jaxface.suite import HUB, Suite, check_role, load_suite
from jaxface.weights import save_network

CARD = "README.md"
_NAME = re.compile(r"(?P<owner>[\w.-]+)/(?P<name>[\w.-]+)(@(?P<revision>[\w./-]+))?")


def save_suite(
    suite: Suite,
    folder: str | os.PathLike[str],
    *,
    networks: Mapping[str, nnx.Module] | None = None,
) -> Path:
    """Writes a suite whole: every network, those of other folders too, and its model card.

    Args:
      suite: its files are copied as they are, with their headers.
      folder: is made; must not be there, or be empty.
      networks: by role, in the place of the suite's or beside them, in float32. Their headers say
        nothing of a source or a licence, and so does the card.

    Returns:
      The folder.

    Raises:
      SuiteError: a network has no such role, or the networks do not fit each other.
      OSError: the folder cannot be written.
    """
    from jaxface.card import as_markdown

    networks = networks or {}
    for role, network in networks.items():
        check_role(role, type(network).__name__, where="save_suite")
    with atomic_path(folder) as made:
        made.mkdir()
        for role, path in suite.files.items():
            if role not in networks:
                shutil.copyfile(path, made / f"{role}.safetensors")
        for role, network in networks.items():
            save_network(made / f"{role}.safetensors", network)
        whole = load_suite(made)
        whole.check(staged=made)
        named = Suite(Path(folder).resolve().name, whole.files)
        (made / CARD).write_text(as_markdown(named))
    return Path(folder)


def fetch_suite(name: str) -> Path:
    """The folder of a suite on the Hugging Face Hub, fetched if this machine has it not.

    Args:
      name: ``hf:owner/name`` or ``hf:owner/name@revision``, a branch, a tag or a commit. Only a
        commit names the same files for ever.

    Raises:
      SuiteError: no such name or repository, no connection, or huggingface-hub is not installed.
    """
    found = _NAME.fullmatch(name.removeprefix(HUB))
    if found is None:
        raise SuiteError(f"suite {name!r}: expected {HUB}owner/name or {HUB}owner/name@revision")
    try:
        import huggingface_hub  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SuiteError(
            f'suite {name!r} needs huggingface-hub ({error}): python -m pip install "jaxface[hub]"'
        ) from error
    try:
        folder = huggingface_hub.snapshot_download(
            f"{found['owner']}/{found['name']}",
            revision=found["revision"],
            allow_patterns=["*.safetensors"],
        )
    except (OSError, ValueError) as error:  # what its errors of HTTP, of files and of names are
        reason = on_one_line(str(error))
        raise SuiteError(f"suite {name!r}: cannot be fetched: {reason}") from error
    return Path(folder)
