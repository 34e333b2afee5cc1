"""The Basel Face Model's MATLAB files: Deep3DFaceRecon's ``BFM_model_front.mat``, and the original.

``BFM_model_front.mat`` (Deep3DFaceRecon makes it of the original and of Guo et al.'s expression
modes) is the part of the face that images show, in decimetres.  Modes are already multiplied by
their standard deviations; indices count from one::

    meanshape [1, 3V]           vertices, about their centre
    meantex [1, 3V]             reflectance, over 255
    idBase [3V, 80]             identity_basis
    texBase [3V, 80]            reflectance_basis, over 255
    exBase [3V, 64]             expression_basis
    tri [F, 3]                  triangles
    keypoints [1, 68]           landmarks
    frontmask2_idx [n, 1]       region
    point_buf, tri_mask2, skinmask      ignored

``01_MorphableModel.mat`` (2009) is the whole head in micrometres, with 199 modes of which the first
80 are taken, as in PIE, and none of expression::

    shapeMU [3V, 1]                         vertices, about their centre
    texMU [3V, 1]                           reflectance, over 255
    shapePC [3V, 199], shapeEV [199, 1]     identity_basis, their product
    texPC [3V, 199], texEV [199, 1]         reflectance_basis, their product over 255
    tl [F, 3]                               triangles
    segbin, segMM, segMB                    ignored

It names no landmarks: ``--with landmarks=FILE`` takes a ``.npy`` file of the 68 vertices, counted
from zero, in iBUG's order.  Triangles are turned to be anticlockwise seen from outside where they
are not.

With the files that Deep3DFaceRecon's ``transferBFM09`` (``util/load_mats.py``) takes, the original
becomes what ``BFM_model_front.mat`` becomes, without running that code::

    expressions=Exp_Pca.bin      expPC [3W, 79], of W = 53215 vertices: expression_basis
    std_exp=std_exp.txt          [79], the modes' deviations, in micrometres
    exp_idx=BFM_exp_idx.mat      trimIndex [W, 1]: which vertices of the original the W are
    front_idx=BFM_front_idx.mat  idx [V, 1]: which of the W the face's V = 35709 are
    info=facemodel_info.mat      tri, keypoints, frontmask2_idx of these V, as above
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert.families.sizes import shape_of
from jaxface.convert.families.torch_layers import has_tensors
from jaxface.convert.formats.checkpoint import Checkpoint
from jaxface.convert.formats.tensors import as_array
from jaxface.convert.hooks import Hook, modes_first
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.morphable import NUM_LANDMARKS
from jaxface.morphable.basel import BaselConfig
from jaxface.morphable.modes import EXPRESSION_MODES, IDENTITY_MODES, REFLECTANCE_MODES

NETWORKS: tuple[str, ...] = ("BaselModel",)
TERMS: Mapping[str, Terms] = {
    "BaselModel": Terms(
        "LicenseRef-Basel-Face-Model",
        note="the licence that the University of Basel asks each user to accept; expressions of "
        "3DFace are for research only",
    )
}
EXTRAS: Mapping[str, Mapping[str, str]] = {}
OPTIONAL: Mapping[str, Mapping[str, str]] = {
    "BaselModel": {
        "landmarks": "a .npy file of 68 vertices of 01_MorphableModel.mat",
        "expressions": "Exp_Pca.bin of Juyong/3DFace",
        "std_exp": "std_exp.txt of Deep3DFaceRecon, folder BFM",
        "exp_idx": "BFM_exp_idx.mat, there",
        "front_idx": "BFM_front_idx.mat, there",
        "info": "facemodel_info.mat, there",
    }
}
TRANSFERRED = ("expressions", "std_exp", "exp_idx", "front_idx", "info")
"""What makes the front of the face, with expressions, of the original."""

# By which the two files are told from others and from each other.
FRONT_KEYS, ORIGINAL_KEYS = ("meanshape", "idBase"), ("shapeMU", "shapePC")

FRONT_NOT_NEEDED = {
    "point_buf": "the triangles of each vertex, which the triangles tell",
    "frontmask2": "the region's mask, which its indices tell",
    "tri_mask2": "the triangles of the region, which the region tells",
    "skinmask": "used to train a network only",
}
WHOLE_HEAD = "the whole head's triangles; those of the face are taken"
SEGMENTS = "the model's segments, which are not told apart"
ORIGINAL_NOT_NEEDED = {
    "segbin": SEGMENTS,
    "segMM": SEGMENTS,
    "segMB": SEGMENTS,
    "shapeEV": "multiplied into shapePC",
    "texEV": "multiplied into texPC",
}

MICROMETRES = 1e-5  # in decimetres
WHITE = 255.0


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return has_tensors(root, *FRONT_KEYS) or has_tensors(root, *ORIGINAL_KEYS)


def plan(root: Any, network: str, extras: Mapping[str, Checkpoint]) -> Plan:
    """How to convert the model.

    Raises:
        Refusal: if the file is not one of the two.
    """
    del network  # there is one
    if has_tensors(root, *FRONT_KEYS):
        if extras:
            raise Refusal(
                "BFM_model_front.mat has landmarks and expressions of its own; leave out --with "
                + ", --with ".join(extras)
            )
        return _front(root)
    if not extras.keys() & set(TRANSFERRED):
        return _original(root, extras.get("landmarks"))
    missing = [name for name in TRANSFERRED if name not in extras]
    if missing:
        what = OPTIONAL["BaselModel"]
        raise Refusal(
            "expressions also need "
            + ", ".join(f"--with {name}=FILE ({what[name]})" for name in missing)
        )
    if "landmarks" in extras:
        raise Refusal("facemodel_info.mat has keypoints of its own; leave out --with landmarks")
    return _transferred(root, extras)


def other_parts(root: Any, network: str) -> dict[str, str]:
    """Nothing: every variable of the file is in the plan."""
    return {}


def _front(root: Mapping[str, Any]) -> Plan:
    arrays = _arrays(root, FRONT_NOT_NEEDED)
    for key, count in (
        ("idBase", IDENTITY_MODES),
        ("texBase", REFLECTANCE_MODES),
        ("exBase", EXPRESSION_MODES),
    ):
        found = shape_of(arrays, key, 2)[1]
        if found != count:
            raise Refusal(f"{key} has {found} modes, expected {count}")
    vertices = _vertices(arrays, "meanshape")
    _check_indices(arrays, "tri", "keypoints", "frontmask2_idx", count=vertices, first=1)
    turn, notes = _outwards(arrays, "meanshape", "tri")
    return Plan(
        class_name="BaselModel",
        config=make_config(BaselConfig, vertices=vertices, triangles=shape_of(arrays, "tri", 2)[0]),
        arrays=arrays,
        entries=(
            Entry("meanshape", "vertices", _centred),
            Entry("meantex", "reflectance", lambda x: _points(x) / WHITE),
            Entry("idBase", "identity_basis", _modes),
            Entry("texBase", "reflectance_basis", lambda x: _modes(x) / WHITE),
            Entry("exBase", "expression_basis", _modes),
            Entry("tri", "triangles", turn),
            Entry("keypoints", "landmarks", lambda x: x.reshape(-1) - 1),
            Entry("frontmask2_idx", "region", lambda x: _marked(x, vertices)),
        ),
        ignored={key: why for key, why in FRONT_NOT_NEEDED.items() if key in arrays},
        notes=notes,
    )


def _original(root: Mapping[str, Any], landmarks: Checkpoint | None) -> Plan:
    arrays = _arrays(root, ORIGINAL_NOT_NEEDED)
    vertices = _vertices(arrays, "shapeMU")
    _check_indices(arrays, "tl", count=vertices, first=1)
    if landmarks is not None:
        arrays["landmarks"] = as_array(landmarks.root, where=f"{landmarks.path}")
        _check_indices(arrays, "landmarks", count=vertices, first=0)
        if arrays["landmarks"].shape != (NUM_LANDMARKS,):
            raise Refusal(
                f"{landmarks.path}: expected [{NUM_LANDMARKS}] vertices, got "
                f"{list(arrays['landmarks'].shape)}"
            )
    turn, notes = _outwards(arrays, "shapeMU", "tl")
    entries = [
        Entry("shapeMU", "vertices", lambda x: _centred(x * MICROMETRES)),
        Entry("texMU", "reflectance", lambda x: _points(x) / WHITE),
        Entry("shapePC", "identity_basis", _scaled(arrays, "shapeEV", IDENTITY_MODES, MICROMETRES)),
        Entry("texPC", "reflectance_basis", _scaled(arrays, "texEV", REFLECTANCE_MODES, 1 / WHITE)),
        Entry("tl", "triangles", turn),
    ]
    if landmarks is not None:
        entries.append(Entry("landmarks", "landmarks"))
    modes = shape_of(arrays, "shapePC", 2)[1], shape_of(arrays, "texPC", 2)[1]
    return Plan(
        class_name="BaselModel",
        config=make_config(
            BaselConfig,
            vertices=vertices,
            triangles=shape_of(arrays, "tl", 2)[0],
            has_expression=False,
            has_landmarks=landmarks is not None,
            has_region=False,
        ),
        arrays=arrays,
        entries=tuple(entries),
        ignored={key: why for key, why in ORIGINAL_NOT_NEEDED.items() if key in arrays},
        notes=(
            f"the first {IDENTITY_MODES} of {modes[0]} modes of shape and the first "
            f"{REFLECTANCE_MODES} of {modes[1]} of texture; none of expression",
            *notes,
        ),
    )


def _transferred(root: Mapping[str, Any], extras: Mapping[str, Checkpoint]) -> Plan:
    """``transferBFM09``: the original at the face's vertices, with the expression modes there."""
    arrays = _arrays(root, ORIGINAL_NOT_NEEDED)
    heads = _vertices(arrays, "shapeMU")
    arrays |= _extra_arrays(extras)
    rows, modes = shape_of(arrays, "expPC", 2)
    faces, deviations, trimmed = rows // 3, arrays["std_exp"].size, arrays["trimIndex"].size
    if deviations != modes or modes < EXPRESSION_MODES:
        raise Refusal(
            f"expPC has {modes} modes and std_exp {deviations} deviations, expected as many, "
            f"{EXPRESSION_MODES} or more"
        )
    if trimmed != faces:
        raise Refusal(f"trimIndex names {trimmed} vertices, expPC has {faces}")
    _check_indices(arrays, "trimIndex", count=heads, first=1)
    _check_indices(arrays, "idx", count=faces, first=1)
    of_modes = arrays["idx"].reshape(-1).astype(np.int64) - 1
    of_head = arrays["trimIndex"].reshape(-1).astype(np.int64)[of_modes] - 1
    vertices = len(of_head)
    _check_indices(arrays, "tri", "keypoints", "frontmask2_idx", count=vertices, first=1)
    turn, notes = _outwards(arrays, "shapeMU", "tri", chosen=of_head)
    identity = _scaled(arrays, "shapeEV", IDENTITY_MODES, MICROMETRES)
    reflectance = _scaled(arrays, "texEV", REFLECTANCE_MODES, 1 / WHITE)
    expression = _scaled(arrays, "std_exp", EXPRESSION_MODES, MICROMETRES)
    ignored = {
        **ORIGINAL_NOT_NEEDED,
        **FRONT_NOT_NEEDED,
        "tl": WHOLE_HEAD,
        "expMU": "the mean of the modes; transferBFM09 leaves it out",
        "std_exp": "multiplied into expPC",
        "trimIndex": "chooses vertices",
        "idx": "chooses vertices",
    }
    return Plan(
        class_name="BaselModel",
        config=make_config(BaselConfig, vertices=vertices, triangles=shape_of(arrays, "tri", 2)[0]),
        arrays=arrays,
        entries=(
            Entry("shapeMU", "vertices", lambda x: _centred(_points(x)[of_head] * MICROMETRES)),
            Entry("texMU", "reflectance", lambda x: _points(x)[of_head] / WHITE),
            Entry("shapePC", "identity_basis", lambda x: identity(x)[:, of_head]),
            Entry("texPC", "reflectance_basis", lambda x: reflectance(x)[:, of_head]),
            Entry("expPC", "expression_basis", lambda x: expression(x)[:, of_modes]),
            Entry("tri", "triangles", turn),
            Entry("keypoints", "landmarks", lambda x: x.reshape(-1) - 1),
            Entry("frontmask2_idx", "region", lambda x: _marked(x, vertices)),
        ),
        ignored={key: why for key, why in ignored.items() if key in arrays},
        notes=(f"{vertices} of {heads} vertices, as transferBFM09 chooses them", *notes),
    )


