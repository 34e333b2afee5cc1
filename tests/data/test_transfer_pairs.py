"""Pairs of two persons' frames: who is with whom, and codes that are encoded once."""

import types

import numpy as np
import pytest

from jaxface.data import identity_codes, transfer_pairs
from jaxface.data.clip_view import Place
from jaxface.data.identity_codes import encoded
from jaxface.data.pipelines import DataError
from jaxface.data.transfer_pairs import TransferPairs, kept_frames, sampled_frames

# Clips of each person, and their lengths. A frame's image says which record it is.
LENGTHS = {"anna": (50, 30), "bob": (40, 5, 60), "carl": (36,), "dora": (48, 48), "eric": (60,)}
SIZE = 16


class Records:
    def __init__(self, count):
        self.count, self.read = count, []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.read.append(index)
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        image[..., 0], image[..., 1] = index % 256, index // 256
        return {"image": image}


def made_view():
    places, first = [], 0
    for name, lengths in LENGTHS.items():
        for clip, length in enumerate(lengths):
            places.append(Place(name, f"{clip:05}", range(first, first + length)))
            first += length
    persons = tuple(LENGTHS)
    return types.SimpleNamespace(
        source=Records(first), places=tuple(places), persons=persons, split="train"
    )


def number_of(images):
    """The records that images are of."""
    return np.asarray(images)[..., 0, 0, 0] + 256.0 * np.asarray(images)[..., 0, 0, 1]


def row_code(images, rows=None):
    """A code that is the frame's number, and an angle that grows with it."""
    number = number_of(np.round((np.asarray(images) + 1) * 127.5))
    codes = np.broadcast_to(number[:, None, None], (len(number), 2, 3))
    angles = np.stack([number / 4, -number / 8], axis=1)
    return {"w_plus": np.float32(codes), "angles": np.float32(angles)}


class Suite:
    name = "toy"

    def require(self, roles):
        assert set(roles) == {"generator", "encoder"}

    def digest(self, role):
        return role

    def __contains__(self, role):
        return role == "reconstruction"


@pytest.fixture
def view(monkeypatch):
    made = made_view()
    monkeypatch.setattr(transfer_pairs, "ClipView", lambda path, split: made)
    monkeypatch.setattr(transfer_pairs, "load_suite", lambda name: Suite())
    monkeypatch.setattr(transfer_pairs, "_encode", lambda *_: row_code)
    return made


def pairs(tmp_path, **changes):
    options = {"num_validation": 2, "max_yaw": None, "max_pitch": None, "directory": str(tmp_path)}
    return TransferPairs("clips", **(options | changes))


def person_of(view, row):
    (found,) = [place for place in view.places if row in place.rows]
    return found.person, found.clip


def rows_of(batches, name):
    values = np.concatenate([batch[name] for batch in batches])
    return number_of(values) if name.endswith("source") else values[:, 0, 0]


FIELDS = ("source", "identity", "other_source", "other_identity")


@pytest.mark.parametrize("target_from", ["clip", "identity"])
def test_who_is_with_whom(target_from, view, tmp_path):
    data = pairs(tmp_path, target_from=target_from)
    stream = data.batches(8, FIELDS, seed=1)
    found = [next(stream) for _ in range(25)]
    assert set(found[0]) == set(FIELDS)
    assert found[0]["source"].dtype == np.uint8
    assert found[0]["identity"].shape == (8, 2, 3)
    source, target, other, other_target = (rows_of(found, name) for name in FIELDS)
    apart = data._persons[1]
    same_clip = []
    for s, t, os, ot in zip(source, target, other, other_target, strict=True):
        (a, clip), (b, other_clip) = person_of(view, s), person_of(view, os)
        assert a != b
        assert a not in apart
        assert b not in apart
        assert person_of(view, t)[0] == a
        assert person_of(view, ot)[0] == b
        same_clip.append(person_of(view, t)[1] == clip and person_of(view, ot)[1] == other_clip)
        if target_from == "clip":
            assert s != t
            assert os != ot
    assert all(same_clip) if target_from == "clip" else not all(same_clip)


def test_a_driving_frame_and_its_own_code(view, tmp_path):
    found = next(pairs(tmp_path).batches(8, ("source", "source_identity"), seed=1))
    assert rows_of([found], "source").tolist() == found["source_identity"][:, 0, 0].tolist()


