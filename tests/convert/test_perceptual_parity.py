"""Converted VGG-16, AlexNet and LPIPS give what torchvision and the package ``lpips`` gave.

The reference files come from torchvision 0.29.2 and lpips 0.1.4, run by PyTorch in float32 on the
CPU, on weights by formula and the package's own linear heads.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import trunk_checkpoints as trunks
from pickle_writer import torch_zip
from test_parity import assert_close, channels_last

from jaxface.convert import convert
from jaxface.nets.features.lpips import LAYERS
from jaxface.weights import build_network, load_network

# The fixtures' README: a port's outputs within 1e-5 of their scale. Two runs of the reference
# differ by 1e-7 of it.
TOLERANCE = 1e-5
# Rounding moves some activations across the kinks of ReLUs and maxima, and each changes the
# gradient by its whole share: 5e-6 of the scale when measured. Twenty times that.
GRADIENT_TOLERANCE = 1e-4

features = jax.jit(lambda vgg, images, layers: vgg.features(images, layers), static_argnums=2)


@jax.jit
def shares(lpips: Any, images: jax.Array, others: jax.Array) -> dict[str, jax.Array]:
    return lpips.layer_distances(lpips.features(images), lpips.features(others))


@jax.jit
def distance_and_gradient(lpips: Any, images: jax.Array, others: jax.Array) -> Any:
    def total(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        distances = lpips(images, others)
        return distances.sum(), distances

    (_, distances), gradient = jax.value_and_grad(total, has_aux=True)(images)
    return distances, gradient


def write(path: Path, state: dict[str, Any]) -> Path:
    path.write_bytes(torch_zip(state))
    return path


def test_vgg16_features(fixtures, tmp_path):
    reference = np.load(fixtures / "vgg16_features_formula.npz")
    make = trunks.formula(int(reference["formula_seed"]))
    state = trunks.torchvision_state("vgg", trunks.PUBLISHED["vgg"], make)
    conversion = convert("auto", write(tmp_path / "vgg16.pth", state), tmp_path / "out")
    assert conversion.plan.config == type(conversion.plan.config)()
    # The reference's x went into the first convolution as it is. Ours takes images in [-1, 1],
    # brings them to [0, 1] and normalises: with a mean and a deviation of one half, to themselves.
    identity = dataclasses.replace(conversion.plan.config, mean=(0.5,) * 3, std=(0.5,) * 3)
    vgg = build_network("VGG16", identity, conversion.arrays)
    names = [name.removeprefix("pre_") for name in reference if name.startswith("pre_")]
    layers = tuple(f"{kind}{name[4:]}" for name in names for kind in ("conv", "relu"))
    found = features(vgg, channels_last(reference["x"]), layers)
    for name in names:
        for kind, prefix in (("conv", "pre"), ("relu", "post")):
            expected = channels_last(reference[f"{prefix}_{name}"])
            layer = f"{kind}{name[4:]}"
            assert_close(found[layer], expected, layer, tolerance=TOLERANCE)


@pytest.mark.parametrize(
    ("trunk", "whole"),
    [
        pytest.param("vgg", True, id="vgg-one file"),
        pytest.param("vgg", False, id="vgg-trunk and heads", marks=pytest.mark.slow),
        pytest.param("alex", True, id="alex-one file"),
        pytest.param("alex", False, id="alex-trunk and heads"),
    ],
)
def test_lpips(trunk, whole, fixtures, tmp_path):
    reference = np.load(fixtures / "lpips_formula.npz")
    make = trunks.formula(int(reference[f"formula_seed_{trunk}"]))
    state = trunks.torchvision_state(trunk, trunks.PUBLISHED[trunk], make)
    heads = {f"lin{k}.model.1.weight": reference[f"{trunk}_lin{k}_weight"] for k in range(5)}
    target = tmp_path / "out"
    if whole:
        source = write(tmp_path / "lpips.pth", trunks.lpips_state(trunk, state, heads))
        convert("auto", source, target)
    else:
        source = write(tmp_path / "trunk.pth", state)
        extras = {"heads": write(tmp_path / "heads.pth", heads)}
        convert("torchvision", source, target, network="LPIPS", extras=extras)
    lpips = load_network(target)
    images, others = (channels_last(reference[name]) for name in ("img0", "img1"))
    expected = reference[f"{trunk}_distance"].reshape(-1)
    found = shares(lpips, images, others)
    for layer, share in zip(LAYERS[trunk], reference[f"{trunk}_per_layer"], strict=True):
        assert_close(found[layer], share.reshape(-1), layer, tolerance=TOLERANCE)
    assert_close(sum(found.values()), expected, "distance", tolerance=TOLERANCE)
    np.testing.assert_array_equal(sum(shares(lpips, images, images).values()), 0)
    # The package's normalize=True takes images in [0, 1] and brings them to [-1, 1], where ours
    # are: (x + 1) / 2 is what it was given.
    unit = [(x + np.float32(1)) / np.float32(2) for x in (images, others)]
    found = sum(shares(lpips, *(2 * x - 1 for x in unit)).values())
    normalised = reference[f"{trunk}_normalize01"].reshape(-1)
    assert_close(found, normalised, "distance of images in [0, 1]", tolerance=TOLERANCE)


@pytest.mark.slow
def test_lpips_gradient(fixtures, tmp_path):
    reference = np.load(fixtures / "lpips_formula.npz")
    make = trunks.formula(int(reference["formula_seed_vgg"]))
    state = trunks.torchvision_state("vgg", trunks.PUBLISHED["vgg"], make)
    heads = {f"lin{k}.model.1.weight": reference[f"vgg_lin{k}_weight"] for k in range(5)}
    source = write(tmp_path / "lpips.pth", trunks.lpips_state("vgg", state, heads))
    convert("lpips", source, tmp_path / "out")
    lpips = load_network(tmp_path / "out")
    images, others = (channels_last(reference[name]) for name in ("img0", "img1"))
    distances, gradient = distance_and_gradient(lpips, images, others)
    expected = reference["vgg_distance"].reshape(-1)
    assert_close(distances, expected, "distance", tolerance=TOLERANCE)
    expected = channels_last(reference["vgg_grad_img0"])
    assert_close(gradient, expected, "gradient", tolerance=GRADIENT_TOLERANCE)
