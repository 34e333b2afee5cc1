"""How a person of version 3 behaves in front of a camera: speaks, blinks, looks around, moves.

Everything is a function of a key and of continuous time, so a longer clip begins as a shorter one
and another frame rate samples the same motion. Timing follows what is measured of people:

* Speech goes in phrases with pauses, about ten sounds a second, each a viseme in ARKit's units;
  neighbours blend over some 70 ms (coarticulation).
* Blinks come about every three seconds in conversation (Bentivoglio et al. 1997: 26 a minute); lids
  close in a tenth of a second and open in twice that (VanderWerf et al. 2003).
* Saccades take 21 ms and 2.2 ms a degree (Carpenter 1988, Movements of the Eyes); between them the
  eyes keep their aim while the head turns (the vestibulo-ocular reflex), until they are turned so
  far that they have to let go.
* The head's sway falls off with frequency, its spectral density as 1/f^2 below a corner of 1 Hz and
  as 1/f^6 far above; it turns from one pose to another with minimum jerk (Flash and Hogan 1985), at
  times as far as the profile, and nods on stressed syllables.
* Light, mood and place drift slowly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxface.morphable.arkit import ARKIT_UNITS, unit_index
from jaxface.morphable.gaze import looking
from jaxface.morphable.parameters import Scene
from jaxface.morphable.people import FACTORS, GAZE_DEVIATION, NUM_FACTORS, portrait_from_gaussian

FPS = 25.0
"""Frames a second of a clip, VoxCeleb's."""

PROFILE = 80.0
"""Degrees of yaw that a head turns to at most."""

GAZE_LIMITS = (26.0, 16.0)
"""Degrees of yaw and pitch that eyes turn to in the head."""

# Sounds and what they do to a mouth, by ARKit's units; a pair's stem stands for both sides.
_CONSONANTS: tuple[Mapping[str, float], ...] = (
    {"mouthRollLower": 0.35, "mouthRollUpper": 0.3, "mouthPress": 0.3},  # p, b, m
    {"mouthRollLower": 0.5, "mouthUpperUp": 0.15, "jawOpen": 0.08},  # f, v
    {"jawOpen": 0.14, "tongueOut": 0.12, "mouthLowerDown": 0.1},  # th
    {"jawOpen": 0.12, "mouthLowerDown": 0.15, "mouthUpperUp": 0.08},  # t, d, n, l
    {"jawOpen": 0.18, "mouthStretch": 0.1},  # k, g
    {"mouthFunnel": 0.5, "mouthShrugUpper": 0.15, "jawOpen": 0.1},  # ch, sh
    {"mouthStretch": 0.25, "mouthSmile": 0.12, "mouthLowerDown": 0.15, "jawOpen": 0.05},  # s, z
    {"mouthPucker": 0.3, "mouthFunnel": 0.15, "jawOpen": 0.1},  # r
)
_VOWELS: tuple[Mapping[str, float], ...] = (
    {"jawOpen": 0.45, "mouthLowerDown": 0.15},  # father
    {"jawOpen": 0.33, "mouthStretch": 0.2, "mouthLowerDown": 0.2, "mouthUpperUp": 0.1},  # bed
    {"jawOpen": 0.15, "mouthSmile": 0.25, "mouthStretch": 0.2},  # see
    {"jawOpen": 0.38, "mouthFunnel": 0.45},  # more
    {"jawOpen": 0.12, "mouthPucker": 0.6, "mouthFunnel": 0.15},  # two
    {"jawOpen": 0.24, "mouthUpperUp": 0.08},  # the
)
_BLEND_SECONDS = 0.02
"""Of the logistic edge between two sounds: 10 to 90% in 4.4 of it."""

_MARGIN = 0.6
"""Seconds beyond a sound in which it is still felt: all of float64's digits of its edges."""

_MOUTH = np.array([name.startswith(("jaw", "mouth", "tongue")) for name in ARKIT_UNITS])
_GRID = 0.005
"""Seconds between the points at which the eyes' path is traced."""

