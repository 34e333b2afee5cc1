"""Damage at random places of a valid file: a network or one line, from every family's reader."""

import contextlib
import zlib

import numpy as np
import pytest
import test_one_family_each as families
import tiny_checkpoints as tiny
from pickle_writer import torch_legacy

from jaxface.convert import Refusal
from jaxface.convert.convert import prepare
from jaxface.errors import WeightsError
from jaxface.weights import load_network

FAST, SLOW = 6, 300  # damaged copies of each file
LARGEST = 4 * 2**20


def npy(folder):
    path = folder / "source"
    with open(path, "wb") as file:
        np.save(file, np.random.RandomState(0).standard_normal((1, 512)).astype(np.float32))
    return path


def npz(folder):
    path, random = folder / "source", np.random.RandomState(0)
    with open(path, "wb") as file:
        np.savez_compressed(file, act_comp=random.standard_normal((4, 1, 8)))
    return path


def stream(folder):
    (folder / "source").write_bytes(torch_legacy(tiny.rosinality_checkpoint()))
    return folder / "source"


SOURCES = families.SOURCES | {"npy": npy, "npz": npz, "stream": stream}


def damaged(data: bytes, random: np.random.RandomState) -> bytes:
    """One of: bytes changed, an end or a stretch lost, a stretch twice."""
    out, kind = bytearray(data), random.randint(4)
    # Half of the damage falls on the first kilobytes, which hold the headers.
    reach = len(out) if random.randint(2) else min(len(out), 4096)
    place, length = random.randint(reach), random.randint(1, 65)
    if kind == 0:
        for position in random.randint(reach, size=4):
            out[position] = random.randint(256)
    elif kind == 1:
        del out[place:]
    elif kind == 2:
        del out[place : place + length]
    else:
        out[place:place] = out[place : place + length]
    return bytes(out)


def mutate(source: str, folder, count: int) -> None:
    path = SOURCES[source](folder)
    data = path.read_bytes()
    if len(data) > LARGEST:
        data = data[:LARGEST]
    random = np.random.RandomState(zlib.crc32(source.encode()) % 2**31)
    for _ in range(count):
        path.write_bytes(damaged(data, random))
        try:
            prepare("auto", path)
        except Refusal as refusal:
            message = str(refusal)
            if not message.isprintable() or len(message) > 2000:
                raise AssertionError(f"{source}: {message!r}") from refusal


@pytest.mark.parametrize("source", SOURCES)
def test_damage_is_a_network_or_a_refusal(source, tmp_path):
    mutate(source, tmp_path, FAST)


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_much_damage_is_a_network_or_a_refusal(source, tmp_path):
    mutate(source, tmp_path, SLOW)


def mutate_weights(suite, folder, count: int) -> None:
    data = (suite / "perceptual.safetensors").read_bytes()
    random = np.random.RandomState(1)
    for _ in range(count):
        path = folder / "x.safetensors"
        path.write_bytes(damaged(data[:], random))
        with contextlib.suppress(WeightsError):
            load_network(path)


def test_damaged_networks_are_networks_or_one_error(tiny_suite, tmp_path):
    mutate_weights(tiny_suite, tmp_path, 30)


@pytest.mark.slow
def test_much_damaged_networks_are_networks_or_one_error(tiny_suite, tmp_path):
    mutate_weights(tiny_suite, tmp_path, 1000)
