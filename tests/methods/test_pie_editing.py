"""Edits with toy networks whose arithmetic is known: an image holds the face's parameters."""

import types

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.errors import SuiteError, UsageError
from jaxface.methods import pie
from jaxface.methods.linear_directions import edit_along
from jaxface.methods.pie import editing
from jaxface.methods.pie.attributes import Attribute, named_targets
from jaxface.morphable import EXPRESSION_NAMES, NUM_PARAMETERS, FaceParameters
from jaxface.morphable.arkit import ARKIT_UNITS
from jaxface.morphable.attributes import group_places, named_parameters
from jaxface.morphable.illumination import shade
from jaxface.morphable.scenes import LIGHTS, named_light
from jaxface.nets.edits.linear_directions import directions_of
from jaxface.nets.variables import Buffer

SIDE = 16  # 768 pixel values hold the 257 parameters
GAIN = 0.75


class Generator(nnx.Module):
    """The latent's numbers are the image's first pixel values."""

    def __init__(self):
        self.num_ws, self.resolution = 2, SIDE
        self.config = types.SimpleNamespace(w_dim=SIDE * SIDE * 3 // 2)
        self.unused = nnx.Param(jnp.zeros(()))

    def synthesis(self, w_plus, noise):
        assert noise == "const"
        return w_plus.reshape(-1, SIDE, SIDE, 3)


class Reconstruction(nnx.Module):
    def __init__(self):
        self.unused = nnx.Param(jnp.zeros(()))

    def __call__(self, images):
        return images.reshape(len(images), -1)[:, :NUM_PARAMETERS]


class RigNet(nnx.Module):
    """Goes `gain` of the way to what is asked for."""

    def __init__(self, group: str):
        self.gain = nnx.Param(jnp.asarray(GAIN))
        self.places = Buffer(jnp.asarray(group_places(group)))

    def __call__(self, w_plus, parameters):
        places, flat = self.places[...], w_plus.reshape(len(w_plus), -1)
        had = flat[:, places]
        edited = flat.at[:, places].set(had + self.gain[...] * (parameters - had))
        return edited.reshape(w_plus.shape)


@pytest.fixture(scope="module")
def suite():
    return types.SimpleNamespace(
        name="toy",
        generator=Generator(),
        reconstruction=Reconstruction(),
        rignets={group: RigNet(group) for group in ("pose", "expression")},
    )


def faces(seed: int, count: int) -> FaceParameters:
    flat = np.random.default_rng(seed).normal(size=(count, NUM_PARAMETERS))
    return FaceParameters.from_flat(jnp.asarray(flat, jnp.float32))


def embedding(face: FaceParameters) -> np.ndarray:
    flat = np.asarray(face.flat)
    return np.pad(flat, ((0, 0), (0, SIDE * SIDE * 3 - flat.shape[1]))).reshape(len(flat), 2, -1)


@pytest.fixture(scope="module")
def portraits():
    face = faces(0, 3)
    return face, embedding(face)


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_feedback_asks_for_what_was_missed(suite, portraits, rounds):
    """A rig that goes a share of the way leaves (1 - share) of the distance each round."""
    had, w_plus = portraits
    wanted = faces(1, 3)
    edit = pie.edit(suite, w_plus, "pose", wanted, feedback=rounds)
    rest = (1 - GAIN) ** (rounds + 1)
    missed = np.asarray(edit.wanted.group("pose") - edit.after.group("pose"))
    expected = rest * np.asarray(wanted.group("pose") - had.group("pose"))
    # Float32 sums of values around one.
    np.testing.assert_allclose(missed, expected, atol=1e-6)
    np.testing.assert_array_equal(edit.before.flat, had.flat)
    np.testing.assert_array_equal(edit.wanted.flat, had.with_group("pose", wanted).flat)
    np.testing.assert_array_equal(edit.after.expression, had.expression)
    np.testing.assert_array_equal(edit.images, edit.w_plus.reshape(3, SIDE, SIDE, 3))


def test_targets_in_every_form(suite, portraits):
    had, w_plus = portraits
    wanted = faces(1, 3)

    def asked(target, group="pose"):
        return np.asarray(pie.edit(suite, w_plus, group, target).wanted.group(group))

    expected = np.asarray(wanted.group("pose"))
    np.testing.assert_array_equal(asked(wanted), expected)
    np.testing.assert_array_equal(asked(embedding(wanted).reshape(3, SIDE, SIDE, 3)), expected)
    one = faces(2, 1)
    np.testing.assert_array_equal(asked(one), np.repeat(one.group("pose"), 3, axis=0))
    change = pie.Target.difference("pose", wanted)
    np.testing.assert_allclose(asked(change), had.group("pose") + expected, atol=1e-6)

    targets = pie.Target.named({"yaw": 0.3, "smile": 1.5, "roll": -0.1})
    assert set(targets) == {"pose", "expression"}
    expected = np.array(had.group("pose"))
    expected[:, 1], expected[:, 2] = 0.3, -0.1
    np.testing.assert_allclose(asked(targets["pose"]), expected, atol=1e-6)
    added = pie.Target.named({"smile": 0.5}, relative=True)["expression"]
    expected = np.array(had.expression)
    expected[:, EXPRESSION_NAMES.index("smile")] += 0.5
    np.testing.assert_allclose(asked(added, "expression"), expected, atol=1e-6)


def test_groups_follow_one_another(suite, portraits):
    """Given in any order; the second edit begins where the first ended."""
    had, w_plus = portraits
    wanted = faces(1, 3)
    edits = pie.edit_groups(suite, w_plus, {"expression": wanted, "pose": wanted})
    assert list(edits) == ["pose", "expression"]
    np.testing.assert_array_equal(edits["expression"].before.flat, edits["pose"].after.flat)
    after = edits["expression"].after
    np.testing.assert_array_equal(after.rotation, edits["pose"].after.rotation)
    np.testing.assert_array_equal(after.identity, had.identity)
    with pytest.raises(ValueError, match="got none"):
        pie.edit_groups(suite, w_plus, {})


def test_groups_at_once_are_read_together_and_any_may_be_left_out(suite, portraits):
    """The toy's groups do not touch each other: in one step both go as far as they would alone."""
    had, w_plus = portraits
    wanted = faces(1, 3)
    both = pie.edit_together(suite, w_plus, {"expression": wanted, "pose": wanted})
    alone = {group: pie.edit(suite, w_plus, group, wanted) for group in ("pose", "expression")}
    for group, edit in alone.items():
        np.testing.assert_allclose(both.after.group(group), edit.after.group(group), atol=1e-5)
        np.testing.assert_array_equal(both.wanted.group(group), edit.wanted.group(group))
    np.testing.assert_array_equal(both.before.flat, had.flat)
    networks = {group: editing.editing_networks(suite, group) for group in alone}
    targets = {group: pie.Target.absolute(group, wanted) for group in alone}
    for group, edit in alone.items():
        active = {each: jnp.asarray(each == group) for each in alone}
        one = editing.apply_together(
            networks, w_plus, targets, feedback=1, noise="const", active=active
        )
        # w + (w' - w) is w' but for the last bits of values around one.
        np.testing.assert_allclose(one.w_plus, edit.w_plus, atol=1e-6)
    with pytest.raises(ValueError, match=r"edit_together: expected targets .* got none"):
        pie.edit_together(suite, w_plus, {})


def test_linear_directions_move_the_same_embeddings(suite, portraits):
    had, w_plus = portraits
    directions = directions_of(["a", "b"], jnp.eye(2, 384), units=jnp.array([1.0, 2.0]))
    strengths = {"a": jnp.array([1.0, 2.0, 3.0]), "b": 0.5}
    edit = edit_along(suite, w_plus, directions, strengths, rows=[0])
    expected = np.array(w_plus)
    expected[:, 0, 0] += [1, 2, 3]
    expected[:, 0, 1] += 1
    np.testing.assert_allclose(edit.w_plus, expected, atol=1e-6)
    # The toy's first two numbers are pitch and yaw.
    change = np.asarray(edit.after.rotation - edit.before.rotation)
    np.testing.assert_allclose(change, [[1, 1, 0], [2, 1, 0], [3, 1, 0]], atol=1e-6)
    np.testing.assert_array_equal(edit.before.flat, had.flat)
    both = edit_along(suite, w_plus, directions, {"a": 1.0})
    np.testing.assert_allclose(both.w_plus[:, 1, 0], w_plus[:, 1, 0] + 1, atol=1e-6)
    with pytest.raises(ValueError, match="c"):
        edit_along(suite, w_plus, directions, {"c": 1.0})
    with pytest.raises(ValueError, match="one direction or more"):
        edit_along(suite, w_plus, directions, {})


def test_an_edit_alone_is_the_edit_in_a_batch_and_compiles_once(suite, portraits):
    _, w_plus = portraits
    wanted = faces(1, 3)
    together = pie.edit(suite, w_plus, "pose", wanted)
    programs = editing.apply_together._cache_size()
    again = pie.edit(suite, w_plus[::-1], "pose", FaceParameters.from_flat(wanted.flat[::-1]))
    assert editing.apply_together._cache_size() == programs
    np.testing.assert_array_equal(again.w_plus[::-1], together.w_plus)
    alone = pie.edit(suite, w_plus[1:2], "pose", FaceParameters.from_flat(wanted.flat[1:2]))
    np.testing.assert_array_equal(alone.w_plus, together.w_plus[1:2])


def test_a_sequence_runs_from_the_embedding_to_the_edit():
    start, stop = np.zeros((2, 3)), np.ones((2, 3))
    frames = np.asarray(pie.interpolate(start, stop, 5))
    np.testing.assert_allclose(frames[:, 0, 0], [0, 0.25, 0.5, 0.75, 1], atol=1e-7)
    with pytest.raises(ValueError, match=">= 2"):
        pie.interpolate(start, stop, 1)


@pytest.mark.parametrize(
    ("group", "target", "options", "error", "message"),
    [
        ("age", None, {}, ValueError, "got 'age'"),
        ("identity", None, {}, ValueError, "got 'identity'"),
        ("pose", 2, {}, ValueError, r"\[3 or 1, 6\], got \[2, 6\]"),
        ("pose", np.zeros((3, 257)), {}, ValueError, "references must be"),
        ("pose", 3, {"feedback": -1}, ValueError, "feedback"),
        ("illumination", 3, {}, SuiteError, "no RigNet of illumination"),
    ],
)
def test_mistakes_are_told(suite, portraits, group, target, options, error, message):
    target = faces(1, target) if isinstance(target, int) else target
    with pytest.raises(error, match=message):
        pie.edit(suite, portraits[1], group, target, **options)


def test_wrong_latents_are_told(suite):
    with pytest.raises(ValueError, match=r"\[N, 2, 384\], got \[1, 3, 384\]"):
        pie.edit(suite, np.zeros((1, 3, 384)), "pose", faces(0, 1))
    with pytest.raises(ValueError, match="did you mean 'smile'"):
        pie.Target.named({"smiel": 1.0})


def test_names_are_the_places_of_the_flat_layout():
    face = faces(3, 1)
    known = named_parameters("embedded")
    assert list(known) == ["pitch", "yaw", "roll", *EXPRESSION_NAMES]
    for name, (group, (place,)) in known.items():
        field = face.rotation if group == "pose" else face.expression
        names = ("pitch", "yaw", "roll") if group == "pose" else EXPRESSION_NAMES
        assert face.flat[0, group_places(group)[place]] == field[0, names.index(name)]
    assert set(named_parameters("basel")) == {"pitch", "yaw", "roll"}


def test_version_3_names_units_and_their_means():
    """A smile is of both corners of the mouth there; the second coefficient is a brow's."""
    known = named_parameters("anatomical")
    assert set(known) == {"pitch", "yaw", "roll", *EXPRESSION_NAMES, *ARKIT_UNITS}
    both = [ARKIT_UNITS.index(f"mouthSmile{side}") for side in ("Left", "Right")]
    target = pie.Target.named({"smile": 0.7, "browInnerUp": 0.2}, basis="anatomical")["expression"]
    given = np.flatnonzero(np.asarray(target.given))
    assert set(given) == {*both, ARKIT_UNITS.index("browInnerUp")}
    np.testing.assert_allclose(np.asarray(target.values)[0, both], 0.7)
    smile = Attribute("smile", known["smile"].places, (0.5, 0.25))
    values = np.zeros(64)
    values[both] = 1.0, 0.5
    assert smile.read(values.tolist()) == 2.0
    assert np.isnan(smile.read([None] * 64))


@pytest.mark.parametrize("name", ["smile", "mouthSmileLeft"])
def test_a_reader_without_deviations_names_no_expressions(name):
    class Suite(dict):
        name, reconstruction = "photo", types.SimpleNamespace(basis="anatomical")

    with pytest.raises(UsageError, match=f"such as {name}.*--like"):
        named_targets(Suite(), {name: 1.0}, relative=False)


@pytest.mark.parametrize("name", LIGHTS)
def test_a_named_light_comes_from_there(name):
    """A surface that faces the lamp is lit more than one that faces the mirrored direction."""
    towards = np.array(LIGHTS[name], np.float32)
    away = towards * np.array([-1, -1, 1], np.float32)
    normals = jnp.asarray([towards, away]) / np.linalg.norm(towards)
    lit, unlit = np.asarray(shade(jnp.ones((2, 3)), normals, named_light(name)))[:, 0]
    assert lit > unlit
    assert 0.7 < lit < 1.6  # white skin is about as bright as the exposure, 1.1
    softer = np.asarray(shade(jnp.ones((2, 3)), normals, named_light(name, 0.2)))[:, 0]
    assert softer[0] - softer[1] < lit - unlit


def test_unknown_lights_are_told():
    with pytest.raises(ValueError, match="left, right"):
        named_light("behind")
    with pytest.raises(ValueError, match="within"):
        named_light("0,91")
    # Degrees to the image's right and upwards; the lamp "front" is 5.7 degrees above the camera.
    np.testing.assert_allclose(
        named_light(f"0,{np.rad2deg(np.arctan(0.1))}"), named_light("front"), atol=1e-6
    )
    with pytest.raises(ValueError, match="0 to 1"):
        named_light("left", 3.0)
