"""FLAME's files: converted they give what DECA's code gives; damaged or other ones are refused.

The reference file comes from yfeng95/DECA, run by PyTorch in float32 on a tiny random model with
the real keys.
"""

import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pickle_writer import Call, Global, dumps
from test_parity import assert_close, channels_last

from jaxface.convert import convert
from jaxface.morphable import FlameParameters, orthographic
from jaxface.morphable.flame_light import harmonics_shading
from jaxface.morphable.mesh import vertex_normals
from jaxface.morphable.rotations import (
    axis_angle_to_matrix,
    euler_to_axis_angle,
)
from jaxface.weights import load_network, read_header
from tools.convert_weights.__main__ import main

VERTICES, FACES = 7, 9
PARENTS = (2**32 - 1, 0, 1, 1, 1)  # the root's parent as the unsigned table of the real file has it


@pytest.fixture(scope="module", name="flame")
def converted_fixture(fixtures, tmp_path_factory):
    """DECA's tiny model after a trip through its file."""
    target = tmp_path_factory.mktemp("flame") / "flame.safetensors"
    landmarks = fixtures / "flame_tiny_landmark_embedding.npy"
    source = fixtures / "flame_tiny_generic_model.pkl"
    convert("auto", source, target, extras={"landmarks": landmarks})
    return load_network(target)


@pytest.fixture(scope="module", name="reference")
def reference_arrays(fixtures):
    return np.load(fixtures / "deca_flame_sh_camera.npz")


# Measured at most 4e-7 of the scale; the reference's own runs agree in every bit on one machine.
TOLERANCE = 1e-5


@pytest.mark.slow
def test_heads_and_landmarks(flame, reference):
    shape, expression, pose = (reference[name] for name in ("shape", "exp", "pose"))
    heads = jax.jit(lambda model, *given: model(*given))(flame, shape, expression, pose)
    assert_close(heads.vertices, reference["vertices"], "vertices", tolerance=TOLERANCE)
    assert_close(heads.landmarks_2d, reference["landmarks2d"], "landmarks", tolerance=TOLERANCE)
    assert_close(heads.landmarks_3d, reference["landmarks3d"], "landmarks", tolerance=TOLERANCE)
    found = flame.at_landmarks(reference["vertices"])
    assert_close(found, reference["seletec_3d68"], "vertices at landmarks", tolerance=TOLERANCE)
    looking = flame(shape, expression, pose, eyes=reference["eye"])
    expected = reference["vertices_with_eye"]
    assert_close(looking.vertices, expected, "vertices with eyes", tolerance=TOLERANCE)
    assert_close(looking.joints, reference["joints_with_eye"], "joints", tolerance=TOLERANCE)
    assert np.abs(looking.vertices - heads.vertices).max() > 1e-3
    normals = vertex_normals(heads.vertices, flame.faces[...])
    assert_close(normals, reference["vertex_normals"], "normals", tolerance=TOLERANCE)


def test_camera(reference):
    points, camera = reference["vertices"], reference["cam"]
    found = orthographic.scaled_orthographic(points, camera)
    assert_close(found, reference["batch_orth_proj_vertices"], "points", tolerance=TOLERANCE)
    for source, name, width in (
        ("vertices", "trans_verts", 3),
        ("landmarks2d", "proj_landmarks2d", 2),
        ("landmarks3d", "proj_landmarks3d", 3),
    ):
        found = orthographic.weak_perspective(reference[source], camera)[..., :width]
        assert_close(found, reference[name], name, tolerance=TOLERANCE)


def test_light(reference):
    found = harmonics_shading(channels_last(reference["normal_images"]), reference["sh_coeff"])
    expected = channels_last(reference["add_SHlight"])
    assert_close(found, expected, "harmonics", tolerance=TOLERANCE)


def test_rotations(reference):
    """Ordinary angles, hardly any, none, and half a turn."""
    found = axis_angle_to_matrix(reference["axis_angle"])
    assert_close(found, reference["batch_rodrigues"], "matrices", tolerance=TOLERANCE)
    angles = reference["euler_xyz"]
    expected = reference["batch_euler2axis"]
    assert_close(euler_to_axis_angle(angles), expected, "axis-angle", tolerance=TOLERANCE)


def test_the_encoder_s_numbers_are_taken_apart_as_deca_does(fixtures):
    reference = np.load(fixtures / "deca_encoder_formula.npz")
    face = FlameParameters.from_flat(jnp.asarray(reference["params"]))
    for name, key in {
        "shape": "shape",
        "texture": "tex",
        "expression": "exp",
        "pose": "pose",
        "camera": "cam",
    }.items():
        np.testing.assert_array_equal(getattr(face, name), reference[f"code_{key}"])
    np.testing.assert_array_equal(face.light.reshape(-1, 9, 3), reference["code_light"])
    np.testing.assert_array_equal(face.flat, reference["params"])
    with pytest.raises(ValueError, match=r"last axis of 236 .*got shape \(2, 257\)"):
        FlameParameters.from_flat(jnp.zeros((2, 257)))


