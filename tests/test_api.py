"""One line a job from Python."""

import doctest
import inspect
from fractions import Fraction
from typing import Any

import jax
import numpy as np
import pytest

import jaxface
from jaxface import Person, api
from jaxface.api.editing import _measures
from jaxface.cli import main
from jaxface.errors import UsageError
from jaxface.jobs.avatars import read_avatar
from jaxface.media.images import to_uint8
from jaxface.methods.pie.attributes import Attribute
from jaxface.methods.pvp import Avatar
from jaxface.methods.pvp.features import features_of
from jaxface.methods.pvp.personalise import see
from jaxface.methods.pvp.settings import EMBEDDED
from jaxface.methods.pvp.training import fresh_mappers
from jaxface.methods.reenactment import Driving, drive_chunks, read_motion
from jaxface.methods.reenactment_presets import REENACTMENT_PRESETS

QUICK: dict[str, Any] = {"w_steps": 2, "w_plus_steps": 2}


@pytest.fixture(scope="module")
def samples():
    return jaxface.generate(3, seed=1)


@pytest.mark.slow
def test_a_sample_depends_on_its_seed_and_number_alone(samples):
    again = jaxface.generate(2, seed=1)
    # Another batch size is summed in another order: some bits of numbers below 13.
    np.testing.assert_allclose(again.w_plus, samples.w_plus[:2], atol=1e-5)
    np.testing.assert_allclose(again.images, samples.images[:2], atol=1e-5)
    assert np.abs(jaxface.generate(1, seed=2).w_plus - samples.w_plus[:1]).max() > 0.1


@pytest.mark.slow
def test_inverted_from_arrays_or_files_and_edited_by_the_command(samples, tmp_path, capsys):
    found = jaxface.invert(to_uint8(samples.images[:2]), names=["a", "b"], **QUICK)
    assert found.w_plus.shape == (2, 10, 512)
    assert found.measures["loss"].shape == (2,)
    samples[:2].save(tmp_path / "samples")
    files = sorted((tmp_path / "samples" / "images").iterdir())
    of_files = jaxface.invert(files, names=["a", "b"], **QUICK)
    np.testing.assert_allclose(of_files.w_plus, found.w_plus, atol=1e-5)
    saved = found.save(tmp_path / "found")
    code = str(saved / "latents" / "a.safetensors")
    assert main(["edit", code, "--yaw", "10", "--out", str(tmp_path / "edited")]) == 0
    assert "a  ok" in capsys.readouterr().out


@pytest.mark.slow
def test_an_edit_tells_what_it_reached(samples):
    turned = jaxface.edit(samples[1:], yaw=15)
    assert turned.names == samples.names[1:]
    np.testing.assert_allclose(turned.measures["yaw_wanted"], 15, atol=1e-3)
    assert np.abs(turned.measures["yaw"] - 15).max() < 2
    lit = jaxface.edit(turned, light="left", like=samples.images[0], groups=["expression"])
    assert np.abs(lit.images - turned.images).mean() > 0.01


def test_what_an_edit_reached_is_told_in_its_names_and_units():
    named = [Attribute("yaw", (1,), (0.5,)), Attribute("smile", (0, 2), (1.0, 2.0))]
    wanted, before, after = np.float32([[1, 2, 4]]), np.eye(2, 3), 2 * np.eye(2, 3)
    told = _measures(named, wanted, before, after)
    found = {name: values.tolist() for name, values in told.items()}
    assert found == {
        "yaw_wanted": [4, 4],
        "yaw_before": [0, 2],
        "yaw": [0, 4],
        "smile_wanted": [1.5, 1.5],
        "smile_before": [0.5, 0],
        "smile": [1, 0],
    }


@pytest.mark.slow
def test_a_tuned_generator_stays_with_its_portrait(samples, tmp_path):
    tuned = jaxface.invert(
        samples.images[:1],
        preset="pti_embedded",
        pivot__w_steps=1,
        pivot__w_plus_steps=1,
        tuning__steps=2,
    )
    assert tuned.weights is not None
    edited = jaxface.edit(tuned, yaw=0.0, relative=True, feedback=0)
    assert np.abs(edited.images - tuned.images).mean() < 0.02
    saved = tuned.save(tmp_path / "tuned")
    assert len(list((saved / "generators").iterdir())) == 1


@pytest.mark.slow
def test_portraits_are_redrawn_by_landmarks(samples):
    like = jaxface.edit(samples[2:], yaw=20).images[0]
    redrawn = jaxface.edit(samples[:2], like=like, groups=["landmarks"])
    points = redrawn.measures["landmarks"]
    assert points.shape == (2, 68, 2)
    assert np.abs(redrawn.images - samples.images[:2]).mean() > 0.01
    again = jaxface.edit(samples[:2], landmarks=points)
    np.testing.assert_allclose(again.images, redrawn.images, atol=1e-4)
    taken = jaxface.edit(samples[:2], like=like, groups=["landmarks"], proportions="taken")
    np.testing.assert_allclose(*taken.measures["landmarks"], atol=1e-4)
    with pytest.raises(ValueError, match="expected finite landmarks"):
        jaxface.edit(samples[:2], landmarks=points[:, :66])


