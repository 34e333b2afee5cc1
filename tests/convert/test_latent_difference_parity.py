"""The Latent Difference Encoder's networks, losses and checkpoints against its authors' code.

The parity files were run by TensorFlow 1.15 in float32 on the CPU, with weights by a formula.
Tolerances are five times what their README says that code differs by from float64, of the scale;
where it says nothing, 1e-4.
"""

import itertools
import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.convert import Refusal, convert
from jaxface.convert.families import latent_difference as family
from jaxface.convert.plan import fill
from jaxface.losses.adversarial import nonsaturating_fake, nonsaturating_real, r1_penalty
from jaxface.media.images import from_uint8
from jaxface.media.landmark_images import group_of_colour, landmark_images
from jaxface.methods.adversarial_training import feature_difference, nearest
from jaxface.metrics.hausdorff import hausdorff_by_group
from jaxface.nets import VGGConfig
from jaxface.weights import build_network, load_network

ENCODERS = {
    "landmark_32": (5.9e-6 / 10.4, 2.8e-4 / 5.58),
    "keypoints": (1.0e-4 / 198, 2.3e-5 / 5.72),
    "naive_64": (4.3e-6 / 5.81, 1.6e-4 / 1.90),
    "inversion_64": (5.7e-6 / 8.69, 6.2e-5 / 1.90),
}
"""What the authors' code differs by, of the scale: by moving and by batch statistics."""


def formula(seed, name, shape):
    """The README's, for TensorFlow's names."""
    random = np.random.RandomState((seed * 1000003 + zlib.crc32(name.encode())) % 2**32)
    u = (2 * random.random_sample(int(np.prod(shape))) - 1).reshape(shape) * np.sqrt(3)
    leaf = name.rpartition("/")[2]
    if name == "lod":
        u *= 0
    elif leaf in ("moving_mean", "beta", "bias"):
        u *= 0.1
    elif leaf == "moving_variance":
        u = np.exp(0.2 * u)
    elif name.startswith("encoder/"):
        u *= (np.sqrt(2) if len(shape) == 4 else 1) / np.sqrt(np.prod(shape[:-1]))
    return u.astype(np.float32)


def norm_shapes(name, size):
    leaves = ("beta", "moving_mean", "moving_variance")
    return {f"encoder/{name}/BatchNorm/{leaf}": (size,) for leaf in leaves}


def trunk_shapes(stage, blocks, size, width, most, channels):
    widths = [min(width << k, most) for k in range(size.bit_length() - 2)]
    found = {f"encoder/{stage}_image_stage/weight": (3, 3, channels, widths[0])}
    found |= norm_shapes(f"{stage}_image_stage/bn_input_stage", widths[0])
    for number, (a, b) in enumerate(itertools.pairwise(widths)):
        block, inner = f"{blocks}_res_block_{number}", min(a, b)
        layers = {"conv1": (3, 3, a, inner), "conv2": (3, 3, inner, b)}
        layers |= {"shortcut": (1, 1, a, b)} if a != b else {}
        norms = {"conv1": "bn_1", "conv2": "bn_2", "shortcut": "shortcut_bn"}
        for layer, shape in layers.items():
            found[f"encoder/{block}/{layer}/weight"] = shape
            found |= norm_shapes(f"{block}/{layer}/{norms[layer]}", shape[3])
    return found, 16 * widths[-1]


def encoder_shapes(kind, size=128, width=64, most=1024):
    """Names and shapes of an encoder's variables."""
    if kind in ("naive", "inversion"):
        found, flat = trunk_shapes(
            "input", "encoder", size, width, most, 6 if kind == "naive" else 3
        )
        found["encoder/encoder_fc/weight"] = (flat, 6144)
        return found | norm_shapes("encoder_fc/fc_1", 6144)
    found, flat = {}, 136
    if kind == "landmark":
        found, flat = trunk_shapes("landmark", "landmark_encoder", size, width, most, 3)
    what = "landmark" if kind == "landmark" else "keypoint"
    found["encoder/landmark_encoder_fc/weight"] = (flat, 160)
    found["encoder/latent_code_encoder/weight"] = (512, 32)
    found["encoder/decoder/weight"] = (192, 512)
    found |= norm_shapes(f"landmark_encoder_fc/bn_{what}_encoder", 160)
    found |= norm_shapes("latent_code_encoder/bn_latent_code_encoder", 12)
    return found | norm_shapes("decoder/bn_decoder", 12)


