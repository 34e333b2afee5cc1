"""The face-api package's networks: independent forwards, the original's numbers, refusals.

The package's model files are not part of the repository; ``JAXFACE_FACE_API`` names their folder.
"""

import hashlib
import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
import torch_reference as ref

from jaxface.convert import Refusal, convert
from jaxface.nets.landmarks.face_landmarks import FaceLandmarkConfig
from jaxface.nets.recognition.dlib_resnet import DlibResNetConfig
from jaxface.weights import load_network, read_header

MEAN = np.array([122.782, 117.001, 104.298])


def recognition(channels=(2, 3, 4, 6), blocks=(1, 1, 0, 1), embedding=5):
    """Names and shapes of the recognition network's weights, in the file's order."""
    shapes = {}

    def conv(name, inputs, outputs, size):
        shapes[f"{name}/conv/filters"] = (size, size, inputs, outputs)
        for part in ("conv/bias", "scale/weights", "scale/biases"):
            shapes[f"{name}/{part}"] = (outputs,)

    def residual(name, inputs, outputs):
        conv(f"{name}/conv1", inputs, outputs, 3)
        conv(f"{name}/conv2", outputs, outputs, 3)

    conv("conv32_down", 3, channels[0], 7)
    for i, (label, count) in enumerate(zip((32, 64, 128, 256), blocks, strict=True)):
        if i > 0:
            residual(f"conv{label}_down", channels[i - 1], channels[i])
        for j in range(1, count + 1):
            residual(f"conv{label}_{j}", channels[i], channels[i])
    residual("conv256_down_out", channels[3], channels[3])
    shapes["fc"] = (channels[3], embedding)
    return shapes


def landmarks(channels=(3, 4), convolutions=3, outputs=136):
    """Names and shapes of a landmark network's weights."""
    shapes, inputs = {}, 3
    for n, width in enumerate(channels):
        for j in range(convolutions):
            name = f"dense{n}/conv{j}"
            if n == j == 0:
                shapes[f"{name}/filters"] = (3, 3, 3, width)
            else:
                shapes[f"{name}/depthwise_filter"] = (3, 3, inputs, 1)
                shapes[f"{name}/pointwise_filter"] = (1, 1, inputs, width)
            shapes[f"{name}/bias"] = (width,)
            inputs = width
    return shapes | {"fc/weights": (inputs, outputs), "fc/bias": (outputs,)}


def stored(shapes, *, plain=()):
    """A manifest, the bytes of its file, and the arrays in it; every third in 16 bits."""
    random = np.random.RandomState(0)
    weights, data, arrays = [], b"", {}
    for index, (name, shape) in enumerate(shapes.items()):
        entry = {"name": name, "shape": list(shape), "dtype": "float32"}
        if name in plain:
            array = random.standard_normal(shape).astype("<f4") * 0.3
        else:
            bits = 16 if index % 3 == 0 else 8
            values = random.randint(0, 2**bits, shape).astype(f"<u{bits // 8}")
            kernel = len(shape) > 1
            width = 2 * np.sqrt(6 / np.prod(shape[:-1])) if kernel else 0.4
            low = -width / 2 + float("scale/weights" in name)
            scale = width / (2**bits - 1)
            entry["quantization"] = {"dtype": f"uint{bits}", "scale": scale, "min": low}
            array = values
            arrays[name] = (values.astype(np.float64) * scale + low).astype(np.float32)
        arrays.setdefault(name, array)
        data += array.tobytes()
        weights.append(entry)
    return [{"weights": weights, "paths": ["model.bin"]}], data, arrays


def converted(manifest, data, folder, family="auto"):
    (folder / "model-weights_manifest.json").write_text(json.dumps(manifest))
    (folder / "model.bin").write_bytes(data)
    convert(family, folder / "model-weights_manifest.json", folder / "out.safetensors")
    return load_network(folder / "out.safetensors")


def hwio(x, kernel, bias=None, **options):
    return ref.conv(x, np.transpose(kernel, (3, 2, 0, 1)), bias, **options)


