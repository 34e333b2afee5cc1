"""PTI's locality regulariser gives what the authors' code gave on converted networks.

The reference file comes from danielroich/PTI (criteria/localitly_regulizer.py, hyperparameters as
shipped but two samples), run by PyTorch in float32 on the CPU: G_ema of a small stylegan2-ada
checkpoint as the original generator, its G as the tuned one, LPIPS on AlexNet with weights by
formula.
"""

import dataclasses

import jax
import numpy as np
import pytest
import trunk_checkpoints as trunks
from pickle_writer import torch_zip
from test_parity import assert_close, converted

from jaxface.convert import convert
from jaxface.methods import pti
from jaxface.weights import load_network


@pytest.fixture(scope="module", name="reference")
def reference_file(fixtures):
    return np.load(fixtures / "pti_regularizer.npz")


@pytest.mark.slow
def test_locality_regulariser(reference, fixtures, tmp_path):
    checkpoint = fixtures / "nv_stylegan2_ada_64.pkl"
    original, tuned = (converted(checkpoint, tmp_path, network) for network in ("G_ema", "G"))
    heads = np.load(fixtures / "lpips_formula.npz")
    make = trunks.formula(int(reference["alex_formula_seed"]))
    state = trunks.torchvision_state("alex", trunks.PUBLISHED["alex"], make)
    lins = {f"lin{k}.model.1.weight": heads[f"alex_lin{k}_weight"] for k in range(5)}
    source = tmp_path / "lpips.pth"
    source.write_bytes(torch_zip(trunks.lpips_state("alex", state, lins)))
    convert("auto", source, tmp_path / "lpips")
    networks = pti.Networks(original, load_network(tmp_path / "lpips"))
    settings = dataclasses.replace(pti.PAPER, samples=2)
    assert settings.alpha == reference["regulizer_alpha"]
    assert settings.locality_l2_weight == reference["l2_lambda"]
    assert settings.locality_lpips_weight == reference["lpips_lambda"]

    z = np.asarray(reference["z_samples"], np.float32)
    w_z = original.mapping(z, truncation=settings.truncation)
    assert_close(w_z, reference["w_samples"], "w_z")
    near = pti.locality_latents(settings, w_z, reference["w_batch"][0])
    assert_close(near, reference["morphed_w"], "w_r")

    @jax.jit
    def locality(networks, synthesis, near):
        without = dataclasses.replace(settings, locality_lpips_weight=0.0)
        return [pti.locality(s, networks, synthesis, near) for s in (settings, without)]

    whole, squares = locality(networks, tuned.synthesis, near)
    # Two images of each generator, each within 1e-6 of its scale, and means over them.
    assert_close(whole, reference["space_regulizer_loss"], "L_R")
    assert_close(squares, reference["space_regulizer_loss_l2_only"], "L_R's squares")
