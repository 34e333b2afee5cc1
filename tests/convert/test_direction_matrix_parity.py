"""The direction matrix, its ranges and its losses of shapes give what the authors' code gave.

The reference files come from stylegan_directions_face_reenactment, run by PyTorch in float32 on the
CPU on weights by formula. The matrix is bit-equal between the reference's own runs; its README asks
for 1e-5 after steps of Adam.
"""

import dataclasses
import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixture_formula import formula
from pickle_writer import torch_zip
from test_parity import assert_close, channels_last

from jaxface.convert import Refusal, convert
from jaxface.losses import face_shape
from jaxface.methods import direction_matrix as method
from jaxface.methods.direction_matrix import faces as reading
from jaxface.methods.direction_matrix import losses as terms_of
from jaxface.methods.direction_matrix import training
from jaxface.morphable import FlameParameters
from jaxface.nets import DirectionMatrixConfig
from jaxface.weights import build_network, load_network

TOLERANCE = 1e-5


@pytest.fixture(scope="module", name="folder")
def reference_folder(fixtures):
    return fixtures / "directions"


def file_of(folder, name):
    return np.load(folder / f"{name}.npz")


@pytest.fixture(scope="module", name="converted")
def converted_matrices(folder, tmp_path_factory):
    """The trainer's checkpoint as each of its two networks."""
    target = tmp_path_factory.mktemp("matrix")
    found = {}
    for network in ("voxceleb", "ffhq"):
        convert("auto", folder / "A_matrix_001000.pt", target / network, network=network)
        found[network] = load_network(target / network)
    return found


def of_formula(seed, *, shared=False):
    rows = 1 if shared else 8
    names = tuple(f"expression_{k}" for k in range(15))
    config = DirectionMatrixConfig(names, "flame", bias=True, shared=shared)
    weight = formula(seed, "linear.weight", (512 * rows, 15)).reshape(rows, 512, 15)
    bias = formula(seed, "linear.bias", (512 * rows,)).reshape(rows, 512)
    lines = {"slope": np.ones(15), "offset": np.zeros(15), "unit": np.ones(15)}
    arrays = {"weight": weight, "bias": bias, "ranges": np.zeros((15, 2)), **lines}
    return build_network("DirectionMatrix", config, arrays)


def test_matrix_and_its_gradient(folder):
    reference = file_of(folder, "direction_matrix")
    matrix = of_formula(int(reference["formula_seed"]))
    change, cotangent = reference["shift_vector"], reference["cotangent"]
    assert_close(matrix.shift(change), reference["delta_w"], "dw", tolerance=TOLERANCE)
    np.testing.assert_array_equal(matrix.shift(np.zeros((1, 15))), reference["delta_w_zero"])
    moved = matrix(jnp.asarray(reference["w"]), change)
    assert_close(moved, reference["shifted_w"], "w + dw", tolerance=TOLERANCE)

    def total(matrix, change):
        return jnp.sum(matrix.shift(change) * cotangent)

    of_matrix, of_change = jax.grad(total, argnums=(0, 1), allow_int=True)(matrix, change)
    assert_close(of_change, reference["grad_shift_vector"], "of dp", tolerance=TOLERANCE)
    found = of_matrix.weight[...].reshape(-1, 15)
    assert_close(found, reference["grad_weight"], "of A", tolerance=TOLERANCE)
    assert_close(of_matrix.bias[...].ravel(), reference["grad_bias"], "of b", tolerance=TOLERANCE)


def test_one_row_for_all(folder):
    reference = file_of(folder, "direction_matrix")
    matrix = of_formula(int(reference["formula_seed_w"]), shared=True)
    dw = matrix.shift(reference["shift_vector"])
    assert_close(dw[:, 0], reference["delta_w_wspace"], "dw", tolerance=TOLERANCE)
    first = len(reference["shifted_w_wspace"])
    moved = matrix(jnp.asarray(reference["w"][:first]), reference["shift_vector"][:first])
    assert_close(moved, reference["shifted_w_wspace"], "w + dw", tolerance=TOLERANCE)


def test_three_steps_of_adam(folder):
    reference = file_of(folder, "direction_matrix")
    matrix = of_formula(int(reference["formula_seed"]))
    params = {"weight": matrix.weight[...], "bias": matrix.bias[...]}
    settings = dataclasses.replace(method.CODE, learning_rate=1e-4)
    optimizer = training.matrix_optimizer(settings)
    state = optimizer.init(params)
    for step in range(3):
        loss = (step + 1) * reference["cotangent"]
        gradient = {
            "weight": jnp.einsum("nrd,nk->rdk", loss, reference["shift_vector"]),
            "bias": loss.sum(axis=0),
        }
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    found = np.asarray(params["weight"]).reshape(-1, 15)[::8]
    np.testing.assert_allclose(found, reference["adam3_weight_stride8"], atol=1e-5)
    found = np.asarray(params["bias"]).ravel()
    np.testing.assert_allclose(found, reference["adam3_bias"], atol=1e-5)


