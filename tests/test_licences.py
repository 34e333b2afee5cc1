"""Terms of use: what headers say, `--commercial`, and the model card."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxface import load_suite
from jaxface.card import as_json, as_markdown
from jaxface.cli import main
from jaxface.convert.convert import FAMILIES
from jaxface.errors import UsageError
from jaxface.licences import Terms, require_commercial_use, suite_terms, terms_of
from jaxface.nets import VGGConfig
from jaxface.weights import save_network


@pytest.fixture
def mixed(tmp_path, random_network):
    """A suite of two networks, one of which is not for commercial use."""
    network = random_network("VGG16", VGGConfig(channels=(2, 2, 2, 2, 2)))
    folder = tmp_path / "mixed"
    folder.mkdir()
    terms = FAMILIES["nvidia_pytorch"].TERMS["G_ema"]
    save_network(folder / "perceptual.safetensors", network, metadata=terms.header())
    save_network(folder / "descriptor.safetensors", network, metadata={"recipe": "configs/mine.py"})
    return folder


def test_every_family_has_terms():
    for name, family in FAMILIES.items():
        assert family.TERMS.keys() == set(family.NETWORKS), name
    assert FAMILIES["e4e"].TERMS["decoder"].commercial_use == "no"
    assert FAMILIES["e4e"].TERMS["encoder"].commercial_use == "unstated"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ({}, "unstated"),
        ({"licence": "Apache-2.0"}, "yes"),
        ({"licence": "MIT", "commercial_use": "unstated"}, "unstated"),
        ({"licence": "non-commercial use only: as somebody says"}, "no"),
        ({"licence": "MIT", "commercial_use": "\x1b[1m"}, "yes"),
    ],
)
def test_headers_of_any_version_say_what_may_be_done(header, expected):
    assert terms_of(header).commercial_use == expected


def test_terms_come_back_from_a_header():
    terms = Terms("LicenseRef-Mine", "no", "as agreed")
    assert terms_of(terms.header()) == terms


@pytest.mark.parametrize("name", ["embedded", "embedded-128", "embedded-3"])
def test_the_shipped_suites_may_be_used_commercially(name):
    suite = load_suite(name)
    assert require_commercial_use(suite) == []
    assert {each.licence for each in suite_terms(suite).values()} == {"Apache-2.0"}


def test_a_part_that_forbids_it_is_named(mixed):
    with pytest.raises(
        UsageError, match=r"perceptual \(LicenseRef-NVIDIA-Source-Code-NC\)"
    ) as told:
        require_commercial_use(load_suite(mixed))
    assert "descriptor" not in str(told.value)


@pytest.mark.parametrize("verb", ["invert", "edit"])
def test_the_command_refuses_it_before_it_computes(verb, mixed, tmp_path, capsys):
    image = str(tmp_path / "image.png")
    Image.new("RGB", (64, 64)).save(image)
    if verb == "edit":
        image = str(tmp_path / "codes.npy")
        np.save(image, np.zeros((1, 10, 512), np.float32))
    call = [verb, image, "--out", str(tmp_path / "out"), "--suite", str(mixed), "--commercial"]
    assert main([*call, *(["--yaw", "5"] if verb == "edit" else [])]) == 2
    assert "non-commercial use only: perceptual" in capsys.readouterr().err


def test_a_card_names_every_network_its_licence_and_its_origin(mixed, tmp_path, capsys):
    card = as_markdown(load_suite(mixed))
    assert "| `perceptual` | VGG16 |" in card
    assert "Not for commercial use: `perceptual`." in card
    assert "not stated: `descriptor`" in card
    assert "configs/mine.py" in card
    assert load_suite(mixed).digest("perceptual") in card
    assert main(["card", str(mixed), "--out", str(tmp_path / "CARD.md")]) == 0
    assert (tmp_path / "CARD.md").read_text() == card
    capsys.readouterr()
    assert main(["card", str(mixed), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads(json.dumps(as_json(load_suite(mixed))))
    assert told["networks"]["perceptual"]["terms"]["commercial_use"] == "no"


def test_the_shipped_suites_card_says_what_it_is():
    card = as_markdown(load_suite("embedded"))
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "The licences allow commercial use of every network." in card
    assert "no model of photographs" in card
