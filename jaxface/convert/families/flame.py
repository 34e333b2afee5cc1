"""FLAME's ``generic_model.pkl`` with DECA's ``landmark_embedding.npy`` beside it.

The command is ``flame generic_model.pkl OUT --with landmarks=landmark_embedding.npy``; the
landmarks may also be an ``.npz`` file of the same keys.  The model is a dictionary of arrays, some
of them chumpy's, the joint regressor SciPy's, and its kinematic tree; the basis holds 300 modes of
shape, then those of expression::

    v_template [V, 3]                       template
    shapedirs [V, 3, 300 + e]               shape_basis [300, V, 3], expression_basis [e, V, 3]
    posedirs [V, 3, 36]                     pose_basis [36, V, 3]
    J_regressor [5, V]                      joint_regressor
    weights [V, 5]                          skinning
    f [F, 3]                                faces
    kintree_table [2, 5]                    the configuration's parents

    landmarks.static_lmk_faces_idx [51]              inner_faces
    landmarks.static_lmk_bary_coords [51, 3]         inner_coordinates
    landmarks.dynamic_lmk_faces_idx [79, 17]         contour_faces
    landmarks.dynamic_lmk_bary_coords [79, 17, 3]    contour_coordinates
    landmarks.full_lmk_faces_idx [1, 68]             landmark_faces
    landmarks.full_lmk_bary_coords [1, 68, 3]        landmark_coordinates
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.families.sizes import shape_of
from jaxface.convert.formats.checkpoint import Checkpoint
from jaxface.convert.formats.tensors import ArrayRecord, as_array
from jaxface.convert.formats.words import one_line, shown
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.licences import Terms
from jaxface.morphable.flame import FLAMEConfig

NETWORKS: tuple[str, ...] = ("FLAME",)
TERMS: Mapping[str, Terms] = {
    "FLAME": Terms("LicenseRef-FLAME", note="the terms that each user accepts on FLAME's site")
}
EXTRAS: Mapping[str, Mapping[str, str]] = {
    "FLAME": {"landmarks": "DECA's landmark_embedding.npy"},
}
OPTIONAL: Mapping[str, Mapping[str, str]] = {}

MODEL_KEYS = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "f")
LANDMARK_KEYS = {
    "static_lmk_faces_idx": "inner_faces",
    "static_lmk_bary_coords": "inner_coordinates",
    "dynamic_lmk_faces_idx": "contour_faces",
    "dynamic_lmk_bary_coords": "contour_coordinates",
    "full_lmk_faces_idx": "landmark_faces",
    "full_lmk_bary_coords": "landmark_coordinates",
}
TREE = "kintree_table"

# What FLAME's and SMPL's files hold beside the model.
NOT_NEEDED = {
    "J": "the joints of the template, which the regressor gives",
    "weights_prior": "used to train the weights",
    "J_regressor_prior": "used to train the regressor",
    "vert_sym_idxs": "used to train the model",
}
# The kind of skinning; the values that every published model has, and the only ones read here.
STYLES = {"bs_style": "lbs", "bs_type": "lrotmin"}

# FLAME.py of DECA: shapedirs[:, :, 300:] are of expression.
SHAPE_MODES = 300


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    return isinstance(root, dict) and all(key in root for key in (*MODEL_KEYS, TREE))


def plan(root: Any, network: str, extras: Mapping[str, Checkpoint]) -> Plan:
    """How to convert the model.

    Raises:
        Refusal: if either file is not what it should be.
    """
    del network  # there is one
    _check_styles(root)
    arrays = {
        str(key): as_array(value, where=str(key))
        for key, value in root.items()
        if isinstance(value, ArrayRecord)
    }
    landmarks = extras["landmarks"]
    if not isinstance(landmarks.root, dict) or not set(LANDMARK_KEYS) <= set(landmarks.root):
        raise Refusal(
            f"{landmarks.path} is no landmark embedding of DECA's; it lacks some of "
            f"{', '.join(LANDMARK_KEYS)}"
        )
    for key, value in landmarks.root.items():
        arrays[f"landmarks.{key}"] = as_array(value, where=f"landmarks.{key}")
    ignored = {key: why for key, why in NOT_NEEDED.items() if key in arrays}
    config = _config(arrays)
    _check_indices(arrays, config)
    return Plan(
        class_name="FLAME",
        config=config,
        arrays=arrays,
        entries=tuple(_entries()),
        ignored={**ignored, TREE: "equal to the configuration's parents"},
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the model's file holds that is no array."""
    del network
    return {
        one_line(key): f"{shown(value)}, as here" if key in STYLES else "not an array of the model"
        for key, value in root.items()
        if not isinstance(value, ArrayRecord)
    }


def _entries() -> list[Entry]:
    return [
        Entry("v_template", "template"),
        Entry("shapedirs", "shape_basis", lambda x: hooks.modes_first(x)[:SHAPE_MODES]),
        Entry("shapedirs", "expression_basis", lambda x: hooks.modes_first(x)[SHAPE_MODES:]),
        Entry("posedirs", "pose_basis", hooks.modes_first),
        Entry("J_regressor", "joint_regressor"),
        Entry("weights", "skinning"),
        Entry("f", "faces"),
        *(
            Entry(
                f"landmarks.{key}",
                target,
                hooks.unbatched if key.startswith("full") else hooks.same,
            )
            for key, target in LANDMARK_KEYS.items()
        ),
    ]


def _config(arrays: Mapping[str, np.ndarray]) -> FLAMEConfig:
    vertices, _, modes = shape_of(arrays, "shapedirs", 3)
    if modes <= SHAPE_MODES:
        raise Refusal(
            f"shapedirs has {modes} modes, expected {SHAPE_MODES} of shape and some of expression"
        )
    rows, joints = shape_of(arrays, TREE, 2)
    if rows != 2:
        raise Refusal(f"{TREE}: its shape is {[rows, joints]}, expected [2, joints]")
    parents, numbers = arrays[TREE]
    if not np.array_equal(numbers, np.arange(joints)):
        raise Refusal(f"{TREE}: its joints are not numbered in order")
    return make_config(
        FLAMEConfig,
        vertices=vertices,
        faces=shape_of(arrays, "f", 2)[0],
        shape=SHAPE_MODES,
        expression=modes - SHAPE_MODES,
        # The root's parent is -1, or 2^32 - 1 where the table is unsigned.
        parents=(-1, *(int(parent) for parent in parents[1:])),
    )


def _check_indices(arrays: Mapping[str, np.ndarray], config: FLAMEConfig) -> None:
    counts = {"f": config.vertices}
    counts |= {f"landmarks.{key}": config.faces for key in LANDMARK_KEYS if "faces" in key}
    for key, count in counts.items():
        array = arrays[key]
        if array.size and not 0 <= array.min() <= array.max() < count:
            raise Refusal(f"{key} reaches from {array.min()} to {array.max()}, past {count - 1}")


def _check_styles(root: Mapping[Any, Any]) -> None:
    for key, expected in STYLES.items():
        found = root.get(key, expected)
        if found != expected:
            raise Refusal(f"{key} is {one_line(found)}, expected {expected}")