def test_the_other_initial_weights(folder):
    reference = file_of(folder, "direction_matrix")
    settings = dataclasses.replace(method.CODE, initial="eye")
    config = types.SimpleNamespace(w_dim=512)
    generator: Any = types.SimpleNamespace(config=config, num_ws=14)
    faces = reading.FlameFaces(None, None, None)  # pyright: ignore
    matrix = training.initial_matrix(settings, generator, faces, jax.random.key(0))
    weight = np.asarray(matrix.weight[...]).reshape(-1, 15)
    for first, last in ((0, 20), (512, 532)):
        block = reference[f"eye_weight_rows_{first}_{last}"]
        np.testing.assert_array_equal(weight[first:last], block)


@pytest.mark.parametrize(
    "name", ["A_matrix_001000", "A_matrix_inference_keys", "A_matrix_inference_keys_legacy"]
)
def test_every_form_of_the_checkpoint(name, folder, tmp_path):
    conversion = convert("auto", folder / f"{name}.pt", tmp_path / "out", check=True)
    assert conversion.family == "direction_matrix"
    reference = file_of(folder, "A_matrix_checkpoint")
    matrix = load_network(tmp_path / "out")
    assert matrix.config.bias
    assert matrix.config.spread == 6.0
    found = matrix.shift(reference["shift_vector"])
    assert_close(found, reference["delta_w"], "dw", tolerance=TOLERANCE)


@pytest.mark.parametrize("kind", ["voxceleb", "ffhq"])
def test_ranges(kind, folder, converted):
    reference, matrix = file_of(folder, "ranges"), converted[kind]
    count = int(reference[f"{kind}_count_pose"])
    slope, offset = np.asarray(matrix.slope[...]), np.asarray(matrix.offset[...])
    np.testing.assert_allclose(slope[count:], reference[f"{kind}_exp_a"], rtol=1e-6)
    np.testing.assert_allclose(offset[count:], reference[f"{kind}_exp_b"], rtol=1e-6)
    np.testing.assert_allclose(slope[count - 1], reference[f"{kind}_jaw_a"], rtol=1e-6)
    np.testing.assert_allclose(offset[count - 1], reference[f"{kind}_jaw_b"], rtol=1e-6)
    assert matrix.names[count:] == tuple(f"expression_{k}" for k in range(15 - count))


def test_a_range_file(folder, tmp_path):
    ranges = folder / "ranges_synthetic.npy"
    source = folder / "A_matrix_001000.pt"
    convert("auto", source, tmp_path / "out", extras={"ranges": ranges})
    matrix = load_network(tmp_path / "out")
    rows = np.arange(15, dtype=np.float64) + 1
    np.testing.assert_array_equal(matrix.ranges[...], np.stack([-rows / 8, rows / 4], 1))
    wrong = tmp_path / "wrong.npy"
    np.save(wrong, np.zeros((3, 2)))
    with pytest.raises(Refusal, match=r"expected an array \[54, 2\]"):
        convert("auto", source, tmp_path / "out", extras={"ranges": wrong})


def test_a_checkpoint_without_its_settings_is_refused(tmp_path):
    state = {"linear.weight": np.zeros((16, 4), np.float32)}
    whole = {
        "A_matrix": state,
        "learned_directions": 4,
        "shift_scale": 6.0,
        "w_plus": True,
        "num_layers_shift": 8,
    }
    for change, message in (
        ({"num_layers_shift": 3}, "expected"),
        ({"learned_directions": 5}, "expected"),
        ({"w_plus": 1}, "w_plus"),
    ):
        (tmp_path / "in").write_bytes(torch_zip(whole | change))
        with pytest.raises(Refusal, match=message):
            convert("auto", tmp_path / "in", tmp_path / "out")
    del whole["w_plus"]
    (tmp_path / "in").write_bytes(torch_zip(whole))
    with pytest.raises(Refusal, match="lacks w_plus"):
        convert("auto", tmp_path / "in", tmp_path / "out")


def flame_parameters(reference, who):
    pose, expression, shape = (
        jnp.asarray(reference[f"{who}_{name}"]) for name in ("pose", "alpha_exp", "alpha_shp")
    )
    n = len(pose)
    return FlameParameters(
        shape, jnp.zeros((n, 50)), expression, pose, jnp.zeros((n, 3)), jnp.zeros((n, 27))
    )


def cases_of(columns, uniform, count):
    """Cases whose second half changes one number alone."""
    half = count - len(columns)
    empty = jnp.zeros((count, 1, 1))
    flags = jnp.zeros(count, bool)
    return method.Cases(
        w_plus=empty,
        target_w_plus=empty,
        images=empty,
        target_images=empty,
        real=flags,
        real_target=flags,
        single=jnp.arange(count) >= half,
        column=jnp.asarray([0] * half + list(columns)),
        uniform=jnp.asarray([0.0] * half + list(uniform), jnp.float32),
    )