def discriminator_shapes(size, base, most):
    def width(stage):
        return min(base >> stage, most)

    found = {"lod": ()}
    layers = {"FromRGB_lod0": (1, 1, 6, width(size.bit_length() - 2))}
    side = size
    while side > 4:
        stage = side.bit_length() - 2
        layers[f"{side}x{side}/Conv0"] = (3, 3, width(stage), width(stage))
        layers[f"{side}x{side}/Conv1_down"] = (3, 3, width(stage), width(stage - 1))
        side //= 2
    layers["4x4/Conv"] = (3, 3, width(1) + 1, width(1))
    layers["4x4/Dense0"] = (16 * width(1), width(0))
    layers["4x4/Dense1"] = (width(0), 1)
    for name, shape in layers.items():
        found |= {f"{name}/weight": shape, f"{name}/bias": shape[-1:]}
    return found


def network_of(plan_of, seed, shapes):
    plan = plan_of({name: formula(int(seed), name, shape) for name, shape in shapes.items()})
    arrays, _ = fill(plan)
    return build_network(plan.class_name, plan.config, arrays), plan


def images(x):
    return from_uint8(np.moveaxis(x, 1, 3))


def assert_close(found, expected, what, tolerance):
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, what
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert difference < max(tolerance, 1e-5), f"{what}: {difference:.1e} of the scale"


@pytest.fixture(scope="module")
def folder(fixtures):
    return fixtures / "latent_difference"


def inputs_of(kind, stored):
    if kind == "keypoints":
        points = stored["keypoints"].reshape(-1, 68, 2) + 0.5  # from the first pixel's corner
        return jnp.asarray(stored["embedded_w"]), jnp.asarray(points)
    if kind == "landmark":
        return jnp.asarray(stored["embedded_w"]), images(stored["landmarks_uint8"])
    names = ("portraits_uint8", "landmarks_uint8")[: 2 if kind == "naive" else 1]
    return tuple(images(stored[name]) for name in names)


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_equal_the_code(folder, name):
    stored = np.load(folder / f"encoder_{name}_formula.npz")
    kind = name.partition("_")[0]
    sizes = [int(stored[n]) for n in ("size", "filter", "filter_max") if n in stored]
    network, plan = network_of(
        family.encoder_plan, stored["formula_seed"], encoder_shapes(kind, *sizes)
    )
    inputs = inputs_of(kind, stored)
    cotangent = stored["cotangent"].reshape(4, 12, 512)

    for mode, tolerance in zip(("eval", "train"), ENCODERS[name], strict=True):
        graphdef, state = nnx.split(network)

        def total(inputs, mode=mode, graphdef=graphdef, state=state):
            copy = nnx.merge(graphdef, state, copy=True)
            if mode == "train":
                copy.train()
            out = copy(*inputs)
            return jnp.sum(out * cotangent), (out, nnx.state(copy))

        grads, (out, after) = jax.jit(jax.grad(total, has_aux=True))(inputs)
        expected = stored[f"out_{mode}"].reshape(4, 12, 512)
        assert_close(out, expected, f"{name}, {mode}", 5 * tolerance)
        for place, gradient in enumerate(grads):
            wanted = stored[f"grad_{mode}_input{place}"]
            if wanted.ndim == 4:  # of images, strided
                if mode == "train":  # what small variances of four items make of it is noise
                    continue
                gradient = np.moveaxis(np.asarray(gradient), 3, 1)
                step = gradient.shape[2] // wanted.shape[2]
                gradient = gradient[:, :, ::step, ::step]
            gradient = np.reshape(gradient, wanted.shape)
            assert_close(gradient, wanted, f"{name}, gradient by input {place}", 1e-4)
        if mode == "train":
            moved = nnx.merge(graphdef, after)
            entries = {entry.source: entry.target for entry in plan.entries}
            for key in (k for k in stored if k.startswith("after_one_train_forward|")):
                source = key.partition("|")[2]
                found = moved
                for part in entries[source].split("."):
                    found = found[int(part)] if part.isdigit() else getattr(found, part)
                assert_close(found[...], stored[key], source, 1e-4)