def describe(arrays, x):
    """dlib's network on [N, 150, 150, 3] of 255, in float64."""
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}

    def conv(x, name, **options):
        x = hwio(x, arrays[f"{name}/conv/filters"], arrays[f"{name}/conv/bias"], **options)
        return x * arrays[f"{name}/scale/weights"] + arrays[f"{name}/scale/biases"]

    def down(x, name):
        y = conv(ref.relu(conv(x, f"{name}/conv1", stride=2)), f"{name}/conv2", padding=1)
        pooled = ref.average_pool(x, 2, stride=2)
        total = np.zeros((*pooled.shape[:3], y.shape[3]))
        total[..., : pooled.shape[3]] = pooled
        total[:, : y.shape[1], : y.shape[2]] += y
        return ref.relu(total)

    x = ref.max_pool(ref.relu(conv((x - MEAN) / 255, "conv32_down", stride=2)), 3, stride=2)
    for label in (32, 64, 128, 256):
        if label > 32:
            x = down(x, f"conv{label}_down")
        j = 1
        while f"conv{label}_{j}/conv1/conv/bias" in arrays:
            name = f"conv{label}_{j}"
            y = ref.relu(conv(x, f"{name}/conv1", padding=1))
            x = ref.relu(conv(y, f"{name}/conv2", padding=1) + x)
            j += 1
    return down(x, "conv256_down_out").mean(axis=(1, 2)) @ arrays["fc"]


def point(arrays, x, blocks, convolutions):
    """A landmark network on [N, 112, 112, 3] of 255, in float64: fractions of the image."""
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}

    def same(x, stride):
        # An even side and stride 2 leave one row over, below.
        return np.pad(x, ((0, 0), (2 - stride, 1), (2 - stride, 1), (0, 0)))

    def separable(x, name, stride=1):
        x, depthwise = same(x, stride), arrays[f"{name}/depthwise_filter"]
        each = [
            hwio(x[..., c : c + 1], depthwise[:, :, c : c + 1], stride=stride)
            for c in range(x.shape[3])
        ]
        x = np.concatenate(each, axis=-1)
        return hwio(x, arrays[f"{name}/pointwise_filter"], arrays[f"{name}/bias"])

    x = (x - MEAN) / 255
    for n in range(blocks):
        name = f"dense{n}/conv"
        if n == 0:
            first = hwio(same(x, 2), arrays[f"{name}0/filters"], arrays[f"{name}0/bias"], stride=2)
        else:
            first = separable(x, f"{name}0", stride=2)
        outputs = [ref.relu(first)]
        for j in range(1, convolutions):
            outputs.append(separable(ref.relu(sum(outputs)), f"{name}{j}"))
        x = ref.relu(sum(outputs))
    x = x.mean(axis=(1, 2)) @ arrays["fc/weights"] + arrays["fc/bias"]
    return x.reshape(len(x), 68, 2)


def close(found, expected):
    # Float32 against float64, up to 30 layers deep: measured 5e-7 of the largest value.
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2e-6 * np.abs(expected).max()


call = jax.jit(lambda network, images: network(images))


def pixels(size, count=2):
    values = np.random.RandomState(1).randint(0, 256, (count, size, size, 3))
    return values, (values / 127.5 - 1).astype(np.float32)


def test_descriptors_against_an_independent_forward(tmp_path):
    manifest, data, arrays = stored(recognition(), plain=("conv64_down/conv1/conv/filters", "fc"))
    network = converted(manifest, data, tmp_path)
    assert network.config == DlibResNetConfig((2, 3, 4, 6), (1, 1, 0, 1), 5)
    values, images = pixels(150)
    close(call(network, images), describe(arrays, values))


@pytest.mark.parametrize(("channels", "convolutions"), [((3, 4), 3), ((2, 3, 4), 4)])
def test_points_against_an_independent_forward(channels, convolutions, tmp_path):
    manifest, data, arrays = stored(landmarks(channels, convolutions))
    network = converted(manifest, data, tmp_path)
    assert network.config == FaceLandmarkConfig(channels, convolutions)
    values, images = pixels(112)
    expected = 112 * point(arrays, values, len(channels), convolutions)
    close(call(network, images), expected)


