"""The head's mesh: what is kept of the base mesh, its triangles, and where it stands.

Head units and axes are those of `jaxface.morphable.head`: about 9 cm, x to the image's right, y
up, z to the camera; a person's left is on the image's right, as in MakeHuman.
"""

from dataclasses import dataclass

import numpy as np

from tools.embedded_head.source import Array, Assets

SCALE = 1.09
"""Head units to a decimetre; with it irises lie where FFHQ's framing has them."""
_SHIFT = np.array([0.0, -7.04, -1.33 + 0.88 / SCALE])
_LOWEST, _WIDEST = 5.15, 1.9  # of the kept quads, in decimetres
_HELPERS = ("helper-upper-teeth", "helper-lower-teeth", "helper-tongue")
_RACES, _GENDERS = ("caucasian", "asian", "african"), ("female", "male")


def to_head(decimetres: Array) -> Array:
    """Positions in head units."""
    return (decimetres + _SHIFT) * SCALE + np.array([0.0, -0.245, 0.0])


def average_adult(assets: Assets) -> Array:
    """The base mesh as the mean of the six young adults that MakeHuman starts from, [V, 3]."""
    moved = np.zeros_like(assets.vertices)
    for gender in _GENDERS:
        for race in _RACES:
            moved += assets.target("macrodetails", f"{race}-{gender}-young") / 6.0
        build = f"universal-{gender}-young-averagemuscle-averageweight"
        moved += assets.target("macrodetails", build) / 2.0
    return assets.vertices + moved


@dataclass(frozen=True)
class Mesh:
    """The kept part. Vertices are numbered anew: skin, upper teeth, lower teeth, tongue."""

    source: Array  # [V] index in the base mesh
    parts: dict[str, slice]
    vertices: Array  # [V, 3], head units, mirror-symmetric
    quads: Array  # [Q, 4]
    mirror: Array  # [V]


def cut_mesh(assets: Assets) -> Mesh:
    """Head, neck and the top of the shoulders, with teeth and tongue."""
    average = average_adult(assets)
    inside = (average[assets.quads][..., 1].min(axis=1) > _LOWEST) & (
        np.abs(average[assets.quads][..., 0]).max(axis=1) < _WIDEST
    )
    chosen, parts, kept = [], {}, []
    for name in ("body", *_HELPERS):
        quads = assets.quads[(assets.groups == name) & inside]
        used = np.unique(quads)
        start = sum(len(part) for part in kept)
        parts[name.removeprefix("helper-")] = slice(start, start + len(used))
        kept.append(used)
        chosen.append(quads)
    source = np.concatenate(kept)
    renumbered = np.full(len(average), -1)
    renumbered[source] = np.arange(len(source))
    mirror = renumbered[assets.mirror()[source]]
    if (mirror < 0).any():
        raise SystemExit("cut_mesh: the kept vertices are not symmetric")
    vertices = to_head(average[source])
    vertices = 0.5 * (vertices + vertices[mirror] * (-1.0, 1.0, 1.0))
    return Mesh(source, parts, vertices, renumbered[np.concatenate(chosen)], mirror)


def triangles_of(quads: Array, vertices: Array) -> Array:
    """Two triangles a quad along its shorter diagonal, [2Q, 3]; mirror images where quads are."""
    a, b, c, d = quads.T
    first = np.linalg.norm(vertices[a] - vertices[c], axis=1)
    second = np.linalg.norm(vertices[b] - vertices[d], axis=1)
    along = (first <= second)[:, None]
    upper = np.where(along, np.stack([a, b, c], 1), np.stack([a, b, d], 1))
    lower = np.where(along, np.stack([a, c, d], 1), np.stack([b, c, d], 1))
    return np.concatenate([upper, lower])


def triangle_normals(vertices: Array, triangles: Array) -> Array:
    """Normals of vertices, weighted by the triangles' areas: [V, 3], unit."""
    corner = vertices[triangles]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = np.zeros_like(vertices)
    for place in range(3):
        np.add.at(total, triangles[:, place], normal)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)


def normal_stencil(vertices: Array, triangles: Array) -> Array:
    """Four neighbours (a, b, c, d) of each vertex whose (a - b) x (c - d) points along its normal.

    Gathering four points a vertex is much cheaper on a CPU than summing normals over triangles,
    and for the four neighbours of a regular vertex it is a grid's central differences.
    """
    normals = triangle_normals(vertices, triangles)
    around = [set() for _ in vertices]
    for triangle in triangles.tolist():
        for place in range(3):
            around[triangle[place]].update(triangle)
    stencil = np.zeros((len(vertices), 4), int)
    for index, ring in enumerate(around):
        near = np.array(sorted(ring))  # itself included: one-sided at borders
        if len(near) < 3:
            continue
        best, count = -np.inf, len(near)
        pairs = np.array([(i, j) for i in range(count) for j in range(count) if i != j])
        span = vertices[near[pairs[:, 0]]] - vertices[near[pairs[:, 1]]]
        products = np.cross(span[:, None], span[None])
        # The direction's error, then a preference for wide and square stencils.
        size = np.linalg.norm(products, axis=-1) + 1e-12
        score = (products @ normals[index]) / size + 0.02 * size / size.max()
        place = int(score.argmax())
        best = divmod(place, len(pairs))
        stencil[index] = near[np.concatenate([pairs[best[0]], pairs[best[1]]])]
    return stencil
