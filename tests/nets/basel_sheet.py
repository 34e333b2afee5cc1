"""A tiny Basel Face Model: random modes on a sheet that bulges towards the camera."""

import numpy as np

from jaxface.morphable import BaselConfig, BaselModel
from jaxface.weights import abstract_network, build_network, network_names

ROWS, COLUMNS = 8, 9
VERTICES = ROWS * COLUMNS


def sheet() -> tuple[np.ndarray, np.ndarray]:
    """Vertices [V, 3] in decimetres and triangles [F, 3], from zero, anticlockwise."""
    y, x = np.meshgrid(np.linspace(0.8, -0.8, ROWS), np.linspace(-0.7, 0.7, COLUMNS), indexing="ij")
    points = np.stack([x, y, 0.6 - 0.5 * x**2 - 0.4 * y**2], axis=-1).reshape(-1, 3)
    a = (np.arange(ROWS - 1)[:, None] * COLUMNS + np.arange(COLUMNS - 1)).ravel()
    below = a + COLUMNS
    faces = np.concatenate([[a, below, a + 1], [a + 1, below, below + 1]], axis=1).T
    return points + np.array([0.3, 0.2, 0.1]), faces


def sheet_model(**known: bool) -> BaselModel:
    """The model itself; `known` are fields of its configuration."""
    points, faces = sheet()
    config = BaselConfig(vertices=VERTICES, triangles=len(faces), **known)
    random = np.random.default_rng(5)
    fixed = {
        "vertices": points - points.mean(axis=0),
        "triangles": faces,
        "landmarks": random.permutation(VERTICES)[:68],
        "region": np.ones(VERTICES),
        "reflectance": random.uniform(0.4, 0.8, (VERTICES, 3)),
    }
    arrays = {
        name: fixed[name] if name in fixed else 0.01 * random.normal(size=spec.shape)
        for name, spec in network_names(abstract_network("BaselModel", config)).items()
    }
    return build_network("BaselModel", config, arrays)  # pyright: ignore
