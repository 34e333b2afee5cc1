"""PVP's parts against numbers made by the authors' code.

The parity files were run by PyTorch in float32 on the CPU, with synthetic weights. Tolerances are
twenty times what upstream varies by between two runs, as their README derives, and never below
1e-5 relative.
"""

import dataclasses
import functools
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trunk_checkpoints as trunks
from fixture_formula import formula, formula_state, manifest
from flax import nnx
from pickle_writer import torch_zip
from test_arcface import official
from test_parity import converted
from test_resnet_families import checkpoint

from jaxface.convert import convert
from jaxface.latents import dilated, hull_weights
from jaxface.media.alignment import ffhq_transform
from jaxface.media.following.smoothing import smooth_values
from jaxface.media.images import from_uint8
from jaxface.methods import pti
from jaxface.methods.pvp import MapperSettings
from jaxface.methods.pvp.features import Layout, renormalised
from jaxface.methods.pvp.key_frames import clustered, clusters
from jaxface.methods.pvp.losses import Batch, Drawn, Frozen, draw, embedded, mapper_losses
from jaxface.methods.pvp.regions import eyes_and_mouth
from jaxface.methods.pvp.settings import REPO
from jaxface.methods.pvp.tuning import energy
from jaxface.morphable.flame_parameters import FlameParameters
from jaxface.morphable.motion import Motion, euler_angles
from jaxface.morphable.rotations import axis_angle_to_matrix
from jaxface.nets import AvatarConfig, AvatarMappers
from jaxface.nets.stylegan2.generator import with_synthesis
from jaxface.weights import load_network
from tests.methods.linear_avatar_world import SETTINGS, World, training_of
from tests.methods.linear_avatar_world import Reader as LinearReader


