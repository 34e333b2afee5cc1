"""Transfer's networks, losses and training steps against numbers made by the authors' code.

The parity files were run by PyTorch in float32 on the CPU. Tolerances are twenty times what their
own runs differ by, where their README tells it, and 1e-4 where it does not.
"""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trunk_checkpoints as trunks
from fixture_formula import formula, formula_state, manifest
from pickle_writer import torch_zip
from test_arcface import official

from jaxface.convert import Refusal, convert
from jaxface.convert.convert import FAMILIES
from jaxface.convert.families.transfer import network_plan
from jaxface.convert.formats.checkpoint import read_checkpoint
from jaxface.convert.plan import fill
from jaxface.losses import identity
from jaxface.losses.motion_contrast import motion_contrast
from jaxface.media.images import from_uint8
from jaxface.methods import encoder
from jaxface.methods.transfer import arithmetic, losses, settings, training
from jaxface.methods.transfer.losses import Frozen
from jaxface.nets.torch_layers import adaptive_average_pool
from jaxface.weights import build_network, load_network, network_arrays

MANIFEST = "manifest_encoder_mapping_1024.json"


def channels_last(x):
    return np.moveaxis(np.asarray(x), -3, -1)


def enlarged(x, repeat):
    """uint8 [N, 3, 64, 64], each pixel repeated, in [-1, 1] and NHWC."""
    return from_uint8(channels_last(x).repeat(repeat, 1).repeat(repeat, 2))


def assert_close(found, expected, what, *, tolerance):
    """Relative to the largest magnitude."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, what
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert difference < tolerance, f"{what}: {difference:.1e} of the scale"


@pytest.fixture(scope="module")
def lpips_alex(fixtures, tmp_path_factory):
    """LPIPS on AlexNet: a trunk by the formula, the package's heads."""
    folder = tmp_path_factory.mktemp("lpips")
    stored = np.load(fixtures / "transfer" / "losses.npz")
    heads = np.load(fixtures / "lpips_formula.npz")
    make = trunks.formula(int(stored["alex_formula_seed"]))
    state = trunks.torchvision_state("alex", trunks.PUBLISHED["alex"], make)
    lins = {f"lin{k}.model.1.weight": heads[f"alex_lin{k}_weight"] for k in range(5)}
    (folder / "in").write_bytes(torch_zip(trunks.lpips_state("alex", state, lins)))
    convert("auto", folder / "in", folder / "out")
    return load_network(folder / "out")


@pytest.fixture(scope="module")
def recognition(fixtures):
    stored = np.load(fixtures / "transfer" / "losses.npz")
    return official(fixtures, int(stored["arcface_formula_seed"]))


# The trained networks.


@pytest.mark.slow  # 220 million weights by formula
def test_both_networks_at_full_width(fixtures):
    reference = np.load(fixtures / "transfer" / "motion_encoder_full_formula.npz")
    shapes = json.loads((fixtures / "transfer" / MANIFEST).read_text())
    seed = int(reference["formula_seed"])
    arrays = {}
    for network, prefix in (("encoder", "encoder."), ("mapping_net", "mapping_net.")):
        own = {key: tuple(shape) for key, (shape, _) in shapes[network].items()}
        arrays |= {prefix + key: x for key, x in formula_state(seed, own).items()}
    plan = network_plan(arrays, num_ws=int(reference["rows"]))
    found, _ = fill(plan)
    network = build_network(plan.class_name, plan.config, found)
    assert plan.config == settings.PAPER.network
    count = [
        sum(x.size for key, x in found.items() if key.startswith(part) and not _is_buffer(key))
        for part in ("encoder.", "mapper.")
    ]
    assert count == reference["n_parameters"].tolist()
    image = channels_last(np.load(fixtures / str(reference["x_from"]))["x"])
    motion = jax.jit(lambda n, x: n.motion(x))(network, image[:1])
    assert_close(motion, reference["motion_code"], "motion", tolerance=20 * 9.3e-6 / 8.25)
    mapped = jax.jit(lambda n, a, b: n.mix(a, b))(network, reference["identity_latent"], motion)
    assert_close(mapped, reference["mapped"], "mapped", tolerance=20 * 4.6e-6 / 6.96)


