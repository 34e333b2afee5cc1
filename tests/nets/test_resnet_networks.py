"""The networks on a ResNet-50 trunk: DECA's encoder, HopeNet and Deep3DFaceRecon's.

Each against a float64 NumPy forward of its definition at tiny width, which shares no layer with
the library.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from PIL import Image

from jaxface.morphable import FaceParameters
from jaxface.morphable.illumination import spherical_harmonics
from jaxface.nets import DECAEncoderConfig, Deep3DConfig, HopeNetConfig
from jaxface.nets.features.resnet import ResNet
from jaxface.nets.reconstruction.deep3d import in_portrait
from jaxface.weights import abstract_network, build_network, network_arrays, network_names

SIZES = {"blocks": (2, 1), "width": 3, "side": 32}
CONFIGS = {
    "DECAEncoder": DECAEncoderConfig(**SIZES, hidden=7, parameters=9),
    "Deep3D": Deep3DConfig(**SIZES),
    "HopeNet": HopeNetConfig(**SIZES, bins=66),
}
RNG = np.random.default_rng(0)
run = jax.jit(lambda network, images: network(images))


def seeded(class_name):
    """A network whose signal neither dies nor grows, with statistics that are not trivial."""
    arrays = {}
    for name, spec in network_names(abstract_network(class_name, CONFIGS[class_name])).items():
        numbers = RNG.normal(size=spec.shape)
        if name.endswith(".variance"):
            numbers = np.exp(0.2 * numbers)
        elif "norm" in name and name.endswith(".weight"):
            numbers = 1 + 0.1 * numbers
        elif name.endswith((".mean", ".bias")):
            numbers = 0.1 * numbers
        else:
            numbers = numbers / np.sqrt(np.prod(spec.shape[:-1]))
        arrays[name] = numbers.astype(np.float32)
    return build_network(class_name, CONFIGS[class_name], arrays)


NETWORKS = {name: seeded(name) for name in CONFIGS}


def images_of(*size):
    return RNG.uniform(-1, 1, size=(*size, 3)).astype(np.float32)


def norm(x, a, name):
    mean, variance = a[f"{name}.mean"], a[f"{name}.variance"]
    return (x - mean) / np.sqrt(variance + 1e-5) * a[f"{name}.weight"] + a[f"{name}.bias"]


def convolve(x, kernel, *, stride=1):
    return reference.correlate(x, kernel, pad=kernel.shape[0] // 2)[:, ::stride, ::stride]


def reference_trunk(x, a):
    x = np.maximum(norm(convolve(x, a["trunk.stem.weight"], stride=2), a, "trunk.stem_norm"), 0)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    x = np.full((len(x), rows, columns, x.shape[3]), -np.inf)
    for i in range(3):
        for j in range(3):
            x = np.maximum(x, padded[:, i : i + 2 * rows : 2, j : j + 2 * columns : 2])
    for stage, count in enumerate(SIZES["blocks"]):
        for block in range(count):
            name = f"trunk.stages.{stage}.{block}"
            stride = 2 if stage and not block else 1
            y = np.maximum(norm(convolve(x, a[f"{name}.conv1.weight"]), a, f"{name}.norm1"), 0)
            y = convolve(y, a[f"{name}.conv2.weight"], stride=stride)
            y = np.maximum(norm(y, a, f"{name}.norm2"), 0)
            y = norm(convolve(y, a[f"{name}.conv3.weight"]), a, f"{name}.norm3")
            if not block:
                x = convolve(x, a[f"{name}.shortcut.weight"], stride=stride)
                x = norm(x, a, f"{name}.shortcut_norm")
            x = np.maximum(x + y, 0)
    return x.mean(axis=(1, 2))


def linear(x, a, name):
    return x @ a[f"{name}.weight"] + a[f"{name}.bias"]


def expected_of(class_name, images):
    """The published forward, on images of the network's own size."""
    a = {k: np.asarray(v, np.float64) for k, v in network_arrays(NETWORKS[class_name]).items()}
    x = (images.astype(np.float64) + 1) / 2
    if class_name == "DECAEncoder":
        return linear(np.maximum(linear(reference_trunk(x, a), a, "hidden"), 0), a, "out")
    if class_name == "HopeNet":
        x = (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        features, angles = reference_trunk(x, a), []
        for head in ("yaw", "pitch", "roll"):
            share = np.exp(linear(features, a, head))
            share = share / share.sum(axis=1, keepdims=True)
            angles.append(np.radians((share * np.arange(66)).sum(axis=1) * 3 - 99))
        return np.stack(angles, axis=1)
    features = reference_trunk(x, a)
    parts = [linear(features, a, f"heads.{n}") for n in range(7)]
    # 80 identity, 64 expression, 80 texture, 3 angles, 27 light, 2 and 1 translation.
    factors = np.pi * np.array([1] + [2 / np.sqrt(3)] * 3 + [1 / np.sqrt(2)] * 5)
    light = parts[4].reshape(-1, 3, 9)
    light[:, :, 0] += 0.8
    light = light * factors * [1, -1, 1, -1, 1, -1, 1, -1, 1]
    light = light.transpose(0, 2, 1).reshape(-1, 27)
    return np.concatenate([parts[3], parts[5], parts[6], parts[0], parts[2], parts[1], light], 1)


@pytest.mark.parametrize("class_name", CONFIGS)
def test_networks_match_a_float64_forward(class_name):
    images = images_of(3, 32, 32)
    found = run(NETWORKS[class_name], images)
    expected = expected_of(class_name, images)
    # Twelve layers of float32 sums.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("class_name", CONFIGS)
def test_one_image_is_its_row_of_a_batch(class_name):
    images = images_of(4, 40, 40)
    several = run(NETWORKS[class_name], images)
    alone = run(NETWORKS[class_name], images[2:3])
    np.testing.assert_allclose(several[2:3], alone, atol=1e-5 * np.abs(several).max())


def stretched(images, size):
    """Bilinear, corner pixels on corner pixels: by the definition of linear interpolation."""
    n, h, w, c = images.shape
    rows, columns = np.linspace(0, h - 1, size), np.linspace(0, w - 1, size)
    out = np.zeros((n, size, size, c))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            y, x = min(int(row), h - 2), min(int(column), w - 2)
            v, u = row - y, column - x
            top = (1 - u) * images[:, y, x] + u * images[:, y, x + 1]
            bottom = (1 - u) * images[:, y + 1, x] + u * images[:, y + 1, x + 1]
            out[:, i, j] = (1 - v) * top + v * bottom
    return out


@pytest.mark.parametrize("side", [20, 75])
def test_deca_reads_crops_of_other_sizes_as_its_own_code_does(side):
    images = images_of(2, side, side)
    expected = expected_of("DECAEncoder", stretched(images, 32))
    found = run(NETWORKS["DECAEncoder"], images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def pil_resized(images, size, method):
    """By PIL in float: one channel at a time."""
    resized = [
        [
            np.asarray(Image.fromarray(image[..., c], "F").resize(size[::-1], method))
            for c in range(3)
        ]
        for image in images
    ]
    return np.moveaxis(np.asarray(resized), 1, -1)


@pytest.mark.parametrize(
    ("size", "resized", "crop"),
    [
        ((75, 75), (32, 32), (0, 0)),
        ((20, 20), (32, 32), (0, 0)),
        ((64, 100), (32, 50), (0, 9)),
        ((99, 50), (63, 32), (16, 0)),  # 15.5 goes to the even
        ((97, 50), (62, 32), (15, 0)),
        ((32, 33), (32, 33), (0, 0)),  # 0.5 goes to the even
    ],
)
def test_hopenet_reads_images_as_its_transforms_do(size, resized, crop):
    images = images_of(2, *size)
    x = pil_resized(images, resized, Image.Resampling.BILINEAR)
    top, left = crop
    expected = expected_of("HopeNet", x[:, top : top + 32, left : left + 32])
    # PIL's float images are rounded to float32 twice; angles are some radians.
    np.testing.assert_allclose(run(NETWORKS["HopeNet"], images), expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("side", [20, 75])
def test_deep3d_reads_crops_of_other_sizes_as_its_own_code_does(side):
    images = images_of(2, side, side)
    x = np.clip(pil_resized(images, (32, 32), Image.Resampling.BICUBIC), -1, 1)
    expected = expected_of("Deep3D", x)
    found = run(NETWORKS["Deep3D"], images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def cubic_crop(images, square, size):
    """Keys' cubic kernel (a = -1/2), widened where it shrinks, in float64; black outside."""
    left, top, side = (x * images.shape[1] for x in square)
    step = side / size

    def weights(start):
        centres = start + step * (np.arange(size) + 0.5)
        t = np.abs(centres[:, None] - np.arange(images.shape[1]) - 0.5) / max(step, 1)
        near, far = (1.5 * t - 2.5) * t**2 + 1, ((2.5 - 0.5 * t) * t - 4) * t + 2
        found = np.where(t < 1, near, np.where(t < 2, far, 0))
        found /= found.sum(axis=1, keepdims=True)
        found[(centres < 0) | (centres > images.shape[1])] = 0
        return found

    x = (images.astype(np.float64) + 1) / 2
    x = np.einsum("ih,jw,nhwc->nijc", weights(top), weights(left), x)
    return 2 * np.clip(x, 0, 1) - 1


SQUARE = (0.0653, 0.1553, 0.8701)  # reaches beyond the lower edge


@pytest.mark.parametrize("side", [30, 75])
def test_deep3d_sees_its_crop_of_a_portrait(side):
    config = dataclasses.replace(CONFIGS["Deep3D"], portrait_square=SQUARE)
    network = build_network("Deep3D", config, network_arrays(NETWORKS["Deep3D"]))
    images = images_of(2, side, side)
    crops = cubic_crop(images, SQUARE, 32)
    assert (crops[:, -1] == -1).all()
    cut = jax.jit(lambda network, images: network.crop(images))(network, images)
    # Places of 75 pixels in float32 are off by 4e-6, and the kernel rises by up to 2.5 a pixel.
    np.testing.assert_allclose(cut, crops, atol=2e-5)
    expected = expected_of("Deep3D", crops)
    expected[:, 3:6] = in_portrait(jnp.asarray(expected), SQUARE)[:, 3:6]
    found = run(network, images)
    # As far as the crops agree; a dozen layers of float32 sums add less.
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    with pytest.raises(ValueError, match="a side above 0"):
        Deep3DConfig(portrait_square=(0.0, 0.0, 0.0))


def test_a_face_in_the_crop_is_drawn_at_its_place_in_the_portrait():
    """Deep3DFaceRecon's camera: exact where a point's depth is that of the middle of the face."""
    parameters = np.zeros((1, 257))
    parameters[0, 3:6] = 0.1, -0.2, 0.4
    placed = np.asarray(in_portrait(jnp.asarray(parameters, jnp.float32), SQUARE), np.float64)
    assert (placed[:, 6:] == 0).all()
    points = RNG.uniform([-0.6, -0.7, -0.4], [0.6, 0.5, 0.6], (100, 3))

    def drawn(points, translation):
        x, y, z = (points + translation).T
        return np.stack([0.5 + 1015 / 224 * x / (10 - z), 0.5 - 1015 / 224 * y / (10 - z)], 1)

    for depth, worst in ((points[:, 2], 0.011), (0.2, 2e-6)):  # float32 for the second
        points[:, 2] = depth
        expected = np.array(SQUARE[:2]) + SQUARE[2] * drawn(points, parameters[0, 3:6])
        error = np.abs(drawn(points, placed[0, 3:6]) - expected)
        assert error.max() < worst
        assert error.mean() < worst / 3


def test_deep3d_s_light_is_the_original_s():
    """Shading by the original's formula and by ours, for the same network output."""
    network, images = NETWORKS["Deep3D"], images_of(2, 32, 32)
    normals = RNG.normal(size=(2, 50, 3))
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    x, y, z = normals[..., 0], normals[..., 1], normals[..., 2]
    raw = np.asarray(jax.jit(lambda n, i: n.coefficients(i))(network, images), np.float64)
    gamma = raw[:, 227:254].reshape(2, 3, 9)
    gamma = gamma + np.array([0.8] + [0] * 8)
    a = np.array([np.pi, 2 * np.pi / np.sqrt(3), 2 * np.pi / np.sqrt(8)])
    c = np.array([1, np.sqrt(3), 3 * np.sqrt(5 / 3)]) / np.sqrt(4 * np.pi)
    k = a * c
    basis = np.stack(
        [
            k[0] * np.ones_like(x),
            -k[1] * y,
            k[1] * z,
            -k[1] * x,
            k[2] * x * y,
            -k[2] * y * z,
            k[2] / np.sqrt(12) * (3 * z * z - 1),
            -k[2] * x * z,
            k[2] / 2 * (x * x - y * y),
        ],
        axis=-1,
    )
    expected = np.einsum("nvb,ncb->nvc", basis, gamma)
    face = FaceParameters.from_flat(run(network, images))
    light = face.illumination.reshape(2, 9, 3)
    found = spherical_harmonics(jnp.asarray(normals, jnp.float32)) @ light
    np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())
    for field, start, width in (
        ("identity", 0, 80),
        ("expression", 80, 64),
        ("reflectance", 144, 80),
        ("rotation", 224, 3),
        ("translation", 254, 3),
    ):
        expected = raw[:, start : start + width]
        np.testing.assert_allclose(getattr(face, field), expected, rtol=1e-5, atol=1e-6)


def test_gradients_reach_the_image():
    for class_name, network in NETWORKS.items():
        slope = jax.jit(jax.grad(lambda images, network: (network(images) ** 2).sum()))
        gradient = slope(images_of(1, 40, 40), network)
        assert np.isfinite(gradient).all(), class_name
        assert np.abs(gradient).max() > 0, class_name


@pytest.mark.parametrize("class_name", CONFIGS)
def test_what_is_no_image_is_refused(class_name):
    network = NETWORKS[class_name]
    for shape in ((32, 32, 3), (1, 32, 32, 4), (1, 0, 0, 3)):
        with pytest.raises(ValueError, match=rf"{class_name}: expected images \[N, H, W, 3\], got"):
            network(jnp.zeros(shape))
    if class_name != "HopeNet":
        with pytest.raises(ValueError, match=f"{class_name}: expected square crops.* got 32 x 40"):
            network(jnp.zeros((1, 32, 40, 3)))


def test_sizes_that_are_no_trunk_are_refused():
    for config in (DECAEncoderConfig, Deep3DConfig, HopeNetConfig):
        with pytest.raises(ValueError, match=f"{config.__name__}: expected stages of at least one"):
            config(blocks=(3, 0))


def test_the_trunk_against_torchvision():
    """torchvision's own ResNet-50 with random weights and statistics."""
    torch = pytest.importorskip("torch")
    resnet = pytest.importorskip("torchvision.models.resnet")
    from flax import nnx

    from jaxface.convert.families.resnet import trunk_entries, trunk_sizes
    from jaxface.convert.families.torch_layers import counters
    from jaxface.weights import with_arrays

    torch.manual_seed(0)
    theirs = resnet.resnet50(weights=None).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    state = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    sizes = trunk_sizes(state)
    assert sizes == {"blocks": (3, 4, 6, 3), "width": 64}
    entries = trunk_entries(sizes["blocks"], "trunk")
    unused = set(state) - {entry.source for entry in entries} - set(counters(state))
    assert unused == {"fc.weight", "fc.bias"}
    arrays = {
        entry.target.removeprefix("trunk."): entry.hook(state[entry.source]) for entry in entries
    }
    ours = nnx.eval_shape(lambda: ResNet(rngs=nnx.Rngs(0), **sizes))
    assert set(arrays) == set(network_names(ours))
    ours = with_arrays(ours, arrays)
    x = RNG.normal(size=(2, 64, 64, 3)).astype(np.float32)
    theirs.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    found = run(ours, x)
    # Fifty layers of float32 sums.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