def test_the_plain_landmarks_are_the_same(fixtures, tmp_path, flame):
    source = fixtures / "flame_tiny_generic_model.pkl"
    plain = fixtures / "flame_tiny_landmark_embedding_plain.npz"
    convert("flame", source, tmp_path / "out", extras={"landmarks": plain})
    other = load_network(tmp_path / "out")
    for a, b in zip(jax.tree.leaves(flame), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def seeded_model() -> dict[str, np.ndarray]:
    """The arrays of a model of seven vertices, with 300 modes of shape and two of expression."""
    random = np.random.RandomState(0)
    regressor, weights = random.rand(5, VERTICES), random.rand(VERTICES, 5)
    return {
        "v_template": random.randn(VERTICES, 3),
        "shapedirs": random.randn(VERTICES, 3, 302),
        "posedirs": random.randn(VERTICES, 3, 36),
        "J_regressor": regressor / regressor.sum(axis=1, keepdims=True),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "f": random.randint(VERTICES, size=(FACES, 3)).astype(np.int64),
        "kintree_table": np.asarray([PARENTS, range(5)], np.int64),
    }


def seeded_landmarks() -> dict[str, np.ndarray]:
    random = np.random.RandomState(1)
    arrays = {}
    for name, shape in (("static", (51,)), ("dynamic", (79, 17)), ("full", (1, 68))):
        arrays[f"{name}_lmk_faces_idx"] = random.randint(FACES, size=shape)
        arrays[f"{name}_lmk_bary_coords"] = random.dirichlet((1, 1, 1), size=shape)
    return arrays


def chumpy_array(array: np.ndarray) -> Call:
    state = {"x": array, "_dirty_vars": Call(Global("__builtin__", "set"), ([],)), "_itr": None}
    return Call(Global("chumpy.ch", "Ch"), (), state)


def old_chumpy_array(array: np.ndarray) -> Call:
    """As protocols 0 and 1 make it."""
    arguments = (Global("chumpy.ch", "Ch"), Global("__builtin__", "object"), None)
    return Call(Global("copy_reg", "_reconstructor"), arguments, {"x": array})


def chumpy_selection(array: np.ndarray) -> Call:
    """An array as a selection, in reverse, out of its reverse."""
    state = {
        "a": chumpy_array(array.ravel()[::-1].copy()),
        "idxs": np.arange(array.size)[::-1].copy(),
        "preferred_shape": array.shape,
    }
    return Call(Global("chumpy.reordering", "Select"), (), state)


def sparse(array: np.ndarray, module: str = "scipy.sparse.csc", **changes) -> Call:
    columns, rows = np.nonzero(array.T)
    state = {
        "_shape": array.shape,
        "data": array.T[columns, rows],
        "indices": rows,
        "indptr": np.searchsorted(columns, np.arange(array.shape[1] + 1)),
        "maxprint": 50,
    }
    return Call(Global(module, "csc_matrix"), (), {**state, **changes})


def write(folder, model, landmarks=None):
    source = folder / "model.pkl"
    source.write_bytes(dumps(model))
    np.savez(folder / "landmarks.npz", **(seeded_landmarks() if landmarks is None else landmarks))
    return source


def converted(folder, model):
    source = write(folder, model)
    target = folder / "out.safetensors"
    convert("auto", source, target, extras={"landmarks": folder / "landmarks.npz"})
    return load_network(target)


@pytest.mark.parametrize("wrap", [chumpy_array, old_chumpy_array, chumpy_selection])
def test_chumpy_s_and_scipy_s_objects_are_their_numbers(wrap, tmp_path):
    model = seeded_model()
    expected = jax.tree.leaves(converted(tmp_path, model))
    model["J_regressor"][:, ::2] = 0
    expected_sparse = jax.tree.leaves(converted(tmp_path, model))
    wrapped = {key: wrap(model[key]) for key in ("v_template", "shapedirs", "posedirs", "weights")}
    for module in ("scipy.sparse.csc", "scipy.sparse._csc"):
        regressor = sparse(model["J_regressor"], module)
        found = converted(tmp_path, {**model, **wrapped, "J_regressor": regressor})
        for a, b in zip(jax.tree.leaves(found), expected_sparse, strict=True):
            np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(expected, expected_sparse, strict=True))


def test_the_header_names_both_files(tmp_path):
    model = converted(tmp_path, {**seeded_model(), "J": np.zeros((5, 3)), "bs_type": "lrotmin"})
    assert model.config.parents == (-1, 0, 1, 1, 1)
    header = read_header(tmp_path / "out.safetensors")
    assert len(header["source_sha256"]) == len(header["source_sha256_landmarks"]) == 64