def _is_buffer(key):
    return key.endswith((".mean", ".variance"))


def state_of(fixtures):
    """The narrow networks before training: the formula on the file's own keys."""
    root = read_checkpoint(fixtures / "transfer" / "transfer_small_64.pt").root
    shapes = {key: tuple(value.shape) for key, value in root["state_dict"].items()}
    seed = int(np.load(fixtures / "transfer" / "train_small_64.npz")["formula_seed"])
    state = {key: formula(seed, key, shape, shapes) for key, shape in shapes.items()}
    return {k: np.zeros_like(x) if k.endswith("noise.weight") else x for k, x in state.items()}


def both(source, folder):
    found = []
    for name in ("transfer", "decoder"):
        convert("auto", source, folder / name, network=name)
        found.append(load_network(folder / name))
    return found


@pytest.fixture(scope="module")
def narrow(fixtures, tmp_path_factory):
    """E_m with M, and the generator, before training."""
    folder = tmp_path_factory.mktemp("narrow")
    checkpoint = {"state_dict": state_of(fixtures), "opts": {"n_styles": 10}}
    (folder / "in").write_bytes(torch_zip(checkpoint))
    return both(folder / "in", folder)


@pytest.fixture(scope="module")
def reference(fixtures):
    return np.load(fixtures / "transfer" / "train_small_64.npz")


def test_a_narrow_model(narrow, reference):
    network, generator = narrow
    config = network.config
    assert (config.num_ws, config.w_dim, config.pool, config.hidden) == (10, 32, 7, 32)
    source = enlarged(reference["x_uint8_64"], int(reference["repeat"]))

    @jax.jit
    def run(network, generator, identity, images):
        motion = network.motion(images)
        mapped = network.mix(identity, motion)
        return motion, mapped, generator.synthesis(mapped)

    motion, mapped, images = run(network, generator, reference["latent"], source)
    assert_close(motion, reference["eval|motion_code"], "motion", tolerance=4e-5)
    assert_close(mapped, reference["eval|mapped"], "mapped", tolerance=4e-5)
    assert_close(images, channels_last(reference["eval|image"]), "image", tolerance=4e-5)
    pooled = adaptive_average_pool(images, 256)[:, ::8, ::8]
    expected = channels_last(reference["eval|image_pool256_stride8"])
    assert_close(pooled, expected, "image at 256 px", tolerance=4e-5)


def test_the_published_beginning(narrow, reference):
    """All weights of M alike: all numbers that come out are."""
    network, _ = narrow
    begun = training.start_network(
        dataclasses.replace(settings.PAPER, network=network.config),
        narrow[1],
        {},
        jax.random.key(0),
    )
    found = begun.mapper(reference["latent"], reference["eval|motion_code"])
    assert_close(found, reference["eval|mapped_constant_init"], "mapped", tolerance=1e-5)
    assert np.ptp(found, axis=(1, 2)).max() < 1e-8


def test_the_file_after_training(fixtures, tmp_path, reference):
    path = fixtures / "transfer" / "transfer_small_64.pt"
    claimed = [
        name for name, family in FAMILIES.items() if family.matches(read_checkpoint(path).root)
    ]
    assert claimed == ["transfer"]
    network, generator = both(path, tmp_path)
    last = reference["train|param_step7|mapping_net.linear_relu.0.bias"]
    np.testing.assert_array_equal(network.mapper.bias[...], last)
    assert generator.resolution == 64


def test_odd_files_are_refused(fixtures, tmp_path):
    state = state_of(fixtures)
    odd = {
        "no square of": {"encoder.output_layer_2.3.weight": np.zeros((32, 1600), np.float32)},
        "do not fit a generator of 10": {"mapping_net.linear_relu.0.weight": np.zeros((320, 320))},
        "unexpected other.weight": {"other.weight": np.zeros(2)},
    }
    for message, change in odd.items():
        (tmp_path / "in").write_bytes(torch_zip({"state_dict": state | change, "opts": {}}))
        with pytest.raises(Refusal, match=message):
            convert("auto", tmp_path / "in", tmp_path / "out")


