"""Files of motion: templates there and back, recordings of Live Link Face, and what is refused."""

import json
import struct
from fractions import Fraction

import numpy as np
import pytest
import safetensors.numpy

from jaxface.errors import UsageError
from jaxface.jobs.inputs.motion_files import is_motion_file, read_motion_file, write_motion
from jaxface.morphable.arkit import ARKIT_UNITS, unit_index
from jaxface.morphable.motion import Motion
from jaxface.morphable.retargeting import BASES, expression_width, has_jaw

TIMES = [Fraction(1001 * each, 30_000) for each in (5, 6, 9)]


def motion(basis="embedded", count=3):
    rng = np.random.default_rng(0)

    def some(width):
        return rng.normal(size=(count, width)).astype(np.float32)

    gaze = some(2) if basis == "anatomical" else None
    jaw = some(3) if has_jaw(basis) else None
    return Motion(some(3), jaw, some(expression_width(basis)), basis, gaze)


@pytest.mark.parametrize("basis", BASES)
def test_a_template_comes_back_bit_for_bit(tmp_path, basis):
    path = tmp_path / "nod.safetensors"
    write_motion(path, motion(basis), TIMES)
    got = read_motion_file(str(path))
    assert got.times == (0, Fraction(1001, 30_000), Fraction(4004, 30_000))
    assert got.motion.basis == basis
    for name in ("rotation", "jaw", "expression", "gaze"):
        value, expected = getattr(got.motion, name), getattr(motion(basis), name)
        assert (value is None) == (expected is None)
        if value is not None:
            np.testing.assert_array_equal(value, expected)
    assert is_motion_file(str(path))
    with pytest.raises(UsageError, match="its own times; --fps is of no use"):
        read_motion_file(str(path), rate=Fraction(25))


def test_a_file_of_latents_is_no_motion(tmp_path):
    path = tmp_path / "anna.safetensors"
    path.write_bytes(safetensors.numpy.save({"w_plus": np.zeros((2, 4), np.float32)}))
    assert not is_motion_file(str(path))


def template(path, *, header=None, **arrays):
    """A template of which something is another."""
    known = {"format": "jaxface motion", "version": "1", "basis": "embedded", "time_base": "1/25"}
    some = motion()
    held = {"rotation": some.rotation, "jaw": some.jaw, "expression": some.expression}
    held |= {"times": np.arange(3)}
    held = {k: v for k, v in (held | arrays).items() if v is not None}
    header = {k: v for k, v in (known | (header or {})).items() if v is not None}
    path.write_bytes(safetensors.numpy.save(held, header))
    return str(path)


HOSTILE = [
    ({"header": {"format": None}}, "no motion template"),
    ({"header": {"format": "x" * 5000}}, "no motion template"),
    ({"header": {"version": "2"}}, "of version '2'; expected 1"),
    ({"header": {"basis": "smpl\nx" * 100}}, r"in the basis 'smpl xsmpl .*\.\.\.'"),
    ({"header": {"time_base": None}}, "time_base must be"),
    ({"header": {"time_base": "1/0"}}, "time_base must be"),
    ({"header": {"time_base": "9" * 400}}, "time_base must be"),
    ({"header": {"time_base": "-1/25"}}, "time_base must be"),
    ({"times": None}, "expected times as int64"),
    ({"times": np.arange(3, dtype=np.float32)}, "expected times as int64"),
    ({"times": np.arange(3)[None]}, "expected times as int64"),
    ({"times": np.zeros(0, np.int64)}, "one or more"),
    ({"times": np.array([0, 2, 2])}, "begin at 0 and increase"),
    ({"times": np.array([1, 2, 3])}, "begin at 0 and increase"),
    ({"times": np.array([0, -(2**63), 2**63 - 1])}, "begin at 0 and increase"),
    ({"times": np.array([0, 1, 2**62])}, "times end after"),
    ({"jaw": None}, "motion in embedded has expression, jaw, rotation"),
    ({"gaze": np.zeros((3, 2), np.float32)}, "holds 'expression', 'gaze', 'jaw', 'rotation'"),
    ({"rotation": np.zeros((2, 3), np.float32)}, r"rotation must be float32 \[3, 3\]"),
    ({"rotation": np.zeros((3, 3), np.float64)}, "got float64"),
    ({"rotation": np.full((3, 3), np.nan, np.float32)}, "must be finite"),
    ({"rotation": np.full((3, 3), 7, np.float32)}, r"within \+-6.283"),
    ({"expression": np.full((3, 64), 1e6, np.float32)}, r"within \+-1000"),
    ({"expression": np.zeros((3, 50), np.float32)}, r"\[3, 64\], got float32 \[3, 50\]"),
    ({f"more{i}": np.zeros(1, np.float32) for i in range(9)}, "at most 1000000 frames"),
    ({"rotation": np.zeros((3, 3, 1), np.float32)}, "at most 1000000 frames"),
]


