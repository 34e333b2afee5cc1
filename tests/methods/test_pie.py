"""PIE's synthesis embedding on a small generator with random weights."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType
from pie_reference import LinearFeatures, LinearGenerator

from jaxface.errors import SuiteError, UsageError
from jaxface.keys import item_keys
from jaxface.methods import image2stylegan, inversion, pie
from jaxface.methods.presets import PRESETS, preset
from jaxface.metrics import psnr
from jaxface.nets import VGG16, Generator, GeneratorConfig, VGGConfig
from jaxface.solving.solver import Status
from tests.collectives import assert_no_word_between_devices

RESOLUTION = 8
SHORT = preset("pie_embedded", w_steps=12, w_plus_steps=12, w_step_size=0.2)
SHALLOW = (("conv1_2", 0.1),)

draw = jax.jit(
    lambda generator, w_plus, resolution=None: generator.synthesis(
        w_plus, noise="const", resolution=resolution
    ),
    static_argnames="resolution",
)


@pytest.fixture(scope="module")
def suite():
    config = GeneratorConfig(
        resolution=RESOLUTION, z_dim=32, w_dim=32, mapping_layers=2, channel_base=256, channel_max=8
    )
    return types.SimpleNamespace(
        generator=Generator(config, rngs=nnx.Rngs(0)),
        perceptual=VGG16(VGGConfig(channels=(4, 4, 8, 8, 8)), rngs=nnx.Rngs(1)),
    )


@pytest.fixture(scope="module")
def portraits(suite):
    z = jax.random.normal(jax.random.key(0), (8, 32))
    images = jax.jit(lambda g, z: g.synthesis(g.mapping(z)))(suite.generator, z)
    keys = item_keys(jax.random.key(1), [f"portrait {i}" for i in range(8)])
    return np.asarray(images), keys


@pytest.fixture(scope="module")
def batch(suite, portraits):
    images, keys = portraits
    return pie.invert(suite, images, keys=keys, settings=SHORT, chunk=6)


@pytest.mark.slow
def test_portraits_of_the_generator_are_found_again(suite, portraits, batch):
    images, _ = portraits
    start = suite.generator.synthesis(jnp.tile(suite.generator.w_mean, (8, 4, 1)))
    before, after = psnr(start, images), psnr(batch.images, images)
    assert np.all(after > before + 3)  # dB, after 12 + 12 steps
    assert batch.w_plus.shape == (8, 4, 32)
    assert batch.status.tolist() == [Status.RUNNING] * 8
    assert batch.steps.tolist() == [24] * 8
    assert {name: trace["loss"].shape for name, trace in batch.traces.items()} == {
        "w": (12, 8),
        "w_plus": (12, 8),
    }
    # W+ goes on from where W ended, and the rows of W+ then part.
    assert np.all(batch.traces["w_plus"]["loss"][0] < batch.traces["w"]["loss"][0])
    assert np.all(np.ptp(batch.w_plus, axis=1).max(axis=1) > 0)
    assert np.all(batch.losses["loss"] < batch.traces["w_plus"]["loss"][0])


def test_the_result_belongs_to_its_latent(suite, portraits, batch):
    images, _ = portraits
    again = np.asarray(draw(suite.generator, batch.w_plus))
    # In float32, in a program of its own: a few roundings of values near 1.
    np.testing.assert_allclose(batch.images, again, atol=1e-4)
    losses = batch.losses
    np.testing.assert_allclose(
        losses["l2"], np.square(again - images).mean(axis=(1, 2, 3)), rtol=1e-3
    )
    np.testing.assert_allclose(
        losses["loss"],
        SHORT.l2_weight * losses["l2"] + SHORT.perceptual_weight * losses["perceptual"],
        rtol=1e-5,
    )


def test_a_second_batch_compiles_nothing(suite, portraits, batch):
    images, keys = portraits
    again = pie.invert(suite, images[::-1], keys=keys[::-1], settings=SHORT, chunk=6)
    assert batch.compile_seconds > 0
    assert again.compile_seconds == 0
    assert again.seconds > 0
    # One program, the same rows in other places: there some processors round differently (3e-6).
    np.testing.assert_allclose(again.w_plus[::-1], batch.w_plus, rtol=0, atol=1e-5)
    same = pie.invert(suite, images, keys=keys, settings=SHORT, chunk=6)
    np.testing.assert_array_equal(same.w_plus, batch.w_plus)


def test_a_portrait_alone_is_a_portrait_in_a_batch(suite, portraits, batch):
    images, keys = portraits
    alone = pie.invert(suite, images[3:4], keys=keys[3:4], settings=SHORT, chunk=6)
    assert_same_embedding(alone, slice(0, 1), batch, slice(3, 4))


@pytest.mark.slow
def test_eight_devices_give_what_one_gives(suite, portraits, batch):
    images, keys = portraits
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
    mask = np.arange(8) < 6
    sharded = pie.invert(suite, images, keys=keys, settings=SHORT, mesh=mesh, mask=mask, chunk=6)
    assert_same_embedding(sharded, slice(0, 6), batch, slice(0, 6))
    assert sharded.status.tolist() == [Status.RUNNING] * 6 + [Status.PADDING] * 2
    assert sharded.steps.tolist() == [24] * 6 + [0] * 2
    used = inversion.compiled(SHORT, suite.generator.config, mesh=mesh, chunk=6)
    steps = [
        program
        for iteration in used._solver.iterations.values()
        for program in iteration.programs.values()
    ]
    assert len(steps) == 2
    assert_no_word_between_devices(*steps, used._targets, used._finish)


def assert_same_embedding(a, a_rows, b, b_rows):
    """Another number of rows on a device is another program, whose sums round differently (1e-7).

    Adam moves a coordinate by about the step size however small its gradient is, so where a
    gradient is near zero rounding shows in the latent: a few percent of one step (0.2 at first)
    are allowed there, and a tenth of a percent in the loss, which such coordinates hardly move.
    Another portrait's or another key's result differs by ten times as much.
    """
    np.testing.assert_allclose(a.w_plus[a_rows], b.w_plus[b_rows], atol=0.02)
    for stage in ("w", "w_plus"):
        np.testing.assert_allclose(
            a.traces[stage]["loss"][:, a_rows], b.traces[stage]["loss"][:, b_rows], rtol=1e-3
        )


def test_wrong_images_are_refused(suite, portraits):
    images, keys = portraits
    with pytest.raises(ValueError, match=r"got \(8, 4, 4, 3\)"):
        pie.invert(suite, images[:, ::2, ::2], keys=keys, settings=SHORT)


# The settings, on networks cheap enough to try each.


@pytest.fixture(scope="module")
def linear():
    rng = np.random.default_rng(0)
    generator = LinearGenerator(
        to_w=jnp.zeros((3, 4)),
        weight=jnp.asarray(rng.normal(size=(2, 4, 8, 8, 3)), jnp.float32),
        w_mean=jnp.asarray(rng.normal(size=4), jnp.float32),
    )
    weight = jnp.asarray(rng.normal(size=(6, 3, 5)), jnp.float32)
    suite = types.SimpleNamespace(generator=generator, perceptual=LinearFeatures(weight))
    images = rng.uniform(-1, 1, (2, 8, 8, 3)).astype(np.float32)
    return suite, images, item_keys(jax.random.key(0), ["a", "b"])


SHALLOWER = (("conv1_1", 1.0), ("conv2_2", 1.0))  # which 4 px suffice for
BASE = preset("pie_embedded", w_steps=4, w_plus_steps=4, layers=SHALLOWER)

CHANGES = {
    "l2_weight": 3.0,
    "perceptual_weight": 1.0,
    "layers": (("conv1_1", 1.0), ("conv3_2", 2.0)),
    "optimizer": pie.Adadelta(),
    "w_steps": 6,
    "w_step_size": 0.3,
    "w_resolution": 4,
    "w_plus_steps": 6,
    "w_plus_step_size": 0.3,
    "decay_rate": 0.9,
    "decay_steps": 3,
    "perceptual_resolution": 4,
    "noise": "random",
    "stop_below": 1e9,
}
"""The settings of the synthesis term and the schedule; `test_pie_energy` has the others."""


@pytest.fixture(scope="module")
def base(linear):
    suite, images, keys = linear
    return pie.invert(suite, images, keys=keys, settings=BASE)


@pytest.mark.parametrize("field", CHANGES)
def test_every_setting_has_an_effect(linear, base, field):
    suite, images, keys = linear
    settings = dataclasses.replace(BASE, **{field: CHANGES[field]})
    changed = pie.invert(suite, images, keys=keys, settings=settings)
    assert np.abs(changed.w_plus - base.w_plus).max() > 1e-4


@pytest.mark.parametrize("optimizer", [pie.Adadelta(), pie.Adam()])
def test_every_optimiser_constant_has_an_effect(optimizer):
    def update(optimizer):
        transformation = optimizer.transformation(optax.constant_schedule(1.0))
        state = transformation.init(jnp.ones(()))
        for gradient in (1.0, 2.0):
            found, state = transformation.update(jnp.asarray(gradient), state, jnp.ones(()))
        return found

    for field in dataclasses.fields(optimizer):
        changed = dataclasses.replace(optimizer, **{field.name: 0.5})
        assert abs(update(changed) - update(optimizer)) > 1e-5


def test_noise_is_a_portraits_own(linear):
    suite, images, keys = linear
    settings = dataclasses.replace(BASE, noise="random")
    both = pie.invert(suite, images, keys=keys, settings=settings)
    swapped = pie.invert(suite, images[::-1], keys=keys[::-1], settings=settings)
    np.testing.assert_array_equal(both.w_plus, swapped.w_plus[::-1])
    other = item_keys(jax.random.key(0), ["c", "b"])
    third = pie.invert(suite, images, keys=other, settings=settings)
    assert np.abs(third.w_plus[0] - both.w_plus[0]).max() > 1e-4
    np.testing.assert_array_equal(third.w_plus[1], both.w_plus[1])


def test_without_a_stage_the_other_does_the_work(linear):
    suite, images, keys = linear
    direct = pie.invert(suite, images, keys=keys, settings=preset("pie_embedded", w_steps=0))
    assert list(direct.traces) == ["w_plus"]
    only_w = preset("pie_embedded", w_plus_steps=0)
    inversion = pie.invert(suite, images, keys=keys, settings=only_w)
    assert list(inversion.traces) == ["w"]
    assert inversion.w_plus.shape == (2, 2, 4)
    np.testing.assert_array_equal(inversion.w_plus[:, 0], inversion.w_plus[:, 1])


def test_the_steps_in_w_may_be_coarser(suite, portraits, batch):
    """They see the image at that resolution; those in W+, and the result, the full one."""
    images, keys = portraits
    settings = dataclasses.replace(SHORT, w_resolution=4, layers=SHALLOW)
    found = pie.invert(suite, images, keys=keys, settings=settings, chunk=6)
    start = jnp.tile(suite.generator.w_mean, (8, 4, 1))
    small = images.reshape(8, 4, 2, 4, 2, 3).mean(axis=(2, 4))
    drawn = draw(suite.generator, start, resolution=4)
    np.testing.assert_allclose(
        found.traces["w"]["l2"][0],
        jnp.square(drawn - small).mean(axis=(1, 2, 3)),
        rtol=1e-4,  # float32, two programs
    )
    # The first loss in W+ is that of where W ended, in full; so is the last.
    assert found.images.shape == images.shape
    np.testing.assert_allclose(
        found.losses["l2"], jnp.square(found.images - images).mean(axis=(1, 2, 3)), rtol=1e-3
    )
    before = psnr(draw(suite.generator, start), images)
    assert np.all(psnr(found.images, images) > before + 2)  # dB
    assert np.abs(found.w_plus - batch.w_plus).max() > 1e-3


def test_a_coarse_picture_that_is_not_there_is_refused(suite, portraits):
    images, keys = portraits
    named = types.SimpleNamespace(name="tiny", **vars(suite))
    for resolution, layers, could_be in (
        (8, SHALLOW, r"\[4\]"),
        (5, SHALLOW, r"\[4\]"),
        (4, SHORT.layers, r"\[\]"),  # too small for conv4_2
    ):
        settings = dataclasses.replace(SHORT, w_resolution=resolution, layers=layers)
        with pytest.raises(SuiteError, match=f"w_resolution of {could_be}.* got {resolution} and"):
            pie.invert(named, images, keys=keys, settings=settings)
    with pytest.raises(ValueError, match="of the steps in W, and w_steps is 0"):
        dataclasses.replace(SHORT, w_steps=0, w_resolution=4)
    assert pie.without_w_stage(dataclasses.replace(SHORT, w_resolution=4)).w_resolution is None


def test_adadelta_is_zeilers():
    """Two steps by hand, algorithm 1 of Zeiler 2012, in float64."""
    transformation = pie.Adadelta().transformation(optax.constant_schedule(50.0))
    state = transformation.init(jnp.zeros(()))
    squares = updates = 0.0
    for gradient in (0.3, -0.2):
        found, state = transformation.update(jnp.asarray(gradient), state, jnp.zeros(()))
        squares = 0.95 * squares + 0.05 * gradient**2
        update = -np.sqrt(updates + 1e-6) / np.sqrt(squares + 1e-6) * gradient
        updates = 0.95 * updates + 0.05 * update**2
        np.testing.assert_allclose(found, 50 * update, rtol=1e-5)  # float32


def test_the_papers_schedule():
    first, second = pie.stages(pie.PAPER, 18)
    assert (first.name, first.steps) == ("w", 2000)
    assert (second.name, second.steps) == ("w_plus", 1000)
    assert second.start(None, jnp.zeros((2, 512))).shape == (2, 18, 512)


def test_the_papers_weights_in_this_librarys_units():
    """Equation 7 with sums over 0..255 pixels at 1024, against means over [-1, 1]."""
    l2_weight, perceptual_weight, layers = pie.published_weights()
    difference = 0.01  # of images in [-1, 1], everywhere
    published = 1e-6 * 1024 * 1024 * 3 * (difference * 127.5) ** 2
    np.testing.assert_allclose(l2_weight * difference**2, published)
    published = 1e-6 * sum(n * (difference * 57.6) ** 2 for _, n in layers)
    weighted = perceptual_weight * sum(n * difference**2 for _, n in layers)
    np.testing.assert_allclose(weighted, published)
    assert dict(layers)["conv4_2"] == 512 * 32 * 32


def test_presets():
    assert PRESETS["pie_paper"] is pie.PAPER
    assert PRESETS["image2stylegan"] is image2stylegan.PAPER
    assert image2stylegan.PAPER.w_steps == 0
    assert preset("pie_paper", w_steps=3).w_steps == 3
    with pytest.raises(UsageError, match="'w_step'; did you mean 'w_steps'"):
        preset("pie_paper", w_step=3)
    with pytest.raises(UsageError, match="'pie_papr'; did you mean 'pie_paper'"):
        preset("pie_papr")
    with pytest.raises(ValueError, match="not both 0"):
        preset("pie_paper", w_steps=0, w_plus_steps=0)
    with pytest.raises(ValueError, match="'const', 'none' or 'random', got 'constant'"):
        preset("pie_paper", noise="constant")
