"""Files of motion alone, without the person: templates of one's own, and ARKit's recordings.

A template is a safetensors file. Its header says ``format``, ``version``, ``basis`` (see
`jaxface.morphable.motion.Basis`) and ``time_base``; its arrays are fields of `Motion` in float32
and ``times``, int64 in units of ``time_base`` seconds::

    rotation [T, 3]   jaw [T, 3]   expression [T, E]   gaze [T, 2]   times [T]

A recording is the CSV of Live Link Face: ``Timecode`` (HH:MM:SS:FF.fraction), ``BlendshapeCount``,
ARKit's 52 units with a capital first letter, and ``HeadYaw``, ``HeadPitch``, ``HeadRoll`` in
radians, as programs for that format write them: yaw positive to the person's left, pitch positive
upwards, roll as here (the app's own landscape mode turns yaw and pitch around). Columns of the eyes
are passed over: the eyeLook units say the same.
"""

import csv
import itertools
import math
import os
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from jaxface.errors import UsageError
from jaxface.media.video.folders import common_base
from jaxface.morphable.arkit import ARKIT_UNITS
from jaxface.morphable.motion import Motion
from jaxface.morphable.retargeting import BASES, expression_width, has_jaw
from jaxface.runtime.files import atomic_writer

FORMAT, VERSION = "jaxface motion", "1"
SUFFIX, RECORDING = ".safetensors", ".csv"
RATE = Fraction(60)
"""Frames a second of Live Link Face, where it is not told otherwise."""

MOST_FRAMES = 1_000_000
LARGEST = 1000.0
"""Numbers beyond this are no motion in any basis."""

_FIELDS = ("rotation", "jaw", "expression", "gaze")
_ANGLES = {"HeadPitch": -1.0, "HeadYaw": 1.0, "HeadRoll": 1.0}
"""In the order of `Motion.rotation`, with their signs there."""
_TIMECODE = re.compile(r"(\d{1,3}):(\d{1,2}):(\d{1,2})[:;](\d{1,3})(?:\.(\d{1,6}))?")
_LINE = 4096  # characters of a longer line are no recording's


class TimedMotion(NamedTuple):
    """Motion and when it happens.

    Attributes:
      motion: of T frames, NumPy arrays.
      times: [T] seconds, increasing, the first one 0.
    """

    motion: Motion
    times: tuple[Fraction, ...]


def is_motion_file(path: str) -> bool:
    """Whether a file is motion by its name and header: a recording, or a template."""
    if Path(path).suffix.lower() == RECORDING:
        return os.path.isfile(path)
    if Path(path).suffix.lower() != SUFFIX or not os.path.isfile(path):
        return False
    try:
        with safe_open(path, framework="numpy") as file:
            return "w_plus" not in file.keys()  # noqa: SIM118 (it is no dictionary)
    except (SafetensorError, OSError):
        return True  # which reading it will tell


def write_motion(path: str | os.PathLike[str], motion: Motion, times: Sequence[Fraction]) -> None:
    """Writes a template, whole or not at all.

    Args:
      path: of the file.
      motion: of T frames.
      times: [T] seconds, increasing; the template begins at 0.
    """
    times = [time - times[0] for time in times]
    base = common_base(times, Fraction(1))
    arrays: dict[str, np.ndarray] = {
        name: np.ascontiguousarray(np.asarray(value, np.float32))
        for name in _FIELDS
        if (value := getattr(motion, name)) is not None
    }
    arrays["times"] = np.array([int(time / base) for time in times], np.int64)
    header = {
        "format": FORMAT,
        "version": VERSION,
        "basis": motion.basis,
        "time_base": str(base),
        "frames": str(len(times)),
    }
    with atomic_writer(path) as file:
        file.write(safetensors.numpy.save(arrays, header))


