"""`jaxface train recognition`: persons rendered on several occasions, and a network in the end."""

import json

import jax
import numpy as np
import pytest

import jaxface.cli
from jaxface import morphable
from jaxface.data.pipelines import tfds_source
from jaxface.data.scene_items import item_keys, person_keys
from jaxface.weights import load_network, read_header

CONFIG = """
from jaxface.data.sources import IdentityPortraits
from jaxface.methods.arcface import ArcFaceSettings
from jaxface.nets import IRSEConfig
from jaxface.training.experiment import Experiment


def get_config():
    network = IRSEConfig(
        channels=(4, 4, 8, 8), units=(1, 1, 1, 1), reduction=4, embedding_dim=8,
        resolution=16, portrait_size=16, crop=(0, 16, 0, 16),
    )
    return Experiment(
        method=ArcFaceSettings(network, num_identities=8, steps=2, batch_size=22, folds=2),
        data=IdentityPortraits(16, num_identities=8, images_per_identity=4, num_test_identities=8),
        log_every=1, checkpoint_every=2, eval_every=2,
    )
"""


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """A folder, and the arguments of a run in it."""
    folder = tmp_path_factory.mktemp("recognition")
    config = folder / "tiny.py"
    config.write_text(CONFIG)
    arguments = ["train", "recognition", "--config", str(config), "--out", str(folder / "run")]
    return folder, [*arguments, "--set", f"data.directory={folder / 'data'}"]


@pytest.fixture(scope="module")
def run(call):
    """The folder of a whole run, some twenty seconds of one core."""
    folder, arguments = call
    assert jaxface.cli.main(arguments) == 0
    return folder


@pytest.mark.slow
def test_writes_the_network_and_its_scores(run):
    path = run / "run" / "recognition.safetensors"
    assert load_network(path).config.embedding_dim == 8
    assert read_header(path)["method"] == "ArcFaceSettings"
    rows = [json.loads(row) for row in (run / "run" / "metrics.jsonl").read_text().splitlines()]
    names = set().union(*rows)
    assert {"arcface/loss", "held_out/accuracy", "held_out/tar_at_far_1e-3"} <= names


@pytest.mark.slow
def test_an_occasion_changes_everything_but_the_person(run):
    made = next((run / "data" / "synthetic_portraits").glob("16px_32_32_seed0_4each/*"))
    for split in ("train", "test"):
        items = [tfds_source(made, split=split)[i] for i in range(32)]
        factors = np.stack([item["factors"] for item in items]).reshape(8, 4, -1)
        assert [item["person"] for item in items] == np.repeat(np.arange(8), 4).tolist()
        own = morphable.PERSON_FACTORS
        np.testing.assert_array_equal(
            factors[..., own], np.repeat(factors[:, :1][..., own], 4, axis=1)
        )
        assert (np.diff(factors[..., ~own], axis=1) != 0).all()
        assert (np.diff(factors[:, 0], axis=0) != 0).all()  # persons differ in all of it
    train = tfds_source(made)[0]["factors"]
    assert not np.isin(train, tfds_source(made, split="test")[0]["factors"]).any()


def test_a_person_depends_on_its_number_alone():
    def words(keys):
        return np.asarray(jax.random.key_data(keys))

    persons, occasions = map(words, person_keys(0, "train", np.arange(6), 3))
    assert (persons[:3] == persons[0]).all()
    assert (persons[3:] != persons[0]).any()
    shared = [0, 1, 2, 4, 5, 6]  # the fourth occasion is another
    more = [words(keys)[shared] for keys in person_keys(0, "train", np.arange(8), 4)]
    np.testing.assert_array_equal(more, [persons, occasions])
    # Nobody of the plain sets.
    plain = [words(item_keys(0, split, np.arange(6))) for split in ("train", "test")]
    for keys in (persons, occasions):
        assert not (keys[:, None] == np.concatenate(plain)).all(axis=-1).any()


def test_other_persons_than_the_data_has_are_refused(call, capsys):
    folder, arguments = call
    other = ["--out", str(folder / "other")]
    assert jaxface.cli.main([*arguments, *other, "--set", "method.num_identities=7"]) == 2
    assert "data.num_identities is 8" in capsys.readouterr().err
    config = folder / "plain.py"
    config.write_text(
        CONFIG.replace("IdentityPortraits", "RenderedPortraits").replace(
            "num_identities=8, images_per_identity=4, num_test_identities=8", "num_test=8"
        )
    )
    assert jaxface.cli.main(["train", "recognition", *other, "--config", str(config)]) == 2
    assert "RenderedPortraits has nobody twice" in capsys.readouterr().err
    sizes = ["--train", "32", "--test", "0", "--images-per-identity", "5"]
    assert jaxface.cli.main(["data", "--out", str(folder), *sizes]) == 2
    assert "images_per_identity must divide" in capsys.readouterr().err