def _extra_arrays(extras: Mapping[str, Checkpoint]) -> dict[str, np.ndarray]:
    """The variables of all further files; a file of another kind is refused by what it lacks."""
    arrays = {}
    for name, key in (
        ("expressions", "expPC"),
        ("exp_idx", "trimIndex"),
        ("front_idx", "idx"),
        ("info", "tri"),
    ):
        root = extras[name].root
        if not has_tensors(root, key):
            what = OPTIONAL["BaselModel"][name]
            raise Refusal(f"{extras[name].path} holds no {key}: not {what}")
        arrays |= _arrays(root, {})
    arrays["std_exp"] = as_array(extras["std_exp"].root, where=f"{extras['std_exp'].path}")
    return arrays


def _arrays(root: Mapping[str, Any], not_needed: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Variables by name; those that are not needed are not read, since some are sparse."""
    nothing = np.zeros(0)
    return {
        key: nothing if not_needed.get(key) == SEGMENTS else as_array(value, where=key)
        for key, value in root.items()
    }


def _vertices(arrays: Mapping[str, np.ndarray], key: str) -> int:
    size = arrays[key].size
    if size == 0 or size % 3 or max(arrays[key].shape) != size:
        raise Refusal(
            f"{key}: its shape is {list(arrays[key].shape)}, expected x, y and z of vertices in a "
            "row or a column"
        )
    return size // 3


def _check_indices(arrays: Mapping[str, np.ndarray], *keys: str, count: int, first: int) -> None:
    for key in keys:
        array = arrays.get(key)
        if array is None or array.size == 0:
            raise Refusal(f"the model lacks {key}")
        if not first <= array.min() <= array.max() < first + count:
            raise Refusal(
                f"{key} reaches from {array.min()} to {array.max()}, expected {first} to "
                f"{first + count - 1}"
            )
        if (array != np.floor(array)).any():
            raise Refusal(f"{key} holds numbers that are no indices")


def _outwards(
    arrays: Mapping[str, np.ndarray],
    points: str,
    triangles: str,
    *,
    chosen: np.ndarray | slice = slice(None),
) -> tuple[Hook, tuple[str, ...]]:
    """The hook that counts from zero and turns all triangles outwards, and what to say of it.

    The triangles are of the chosen points.

    The face looks along z and is open behind, so that its triangles' normals, weighted by their
    areas, add up to something that points along z too.
    """
    if shape_of(arrays, triangles, 2)[1] != 3:
        raise Refusal(f"{triangles}: its shape is {list(arrays[triangles].shape)}, expected [F, 3]")
    corners = _points(arrays[points])[chosen][arrays[triangles].astype(np.int64) - 1, :2]
    (x1, y1), (x2, y2) = (np.moveaxis(corners[:, k] - corners[:, 0], 1, 0) for k in (1, 2))
    if (x1 * y2 - x2 * y1).sum() >= 0:
        return lambda x: x - 1.0, ()
    return lambda x: x[:, ::-1] - 1.0, (f"{triangles}: triangles were clockwise and are turned",)


def _scaled(arrays: Mapping[str, np.ndarray], deviations: str, count: int, unit: float) -> Hook:
    """The first orthonormal modes to what they change at one standard deviation."""
    if deviations not in arrays:
        raise Refusal(f"the model lacks {deviations}")
    deviation = arrays[deviations].reshape(-1).astype(np.float64)

    def hook(x: np.ndarray) -> np.ndarray:
        if x.ndim != 2 or x.shape[1] != len(deviation):
            raise ValueError(f"expected {len(deviation)} modes")
        return _modes(x[:, :count] * (unit * deviation[:count]))

    return hook


def _points(x: np.ndarray) -> np.ndarray:
    return x.reshape(-1, 3).astype(np.float64)


def _centred(x: np.ndarray) -> np.ndarray:
    """Deep3DFaceRecon's ``recenter``."""
    return _points(x) - _points(x).mean(axis=0)


def _modes(x: np.ndarray) -> np.ndarray:
    """[3V, modes] to [modes, V, 3]."""
    if x.ndim != 2:
        raise ValueError("expected 2 dimensions")
    return modes_first(x.reshape(-1, 3, x.shape[1]))


def _marked(x: np.ndarray, count: int) -> np.ndarray:
    region = np.zeros(count)
    region[x.reshape(-1).astype(np.int64) - 1] = 1
    return region
