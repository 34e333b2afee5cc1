"""A file is claimed by one family: flat state dictionaries are told apart by their keys."""

import json

import pytest
import test_basel as basel
import test_convert_face_api as face_api
import test_convert_facenet as facenet
import test_convert_fan as fan
import test_convert_inception as inception
import test_resnet_families as resnets
import tiny_checkpoints as tiny
from fixture_formula import formula_state
from pickle_writer import dumps, torch_zip

from jaxface.convert.convert import FAMILIES, FamilyOfSeveralFiles
from jaxface.convert.formats.checkpoint import read_checkpoint


def _pickled(checkpoint, folder):
    (folder / "source").write_bytes(dumps(checkpoint))
    return folder / "source"


def _torch(state, folder):
    (folder / "source").write_bytes(torch_zip(state))
    return folder / "source"


def _manifest(shapes, folder):
    manifest, data, _ = face_api.stored(shapes)
    (folder / "m.json").write_text(json.dumps(manifest))
    (folder / "model.bin").write_bytes(data)
    return folder / "m.json"


SOURCES = {
    "inception": lambda folder: _torch(inception.state(), folder),
    "basel front": lambda folder: basel.write(folder / "source", basel.FRONT),
    "basel original": lambda folder: basel.write(folder / "source", basel.original()),
    "torchvision resnet50": lambda folder: _torch(
        formula_state(resnets.SEED, resnets.torchvision_shapes()), folder
    ),
    "fan": lambda folder: _torch(fan.state(), folder),
    "facenet": lambda folder: _torch(facenet.state(), folder),
    "face_api recognition": lambda folder: _manifest(face_api.recognition(), folder),
    "face_api landmarks": lambda folder: _manifest(face_api.landmarks(), folder),
    "rosinality": lambda folder: _torch(tiny.rosinality_checkpoint(), folder),
    "nvidia_pytorch": lambda folder: _pickled(tiny.nvidia_checkpoint(), folder),
    "nvidia_tensorflow": lambda folder: _pickled(tiny.tensorflow_checkpoint(), folder),
}


@pytest.mark.parametrize("source", SOURCES)
def test_one_family_claims_a_file(source, tmp_path):
    root = read_checkpoint(SOURCES[source](tmp_path)).root
    claimed = [name for name, family in FAMILIES.items() if family.matches(root)]
    assert claimed == [source.split()[0]]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_with_further_files_is_asked_for_them(name):
    family = FAMILIES[name]
    assert isinstance(family, FamilyOfSeveralFiles) == hasattr(family, "EXTRAS")