def read_motion_file(path: str, *, rate: Fraction | None = None) -> TimedMotion:
    """Reads a template or a recording.

    Args:
      path: see `is_motion_file`.
      rate: frames a second of a recording's timecodes; `RATE` where it is None.

    Raises:
      UsageError: it is none, is damaged, or says what no motion is.
    """
    if Path(path).suffix.lower() == RECORDING:
        return _read_recording(path, rate or RATE)
    if rate is not None:
        raise UsageError(f"{path}: a motion template has its own times; --fps is of no use")
    return _read_template(path)


def _read_template(path: str) -> TimedMotion:
    header, arrays = _arrays_of(path)
    if header.get("format") != FORMAT:
        raise UsageError(
            f"{path}: no motion template; expected a file of jaxface reenact --save-motion"
        )
    if header.get("version") != VERSION:
        said = _short(header.get("version"))
        raise UsageError(f"{path}: a motion template of version {said}; expected {VERSION}")
    basis: Any = header.get("basis")
    if basis not in BASES:
        raise UsageError(
            f"{path}: motion in the basis {_short(basis)}; expected {', '.join(BASES)}"
        )
    times = arrays.pop("times", None)
    if times is None or times.dtype != np.int64 or times.ndim != 1 or not len(times):
        raise UsageError(f"{path}: expected times as int64 [T], one or more")
    count = len(times)
    shapes = {"rotation": 3, "expression": expression_width(basis)}
    shapes |= {"jaw": 3} if has_jaw(basis) else {}
    shapes |= {"gaze": 2} if basis == "anatomical" else {}
    if arrays.keys() != shapes.keys():
        held = ", ".join(sorted(map(_short, arrays)))
        raise UsageError(f"{path}: holds {held}; motion in {basis} has {', '.join(sorted(shapes))}")
    for name, width in shapes.items():
        value = arrays[name]
        if value.shape != (count, width) or value.dtype != np.float32:
            raise UsageError(
                f"{path}: {name} must be float32 {[count, width]}, got {value.dtype} "
                f"{list(value.shape)}"
            )
        limit = 2 * math.pi if name in ("rotation", "jaw") else LARGEST
        if not (np.isfinite(value).all() and np.abs(value).max(initial=0) <= limit):
            raise UsageError(f"{path}: {name} must be finite and within +-{limit:.4g}")
    motion = Motion(basis=basis, **({"jaw": None} | arrays))
    return TimedMotion(motion, _times(path, times, header.get("time_base")))