def assert_close(found, expected, what, *, tolerance=1e-5):
    """Relative to the largest magnitude."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    assert found.shape == expected.shape, what
    difference = np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12)
    assert difference < tolerance, f"{what}: {difference:.1e} of the scale"


def channels_last(x):
    return np.moveaxis(np.asarray(x), -3, -1)


def arrays_of(weights):
    """The two networks' arrays from PyTorch's: heads first, dense weights [in, out]."""
    found = {}
    heads = [f"expr_net.{row}" for row in range(8)]
    for part, names in (("rotation", ["alpha_net"]), ("expression", heads)):
        for number, layer in ((1, 0), (2, 2)):
            own = [np.asarray(weights[f"{name}.{layer}.weight"]).T for name in names]
            found[f"{part}.weight{number}"] = np.stack(own)
            own = [np.asarray(weights[f"{name}.{layer}.bias"]) for name in names]
            found[f"{part}.bias{number}"] = np.stack(own)
    return found


def mappers_of(weights, anchors):
    arrays = arrays_of(weights)
    config = AvatarConfig(
        anchors=len(anchors),
        num_ws=anchors.shape[1],
        w_dim=anchors.shape[2],
        expression=arrays["expression.weight1"].shape[1],
        hidden=arrays["expression.weight1"].shape[2],
    )
    mappers = AvatarMappers(config, rngs=nnx.Rngs(0))
    for name, value in arrays.items():
        part, leaf = name.split(".")
        getattr(getattr(mappers, part), leaf)[...] = jnp.asarray(value)
    mappers.anchors[...] = jnp.asarray(anchors)
    return mappers


@pytest.fixture(scope="module", name="stored")
def stored_mappers(fixtures):
    return np.load(fixtures / "pvp" / "mappers.npz")


def weights_of(stored, name):
    prefix = f"{name}|weight|"
    found = {f"{k}": stored[f"small|weight|{k}"] for k in _names(stored)}
    return found | {k.removeprefix(prefix): stored[k] for k in stored.files if k.startswith(prefix)}


def _names(stored):
    prefix = "small|weight|"
    return [key.removeprefix(prefix) for key in stored.files if key.startswith(prefix)]


def pose_of(stored):
    return np.deg2rad(np.concatenate([stored["pitch_degrees"], stored["yaw_degrees"]], axis=1))


@pytest.mark.parametrize("name", ["small", "large"])
def test_mappers(stored, name):
    mappers = mappers_of(weights_of(stored, name), stored["anchors"])
    pose = jnp.asarray(pose_of(stored))
    assert mappers.config.beta == stored["beta"]
    assert mappers.config.sharpness == stored["softplus_sharpness"]
    residual = jax.jit(lambda m, p: m.rotation(p)[:, 0])(mappers, pose)
    assert_close(residual, stored[f"{name}|F_rot"], "F_rot")
    weights = jax.jit(lambda m, p: m.weights(p))(mappers, pose)
    assert_close(weights, stored[f"{name}|alpha"], "alpha")
    sums = np.asarray(stored[f"{name}|alpha_before_division"]).sum(axis=1)
    assert_close(jax.jit(lambda m, p: m.weight_sums(p))(mappers, pose), sums, "sums")
    final = jax.jit(lambda m, p, e: m(p, e))(mappers, pose, jnp.asarray(stored["features"]))
    assert_close(final, stored[f"{name}|w_final"][:, 0], "w_final")
    if name == "small":
        assert_close(mappers.turned(pose), stored["small|w_rot"], "w_rot")
        offsets = mappers.offsets(jnp.asarray(stored["features"]))
        assert_close(offsets, stored["small|delta"], "offsets")


def test_the_hull_s_weights_of_every_kind_of_residual(stored):
    count = stored["constraint_in"].shape[1]
    residual = jnp.asarray(stored["constraint_in"]) - 1.0 / count
    how = {"beta": 0.02, "sharpness": 100.0}
    assert_close(
        dilated(residual, **how).sum(axis=1), stored["constraint_sum_before_division"], "sums"
    )
    found = hull_weights(residual, **how)
    for row, (ours, theirs) in enumerate(zip(found, stored["constraint_out"], strict=True)):
        assert_close(ours, theirs, f"row {row}", tolerance=1e-4)


def test_mappers_of_the_published_size(fixtures):
    reference = np.load(fixtures / "pvp" / "mappers_full_formula.npz")
    count, rows = int(reference["K"]), int(reference["rows"])
    shapes = {"alpha_net.0": (128, 2), "alpha_net.2": (count, 128)}
    for row in range(8):
        shapes |= {f"expr_net.{row}.0": (128, 53), f"expr_net.{row}.2": (512, 128)}
    keys = {f"{name}.weight": shape for name, shape in shapes.items()}
    keys |= {f"{name}.bias": shape[:1] for name, shape in shapes.items()}
    seed = int(reference["formula_seed"])
    weights = {key: formula(seed, key, shape, keys) for key, shape in keys.items()}
    for key in ("alpha_net.2.weight", "alpha_net.2.bias"):
        weights[key] = weights[key] * np.float32(reference["alpha_net_2_scale"])
    random = np.random.RandomState((seed * 1000003 + _crc(b"all_anchors")) % 2**32)
    sample = random.random_sample(count * rows * 512)
    anchors = ((2.0 * sample - 1.0) * np.sqrt(3.0)).reshape(count, rows, 512).astype(np.float32)
    mappers = mappers_of(weights, anchors)
    sizes = [
        sum(x.size for x in jax.tree.leaves(nnx.state(part, nnx.Param)))
        for part in (mappers.rotation, mappers.expression)
    ]
    assert sizes == reference["n_parameters"].tolist() == [26_184, 583_680]
    pose = jnp.asarray(pose_of(reference))
    assert_close(mappers.weights(pose), reference["alpha"], "alpha", tolerance=2e-5)
    features = jnp.asarray(reference["features"])
    assert_close(mappers.offsets(features)[:1], reference["delta"], "offsets", tolerance=2e-5)
    final = mappers(pose, features)
    assert_close(final[:1], reference["w_final"][:, 0], "w_final", tolerance=2e-5)


def _crc(data):
    import zlib

    return zlib.crc32(data)


def test_eyes_and_mouth(fixtures):
    reference = np.load(fixtures / "pvp" / "mask.npz")
    size = int(reference["size"])
    # Their first pixel's centre is at 0.
    found = np.asarray(eyes_and_mouth(reference["lmks"] + 0.5, size=size))
    expected = reference["mask_float16"][:, 0].astype(np.float32)
    # They fill convex polygons row by row: 9 pixels of 3071 more than those inside.
    assert np.abs(found - expected).mean() < 2e-4
    assert np.abs(found - expected).max() < 0.1


def test_angles_and_their_signs(fixtures):
    reference = np.load(fixtures / "pvp" / "angles.npz")
    matrices = axis_angle_to_matrix(jnp.asarray(reference["rotvec"]))
    assert_close(matrices, reference["R"], "rotations", tolerance=1e-5)
    pitch, yaw, _ = np.asarray(euler_angles(matrices)).T
    assert_close(np.rad2deg(pitch), reference["pitch_train"][:, 0], "pitch", tolerance=2e-5)
    theirs = np.tan(np.deg2rad(reference["yaw_train"][:, 0]))
    assert_close(-np.tan(yaw) / np.cos(pitch), theirs, "the tangent of their yaw", tolerance=2e-5)


def test_clusters_from_a_given_start(fixtures):
    reference = np.load(fixtures / "pvp" / "keyframes.npz")
    rows = slice(0, int(reference["val_start"]))
    # They cluster angles of the transposed rotation, in degrees: whitening takes both units out.
    pose, expression = reference["pose"][rows], reference["expr"][rows]
    whitened = reference["whitened"]
    angles = np.deg2rad(np.asarray(reference["features"][:, :2]))
    motion = Motion(np.pad(angles, ((0, 0), (0, 1))), pose[:, 3:], expression, "flame")
    assert_close(clustered(motion), whitened, "whitened", tolerance=2e-5)
    count = int(reference["n_cluster"])
    labels = clusters(whitened, count, restarts=1, seed=0, start=reference["guess"])
    np.testing.assert_array_equal(labels, reference["cluster_ids_from_guess"])
    centres = np.stack([whitened[labels == k].mean(axis=0) for k in range(count)])
    assert_close(centres, reference["codebook_from_guess"], "centres")
    # One frame of each cluster, as theirs were.
    assert len({int(reference["cluster_ids"][frame]) for frame in reference["chosen"]}) == count


def test_renormalised_features(fixtures):
    reference = np.load(fixtures / "pvp" / "renormalise_formula_only.npz")

    def motion(values):
        values = np.asarray(values)
        return Motion(np.zeros((len(values), 3)), values[:, :3], values[:, 3:], "flame")

    driving = motion(reference["driving"])
    found = renormalised(driving, clip=driving, own=motion(reference["source"]))
    ours = np.concatenate([found.jaw, found.expression], axis=1)
    assert_close(ours, reference["out"], "features")


def test_squares_and_their_smoothing(fixtures):
    """The centre by a frame's deviation, the axes by three, at 25 frames a second; their filter is
    cut at four deviations and mirrors the clip at its ends."""
    reference = np.load(fixtures / "pvp" / "alignment.npz")
    squares = [ffhq_transform(p, size=64, source=(96, 96)) for p in reference["landmarks"]]
    assert_close([square.center for square in squares], reference["quad_c"], "centres")
    assert_close([square.right for square in squares], reference["quad_x"], "axes")
    times = np.arange(len(squares)) / 25
    inner = slice(13, -13)
    for raw, name, sigma in (("quad_c", "smooth_c", 0.04), ("quad_x", "smooth_x", 0.12)):
        found = smooth_values(times, reference[raw], sigma)[inner]
        assert_close(found, reference[name][inner], name, tolerance=1e-4)


# The losses of the mappers.


class Reader:
    """DECA of the code's crop of a render, with kappa as the code has it: pose[:3] as it is."""

    def __init__(self, network, tform):
        self.network, self.tform = network, tform

    def read(self, images):
        crops = warped(images, self.tform, 224)
        return FlameParameters.from_flat(self.network(crops))

    def motion(self, faces):
        return Motion(faces.pose[:, :3], faces.pose[:, 3:], faces.expression, "flame")


