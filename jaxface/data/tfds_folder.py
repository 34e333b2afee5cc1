"""Data sets of TFDS that lie in a folder, opened without running anything that the folder names.

TFDS imports the module of every feature class that ``features.json`` names, so the classes are
compared with those that are known before TFDS sees the file.
"""

import json
import os
from pathlib import Path
from typing import Any

from jaxface.errors import JaxfaceError
from jaxface.runtime.files import read_regular

FEATURES = "features.json"

_MODULES = ("tensorflow_datasets.core.features.", "tensorflow_datasets.public_api.features.")
# fmt: off
_CLASSES = frozenset({
    "Audio", "BBoxFeature", "ClassLabel", "Dataset", "FeaturesDict", "Image", "LabeledImage",
    "Optional", "Scalar", "Sequence", "Tensor", "Text", "Translation",
    "TranslationVariableLanguages", "Video",
})
# fmt: on
_NAMES = ("pythonClassName", "python_class_name", "type")
_MOST = 100_000  # values of the file


class DataSetError(JaxfaceError):
    """A folder holds no data set that can be read; the message says why."""


def open_builder(folder: str | os.PathLike[str]) -> Any:
    """The TFDS builder of a data set's folder.

    Raises:
      DataSetError: its description is damaged, or names a feature class that is not TFDS's own.
      ImportError: TFDS is not installed.
    """
    check_features(folder)
    import tensorflow_datasets as tfds

    try:
        return tfds.builder_from_directory(os.fspath(folder))
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise DataSetError(f"{folder}: no readable TFDS data set: {reason}") from error


def check_features(folder: str | os.PathLike[str]) -> None:
    """Refuses a data set whose features would import anything but TFDS's own.

    Raises:
      DataSetError: see `open_builder`.
    """
    path = Path(folder) / FEATURES
    if not os.path.lexists(path):
        return  # TFDS says what is missing
    try:
        waiting, count = [json.loads(read_regular(path))], 0
    except OSError as error:
        raise DataSetError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataSetError(f"{path}: no JSON file") from error
    while waiting:
        value, count = waiting.pop(), count + 1
        if count > _MOST:
            raise DataSetError(f"{path}: describes more than {_MOST} values")
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            for name in (value[each] for each in _NAMES if each in value):
                if not _known(name):
                    raise DataSetError(
                        f"{path}: names the feature class {str(name)[:100]!r}, which is none of "
                        "TFDS's own; nothing was imported"
                    )


def _known(name: Any) -> bool:
    if not isinstance(name, str):
        return isinstance(name, dict)  # a feature that is called so
    module, _, last = name.rpartition(".")
    return f"{module}.".startswith(_MODULES) and last in _CLASSES
