"""The whole energy of PIE, equations 6 to 15, on toy networks that NumPy can repeat."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from pie_reference import DIM, RESOLUTION, L, Paper, ToySuite, toy_suite
from test_pie import CHANGES

from jaxface.errors import SuiteError
from jaxface.evaluation.judges import recognition_error
from jaxface.keys import item_keys
from jaxface.losses import identity
from jaxface.methods import pie
from jaxface.methods.pie import sampling
from jaxface.methods.pie.energy import energy, spread
from jaxface.methods.presets import PRESETS, preset
from jaxface.morphable import EDITABLE_GROUPS
from jaxface.morphable.models import embedded_models
from jaxface.nets.recognition.crops import face_square
from jaxface.solving.solver import Status
from jaxface.suite import Suite, identity_network

N = 4
ALL = preset(
    "pie_embedded_all",
    w_steps=2,
    w_plus_steps=2,
    perceptual_resolution=4,
    perceptual_weight=1.0,
    recognition_weight=0.5,
    edit_recognition_weight=0.7,
    w_plus_step_size=0.05,
    bank=0,
    photometric_weight=1.0,
    occluded=None,
)
DIRECT = pie.without_w_stage(ALL)  # one stage, one program to compile


@pytest.fixture(scope="module")
def suite():
    return toy_suite()


@pytest.fixture(scope="module")
def problem():
    """Portraits, latents, keys."""
    rng = np.random.default_rng(1)
    images = rng.uniform(-1, 1, (N, RESOLUTION, RESOLUTION, 3)).astype(np.float32)
    w = 0.5 * rng.normal(size=(N, L, DIM)).astype(np.float32)
    return images, jnp.asarray(w), item_keys(jax.random.key(2), [f"{i}" for i in range(N)])


def value(settings, networks, images, w, keys):
    """The energy outside a compiled program: tens of settings, whose operations compile once."""
    targets = pie.inversion.read_targets(settings, networks, images)
    return energy(settings, L, None, w, networks, targets, keys, jnp.int32(0))


def evaluate(suite, settings, images, w, keys, bank=None):
    networks = pie.networks_of(suite, settings, models=None, bank=bank)
    return jax.device_get(value(settings, networks, images, w, keys))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"occluded": 0.3}, id="one"),
        pytest.param(
            {"groups_per_step": "all", "landmarks": "network", "noise": "none"},
            id="all",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_term_is_its_equation(suite, problem, changes):
    images, w, keys = problem
    settings = dataclasses.replace(ALL, **changes)
    loss, terms = evaluate(suite, settings, images, w, keys)
    networks = pie.networks_of(suite, settings, models=None, bank=None)
    v = sampling.sample(settings, networks, keys).w_plus
    tau = np.asarray(sampling.choose_groups(settings, keys))
    for row in range(N):
        groups = [settings.groups[index] for index in tau[row].argmax(axis=-1)]
        paper = Paper(suite, settings, images[row], v[row]).terms(w[row], groups)
        assert set(terms) == set(paper)
        for name, expected in paper.items():
            # Float32 sums of 192 pixels, and face parameters that move landmarks by 1e-6.
            np.testing.assert_allclose(terms[name][row], expected, rtol=2e-4, err_msg=name)
        total = sum(getattr(settings, f"{name}_weight") * paper[name] for name in paper)
        np.testing.assert_allclose(loss[row], total, rtol=2e-4)


def test_each_term_is_switched_by_its_name(suite, problem):
    images, w, keys = problem
    _, everything = evaluate(suite, ALL, images, w, keys)
    for term in pie.TERMS:
        settings = dataclasses.replace(ALL, terms=(term,))
        loss, found = evaluate(suite, settings, images, w, keys)
        assert set(found) == ({"l2", "perceptual"} if term == "synthesis" else {term})
        total = 0.0
        for name, got in found.items():
            np.testing.assert_allclose(got, everything[name], rtol=1e-5)  # float32, other fusion
            total += getattr(ALL, f"{name}_weight") * got
        np.testing.assert_allclose(loss, total, rtol=1e-5)
    assert pie.ablate(ALL, "edit", "invariance").terms == (
        "synthesis",
        "identity",
        "recognition",
        "edit_recognition",
    )
    with pytest.raises(ValueError, match="'edit' is none of synthesis"):
        pie.ablate(pie.PAPER, "edit")


def test_the_pull_towards_w(suite, problem):
    """Not PIE's: the rows' mean square about their mean, of no weight in W."""
    images, w, keys = problem
    settings = dataclasses.replace(ALL, terms=(pie.SPREAD,), spread_weight=3.0)
    loss, terms = evaluate(suite, settings, images, w, keys)
    np.testing.assert_allclose(terms["spread"], w.var(axis=1).mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(loss, 3 * terms["spread"], rtol=1e-6)
    assert pie.required_roles(settings) == {"generator": pie.SPREAD}
    assert (spread(jnp.ones((2, 4, 3))) == 0).all()


EDITING_CHANGES = {
    "terms": ("synthesis", "edit"),
    "identity_weight": 2.0,
    "photometric_weight": 2.0,
    "occluded": 0.1,
    "landmark_weight": 2.0,
    "edit_weight": 2.0,
    "invariance_weight": 2.0,
    "recognition_weight": 2.0,
    "edit_recognition_weight": 2.0,
    "groups": ("pose",),
    "groups_per_step": "all",
    "truncation": 0.5,
    "bank": 3,
    "face_resolution": 4,
    "landmarks": "network",
    "dtype": "bfloat16",
    "psi": "descriptor",
}
# Tested above, and in tests/cli/test_invert_methods.py: where the optimisation starts.
ELSEWHERE = {"spread_weight", "start"}


@pytest.mark.slow
def test_every_setting_has_an_effect(suite, problem):
    fields = {field.name for field in dataclasses.fields(pie.Settings)}
    assert set(CHANGES) | set(EDITING_CHANGES) | ELSEWHERE == fields
    images, w, keys = problem
    base, _ = evaluate(suite, ALL, images, w, keys)
    for field, changed in EDITING_CHANGES.items():
        settings = dataclasses.replace(ALL, **{field: changed})
        bank = pie.draw_bank(suite, settings, jax.random.key(0)) if field == "bank" else None
        loss, _ = evaluate(suite, settings, images, w, keys, bank)
        assert np.all(np.abs(loss - base).max() > 1e-4), field


@pytest.mark.slow
def test_a_bank_agrees_with_sampling_in_expectation(suite, problem):
    """The mean over many steps of one portrait, sampled, drawn from a bank, and over the bank."""
    images, w, _ = problem
    count = 256
    keys = jax.random.split(jax.random.key(5), count)
    image, latent = (np.repeat(np.asarray(x)[:1], count, axis=0) for x in (images, w))
    names = ("edit", "invariance", "edit_recognition")
    settings = dataclasses.replace(ALL, terms=names, bank=count)
    bank = pie.draw_bank(suite, settings, jax.random.key(6))
    assert bank.w_plus.shape == (count, L, DIM)

    _, from_bank = evaluate(suite, settings, image, latent, keys, bank)
    _, sampled = evaluate(suite, settings.sampled(), image, latent, keys)
    for name in names:
        a, b = sampled[name], from_bank[name]
        error = np.sqrt((a.var() + b.var() + b.var()) / count)  # the bank is a sample itself
        # Four standard errors; the terms vary enough that a wrong distribution would show.
        assert abs(a.mean() - b.mean()) < 4 * error, name
        assert error < 0.1 * a.mean(), name


@pytest.mark.slow
def test_a_banks_latents_are_those_of_its_keys(suite):
    settings = dataclasses.replace(ALL, bank=11)
    bank = pie.draw_bank(suite, settings, jax.random.key(6))
    longer = pie.draw_bank(suite, dataclasses.replace(ALL, bank=20), jax.random.key(6))
    for a, b in zip(jax.tree.leaves(bank), jax.tree.leaves(longer), strict=True):
        np.testing.assert_array_equal(a, b[:11])
    networks = pie.networks_of(suite, settings, models=None, bank=bank)
    found = sampling.sample(settings, networks, jax.random.split(jax.random.key(0), 200))
    rows = [np.flatnonzero((bank.w_plus == w).all(axis=(1, 2))) for w in found.w_plus]
    assert {int(row) for (row,) in rows} == set(range(11))
    theta = bank.reading.theta[np.concatenate(rows)]
    np.testing.assert_array_equal(found.reading.theta, theta)


@pytest.fixture(scope="module")
def batch(suite, problem):
    images, _, keys = problem
    return pie.invert(suite, images, keys=keys, settings=DIRECT)


def test_the_whole_energy_descends_and_compiles_once(suite, problem, batch):
    images, _, keys = problem
    assert batch.steps.tolist() == [4] * N
    assert set(batch.losses) == {
        "loss", "l2", "perceptual", "identity", "edit", "invariance", "recognition",
        "edit_recognition",
    }  # fmt: skip
    assert np.all(np.isfinite(batch.w_plus))
    # The same samples of v and tau before and after.
    start = jnp.tile(suite.generator.w_mean, (N, L, 1))
    before, _ = evaluate(suite, ALL, images, start, keys)
    assert np.mean(batch.losses["loss"]) < np.mean(before)
    after, terms = evaluate(suite, ALL, images, jnp.asarray(batch.w_plus), keys)
    np.testing.assert_allclose(batch.losses["loss"], after, rtol=1e-4)  # another program
    np.testing.assert_allclose(batch.losses["edit"], terms["edit"], rtol=1e-4)
    again = pie.invert(suite, images[::-1], keys=keys[::-1], settings=DIRECT)
    assert again.compile_seconds == 0
    # One program, the same rows in other places: samples are a portrait's own. Another's would be
    # tenths away; some CPUs' matrix products round by where a row stands.
    np.testing.assert_allclose(again.w_plus[::-1], batch.w_plus, rtol=0, atol=2e-6)


@pytest.mark.slow
def test_devices_and_batches_do_not_change_a_portrait(suite, problem, batch):
    images, _, keys = problem
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    sharded = pie.invert(suite, images, keys=keys, settings=DIRECT, mesh=mesh)
    # Two rows in a program instead of four: float32 sums in another order, through Adam's first
    # steps, which are of the step size (0.05) however small a gradient is.
    np.testing.assert_allclose(sharded.w_plus, batch.w_plus, atol=0.0025)
    assert sharded.status.tolist() == [Status.RUNNING] * N
    other = item_keys(jax.random.key(2), ["other", "1", "2", "3"])
    changed = pie.invert(suite, images, keys=other, settings=DIRECT)
    assert np.abs(changed.w_plus[0] - batch.w_plus[0]).max() > 1e-3
    np.testing.assert_array_equal(changed.w_plus[1:], batch.w_plus[1:])


def test_direct_starts_in_w_plus():
    assert (DIRECT.w_steps, DIRECT.w_plus_steps) == (0, 4)
    (stage,) = pie.stages(DIRECT, L)
    assert (stage.name, stage.steps) == ("w_plus", 4)
    assert PRESETS["pie_paper_all_direct"] == pie.without_w_stage(pie.PAPER_ALL)
    assert PRESETS["pie_embedded_all_direct"].w_steps == 0


def test_published_weights():
    weights = pie.published_editing_weights()
    assert weights["edit_weight"] * weights["photometric_weight"] == pytest.approx(
        10 * 0.001 * 127.5**2
    )
    assert pie.PAPER_ALL.terms == pie.TERMS
    assert pie.PAPER_ALL.l2_weight == pie.PAPER.l2_weight
    assert (pie.PAPER_ALL.w_steps, pie.PAPER_ALL.w_plus_steps) == (2000, 1000)


def test_roles_of_the_terms():
    assert pie.required_roles(pie.PAPER) == {"generator": "synthesis", "perceptual": "synthesis"}
    only = dataclasses.replace(ALL, terms=("recognition",))
    assert pie.required_roles(only) == {"generator": "recognition", "recognition": "recognition"}
    edit = dataclasses.replace(
        ALL, terms=("synthesis", "edit_recognition"), groups=("pose",), landmarks="network"
    )
    assert pie.required_roles(edit) == {
        "generator": "synthesis",
        "perceptual": "synthesis",
        "reconstruction": "edit_recognition",
        "rignet_pose": "edit_recognition",
        "recognition": "edit_recognition",
        "landmarks": "edit_recognition",
    }


def test_the_descriptor_can_be_psi(suite, problem):
    images, w, keys = problem
    settings = dataclasses.replace(ALL, terms=("recognition",), psi="descriptor")
    assert pie.required_roles(settings) == {"generator": "recognition", "descriptor": "recognition"}
    _, terms = evaluate(suite, settings, images, w, keys)
    for row in range(N):
        paper = Paper(suite, settings, images[row], w[row]).recognition(np.asarray(w[row]))
        assert paper > 1e-3
        # One minus a cosine in float32, whose rounding is 1e-7.
        np.testing.assert_allclose(terms["recognition"][row], paper, rtol=1e-3, atol=5e-7)
    with pytest.raises(ValueError, match="psi must be 'recognition' or 'descriptor', got 'phi'"):
        dataclasses.replace(ALL, psi="phi")


def test_who_judges_identity(suite):
    assert identity_network(suite) is suite.recognition
    lone = ToySuite(descriptor=suite.descriptor)
    assert identity_network(lone) is suite.descriptor
    assert identity_network(ToySuite()) is None
    rng = np.random.default_rng(3)
    a, b = (jnp.asarray(rng.uniform(-1, 1, (2, 40, 40, 3)), jnp.float32) for _ in range(2))
    x, y = (suite.descriptor(face_square(each)) for each in (a, b))
    np.testing.assert_allclose(recognition_error(lone, a, b), identity.distance(x, y), atol=1e-6)


def test_a_missing_network_is_named_with_its_term(tiny_suite, suite, problem):
    images, _, keys = problem
    names = ("generator", "perceptual")
    lacking = Suite("lacking", {name: tiny_suite / f"{name}.safetensors" for name in names})
    settings = dataclasses.replace(ALL, terms=("synthesis", "recognition"))
    pictures = np.zeros((1, 16, 16, 3), np.float32)
    with pytest.raises(
        SuiteError, match=r"'lacking' has no recognition; .* term 'recognition' needs it"
    ):
        pie.invert(lacking, pictures, keys=keys[:1], settings=settings)
    settings = dataclasses.replace(ALL, bank=3)
    with pytest.raises(ValueError, match="ask for a bank of 3, got one of 0"):
        pie.invert(suite, images, keys=keys, settings=settings)
    with pytest.raises(ValueError, match=r"bank must be >= 1, got 0"):
        pie.draw_bank(suite, ALL, jax.random.key(0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terms": ("synthesis", "edits")}, "terms are out of synthesis, .*; got 'edits'"),
        ({"terms": ()}, "terms must be a tuple of distinct names"),
        ({"groups": ("identity",)}, "groups are out of pose, .*; got 'identity'"),
        ({"groups_per_step": "two"}, "groups_per_step must be 'one' or 'all', got 'two'"),
        ({"landmarks": "none"}, "landmarks must be 'model' or 'network', got 'none'"),
        ({"bank": -1}, "bank must be >= 0, got -1"),
    ],
)
def test_wrong_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        preset("pie_paper_all", **changes)


def test_groups_are_drawn_evenly():
    keys = jax.random.split(jax.random.key(0), 3000)
    tau = np.asarray(sampling.choose_groups(ALL, keys))
    assert tau.shape == (3000, 1, len(EDITABLE_GROUPS))
    np.testing.assert_array_equal(tau.sum(axis=-1), 1)
    # Binomial: five standard deviations of 0.0086.
    np.testing.assert_allclose(tau.mean(axis=(0, 1)), 1 / 3, atol=0.043)
    everything = sampling.choose_groups(dataclasses.replace(ALL, groups_per_step="all"), keys[:2])
    np.testing.assert_array_equal(everything, np.broadcast_to(np.eye(3), (2, 3, 3)))


def test_other_face_models_can_be_given(suite, problem):
    images, w, keys = problem
    embedded = embedded_models()
    moved = dataclasses.replace(embedded.landmarks, vertices=embedded.landmarks.vertices + 0.1)
    settings = dataclasses.replace(ALL, terms=("edit",))
    found = [
        value(settings, pie.networks_of(suite, settings, models=m, bank=None), images, w, keys)[0]
        for m in (None, embedded._replace(landmarks=moved))
    ]
    # Where light is edited no landmark moves, whatever the model.
    assert np.abs(found[0] - found[1]).max() > 1e-3
