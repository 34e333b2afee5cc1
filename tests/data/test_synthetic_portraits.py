import os
import pathlib
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxface import cli, morphable
from jaxface.data import synthetic_portraits
from jaxface.data.pipelines import DataError, batches, tfds_source
from jaxface.data.scene_items import item_keys
from jaxface.data.synthetic_portraits import GenerationError, PortraitsConfig, generate
from jaxface.jobs.outputs import locks
from jaxface.media import images
from jaxface.runtime.progress import working

CONFIG = {"resolution": 32, "num_train": 80, "num_test": 40, "seed": 3, "shard_size": 32}

# A generation that is killed while it writes its second shard.
KILLED = """
import os, signal, sys
from jaxface.data import synthetic_portraits as portraits

render = portraits._render

def dying(config, split, start, stop):
    for item in render(config, split, start, stop):
        if item["id"] == 50:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item

portraits._render = dying
portraits.generate(portraits.PortraitsConfig(**eval(sys.argv[2])), sys.argv[1])
"""


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return generate(PortraitsConfig(**CONFIG), tmp_path_factory.mktemp("data"))


def test_every_true_parameter_is_beside_the_image(made):
    train = tfds.builder_from_directory(made).as_data_source(split="train")
    assert len(train) == 80
    item = train[70]
    assert item["id"] == 70
    # From the key to the image again by the public functions, with the group of 32 it is in.
    keys = item_keys(3, "train", np.arange(64, 96))
    draw = jax.vmap(lambda key: jax.random.normal(key, (morphable.NUM_FACTORS,)))
    factors = draw(keys)
    np.testing.assert_array_equal(item["factors"], factors[6])
    scenes = jax.jit(morphable.scene_from_gaussian)(factors)
    # Two programs, which may round differently in the last bit.
    np.testing.assert_array_max_ulp(item["face"], np.asarray(scenes.face.flat[6]), maxulp=2)
    np.testing.assert_array_equal(item["nuisance"], scenes.nuisance.flat[6])
    marks = morphable.landmarks(scenes.face, 32)
    np.testing.assert_array_equal(item["landmarks"], marks[6])
    pictures = images.to_uint8(morphable.render(scenes, 32))
    np.testing.assert_array_equal(item["image"], pictures[6])
    assert item["image"].std() > 10  # an image, not a blank


def test_splits_and_seeds_are_different_items(made):
    first = {split: tfds_source(made, split=split)[0]["factors"] for split in ("train", "test")}
    assert not np.allclose(first["train"], first["test"])
    assert len(tfds_source(made, split="test")) == 40
    other = item_keys(4, "train", np.arange(1))
    assert not np.array_equal(
        jax.random.key_data(other), jax.random.key_data(item_keys(3, "train", np.arange(1)))
    )


@pytest.mark.slow
def test_a_killed_generation_goes_on_and_gives_the_same_files(made, tmp_path, capfd):
    program = [sys.executable, "-c", KILLED, str(tmp_path), repr(CONFIG)]
    killed = subprocess.run(program, capture_output=True, check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    finished = [path for path in tmp_path.rglob("*.array_record-*") if path.suffix != ".part"]
    assert [path.name[-14:] for path in finished] == ["00000-of-00003"]
    before = finished[0].stat().st_mtime_ns

    rendered = []
    render = synthetic_portraits._render

    def counting(config, split, start, stop):
        rendered.append((split, start))
        return render(config, split, start, stop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic_portraits, "_render", counting)
        folder = generate(PortraitsConfig(**CONFIG), tmp_path)
    assert contents(folder) == contents(made)
    assert (folder / finished[0].name).stat().st_mtime_ns == before
    # The check of the world renders one batch; the finished shard is not rendered again.
    assert rendered == [("train", 0), ("train", 32), ("train", 64), ("test", 0), ("test", 32)]
    assert "1 of 5 shards were finished before" in capfd.readouterr().err
    assert not list(folder.parent.glob("*.partial"))


def test_items_do_not_depend_on_how_many_there_are(made, tmp_path):
    small = generate(
        PortraitsConfig(**{**CONFIG, "num_train": 33, "num_test": 0, "shard_size": 64}), tmp_path
    )
    got, expected = tfds_source(small), tfds_source(made)
    assert len(got) == 33
    for i in (0, 31, 32):
        for name, value in expected[i].items():
            np.testing.assert_array_equal(got[i][name], value)
    with pytest.raises(DataError, match="no split 'test'"):
        tfds_source(small, split="test")


def test_shards_of_two_worlds_are_not_mixed(tmp_path, monkeypatch):
    class StopError(Exception):
        pass

    def stop(self, path, shard, progress):
        raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(synthetic_portraits.SyntheticPortraits, "_write", stop)
        with pytest.raises(StopError):
            generate(PortraitsConfig(**CONFIG), tmp_path)
    render = synthetic_portraits._render

    def changed(*args):
        for item in render(*args):
            yield {**item, "image": 255 - item["image"]}

    monkeypatch.setattr(synthetic_portraits, "_render", changed)
    with pytest.raises(GenerationError, match="another version of the face world"):
        generate(PortraitsConfig(**CONFIG), tmp_path)


def test_a_second_process_waits_for_the_first_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "POLL", 0.01)
    config = PortraitsConfig(**{**CONFIG, "num_train": 32, "num_test": 0})
    begun, go_on, render = threading.Event(), threading.Event(), synthetic_portraits._render
    calls, told = [], []

    def slow(*arguments):
        calls.append(arguments)
        begun.set()
        assert go_on.wait(60)
        return render(*arguments)

    def waiting(text):
        told.append(text)
        go_on.set()
        return working(text)

    monkeypatch.setattr(synthetic_portraits, "_render", slow)
    monkeypatch.setattr(locks, "working", waiting)
    with ThreadPoolExecutor() as pool:
        first = pool.submit(generate, config, tmp_path)
        assert begun.wait(60)
        second = pool.submit(generate, config, tmp_path)
        assert first.result() == second.result()
    assert len(calls) == 2  # the check of the world and the shard, by the first one only
    assert told == [f"waiting for another process that makes {first.result()}"]
    assert [path.name for path in first.result().parent.iterdir()] == ["2.0.0"]


