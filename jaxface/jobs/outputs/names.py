"""Names of a result's files: the result's id, shortened where a file system would refuse it."""

import hashlib

LONGEST = 255
"""Bytes of a name in a folder, in the file systems in use; of a path they take some 4000."""

_LONGEST_PATH = 3000
_DIGEST = 16  # hexadecimal digits: ids that begin alike stay apart


def file_name(item_id: str, suffix: str) -> str:
    """The relative path of a result's file.

    It is the id with the suffix. A part that is too long keeps its beginning, and ends with "~"
    and the first digits of its SHA-256; so does a folder with the name that a file could have
    ("a.png" of "a.png/b", beside the file of "a"). So the name depends on the id alone.

    Args:
      item_id: parts with "/" between them.
      suffix: such as ".png".
    """
    *folders, last = item_id.split("/")
    most = max(2 * _DIGEST, min(LONGEST, _LONGEST_PATH // (len(folders) + 1)))
    names = [
        _short(part, "", most, marked=suffix != "" and part.endswith(suffix)) for part in folders
    ]
    return "/".join([*names, _short(last, suffix, most)])


def _short(part: str, suffix: str, most: int, *, marked: bool = False) -> str:
    encoded = part.encode()
    if len(encoded) + len(suffix) <= most and not marked:
        return part + suffix
    mark = f"~{hashlib.sha256(encoded).hexdigest()[:_DIGEST]}{suffix}"
    # A letter that the cut falls into is left out.
    return encoded[: max(0, most - len(mark))].decode(errors="ignore") + mark
