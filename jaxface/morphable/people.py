"""Version 3's distribution of scenes, as a smooth map from a standard normal vector.

As version 2's (`scenes`), whose light, colours, hair and backdrops it shares, with ARKit's units
instead of the fourteen expressions, gaze, ancestry and sex on MakeHuman's axes, sheen and shadows.
"""

from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import ndtr

from jaxface.morphable import scenes
from jaxface.morphable.anatomy import anatomy
from jaxface.morphable.arkit import ARKIT_UNITS, unit_index
from jaxface.morphable.gaze import looking
from jaxface.morphable.modes import EXPRESSION_MODES, REFLECTANCE_NAMES
from jaxface.morphable.parameters import WIDTHS, FaceParameters, PortraitNuisance, Scene

_WIDTHS = {
    "rotation": 3,
    "translation": 3,
    "gaze": 2,
    "units": len(ARKIT_UNITS),
    "light_direction": 2,
    "light_strength": 2,
    "light_tint": 4,
    "finish": 2,
    "skin": len(REFLECTANCE_NAMES),
    "hair_colour": 4,
    "hair_style": 7,
    "clothes": 5,
    "background": 17,
    "age": 1,
    "origin": 3,
    "brow": 1,
    "glasses": 5,
    "identity": WIDTHS["identity"],
    "fine_expression": EXPRESSION_MODES - len(ARKIT_UNITS),
    "fine_reflectance": WIDTHS["reflectance"] - len(REFLECTANCE_NAMES),
}
_ENDS = np.cumsum(list(_WIDTHS.values())).tolist()

FACTORS: Mapping[str, slice] = MappingProxyType(
    {name: slice(end - _WIDTHS[name], end) for name, end in zip(_WIDTHS, _ENDS, strict=True)}
)
"""Where each factor lies in the Gaussian vector."""

NUM_FACTORS: int = _ENDS[-1]

_OWN = ("identity", "skin", "fine_reflectance", "hair_colour", "age", "origin", "brow")


def _of_a_person() -> np.ndarray:
    kept = np.zeros(NUM_FACTORS, bool)
    for name in _OWN:
        kept[FACTORS[name]] = True
    recession, wave = 4, 5
    kept[FACTORS["hair_style"].start + np.array([recession, wave])] = True
    return kept


PERSON_FACTORS: np.ndarray = _of_a_person()
"""Which factors are a person's own, [NUM_FACTORS] of bool; the others make the occasion."""

GAZE_DEVIATION = (9.0, 5.0)
"""Degrees of yaw and pitch relative to the head; a third of the head's own turn is undone."""

# Resting level in deviations and strength of each unit's one-sided motion, by its stem.
_REST: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "browDown": (1.0, 0.6),
        "browInnerUp": (0.8, 0.5),
        "browOuterUp": (0.8, 0.5),
        "cheekPuff": (1.8, 0.6),
        "cheekSquint": (0.9, 0.5),
        "eyeSquint": (0.8, 0.4),
        "eyeWide": (1.0, 0.6),
        "jawForward": (1.4, 0.5),
        "jawLeft": (1.5, 0.5),
        "jawRight": (1.5, 0.5),
        "jawOpen": (0.7, 0.36),
        "mouthClose": (9.0, 0.0),  # follows jawOpen, see `_expression`
        "mouthDimple": (1.0, 0.5),
        "mouthFrown": (1.3, 0.5),
        "mouthFunnel": (1.4, 0.5),
        "mouthLeft": (1.5, 0.5),
        "mouthRight": (1.5, 0.5),
        "mouthLowerDown": (1.1, 0.5),
        "mouthPress": (1.2, 0.5),
        "mouthPucker": (1.3, 0.6),
        "mouthRollLower": (1.5, 0.5),
        "mouthRollUpper": (1.6, 0.4),
        "mouthShrugLower": (1.3, 0.5),
        "mouthShrugUpper": (1.5, 0.5),
        "mouthSmile": (-0.4, 0.46),
        "mouthStretch": (1.4, 0.5),
        "mouthUpperUp": (1.3, 0.5),
        "noseSneer": (1.4, 0.6),
        "tongueOut": (2.4, 0.7),
    }
)


