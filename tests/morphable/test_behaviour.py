"""How people behave in clips: human timing, natural spectra, and time that does not depend on T."""

import jax
import numpy as np
import pytest

from jaxface.morphable.arkit import ARKIT_UNITS, unit_index
from jaxface.morphable.behaviour import (
    GAZE_LIMITS,
    PROFILE,
    Behaviour,
    behave,
    minimum_jerk,
    sway,
)

MINUTE = 25 * 60
REST = np.zeros(3)


@pytest.fixture(scope="module")
def minute() -> list[Behaviour]:
    """A minute of four people."""
    return [behave(jax.random.key(i), REST, frames=MINUTE) for i in range(4)]


def runs(values: np.ndarray) -> int:
    """How often values become true."""
    return int((np.diff(values.astype(int)) == 1).sum())


def test_blinks_come_as_often_and_last_as_long_as_people_do(minute):
    shut = np.stack([b.blink for b in minute]) > 0.5
    rates = [runs(row) for row in shut]
    assert 15 <= np.mean(rates) <= 35  # a minute, in conversation
    mean_frames = shut.sum() / sum(rates)
    assert 0.1 < mean_frames / 25 < 0.3
    assert all(b.blink.min() >= 0 and b.blink.max() <= 1 for b in minute)


def test_saccades_are_fast_and_fixations_are_not(minute):
    """Of eyes in space: most frames hardly move, some jump."""
    gaze = np.concatenate([b.gaze + b.turn[:, 1::-1] for b in minute[:1]])
    steps = np.hypot(*np.diff(gaze, axis=0).T)
    assert np.median(steps) < 0.5
    assert (steps > 3).mean() < 0.15
    assert 20 < runs(steps > 3) < 150
    assert all((np.abs(b.gaze) <= GAZE_LIMITS).all() for b in minute)


def test_eyes_keep_their_aim_while_the_head_turns(minute):
    """Where the head turns fast and no saccade falls, the eyes turn back as far."""
    one = minute[1]
    head, eyes = np.diff(one.turn[:, 1]), np.diff(one.gaze[:, 0])
    unstrained = (np.abs(one.gaze[1:, 0]) < 10) & (np.abs(head) > 0.8) & (np.abs(head + eyes) < 3)
    assert unstrained.sum() > 20
    assert np.corrcoef(head[unstrained], eyes[unstrained])[0, 1] < -0.7


def test_speech_opens_the_jaw_several_times_a_second_and_rests_in_pauses(minute):
    for b in minute:
        jaw = b.speech[:, unit_index("jawOpen")]
        talking = b.speaking > 0.99
        assert 0.4 < talking.mean() < 0.95
        assert jaw[b.speaking < 0.01].max() < 0.02
        rising = runs(jaw > np.median(jaw[talking])) / (talking.sum() / 25)
        assert 2.0 < rising < 7.0  # syllables a second
        assert 0.3 < jaw.max() < 1.4
    mouths = {name for i, name in enumerate(ARKIT_UNITS) if minute[0].speech[:, i].max() > 0.05}
    assert {"jawOpen", "mouthPucker", "mouthFunnel", "mouthPressLeft"} <= mouths
    assert not any(name.startswith(("eye", "brow", "cheek")) for name in mouths)


def test_heads_sway_and_reach_the_profile(minute):
    yaw = np.stack([b.turn[:, 1] for b in minute])
    assert np.abs(yaw).max() <= PROFILE
    assert np.abs(yaw).max() > 60
    speed = np.abs(np.diff(yaw, axis=1)) * 25
    assert speed.max() < 300  # degrees a second
    power = np.mean([np.abs(np.fft.rfft(b.turn[:, 2])) ** 2 for b in minute], axis=0)
    frequency = np.fft.rfftfreq(MINUTE, 1 / 25)

    def band(low, high):
        return power[(frequency >= low) & (frequency < high)].mean()

    assert band(0.2, 0.6) > 5 * band(1.0, 2.0) > 50 * band(4.0, 5.0)


def test_time_does_not_depend_on_the_clip():
    key, rotation = jax.random.key(9), np.deg2rad([3.0, -20.0, 1.0])
    whole = behave(key, rotation, frames=60)
    part = behave(key, rotation, frames=20, first=25)
    twice = behave(key, rotation, frames=40, first=50, fps=50.0)

    def leaves(behaviour):
        return {**vars(behaviour), **behaviour.drift, "drift": None}

    for name, values in leaves(whole).items():
        if values is not None:
            np.testing.assert_allclose(leaves(part)[name], values[25:45], atol=1e-9)
            np.testing.assert_allclose(leaves(twice)[name][::2], values[25:45], atol=1e-9)
    other = behave(jax.random.key(10), rotation, frames=60)
    assert np.abs(other.turn - whole.turn).max() > 0.5
    assert np.abs(np.rad2deg(rotation[1]) + whole.turn[:, 1]).max() <= PROFILE + 1e-9


def test_minimum_jerk_and_sway_are_what_they_say():
    np.testing.assert_allclose(
        minimum_jerk(np.array([-1.0, 0.0, 0.5, 1.0, 2.0])), [0, 0, 0.5, 1, 1]
    )
    noise = sway(np.random.default_rng(0), np.arange(0, 600, 0.05), 2.0, low=0.1, high=5.0)
    assert np.sqrt((noise**2).mean()) == pytest.approx(2.0, rel=0.1)
    with pytest.raises(ValueError, match="got 0 and 0"):
        behave(jax.random.key(0), REST, frames=0)