@pytest.mark.slow
def test_the_full_encoder_equals_the_code(folder):
    stored = np.load(folder / "encoder_landmark_128_formula.npz")
    manifest = json.loads((folder / "manifest_encoder_landmark_128.json").read_text())
    shapes = {name: tuple(shape) for name, (shape, *_) in manifest.items()}
    assert shapes == encoder_shapes("landmark")
    network, _ = network_of(family.encoder_plan, stored["formula_seed"], shapes)
    out = network(*inputs_of("landmark", stored))
    assert_close(out, stored["out_eval"], "128 px", 1e-5)


@pytest.mark.parametrize("size", [32, pytest.param(128, marks=pytest.mark.slow)])
def test_the_discriminator_equals_the_code(folder, size):
    stored = np.load(folder / f"discriminator_{size}_formula.npz")
    base, most = (int(stored.get(n, d)) for n, d in (("fmap_base", 8192), ("fmap_max", 512)))
    network, _ = network_of(
        family.discriminator_plan, stored["formula_seed"], discriminator_shapes(size, base, most)
    )
    portraits, landmarks = (images(stored[f"{n}_uint8"]) for n in ("images", "landmarks"))

    def discriminate(portraits, landmarks=landmarks):
        return network(jnp.concatenate([portraits, landmarks], axis=3))

    assert_close(discriminate(portraits), stored["scores"], "scores", 5e-6)
    if size == 32:
        first = discriminate(portraits[:4], landmarks[:4])
        assert_close(first, stored["scores_batch4"], "scores of four", 5e-6)
        return
    rolled = discriminate(portraits, jnp.roll(landmarks, 1, axis=0))
    assert_close(rolled, stored["scores_landmarks_rolled"], "rolled", 5e-6)
    penalty, _ = r1_penalty(discriminate, portraits)
    assert_close(penalty.mean(), stored["r1_penalty_before_gamma_half"], "penalty", 1e-4)


@pytest.fixture(scope="module")
def cycle(folder):
    """The stored cycle and its networks E and D."""
    stored = np.load(folder / "cycle_losses.npz")
    seeds = stored["formula_seeds_E_Inv_D_G_Gs"]
    networks = {}
    shapes = encoder_shapes("landmark", 128, 4, 8)
    networks["E"], _ = network_of(family.encoder_plan, seeds[0], shapes)
    shapes = discriminator_shapes(128, 256, 8)
    networks["D"], _ = network_of(family.discriminator_plan, seeds[2], shapes)
    return stored, networks


def test_the_cycle_equals_the_code(cycle):
    """Codes by batch statistics from the stored inversion, and the losses of their scores."""
    stored, networks = cycle
    portraits, own, other = (
        images(stored[name])
        for name in ("portraits_uint8", "landmarks_uint8", "shuffled_landmarks_uint8")
    )
    networks["E"].train()
    w0 = jnp.asarray(stored["w_embedded"])
    wm = networks["E"](w0, other)
    wr = networks["E"](wm, own)
    for name, found in (("manipulated", wm), ("reconstructed", wr)):
        assert_close(found, stored[f"w_{name}"], name, 2e-3)
    loss, reconstruction, adversarial = stored["pose_loss_recon_adv"]
    assert float(jnp.mean(jnp.square(wr - w0))) == pytest.approx(reconstruction, rel=1e-3)
    fooled = sum(
        float(nonsaturating_real(stored[f"score_{name}"]).mean())
        for name in ("manipulated", "reconstructed")
    )
    assert fooled == pytest.approx(adversarial, rel=1e-5)
    assert reconstruction + 0.05 * adversarial == pytest.approx(loss, rel=1e-5)

    penalty, real = r1_penalty(
        lambda x: networks["D"](jnp.concatenate([x, own], axis=3)), portraits
    )
    assert_close(real, stored["score_real"], "real scores", 1e-5)
    _, fake, truth, gp = stored["D_loss_fake_real_gp_pose"]
    assert float(nonsaturating_real(real).mean()) == pytest.approx(truth, rel=1e-5)
    assert float(nonsaturating_fake(stored["score_fake_pose"]).mean()) == pytest.approx(
        fake, rel=1e-5
    )
    assert float(penalty.mean()) in (
        pytest.approx(gp, rel=1e-3),
        pytest.approx(gp / 5, rel=1e-3),
    )