def _stem(name: str) -> str:
    """`eyeBlink` of `eyeBlinkLeft`; jaw and mouth that move to a side are no pair."""
    if name in _REST:
        return name
    return name.removesuffix("Left").removesuffix("Right")


def _rests() -> tuple[np.ndarray, np.ndarray]:
    """Level and strength of every unit; eyes are set apart."""
    pairs = [
        (9.0, 0.0) if name.startswith(("eyeLook", "eyeBlink")) else _REST[_stem(name)]
        for name in ARKIT_UNITS
    ]
    level, strength = np.array(pairs, np.float32).T
    return level, strength


def _mixed_sides() -> np.ndarray:
    """Both sides of a pair share most of the left's coordinate: rows to units, [52, 52]."""
    mix = np.eye(len(ARKIT_UNITS), dtype=np.float32)
    for index, name in enumerate(ARKIT_UNITS):
        if name.endswith("Left") and _stem(name) != name:
            other = unit_index(name.removesuffix("Left") + "Right")
            mix[index, index], mix[other, index] = 0.99, 0.14
            mix[index, other], mix[other, other] = 0.99, -0.14
    return mix


_RARELY_RED = np.array([0.0, 0.4, 0.0, 0.0], np.float32)
_LEVEL, _STRENGTH = _rests()
_MIX = _mixed_sides()
_BLINKS = (unit_index("eyeBlinkLeft"), unit_index("eyeBlinkRight"))


def _expression(units: Array, fine: Array, gaze: Array, rotation: Array) -> Array:
    """Expression coefficients: most units rest most of the time, smiles are common."""
    mixed = units @ _MIX
    values = scenes._bounded(jax.nn.softplus(4.0 * (mixed - _LEVEL)) / 4.0 * _STRENGTH, 1.05)
    left, right = _BLINKS
    lids, wink = units[:, left], units[:, right]
    values = values.at[:, left].set(jax.nn.sigmoid(6.0 * (lids - 1.85 + 0.15 * wink)))
    values = values.at[:, right].set(jax.nn.sigmoid(6.0 * (lids - 1.85 - 0.15 * wink)))
    # Some open jaws have closed lips.
    jaw, close = unit_index("jawOpen"), unit_index("mouthClose")
    shut = jax.nn.sigmoid(5.0 * (units[:, close] - 1.6))
    values = values.at[:, close].set(shut * values[:, jaw] * 0.9)
    # Eyes tend to stay on the camera when the head turns.
    counter = -0.33 * jnp.rad2deg(rotation[:, 1::-1])
    where = jnp.stack(
        [
            scenes._bounded(GAZE_DEVIATION[0] * gaze[:, 0] + counter[:, 0], 26.0),
            scenes._bounded(GAZE_DEVIATION[1] * gaze[:, 1] + counter[:, 1], 16.0),
        ],
        axis=1,
    )
    fine = scenes._bounded(0.35 * fine, 1.2)
    return looking(jnp.concatenate([values, fine], axis=-1), where)


def _identity(u: Array, age: Array, origin: Array) -> Array:
    axes = anatomy().axes
    moved = 0.82 * u
    for amount, name in (
        (0.9 * age, "age"),
        (0.9 * origin[:, 0], "male"),
        (0.8 * origin[:, 1], "african"),
        (0.8 * origin[:, 2], "asian"),
    ):
        moved = moved + amount[:, None] * jnp.asarray(axes[name], jnp.float32)
    return scenes._bounded(moved, 2.6)


def _reflectance(f: dict[str, Array], age: Array) -> Array:
    """Version 2's, with tone by origin and beards on men."""
    male, african, _ = jnp.moveaxis(f["origin"], -1, 0)
    skin = f["skin"]
    tone = 0.75 * skin[:, 0] + 0.66 * african
    beard = 0.8 * skin[:, 6] + 0.75 * male - 0.1
    skin = skin.at[:, 0].set(tone).at[:, 6].set(beard)
    return scenes._reflectance(skin, f["fine_reflectance"], age)