# Losses.

WHOLE = dataclasses.replace(
    settings.CODE,
    pixel_weight=1.0,
    steps=1,
)


def gradient_checks(stored, name, gradient):
    """The stored sample of a gradient, its norm and where it is not zero."""
    assert_close(
        gradient[:, 1::4, 1::4],
        channels_last(stored[f"grad_stride4|{name}"]),
        f"gradient of {name}",
        tolerance=1e-3,
    )
    norm = np.linalg.norm(np.asarray(gradient, np.float64))
    np.testing.assert_allclose(norm, stored[f"grad_norm|{name}"], rtol=1e-3)
    touched = np.abs(gradient).max(axis=(0, 3)) > 0
    rows, columns = np.flatnonzero(touched.any(axis=1)), np.flatnonzero(touched.any(axis=0))
    support = [rows[0], rows[-1] + 1, columns[0], columns[-1] + 1]
    assert support == stored[f"grad_support|{name}"].tolist()


@pytest.mark.slow
def test_pixels_and_features_on_whole_images_and_on_the_crop(fixtures, lpips_alex):
    stored = np.load(fixtures / "transfer" / "losses.npz")
    images, targets = (enlarged(stored[f"{n}_uint8_64"], 4) for n in ("y_hat", "y"))
    rows, columns = WHOLE.crop_at(256)
    assert (rows, columns) == (slice(55, 243), slice(32, 220))

    @functools.partial(jax.jit, static_argnums=0)
    def terms(chosen, lpips, images, targets):
        def sums(images):
            cropped = [x[:, rows, columns] for x in (images, targets)]
            values = {
                "l2": losses.pixel_distance(chosen, images, targets),
                "l2_crop": losses.pixel_distance(chosen, *cropped),
                "lpips": losses.perceptual_distance(chosen, lpips, images, targets),
                "lpips_crop": losses.perceptual_distance(chosen, lpips, *cropped),
            }
            return {name: value.mean() for name, value in values.items()}

        return sums(images), jax.jacrev(sums)(images)

    values, gradients = terms(WHOLE, lpips_alex, images, targets)
    for name, value in values.items():
        # 1e8 and a squared norm below 1000 are rounded to multiples of 8 in float32.
        np.testing.assert_allclose(value, stored[name], rtol=1e-4, err_msg=name)
        gradient_checks(stored, name, gradients[name])
    plain = dataclasses.replace(WHOLE, lpips_norm_offset=0.0)
    values, _ = terms(plain, lpips_alex, images, targets)
    for name, theirs in (("lpips", "package_mean"), ("lpips_crop", "package_crop_mean")):
        np.testing.assert_allclose(values[name], stored[f"lpips_standard_{theirs}"], rtol=1e-4)


@pytest.mark.slow  # IR-SE50 of full width, forwards and back
def test_identity_of_whole_images(fixtures, recognition):
    stored = np.load(fixtures / "transfer" / "losses.npz")
    images, targets = (enlarged(stored[f"{n}_uint8_64"], 4) for n in ("y_hat", "y"))

    @jax.jit
    def loss(network, images, targets):
        def total(images):
            pair = [losses._embedded(WHOLE, network, x) for x in (images, targets)]
            return identity.distance(*pair).mean()

        return jax.value_and_grad(total)(images)

    value, gradient = loss(recognition, images, targets)
    np.testing.assert_allclose(value, stored["id"], rtol=1e-4)
    gradient_checks(stored, "id", gradient)


