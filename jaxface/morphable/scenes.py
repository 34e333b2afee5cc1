"""The distribution of scenes, as a smooth map from a standard normal vector.

A generator whose latent starts with the same vector can learn the map by regression, since every
factor of an image is a smooth function of one or a few of its coordinates.
"""

from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr

from jaxface.morphable.illumination import ambient_light, directional_light
from jaxface.morphable.modes import EXPRESSION_MODES, REFLECTANCE_NAMES, SAG
from jaxface.morphable.parameters import WIDTHS, FaceParameters, Nuisance, Scene
from jaxface.vocabulary import EXPRESSION_NAMES

_SEMANTIC = len(EXPRESSION_NAMES)
_WIDTHS = {
    "rotation": 3,
    "translation": 3,
    "expression": _SEMANTIC,
    "light_direction": 2,
    "light_strength": 2,
    "light_tint": 4,
    "skin": len(REFLECTANCE_NAMES),
    "hair_colour": 4,
    "hair_style": 7,
    "clothes": 5,
    "background": 17,
    "age": 1,
    "glasses": 5,
    "identity": WIDTHS["identity"],
    "fine_expression": EXPRESSION_MODES - _SEMANTIC,
    "fine_reflectance": WIDTHS["reflectance"] - len(REFLECTANCE_NAMES),
}
_ENDS = np.cumsum(list(_WIDTHS.values())).tolist()

FACTORS: Mapping[str, slice] = MappingProxyType(
    {name: slice(end - _WIDTHS[name], end) for name, end in zip(_WIDTHS, _ENDS, strict=True)}
)
"""Where each factor lies in the Gaussian vector."""

NUM_FACTORS: int = _ENDS[-1]


def _of_a_person() -> np.ndarray:
    kept = np.zeros(NUM_FACTORS, bool)
    for name in ("identity", "skin", "fine_reflectance", "hair_colour", "age"):
        kept[FACTORS[name]] = True
    recession, wave = 4, 5
    kept[FACTORS["hair_style"].start + np.array([recession, wave])] = True
    return kept


PERSON_FACTORS: np.ndarray = _of_a_person()
"""Which factors are a person's own, [NUM_FACTORS] of bool; the others make the occasion.

What is kept from one image to the next: the shape of the face, its skin with brows, lips,
irises, beard and folds, the colour of the hair, where it recedes and whether it waves, and the age.
What changes: pose, expression and light; how the hair is worn (length, volume, fringe, parting,
strands), glasses, clothes and backdrop.
"""

# Pitch, yaw and roll in radians: what they approach, and their slopes as shares of that for one
# standard deviation.
_ROTATION_LIMIT = np.deg2rad(np.array([30.0, 60.0, 15.0], np.float32))
_ROTATION_SLOPE = np.array([0.26, 0.36, 0.25], np.float32)
_TRANSLATION_DEVIATION = np.array([0.02, 0.02, 0.12], np.float32)

# Linear RGB along the natural range of hair colours: black, dark brown, brown, fair, blond.
_HAIR_COLOURS = np.array(
    [
        (0.014, 0.011, 0.010),
        (0.040, 0.022, 0.014),
        (0.105, 0.056, 0.030),
        (0.270, 0.165, 0.080),
        (0.520, 0.370, 0.190),
    ],
    np.float32,
)


def _bounded(u: Array, limit: float) -> Array:
    """Nearly u, but never beyond the limit."""
    return limit * jnp.tanh(u / limit)


def _positive(u: Array, threshold: float, sharpness: float = 3.0) -> Array:
    """Smooth max(u - threshold, 0)."""
    return jax.nn.softplus(sharpness * (u - threshold)) / sharpness


