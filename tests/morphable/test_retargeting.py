"""Retargeting: absolute and relative motion, regions and their gains, bases."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxface.morphable.arkit import unit_index
from jaxface.morphable.motion import ARKIT_JAW_OPEN, ARKIT_JAW_SIDE, Motion
from jaxface.morphable.retargeting import BASES, Retargeting, expression_width, has_jaw, in_basis
from jaxface.vocabulary import EXPRESSION_NAMES


def motion(seed: int, count: int, basis="embedded") -> Motion:
    rng = np.random.default_rng(seed)

    def some(width):
        return rng.normal(size=(count, width)).astype(np.float32)

    return Motion(
        some(3),
        some(3) if has_jaw(basis) else None,
        some(expression_width(basis)),
        basis,
        some(2) if basis == "anatomical" else None,
    )


def check(got: Motion, expected: Motion):
    assert got.basis == expected.basis
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, expected)


@pytest.mark.parametrize("basis", BASES)
def test_absolute_motion_is_the_drivers(basis):
    check(Retargeting()(motion(0, 1, basis), motion(1, 4, basis)), motion(1, 4, basis))


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("first", [True, False])
def test_relative_motion_is_the_drivers_change(basis, first):
    subject, driver = motion(0, 1, basis), motion(1, 4, basis)
    how = Retargeting(relative=True, neutral_first=first)
    neutral = how.neutral_of(driver)
    expected = jax.tree.map(
        lambda own, value: own + value - (value[:1] if first else value.mean(0)), subject, driver
    )
    check(how(subject, driver, neutral), expected)


def test_a_driver_at_its_neutral_leaves_the_subject_as_it_is():
    subject, driver = motion(0, 1), motion(1, 1)
    got = Retargeting(relative=True)(subject, driver, driver)
    jax.tree.map(np.testing.assert_array_equal, got, subject)


def test_what_is_in_no_region_stays():
    subject, driver = motion(0, 1), motion(1, 3)
    posed = Retargeting(regions=("pose",))(subject, driver)
    np.testing.assert_array_equal(posed.rotation, driver.rotation)
    np.testing.assert_array_equal(posed.expression, np.repeat(subject.expression, 3, axis=0))
    np.testing.assert_array_equal(posed.jaw, np.repeat(subject.jaw, 3, axis=0))
    assert Retargeting(regions=("pose",)).groups == ("pose",)
    assert Retargeting(regions=("mouth",)).groups == ("expression",)
    assert Retargeting(regions=("eyes", "pose")).groups == ("pose", "expression")
    assert Retargeting().groups == ("pose", "expression")


def test_mouth_and_eyes_of_every_basis_that_names_them():
    for basis, mouth, eyes in (
        ("anatomical", unit_index("mouthSmileLeft"), unit_index("eyeBlinkRight")),
        ("arkit", unit_index("tongueOut"), unit_index("eyeLookInLeft")),
        (
            "embedded",
            EXPRESSION_NAMES.index("smile"),
            EXPRESSION_NAMES.index("blink_left"),
        ),
    ):
        subject, driver = motion(0, 1, basis), motion(1, 2, basis)
        for region, moves, stays in (("mouth", mouth, eyes), ("eyes", eyes, mouth)):
            got = Retargeting(regions=(region,))(subject, driver)
            np.testing.assert_array_equal(got.expression[:, moves], driver.expression[:, moves])
            np.testing.assert_array_equal(
                got.expression[:, stays], np.repeat(subject.expression[:, stays], 2)
            )
            jaw = driver.jaw if region == "mouth" else subject.jaw
            if jaw is not None:
                np.testing.assert_array_equal(got.jaw, np.broadcast_to(jaw, (2, 3)))
    got = Retargeting(regions=("eyes",))(motion(0, 1, "anatomical"), motion(1, 2, "anatomical"))
    np.testing.assert_array_equal(got.gaze, motion(1, 2, "anatomical").gaze)


def test_the_smallest_region_decides_the_gain():
    subject, driver = motion(0, 1), motion(1, 2)
    gains = (("all", 3.0), ("expression", 2.0), ("eyes", 0.5), ("pose", -1.0))
    got = Retargeting(gains=gains)(subject, driver)
    blink, brow = (EXPRESSION_NAMES.index(name) for name in ("blink_left", "brow_raise"))
    np.testing.assert_allclose(got.rotation, -driver.rotation)
    np.testing.assert_allclose(got.expression[:, blink], 0.5 * driver.expression[:, blink])
    np.testing.assert_allclose(got.expression[:, brow], 2 * driver.expression[:, brow])
    np.testing.assert_allclose(got.jaw, 2 * driver.jaw)
    still = Retargeting(relative=True, gains=(("all", 0.0),))(subject, driver, driver[0])
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b.repeat(2, 0)), still, subject)


def test_arkits_units_are_the_first_of_the_anatomical_heads():
    driver = motion(1, 2, "arkit")
    got = Retargeting()(subject := motion(0, 1, "anatomical"), driver)
    np.testing.assert_array_equal(got.expression[:, :52], driver.expression)
    np.testing.assert_array_equal(
        got.expression[:, 52:], np.repeat(subject.expression[:, 52:], 2, axis=0)
    )
    units = {name: driver.expression[:, unit_index(name)] for name in ("jawOpen", "jawLeft")}
    right = driver.expression[:, unit_index("jawRight")]
    np.testing.assert_allclose(got.jaw[:, 0], ARKIT_JAW_OPEN * units["jawOpen"], rtol=1e-6)
    np.testing.assert_allclose(
        got.jaw[:, 1], ARKIT_JAW_SIDE * (units["jawLeft"] - right), rtol=1e-5
    )
    back = in_basis(got, "arkit")
    np.testing.assert_array_equal(back.expression, driver.expression)
    assert back.jaw is None


def test_of_other_bases_the_jaw_alone_follows():
    subject, driver = motion(0, 1, "embedded"), motion(1, 2, "arkit")
    got = Retargeting()(subject, driver)
    np.testing.assert_array_equal(got.expression, np.repeat(subject.expression, 2, axis=0))
    opened = ARKIT_JAW_OPEN * driver.expression[:, unit_index("jawOpen")]
    np.testing.assert_allclose(got.jaw[:, 0], opened, rtol=1e-6)
    assert "the jaw alone follows" in str(Retargeting().remark("arkit", "embedded"))
    assert Retargeting().remark("arkit", "anatomical") is None
    assert Retargeting(regions=("pose",)).remark("arkit", "embedded") is None


@pytest.mark.parametrize(
    ("regions", "driver", "subject", "message"),
    [
        (("all",), "flame", "basel", "expression of a subject in 'basel'; it does of the pose"),
        (("eyes",), "flame", "flame", "nothing of the eyes"),
        (("mouth",), "basel", "basel", "nothing of the mouth"),
        (("expression",), "basel", "embedded", "nothing of the expression"),
    ],
)
def test_what_a_driver_does_not_say_is_told(regions, driver, subject, message):
    with pytest.raises(ValueError, match=message):
        Retargeting(regions=regions)(motion(0, 1, subject), motion(1, 2, driver))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regions": ("mouht",)}, "unknown region 'mouht'; did you mean 'mouth'"),
        ({"regions": ()}, "one region or more"),
        ({"gains": (("pse", 1.0),)}, "did you mean 'pose'"),
        ({"gains": (("pose", float("nan")),)}, r"within \+-10, got nan"),
        ({"regions": ("eyes",), "gains": (("pose", 2.0),)}, "does not follow the driver"),
        ({"neutral_first": True}, "relative motion alone"),
    ],
)
def test_wrong_settings_are_told(settings, message):
    with pytest.raises(ValueError, match=message):
        Retargeting(**settings)
    with pytest.raises(ValueError, match="neutral frame"):
        Retargeting(relative=True)(motion(0, 1), motion(1, 1))


def test_a_field_without_an_effect_would_be_dead():
    subject, driver = motion(0, 1), motion(1, 3)
    base = Retargeting(relative=True)
    plain = base(subject, driver, base.neutral_of(driver))
    for changed in (
        dataclasses.replace(base, relative=False),
        dataclasses.replace(base, neutral_first=True),
        dataclasses.replace(base, regions=("pose",)),
        dataclasses.replace(base, gains=(("all", 2.0),)),
    ):
        neutral = changed.neutral_of(driver) if changed.relative else None
        got = changed(subject, driver, neutral)
        assert any(
            not np.allclose(a, b)
            for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(plain), strict=True)
        )