def _arrays_of(path: str) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Header and arrays; their sizes are looked at before they are read."""
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            if len(shapes) > len(_FIELDS) + 1 or any(
                len(shape) > 2 or math.prod(shape) > 64 * MOST_FRAMES for shape in shapes.values()
            ):
                raise UsageError(
                    f"{path}: no motion template; expected at most {MOST_FRAMES} frames of "
                    f"{', '.join(_FIELDS)} and times"
                )
            return file.metadata() or {}, {name: file.get_tensor(name) for name in shapes}
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or 'no such file'}") from error
    except SafetensorError as error:
        raise UsageError(f"{path}: no safetensors file: {_short(error)}") from error
    except (TypeError, ValueError, KeyError, AttributeError) as error:  # dtypes NumPy has not
        raise UsageError(f"{path}: cannot be read: {_short(error)}") from error


def _times(path: str, ticks: np.ndarray, base: str | None) -> tuple[Fraction, ...]:
    """Seconds of ticks of a base that a header states."""
    if base is None or not re.fullmatch(r"[1-9]\d{0,8}(/[1-9]\d{0,11})?", base):
        raise UsageError(f"{path}: time_base must be seconds such as 1/25, got {_short(base)}")
    first, steps = int(ticks[0]), np.diff(ticks)
    # Exact in Python's integers, where int64 could overflow.
    values = [int(tick) for tick in ticks]
    if first != 0 or (len(steps) and any(b <= a for a, b in itertools.pairwise(values))):
        raise UsageError(f"{path}: times must begin at 0 and increase")
    seconds = Fraction(base)
    if values[-1] * seconds > 10**7:
        raise UsageError(f"{path}: times end after {float(values[-1] * seconds):.3g} seconds")
    return tuple(value * seconds for value in values)


def _read_recording(path: str, rate: Fraction) -> TimedMotion:
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = (line for line in _checked_lines(path, file))
            rows = csv.reader(lines, strict=True)
            columns = _columns(path, next(rows, []))
            read = [
                _row(path, number, row, columns, rate)
                for number, row in enumerate(rows, start=2)
                if any(cell.strip() for cell in row)
            ]
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: no CSV file: {_short(error)}") from error
    if not read:
        raise UsageError(f"{path}: a recording without a frame")
    # Across midnight a timecode begins anew; a frame that is told twice counts once.
    times, kept = [read[0][0]], [read[0][1]]
    day = Fraction(0)
    for number, (time, values) in enumerate(read[1:], start=3):
        if time + day < times[-1] - 43_200:
            day += 86_400
        if time + day < times[-1]:
            raise UsageError(
                f"{path}: line {number}: its timecode is before that of the line above"
            )
        if time + day > times[-1]:
            times.append(time + day)
            kept.append(values)
    table = np.array(kept, np.float32)
    motion = Motion(
        table[:, : len(_ANGLES)], None, np.ascontiguousarray(table[:, len(_ANGLES) :]), "arkit"
    )
    return TimedMotion(motion, tuple(time - times[0] for time in times))


def _checked_lines(path: str, file: Any) -> Any:
    for number, line in enumerate(iter(lambda: file.readline(_LINE), ""), start=1):
        if len(line) >= _LINE or number > MOST_FRAMES + 1 or "\0" in line:
            raise UsageError(f"{path}: line {number} is no line of a recording")
        yield line


def _columns(path: str, header: Sequence[str]) -> Mapping[str, int]:
    """The place of each column that is read, by its name in small letters."""
    places = {name.strip().lower(): place for place, name in enumerate(header)}
    needed = ("Timecode", *_ANGLES, *(unit[0].upper() + unit[1:] for unit in ARKIT_UNITS))
    missing = [name for name in needed if name.lower() not in places]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UsageError(
            f"{path}: no recording of Live Link Face: its first line lacks "
            f"{', '.join(missing[:3])}{more}"
        )
    return places


def _row(
    path: str, number: int, row: Sequence[str], columns: Mapping[str, int], rate: Fraction
) -> tuple[Fraction, list[float]]:
    """Time and numbers of a frame: rotation, then ARKit's units."""
    where = f"{path}: line {number}"

    def cell(name: str) -> str:
        place = columns[name.lower()]
        if place >= len(row):
            raise UsageError(f"{where}: {len(row)} columns; {name} is column {place + 1}")
        return row[place].strip()

    code = _TIMECODE.fullmatch(cell("Timecode"))
    if code is None:
        raise UsageError(
            f"{where}: expected a timecode such as 13:05:22:11.432, got {_short(cell('Timecode'))}"
        )
    hours, minutes, seconds, frame = map(int, code.groups()[:4])
    if frame >= rate:
        raise UsageError(
            f"{where}: frame {frame} of a second of {float(rate):g}; say --fps as it was recorded"
        )
    part = Fraction(int(code[5] or 0), 10 ** len(code[5] or ""))
    time = 3600 * hours + 60 * minutes + seconds + (frame + part) / rate
    values = []
    for name, sign in {**_ANGLES, **dict.fromkeys(ARKIT_UNITS, 1.0)}.items():
        try:
            value = sign * float(cell(name))
        except ValueError as error:
            raise UsageError(f"{where}: {name}: no number: {_short(cell(name))}") from error
        limit = 2 * math.pi if name in _ANGLES else 2.0
        if not abs(value) <= limit:
            raise UsageError(f"{where}: {name}: expected within +-{limit:.4g}, got {value:g}")
        values.append(value)
    return time, values


def _short(value: Any) -> str:
    """What a file says, on one line."""
    text = " ".join(str(value).split())
    return repr(text if len(text) <= 60 else text[:57] + "...")
