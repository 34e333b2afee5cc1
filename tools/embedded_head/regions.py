"""Masks of the new head: what is lip, lid, brow, tooth; where blush, beard and folds lie."""

import numpy as np

from jaxface.morphable import head as procedural
from jaxface.morphable.curves import bump, bump2, smoothstep
from tools.embedded_head.mesh import Mesh
from tools.embedded_head.source import Array, Assets

# Masks of the procedural head that are taken over by material coordinates.
_KEPT = ("nose_shadow", "blush", "socket", "beard", "folds", "brow")


def rigid_share(vertices: Array) -> Array:
    """1 where a vertex turns with the head, falling to 0 down the neck: [V]."""
    _, y, z = vertices.T
    return smoothstep(-0.60, 0.05, y + 1.20 - 0.54 * (0.6 - z))


def identity_share(vertices: Array) -> Array:
    """How far identity moves a vertex: shoulders, which a head alone does not tell, stay."""
    _, y, z = vertices.T
    return smoothstep(-0.75, 0.05, y + 1.20 - 0.54 * (0.6 - z))


def skin_masks(
    assets: Assets, mesh: Mesh, normals: Array, material: Array, landmarks: Array
) -> dict[str, Array]:
    """Masks [V] in 0..1 of the mesh's vertices: skin, mouth, teeth and tongue."""
    x, y, z = mesh.vertices.T
    body = np.arange(len(x)) < mesh.parts["body"].stop
    azimuth = np.arctan2(x, z - 0.05)
    front = smoothstep(1.45, 1.05, np.abs(azimuth)) * smoothstep(-0.1, 0.3, z) * body
    inside = assets.mask("inside-mouth")[mesh.source] * body
    skin = body * (1.0 - inside)
    old = procedural._masks(material[:, 0], material[:, 1], azimuth, front)
    masks = {name: np.clip(old[name], 0.0, 1.0) * skin for name in _KEPT}
    masks["lips"] = assets.mask("lips")[mesh.source] * body
    masks["beard"] = masks["beard"] * (1.0 - masks["lips"])
    masks["interior"] = inside
    masks["lids"] = assets.mask("eyelids")[mesh.source] * body
    masks["ears"] = assets.mask("ears")[mesh.source] * body
    middle = mesh.vertices[landmarks]
    # The margin: the part of the lids next to the eyeball, darker above.
    lid_y = 0.5 * (middle[37, 1] + middle[41, 1])
    margin = smoothstep(0.80, 0.98, masks["lids"])
    masks["lash"] = masks["lids"] * np.where(y > lid_y, 0.55 + 0.45 * margin, 0.35 * (1 - margin))
    masks["lash"] *= smoothstep(0.165, 0.20, np.abs(x))
    masks["caruncle"] = masks["lids"] * smoothstep(0.215, 0.19, np.abs(x))
    nostril = bump2(np.abs(x), y, (0.075, middle[33, 1] + 0.028), (0.035, 0.025))
    masks["nostril"] = nostril * smoothstep(0.15, -0.25, normals[:, 1]) * (z > 0.8) * skin
    mouth_y = 0.5 * (middle[62, 1] + middle[66, 1])
    masks["lip_line"] = masks["lips"] * bump(y, mouth_y, 0.016)
    scalp = smoothstep(0.62, 0.86, material[:, 1]) + smoothstep(0.15, -0.15, z) * (y > -0.3)
    masks["scalp"] = np.clip(scalp, 0.0, 1.0) * skin * (1.0 - masks["ears"])
    # Where skin is oily: forehead, nose, the top of the cheeks, chin; lips are wet.
    oil = 0.55 * bump2(x, material[:, 1], (0.0, 0.52), (0.34, 0.16))
    oil += 0.9 * bump2(x, material[:, 1], (0.0, -0.16), (0.09, 0.18))
    oil += 0.55 * bump2(np.abs(x), material[:, 1], (0.42, -0.06), (0.14, 0.09))
    oil += 0.45 * bump2(x, material[:, 1], (0.0, -0.92), (0.14, 0.09))
    masks["oil"] = np.clip(0.15 + oil + 0.75 * masks["lips"], 0.0, 1.0) * front
    for name, part in (("teeth", ("upper-teeth", "lower-teeth")), ("tongue", ("tongue",))):
        masks[name] = np.zeros(len(x))
        for piece in part:
            masks[name][mesh.parts[piece]] = 1.0
    masks["skin"] = skin
    # From chin to forehead and ear to ear, where a face is rarely covered.
    reach = (np.abs(azimuth) < 1.25) & (np.abs(material[:, 1] + 0.25) < 0.75) & (z > 0.1)
    masks["face"] = reach * (skin > 0.5) * (masks["ears"] < 0.3) * front
    masks["face"] *= masks["lids"] < 0.8
    return masks
