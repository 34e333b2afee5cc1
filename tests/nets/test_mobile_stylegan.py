"""MobileStyleGAN's generator: against the original runtime, and as the library uses generators."""

import functools
import json
import os
import re
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxface.errors import SuiteError
from jaxface.latents import broadcast_w, num_ws
from jaxface.methods import encoder, pti
from jaxface.nets import EncoderConfig, GeneratorConfig, MobileGenerator, MobileGeneratorConfig
from jaxface.nets.edits.linear_directions import directions_of
from jaxface.nets.mobile_stylegan import (
    as_rows_of,
    rows_known,
    student_rows,
    synthesis,
    teacher_rows,
    through_teacher,
    to_student,
    to_teacher,
)
from jaxface.nets.ops.depthwise import (
    by_groups,
    by_shifts,
    depthwise_conv,
    gradient_by_rows,
    gradient_by_taps,
)
from jaxface.nets.ops.wavelet import inverse_haar
from jaxface.suite import Suite, load_suite
from jaxface.weights import (
    abstract_network,
    build_network,
    load_network,
    network_names,
    save_network,
)

FIXTURES = Path(
    os.environ.get("JAXFACE_FIXTURES") or Path(__file__).parents[2] / ".." / "shared" / "fixtures"
)

TINY = MobileGeneratorConfig(
    resolution=32, z_dim=16, w_dim=16, mapping_layers=2, channel_base=64, channel_max=16
)


@pytest.fixture(scope="module")
def tiny() -> MobileGenerator:
    """Of random weights and noise maps."""
    random, arrays = np.random.default_rng(1), {}
    for name, spec in network_names(abstract_network("MobileGenerator", TINY)).items():
        arrays[name] = random.normal(size=spec.shape).astype(np.float32)
        if name.endswith("weight"):  # so that values stay about one
            gain = 0.3 if "affine" in name or ".up." in name else 1.0
            arrays[name] *= gain / np.sqrt(spec.shape[-2])
        if name.endswith(".bias") and ("affine" in name or ".up." in name):
            arrays[name] += 1
    network = build_network("MobileGenerator", TINY, arrays)
    assert isinstance(network, MobileGenerator)
    return network


@functools.partial(jax.jit, static_argnames=("noise", "resolution"))
def draw(generator, w_plus, noise="const", shift=None, resolution=None, keys=None):
    noise = noise if keys is None else keys
    return generator.synthesis(w_plus, noise, style_shift=shift, resolution=resolution)


@pytest.fixture(scope="module")
def latents() -> jax.Array:
    return jax.random.normal(jax.random.key(3), (3, TINY.num_ws, 16))


def test_published_sizes():
    config = MobileGeneratorConfig()
    assert (config.blocks, config.num_ws) == (7, 23)
    assert config.channels == (512, 512, 512, 512, 512, 256, 128, 64)
    assert config.image_resolutions == (256, 512, 1024)
    assert len(config.style_widths) == 23
    assert config.style_widths[:4] == (512, 512, 128, 512)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resolution": 8}, "power of two"),
        ({"channel_max": 6}, "multiples of 4"),
        ({"dtype": "int8"}, "dtype"),
    ],
)
def test_refused_sizes(fields, message):
    with pytest.raises(ValueError, match=message):
        MobileGeneratorConfig(**fields)


# Each output against the original runtime with every weight replaced by a formula. The values
# reach 174, and the two runtimes add in different orders: 1e-5 of the largest.
@pytest.mark.slow
def test_agrees_with_the_original_runtime():
    folder = FIXTURES / "photo_suite"
    if not folder.is_dir():
        pytest.skip(f"no parity fixtures in {FIXTURES} (set JAXFACE_FIXTURES)")
    shapes = json.loads((folder / "shapes.json").read_text())
    arrays = dict(_ours(name, _formula(name, shape)) for name, shape in shapes.items())
    arrays["mapping.w_mean"] = np.zeros(512, np.float32)
    generator = build_network("MobileGenerator", MobileGeneratorConfig(), arrays)
    _check_against(generator, np.load(folder / "formula.npz"), relative=1e-5)


def _check_against(generator, expected, *, relative: float) -> None:
    w = generator.mapping.to_w(jnp.asarray(expected["z"]))
    np.testing.assert_allclose(w, expected["w"], atol=1e-5 * np.abs(expected["w"]).max())
    y, x = expected["crop_at"]
    for name, w_plus in (
        ("image_w1", broadcast_w(jnp.asarray(expected["w"][1:2]), 23)),
        ("image_wplus", jnp.asarray(expected["wplus"])[None]),
    ):
        image = np.asarray(draw(generator, w_plus))[0]
        atol = relative * max(1.0, np.abs(expected[f"{name}_crop"]).max())
        crop = image[y : y + 64, x : x + 64]
        np.testing.assert_allclose(crop, expected[f"{name}_crop"], atol=atol)
        means = image.reshape(64, 16, 64, 16, 3).mean((1, 3))
        np.testing.assert_allclose(means, expected[f"{name}_mean16"], atol=atol)