@pytest.mark.slow
def test_reenacted_as_the_method_itself_does(samples):
    driving = jaxface.edit(samples[2:], direction="pose.yaw", amount=20).images
    driving = np.concatenate([driving, samples.images[1:2]])
    moved = jaxface.reenact(samples[:2], driving)
    assert moved.names == ("sample_0_0000", "sample_0_0001", "sample_1_0000", "sample_1_0001")
    assert moved.w_plus.shape == (4, 10, 512)
    method = REENACTMENT_PRESETS["direction_matrix"]
    read = read_motion(samples.suite, driving)
    subject = method.subject(samples.suite, samples.w_plus[1:2])
    (drawn,) = drive_chunks(method, subject, Driving(motion=read), chunk=2)
    np.testing.assert_allclose(moved.images[2:], np.clip(drawn, -1, 1), atol=1e-3)
    np.testing.assert_allclose(moved.measures["yaw_wanted"][:2], read.degrees[:, 1], atol=0.01)
    assert read_motion(samples.suite, moved.images).degrees[0, 1] > 5
    still = jaxface.reenact(samples[:1], driving, relative=True, regions=["expression"])
    np.testing.assert_allclose(np.ptp(still.measures["yaw_wanted"]), 0, atol=1e-3)
    encoded = jaxface.reenact(samples.images[:1], driving, method="transfer")
    assert encoded.names == ("image_0_0000", "image_0_0001")
    assert not encoded.measures


@pytest.fixture(scope="module", name="person")
def a_person(samples):
    """Of a clip of twelve samples; its generator differs a little, its mappers have not learned."""
    suite, clip = samples.suite, jaxface.generate(12, seed=3)
    motion = see(suite, to_uint8(clip.images)).motion
    mappers = fresh_mappers(
        EMBEDDED.mappers, clip.w_plus[:4], features_of(motion), key=jax.random.key(0)
    )
    generator = jax.tree.map(lambda leaf: leaf, suite.generator)
    generator.synthesis = jax.tree.map(lambda leaf: 1.01 * leaf, generator.synthesis)
    avatar = Avatar(
        suite=suite,
        w_plus=mappers.anchors[...],
        motion=motion[:4],
        generator=generator,
        mappers=mappers,
        clip=motion,
        training=np.arange(12),
    )
    times = tuple(Fraction(row, 25) for row in range(12))
    return clip, Person(avatar, times, (0, 1, 2, 3))


@pytest.mark.slow
def test_a_person_replays_turns_and_is_driven(person):
    clip, person = person
    assert person.images.shape == (12, 64, 64, 3)
    assert person.w_plus.shape == (12, 10, 512)
    driven = jaxface.reenact(person, clip.images)  # in proportions of one's own, the replay
    np.testing.assert_allclose(driven.w_plus, person.w_plus, atol=1e-3)
    turned = person.turned(yaw=[-20.0, 20.0])
    assert turned.names == ("frame_0000", "frame_0001")
    found = np.clip(turned.generator(1).synthesis(turned.w_plus[1:]), -1, 1)
    np.testing.assert_allclose(found, turned.images[1:], atol=1e-3)
    wrong = np.clip(turned.suite.generator.synthesis(turned.w_plus[1:]), -1, 1)
    assert np.abs(wrong - turned.images[1:]).max() > 0.01
    assert len(person.turned(pitch=5.0)) == 1


@pytest.mark.slow
def test_a_person_is_edited_and_kept(person, tmp_path):
    _, person = person
    turned = person.turned(yaw=[0.0])
    smiling = jaxface.edit(turned, direction="expression.smile", amount=2)
    assert np.abs(smiling.images - turned.images).mean() > 1e-3
    assert len(list((smiling.save(tmp_path / "frames") / "generators").iterdir())) == 1
    known = read_avatar(person.save(tmp_path / "anna"))
    assert known.times == person.times
    np.testing.assert_array_equal(known.avatar.drawn(known.avatar.clip).clip(-1, 1), person.images)
    with pytest.raises(UsageError, match="is there already"):
        person.save(tmp_path / "anna")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda s: jaxface.edit(s), "say what to change"),
        (lambda s: jaxface.edit(s, smirk=1), "smirk"),
        (lambda s: jaxface.edit(s, direction="age.boundary"), "directions|direction"),
        (lambda s: jaxface.invert(s.images, names=["a", "a", "b"], **QUICK), "3 different names"),
        (lambda s: jaxface.invert(s.images, preset="pie_embeded"), "did you mean 'pie_embedded'"),
        (lambda s: jaxface.invert(s.images, w_step=3), "w_steps"),
        (lambda s: jaxface.reenact(s, s.images, method="transfr"), "did you mean 'transfer'"),
        (
            lambda s: jaxface.reenact(s, s.images, method="direction_matrix_relative"),
            "here direction_matrix with relative=True",
        ),
        (lambda s: jaxface.reenact(s, s.images, regions=["moth"]), "did you mean 'mouth'"),
        (lambda s: jaxface.reenact(s, s.images, gains={"pose": 99}), "gain of pose"),
        (lambda s: jaxface.reenact(s, s.images, method="transfer", relative=True), "by images"),
    ],
)
def test_mistakes_are_told(samples, call, told):
    with pytest.raises((UsageError, jaxface.SuiteError, ValueError), match=told):
        call(samples)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\[N, H, H, 3\]"):
        jaxface.invert(np.zeros((64, 64, 3), np.float32))


@pytest.mark.slow
def test_the_docstrings_examples_run():
    modules = {inspect.getmodule(getattr(api, name)) for name in api.__all__}
    results = [doctest.testmod(each, extraglobs={"jaxface": jaxface}) for each in modules]
    assert sum(result.attempted for result in results) >= 6
    assert sum(result.failed for result in results) == 0