def test_contrast_of_motion_codes(fixtures):
    stored = np.load(fixtures / "transfer" / "cosface.npz")
    names = ("zs_d", "zss_d", "zd", "zds")

    @functools.partial(jax.jit, static_argnums=(4, 5))
    def loss(a, b, same, other, scale, margin):
        return motion_contrast([a, b], same, other, scale=scale, margin=margin).mean()

    for kind in ("small", "close"):
        codes = [jnp.asarray(stored[f"{kind}|{name}"]) for name in names]
        for scale, margin in ((5, 2), (5, 0.2), (1, 0)):
            expected = stored[f"{kind}|loss_s{scale}_m{margin}"]
            np.testing.assert_allclose(loss(*codes, scale, margin), expected, rtol=1.2e-5)
        gradients = jax.grad(loss, argnums=(0, 1, 2, 3))(*codes, 5, 2)
        for name, gradient in zip(names, gradients, strict=True):
            expected = stored[f"{kind}|grad_{name}"]
            # Nearly equal codes leave differences of rounding alone.
            tolerance = 1e-4 if kind == "small" else 5e-3
            assert_close(gradient, expected, f"{kind} {name}", tolerance=tolerance)
    # b has no effect but for rounding.
    codes = [jnp.asarray(stored[f"small|{name}"]) for name in names]
    np.testing.assert_allclose(loss(*codes, 5, 0), loss(*codes, 5, 0.2), rtol=1e-6)


def test_contrast_is_equation_five():
    rng = np.random.default_rng(0)
    a, b, same, other = rng.normal(size=(4, 3, 4, 5)).astype(np.float32)

    def d(x, y):
        x, y = (z.reshape(3, -1).astype(np.float64) for z in (x, y))
        cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        return np.exp(5 * (cosine - 0.2))

    negative = d(a, other) + d(b, other)
    expected = -sum(np.log(d(x, same) / (d(x, same) + negative)) for x in (a, b))
    np.testing.assert_allclose(motion_contrast([a, b], same, other), expected, rtol=1e-5)


# The training.

TRAINED = {
    "encoder.input_layer.0.weight": ("encoder.body.conv.weight", (2, 3, 1, 0)),
    "encoder.body.3.res_layer.1.weight": ("encoder.body.units.3.conv1.weight", (2, 3, 1, 0)),
    "encoder.output_layer_2.3.bias": ("encoder.dense.bias", (0,)),
    "encoder.linear.bias": ("encoder.styles.bias", (0,)),
    "encoder.body.0.res_layer.2.weight": ("encoder.body.units.0.prelu.slope", (0,)),
    "mapping_net.linear_relu.0.bias": ("mapper.bias", (0,)),
}


@pytest.mark.slow  # seven steps at 256 px with IR-SE50 of full width
def test_seven_steps(narrow, reference, recognition, lpips_alex):
    """Losses, gradients, parameters and running statistics of the authors' loop and optimiser.

    Batch normalisation over two images amplifies rounding, so gradients are compared at 1e-2 of the
    largest entry and the losses of later steps at 1e-3, as the files' README derives.
    """
    network, generator = narrow
    chosen = dataclasses.replace(
        settings.CODE,
        network=network.config,
        steps=7,
        batch_size=2,
        pixel_weight=0.5,
        contrast_weight=0.1,
        contrast_margin=2.0,
        noise="const",
    )
    batch = {
        "source": enlarged(reference["x_uint8_64"], 4),
        "other_source": enlarged(reference["x1_uint8_64"], 4),
        "identity": reference["latent"],
        "other_identity": reference["latent1"],
    }
    state = training.initial_state(chosen, network, generator)
    constants = training.Constants(generator, Frozen(lpips_alex, recognition))
    step = jax.jit(training.transfer_phase(chosen).fn)
    names = {"pixel": "l2", "perceptual": "lpips", "identity": "id", "contrast": "cosface"}
    names |= {"pixel_crop": "l2_crop", "perceptual_crop": "lpips_crop"}
    for number in range(7):
        state, metrics = step(state, constants, batch, jax.random.key(0))
        for ours, theirs in {"loss": "", **names}.items():
            key = f"train|loss_{theirs}" if theirs else "train|loss"
            weight = chosen.weights.get(ours, 1.0)
            tolerance = 3e-4 if number < 2 else 1e-3
            np.testing.assert_allclose(
                weight * metrics[ours], reference[key][number], rtol=tolerance, err_msg=f"{key}"
            )
        if number + 1 in (1, 6, 7):
            compare_parameters(state.network, reference, f"param_step{number + 1}")
    body = state.network.encoder
    for ours, theirs in (
        (body.body.norm.mean, "input_layer.1.running_mean"),
        (body.body.norm.variance, "input_layer.1.running_var"),
        (body.norm.mean, "output_layer_2.0.running_mean"),
    ):
        expected = reference[f"train|after_last|encoder.{theirs}"]
        assert_close(ours[...], expected, theirs, tolerance=1e-3)
    # Running statistics move four times a step: E_m reads s_A, both results and s_B.
    assert reference["train|after_last|encoder.input_layer.1.num_batches_tracked"] == 28