jax.tree_util.register_pytree_node(
    Reader, lambda r: ((r.network, r.tform), None), lambda _, leaves: Reader(*leaves)
)


def warped(images, tform, size):
    """kornia's warp_perspective of 0.6: bilinear, zeros outside, half a pixel outwards."""
    places = jnp.arange(size, dtype=jnp.float32)
    scale, shift = tform[0, 0], tform[:2, 2]
    length = images.shape[1]
    source = [(places - shift[axis]) / scale for axis in (0, 1)]
    source = [each * length / (length - 1) - 0.5 for each in source]
    across, down = (
        jnp.maximum(1.0 - jnp.abs(each[:, None] - jnp.arange(length)), 0.0) for each in source
    )
    # In [0, 1], where zeros outside are black.
    return jnp.einsum("ij,njkc,lk->nilc", down, (images + 1) / 2, across) * 2 - 1


@pytest.mark.slow  # DECA, ArcFace and VGG-16 of full width
def test_losses_and_their_gradients(fixtures, tmp_path, stored):
    reference = np.load(fixtures / "pvp" / "mapper_losses.npz")
    generator = converted(fixtures / "nv_stylegan2_ada_64.pkl", tmp_path)
    shapes = manifest(fixtures / "manifest_deca_E_flame.json")
    state = formula_state(int(reference["deca_formula_seed"]), shapes)
    (tmp_path / "deca").write_bytes(torch_zip(checkpoint("deca", state)))
    convert("auto", tmp_path / "deca", tmp_path / "deca.safetensors")
    reader = Reader(
        load_network(tmp_path / "deca.safetensors"), jnp.asarray(reference["tform"][0, 0])
    )
    heads = np.load(fixtures / "lpips_formula.npz")
    make = trunks.formula(int(reference["vgg_formula_seed"]))
    trunk = trunks.torchvision_state("vgg", trunks.PUBLISHED["vgg"], make)
    lins = {f"lin{k}.model.1.weight": heads[f"vgg_lin{k}_weight"] for k in range(5)}
    (tmp_path / "lpips").write_bytes(torch_zip(trunks.lpips_state("vgg", trunk, lins)))
    convert("auto", tmp_path / "lpips", tmp_path / "lpips.safetensors")
    recognition = official(fixtures, int(reference["arcface_formula_seed"]))
    frozen = Frozen(generator, reader, load_network(tmp_path / "lpips.safetensors"), recognition)
    settings = REPO.mappers
    weights = dict(each.split("=") for each in reference["weights"].tolist())
    assert settings.pixel_weight == float(weights["pixel_loss"])
    assert settings.locality_weight == float(weights["manifold_loss"])
    mappers = mappers_of(weights_of(stored, "small"), stored["anchors"])
    aligned = channels_last(reference["aligned_uint8"]).repeat(8, 1).repeat(8, 2)
    angles = euler_angles(axis_angle_to_matrix(jnp.asarray(reference["pose"][:, :3])))
    pitch, yaw = angles[:, 0], angles[:, 1]
    # The network was made for the authors' yaw.
    theirs = jnp.arctan(-jnp.tan(yaw) / jnp.cos(pitch))
    moving = reference["mask_512_stride4"][:, 0]
    landmarks = reference["lmks"]
    whole = eyes_and_mouth(landmarks + 0.5, size=512)
    assert np.abs(np.asarray(whole)[:, ::4, ::4] - moving).mean() < 2e-4
    features = np.concatenate([reference["pose"][:, 3:], reference["expr"]], axis=1)
    batch = Batch(
        images=jnp.asarray(aligned),
        pose=jnp.stack([pitch, theirs], axis=1),
        expression=jnp.asarray(features),
        rotation=jnp.asarray(reference["gt_pose"]),
        identity=embedded(settings, recognition, from_uint8(jnp.asarray(aligned))),
        moving=whole,
    )
    noise = jnp.pad(float(reference["sigma"]) * jnp.asarray(reference["eps"]), ((0, 0), (3, 0)))
    _, params, rest = nnx.split(mappers, nnx.Param, ...)

    @functools.partial(jax.jit, static_argnums=0)
    def gradients(settings, params, rest, frozen, batch):
        def total(params):
            own = nnx.merge(nnx.graphdef(mappers), params, rest)
            drawn = draw(settings, own, frozen.generator, batch, noise)
            # The code compares at 512 px.
            big = [enlarged(x, 512) for x in (drawn.image, drawn.perturbed)]
            compared = Drawn(_Both(big[0], None), _Both(big[1], drawn.perturbed), *drawn[2:])
            loss, terms = _losses(settings, frozen, batch, compared)
            return loss[0], (terms, drawn, big[0])

        return jax.value_and_grad(total, has_aux=True)(params)

    ((loss, (terms, drawn, big)), gradient) = gradients(settings, params, rest, frozen, batch)
    assert_close(drawn.image, channels_last(reference["render"]), "I'", tolerance=5e-5)
    assert_close(
        drawn.perturbed, channels_last(reference["render_perturbed"]), "I_e", tolerance=5e-5
    )
    assert_close(big[:, ::8, ::8], channels_last(reference["pred_rgb_512_stride8"]), "512 px")
    told = {
        "perceptual": ("lpips", 2e-5),
        "pixel": ("pixel_loss", 1e-5),
        "identity": ("id_loss", 2e-5),
        "expression": ("expr_loss", 2e-5),
        "pose": ("pose_loss", 2e-4),
        "consistency": ("consistency_loss", 2e-4),  # the mask's edge, see above
        "locality": ("manifold_loss", 1e-5),
    }
    for name, (theirs, tolerance) in told.items():
        expected = float(reference[f"log|{theirs}"])
        np.testing.assert_allclose(terms[name][0], expected, rtol=tolerance, err_msg=name)
    np.testing.assert_allclose(loss, reference["log|loss"], rtol=5e-5)
    prefix = "grad|total|"
    names = [k.removeprefix(prefix) for k in reference.files if k.startswith(prefix)]
    expected = arrays_of({k: reference[prefix + k] for k in names if not k.startswith("noise")})
    for path, theirs in expected.items():
        part, leaf = path.split(".")
        ours = gradient[part][leaf][...]
        assert_close(ours, theirs, f"gradient of {path}", tolerance=1e-3)


