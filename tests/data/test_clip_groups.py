"""Groups of frames: who is in them, exact resumption, the same on any number of processes."""

import json
import types

import jax
import numpy as np
import pytest

from jaxface.data import sources
from jaxface.data.clip_groups import (
    OnePerson,
    TwoOfOneClip,
    TwoPersons,
    Window,
    group_batches,
    numbered_groups,
)
from jaxface.data.clip_view import Place
from jaxface.data.pipelines import ArraySource, DataError
from jaxface.data.synthetic_clips import ClipsConfig, generate
from tests.data import test_synthetic_clips

# Persons with one, two and three clips of different lengths.
LENGTHS = {"anna": (5,), "bob": (3, 9), "carl": (4, 6, 1)}


def made_view():
    places, columns, first = [], {"person": [], "clip": [], "frame": []}, 0
    for person, (name, lengths) in enumerate(LENGTHS.items()):
        for clip, length in enumerate(lengths):
            places.append(Place(name, f"{name}{clip}", range(first, first + length)))
            first += length
            columns["person"] += [person] * length
            columns["clip"] += [clip] * length
            columns["frame"] += range(length)
    source = ArraySource({name: np.array(column) for name, column in columns.items()})
    persons = tuple(LENGTHS)
    return types.SimpleNamespace(
        source=source, places=tuple(places), persons=persons, split="train"
    )


FIELDS = ("person", "clip", "frame")
GROUPS = [TwoOfOneClip(), TwoOfOneClip(apart=3), TwoPersons(), OnePerson(4), Window(3, every=2)]


def drawn(group, count, **options):
    options = {"batch_size": 4, "seed": 5, "fields": FIELDS} | options
    data = group_batches(made_view(), group, **options)
    found = [next(data) for _ in range(count)]
    return {name: np.concatenate([batch[name] for batch in found]) for name in FIELDS}


def test_two_frames_of_one_clip():
    for apart in (1, 3):
        got = drawn(TwoOfOneClip(apart), 10, batch_size=16)
        for name in ("person", "clip"):
            np.testing.assert_array_equal(got[name][:, 0], got[name][:, 1])
        steps = np.diff(got["frame"])[:, 0]
        assert np.abs(steps).min() == apart
        assert (steps > 0).any()
        assert (steps < 0).any()
        of_anna = np.sort(got["frame"][got["person"][:, 0] == 0], axis=1)
        pairs = {tuple(pair) for pair in of_anna.tolist()}
        assert pairs == {(a, b) for a in range(5) for b in range(a + apart, 5)}
    # Of six clips the one of a single frame has no pair: an epoch is the other five.
    epoch = drawn(TwoOfOneClip(), 1, batch_size=5)
    assert len(set(zip(epoch["person"][:, 0], epoch["clip"][:, 0], strict=True))) == 5


def test_two_persons():
    got = drawn(TwoPersons(), 40)
    assert (got["person"][:, 0] != got["person"][:, 1]).all()
    assert {tuple(pair) for pair in got["person"].tolist()} == {
        (a, b) for a in range(3) for b in range(3) if a != b
    }


def test_frames_of_one_person():
    got = drawn(OnePerson(4), 10, batch_size=16)
    assert got["person"].shape == (160, 4)
    assert (got["person"] == got["person"][:, :1]).all()
    for person, clip, frame in zip(*(got[name] for name in FIELDS), strict=True):
        assert len({*zip(person, clip, frame, strict=True)}) == 4
    assert {*got["clip"][got["person"] == 2]} == {0, 1, 2}  # of all clips
    first = drawn(OnePerson(4), 1, batch_size=3)
    assert {*first["person"][:, 0]} == {0, 1, 2}  # everybody once an epoch


def test_windows_follow_each_other():
    got = drawn(Window(3, every=2), 10, batch_size=16)
    assert (np.diff(got["frame"]) == 2).all()
    assert (np.diff(got["clip"]) == 0).all()
    assert {*got["frame"][got["person"][:, 0] == 0][:, 0]} == {0}
    assert {*got["frame"][(got["person"] == 1)[:, 0]][:, 0]} == set(range(5))


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_a_position_brings_back_the_groups(group):
    options = {"batch_size": 4, "seed": 3, "fields": FIELDS}
    data = group_batches(made_view(), group, **options)
    for _ in range(5):
        next(data)
    position = json.loads(json.dumps(data.get_state()))
    expected = [next(data) for _ in range(4)]
    later = group_batches(made_view(), group, **options)
    later.set_state(position)
    for batch in expected:
        for name, values in next(later).items():
            np.testing.assert_array_equal(values, batch[name])


@pytest.mark.parametrize("group", GROUPS, ids=str)
def test_groups_do_not_depend_on_the_number_of_processes(monkeypatch, group):
    options = {"batch_size": 4, "seed": 3, "fields": FIELDS}
    alone = group_batches(made_view(), group, **options)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    shares = []
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        shares.append(group_batches(made_view(), group, **options))
    for _ in range(6):
        whole, parts = next(alone), [next(share) for share in shares]
        for name, values in whole.items():
            np.testing.assert_array_equal(values, np.concatenate([part[name] for part in parts]))


def test_held_out_groups_are_always_the_same():
    one, other = (
        numbered_groups(made_view(), TwoOfOneClip(), count=12, seed=seed, fields=FIELDS)
        for seed in (0, 0)
    )
    assert one["frame"].shape == (12, 2)
    for name in FIELDS:
        np.testing.assert_array_equal(one[name], other[name])
    fewer = numbered_groups(made_view(), TwoOfOneClip(), count=5, seed=0, fields=FIELDS)
    np.testing.assert_array_equal(fewer["frame"], one["frame"][:5])


@pytest.mark.parametrize(
    ("group", "words"),
    [
        (lambda: TwoOfOneClip(20), "no clip of train has 21 frames"),
        (lambda: Window(10), "no clip of train has 10 frames"),
        (lambda: OnePerson(13), "nobody in train has so many"),
        (lambda: Window(0), "expected at least 1, got {'frames': 0}"),
        (lambda: TwoOfOneClip(0), "expected at least 1"),
    ],
)
def test_groups_that_cannot_be_are_refused(group, words):
    with pytest.raises(DataError, match=words):
        group().anchors(made_view())


def test_mistakes_are_named():
    alone = made_view()
    alone.persons = ("anna",)
    with pytest.raises(DataError, match="train shows one person, anna"):
        TwoPersons().anchors(alone)
    with pytest.raises(DataError, match="no field \\['face'\\]"):
        group_batches(made_view(), TwoPersons(), batch_size=2, seed=0, fields=("face",))


def test_a_source_of_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(test_synthetic_clips.synthetic_clips, "_frames", test_synthetic_clips.drawn)
    folder = generate(ClipsConfig(**test_synthetic_clips.CONFIG), tmp_path)
    source = sources.ClipGroups(str(folder), TwoOfOneClip(), num_test=3)
    batch = next(source.batches(2, ("image", "face"), seed=0))
    assert batch["image"].shape == (2, 2, 16, 16, 3)
    assert batch["face"].shape == (2, 2, 257)
    held_out = source.held_out()
    assert held_out["image"].shape == (3, 2, 16, 16, 3)
    assert (held_out["person"] == 3).all()  # the test split's
    assert source.classes is None
    assert sources.ClipGroups(str(folder), TwoOfOneClip(), num_test=0).held_out() is None
    with pytest.raises(DataError, match="no TFDS data set here"):
        sources.ClipGroups(str(tmp_path), TwoOfOneClip()).held_out()