def _expression(u: Array, fine: Array) -> Array:
    """Expression coefficients: one-sided motions rest most of the time, smiles are common."""
    part = dict(zip(EXPRESSION_NAMES, jnp.moveaxis(u, -1, 0), strict=True))
    # One coordinate closes both eyes, the other tells them apart: winks are rare.
    lids, wink = part["blink_left"], part["blink_right"]
    closed = {
        "blink_left": jax.nn.sigmoid(5.0 * (lids - 1.7 + 0.35 * wink)),
        "blink_right": jax.nn.sigmoid(5.0 * (lids - 1.7 - 0.35 * wink)),
    }
    thresholds = {
        "jaw_open": 0.45,
        "frown": 0.8,
        "pucker": 0.9,
        "brow_furrow": 0.6,
        "upper_lip_raise": 0.8,
        "nose_wrinkle": 1.0,
        "cheek_puff": 0.9,
        "eyes_wide": 0.7,
    }
    scales = {"jaw_open": 0.62, "pucker": 0.9, "nose_wrinkle": 0.8, "upper_lip_raise": 0.8}
    values = []
    for name in EXPRESSION_NAMES:
        if name in closed:
            values.append(closed[name])
        elif name in thresholds:
            one_sided = _positive(part[name], thresholds[name]) * scales.get(name, 1.0)
            values.append(_bounded(one_sided, 1.3))
        elif name == "smile":
            values.append(_bounded(0.45 + 0.75 * part[name], 1.5))
        elif name == "brow_raise":
            values.append(_bounded(0.1 + 0.5 * part[name], 1.2))
        else:
            values.append(_bounded(0.45 * part[name], 1.2))
    return jnp.concatenate([jnp.stack(values, axis=-1), _bounded(0.8 * fine, 2.0)], axis=-1)


def _illumination(direction: Array, strength: Array, tint: Array) -> Array:
    """A key light above the camera and ambient light, mildly coloured: coefficients [N, 27]."""
    side, above = 0.7 * direction[:, 0], 0.45 + 0.4 * direction[:, 1]
    towards = jnp.stack([side, above, jnp.ones_like(side)], axis=-1)
    hardness, exposure = ndtr(strength[:, :1]), 0.95 + 0.35 * ndtr(strength[:, 1:])
    # Mostly neutral light with a share of strongly coloured lamps.
    tint = jnp.sinh(0.9 * _bounded(tint, 2.5)) / 0.9
    warmth = np.array([0.10, 0.0, -0.12], np.float32)
    green = np.array([-0.02, 0.035, -0.02], np.float32)
    key_tint = jnp.exp(tint[:, 0:1] * warmth + tint[:, 1:2] * green)
    ambient_tint = jnp.exp(0.8 * tint[:, 2:3] * warmth + tint[:, 3:4] * green)
    return _key_and_ambient(towards, hardness, exposure, key_tint, ambient_tint)


def _key_and_ambient(
    towards: Array, hardness: Array, exposure: Array, key_tint: Array, ambient_tint: Array
) -> Array:
    """A distant lamp and ambient light in the proportion of a hardness: coefficients [N, 27]."""
    towards = towards / jnp.linalg.norm(towards, axis=-1, keepdims=True)
    key = (0.25 + 0.65 * hardness) * exposure
    ambient = (0.74 - 0.52 * hardness) * exposure
    light = directional_light(towards, key * key_tint) + ambient_light(ambient * ambient_tint)
    return light.reshape(light.shape[0], -1)


LIGHTS: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "left": (-1.3, 0.45, 1.0),
        "right": (1.3, 0.45, 1.0),
        "above": (0.0, 1.3, 1.0),
        "below": (0.0, -0.5, 1.0),
        "front": (0.0, 0.1, 1.0),
        "above_left": (-0.9, 0.9, 1.0),
        "above_right": (0.9, 0.9, 1.0),
    }
)
"""Directions to the lamp, x right in the image, y up, z to the camera. Most lie some two standard
deviations out in the world's own distribution, where a lamp shows and portraits still occur."""


