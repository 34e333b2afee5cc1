"""Layouts: each is recognised among all, with the right persons, splits and places."""

import dataclasses
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from jaxface.data.clips import single_persons
from jaxface.data.clips.layouts import LAYOUTS, list_clips
from jaxface.data.clips.listing import LayoutError, read_manifest, with_splits, write_manifest
from jaxface.data.clips.reading import open_listed
from jaxface.data.clips.voxceleb import read_annotation
from jaxface.errors import UsageError


def touch(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def image(path, side=16, shade=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((side, side, 3), shade, np.uint8)).save(path)


def listed(root, **options):
    listing, absent = list_clips(root, **options)
    return listing, absent


def rows(listing):
    return [(clip.split, clip.identity, clip.clip, clip.path) for clip in listing.clips]


def annotation(path, frames, boxes):
    path.parent.mkdir(parents=True, exist_ok=True)
    head = ["Identity  : \tid10001", "Reference : \tabc", "Offset : \t-1", "FV Conf : \t9.9"]
    lines = [*head, "ASD Conf : \t1.0", "", "FRAME \tX \tY \tW \tH "]
    lines += [
        "\t".join([f"{frame:06} ", *(f"{value} " for value in box)])
        for frame, box in zip(frames, boxes, strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")


def test_voxceleb_as_published(tmp_path):
    touch(
        tmp_path, "dev/mp4/id00012/21Uxsk56VDQ/00001.mp4", "dev/aac/id00012/21Uxsk56VDQ/00001.m4a"
    )
    touch(
        tmp_path, "dev/mp4/id00012/21Uxsk56VDQ/00002.mp4", "test/mp4/id00017/01dfn2spqyE/00001.mp4"
    )
    listing, absent = listed(tmp_path)
    assert listing.layout == "vox"
    assert absent == ()
    assert rows(listing) == [
        (split, person, f"{person}/{video}/{number}", f"{part}/mp4/{person}/{video}/{number}.mp4")
        for split, part, person, video, number in [
            ("train", "dev", "id00012", "21Uxsk56VDQ", "00001"),
            ("train", "dev", "id00012", "21Uxsk56VDQ", "00002"),
            ("test", "test", "id00017", "01dfn2spqyE", "00001"),
        ]
    ]
    assert listing.identities == ("id00012", "id00017")
    alone, _ = listed(tmp_path / "dev")  # no test split of its own: one person is not divided
    assert [clip.split for clip in alone.clips] == ["train", "train"]


def test_voxceleb_annotations_become_tubes(tmp_path):
    frames = np.arange(100, 300)
    still = np.tile([40, 60, 80, 100], (200, 1))
    moved = still + [[100, 0, 0, 0]] * (np.arange(200) >= 130)[:, None]
    annotation(tmp_path / "txt/id10270/abc/00001.txt", frames, moved)
    annotation(tmp_path / "txt/id10270/gone/00007.txt", frames[:64], still[:64])
    annotation(tmp_path / "txt/id10271/abc/00002.txt", frames[:20], still[:20])
    annotation(tmp_path / "txt/id10271/abc/00003.txt", frames[:64], still[:64] / 400)
    touch(tmp_path, "videos/abc.webm")
    listing, absent = listed(tmp_path, test_share=0)
    assert absent == ("videos/gone.mp4",)
    assert "1 utterances without 64 frames in one place were left out: id10271/abc/00002" in (
        listing.remarks
    )
    first, second, third = listing.clips
    assert (first.clip, first.start, first.end) == ("id10270/abc/00001#000", 4.0, 9.2)
    assert (second.clip, second.start, second.end) == ("id10270/abc/00001#001", 9.2, 12.0)
    assert first.box == (32, 50, 128, 170)  # a tenth more on every side
    assert first.lines == 360
    assert third.lines is None  # shares of the frame, as VoxCeleb2 has them
    np.testing.assert_allclose(third.box, [0.08, 0.125, 0.32, 0.425], atol=1e-6)
    with pytest.raises(LayoutError, match="--max-missing allows 0"):
        listed(tmp_path, max_missing=0)


def test_a_table_that_is_none_is_refused(tmp_path):
    path = tmp_path / "00001.txt"
    for text in ("nothing", "FRAME \tX\n1 2 3", "FRAME X Y W H\na b c d e"):
        path.write_text(text)
        with pytest.raises(LayoutError, match="FRAME X Y W H"):
            read_annotation(path)


def test_fomm(tmp_path):
    touch(tmp_path, "train/id10001#7w0I#000993#001143.mp4", "train/README.txt", "vox-metadata.csv")
    image(tmp_path / "test/id10280#NXjT#001093#001192.mp4/0000000.png")
    listing, _ = listed(tmp_path)
    assert listing.layout == "fomm"
    names = ["id10001#7w0I#000993#001143", "id10280#NXjT#001093#001192"]
    assert rows(listing) == [
        ("train", "id10001", names[0], f"train/{names[0]}.mp4"),
        ("test", "id10280", names[1], f"test/{names[1]}.mp4"),
    ]
    assert [clip.fps for clip in listing.clips] == [None, 25]


def test_stelabou(tmp_path):
    for frame in (25, 50):
        image(tmp_path / f"id10271/37nk/frames_cropped/00_{frame:06}.png")
    image(tmp_path / "id10271/37nk/frames_cropped/01_000300.png")
    touch(tmp_path, "id10271/37nk/chunk_videos/37nk#00001#257-396.mp4")
    touch(tmp_path, "id10273/Zjc7/chunk_videos/Zjc7#00002#10-99.mp4")
    listing, _ = listed(tmp_path, test_share=0)
    assert listing.layout == "stelabou"
    assert [clip.clip for clip in listing.clips] == [
        "id10271/37nk/00",
        "id10271/37nk/01",
        "id10273/Zjc7/Zjc7#00002#10-99",
    ]
    assert listing.clips[0].path == "id10271/37nk/frames_cropped/00_*.png"
    assert listing.remarks == ("1 videos that are not cropped: --align finds their faces",)


def test_nha(tmp_path):
    for number in (0, 1, 2, 4, 5, 6):
        image(tmp_path / f"person_0/frame_{number:04}/image_0000.png")
        touch(tmp_path, f"person_0/frame_{number:04}/keypoints_static_0000.json")
    (tmp_path / "person_0/split.json").write_text(
        json.dumps({"train": [0, 1, 2, 3, 4], "val": [5, 6]})
    )
    for root in (tmp_path, tmp_path / "person_0"):
        listing, _ = listed(root)
        assert listing.layout == "nha"
        parts = [(clip.split, clip.first, clip.last) for clip in listing.clips]
        assert parts == [("train", 0, 3), ("train", 4, 5), ("test", 5, 7)]
        assert {clip.identity for clip in listing.clips} == {"person_0"}
        assert any("not there: 3" in remark for remark in listing.remarks)
        assert any("in both splits" in remark for remark in listing.remarks)
    (tmp_path / "person_0/split.json").write_text("{}")
    with pytest.raises(LayoutError, match="lists of frames train and val"):
        listed(tmp_path)


def test_nerfblendshape(tmp_path, monkeypatch):
    monkeypatch.setattr(single_persons, "NERF_TEST", 2)
    for number in range(5):
        image(tmp_path / f"dataset/id1/ori_imgs/{number}.jpg")
        image(tmp_path / f"dataset/id1/head_imgs/{number}.jpg")
        touch(tmp_path, f"dataset/id1/ori_imgs/{number}.lms")
        if number < 2:
            image(tmp_path / f"dataset/id2/head_imgs/{number}.jpg")
    touch(tmp_path, "dataset/id1/transforms.json", "dataset/id2/transforms.json")
    listing, _ = listed(tmp_path)
    assert listing.layout == "nerfblendshape"
    assert [(c.clip, c.first, c.last, c.path, c.landmarks) for c in listing.clips] == [
        ("id1/train", 0, 3, "dataset/id1/ori_imgs/*.jpg", "dataset/id1/ori_imgs/*.lms"),
        ("id2/train", 0, 2, "dataset/id2/head_imgs/*.jpg", None),
        ("id1/test", 3, 5, "dataset/id1/ori_imgs/*.jpg", "dataset/id1/ori_imgs/*.lms"),
    ]


@pytest.mark.parametrize("kind", ["folder", "images", "zip", "beside"])
def test_ffhq(tmp_path, kind):
    release = tmp_path / "ffhq"
    metadata = {
        str(n): {"category": category, "image": {"face_landmarks": [], "pixel_size": [1024, 1024]}}
        for n, category in ((3, "training"), (1002, "validation"), (1003, "training"))
    }
    for number in (3, 1002):
        image(release / f"images1024x1024/{number // 1000 * 1000:05}/{number:05}.png")
    (release / "ffhq-dataset-v2.json").write_text(json.dumps(metadata))
    source, inside = release, "images1024x1024"
    if kind == "images":
        source = release / "images1024x1024"
    if kind in ("zip", "beside"):
        archive = release / "images1024x1024.zip"
        with zipfile.ZipFile(archive, "w") as file:
            for path in sorted((release / "images1024x1024").rglob("*.png")):
                file.write(path, path.relative_to(release))
                path.unlink()
        inside = "images1024x1024.zip/images1024x1024"
        source = archive if kind == "zip" else release
    listing, absent = listed(source)
    assert listing.layout == "ffhq"
    assert rows(listing) == [
        ("train", "00003", "00003", f"{inside}/00000/00003.png"),
        ("test", "01002", "01002", f"{inside}/01000/01002.png"),
    ]
    assert absent == (f"{inside}/01000/01003.png",)
    assert {clip.landmarks for clip in listing.clips} == {"ffhq-dataset-v2.json"}


def test_a_damaged_archive_is_told_by_name(tmp_path):
    archive, manifest = tmp_path / "images1024x1024.zip", tmp_path / "clips.jsonl"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("images1024x1024/00000/00003.png", b"0" * 100)
    listing, _ = listed(archive)
    whole = archive.read_bytes()
    archive.write_bytes(whole[:70] + b"1" + whole[71:])
    with (
        pytest.raises(LayoutError, match=r"images1024x1024\.zip: no archive .* Bad CRC"),
        open_listed(listing, listing.clips[0]),
    ):
        pass
    archive.write_bytes(whole[:60])
    write_manifest(manifest, listing)
    with pytest.raises(LayoutError, match=r"images1024x1024\.zip: no archive that can be read"):
        listed(manifest)


def test_own_videos_and_folders(tmp_path):
    touch(tmp_path, "anna/2024/talk10.mov", "anna/talk2.mp4", "solo.webm", ".hidden/x.mp4")
    image(tmp_path / "anna/portrait.png")
    listing, _ = listed(tmp_path, test_share=0)
    assert listing.layout == "video"
    assert [(clip.identity, clip.clip) for clip in listing.clips] == [
        ("anna", "anna/2024/talk10.mov"),
        ("anna", "anna/talk2.mp4"),
        ("solo", "solo.webm"),
    ]
    assert listing.remarks == ("1 images beside the videos were passed over",)
    folders, _ = listed(tmp_path, layout="folder", fps=12.5)
    assert [(clip.identity, clip.path, clip.fps) for clip in folders.clips] == [
        ("anna", "anna", 12.5)
    ]
    assert listed(tmp_path / "solo.webm")[0].clips[0].clip == "solo"


def test_what_is_no_layout_says_so(tmp_path):
    with pytest.raises(LayoutError, match=r"no clips in this layout \(tried vox, fomm"):
        listed(tmp_path)
    with pytest.raises(UsageError, match="did you mean 'fomm'"):
        listed(tmp_path, layout="fom")
    with pytest.raises(UsageError, match="no such file or folder"):
        listed(tmp_path / "nowhere")
    touch(tmp_path, "a.mp4")
    for layout in set(LAYOUTS) - {"video"}:
        with pytest.raises(LayoutError, match=layout):
            listed(tmp_path, layout=layout)


def test_splits_are_by_person(tmp_path):
    names = [f"p{person}/{clip}.mp4" for person in range(20) for clip in range(3)]
    touch(tmp_path, *names)
    listing, _ = listed(tmp_path, test_share=0.2)
    persons = {
        split: {clip.identity for clip in listing.clips if clip.split == split}
        for split in ("train", "test")
    }
    assert len(persons["test"]) == 4
    assert not persons["train"] & persons["test"]
    for person in range(20):  # the number of clips does not matter
        (tmp_path / f"p{person}/0.mp4").unlink()
    fewer, _ = listed(tmp_path, test_share=0.2)
    assert {clip.identity for clip in fewer.clips if clip.split == "test"} == persons["test"]
    assert all(clip.split == "train" for clip in listed(tmp_path, test_share=0)[0].clips)
    two = dataclasses.replace(
        listing,
        clips=tuple(
            dataclasses.replace(clip, split=None)
            for clip in listing.clips
            if clip.identity in ("p1", "p2")
        ),
    )
    assert {clip.split for clip in with_splits(two, test_share=0.1).clips} == {"train", "test"}
    with pytest.raises(LayoutError, match="below 1, got 1"):
        with_splits(two, test_share=1)


def test_a_manifest_stands_for_its_collection(tmp_path):
    touch(tmp_path, "set/a.mp4", "set/b/c.mp4", "here.mp4")
    listing, _ = listed(tmp_path / "set")
    boxed = dataclasses.replace(listing.clips[0], box=(0.25, 0.0, 0.5, 1.0), start=1.5)
    listing = dataclasses.replace(listing, clips=(boxed, *listing.clips[1:]))
    path = tmp_path / "other" / "clips.jsonl"
    write_manifest(path, listing)
    again, absent = listed(path)
    assert absent == ()
    assert [dataclasses.replace(clip, path="") for clip in again.clips] == [
        dataclasses.replace(clip, path="") for clip in listing.clips
    ]
    assert [again.where(clip.path).is_file() for clip in again.clips] == [True, True]
    path.write_text('{"clip": "x", "identity": "me", "path": "../here.mp4"}\n\n')
    assert [clip.split for clip in listed(path)[0].clips] == ["train"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", "line 1: expected an object with clip"),
        ("{", "line 1: no JSON"),
        ('{"clip": "x", "identity": "i", "path": 3}', "path cannot be 3"),
        ('{"clip": "x", "identity": "i", "path": "p", "ends": 3}', "unknown ends"),
        ('{"clip": "x", "identity": "i", "path": "p", "split": "dev"}', "train or test"),
        ('{"clip": "x", "identity": "i", "path": "p", "box": [1, 2, 0, 3]}', "left, top"),
        ("", "lists no clips"),
    ],
)
def test_a_wrong_manifest_names_its_line(tmp_path, line, message):
    path = tmp_path / "clips.jsonl"
    path.write_text(line)
    with pytest.raises(LayoutError, match=message):
        read_manifest(path)


def test_names_are_of_one_clip_each(tmp_path):
    path = tmp_path / "clips.jsonl"
    path.write_text('{"clip": "x", "identity": "i", "path": "p"}\n' * 2)
    with pytest.raises(LayoutError, match="the name of 2 clips"):
        read_manifest(path)
