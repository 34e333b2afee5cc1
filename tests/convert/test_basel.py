"""Basel Face Models: their files, and that the converted model is what its own code makes of them.

The reference is a float64 forward of Deep3DFaceRecon's ``models/bfm.py`` written out in NumPy.
Models are random, on a small sheet that bulges towards the camera.
"""

import io
import re
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from basel_sheet import VERTICES, sheet
from scipy import sparse
from scipy.io import savemat

from jaxface.convert import convert
from jaxface.errors import WeightsError
from jaxface.morphable import FaceParameters
from jaxface.morphable.annotation import project_landmarks
from jaxface.morphable.photometric import photometric_energy, view_of_model
from jaxface.nets.reconstruction.deep3d import pie_parameters
from jaxface.weights import load_network, network_arrays, read_header
from tools.convert_weights.__main__ import main

RNG = np.random.default_rng(0)


def front(**changes) -> dict[str, np.ndarray]:
    """The variables of ``BFM_model_front.mat``; None leaves one out."""
    points, faces = sheet()
    arrays = {
        "meanshape": points.reshape(1, -1),
        "meantex": RNG.uniform(90, 200, (1, 3 * VERTICES)),
        "idBase": 0.01 * RNG.normal(size=(3 * VERTICES, 80)),
        "exBase": 0.01 * RNG.normal(size=(3 * VERTICES, 64)),
        "texBase": RNG.normal(size=(3 * VERTICES, 80)),
        "tri": faces + 1.0,
        "point_buf": np.ones((VERTICES, 8)),
        "tri_mask2": faces[:5] + 1,
        "keypoints": RNG.permutation(VERTICES)[None, :68] + 1,
        "frontmask2_idx": np.arange(10, 60)[:, None],
        "skinmask": np.ones((1, VERTICES)),
    } | changes
    return {key: value for key, value in arrays.items() if value is not None}


def original(**changes) -> dict[str, np.ndarray]:
    """The variables of ``01_MorphableModel.mat``."""
    points, faces = sheet()
    arrays = {
        "shapeMU": np.float32(1e5 * points.reshape(-1, 1)),
        "shapePC": RNG.normal(size=(3 * VERTICES, 99)).astype(np.float32) / 15,
        "shapeEV": np.float32(np.linspace(9e3, 2e2, 99)[:, None]),
        "texMU": np.float32(RNG.uniform(90, 200, (3 * VERTICES, 1))),
        "texPC": RNG.normal(size=(3 * VERTICES, 99)).astype(np.float32) / 15,
        "texEV": np.float32(np.linspace(40, 2, 99)[:, None]),
        "tl": (faces[:, ::-1] + 1).astype(np.uint32),
        "segbin": np.ones((VERTICES, 4), np.uint8),
        "segMM": sparse.csc_matrix(np.eye(VERTICES)),
        "segMB": sparse.csc_matrix(np.ones((VERTICES, 5))),
    } | changes
    return {key: value for key, value in arrays.items() if value is not None}


def write(path, variables):
    out = io.BytesIO()
    savemat(out, variables, do_compression=True)
    path.write_bytes(out.getvalue())
    return path


def converted(folder, variables, **options):
    convert("auto", write(folder / "model.mat", variables), folder / "model", **options)
    return load_network(folder / "model")


FRONT = front()


@pytest.fixture(scope="module", name="basel")
def converted_front(tmp_path_factory):
    return converted(tmp_path_factory.mktemp("basel"), FRONT)


def random_coefficients(count: int) -> np.ndarray:
    """[N, 257] in Deep3DFaceRecon's order: identity, expression, reflectance, pose and light."""
    rng = np.random.default_rng(1)
    parts = [rng.normal(size=(count, n)) for n in (80, 64, 80)]
    parts.append(rng.uniform(-0.4, 0.4, (count, 3)))
    parts.append(0.1 * rng.normal(size=(count, 27)))
    parts.append(rng.uniform(-0.2, 0.2, (count, 3)))
    return np.concatenate(parts, axis=1)