def light_towards(name: str) -> np.ndarray:
    """The direction to a lamp, [3], of any length.

    Args:
        name: one of `LIGHTS`, or degrees such as "40,-10": to the image's right, and upwards.

    Raises:
        ValueError: it is neither, or the degrees are beyond +-180 and +-90.
    """
    if name in LIGHTS:
        return np.array(LIGHTS[name], np.float32)
    try:
        across, up = (float(part) for part in name.split(","))
    except ValueError:
        raise ValueError(
            f"unknown light {name!r}; the lights are {', '.join(LIGHTS)}, or degrees to the "
            "image's right and upwards, such as 40,-10"
        ) from None
    if not (abs(across) <= 180 and abs(up) <= 90):
        raise ValueError(f"light {name!r}: expected degrees within +-180 and +-90")
    azimuth, elevation = np.deg2rad([across, up])
    level = np.cos(elevation)
    towards = (level * np.sin(azimuth), np.sin(elevation), level * np.cos(azimuth))
    return np.array(towards, np.float32)


def named_light(name: str, hardness: float = 0.8) -> Array:
    """The world's light with a white lamp in a named direction, at middle exposure.

    Args:
        name: see `light_towards`; left and right are the image's.
        hardness: 0 is mostly ambient, 1 mostly the lamp.

    Returns:
        Spherical harmonics coefficients, [27].

    Raises:
        ValueError: the name is unknown, or the hardness is not in 0..1.
    """
    towards = jnp.asarray(light_towards(name))[None]
    if not 0.0 <= hardness <= 1.0:
        raise ValueError(f"hardness of a light: expected 0 to 1, got {hardness}")
    white, middle = jnp.ones((1, 3)), jnp.full((1, 1), 0.95 + 0.35 / 2)
    return _key_and_ambient(towards, jnp.full((1, 1), hardness), middle, white, white)[0]


def _reflectance(u: Array, fine: Array, age: Array) -> Array:
    tone, warmth, lips, brow, blue, green, beard, blush, shadow, folds = jnp.moveaxis(u, -1, 0)
    uniform = ndtr(tone)
    named = [
        1.45 - 3.7 * uniform**1.5,
        0.4 + _bounded(warmth, 2.0) * (1.0 - 0.5 * uniform),
        _bounded(lips, 2.0),
        # Brows are lighter on fair skin only.
        _bounded(1.0 + brow, 1.5) * (1.0 - uniform) - 0.2,
        1.5 * ndtr(1.8 * (blue - 0.3)) - 0.1,
        _positive(green, 0.3),
        1.8 * jax.nn.sigmoid(3.0 * (beard - 0.8)) * (1.0 - 0.75 * uniform),
        _bounded(blush, 2.0) * (1.0 - 0.7 * uniform),
        _bounded(shadow, 2.0),
        _bounded(0.9 * _positive(age + 0.35 * folds, 0.2), 2.4) * (1.0 - 0.55 * uniform),
    ]
    return jnp.concatenate(
        [jnp.stack(named, axis=-1), _bounded(fine, 2.2) * (1.0 - 0.6 * uniform)[:, None]], axis=-1
    )


def _hair_colour(u: Array, age: Array) -> Array:
    position = ndtr(u[:, 0]) ** 1.35 * (len(_HAIR_COLOURS) - 1)
    # Hat functions: piecewise linear between the listed colours.
    weight = jnp.maximum(0.0, 1.0 - jnp.abs(position[:, None] - np.arange(len(_HAIR_COLOURS))))
    colour = weight @ _HAIR_COLOURS
    red = jax.nn.sigmoid(2.5 * (u[:, 1:2] - 1.0))
    colour = colour * (1.0 + red * np.array([0.7, -0.05, -0.45], np.float32))
    grey = jax.nn.sigmoid(4.0 * (0.6 * u[:, 2:3] + 0.9 * age[:, None] - 1.35))
    colour = colour + grey * (np.array([0.42, 0.41, 0.40], np.float32) - colour)
    return colour * jnp.exp(0.12 * _bounded(u[:, 3:4], 2.0))


def _muted(u: Array, low: float, high: float, saturation: float) -> Array:
    """Colours uniform in a range, drawn towards their grey."""
    colour = low + (high - low) * ndtr(u)
    grey = colour.mean(axis=-1, keepdims=True)
    return grey + saturation * (colour - grey)