def _formula(name: str, shape: list[int]) -> np.ndarray:
    """The fixture's weights: see its README."""
    random = np.random.RandomState((7 * 1000003 + zlib.crc32(name.encode())) % 2**32)
    u = (2 * random.random_sample(int(np.prod(shape))) - 1).reshape(shape) * np.sqrt(3)
    rules = (
        (name.endswith("modulation.weight"), 0.02 * u),
        (name.endswith("modulation.bias"), 1 + 0.1 * u),
        (name.endswith("depthwise"), u),
        (name.startswith("mapping") and name.endswith("weight"), u / np.sqrt(512)),
        (name == "to_img.weight", 0.5 * u),
        (name.endswith(".weight"), 1.5 * u),
        (name == "input", u),
        (True, 0.1 * u),
    )
    return next(value for applies, value in rules if applies).astype(np.float32)


def _ours(name: str, value: np.ndarray) -> tuple[str, np.ndarray]:
    """The fixture's names, whose arrays are converted already, as this library's."""
    if name == "input":
        return "synthesis.const", value[0]
    head, _, kind = name.rpartition(".")
    if name.startswith("mapping"):
        gain = 100 * (np.sqrt(512) if kind == "weight" else 1)
        return name.replace("mapping.", "mapping.layers."), value * np.float32(gain)
    if kind == "noise":
        value = value[..., 0]
    up = head.endswith(".up.modulation")
    head = head.removesuffix(".modulation") if up else head.replace(".modulation", ".affine")
    head = head.replace("layers.", "blocks.").replace("to_img", "to_image")
    if not head.startswith("blocks"):
        head = head.replace("conv1", "first")
    return f"synthesis.{head}.{kind}", value


def test_a_lower_resolution_is_the_mean_of_the_full_image(tiny, latents):
    full = draw(tiny, latents)
    assert full.shape == (3, 32, 32, 3)
    for size in (16, 8):
        step = 32 // size
        mean = full.reshape(3, size, step, size, step, 3).mean((2, 4))
        drawn = draw(tiny, latents, resolution=size)
        np.testing.assert_allclose(drawn, mean, atol=1e-5 * float(jnp.abs(full).max()))
    with pytest.raises(ValueError, match="resolution"):
        tiny.synthesis(latents, resolution=4)


def test_an_image_does_not_depend_on_its_batch(tiny, latents):
    together = draw(tiny, latents)
    for i in range(3):
        alone = draw(tiny, latents[i : i + 1])[0]
        np.testing.assert_allclose(alone, together[i], rtol=1e-5, atol=1e-4)


def test_noise(tiny, latents):
    const, none = draw(tiny, latents), draw(tiny, latents, "none")
    drawn = draw(tiny, latents, keys=jax.random.key(0))
    assert not np.allclose(const, none)
    assert not np.allclose(drawn, const)
    assert not np.allclose(drawn[0] - none[0], drawn[1] - none[1])  # of each image its own
    keys = jax.random.split(jax.random.key(1), 3)
    each, alone = (draw(tiny, latents[rows], keys=keys[rows]) for rows in (slice(3), slice(1, 2)))
    np.testing.assert_allclose(alone[0], each[1], rtol=1e-5, atol=1e-4)
    with pytest.raises(ValueError, match="noise"):
        draw(tiny, latents, "random")


def test_style_space(tiny, latents):
    styles = tiny.synthesis.styles(latents)
    assert styles.shape == (3, sum(TINY.style_widths))
    moved = draw(tiny, latents, shift=jnp.ones((1, styles.shape[1])))
    assert not np.allclose(moved, draw(tiny, latents))
    with pytest.raises(ValueError, match="style_shift"):
        draw(tiny, latents, shift=jnp.ones((1, 3)))


def test_truncation_ends_at_the_mean(tiny):
    z = jax.random.normal(jax.random.key(0), (2, 16))
    w_plus = tiny.mapping(z, truncation=0.0)
    assert w_plus.shape == (2, TINY.num_ws, 16)
    np.testing.assert_allclose(w_plus, jnp.broadcast_to(tiny.w_mean, w_plus.shape), atol=1e-6)