def test_features_of_the_image_space_cycle(folder, cycle):
    """VGG-16 as Keras has it: BGR in 0..255 less a mean, of the nearest pixels."""
    stored, (inputs, _) = np.load(folder / "image_space_cycle.npz"), cycle
    seed, channels, arrays = int(stored["formula_seed_vgg"]), 3, {}
    numbers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    widths = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    for place, (number, width) in enumerate(zip(numbers, widths, strict=True)):
        key = f"features.{number}"
        for leaf, shape in (("weight", (width, channels, 3, 3)), ("bias", (width,))):
            random = np.random.RandomState(
                (seed * 1000003 + zlib.crc32(f"{key}.{leaf}".encode())) % 2**32
            )
            u = (2 * random.random_sample(int(np.prod(shape))) - 1).reshape(shape) * np.sqrt(3)
            if leaf == "bias":
                arrays[f"layers.{place}.bias"] = 0.1 * u
                continue
            kernel = (np.sqrt(2) * u / np.sqrt(np.prod(shape[1:]))).transpose(2, 3, 1, 0)
            # The code's channels are blue first.
            arrays[f"layers.{place}.weight"] = kernel[:, :, ::-1] if place == 0 else kernel
        channels = width
    means = (123.68 / 255, 116.779 / 255, 103.939 / 255)
    network = build_network("VGG16", VGGConfig(mean=means, std=(1 / 255,) * 3), arrays)
    portraits = images(inputs["portraits_uint8"])
    size = int(stored["perceptual_img_size"])
    small = nearest(portraits, size)
    features = network.features(small, ("relu4_3",))["relu4_3"].reshape(4, -1)[:, ::97]
    np.testing.assert_allclose(small[:1], stored["vgg_input_real"], atol=1e-6)
    assert_close(features, stored["features_real_stride97"], "features", 1e-5)
    same = feature_difference(network, portraits[:1], portraits[:1], size=size)
    assert float(same[0]) == 0.0


@pytest.fixture(scope="module")
def lines(folder):
    return np.load(folder / "landmark_images.npz")


draw = jax.jit(landmark_images, static_argnums=1, static_argnames="outside")


@pytest.mark.parametrize("suffix", ["", "_64", "_256"])
def test_landmark_images_equal_matplotlibs(lines, suffix):
    """The mean over all pixels is off by less than a quarter of a grey level, and by more than 32
    in a pixel in fifty of those that lines touch: at joints and where lines cross."""
    points = lines[f"keypoints{suffix}"].reshape(-1, 68, 2) + 0.5
    wanted = lines[f"image{suffix}" if suffix else "images"]
    wanted = wanted.reshape(len(points), *wanted.shape[-3:]).astype(int)
    found = draw(jnp.asarray(points), wanted.shape[1], outside="grow")
    found = np.round((np.asarray(found) + 1) * 127.5).astype(int)
    off = np.abs(found - wanted)
    assert off.max() < 64
    assert off.mean(axis=(1, 2, 3)).max() < 0.25
    far, touched = (off.max(-1) > 32).sum((1, 2)), (wanted.max(-1) > 0).sum((1, 2))
    assert (far <= 0.02 * touched).all()


def test_hausdorff_distances_equal_the_code(lines):
    for pair, total, groups in zip(
        lines["hausdorff_pairs"], lines["hausdorff"], lines["hausdorff_per_group"], strict=True
    ):
        first, second = (group_of_colour(lines["images"][place]) for place in pair)
        found = hausdorff_by_group(first, second)
        np.testing.assert_allclose(list(found.values()), groups, rtol=1e-6)
        assert sum(found.values()) == pytest.approx(total, rel=1e-6)


def test_a_checkpoint_is_converted(folder, tmp_path):
    path = folder / "network-snapshot-00000128.pkl"
    stored = np.load(folder / "network-snapshot-00000128.npz")
    target = tmp_path / "latent_difference.safetensors"
    done = convert("latent_difference", path, target)
    assert done.family == "latent_difference"
    out = load_network(target)(*inputs_of("landmark", stored))
    assert_close(out, stored["E_out_eval"], "converted", 1e-5)
    convert("latent_difference", path, tmp_path / "landmark_discriminator.safetensors", network="D")
    with pytest.raises(Refusal, match="StyleGAN's first generator"):
        convert("latent_difference", path, tmp_path / "generator.safetensors", network="Gs")
