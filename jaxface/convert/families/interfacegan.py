"""InterFaceGAN's boundaries: ``boundaries/*_boundary.npy``, and encoder4editing's ``smile.pt``.

A file is one array, the boundary's normal: [1, D] or [D], or [1, L, D] for W+; a ``.npy``, or the
tensor of a ``.pt``.  Where the family is named, so are [L, D], [L, 1, D] and [1, 1, L, D].
It does not say whether it belongs to Z or to W: that is the network, ``w`` unless
``--network z`` is given.

    boundary / its length    vectors
    its length               units        a strength of 1 adds the file's own vector
    (zeros)                  mean         distances count from the origin
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxface.convert.formats.tensors import ArrayRecord, as_array
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.convert.terms import FITTED
from jaxface.licences import Terms
from jaxface.nets.edits.linear_directions import DirectionsConfig

NETWORKS: tuple[str, ...] = ("w", "z")
TERMS: Mapping[str, Terms] = dict.fromkeys(
    NETWORKS, Terms("MIT", "unstated", f"the repository that holds the file; {FITTED}")
)

# What the file's only array is called in the report.
KEY = "boundary"
# One for all rows of W+, or each its own: 2 to 20 by the resolution, and the mobile generator's 23.
ROWS = (1, *range(2, 21, 2), 23)
# The published normals have a length of 1; this is some roundings of float32 and text.
UNIT_TOLERANCE = 1e-4


def matches(root: Any) -> bool:
    """Whether a checkpoint's root object is of this family."""
    if not isinstance(root, ArrayRecord):
        return False
    shape = root.array().shape
    return len(shape) == 1 or (len(shape) in (2, 3) and shape[0] == 1)


def accepts(root: Any) -> bool:
    """Whether a file that is said to be of this family can be: an array with one side for rows."""
    if not isinstance(root, ArrayRecord):
        return False
    shape = root.array().shape
    return len(shape) >= 1 and sum(side != 1 for side in shape[:-1]) <= 1


def plan(root: Any, network: str) -> Plan:
    """How to convert the boundary.

    Raises:
        Refusal: if it is empty, has no length, has rows in Z, or as many as no generator has.
    """
    stored = as_array(root, where=KEY)
    if not stored.size:
        raise Refusal(f"{KEY}: its shape is {list(stored.shape)}, expected numbers")
    boundary = stored.reshape(-1, stored.shape[-1]).astype(np.float64)
    lengths = np.linalg.norm(boundary, axis=1)
    if not (lengths > 0).all() or not np.isfinite(lengths).all():
        raise Refusal(f"{KEY}: a vector of length 0 or NaN leads nowhere")
    length = lengths.mean()
    if np.ptp(lengths) > UNIT_TOLERANCE * length:
        raise Refusal(
            f"{KEY}: its rows differ in length, {lengths.min():.4g} to {lengths.max():.4g}"
        )
    rows, dim = boundary.shape
    # The published form says which side is rows; how many a generator has, its suite checks.
    published = stored.ndim == 3 and stored.shape[0] == 1 and rows <= ROWS[-1]
    if dim < 2 or not (published or rows in ROWS):
        raise Refusal(
            f"{KEY}: {rows} x {dim} fits no generator: a direction has one row, or as many as W+ "
            f"has ({', '.join(map(str, ROWS[1:]))})"
        )
    notes = ["a strength of 1 moves a latent by a length of 1"]
    if abs(length - 1) > UNIT_TOLERANCE:
        notes = [f"the vector's length is {length:.5g}: a strength of 1 moves a latent by that"]
    return Plan(
        class_name="LatentDirections",
        config=make_config(DirectionsConfig, names=(KEY,), dim=dim, space=network, rows=rows),
        arrays={KEY: stored, "origin": np.zeros(dim)},
        entries=(
            Entry(KEY, "vectors", lambda x: x.reshape(1, rows, dim) / length),
            Entry(KEY, "units", lambda _: np.array([length])),
            Entry("origin", "mean"),
        ),
        notes=(*notes, "the file has no mean: coordinates count from the origin"),
    )


def other_parts(root: Any, network: str) -> dict[str, str]:
    """What else the file holds: nothing."""
    del root, network
    return {}
