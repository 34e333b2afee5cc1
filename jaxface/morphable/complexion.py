"""Mean reflectance and reflectance modes of version 3's head (NumPy, run once).

The colours and the named modes are those of the procedural head (`jaxface.morphable.modes`),
painted by the masks of the new one. Reflectance is linear RGB.
"""

import numpy as np

from jaxface.morphable.anatomy import Anatomy
from jaxface.morphable.curves import Array, smoothstep
from jaxface.morphable.modes import REFLECTANCE_MODES

_SKIN = (0.560, 0.365, 0.275)
# Mask, share and colour, painted in this order.
_PAINT: tuple[tuple[str, float, tuple[float, float, float]], ...] = (
    ("blush", 0.85, (0.56, 0.27, 0.21)),
    ("socket", 0.30, (0.33, 0.19, 0.14)),
    ("nose_shadow", 0.20, (0.30, 0.16, 0.11)),
    ("ears", 0.25, (0.52, 0.26, 0.19)),
    ("lips", 0.90, (0.46, 0.17, 0.15)),
    ("lip_line", 0.45, (0.20, 0.06, 0.05)),
    ("interior", 1.0, (0.22, 0.06, 0.055)),
    ("brow", 0.35, (0.16, 0.09, 0.06)),
    ("nostril", 0.75, (0.10, 0.035, 0.025)),
    ("lash", 0.80, (0.06, 0.035, 0.028)),
    ("caruncle", 0.6, (0.50, 0.22, 0.18)),
    ("tongue", 1.0, (0.36, 0.12, 0.115)),
    ("teeth", 1.0, (0.15, 0.045, 0.04)),
    ("white", 1.0, (0.80, 0.77, 0.74)),
    ("limbus", 1.0, (0.060, 0.042, 0.032)),
    ("iris", 1.0, (0.115, 0.078, 0.052)),
    ("pupil", 1.0, (0.010, 0.010, 0.010)),
)
_TEETH = (0.70, 0.66, 0.58)
_STRIPS = {"lashes": (0.03, 0.02, 0.018), "brows": (0.075, 0.045, 0.030)}


def front_teeth(head: Anatomy) -> Array:
    """1 at front teeth, 0 at those by the corners of the mouth, which lie in the dark: [V]."""
    return head.masks["teeth"] * smoothstep(0.25, 0.16, np.abs(head.vertices[:, 0]))


def mean_reflectance(head: Anatomy) -> Array:
    """Mean colours, [V, 3]."""
    colours = np.tile(np.array(_SKIN), (len(head.vertices), 1))
    for name, share, colour in _PAINT:
        mask = share * head.masks[name][:, None]
        colours = colours * (1.0 - mask) + mask * np.array(colour)
    white = front_teeth(head)[:, None]
    colours = colours * (1.0 - white) + white * np.array(_TEETH)
    for part, colour in _STRIPS.items():
        colours[head.parts[part]] = colour
    # Brows thin out towards their edges, where skin shows between the hairs.
    thin = smoothstep(0.25, 1.25, np.abs(head.brow_across))[:, None]
    brows = head.parts["brows"]
    colours[brows] += 0.45 * thin * (np.array(_SKIN) - colours[brows])
    return colours


def _strip(head: Anatomy, name: str) -> Array:
    found = np.zeros(len(head.vertices))
    found[head.parts[name]] = 1.0
    return found


def _named(head: Anatomy) -> list[tuple[Array, float]]:
    """Colour fields of `REFLECTANCE_NAMES` and the reflectance of one deviation of each."""
    masks = head.masks
    skin = masks["skin"] * (1.0 - 0.9 * masks["lash"]) * (1.0 - 0.5 * masks["lips"])
    skin = skin * (1.0 - 0.6 * masks["nostril"])
    brow = np.clip(_strip(head, "brows") + 0.35 * masks["brow"] * masks["skin"], 0.0, 1.0)
    iris = masks["iris"] + 0.35 * masks["limbus"]
    beard = masks["beard"] * (1.0 - masks["interior"])

    def field(weight: Array, *colour: float) -> Array:
        return weight[:, None] * np.array(colour)

    return [
        (field(skin, 1.0, 0.72, 0.56), 0.16),
        (field(skin, 0.25, -0.05, -0.55), 0.035),
        (field(masks["lips"], 0.5, -0.75, -0.5), 0.04),
        (field(brow, 1.0, 0.75, 0.45), 0.08),
        (field(iris, -0.45, 0.22, 0.85), 0.12),
        (field(iris, 0.0, 0.8, -0.25), 0.07),
        (field(beard, -1.0, -0.8, -0.65), 0.10),
        (field(masks["blush"] * skin, 0.2, -0.5, -0.4), 0.035),
        (field(masks["socket"] * skin, -0.6, -0.55, -0.4), 0.05),
        (field(masks["folds"] * skin, -0.8, -0.62, -0.5), 0.07),
    ]


def complexion_modes(head: Anatomy) -> tuple[Array, np.ndarray]:
    """Orthonormal modes [80, 3V] and their deviations [80]; the first are `REFLECTANCE_NAMES`."""
    rng = np.random.default_rng(3)
    masks, named = head.masks, _named(head)
    plain = masks["skin"] * (1.0 - 0.9 * masks["lash"]) * (1.0 - 0.8 * masks["brow"])
    on_face = np.flatnonzero(masks["face"] > 0.5)
    fields = [field for field, _ in named]
    deviation = [strength * np.linalg.norm(field) for field, strength in named]
    mirror = np.array([-1.0, 1.0, 1.0])

    def near(centre: Array, width: float) -> Array:
        return np.exp(-0.5 * ((head.vertices - centre) ** 2).sum(axis=1) / width**2)

    while len(fields) < REFLECTANCE_MODES:
        index = len(fields)
        width = max(0.10, 0.5 * (12 / index) ** 0.7)
        centre = head.vertices[rng.choice(on_face)]
        colour = np.array([1.0, 0.9, 0.8]) + 0.15 * rng.normal(size=3)
        other = 1.0 if index % 3 else 0.0  # every third is one-sided
        weight = near(centre, width) + other * near(centre * mirror, width)
        fields.append((weight * plain)[:, None] * (colour / np.linalg.norm(colour)))
        deviation.append(0.017 * (12 / index) ** 0.5 * np.linalg.norm(fields[-1]))
    # Gram-Schmidt in the order above, signs kept.
    q, r = np.linalg.qr(np.stack([field.ravel() for field in fields]).T)
    return (q * np.sign(np.diag(r))).T, np.array(deviation)