def test_the_frames_of_a_clip(view, tmp_path):
    settings = pairs(tmp_path, every=12, frames=3, clips=1)
    found = sampled_frames(settings, view.places, {"anna", "bob"})
    assert [clip.person for clip in found] == ["anna", "bob"]
    assert found[0].rows.tolist() == [0, 12, 24]
    # A clip of five frames gives one, and no pair.
    found = sampled_frames(pairs(tmp_path), view.places, {"bob"})
    assert [len(clip.rows) for clip in found] == [4, 5]


def test_batches_come_back(view, tmp_path):
    first = pairs(tmp_path).batches(4, FIELDS, seed=3)
    next(first)
    position = first.get_state()
    expected = next(first)
    again = pairs(tmp_path).batches(4, FIELDS, seed=3)
    again.set_state(position)
    found = next(again)
    for name in FIELDS:
        np.testing.assert_array_equal(found[name], expected[name])


def test_codes_are_encoded_once(view, tmp_path, monkeypatch):
    calls = []

    def counted(images, rows):
        calls.append(len(images))
        return row_code(images)

    monkeypatch.setattr(transfer_pairs, "_encode", lambda *_: counted)
    rows = len(pairs(tmp_path, chunk=4)._codes.rows)
    assert calls == [4] * -(-rows // 4)
    stored = pairs(tmp_path, chunk=4)._codes
    assert sum(calls) // 4 == -(-rows // 4)
    for row in stored.rows:
        assert (stored.get("w_plus", int(row)) == row).all()
    with pytest.raises(DataError, match="has no code"):
        stored.get("w_plus", 1)
    # Another encoder, other codes.
    other = {"networks": "others"}
    again = encoded(tmp_path, view.source, stored.rows, counted, origin=other, chunk=4)
    assert again.folder != stored.folder


def test_encoding_goes_on_where_it_was_killed(view, tmp_path, monkeypatch):
    monkeypatch.setattr(identity_codes, "SHARD", 8)
    calls = []

    def killed(images, rows):
        calls.append(images)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return row_code(images)

    rows = np.arange(20)
    options = {"origin": {"n": 1}, "chunk": 4}
    with pytest.raises(KeyboardInterrupt):
        encoded(tmp_path, view.source, rows, killed, **options)
    done = encoded(tmp_path, view.source, rows, killed, **options)
    assert len(calls) == 4 + 3  # the second file of two chunks anew, and the third
    np.testing.assert_array_equal(done.column("w_plus")[:, 0, 0], rows)
    assert not list(tmp_path.rglob("*.part"))


def test_extreme_angles_are_left_out(view, tmp_path, capsys):
    data = pairs(tmp_path, max_yaw=30.0)
    mild = kept_frames(data, data._training, data._codes)
    for clip in mild:
        assert (clip.rows / 4 <= 30).all()
        assert len(clip.rows) >= 2
    assert "Left out" in capsys.readouterr().err
    data = pairs(tmp_path, max_yaw=0.1)
    with pytest.raises(DataError, match="raise"):
        kept_frames(data, data._training, data._codes)


def test_validation_is_of_other_persons(view, tmp_path):
    data = pairs(tmp_path, window=20)
    held_out = data.held_out()
    apart = data._persons[1]
    assert len(apart) == 2
    assert held_out["driving"].shape == (2, 20, SIZE, SIZE, 3)
    for driving, target, code in zip(*held_out.values(), strict=True):
        assert (np.diff(number_of(driving)) == 1).all()
        assert code[0, 0] == number_of(target)
    again = pairs(tmp_path, window=20).held_out()
    for name, value in held_out.items():
        np.testing.assert_array_equal(again[name], value)
    assert pairs(tmp_path, num_validation=0).held_out() is None


def test_wrong_settings_are_refused(view, tmp_path):
    with pytest.raises(ValueError, match="num_validation 0 or >= 2"):
        pairs(tmp_path, num_validation=1)
    with pytest.raises(ValueError, match="target_from must be"):
        pairs(tmp_path, target_from="video")
    with pytest.raises(DataError, match="no field face"):
        pairs(tmp_path).batches(2, ("face",), seed=0)
    with pytest.raises(DataError, match="4 of them kept apart"):
        pairs(tmp_path, num_validation=4).held_out()
