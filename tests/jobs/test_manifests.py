"""Collections by manifest and on an object store: the same items, own ids, clear errors."""

import json
import os
import uuid

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jaxface.errors import UsageError
from jaxface.jobs.inputs.items import find_inputs
from jaxface.jobs.storage import names_in, publish, read_bytes, staged, write_bytes, write_new
from jaxface.media.images import UnreadableImageError


@pytest.fixture
def pictures(tmp_path):
    """Two images in tmp_path/photos; returns tmp_path."""
    (tmp_path / "photos").mkdir()
    for index, name in enumerate(("a.png", "b.png")):
        Image.new("RGB", (32, 32), (index, 0, 0)).save(tmp_path / "photos" / name)
    return tmp_path


def listed(path, **options):
    return find_inputs([], manifests=[str(path)], **options).items


def test_text_lists_paths_from_its_own_folder(pictures, monkeypatch):
    (pictures / "list.txt").write_text(
        f"photos/b.png\n\n{pictures}/photos/a.png\nphotos/gone.png\n"
    )
    monkeypatch.chdir("/")
    items = listed(pictures / "list.txt")
    assert [item.id for item in items] == ["photos/b.png", "photos/a.png", "photos/gone.png"]
    assert items[0].load().pixels.shape == (32, 32, 3)
    with pytest.raises(UnreadableImageError):
        items[2].load()


def test_columns_and_given_ids(pictures):
    rows = [{"file": "photos/a.png", "id": "anna"}, {"file": "photos/b.png", "id": "x/bert"}]
    (pictures / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pq.write_table(pa.Table.from_pylist(rows), pictures / "list.parquet")
    for name in ("list.jsonl", "list.parquet"):
        items = listed(pictures / name, column="file")
        assert [item.id for item in items] == ["anna", "x/bert"]
        assert [os.path.basename(item.path) for item in items] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list.txt", "", "lists no paths"),
        ("list.jsonl", '{"file": "a.png"}\n', "no 'path' .there: file.*--column"),
        ("list.jsonl", '{"path": "a.png"}\n{oops\n', "line 2: no JSON"),
        ("list.jsonl", '{"path": 3}\n', "line 1: expected a path"),
        ("list.jsonl", '{"path": "a.png", "id": "../a"}\n', "expected an id"),
        ("list.jsonl", '{"path": "a", "id": "x"}\n{"path": "b", "id": "x"}\n', "given to both"),
        ("list.parquet", "PAR1 not really", "no Parquet file"),
    ],
)
def test_wrong_manifests_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        listed(tmp_path / name)
    with pytest.raises(UsageError, match="cannot be read"):
        listed(tmp_path / "absent.txt")


@pytest.fixture
def bucket():
    """The URL of a fresh folder in fsspec's memory, which stands in for an object store."""
    files = fsspec.filesystem("memory")
    name = f"bucket-{uuid.uuid4().hex}"
    files.makedirs(f"/{name}")
    yield f"memory://{name}"
    files.rm(f"/{name}", recursive=True)


def test_object_store_is_read_like_a_folder(bucket, pictures):
    for name in ("a.png", "b.png"):
        write_bytes(f"{bucket}/photos/x/{name}", (pictures / "photos" / name).read_bytes())
    write_bytes(f"{bucket}/photos/notes.txt", b"hello")
    write_bytes(f"{bucket}/photos/out/r.png", b"ours")
    inputs = find_inputs([f"{bucket}/photos"], outside=f"{bucket}/photos/out")
    assert [item.id for item in inputs.items] == ["photos/x/a.png", "photos/x/b.png"]
    assert "notes.txt" in inputs.remarks[0]
    assert inputs.items[1].load().pixels[0, 0, 0] == pytest.approx(2 / 255 - 1)
    (named,) = find_inputs([f"{bucket}/photos/x/a.png"]).items
    assert named.id == "x/a.png"
    globbed = find_inputs([f"{bucket}/photos/x/*.png"]).items
    assert [item.id for item in globbed] == ["x/a.png", "x/b.png"]
    write_bytes(f"{bucket}/list.txt", b"photos/x/b.png\nphotos/x/gone.png\n")
    listed_here = listed(f"{bucket}/list.txt")
    np.testing.assert_array_equal(listed_here[0].load().pixels, inputs.items[1].load().pixels)
    with pytest.raises(UnreadableImageError):
        listed_here[1].load()


@pytest.mark.parametrize(
    ("path", "message"),
    [("nothing", "no such file or folder"), ("*.png", "matches no file"), ("set", "local folder")],
)
def test_wrong_urls_are_refused(bucket, path, message):
    write_bytes(f"{bucket}/set/dataset_info.json", b"{}")
    with pytest.raises(UsageError, match=message):
        find_inputs([f"{bucket}/{path}"])
    with pytest.raises(UsageError, match="nosuch"):
        find_inputs(["nosuch://bucket/x"])


@pytest.mark.parametrize("remote", [False, True])
def test_a_name_is_given_once_and_whole(bucket, tmp_path, remote):
    folder = bucket if remote else str(tmp_path)
    assert names_in(f"{folder}/new") == []
    assert write_new(f"{folder}/new/a", b"1")
    assert not write_new(f"{folder}/new/a", b"2")
    assert read_bytes(f"{folder}/new/a") == b"1"
    write_bytes(f"{folder}/new/a", b"3")
    assert read_bytes(f"{folder}/new/a") == b"3"

    def half():
        with staged(f"{folder}/new/b") as temporary, open(temporary, "wb") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    with staged(f"{folder}/new/c") as temporary:
        with open(temporary, "wb") as file:
            file.write(b"whole")
        assert names_in(f"{folder}/new")[-1] == "a"
        assert publish(temporary, f"{folder}/new/c")
    assert names_in(f"{folder}/new") == ["a", "c"]


@pytest.mark.parametrize("name", ["list.txt", "list.jsonl", "list.parquet", "list.tar"])
def test_pipes_and_devices_are_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    (tmp_path / f"zero-{name}").symlink_to("/dev/zero")
    for place in (tmp_path / name, tmp_path / f"zero-{name}"):
        tar = name.endswith("tar")
        with pytest.raises(UsageError):
            find_inputs([str(place)] if tar else [], manifests=[] if tar else [str(place)])


def test_a_pipe_that_somebody_writes_to_is_a_manifest():
    reading, writing = os.pipe()
    os.write(writing, b"/nowhere/a.png\n/nowhere/b.png\n")
    os.close(writing)
    items = find_inputs([], manifests=[f"/dev/fd/{reading}"]).items
    os.close(reading)
    assert [item.id for item in items] == ["nowhere/a.png", "nowhere/b.png"]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.jsonl", b"[" * 100_000, "nested too deeply"),
        ("a.jsonl", b'{"path":' * 50_000, "nested too deeply"),
        ("a.txt", b"x" * (2 << 20), "no manifest"),
        ("a.parquet", b"PAR1" + bytes(40) + b"PAR1", "damaged, or no Parquet"),
        ("a.parquet", b"", "damaged, or no Parquet"),
    ],
)
def test_damaged_manifests_are_one_line(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UsageError, match=message) as error:
        find_inputs([], manifests=[str(tmp_path / name)])
    assert str(error.value).isprintable()


def test_a_byte_order_mark_is_no_part_of_a_path(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbf/nowhere/a.png\n")
    assert find_inputs([], manifests=[str(tmp_path / "a.txt")]).items[0].id == "nowhere/a.png"