def enlarged(images, size):
    """PyTorch's bilinear interpolation with align_corners and antialias both: the scale is from
    corner to corner, and the places are those of pixels' edges."""
    length = images.shape[1]
    places = (np.arange(size) + 0.5) * ((length - 1) / (size - 1)) - 0.5
    weights = np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(length)))
    weights = jnp.asarray(weights / weights.sum(axis=1, keepdims=True), jnp.float32)
    return jnp.einsum("ij,njkc,lk->nilc", weights, images, weights, precision="highest")


class _Both:
    """An image at 512 px, and what the reader gets of it."""

    def __init__(self, image, small):
        self.image, self.small = image, small


def _losses(settings, frozen, batch, compared):
    """`mapper_losses`, where the reader sees the render as it is and the rest sees 512 px."""
    faces = frozen.faces
    small = compared.perturbed.small

    class AsItIs:
        read = staticmethod(lambda images: faces.read(small))
        motion = staticmethod(faces.motion)

    drawn = Drawn(compared.image.image, compared.perturbed.image, *compared[2:])
    own = Frozen(frozen.generator, AsItIs(), frozen.lpips, frozen.recognition)
    scale = jnp.ones(batch.expression.shape[1])
    return mapper_losses(settings, own, batch, drawn, expression_scale=scale, layout=Layout(3, 0))