def _pattern(u: Array) -> Array:
    """Entries 12 to 16 of the backdrop, one in four of which is patterned; see
    `surroundings.background`."""
    strength = 3.0 * jax.nn.sigmoid(6.0 * (u[:, 0] - 0.7))
    fineness = 9.0 * jnp.exp(0.35 * _bounded(u[:, 2], 2.0))
    return jnp.stack([strength, 0.8 * u[:, 1], fineness, u[:, 3], ndtr(2.0 * u[:, 4])], axis=1)


def _frame_colour(u: Array) -> Array:
    """Dark plastic, tortoiseshell and pale metal, in this order."""
    share = ndtr(u) ** 2
    dark, light = np.array([0.012, 0.011, 0.012]), np.array([0.42, 0.38, 0.33])
    brown = np.array([0.16, 0.06, 0.02]) * 4.0 * share * (1.0 - share)
    return ((1.0 - share) * dark + share * light + 0.5 * brown).astype(jnp.float32)


@jax.jit
def _scene(u: Array) -> Scene:
    f = {name: u[:, where] for name, where in FACTORS.items()}
    age = f["age"][:, 0]
    face = FaceParameters(
        rotation=jnp.tanh(_ROTATION_SLOPE * f["rotation"]) * _ROTATION_LIMIT,
        translation=_bounded(f["translation"], 2.6) * _TRANSLATION_DEVIATION,
        identity=_bounded(f["identity"].at[:, SAG].add(1.3 * age), 2.4),
        reflectance=_reflectance(f["skin"], f["fine_reflectance"], age),
        expression=_expression(f["expression"], f["fine_expression"]),
        illumination=_illumination(f["light_direction"], f["light_strength"], f["light_tint"]),
    )
    length, volume, fringe, part, recession, wave, phase = jnp.split(f["hair_style"], 7, axis=1)
    clothes, backdrop = f["clothes"], f["background"]
    worn, thickness, lens, square, frame = jnp.split(f["glasses"], 5, axis=1)
    nuisance = Nuisance(
        hair_colour=_hair_colour(f["hair_colour"], age),
        hair_length=jax.nn.sigmoid(3.0 * (length - 0.15)),
        hair_volume=ndtr(volume),
        hair_fringe=jax.nn.sigmoid(3.0 * (fringe - 0.6)),
        hair_part=2.0 * ndtr(1.5 * part) - 1.0,
        hair_recession=jax.nn.sigmoid(3.5 * (recession + 0.4 * age[:, None] - 1.6)),
        hair_wave=ndtr(wave),
        hair_phase=_bounded(phase, 3.0),
        neck_width=1.0 + 0.06 * _bounded(clothes[:, 3:4], 2.0),
        neckline=ndtr(clothes[:, 4:5]),
        cloth_colour=_muted(clothes[:, :3], 0.02, 0.60, 0.75),
        background=jnp.concatenate(
            [
                _muted(backdrop[:, :6].reshape(-1, 2, 3), 0.15, 0.90, 0.5).reshape(-1, 6),
                backdrop[:, 6:12],
                _pattern(backdrop[:, 12:]),
            ],
            axis=1,
        ),
        # One face in five wears glasses, old ones more often.
        glasses_thickness=(0.024 + 0.010 * jnp.tanh(thickness))
        * jax.nn.sigmoid(12.0 * (worn + 0.35 * age[:, None] - 0.95)),
        glasses_size=jnp.tanh(lens),
        glasses_squareness=ndtr(square),
        glasses_colour=_frame_colour(frame),
    )
    return Scene(face, nuisance)


def scene_from_gaussian(u: Array) -> Scene:
    """Scenes from whitened factors: u ~ N(0, I) gives the embedded world's distribution.

    Args:
        u: [N, NUM_FACTORS]; `FACTORS` names its slices.

    Raises:
        ValueError: if u is not [N, NUM_FACTORS].
    """
    if u.ndim != 2 or u.shape[1] != NUM_FACTORS:
        raise ValueError(
            f"scene_from_gaussian: expected u of shape [N, {NUM_FACTORS}], got {u.shape}"
        )
    return _scene(u)


def sample_scenes(key: Array, n: int) -> Scene:
    """`n` independent scenes of the embedded world."""
    return scene_from_gaussian(jax.random.normal(key, (n, NUM_FACTORS)))
