import json
import struct

import jax
import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

from jaxface.data.pipelines import (
    ArraySource,
    DataError,
    FolderSource,
    array_record_source,
    batches,
    mirror,
    one_pass,
    tfds_source,
)


def source(length=20):
    return ArraySource({"x": np.arange(length), "y": np.arange(length * 3.0).reshape(length, 3)})


def draw(item, rng):
    return {**item, "drawn": rng.random()}


def test_each_epoch_is_another_permutation():
    data = batches(source(), batch_size=5, seed=0)
    epochs = [np.concatenate([next(data)["x"] for _ in range(4)]) for _ in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(20))
    assert not np.array_equal(epochs[0], epochs[1])
    again = batches(source(), batch_size=5, seed=0)
    np.testing.assert_array_equal(next(again)["x"], epochs[0][:5])
    other = batches(source(), batch_size=5, seed=1)
    assert not np.array_equal(next(other)["x"], epochs[0][:5])


def test_unshuffled_batches_cross_epochs_in_order():
    data = batches(source(7), batch_size=5, seed=0, shuffle=False)
    assert [next(data)["x"].tolist() for _ in range(3)] == [
        [0, 1, 2, 3, 4],
        [5, 6, 0, 1, 2],
        [3, 4, 5, 6, 0],
    ]


def test_a_position_brings_back_batches_and_random_numbers():
    options = {"batch_size": 4, "seed": 3, "transform": draw}
    data = batches(source(), **options)
    for _ in range(7):
        next(data)
    position = json.loads(json.dumps(data.get_state()))
    expected = [next(data) for _ in range(6)]
    later = batches(source(), **options)
    later.set_state(position)
    for batch in expected:
        for name, values in next(later).items():
            np.testing.assert_array_equal(values, batch[name])


@pytest.mark.parametrize("processes", [2, 4])
def test_batches_do_not_depend_on_the_number_of_processes(monkeypatch, processes):
    options = {"batch_size": 4, "seed": 3, "transform": draw}
    alone = batches(source(), **options)
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    shares = []
    for process in range(processes):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        shares.append(batches(source(), **options))
    for _ in range(8):
        whole, parts = next(alone), [next(share) for share in shares]
        for name, values in whole.items():
            np.testing.assert_array_equal(values, np.concatenate([part[name] for part in parts]))
    assert all(share.get_state() == alone.get_state() for share in shares)


def test_fields_are_chosen_and_transforms_applied():
    images = np.arange(8 * 2 * 2 * 3, dtype=np.uint8).reshape(8, 2, 2, 3)
    pictures = ArraySource({"image": images, "name": np.array(list("abcdefgh"))})
    data = batches(
        pictures, batch_size=8, seed=0, fields=("image",), transform=mirror, shuffle=False
    )
    got = np.concatenate([next(data)["image"] for _ in range(8)])
    same = (got == np.tile(images, (8, 1, 1, 1))).all((1, 2, 3))
    mirrored = (got == np.tile(images[:, :, ::-1], (8, 1, 1, 1))).all((1, 2, 3))
    assert (same ^ mirrored).all()
    assert 16 <= same.sum() <= 48  # 64 fair coins: four standard deviations


def test_one_pass_keeps_the_tail():
    got = list(one_pass(source(7), batch_size=3, fields=("x",)))
    assert [batch["x"].tolist() for batch in got] == [[0, 1, 2], [3, 4, 5], [6]]


def test_a_folder_of_images(tmp_path):
    (tmp_path / "deep").mkdir()
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 10:30] = (200, 100, 50)  # what the centre crop keeps
    Image.fromarray(wide).save(tmp_path / "deep" / "b.png")
    Image.fromarray(np.full((32, 32), 77, np.uint8)).save(tmp_path / "a.jpg", quality=95)
    (tmp_path / "notes.txt").write_text("no picture")
    folder = FolderSource(tmp_path, 16)
    assert [path.name for path in folder.paths] == ["a.jpg", "b.png"]
    batch = next(batches(folder, batch_size=2, seed=0, shuffle=False))
    assert batch["image"].shape == (2, 16, 16, 3)
    assert batch["image"].dtype == np.uint8
    assert batch["id"].tolist() == [0, 1]
    assert (batch["image"][1] == (200, 100, 50)).all()
    # JPEG at quality 95 keeps a flat grey within one level.
    assert np.abs(batch["image"][0].astype(int) - 77).max() <= 1
    with pytest.raises(DataError, match="no images"):
        FolderSource(tmp_path / "deep" / "nowhere", 16)


def test_records_without_a_description(tmp_path):
    paths = [tmp_path / f"records-{i}.array_record" for i in range(2)]
    for i, path in enumerate(paths):
        writer = ArrayRecordWriter(str(path), "group_size:1")
        for value in range(3 * i, 3 * i + 3):
            writer.write(struct.pack("<q", value))
        writer.close()
    records = array_record_source(paths, lambda record: {"x": np.frombuffer(record, "<i8")[0]})
    assert len(records) == 6
    data = batches(records, batch_size=6, seed=5)
    assert sorted(next(data)["x"]) == list(range(6))


def test_mistakes_are_named(tmp_path):
    with pytest.raises(DataError, match=r"one length, got \{'a': 2, 'b': 3\}"):
        ArraySource({"a": np.zeros(2), "b": np.zeros(3)})
    with pytest.raises(DataError, match=r"no field \['z'\]; there are \['x', 'y'\]"):
        batches(source(), batch_size=4, seed=0, fields=("x", "z"))
    with pytest.raises(DataError, match="empty"):
        batches(ArraySource({"x": np.zeros(0)}), batch_size=4, seed=0)
    with pytest.raises(DataError, match="got 0"):
        batches(source(), batch_size=0, seed=0)
    with pytest.raises(DataError, match="dataset_info"):
        tfds_source(tmp_path)