def compare_parameters(network, reference, stage):
    found = network_arrays(network)
    for theirs, (ours, axes) in TRAINED.items():
        expected = np.transpose(reference[f"train|{stage}|{theirs}"], axes)
        # A step is up to 1e-4 times a gradient's size; the parameters are of the order of 0.1.
        assert_close(found[ours], expected, f"{stage} {ours}", tolerance=1e-3)
    expected = reference[f"train|{stage}|mapping_net.linear_relu.0.weight[:8]"].T
    assert_close(found["mapper.weight"][:, :8], expected, f"{stage} mapper", tolerance=1e-3)


# The baseline.


def test_latent_arithmetic(fixtures):
    stored = np.load(fixtures / "transfer" / "latent_arithmetic.npz")
    for alpha, name in ((1.0, "z_alpha1"), (0.5, "z_alpha05")):
        baseline = arithmetic.LatentArithmetic(alpha=alpha)
        found = baseline.latents(stored["z_identity"][0], stored["z_frames"], stored["neutral"])
        assert_close(found, stored[name], name, tolerance=1e-5)
    mean = np.concatenate([stored["z_frames"], stored["z_mirrored"]]).mean(axis=0)
    assert_close(mean, stored["neutral"], "neutral", tolerance=1e-5)


@pytest.fixture(scope="module")
def restyle_small(fixtures, tmp_path_factory):
    """ReStyle's narrow file: encoder and generator."""
    folder = tmp_path_factory.mktemp("restyle")
    stored = np.load(fixtures / "restyle_psp_small_64.npz")
    shapes = manifest(fixtures / "manifest_restyle_psp_small_64.json")
    state = formula_state(int(stored["formula_seed"]), shapes)
    for key in state:
        if "encoder.styles" in key and ".linear." in key:  # smaller steps, says the README
            state[key] *= np.float32(0.3)
    options = {"encoder_type": "BackboneEncoder", "input_nc": 6, "output_size": 64}
    checkpoint = {"state_dict": state, "latent_avg": stored["latent_avg"], "opts": options}
    (folder / "in").write_bytes(torch_zip(checkpoint))
    for network in ("encoder", "decoder"):
        convert("auto", folder / "in", folder / network, network=network)
    return encoder.Networks(load_network(folder / "decoder"), load_network(folder / "encoder"))


@pytest.mark.slow  # nine inversions of five passes
def test_the_baselines_inversions(fixtures, restyle_small):
    stored = np.load(fixtures / "transfer" / "latent_arithmetic.npz")
    frames, person = (
        enlarged(stored[f"{n}_uint8_64"], int(stored["repeat"])) for n in ("frames", "identity")
    )
    baseline = arithmetic.LatentArithmetic(chunk=4)
    codes = baseline.codes(restyle_small, frames)
    assert_close(codes, stored["z_frames"], "frames", tolerance=4e-5)
    neutral = baseline.neutral(restyle_small, frames, codes=codes)
    assert_close(neutral, stored["neutral"], "neutral", tolerance=4e-5)
    subject = baseline.codes(restyle_small, person)[0]
    found = baseline.latents(subject, codes, neutral)
    assert_close(found, stored["z_alpha1"], "latents", tolerance=8e-5)
    images = jax.jit(lambda g, w: g.synthesis(w))(restyle_small.generator, found[:2])
    assert_close(images, channels_last(stored["images_alpha1"]), "images", tolerance=2e-4)