def test_which_losses_reach_which_network(fixtures):
    """As the code's gradients do: L_local F_expr alone, all others both."""
    reference = np.load(fixtures / "pvp" / "mapper_losses.npz")
    names = {"locality": "manifold", "expression": "expr", "pixel": "pixel"}
    names |= {name: name for name in ("pose", "consistency")}
    training, frames = training_of(SETTINGS)
    batch, mappers = jax.tree.map(lambda leaf: leaf[:4], frames), training._mappers
    graphdef, params, rest = nnx.split(mappers, nnx.Param, ...)

    @jax.jit
    @jax.jacrev
    def gradients(params):
        own = nnx.merge(graphdef, params, rest)
        linear = World().synthesis
        # Of a linear generator differences of two images would not know the code that both have.
        curved = SimpleNamespace(synthesis=lambda *given: jnp.tanh(linear(*given)))
        drawn = draw(SETTINGS, own, curved, batch, 0.5 * jnp.ones(batch.expression.shape))
        scale = jnp.ones(batch.expression.shape[1])
        frozen = Frozen(World(), LinearReader())
        options = {"expression_scale": scale, "layout": Layout(3, 0)}
        _, terms = mapper_losses(SETTINGS, frozen, batch, drawn, **options)
        return {name: terms[name].mean() for name in names}

    found = gradients(params)
    for ours, theirs in names.items():
        for part, net in (("rotation", "alpha_net.2"), ("expression", "expr_net.0.2")):
            largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(found[ours][part]))
            assert (largest > 0) == (reference[f"grad|{theirs}|{net}.weight"].size > 0), (
                ours,
                part,
            )