@pytest.mark.parametrize("kind", ["voxceleb", "ffhq"])
def test_changes_and_wanted_faces(kind, folder, converted):
    reference, matrix = file_of(folder, "shift_vectors"), converted[kind]
    source, target = (flame_parameters(reference, who) for who in ("source", "target"))
    faces = reading.FlameFaces(None, None, None, angles="code")  # pyright: ignore
    wanted = jax.jit(functools.partial(terms_of.wanted_faces, method.CODE, faces))
    change, _ = wanted(matrix, source, target, cases_of([], [], 4))
    expected = reference[f"{kind}_shift_vector"]
    # Degrees of rotation matrices in float32, of which 20 are 6: some 1e-6 each.
    np.testing.assert_allclose(change, expected, atol=2e-5, rtol=1e-5)
    for half in range(5):
        prefix = f"{kind}_half{half}"
        cases = cases_of(reference[f"{prefix}_directions"], reference[f"{prefix}_uniform"], 4)
        change, found = wanted(matrix, source, target, cases)
        expected = reference[f"{prefix}_shift_vector"]
        np.testing.assert_allclose(change, expected, atol=2e-5, rtol=1e-5)
        np.testing.assert_allclose(found.pose, reference[f"{prefix}_gt_pose"], atol=2e-6)
        np.testing.assert_allclose(found.expression, reference[f"{prefix}_gt_exp"], atol=2e-6)
    if kind == "voxceleb":
        change, _ = wanted(matrix, source, target, cases_of([], [], 4))
        expected = reference["inference_shift_vector"]
        np.testing.assert_allclose(change, expected, atol=2e-5, rtol=1e-5)


def test_angles_of_a_head(folder):
    head_rotation = jax.jit(reading._head_rotation, static_argnums=1)
    degrees_of = jax.jit(lambda face: reading.motion_of_deca(face).degrees)
    reference = file_of(folder, "rotations")
    yaw, pitch, roll = np.deg2rad(reference["euler_yaw_pitch_roll_deg"]).T
    angles = jnp.stack([pitch, -yaw, roll], axis=-1)  # the authors' yaw is the other way round
    found = head_rotation(angles, "code")
    np.testing.assert_allclose(found, reference["pose_after_swap"], atol=2e-6)
    pose = jnp.pad(reference["pose_axis_angle"], ((0, 0), (0, 3)))
    n = len(pose)
    zeros = [jnp.zeros((n, k)) for k in (100, 50, 50)]
    face = FlameParameters(*zeros, pose, jnp.zeros((n, 3)), jnp.zeros((n, 27)))
    degrees = degrees_of(face)
    expected = reference["angles_deg"] * [-1, 1, 1]
    np.testing.assert_allclose(degrees[:, [1, 0, 2]], expected, atol=2e-4)
    # The exact reading gives back the angles that it was given.
    head = head_rotation(jnp.deg2rad(degrees), "exact")
    again = degrees_of(dataclasses.replace(face, pose=jnp.pad(head, ((0, 0), (0, 3)))))
    np.testing.assert_allclose(again, degrees, atol=1e-3)


def test_shape_eye_and_mouth(folder):
    reference = file_of(folder, "shape_losses")
    shapes, points = (
        [jnp.asarray(reference[f"{name}_{of}"]) for of in ("re", "gt")] for name in ("shape", "lmk")
    )
    read = {"reading": "code"}
    for name, fn, inputs in (
        ("shape", face_shape.vertices, shapes),
        ("eye", functools.partial(face_shape.eyes, **read), points),
        ("mouth", functools.partial(face_shape.mouth, **read), points),
    ):
        value, gradient = jax.value_and_grad(lambda *x, fn=fn: fn(*x).mean())(*inputs)
        np.testing.assert_allclose(value, reference[f"loss_{name}"], rtol=1e-6)
        assert_close(gradient, reference[f"grad_{name}"], name, tolerance=TOLERANCE)


def test_deca_s_crop(folder, fixtures):
    reference = file_of(folder, "preprocess")
    image = channels_last(np.load(fixtures / "id_loss.npz")["y"][:1])
    boxes = jnp.asarray(reference["deca_landmark_boxes"], jnp.float32)
    images = jnp.repeat(jnp.clip(image, -1, 1), len(boxes), axis=0)
    crops = reading.deca_crops(images, boxes)
    found = jnp.moveaxis((crops + 1) / 2, -1, 1)[..., ::4, ::4]
    found = found * (2 / (2 + 1e-5))  # what the authors divide by
    # Places of up to 256 px are known to 1.5e-5 px in float32, and neighbours differ by up to 1.
    np.testing.assert_allclose(found, reference["deca_crop_stride4"], atol=2e-5)