def test_files_of_full_size_use_every_name(tmp_path):
    for shapes, config in (
        (recognition((32, 64, 128, 256), (3, 3, 2, 2), 128), DlibResNetConfig()),
        (landmarks((32, 64, 128, 256), 4), FaceLandmarkConfig()),
        (landmarks((32, 64, 128), 3), FaceLandmarkConfig((32, 64, 128), 3)),
    ):
        manifest, data, _ = stored(shapes)
        (tmp_path / "m.json").write_text(json.dumps(manifest))
        (tmp_path / "model.bin").write_bytes(data)
        conversion = convert("face_api", tmp_path / "m.json", tmp_path / "out")
        assert conversion.plan.config == config
        assert sum(line.startswith("used") for line in conversion.report) == len(shapes)


def test_weights_may_lie_in_several_groups_and_files(tmp_path):
    manifest, data, arrays = stored(landmarks())
    (whole,) = manifest
    sizes = [array.size * 4 for array in arrays.values()]
    plain = [{key: w[key] for key in ("name", "shape", "dtype")} for w in whole["weights"]]
    data = b"".join(array.tobytes() for array in arrays.values())
    cut = sum(sizes[:4])
    groups = [
        {"weights": plain[:4], "paths": ["a-shard1", "a-shard2"]},
        {"weights": plain[4:], "paths": ["b"]},
    ]
    parts = {"a-shard1": data[:10], "a-shard2": data[10:cut], "b": data[cut:]}
    for name, part in parts.items():
        (tmp_path / name).write_bytes(part)
    text = json.dumps(groups)
    (tmp_path / "m.json").write_text(text)
    convert("auto", tmp_path / "m.json", tmp_path / "out")
    digest = hashlib.sha256(text.encode() + data).hexdigest()
    assert read_header(tmp_path / "out")["source_sha256"] == digest
    found = load_network(tmp_path / "out")
    np.testing.assert_array_equal(found.linear.weight[...], arrays["fc/weights"])
    depthwise = found.blocks[1].first.depthwise.weight[...]
    np.testing.assert_array_equal(
        depthwise[:, :, 0], arrays["dense1/conv0/depthwise_filter"][..., 0]
    )


def quantised(**fields):
    return lambda m: m[0]["weights"][1]["quantization"].update(fields)


def weight(index=0, **fields):
    return lambda m: m[0]["weights"][index].update(fields)