_DRIFT: Mapping[str, tuple[float, float, float]] = MappingProxyType(
    {
        "light_direction": (0.35, 0.02, 0.15),
        "light_strength": (0.2, 0.02, 0.15),
        "light_tint": (0.15, 0.02, 0.15),
        "units": (0.4, 0.05, 0.5),
        "translation": (0.25, 0.05, 0.8),
    }
)
"""Factors that change within a clip: RMS in deviations, lowest and highest frequency in Hz."""


def _vector(sound: Mapping[str, float]) -> np.ndarray:
    values = np.zeros(len(ARKIT_UNITS))
    for name, amount in sound.items():
        sides = (name,) if name in ARKIT_UNITS else (f"{name}Left", f"{name}Right")
        for side in sides:
            values[unit_index(side)] = amount
    return values


_CONSONANT_UNITS = np.stack([_vector(sound) for sound in _CONSONANTS])
_VOWEL_UNITS = np.stack([_vector(sound) for sound in _VOWELS])


@dataclass(frozen=True)
class Behaviour:
    """What somebody does through T frames; NumPy arrays, float64.

    Attributes:
        turn: [T, 3] degrees of pitch, yaw and roll beside the occasion's own.
        gaze: [T, 2] degrees of yaw and pitch of the eyes relative to the head.
        blink: [T], 1 where the lids are closed.
        speech: [T, 52], ARKit's units of the sounds.
        speaking: [T], 1 within a phrase, 0 in a pause.
        drift: by factor [T, width], what is added to the whitened factors.
    """

    turn: np.ndarray
    gaze: np.ndarray
    blink: np.ndarray
    speech: np.ndarray
    speaking: np.ndarray
    drift: Mapping[str, np.ndarray]


def sway(
    rng: np.random.Generator,
    seconds: np.ndarray,
    rms: float,
    *,
    low: float,
    high: float,
    corner: float = 1.0,
) -> np.ndarray:
    """Smooth noise at given times: its density falls as 1/f^2, and as 1/f^6 far above a corner.

    Args:
        rng: draws frequencies and phases, equally many whatever the times.
        seconds: times, any shape.
        rms: its root mean square.
        low, high: frequencies in Hz.
        corner: in Hz.
    """
    count = 24
    frequency = np.geomspace(low, high, count) * np.exp(0.05 * rng.standard_normal(count))
    phase = rng.uniform(0.0, 2.0 * np.pi, count)
    amplitude = frequency**-0.5 / (1.0 + (frequency / corner) ** 2)
    amplitude *= rms / np.sqrt((amplitude**2).sum() / 2.0)
    waves = np.sin(2.0 * np.pi * frequency * seconds[..., None] + phase)
    return waves @ amplitude


def minimum_jerk(share: np.ndarray) -> np.ndarray:
    """The course from 0 to 1 of least jerk, at a share of its duration (Flash and Hogan 1985)."""
    s = np.clip(share, 0.0, 1.0)
    return s**3 * (10.0 - 15.0 * s + 6.0 * s**2)


def _near(seconds: np.ndarray, start: float, stop: float) -> slice:
    """Which of ascending times lie within a margin of an interval; beyond it nothing is left."""
    low, high = np.searchsorted(seconds, (start - _MARGIN, stop + _MARGIN))
    return slice(int(low), int(high))


def _between(seconds: np.ndarray, start: float, stop: float) -> np.ndarray:
    """1 between two times, with the edges of coarticulation; neighbours add up to 1."""
    rise = np.tanh((seconds - start) / (2.0 * _BLEND_SECONDS))
    fall = np.tanh((seconds - stop) / (2.0 * _BLEND_SECONDS))
    return 0.5 * (rise - fall)