REFUSED = {
    "missing": (("weights", None), "of no supported family"),
    "surplus": (("extra", np.zeros(3)), "unexpected extra"),
    "shape": (("weights", np.zeros((5, VERTICES))), r"weights: its shape \[5, 7\] does not fit"),
    "rank": (("shapedirs", np.zeros((21, 302))), "shapedirs: its shape .*, expected 3 dimensions"),
    "modes": (("shapedirs", np.zeros((VERTICES, 3, 300))), "shapedirs has 300 modes"),
    "nan": (("v_template", np.full((VERTICES, 3), np.nan)), "v_template holds NaN"),
    "faces": (("f", np.full((FACES, 3), VERTICES)), "f reaches from 7 to 7, past 6"),
    "fractions": (("f", np.full((FACES, 3), 0.5)), "f holds numbers that are no int32"),
    "tree": (("kintree_table", np.zeros((2, 5), np.int64)), "joints are not numbered in order"),
    "joints": (
        ("kintree_table", np.asarray([[0, 0, 1], [0, 1, 2]])),
        "expected five joints",
    ),
    "later parent": (
        ("kintree_table", np.asarray([[0, 2, 1, 1, 1], range(5)])),
        "each other after its parent",
    ),
    "style": (("bs_style", "dqbs"), "bs_style is dqbs, expected lbs"),
    "sparse": (
        ("J_regressor", sparse(np.eye(5, VERTICES), indptr=np.arange(3))),
        "indptr does not fit",
    ),
    "sparse rows": (
        ("J_regressor", sparse(np.eye(5, VERTICES), indices=np.full(5, 9))),
        "indices reach 9, past the last of 5",
    ),
    "sparse shape": (
        ("J_regressor", sparse(np.eye(5, VERTICES), _shape="big")),
        "_shape of a SparseColumns is 'big'",
    ),
    "chumpy": (("weights", Call(Global("chumpy.ch", "Ch"), (), {})), "ChumpyArray lacks its x"),
    "expression": (
        ("weights", Call(Global("chumpy.ch_ops", "add"), (), {})),
        r"asks to run chumpy\.ch_ops\.add",
    ),
    "another class": (
        (
            "weights",
            Call(
                Global("copy_reg", "_reconstructor"),
                (Global("argparse", "Namespace"), Global("__builtin__", "object"), None),
            ),
        ),
        r"an object of argparse\.Namespace is not one",
    ),
    "code": (("weights", Call(Global("os", "system"), ("true",))), r"asks to run os\.system"),
}


def refusal(arguments, capsys) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("refused: ")
    return line


@pytest.mark.parametrize("case", REFUSED)
def test_models_are_refused_in_one_line_and_nothing_is_written(case, tmp_path, capsys):
    (key, value), reason = REFUSED[case]
    model = {**seeded_model(), key: value}
    if value is None:
        del model[key]
    source, target = write(tmp_path, model), tmp_path / "out"
    line = refusal(
        ["auto", source, target, "--with", f"landmarks={tmp_path}/landmarks.npz"], capsys
    )
    assert re.search(reason, line), line
    assert not target.exists()


def test_landmarks_are_refused_in_one_line(tmp_path, capsys):
    source, target = write(tmp_path, seeded_model()), tmp_path / "out"
    assert "also needs --with landmarks=FILE" in refusal(["auto", source, target], capsys)
    arguments = ["auto", source, target, "--with", f"landmarks={source}"]
    assert "is no landmark embedding" in refusal(arguments, capsys)
    arguments[-1] = f"landmarks={tmp_path}/landmarks.npz"
    past = {**seeded_landmarks(), "full_lmk_faces_idx": np.full((1, 68), FACES)}
    write(tmp_path, seeded_model(), past)
    assert "landmarks.full_lmk_faces_idx reaches from 9" in refusal(arguments, capsys)
    short = {**seeded_landmarks(), "dynamic_lmk_faces_idx": np.zeros((78, 17), np.int64)}
    write(tmp_path, seeded_model(), short)
    assert "does not fit contour_faces [79, 17]" in refusal(arguments, capsys)
    write(tmp_path, seeded_model(), {**seeded_landmarks(), "more": np.zeros(2)})
    assert "unexpected landmarks.more" in refusal(arguments, capsys)

    class Attack:
        def __reduce__(self):
            return eval, (f"open({str(tmp_path / 'trace')!r}, 'w')",)

    np.save(tmp_path / "attack.npy", np.asarray(Attack(), object), allow_pickle=True)
    arguments[-1] = f"landmarks={tmp_path}/attack.npy"
    assert "asks to run builtins.eval" in refusal(arguments, capsys)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(Attack()))
    assert "asks to run builtins.eval" in refusal(["auto", source, target], capsys)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "attack.npy",
        "landmarks.npz",
        "model.pkl",
    ]
