"""What arguments name: ids that depend on the item alone, and calls that are refused."""

import io
import os
import pickle

import numpy as np
import pytest
from PIL import Image

from jaxface.errors import UsageError
from jaxface.jobs.inputs.items import find_inputs
from jaxface.media.images import NotAnImageError, to_uint8


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A folder `photos` with a subfolder, an empty folder, a text file and a hidden file."""
    monkeypatch.chdir(tmp_path)
    image = Image.new("RGB", (32, 32), "teal")
    for name in ("b.png", "a.JPG", "trip/c.png", "trip/.hidden.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, format="PNG")
    (tmp_path / "photos" / "empty").mkdir()
    (tmp_path / "photos" / "notes.txt").write_text("hello")
    return tmp_path / "photos"


def ids(*arguments, **options):
    return [item.id for item in find_inputs([str(a) for a in arguments], **options).items]


def test_folder_is_searched_in_order_and_says_what_it_passed_over(pictures):
    inputs = find_inputs(["photos"])
    assert [item.id for item in inputs.items] == [
        "photos/a.JPG",
        "photos/b.png",
        "photos/trip/c.png",
    ]
    assert next(item.path for item in inputs.items) == os.path.join("photos", "a.JPG")
    assert inputs.items[0].load().pixels.shape == (32, 32, 3)
    assert any("empty folder" in remark for remark in inputs.remarks)
    assert any("notes.txt" in remark for remark in inputs.remarks)


def test_id_is_the_same_however_the_file_is_named(pictures, monkeypatch):
    assert ids(pictures / "b.png") == ["photos/b.png"]
    assert ids("photos/b.png") == ["photos/b.png"]
    assert "photos/b.png" in ids(pictures)
    assert ids("photos/*.png") == ["photos/b.png"]
    monkeypatch.chdir(pictures)
    assert ids("b.png") == ["photos/b.png"]
    assert ids("../photos/trip/../b.png") == ["photos/b.png"]
    assert "photos/b.png" in ids(".")


def test_named_files_and_globs_take_any_suffix(pictures):
    (item,) = find_inputs(["photos/notes.txt"]).items
    with pytest.raises(NotAnImageError):
        item.load()
    assert ids("photos/**/c.*") == ["trip/c.png"]


def test_same_input_twice_counts_once(pictures):
    assert ids("photos/b.png", "photos", "photos/b.png") == [
        "photos/b.png",
        "photos/a.JPG",
        "photos/trip/c.png",
    ]


def test_equal_names_in_different_folders_stay_apart(tmp_path):
    for name in ("a/x.png", "b/x.jpg", "b/x.png", "1/same/x.png", "2/same/x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert ids(tmp_path / "a/x.png", tmp_path / "b/x.jpg", tmp_path / "b/x.png") == [
        "a/x.png",
        "b/x.jpg",
        "b/x.png",
    ]
    both = ids(tmp_path / "1/same", tmp_path / "2/same/x.png", tmp_path / "a")
    assert both == ["1/same/x.png", "2/same/x.png", "a/x.png"]


def test_output_folder_is_not_an_input(pictures):
    Image.new("RGB", (32, 32)).save(pictures / "trip" / "r.png")
    assert "photos/trip/c.png" not in ids("photos", outside=pictures / "trip")
    with pytest.raises(UsageError, match="output folder"):
        find_inputs(["photos"], outside=pictures)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no inputs"),
        (["absent.png"], "no such file"),
        (["photos/*.tiff"], "matches no file"),
        (["photos/empty"], "no images in this folder"),
        (["photos/b.png", "photos/empty"], "no images in this folder"),
    ],
)
def test_wrong_calls_are_refused(pictures, arguments, message):
    with pytest.raises(UsageError, match=message):
        find_inputs(arguments)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    return file.getvalue()


def test_array_record_files_of_encoded_images(tmp_path):
    writer_module = pytest.importorskip("array_record.python.array_record_module")
    folder = tmp_path / "faces"
    folder.mkdir()
    writer = writer_module.ArrayRecordWriter(str(folder / "part-0.array_record"), "group_size:1")
    for value in (0, 255):
        writer.write(png(np.full((20, 20, 3), value, np.uint8)))
    writer.write(b"not an image at all")
    writer.close()
    items = find_inputs([str(folder)]).items
    assert [item.id for item in items] == [
        f"faces/part-0.array_record/0000000{i}" for i in range(3)
    ]
    assert [item.load().pixels[0, 0, 0] for item in items[:2]] == [-1, 1]
    with pytest.raises(NotAnImageError):
        items[2].load()
    with pytest.raises(UsageError, match="no splits"):
        find_inputs([str(folder)], split="test")


def test_tfds_data_set(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    pictures = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)

    class TinyFaces(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(24, 24, 3))})
            return tfds.core.DatasetInfo(builder=self, features=features)

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples(0), "test": self._generate_examples(2)}

        def _generate_examples(self, first):
            for index, picture in enumerate(pictures[first:]):
                yield index, {"image": io.BytesIO(png(picture))}

    builder = TinyFaces(data_dir=str(tmp_path), file_format="array_record")
    builder.download_and_prepare()
    folder = str(builder.data_path)
    (item,) = find_inputs([folder], split="test").items
    assert item.id == "tiny_faces/1.0.0/test/00000000"
    np.testing.assert_array_equal(to_uint8(item.load().pixels), pictures[2])
    elsewhere = pickle.loads(pickle.dumps(item.load))  # as a worker process gets it
    np.testing.assert_array_equal(to_uint8(elsewhere().pixels), pictures[2])
    assert len(find_inputs([folder], split="train").items) == 3
    for split in (None, "valid"):
        with pytest.raises(UsageError, match="must be one of test, train"):
            find_inputs([folder], split=split)