def reference(variables, coefficients, size):
    """Positions in pixels, colours in [-1, 1] and whether they are seen, of one face: bfm.py.

    Normals weigh triangles by their areas, as ours do.
    """
    identity, expression, texture, angles, light, move = np.split(
        coefficients, np.cumsum((80, 64, 80, 3, 27))
    )
    mean = variables["meanshape"].reshape(-1, 3)
    shape = variables["idBase"] @ identity + variables["exBase"] @ expression
    shape = shape.reshape(-1, 3) + mean - mean.mean(axis=0)
    albedo = (variables["meantex"][0] + variables["texBase"] @ texture).reshape(-1, 3) / 255
    x, y, z = angles
    rx = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rz = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    turn = rz @ ry @ rx
    normals = np.zeros_like(shape)
    for corners in variables["tri"].astype(int) - 1:
        a, b, c = shape[corners]
        normals[corners] += np.cross(a - b, b - c)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    n1, n2, n3 = (normals @ turn.T).T
    gamma = light.reshape(3, 9).T + np.eye(9)[:, :1] * 0.8
    a0, a1, a2 = np.pi, 2 * np.pi / np.sqrt(3), 2 * np.pi / np.sqrt(8)
    c0, c1, c2 = 1 / np.sqrt(4 * np.pi), np.sqrt(3 / (4 * np.pi)), 3 * np.sqrt(5 / (12 * np.pi))
    bands = [a0 * c0 + 0 * n1, -a1 * c1 * n2, a1 * c1 * n3, -a1 * c1 * n1]
    bands += [a2 * c2 * n1 * n2, -a2 * c2 * n2 * n3, 0.5 * a2 * c2 / np.sqrt(3) * (3 * n3**2 - 1)]
    bands += [-a2 * c2 * n1 * n3, 0.5 * a2 * c2 * (n1**2 - n2**2)]
    colour = np.clip((np.stack(bands, axis=1) @ gamma) * albedo, 1e-4, 1)
    placed = shape @ turn.T + move
    depth = 10 - placed[:, 2]
    scale = 1015 / 224 * size / depth
    positions = np.stack([size / 2 + placed[:, 0] * scale, size / 2 - placed[:, 1] * scale], 1)
    return positions, 2 * colour - 1


def test_the_model_is_what_deep3dfacerecon_s_code_makes_of_its_coefficients(basel):
    coefficients = random_coefficients(3)
    face = FaceParameters.from_flat(pie_parameters(jnp.asarray(coefficients, jnp.float32)))
    view = view_of_model(basel.face_model(), face, 224)
    landmarks = project_landmarks(basel.landmark_model(), face, 224)
    for n, given in enumerate(coefficients):
        positions, colours = reference(FRONT, given, 224)
        # Pixels of 224 and units of the image, in float32: measured at most 3.1e-5 and 4.5e-7.
        np.testing.assert_allclose(view.positions[n], positions, atol=5e-4)
        np.testing.assert_allclose(view.colours[n], colours, atol=1e-5)
        expected = positions[FRONT["keypoints"][0] - 1]
        np.testing.assert_allclose(landmarks[n], expected, atol=5e-4)
    outside = np.setdiff1d(np.arange(VERTICES), FRONT["frontmask2_idx"] - 1)
    assert (view.visible[:, outside] == 0).all()
    assert view.visible.mean() > 0.3
    assert np.ptp(view.colours, axis=(0, 1)).min() > 0.1


def test_vertices_alone(basel):
    rng = np.random.default_rng(2)
    identity, expression = rng.normal(size=(2, 80)), rng.normal(size=(2, 64))
    centred = FRONT["meanshape"].reshape(-1, 3) - FRONT["meanshape"].reshape(-1, 3).mean(axis=0)
    expected = centred + (identity @ FRONT["idBase"].T).reshape(2, -1, 3)
    np.testing.assert_allclose(basel(jnp.asarray(identity)), expected, atol=1e-6)  # float32
    expected += (expression @ FRONT["exBase"].T).reshape(2, -1, 3)
    found = basel(jnp.asarray(identity), jnp.asarray(expression))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    with pytest.raises(ValueError, match=r"expected identity \[2, 80\], got \[2, 64\]"):
        basel(jnp.asarray(expression))