def test_what_a_process_left_that_was_killed_is_taken_over(tmp_path):
    config = PortraitsConfig(**{**CONFIG, "num_train": 32, "num_test": 0})
    builder = synthetic_portraits.SyntheticPortraits(config=config, data_dir=str(tmp_path))
    lock = builder.folder.with_name(f"{builder.folder.name}.partial.lock")
    hold = "import sys, time; from pathlib import Path; from jaxface.jobs.outputs import locks; "
    hold += "held = locks.take_lock(Path(sys.argv[1])); print('held', flush=True); time.sleep(99)"
    program = [sys.executable, "-c", hold, str(lock)]
    with subprocess.Popen(program, stdout=subprocess.PIPE) as holder, ThreadPoolExecutor() as pool:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        waiting = pool.submit(generate, config, tmp_path)
        with pytest.raises(TimeoutError):
            waiting.result(timeout=1)
        holder.kill()
        assert len(tfds_source(waiting.result())) == 32


def test_the_verb_prints_the_folder_and_redoes_nothing(made, capsys):
    root = made.parents[2]
    stamp = (made / "dataset_info.json").stat().st_mtime_ns
    options = ["--resolution", "32", "--train", "80", "--test", "40", "--seed", "3"]
    assert cli.main(["data", "--out", str(root), *options, "--shard-size", "32"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(made)
    assert (made / "dataset_info.json").stat().st_mtime_ns == stamp
    assert cli.main(["data", "--out", str(root), *options, "--shard-size", "20"]) == 2


def test_it_feeds_a_pipeline(made):
    data = batches(tfds_source(made), batch_size=8, seed=0, fields=("image", "factors"))
    batch = next(data)
    assert batch["image"].shape == (8, 32, 32, 3)
    assert batch["factors"].shape == (8, morphable.NUM_FACTORS)


@pytest.mark.parametrize("wrong", [{"resolution": 8}, {"num_train": 0}, {"num_test": -1}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(GenerationError, match="need resolution >= 16"):
        PortraitsConfig(**{**CONFIG, **wrong})


def test_version_3_is_a_data_set_of_its_own(made):
    config = PortraitsConfig(**CONFIG, version="3.0.0")
    builder = synthetic_portraits.SyntheticPortraits(config=config, data_dir=str(made.parents[2]))
    assert builder.data_path.parts[-2:] == (made.parent.name, "3.0.0")
    features = builder.info.features
    new = morphable.world("3.0.0")
    assert features["factors"].shape == (new.num_factors,)
    assert features["gaze"].shape == (2,)
    assert features["boxes"].shape == (3, 4)
    old = tfds.builder_from_directory(made).info
    assert str(old.version) == "2.0.0"
    assert not {"gaze", "boxes"} & set(old.features)
    with pytest.raises(GenerationError, match=r"2\.0\.0 or 3\.0\.0, got '1\.0\.0'"):
        PortraitsConfig(**CONFIG, version="1.0.0")


@pytest.mark.slow
def test_every_true_parameter_of_version_3(tmp_path):
    config = PortraitsConfig(**{**CONFIG, "num_train": 32, "num_test": 0}, version="3.0.0")
    item = tfds_source(generate(config, tmp_path))[5]
    new = morphable.world("3.0.0")
    scenes = new.scenes(item["factors"][None])
    # Of one scene and of a group of 32 at once: float32 sums in another order.
    np.testing.assert_allclose(item["face"], scenes.face.flat[0], atol=1e-5)
    gaze = morphable.gaze_degrees(item["face"][None, 166:230])
    np.testing.assert_allclose(item["gaze"], gaze[0], atol=1e-3)
    left, top, right, bottom = item["boxes"].T
    assert np.all((left < right) & (top < bottom))
    eyes = item["landmarks"][36:48].reshape(2, 6, 2).mean(axis=1)
    assert np.all((left[:2] < eyes[:, 0]) & (eyes[:, 0] < right[:2]))
    assert np.all((top[:2] < eyes[:, 1]) & (eyes[:, 1] < bottom[:2]))