@pytest.mark.parametrize(("changes", "message"), HOSTILE)
def test_templates_that_are_none_give_one_line(tmp_path, changes, message):
    path = template(tmp_path / "odd.safetensors", **changes)
    with pytest.raises(UsageError, match=message) as caught:
        read_motion_file(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(path)


def raw(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 no safetensors",
        struct.pack("<Q", 2**62) + b"{}",
        raw(b"{not json"),
        raw({"times": {"dtype": "I64", "shape": [2**40], "data_offsets": [0, 8]}}, b"\0" * 8),
        raw({"times": {"dtype": "F8_E4M3", "shape": [8], "data_offsets": [0, 8]}}, b"\0" * 8),
    ],
)
def test_files_that_are_damaged_give_one_line(tmp_path, content):
    path = tmp_path / "odd.safetensors"
    path.write_bytes(content)
    assert is_motion_file(str(path))
    with pytest.raises(UsageError) as caught:
        read_motion_file(str(path))
    assert "\n" not in str(caught.value)


NAMES = [name[0].upper() + name[1:] for name in ARKIT_UNITS]
HEAD = ["HeadYaw", "HeadPitch", "HeadRoll"]
EYES = [f"{side}Eye{angle}" for side in ("Left", "Right") for angle in ("Yaw", "Pitch", "Roll")]


COLUMNS = [*NAMES[::-1], *HEAD, *EYES]


def recording(path, codes, rows=None, names=COLUMNS):
    """As Live Link Face writes it; the columns' order is another one than ARKit's names'."""
    rng = np.random.default_rng(1)
    lines = ["Timecode,BlendshapeCount," + ",".join(names)]
    for place, code in enumerate(codes):
        values = rng.uniform(size=len(names)).round(6) if rows is None else rows[place]
        lines.append(f"{code},61," + ",".join(map(str, values)))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


CODES = ["13:05:22:11.432", "13:05:22:12.447", "13:05:22:59.000", "13:05:23:00.5"]


def test_a_recording_of_live_link_face(tmp_path):
    path = recording(tmp_path / "take.csv", CODES)
    got = read_motion_file(path)
    assert got.motion.basis == "arkit"
    assert got.motion.jaw is None
    frames = [
        Fraction(11432, 1000),
        Fraction(12447, 1000),
        Fraction(59),
        Fraction(60) + Fraction(1, 2),
    ]
    assert got.times == tuple((frame - frames[0]) / 60 for frame in frames)
    table = np.random.default_rng(1).uniform(size=(4, 61)).round(6).astype(np.float32)
    smile = COLUMNS.index("MouthSmileLeft")
    np.testing.assert_array_equal(
        got.motion.expression[:, unit_index("mouthSmileLeft")], table[:, smile]
    )
    yaw, pitch, roll = table[:, 52], table[:, 53], table[:, 54]
    # Upwards is positive there, and negative here.
    np.testing.assert_array_equal(got.motion.rotation, np.stack([-pitch, yaw, roll], axis=1))


def test_a_recordings_rate_midnight_and_repeats(tmp_path):
    codes = ["23:59:59:29", "23:59:59:29", "00:00:00:00"]
    got = read_motion_file(recording(tmp_path / "a.csv", codes), rate=Fraction(30))
    assert got.times == (0, Fraction(1, 30))
    names = [name.lower() for name in (*NAMES, *HEAD)]  # as others write the names
    assert len(read_motion_file(recording(tmp_path / "b.csv", CODES, names=names)).times) == 4


@pytest.mark.parametrize(
    ("codes", "rows", "names", "message"),
    [
        ([], None, NAMES + HEAD, "without a frame"),
        (CODES, None, NAMES, "lacks HeadPitch, HeadYaw, HeadRoll"),
        (CODES, None, HEAD, "lacks BrowDownLeft, BrowDownRight, BrowInnerUp and 49 more"),
        (["13:05"], None, NAMES + HEAD, "expected a timecode such as .*, got '13:05'"),
        (["13:05:22:60"], None, NAMES + HEAD, "frame 60 of a second of 60; say --fps"),
        (CODES[::-1], None, NAMES + HEAD, "line 3: its timecode is before that of"),
        (CODES[:1], [["x"] * 55], NAMES + HEAD, "line 2: HeadPitch: no number: 'x'"),
        (CODES[:1], [["nan"] * 55], NAMES + HEAD, r"within \+-6.283, got nan"),
        (CODES[:1], [["1e400"] * 55], NAMES + HEAD, r"within \+-6.283, got -inf"),
        (CODES[:1], [[5.0] * 55], NAMES + HEAD, r"browDownLeft: expected within \+-2, got 5"),
        (CODES[:1], [[0.0] * 50], NAMES + HEAD, "line 2: 52 columns; HeadPitch is column"),
    ],
)
def test_recordings_that_are_none_give_one_line(tmp_path, codes, rows, names, message):
    path = recording(tmp_path / "odd.csv", codes, rows, names)
    with pytest.raises(UsageError, match=message) as caught:
        read_motion_file(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\0", b"a,b\n" + b"x" * 9000, b'"a'])
def test_no_recordings_at_all(tmp_path, content):
    path = tmp_path / "odd.csv"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        read_motion_file(str(path))
    assert "\n" not in str(caught.value)