def test_the_photometric_energy_of_a_picture(basel):
    """MoFA's one energy takes the model as it takes the embedded world's."""
    given = random_coefficients(1)
    face = FaceParameters.from_flat(pie_parameters(jnp.asarray(given, jnp.float32)))
    ramp = np.linspace(-1, 1, 32)  # linear in the position, so that sampling it is exact
    picture = np.stack([ramp + 0 * ramp[:, None], ramp[:, None] + 0 * ramp, np.zeros((32, 32))], -1)
    energy = jax.jit(
        jax.value_and_grad(
            lambda flat, model, images: photometric_energy(
                model, FaceParameters.from_flat(flat), images
            )[0]
        )
    )
    model = basel.face_model()
    found, gradient = energy(face.flat, model, jnp.asarray(picture[None], jnp.float32))
    positions, colours = reference(FRONT, given[0], 32)
    seen = np.asarray(view_of_model(model, face, 32).visible[0]) > 0
    x, y = (np.interp(positions[:, k], np.arange(32) + 0.5, ramp) for k in (0, 1))
    distance = np.linalg.norm(colours - np.stack([x, y, 0 * x], axis=1), axis=1)[seen]
    assert seen.sum() > 20
    np.testing.assert_allclose(found, distance.mean(), rtol=1e-4)  # float32
    assert np.isfinite(gradient).all()
    for group, width in {"rotation": 0, "identity": 6, "expression": 166, "light": 230}.items():
        assert np.abs(gradient[0, width : width + 3]).max() > 1e-4, group


