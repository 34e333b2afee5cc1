"""Frames of one clip as avatars know them: codes and motion that stay together, read once."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

from jaxface.data import coded_clips
from jaxface.data.clip_view import Place
from jaxface.data.coded_clips import CodedClips
from jaxface.data.pipelines import DataError
from jaxface.morphable.motion import Motion
from jaxface.suite import Suite

LENGTHS = {"train": (12, 5, 20, 9), "test": (4, 10)}
SIZE = 16


class Records:
    def __init__(self, count):
        self.count, self.read = count, 0

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read += 1
        return {"image": np.full((SIZE, SIZE, 3), index, np.uint8)}


def number_of(images):
    """The records that images are of."""
    return jnp.round((jnp.asarray(images)[:, 0, 0, 0] + 1) * 127.5)


def of_row(images, rows):
    """Codes, poses and expressions that are the frame's number."""
    number = np.asarray(number_of(images))
    codes = np.broadcast_to(number[:, None, None], (len(number), 2, 3))
    return {"w_plus": codes, "pose": np.stack([number, -number], 1), "expression": number[:, None]}


@pytest.fixture
def views(monkeypatch):
    found = {}
    for split, lengths in LENGTHS.items():
        ends = np.cumsum(lengths)
        rows = [range(end - length, end) for end, length in zip(ends, lengths, strict=True)]
        places = tuple(Place(f"id{n:05}", "00000", row) for n, row in enumerate(rows))
        found[split] = types.SimpleNamespace(source=Records(int(ends[-1])), places=places)
    monkeypatch.setattr(coded_clips, "ClipView", lambda path, split: found[split])
    monkeypatch.setattr(coded_clips, "digest_of", lambda path: {"data": path})
    monkeypatch.setattr(coded_clips, "_encode", lambda suite, inversion: of_row)
    return found


def test_a_group_is_of_one_clip_and_its_numbers_belong_together(views, tmp_path):
    data = CodedClips("clips", frames=8, directory=str(tmp_path), chunk=4)
    batches = data.batches(3, ("w_plus", "pose", "expression"), seed=0)
    for _ in range(4):
        batch = next(batches)
        assert batch["w_plus"].shape == (3, 8, 2, 3)
        number = batch["expression"][..., 0]
        np.testing.assert_array_equal(batch["w_plus"][..., 1, 2], number)
        np.testing.assert_array_equal(batch["pose"], np.stack([number, -number], axis=-1))
        for rows in number:
            assert len(set(rows)) == 8
            assert any(set(rows) <= set(place.rows) for place in views["train"].places)
    kept = views["train"].source.read
    assert kept >= sum(length for length in LENGTHS["train"] if length >= 8)
    next(CodedClips("clips", frames=8, directory=str(tmp_path)).batches(3, ("pose",), seed=0))
    assert views["train"].source.read == kept  # they stay on disk


def test_codes_are_of_all_networks_that_read(views, tmp_path, monkeypatch):
    roles = ("deca", "face_model", "flame", "landmarks", "reconstruction")
    suite = Suite("some", dict.fromkeys(("generator", "encoder", *roles), tmp_path / "network"))
    (tmp_path / "network").write_bytes(b"")
    origins = []
    monkeypatch.setattr(coded_clips, "load_suite", lambda name: suite)
    monkeypatch.setattr(Suite, "require", lambda *_: None)
    monkeypatch.setattr(coded_clips, "encoded", lambda *_, origin, chunk: origins.append(origin))
    CodedClips("clips", frames=8)._codes("train")
    assert set(roles) < set(origins[0]["networks"])


def test_the_test_split_is_held_out(views, tmp_path):
    data = CodedClips("clips", frames=8, directory=str(tmp_path))
    held_out = data.held_out()
    assert {name: value.shape for name, value in held_out.items()} == {
        "w_plus": (1, 8, 2, 3),
        "pose": (1, 8, 2),
        "expression": (1, 8, 1),
    }
    assert set(held_out["expression"].ravel()) <= set(range(4, 14))
    np.testing.assert_array_equal(held_out["pose"], data.held_out()["pose"])


def test_what_cannot_be_drawn_is_told(views, tmp_path):
    data = CodedClips("clips", frames=21, directory=str(tmp_path))
    with pytest.raises(DataError, match="no clip of train has 21 frames"):
        data.batches(2, ("pose",), seed=0)
    with pytest.raises(DataError, match="no field image"):
        CodedClips("clips", directory=str(tmp_path)).batches(2, ("image",), seed=0)
    with pytest.raises(ValueError, match="frames and chunk"):
        CodedClips("clips", frames=0)


def test_moved_codes_begin_with_the_middle_of_their_own_clip(views, tmp_path, monkeypatch):
    @struct.dataclass
    class Faces:
        def read(self, images):
            return images

        def motion(self, images):
            number = number_of(images)
            return Motion(number[:, None] * jnp.ones(3), None, number[:, None], basis="basel")

    def begun(settings, networks, images):
        return number_of(images)[:, None, None] * np.ones((1, 2, 3))

    monkeypatch.setattr(coded_clips, "load_suite", lambda name: Suite("some", {}))
    monkeypatch.setattr(coded_clips, "suite_faces", lambda suite: Faces())
    monkeypatch.setattr(coded_clips.encoder, "encode", begun)
    monkeypatch.setattr(coded_clips.encoder.Settings, "networks", lambda *_: None)
    monkeypatch.setattr(coded_clips, "moved", lambda suite, codes, motion: codes)
    monkeypatch.setattr(coded_clips, "reading_roles", lambda suite: ())
    monkeypatch.setattr(Suite, "require", lambda *_: None)
    monkeypatch.setattr(Suite, "digest", lambda *_: "0")
    data = CodedClips("clips", frames=8, directory=str(tmp_path), chunk=4, pivots="moved")
    batch = next(data.batches(3, ("w_plus", "expression"), seed=0))
    for codes, rows in zip(batch["w_plus"], batch["expression"][..., 0], strict=True):
        assert len(np.unique(codes)) == 1
        clip = next(place.rows for place in views["train"].places if rows[0] in place.rows)
        assert codes[0, 0, 0] == clip[len(clip) // 2]