REFUSED = {
    "path out of the folder": (lambda m: m[0].update(paths=["../model.bin"]), "expected a file be"),
    "absolute path": (lambda m: m[0].update(paths=["/etc/passwd"]), "expected a file beside it"),
    "path of another kind": (lambda m: m[0].update(paths=[3]), "names 3, expected a file"),
    "folder": (lambda m: m[0].update(paths=[".."]), "expected a file beside it"),
    "absent file": (lambda m: m[0].update(paths=["other.bin"]), "other.bin cannot be read"),
    "no paths": (lambda m: m[0].pop("paths"), "lacks weights or paths"),
    "paths as text": (lambda m: m[0].update(paths="model.bin"), "must be lists"),
    "no list": (lambda m: m.__setitem__(0, 3), "a group of the weight manifest"),
    "no name": (lambda m: m[0]["weights"][0].pop("name"), "has no name"),
    "twice": (weight(1, name="dense0/conv0/filters"), "describes dense0/conv0/filters twice"),
    "unknown field": (weight(group="x"), "the manifest's group is not known"),
    "type": (weight(dtype="int32"), "is of type 'int32', expected float32"),
    "shape": (weight(shape=[3, 3, 3, -1]), r"its shape is \[3, 3, 3, -1\]"),
    "shape of text": (weight(shape=[3, 3, "3", 3]), "its shape is"),
    "huge shape": (weight(shape=[10**9] * 4), "truncated file: dense0/conv0/filters"),
    "other shape": (weight(shape=[9, 3, 1, 3]), "does not fit"),
    "quantised type": (quantised(dtype="int8"), "stored as 'int8', expected one of uint8, uint16"),
    "no scale": (lambda m: m[0]["weights"][1]["quantization"].pop("scale"), "not a type, a scale"),
    "scale": (quantised(scale=0), "its scale and min are"),
    "huge scale": (quantised(scale=10**400), "its scale and min are"),
    "min": (quantised(min=float("nan")), "its scale and min are"),
    "flag": (quantised(min=True), "its scale and min are"),
    "missing": (weight(2, name="dense0/conv1/other"), "lacks dense0/conv1/depthwise_filter"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_nothing_written(case, tmp_path):
    edit, reason = REFUSED[case]
    manifest, data, _ = stored(landmarks())
    edit(manifest)
    with pytest.raises(Refusal, match=reason) as refusal:
        converted(manifest, data, tmp_path)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_bytes_too_few_and_too_many_are_refused(tmp_path):
    manifest, data, _ = stored(recognition())
    for cut in (0, 1, len(data) // 2, len(data) - 1):
        with pytest.raises(Refusal, match="truncated file"):
            converted(manifest, data[:cut], tmp_path)
    with pytest.raises(Refusal, match=r"the weights end at byte .* but their files have"):
        converted(manifest, data + b"\0", tmp_path)


def test_the_package_s_expression_network_is_refused(tmp_path):
    manifest, data, _ = stored(landmarks((32, 64, 128, 256), 4, outputs=7))
    with pytest.raises(
        Refusal, match="a face-api network of 7 outputs; its landmark networks have"
    ):
        converted(manifest, data, tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[", "starts as JSON, but is not"),
        ('{"a": 1}', "not a TensorFlow.js weight manifest"),
        ("[]", "not a TensorFlow.js weight manifest"),
        ("[" * 100_000, "starts as JSON, but is not"),
        ('[{"weights": [], "paths": []}]', r"of no supported family.*\(none\)"),
    ],
)
def test_other_json_is_refused(text, reason, tmp_path):
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(Refusal, match=reason):
        convert("auto", tmp_path / "m.json", tmp_path / "out")


def test_another_family_is_refused(tmp_path):
    manifest, data, _ = stored(recognition())
    with pytest.raises(Refusal, match="is of the family face_api, not facenet"):
        converted(manifest, data, tmp_path, family="facenet")


# What face-api 1.7.15 itself gives on TensorFlow.js's CPU backend for the image below: the first
# eight numbers of the descriptor of 150 x 101 pixels, and of the points of 82 x 112 as fractions.
ORIGINAL = {
    "face_recognition_model": (
        (150, 101),
        (-0.0685903, 0.101134, 0.0746595, -0.0598984, -0.1011509, -0.0195936, -0.080921, 0.0132266),
    ),
    "face_landmark_68_model": (
        (82, 112),
        (0.2430846, 0.2958774, 0.2693384, 0.336308, 0.3354311, 0.449852, 0.3724733, 0.5481571),
    ),
    "face_landmark_68_tiny_model": (
        (82, 112),
        (0.1697253, 0.2360652, 0.1896476, 0.3526975, 0.2189958, 0.4833217, 0.2539174, 0.6260954),
    ),
}


@pytest.mark.parametrize("name", ORIGINAL)
def test_the_package_s_own_weights(name, tmp_path):
    folder = os.environ.get("JAXFACE_FACE_API")
    if not folder:
        pytest.skip("JAXFACE_FACE_API does not name the package's folder of models")
    source = Path(folder) / f"{name}-weights_manifest.json"
    arrays = convert("face_api", source, tmp_path / "out").plan.arrays
    network = load_network(tmp_path / "out")
    (height, width), expected = ORIGINAL[name]
    y, x, c = np.meshgrid(*map(np.arange, (height, width, 3)), indexing="ij")
    image = (x * x + 3 * y * (c + 1) + (x * y) % (17 + c)) % 256
    found = np.asarray(call(network, (image / 127.5 - 1).astype(np.float32)[None])[0])
    if found.ndim == 2:
        found = found / [width, height]
    # The original's float32, printed to 7 digits: measured 3e-7.
    np.testing.assert_allclose(found.reshape(-1)[:8], expected, atol=1e-6)

    if name == "face_recognition_model":
        values, images = pixels(150, 1)
        close(call(network, images), describe(arrays, values))
    else:
        values, images = pixels(112, 1)
        blocks, convolutions = len(network.config.channels), network.config.convolutions
        close(call(network, images), 112 * point(arrays, values, blocks, convolutions))