@jax.jit
def _scene(u: Array) -> Scene:
    f = {name: u[:, where] for name, where in FACTORS.items()}
    age, male = f["age"][:, 0], f["origin"][:, :1]
    rotation = jnp.tanh(scenes._ROTATION_SLOPE * f["rotation"]) * scenes._ROTATION_LIMIT
    face = FaceParameters(
        rotation=rotation,
        translation=scenes._bounded(f["translation"], 2.6) * scenes._TRANSLATION_DEVIATION,
        identity=_identity(f["identity"], age, f["origin"]),
        reflectance=_reflectance(f, age),
        expression=_expression(f["units"], f["fine_expression"], f["gaze"], rotation),
        illumination=scenes._illumination(
            f["light_direction"], f["light_strength"], f["light_tint"]
        ),
    )
    length, volume, fringe, part, recession, wave, phase = jnp.split(f["hair_style"], 7, axis=1)
    clothes, backdrop = f["clothes"], f["background"]
    worn, thickness, lens, square, frame = jnp.split(f["glasses"], 5, axis=1)
    bald = recession + 0.4 * age[:, None] + 0.7 * male - 1.9
    style = PortraitNuisance(
        hair_colour=scenes._hair_colour(f["hair_colour"] - _RARELY_RED, age),
        hair_length=jax.nn.sigmoid(3.0 * (length - 0.55 * male - 0.15)),
        hair_volume=ndtr(volume),
        hair_fringe=jax.nn.sigmoid(3.0 * (fringe - 0.6)),
        hair_part=2.0 * ndtr(1.5 * part) - 1.0,
        hair_recession=jax.nn.sigmoid(3.5 * bald),
        hair_wave=ndtr(wave),
        hair_phase=scenes._bounded(phase, 3.0),
        neck_width=1.0 + 0.05 * scenes._bounded(clothes[:, 3:4], 2.0) + 0.03 * male,
        neckline=ndtr(clothes[:, 4:5]),
        cloth_colour=scenes._muted(clothes[:, :3], 0.02, 0.60, 0.75),
        background=jnp.concatenate(
            [
                scenes._muted(backdrop[:, :6].reshape(-1, 2, 3), 0.15, 0.90, 0.5).reshape(-1, 6),
                backdrop[:, 6:12],
                scenes._pattern(backdrop[:, 12:]),
            ],
            axis=1,
        ),
        # One face in five wears glasses, old ones more often.
        glasses_thickness=(0.024 + 0.010 * jnp.tanh(thickness))
        * jax.nn.sigmoid(12.0 * (worn + 0.35 * age[:, None] - 0.95)),
        glasses_size=jnp.tanh(lens),
        glasses_squareness=ndtr(square),
        glasses_colour=scenes._frame_colour(frame),
        gloss=0.1 + 0.9 * ndtr(f["finish"][:, :1]) ** 1.5,
        shadow_depth=0.55 + 0.45 * ndtr(f["finish"][:, 1:]),
        brow_thickness=1.0 + 0.22 * scenes._bounded(f["brow"] + 0.5 * male, 2.0),
    )
    return Scene(face, style)


def portrait_from_gaussian(u: Array) -> Scene:
    """Scenes from whitened factors: u ~ N(0, I) gives version 3's distribution.

    Args:
        u: [N, NUM_FACTORS]; `FACTORS` names its slices.

    Raises:
        ValueError: if u is not [N, NUM_FACTORS].
    """
    if u.ndim != 2 or u.shape[1] != NUM_FACTORS:
        raise ValueError(
            f"portrait_from_gaussian: expected u of shape [N, {NUM_FACTORS}], got {u.shape}"
        )
    return _scene(u)


def sample_portraits(key: Array, n: int) -> Scene:
    """`n` independent scenes of version 3."""
    return portrait_from_gaussian(jax.random.normal(key, (n, NUM_FACTORS)))