def test_the_original_file_is_the_same_model_without_expressions(tmp_path):
    variables = original()
    points, faces = sheet()
    model = converted(tmp_path, variables)
    assert not model.config.has_expression
    assert not model.config.has_landmarks
    # float32 files of about 1e5 micrometres, then decimetres.
    np.testing.assert_allclose(model.vertices[...], points - points.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(model.triangles[...], faces)  # they were clockwise
    for basis, modes, deviation, unit in (
        (model.identity_basis, "shapePC", "shapeEV", 1e-5),
        (model.reflectance_basis, "texPC", "texEV", 1 / 255),
    ):
        whole = variables[modes].astype(np.float64) * variables[deviation][:, 0] * unit
        expected = whole[:, :80].T.reshape(80, -1, 3)
        np.testing.assert_allclose(basis[...], expected, rtol=1e-6)
    moved = model(jnp.ones((1, 80)))
    assert np.abs(moved - model.vertices[...]).max() > 0.01
    for ask in (
        lambda: model(jnp.ones((1, 80)), jnp.ones((1, 64))),
        model.face_model,
    ):
        with pytest.raises(WeightsError, match="has no expression modes") as error:
            ask()
        assert "\n" not in str(error.value)
    with pytest.raises(WeightsError, match="names no landmarks"):
        model.landmark_model()


def test_the_original_file_takes_landmarks(tmp_path):
    chosen = np.random.default_rng(3).permutation(VERTICES)[:68]
    np.save(tmp_path / "landmarks.npy", chosen)
    extras = {"landmarks": tmp_path / "landmarks.npy"}
    model = converted(tmp_path, original(), extras=extras)
    np.testing.assert_array_equal(model.landmarks[...], chosen)
    header = read_header(tmp_path / "model")
    assert header["source_family"] == "basel"
    assert "none of expression" in header["conversion_notes"]
    assert len(header["source_sha256_landmarks"]) == 64


MODES, TRIMMED = 79, VERTICES - 4


def exp_pca(mean, modes) -> bytes:
    """``Exp_Pca.bin``, a number at a time: modes [3W, modes] go out a mode after the other."""
    out = struct.pack("<i", modes.shape[1])
    for row in (mean, *modes.T):
        out += b"".join(struct.pack("<f", value) for value in row)
    return out


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """The files of transferBFM09 for a head that is the sheet, of which the face is one row less.

    Returns the folder, the variables, and what transferBFM09 makes of them.
    """
    folder = tmp_path_factory.mktemp("published")
    rng = np.random.default_rng(6)
    variables = original()
    trimmed = 1 + np.sort(rng.permutation(VERTICES)[:TRIMMED])
    face = 1 + np.sort(rng.permutation(TRIMMED)[:-3])
    modes = rng.normal(size=(3 * TRIMMED, MODES)).astype(np.float32) / 10
    deviations = np.linspace(5e4, 1e2, MODES)
    _, corners = sheet()
    of_head = trimmed[face - 1] - 1
    place = {vertex: number for number, vertex in enumerate(of_head, 1)}
    faces = np.array([[place[v] for v in t] for t in corners if all(v in place for v in t)])
    info = {
        "tri": faces.astype(np.float32),
        "keypoints": rng.integers(1, len(face), (1, 68)).astype(np.float32),
        "frontmask2_idx": np.arange(1, 30, dtype=np.float32)[:, None],
        "frontmask2": np.ones((1, len(face)), np.float32),
        "skinmask": np.ones((1, len(face)), np.float32),
        "tri_mask2": faces[:3].astype(np.float32),
        "point_buf": np.ones((len(face), 8), np.float32),
    }
    write(folder / "01_MorphableModel.mat", variables)
    write(folder / "BFM_exp_idx.mat", {"trimIndex": trimmed[:, None].astype(np.float64)})
    write(folder / "BFM_front_idx.mat", {"idx": face[:, None].astype(np.float32)})
    write(folder / "facemodel_info.mat", info)
    (folder / "Exp_Pca.bin").write_bytes(exp_pca(rng.normal(size=3 * TRIMMED), modes))
    (folder / "std_exp.txt").write_text(" ".join(f"{value:.12g}" for value in deviations))

    def at(rows, array):  # [3V, n] at some vertices
        return array.reshape(-1, 3, array.shape[1])[rows].reshape(-1, array.shape[1])

    wide = {key: variables[key].astype(np.float64) for key in ("shapeMU", "shapePC", "texPC")}
    expected = info | {
        "meanshape": at(of_head, wide["shapeMU"]).T / 1e5,
        "meantex": at(of_head, variables["texMU"].astype(np.float64)).T,
        "idBase": at(of_head, wide["shapePC"] * variables["shapeEV"][:, 0] / 1e5)[:, :80],
        "texBase": at(of_head, wide["texPC"] * variables["texEV"][:, 0])[:, :80],
        "exBase": at(face - 1, modes * deviations / 1e5)[:, :64],
    }
    del expected["frontmask2"]
    return folder, variables, info, expected


FILES = {
    "expressions": "Exp_Pca.bin",
    "std_exp": "std_exp.txt",
    "exp_idx": "BFM_exp_idx.mat",
    "front_idx": "BFM_front_idx.mat",
    "info": "facemodel_info.mat",
}


def test_the_original_with_expressions_is_the_transferred_model(published, tmp_path):
    folder, variables, info, expected = published
    extras = {name: folder / file for name, file in FILES.items()}
    report = convert(
        "auto", folder / "01_MorphableModel.mat", tmp_path / "ours", extras=extras
    ).report
    ours, theirs = load_network(tmp_path / "ours"), converted(tmp_path, expected)
    assert ours.config == theirs.config
    assert ours.config.has_expression
    assert ours.config.vertices == TRIMMED - 3
    found, wanted = network_arrays(ours), network_arrays(theirs)
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        # Both are float32 of the same float64 products, in another order of factors.
        np.testing.assert_allclose(found[name], array, rtol=1e-6, atol=1e-7, err_msg=name)
    named = {line.split()[1].rstrip(":") for line in report if line[:4] in ("used", "igno")}
    assert named == {*variables, *info, "expMU", "expPC", "std_exp", "trimIndex", "idx"}
    assert any(f"{TRIMMED - 3} of {VERTICES} vertices" in line for line in report)


def test_files_of_the_transfer_are_refused_in_one_line(published, tmp_path, capsys):
    folder, *_ = published
    source, target = folder / "01_MorphableModel.mat", tmp_path / "out"
    modes = np.ones((3 * TRIMMED, MODES))

    def with_files(**changed):
        files = {name: folder / file for name, file in FILES.items()} | changed
        given = [f"{name}={file}" for name, file in files.items() if file]
        options = [option for file in given for option in ("--with", file)]
        return refusal(["auto", source, target, *options], capsys)

    line = with_files(info=None, std_exp=None)
    assert "expressions also need --with std_exp=FILE (std_exp.txt of Deep3DFaceRecon" in line
    assert "--with info=FILE" in line
    np.save(tmp_path / "landmarks.npy", np.arange(68))
    assert "has keypoints of its own" in with_files(landmarks=tmp_path / "landmarks.npy")
    assert "holds no trimIndex: not BFM_exp_idx.mat" in with_files(exp_idx=folder / FILES["info"])
    short = tmp_path / "short.txt"
    short.write_text("3.5 2.5\n")
    assert "79 modes and std_exp 2 deviations" in with_files(std_exp=short)
    short.write_text("3.5 2.5e\n")
    assert "no list of numbers" in with_files(std_exp=short)
    cut = tmp_path / "Exp_Pca.bin"
    cut.write_bytes((folder / "Exp_Pca.bin").read_bytes()[:-4])
    assert "neither a pickle nor a PyTorch file" in with_files(expressions=cut)
    cut.write_bytes(exp_pca(modes[3:, 0], modes[3:]))
    assert f"trimIndex names {TRIMMED} vertices, expPC has {TRIMMED - 1}" in with_files(
        expressions=cut
    )
    wrong = write(tmp_path / "idx.mat", {"idx": np.array([[TRIMMED + 1.0]])})
    assert f"idx reaches from {TRIMMED + 1}" in with_files(front_idx=wrong)
    write(source.with_name("front.mat"), FRONT)
    given = ["--with", f"expressions={folder}/Exp_Pca.bin"]
    line = refusal(["auto", source.with_name("front.mat"), target, *given], capsys)
    assert "expressions of its own" in line
    assert not target.exists()


def test_the_report_has_every_variable(tmp_path):
    for variables in (FRONT, original()):
        source = write(tmp_path / "model.mat", variables)
        report = convert("basel", source, tmp_path / "out").report
        named = {line.split()[1].rstrip(":") for line in report if line[:4] in ("used", "igno")}
        assert named == set(variables)


REFUSED = {
    "missing": (front, {"meantex": None}, "lacks meantex"),
    "missing expression": (front, {"exBase": None}, "lacks exBase"),
    "missing triangles": (front, {"tri": None}, "lacks tri"),
    "surplus": (front, {"more": np.ones((1, 2))}, "unexpected more"),
    "text": (front, {"more": "text"}, "more: expected a tensor, got a str"),
    "modes": (front, {"idBase": np.ones((3 * VERTICES, 79))}, "idBase has 79 modes, expected 80"),
    "vertices": (
        front,
        {"texBase": np.ones((9, 80))},
        r"texBase: its shape \[9, 80\] does not fit",
    ),
    "coordinates": (front, {"meanshape": np.ones((1, 7))}, r"meanshape: its shape is \[1, 7\]"),
    "nan": (front, {"meantex": np.full((1, 3 * VERTICES), np.nan)}, "meantex holds NaN"),
    "index": (front, {"tri": np.array([[0, 1, 2]])}, "tri reaches from 0 to 2, expected 1 to 72"),
    "corners": (front, {"tri": np.array([[1, 2]])}, r"tri: its shape is \[1, 2\], expected \[F"),
    "fraction": (front, {"keypoints": np.full((1, 68), 1.5)}, "keypoints holds numbers that are"),
    "landmarks": (front, {"keypoints": np.ones((1, 67))}, r"keypoints: its shape \[1, 67\] does"),
    "deviations": (original, {"shapeEV": np.ones((98, 1))}, "shapePC: its shape .* does not fit"),
    "no deviations": (original, {"texEV": None}, "lacks texEV"),
    "few modes": (
        original,
        {"texPC": np.ones((3 * VERTICES, 70)), "texEV": np.ones((70, 1))},
        "texPC: its shape .* does not fit",
    ),
    "sparse modes": (
        original,
        {"texPC": sparse.csc_matrix(np.ones((3 * VERTICES, 99)))},
        "texPC: a MATLAB sparse array",
    ),
    "surplus in the original": (original, {"idBase": np.ones((2, 2))}, "unexpected idBase"),
}


def refusal(arguments, capsys) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("refused: ")
    return line


@pytest.mark.parametrize("case", REFUSED)
def test_models_are_refused_in_one_line_and_nothing_is_written(case, tmp_path, capsys):
    make, changes, reason = REFUSED[case]
    source = write(tmp_path / "model.mat", make(**changes))
    line = refusal(["auto", source, tmp_path / "out"], capsys)
    assert re.search(reason, line), line
    assert not (tmp_path / "out").exists()


def test_landmarks_are_refused_in_one_line(tmp_path, capsys):
    np.save(tmp_path / "landmarks.npy", np.arange(68))
    given = ["--with", f"landmarks={tmp_path}/landmarks.npy"]
    source = write(tmp_path / "model.mat", FRONT)
    target = tmp_path / "out"
    assert "has landmarks and expressions of its own" in refusal(
        ["auto", source, target, *given], capsys
    )
    write(source, original())
    np.save(tmp_path / "landmarks.npy", np.arange(67))
    assert "expected [68] vertices, got [67]" in refusal(["auto", source, target, *given], capsys)
    np.save(tmp_path / "landmarks.npy", np.arange(10, 78))
    line = refusal(["auto", source, target, *given], capsys)
    assert "landmarks reaches from 10 to 77, expected 0 to 71" in line
    other = ["--with", f"expression={tmp_path}/landmarks.npy"]
    assert "takes no --with expression" in refusal(["auto", source, target, *other], capsys)
    assert not target.exists()
