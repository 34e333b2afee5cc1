"""Tar archives as inputs: WebDataset's shards, read where they lie."""

import io
import pickle
import tarfile

import fsspec
import numpy as np
import pytest
from PIL import Image

from jaxface.errors import UsageError
from jaxface.jobs.inputs.items import find_inputs
from jaxface.media.images import ImageError


def png(shade):
    file = io.BytesIO()
    Image.fromarray(np.full((20, 24, 3), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


def write_tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.fixture(name="shards")
def shards_fixture(tmp_path):
    for shard in range(2):
        members = {}
        for number in range(3):
            members[f"{shard}{number:05}.png"] = png(10 * shard + number)
            members[f"{shard}{number:05}.json"] = b"{}"
        write_tar(tmp_path / f"faces-{shard:03}.tar", members)
    return tmp_path


def level(item):
    return round(float(item.load().pixels.mean() + 1) * 127.5)


@pytest.mark.parametrize("named", ["folder", "glob", "files"])
def test_every_image_of_every_shard_is_an_item(shards, named):
    arguments = {
        "folder": [str(shards)],
        "glob": [f"{shards}/faces-*.tar"],
        "files": [str(shards / f"faces-00{shard}.tar") for shard in range(2)],
    }[named]
    found = find_inputs(arguments)
    assert [item.id for item in found.items] == [
        f"faces-00{shard}.tar/{shard}0000{number}.png" for shard in range(2) for number in range(3)
    ]
    assert [level(item) for item in found.items] == [0, 1, 2, 10, 11, 12]
    assert len(found.remarks) == 2
    assert "passed over 3 files that are no images" in found.remarks[0]
    again = pickle.loads(pickle.dumps(found.items[4]))  # worker processes read
    assert level(again) == 11


def test_shards_of_an_object_store(shards):
    with fsspec.open("memory://bucket/faces-000.tar", "wb") as file:
        file.write((shards / "faces-000.tar").read_bytes())
    for argument in ("memory://bucket/faces-000.tar", "memory://bucket", "memory://bucket/*.tar"):
        found = find_inputs([argument])
        assert [level(item) for item in found.items] == [0, 1, 2]
        assert found.items[0].id == "faces-000.tar/000000.png"


def test_a_folder_with_images_of_its_own_is_one_of_images(shards):
    (shards / "a.png").write_bytes(png(7))
    found = find_inputs([str(shards)])
    assert [item.id for item in found.items] == [f"{shards.name}/a.png"]
    assert "passed over 2 files" in found.remarks[0]


def test_an_archive_that_ends_early_gives_what_it_has(shards):
    whole = (shards / "faces-000.tar").read_bytes()
    cut = shards / "cut.tar"
    # A header and a block for each member: within the third one's block, and after it.
    cut.write_bytes(whole[: 5 * 512 + 20])
    items = find_inputs([str(cut)]).items
    assert level(items[0]) == 0
    assert items[-1].id == f"{shards.name}/cut.tar"
    cut.write_bytes(whole[: 6 * 512])
    found = find_inputs([str(cut)])
    assert [level(item) for item in found.items] == [0, 1]
    assert "no end mark" in found.remarks[0]
    with pytest.raises(ImageError, match="a damaged archive"):
        items[-1].load()
    (shards / "no.tar").write_bytes(b"no archive at all" * 100)
    (item,) = find_inputs([str(shards / "no.tar")]).items
    with pytest.raises(ImageError, match="a damaged archive"):
        item.load()


def test_names_stay_within_the_archive(tmp_path):
    names = {"../up.png": png(1), "/root.png": png(2), "./deep/in.png": png(3), ".x.png": png(4)}
    found = find_inputs([str(write_tar(tmp_path / "odd.tar", names))])
    assert [item.id for item in found.items] == ["odd.tar/deep/in.png"]
    assert "2 files whose names lead out of the archive" in found.remarks[-1]


def test_archives_that_cannot_serve_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no images in this archive, 1 other files"):
        find_inputs([str(write_tar(tmp_path / "text.tar", {"a.txt": b"x"}))])
    (tmp_path / "faces.tar.gz").write_bytes(b"x")
    with pytest.raises(UsageError, match="a compressed archive"):
        find_inputs([str(tmp_path / "faces.tar.gz")])