@pytest.mark.slow
def test_gradients_are_those_of_the_plain_form(tiny, latents, monkeypatch):
    """To W+ and every weight, with the depthwise convolutions that JAX derives by itself."""
    graph, weights, rest = nnx.split(tiny.synthesis, nnx.Param, ...)

    def energy(w_plus, weights):
        return jnp.mean(jnp.sin(nnx.merge(graph, weights, rest)(w_plus)))

    ours = jax.jit(jax.grad(energy, argnums=(0, 1)))(latents[:1], weights)
    monkeypatch.setattr(synthesis, "depthwise_conv", by_groups)
    plain = jax.jit(jax.grad(lambda *at: energy(*at), argnums=(0, 1)))(latents[:1], weights)
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4 * float(jnp.abs(other).max()))


def test_depthwise_forms_and_gradients_agree():
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(2, 5, 7, 6)), jnp.float32)
    kernel = jnp.asarray(random.normal(size=(3, 3, 6)), jnp.float32)
    weight = jnp.asarray(random.normal(size=x.shape), jnp.float32)
    np.testing.assert_allclose(by_shifts(x, kernel), by_groups(x, kernel), atol=1e-5)
    rows, taps = (form(x, weight) for form in (gradient_by_rows, gradient_by_taps))
    np.testing.assert_allclose(rows, taps, atol=1e-4)

    def gradients(form):
        return jax.grad(lambda x, k: jnp.sum(weight * form(x, k) ** 2), argnums=(0, 1))(x, kernel)

    for ours, automatic in zip(gradients(depthwise_conv), gradients(by_groups), strict=True):
        np.testing.assert_allclose(ours, automatic, rtol=1e-4, atol=1e-3)


def test_inverse_haar_by_its_formula():
    bands = np.random.default_rng(0).normal(size=(2, 3, 4, 8)).astype(np.float32)
    found = np.asarray(inverse_haar(jnp.asarray(bands)))
    low, rows, columns, both = np.split(bands, 4, axis=-1)
    for a in range(2):
        for b in range(2):
            signs = (-1) ** a, (-1) ** b, (-1) ** (a + b)
            expected = (low + signs[0] * rows + signs[1] * columns + signs[2] * both) / 2
            np.testing.assert_allclose(found[:, a::2, b::2], expected, atol=1e-6)


def test_bfloat16_is_near_and_keeps_the_weights(tiny, latents):
    reduced = tiny.computing_in("bfloat16")
    full, fast = draw(tiny, latents), draw(reduced, latents)
    assert fast.dtype == jnp.float32
    # bfloat16 has 8 bits: layers' errors of 0.4 % add up.
    assert jnp.abs(fast - full).max() < 0.1 * jnp.abs(full).max()
    assert not np.array_equal(fast, full)
    assert reduced.config.dtype == "bfloat16"
    assert tiny.config.dtype == "float32"


def test_save_and_load(tiny, latents, tmp_path):
    save_network(tmp_path / "generator.safetensors", tiny)
    loaded = load_network(tmp_path / "generator.safetensors")
    assert isinstance(loaded, MobileGenerator)
    np.testing.assert_array_equal(draw(loaded, latents), draw(tiny, latents))


def test_pti_tunes_every_weight_of_the_synthesis(tiny, latents):
    weights = pti.start(pti.Networks(tiny, None), 2)  # pyright: ignore
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(weights)}
    assert any("depthwise" in name for name in names)
    assert not any("noise" in name for name in names)
    moved = jax.jit(
        lambda tiny, weights: pti.tuned_generator(tiny, jax.tree.map(lambda x: 1.1 * x, weights), 1)
    )(tiny, weights)
    assert not np.allclose(draw(moved, latents), draw(tiny, latents))


def test_rows_of_the_published_sizes():
    """As `teacher_rows` describes them, spelled out."""
    expected = (0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9, 10, 11, 11, 12, 13, 13, 14, 15)
    assert teacher_rows(1024) == expected
    assert student_rows([4, 5]) == (6, 7, 8)
    assert student_rows([16, 17]) == ()
    with pytest.raises(ValueError, match="0 to 17"):
        student_rows([18])


def test_rows_both_ways():
    teacher = jax.random.normal(jax.random.key(0), (2, 18, 4))
    student = to_student(teacher)
    assert student.shape == (2, 23, 4)
    back = to_teacher(student)
    np.testing.assert_allclose(back[:, :16], teacher[:, :16], atol=1e-6)
    np.testing.assert_allclose(back[:, 16:], teacher[:, [15, 15]], atol=1e-6)
    np.testing.assert_allclose(to_student(back), student, atol=1e-6)
    free = jax.random.normal(jax.random.key(1), (23, 4))
    np.testing.assert_allclose(to_teacher(free)[1], (free[1] + free[2]) / 2, atol=1e-6)
    with pytest.raises(ValueError, match="18"):
        to_student(student)