def _speech(
    rng: np.random.Generator, seconds: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Units [T, 52], phrases [T] and stress [T] at given times."""
    units, speaking = np.zeros((len(seconds), len(ARKIT_UNITS))), np.zeros(len(seconds))
    stress = np.zeros(len(seconds))
    loudness = np.exp(0.2 * rng.standard_normal())
    now, end = rng.uniform(-2.0, 0.5), seconds[-1] + 1.0
    while now < end:
        begin, until = now, now + rng.uniform(1.2, 4.0)
        while now < until:
            stressed = rng.random() < 0.3
            strength = loudness * np.exp(0.15 * rng.standard_normal()) * (1.2 if stressed else 0.9)
            for table, median in ((_CONSONANT_UNITS, 0.075), (_VOWEL_UNITS, 0.11)):
                sound = table[rng.integers(len(table))]
                length = median * np.exp(0.3 * rng.standard_normal())
                if stressed and table is _VOWEL_UNITS:
                    length *= 1.3
                    middle = now + length / 2.0
                    near = _near(seconds, middle, middle)
                    stress[near] += np.exp(-0.5 * ((seconds[near] - middle) / 0.11) ** 2)
                near = _near(seconds, now, now + length)
                share = strength * _between(seconds[near], now, now + length)
                units[near] += np.outer(share, sound)
                now += length
        speaking += _between(seconds, begin, now)
        now += 0.25 + rng.exponential(0.5)
    return units, speaking, stress


def _blinks(rng: np.random.Generator, seconds: np.ndarray) -> np.ndarray:
    """How far the lids are closed, [T]."""
    closed, now = np.zeros(len(seconds)), rng.uniform(-2.3, 2.3)
    while now < seconds[-1] + 1.0:
        down, up = 0.10 * rng.uniform(0.8, 1.2), 0.2 * rng.uniform(0.8, 1.2)
        shut = rng.uniform(0.02, 0.05)
        falling = minimum_jerk((seconds - now) / down)
        rising = minimum_jerk((seconds - now - down - shut) / up)
        closed = np.maximum(closed, rng.uniform(0.9, 1.0) * (falling - rising))
        now += down + shut + up + 0.4 + rng.gamma(2.0, 0.8)
    return closed


def _turns(rng: np.random.Generator, seconds: np.ndarray, home: np.ndarray) -> np.ndarray:
    """Degrees of pitch and yaw [T, 2] by which the head is off its home (pitch, yaw)."""
    path, at, now = np.zeros((len(seconds), 2)), np.zeros(2), rng.exponential(1.5)
    while now < seconds[-1] + 1.0:
        far, back = rng.random() < 0.3, rng.random() < 0.4
        aim = rng.standard_normal(2) * np.array([5.0, 16.0])
        if far:
            side = np.sign(home[1] + rng.standard_normal() * 20.0)
            aim = np.array([aim[0], side * rng.uniform(55.0, PROFILE - 3.0) - home[1]])
        target = np.zeros(2) if back else aim
        target[1] = np.clip(target[1] + home[1], 3.0 - PROFILE, PROFILE - 3.0) - home[1]
        way = target - at
        length = 0.35 + 0.011 * float(np.abs(way).max())
        path += np.outer(minimum_jerk((seconds - now) / length), way)
        at, now = target, now + length + 0.4 + rng.exponential(1.6)
    return path


def _eyes(rng: np.random.Generator, seconds: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Degrees of yaw and pitch of the eyes in the head, [T, 2].

    Args:
        rng: draws fixations.
        seconds: times of the grid, from 0 on.
        head: yaw and pitch of the head at them, [T, 2].
    """
    limits = np.array(GAZE_LIMITS)
    path = np.zeros((len(seconds), 2))

    def fixation(index: int) -> tuple[np.ndarray, float]:
        """An aim in space, two thirds of the head's turn and a bit beside, and when to leave it."""
        spread = np.array(GAZE_DEVIATION) if rng.random() < 0.5 else np.array([1.5, 1.0])
        aside = rng.standard_normal(2) * spread
        stay = np.clip(0.8 * np.exp(0.7 * rng.standard_normal()), 0.2, 4.0)
        return 0.67 * head[index] + aside, seconds[index] + float(stay)

    aim, leave = fixation(0)
    origin, begun, length = aim, -1.0, 0.1
    for index, now in enumerate(seconds):
        course = minimum_jerk(np.asarray((now - begun) / length))
        eye = origin + course * (aim - origin) - head[index]
        path[index] = limits * np.tanh(eye / limits)
        strained = bool((np.abs(eye) > 0.85 * limits).any())
        if now > begun + length + 0.12 and (now > leave or strained):
            origin = head[index] + path[index]
            aim, leave = fixation(index)
            begun, length = now, 0.021 + 0.0022 * float(np.hypot(*(aim - origin)))
    return path


def behave(
    key: Array, rotation: np.ndarray, *, frames: int, fps: float = FPS, first: int = 0
) -> Behaviour:
    """What somebody does through the frames `first` to `first + frames - 1` of a clip.

    Args:
        key: typed key; all of the behaviour follows from it, from `rotation` and from time.
        rotation: pitch, yaw and roll in radians about which the head moves, [3].
        frames: how many, >= 1.
        fps: frames a second.
        first: number of the first one.

    Raises:
        ValueError: no frames, or a number below 0.
    """
    if frames < 1 or first < 0:
        raise ValueError(f"behave: expected frames >= 1 and first >= 0, got {frames} and {first}")
    words = np.asarray(jax.random.key_data(key)).ravel()
    seeds = np.random.SeedSequence(words.tolist()).spawn(6)
    lids, turning, swaying, gazing, drifting = map(np.random.default_rng, seeds[1:])
    seconds = np.arange(first, first + frames) / fps
    grid = np.arange(0.0, seconds[-1] + 2 * _GRID, _GRID)
    home = np.rad2deg(np.asarray(rotation, np.float64))

    _, _, stress = _speech(np.random.default_rng(seeds[0]), grid)
    head = np.zeros((len(grid), 3))
    head[:, :2] = _turns(turning, grid, home[:2])
    for axis, rms in enumerate((1.6, 2.4, 1.3)):
        head[:, axis] += sway(swaying, grid, rms, low=0.1, high=5.0)
    head[:, 0] += 1.2 * stress
    yaw = home[1] + head[:, 1]
    head[:, 1] = np.clip(yaw, -PROFILE, PROFILE) - home[1]
    eyes = _eyes(gazing, grid, (home + head)[:, 1::-1])

    units, speaking, _ = _speech(np.random.default_rng(seeds[0]), seconds)
    return Behaviour(
        turn=_at(seconds, grid, head),
        gaze=_at(seconds, grid, eyes),
        blink=_blinks(lids, seconds),
        speech=units,
        speaking=np.clip(speaking, 0.0, 1.0),
        drift={
            name: np.stack(
                [
                    sway(drifting, seconds, rms, low=low, high=high)
                    for _ in range(FACTORS[name].stop - FACTORS[name].start)
                ],
                axis=1,
            )
            for name, (rms, low, high) in _DRIFT.items()
        },
    )


def _at(seconds: np.ndarray, grid: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(seconds, grid, column) for column in values.T], axis=1)