# The tuning of one generator.


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "locality"])
def test_tuning_of_one_generator_to_three_images(name, fixtures, tmp_path):
    reference = np.load(fixtures / "pvp" / "pti_multi.npz")
    generator = converted(fixtures / "nv_stylegan2_ada_64.pkl", tmp_path)
    heads = np.load(fixtures / "lpips_formula.npz")
    make = trunks.formula(int(reference["alex_formula_seed"]))
    state = trunks.torchvision_state("alex", trunks.PUBLISHED["alex"], make)
    lins = {f"lin{k}.model.1.weight": heads[f"alex_lin{k}_weight"] for k in range(5)}
    (tmp_path / "lpips").write_bytes(torch_zip(trunks.lpips_state("alex", state, lins)))
    convert("auto", tmp_path / "lpips", tmp_path / "lpips.safetensors")
    networks = pti.Networks(generator, load_network(tmp_path / "lpips.safetensors"))
    settings = dataclasses.replace(REPO.tuning, locality=name == "locality")
    assert settings.learning_rate == reference["lr"]
    images = from_uint8(channels_last(reference["images_uint8"]))
    weights = jax.tree.map(lambda leaf: leaf[0], pti.start(networks, 1, settings=settings))
    optimizer = optax.adam(settings.learning_rate)

    @jax.jit
    def step(weights, moments, networks, image, pivot, z):
        targets = pti.read_targets(settings, networks, image[None], pivot[None])
        near = None
        if settings.locality:
            w_z = networks.generator.mapping(z, truncation=settings.truncation)
            near = pti.locality_latents(settings, w_z, pivot)

        def total(weights):
            synthesis = with_synthesis(networks.generator, weights).synthesis
            return energy(settings, networks, synthesis, targets, near)

        (loss, terms), gradient = jax.value_and_grad(total, has_aux=True)(weights)
        updates, moments = optimizer.update(gradient, moments, weights)
        return optax.apply_updates(weights, updates), moments, loss, terms

    moments, found = optimizer.init(weights), []
    for index in range(len(reference["plain|loss"])):
        place = index % len(images)
        z = np.asarray(reference["locality|z_samples"][index], np.float32)
        pivot = reference["pivots"][place]
        weights, moments, loss, terms = step(weights, moments, networks, images[place], pivot, z)
        found.append([float(loss), float(terms["l2"]), float(terms["lpips"])])
    for ours, theirs in zip(np.array(found).T, ("loss", "l2", "lpips"), strict=True):
        np.testing.assert_allclose(ours, reference[f"{name}|{theirs}"], rtol=1e-4, err_msg=theirs)


def test_published_numbers(fixtures):
    settings = MapperSettings()
    assert (settings.steps, settings.learning_rate, settings.sigma) == (50_000, 5e-4, 0.5)
    reference = np.load(fixtures / "pvp" / "mapper_losses.npz")
    weights = {k: float(v) for k, v in (each.split("=") for each in reference["weights"].tolist())}
    names = {
        "pixel": "pixel_loss",
        "perceptual": "lpips_loss",
        "locality": "manifold_loss",
        "identity": "id_loss",
        "expression": "expr_loss",
        "pose": "pose_loss",
        "consistency": "consistency_loss",
    }
    published = {ours: weights[theirs] for ours, theirs in names.items()}
    assert settings.weights == published | {"gaze": 0}  # ours alone