def test_a_teachers_row_moves_what_its_resolution_makes(tiny):
    """Row 1 + 2 i enters at 8 * 2^i px: features before it stay, those from it on change."""
    rows = teacher_rows(32)
    base = jnp.zeros((1, num_ws(32), 16))
    seen = []
    for row in range(num_ws(32)):
        moved = to_student(base.at[:, row].set(1.0), resolution=32)
        changed = [i for i in range(TINY.num_ws) if jnp.any(moved[0, i] != 0)]
        assert changed == [i for i, r in enumerate(rows) if r == row]
        image, still = draw(tiny, moved), draw(tiny, to_student(base, resolution=32))
        seen.append(bool(jnp.abs(image - still).max() > 1e-6))
    assert seen == [True] * 6 + [False] * 2  # the last two have no counterpart


def test_codes_of_the_teacher_are_taken_by_its_student():
    config = MobileGeneratorConfig(64, w_dim=4, channel_base=64, channel_max=16)
    assert rows_known(config) == (11, 10)
    codes = jnp.arange(40.0).reshape(1, 10, 4)
    np.testing.assert_array_equal(as_rows_of(config, codes), to_student(codes, resolution=64))
    own = jnp.ones((1, 11, 4))
    assert as_rows_of(config, own) is own
    with pytest.raises(ValueError, match=r"expected \[N, 11, w_dim\]"):
        as_rows_of(config, jnp.ones((1, 18, 4)))
    teacher = GeneratorConfig(64, w_dim=4)
    assert rows_known(teacher) == (10,)
    assert as_rows_of(teacher, codes) is codes


def test_edits_of_the_teachers_rows_move_their_counterparts():
    """As StyleCLIP's mappers, whose coarse level are rows 0 to 3; differences of rows are kept."""
    w_plus = jax.random.normal(jax.random.key(0), (2, 23, 4))
    moved = through_teacher(lambda w: w.at[:, :4].add(1.0), w_plus) - w_plus
    rows = list(student_rows(range(4)))
    assert rows == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(moved[:, rows], 1.0, atol=1e-6)
    rest = [row for row in range(23) if row not in rows]
    np.testing.assert_allclose(moved[:, rest], 0.0, atol=1e-6)


@pytest.fixture(scope="module")
def student_suite(tmp_path_factory, random_network):
    """A 64 px student with directions and an encoder of its teacher's 10 rows."""
    folder = tmp_path_factory.mktemp("student")
    config = MobileGeneratorConfig(64, z_dim=4, w_dim=4, channel_base=64, channel_max=16)
    save_network(folder / "generator.safetensors", random_network("MobileGenerator", config))
    vectors = jnp.zeros((1, 10, 4)).at[0, jnp.arange(10), jnp.arange(10) % 4].set(1.0)
    save_network(folder / "direction_pose.safetensors", directions_of(["pose"], vectors))
    encoder = EncoderConfig((1, 1, 2, 2), (1, 1, 1, 1), num_ws=10, w_dim=4, resolution=32)
    save_network(folder / "encoder.safetensors", random_network("E4EEncoder", encoder))
    return load_suite(folder)


def test_directions_of_the_teachers_rows_move_the_students(student_suite):
    student_suite.check()
    directions = student_suite.directions["pose"]
    moved = directions.move(jnp.zeros((1, 11, 4)), "pose", 2.0)[0]
    expected = np.zeros((11, 4))
    expected[np.arange(11), np.array(teacher_rows(64)) % 4] = 2.0
    np.testing.assert_array_equal(moved, expected)


def test_an_encoder_of_the_teachers_rows_inverts(student_suite):
    networks = encoder.Settings("e4e").networks(student_suite, jax.random.key(0))
    codes = jnp.arange(40.0).reshape(1, 10, 4)
    networks = networks._replace(encoder=lambda images: codes)
    found = encoder.encode(encoder.Settings("e4e"), networks, jnp.zeros((1, 64, 64, 3)))
    np.testing.assert_array_equal(found, to_student(codes, resolution=64))


def test_rows_of_neither_are_refused(student_suite, tmp_path, random_network):
    for name, stem in (("a generator of 12 rows", "direction_pose"), ("no rows", "encoder")):
        files = {"generator": student_suite.files["generator"], stem: tmp_path / f"{stem}.s"}
        network = (
            directions_of([name], jnp.ones((1, 12, 4)))
            if stem == "direction_pose"
            else random_network(
                "E4EEncoder", EncoderConfig((1, 1, 2, 2), (1, 1, 1, 1), num_ws=12, w_dim=4)
            )
        )
        save_network(files[stem], network)
        with pytest.raises(SuiteError, match=re.escape(f"{files[stem]}: ") + ".* 12 x 4"):
            Suite("s", files).check()