def clip_scenes(u: Array, behaviour: Behaviour, rotation: np.ndarray) -> Scene:
    """The scenes of a clip's frames.

    Args:
        u: whitened factors of the person on the occasion, [NUM_FACTORS]; see `people.FACTORS`.
        behaviour: of T frames.
        rotation: that the behaviour was made about, [3] radians.

    Returns:
        T scenes: hair, glasses, clothes, backdrop, identity and skin are those of `u`, and all else
        follows the behaviour.

    Raises:
        ValueError: u has another width.
    """
    if u.shape != (NUM_FACTORS,):
        raise ValueError(f"clip_scenes: expected factors [{NUM_FACTORS}], got {list(u.shape)}")
    factors = np.repeat(np.asarray(u)[None], len(behaviour.blink), axis=0)
    for name, change in behaviour.drift.items():
        factors[:, FACTORS[name]] += change
    scenes = portrait_from_gaussian(jnp.asarray(factors))

    expression = np.array(scenes.face.expression)
    units = expression[:, : len(ARKIT_UNITS)]
    rest = np.where(_MOUTH, 1.0 - 0.75 * behaviour.speaking[:, None], 1.0)
    units[:] = np.clip(units * rest + behaviour.speech, 0.0, 1.05)
    for side in ("Left", "Right"):
        units[:, unit_index(f"eyeBlink{side}")] = behaviour.blink
    turned = np.asarray(rotation) + np.deg2rad(behaviour.turn)
    face = replace(
        scenes.face,
        rotation=jnp.asarray(turned, jnp.float32),
        expression=looking(
            jnp.asarray(expression, jnp.float32), jnp.asarray(behaviour.gaze, jnp.float32)
        ),
    )
    return replace(scenes, face=face)
