"""Files of InterFaceGAN, GANSpace and StyleCLIP: what they become, and what is refused."""

import io
import re

import jax.numpy as jnp
import numpy as np
import pytest
from pickle_writer import dumps, torch_zip

import jaxface
from jaxface.convert import convert
from jaxface.convert.convert import FAMILIES
from jaxface.convert.formats.checkpoint import read_checkpoint
from jaxface.nets import (
    GeneratorConfig,
    LatentMapper,
    StyleDirections,
    StyleMapper,
    StyleMapperConfig,
)
from tools.convert_weights.__main__ import main

RNG = np.random.default_rng(7)
CLOSE = {"rtol": 1e-5, "atol": 1e-6}  # float32


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def unit(*shape):
    x = normal(*shape)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(arrays):
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # as decomposition.py writes them
    return out.getvalue()


def components(count=3, dim=6, *, use_w=True):
    """What decomposition.py stores of StyleGAN2's mapping network."""
    latents = unit(count, 1, dim)
    return {
        "act_comp": latents.copy(),
        "act_mean": normal(1, dim),
        "act_stdev": np.arange(count, 0, -1, dtype=np.float32),
        "lat_comp": latents,
        "lat_mean": normal(1, dim),
        "lat_stdev": np.arange(count, 0, -1, dtype=np.float32) if use_w else np.ones(count, "f4"),
        "var_ratio": np.full(count, 0.1, np.float32),
        "random_stdevs": normal(count),
    }


def pca(count=3, dim=6):
    """encoder4editing's ffhq_pca.pt."""
    return {"comp": unit(count, 1, dim), "mean": normal(1, dim), "std": np.abs(normal(count))}


# An 8 px generator's styles: 4 px convolution and RGB, then two convolutions and RGB.
WIDTHS = (4, 4, 4, 3, 3)
FS3 = unit(11, 5)


def statistics(widths=WIDTHS):
    """S_mean_std."""
    return [[normal(width) for width in widths], [np.abs(normal(width)) for width in widths]]


MODULES = {"coarse": "course_mapping", "medium": "medium_mapping", "fine": "fine_mapping"}


def mapper(levels=("coarse", "medium", "fine"), dim=5, layers=4, **options):
    """A mapper's checkpoint, with a generator's key and the options of coach.py."""
    modules = [MODULES[level] for level in levels] if levels else ["mapping"]
    state = {"decoder.input.input": normal(1, 4, 4, 4)}
    for module in modules:
        for i in range(1, layers + 1):
            state[f"mapper.{module}.mapping.{i}.weight"] = 100 * normal(dim, dim)
            state[f"mapper.{module}.mapping.{i}.bias"] = 100 * normal(dim)
    named = {
        "mapper_type": "LevelsMapper" if levels else "SingleMapper",
        **{f"no_{level}_mapper": level not in levels for level in MODULES if levels},
        "description": "a person with purple hair",
    }
    return {"state_dict": state, "opts": named | options}


def style_mapper(widths=WIDTHS, layers=4, **options):
    """A mapper of style space: a network for every style but the second and each third from it."""
    state = {"decoder.input.input": normal(1, 4, 4, 4)}
    for style in (0, 2, 3):
        for i in range(1, layers + 1):
            key = f"mapper.mapper_{style}.mapping.{i}"
            state[f"{key}.weight"] = 100 * normal(widths[style], widths[style])
            state[f"{key}.bias"] = 100 * normal(widths[style])
    return {"state_dict": state, "opts": {"work_in_stylespace": True} | options}


def converted(data, folder, *, extras=None, **options):
    (folder / "source").write_bytes(data)
    for name, content in (extras or {}).items():
        (folder / name).write_bytes(content)
    paths = {name: folder / name for name in extras or {}}
    target = folder / "network.safetensors"
    conversion = convert("auto", folder / "source", target, extras=paths, check=True, **options)
    return jaxface.load_network(target), conversion


@pytest.mark.parametrize("length", [1.0, 2.5])
@pytest.mark.parametrize("write", [npy, torch_zip], ids=["npy", "pt"])
def test_a_boundary_moves_as_its_file_says(write, length, tmp_path):
    boundary = length * unit(1, 6)
    network, conversion = converted(write(boundary), tmp_path)
    assert conversion.family == "interfacegan"
    assert network.config.space == "w"
    w_plus = normal(2, 4, 6)
    found = network.move(jnp.asarray(w_plus), "boundary", -3.0)
    np.testing.assert_allclose(found, w_plus - 3 * boundary, **CLOSE)
    (note,) = [line for line in conversion.report if "a strength of 1" in line]
    assert ("2.5" in note) == (length != 1)


def test_boundaries_of_z_and_of_w_plus(tmp_path):
    boundary = unit(6)
    network, _ = converted(npy(boundary.astype(np.float64)), tmp_path, network="z")
    z = normal(2, 6)
    np.testing.assert_allclose(
        network.place(jnp.asarray(z), "boundary", 3.0),
        z + (3 - z @ boundary)[:, None] * boundary,  # linear_interpolate
        **CLOSE,
    )
    rows = unit(1, 4, 6)
    network, _ = converted(npy(rows), tmp_path)
    w_plus = normal(2, 4, 6)
    found = network.move(jnp.asarray(w_plus), "boundary", 2.0, rows=[1, 2])
    w_plus[:, 1:3] += 2 * rows[:, 1:3]
    np.testing.assert_allclose(found, w_plus, **CLOSE)


def test_ganspace_s_edit_of_some_layers(tmp_path):
    stored = components()
    network, conversion = converted(npz(stored), tmp_path)
    assert conversion.family == "ganspace"
    w_plus = normal(2, 8, 6)
    delta = 2.0 * stored["lat_comp"][1] * stored["lat_stdev"][1]
    found = network.move(jnp.asarray(w_plus), "component_1", 2.0, rows=range(3, 6))
    expected = w_plus.copy()
    expected[:, 3:6] += delta
    np.testing.assert_allclose(found, expected, **CLOSE)
    # create_strip_centered: each layer starts from the mean along the component.
    comp = stored["lat_comp"][1, 0]
    offset = ((w_plus - stored["lat_mean"]) @ comp)[..., None] * comp
    found = network.place(jnp.asarray(w_plus), "component_1", 2.0)
    np.testing.assert_allclose(found, w_plus - offset + delta, **CLOSE)
    for key in ("act_comp", "act_mean", "act_stdev", "var_ratio", "random_stdevs"):
        assert any(line.startswith(f"ignored  {key}: ") for line in conversion.report)


def test_ganspace_in_z_and_its_pt(tmp_path):
    network, _ = converted(npz(components(use_w=False)), tmp_path)
    assert network.config.space == "z"
    stored = pca()
    network, conversion = converted(torch_zip(stored), tmp_path)
    assert conversion.family == "ganspace"
    assert network.config.space == "w"
    w = normal(1, 6)
    # get_delta of encoder4editing, on equal rows.
    coordinate = ((w - stored["mean"]) @ stored["comp"][2, 0])[0] / stored["std"][2]
    delta = (5.0 - coordinate) * stored["comp"][2] * stored["std"][2]
    np.testing.assert_allclose(
        network.place(jnp.asarray(w), "component_2", 5.0), w + delta, rtol=1e-4, atol=1e-5
    )


def test_style_directions_fit_their_generator(tmp_path):
    sizes = statistics()
    network, conversion = converted(npy(FS3), tmp_path, extras={"statistics": dumps(sizes)})
    assert isinstance(network, StyleDirections)
    assert conversion.family == "styleclip_global"
    assert network.config.widths == WIDTHS
    generator = GeneratorConfig(8, z_dim=4, w_dim=4, channel_base=24, channel_max=4)
    assert generator.style_widths == WIDTHS
    text = normal(5)
    scores = FS3 @ (text / np.linalg.norm(text))
    scores = np.split(scores / np.abs(scores).max(), [4, 8])  # SplitS, without RGB layers
    found = np.split(network.direction(jnp.asarray(text), threshold=0.0), np.cumsum(WIDTHS)[:-1])
    for style, part in zip((0, 2, 3), scores, strict=True):
        np.testing.assert_allclose(found[style], part * sizes[1][style], **CLOSE)
    assert not found[1].any()
    assert not found[4].any()


@pytest.mark.parametrize("levels", [("coarse", "medium", "fine"), ("medium",), ()])
def test_mappers(levels, tmp_path):
    stored = mapper(levels)
    network, conversion = converted(torch_zip(stored), tmp_path)
    assert isinstance(network, LatentMapper)
    assert network.config.levels == (levels or ("all",))
    assert network.config.layers == 4
    assert any(line.startswith("ignored  decoder.*: another network") for line in conversion.report)
    w_plus = normal(2, 10, 5)
    expected = w_plus.astype(np.float64)
    for name in levels or ("all",):
        rows = {"coarse": slice(4), "medium": slice(4, 8), "fine": slice(8, 10)}.get(name)
        x = w_plus[:, rows or slice(10)].astype(np.float64)
        x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True) + 1e-8)
        for i in range(1, 5):
            key = f"mapper.{MODULES.get(name, 'mapping')}.mapping.{i}"
            weight, bias = (
                stored["state_dict"][f"{key}.weight"],
                stored["state_dict"][f"{key}.bias"],
            )
            x = x @ (weight.astype(np.float64).T * 0.01 / np.sqrt(5)) + bias * 0.01
            x = np.where(x >= 0, x, 0.2 * x) * np.sqrt(2)
        expected[:, rows or slice(10)] += 0.1 * x
    np.testing.assert_allclose(network(jnp.asarray(w_plus)), expected, rtol=1e-4, atol=1e-5)


def test_mappers_of_style_space(tmp_path):
    stored = style_mapper()
    network, conversion = converted(torch_zip(stored), tmp_path)
    assert isinstance(network, StyleMapper)
    assert network.config == StyleMapperConfig(WIDTHS)
    assert any(line.startswith("ignored  decoder.*: another network") for line in conversion.report)
    styles = normal(2, sum(WIDTHS))
    expected = np.zeros((2, sum(WIDTHS)))
    for style, part in ((0, slice(4)), (2, slice(8, 12)), (3, slice(12, 15))):
        x = styles[:, part].astype(np.float64)
        x /= np.sqrt(np.mean(x**2, axis=1, keepdims=True) + 1e-8)
        for i in range(1, 5):
            weight, bias = (
                stored["state_dict"][f"mapper.mapper_{style}.mapping.{i}.{name}"]
                for name in ("weight", "bias")
            )
            x = x @ (weight.astype(np.float64).T * 0.01 / np.sqrt(x.shape[1])) + bias * 0.01
            x = np.where(x >= 0, x, 0.2 * x) * np.sqrt(2)
        expected[:, part] = 0.1 * x
    np.testing.assert_allclose(network(jnp.asarray(styles)), expected, rtol=1e-4, atol=1e-5)


def test_one_family_claims_each_file(tmp_path):
    files = {
        "interfacegan": npy(unit(1, 6)),
        "ganspace": npz(components()),
        "styleclip_global": npy(FS3),
        "styleclip_mapper": torch_zip(mapper()),
    }
    for family, data in files.items():
        (tmp_path / "source").write_bytes(data)
        root = read_checkpoint(tmp_path / "source").root
        assert [name for name, module in FAMILIES.items() if module.matches(root)] == [family]


def changed(stored, **changes):
    return {key: value for key, value in (stored | changes).items() if value is not None}


def with_state(checkpoint, **changes):
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return checkpoint | {"state_dict": changed(checkpoint["state_dict"], **named)}


S_MEAN_STD = dumps(statistics())
KEY = "mapper.fine_mapping.mapping.2.weight"
REFUSED = {
    "boundary of zeros": (npy(np.zeros((1, 6))), "length 0 or NaN"),
    "boundary with NaN": (npy(np.full((1, 6), np.nan)), "length 0 or NaN"),
    "empty boundary": (npy(np.zeros((1, 0))), "expected numbers"),
    "uneven rows": (npy(unit(1, 2, 6) * [[[1], [2]]]), "rows differ in length, 1 to 2"),
    "truncated boundary": (npy(unit(1, 6))[:-4], r"truncated \.npy"),
    "array of rank 4": (npy(np.zeros((2, 2, 2, 2))), "of no supported family"),
    "objects": (npy(np.array([{"a": 1}, 2], object)), "objects of shape"),
    "components' shape": (npz(components() | {"lat_stdev": normal(2)}), r"\[3, 1, 6\], \[2\]"),
    "components' length": (
        npz(components() | {"lat_comp": 2 * unit(3, 1, 6)}),
        "lat_comp: a component has length 2",
    ),
    "negative deviation": (npz(components() | {"lat_stdev": -np.ones(3, "f4")}), "is negative"),
    "NaN mean": (npz(components() | {"lat_mean": np.full((1, 6), np.nan)}), "lat_mean holds NaN"),
    "truncated npz": (npz(components())[:-30], "neither a pickle|truncated or damaged zip"),
    "missing lat_mean": (npz(changed(components(), lat_mean=None)), "of no supported family"),
    "mapper's key": (torch_zip(with_state(mapper(), **{KEY: None})), "lacks mapper.fine_mapping"),
    "mapper's surplus": (
        torch_zip(with_state(mapper(), mapper__fine_mapping__extra=normal(2))),
        "unexpected mapper.fine_mapping.extra",
    ),
    "mapper's shape": (torch_zip(with_state(mapper(), **{KEY: normal(5, 4)})), "does not fit"),
    "mapper's stranger": (torch_zip(with_state(mapper(), id_loss__x=normal(2))), "id_loss.x in"),
    "mapper's type": (
        torch_zip(mapper(mapper_type="SingleMapper")),
        "say mapper_type SingleMapper, and the arrays are those of a LevelsMapper",
    ),
    "mapper's level": (torch_zip(mapper(no_fine_mapper=True)), "no_fine_mapper.*has a fine mapper"),
    "absent level": (
        torch_zip(mapper(("fine",), no_coarse_mapper=False)),
        "no_coarse_mapper False, and the file has no coarse mapper",
    ),
    "style space": (
        torch_zip(mapper(work_in_stylespace=True)),
        "say work_in_stylespace, and the arrays are those of a LevelsMapper",
    ),
    "no style space": (
        torch_zip(style_mapper(work_in_stylespace=False)),
        "say work_in_stylespace False, and the arrays are of style space",
    ),
    "an RGB layer's style": (
        torch_zip(with_state(style_mapper(), mapper__mapper_1__mapping__1__weight=normal(4, 4))),
        r"networks for the styles \[0, 1, 2, 3\], expected those of all convolutions",
    ),
    "half a resolution": (
        torch_zip(with_state(style_mapper(), mapper__mapper_5__mapping__1__weight=normal(3, 3))),
        r"networks for the styles \[0, 2, 3, 5\]",
    ),
    "a style's shape": (
        torch_zip(with_state(style_mapper(), mapper__mapper_3__mapping__2__bias=normal(4))),
        "mapper_3.mapping.2.bias: its shape .* does not fit",
    ),
    "style space's arrays": (
        torch_zip(with_state(mapper(), mapper__mapper_0__mapping__1__weight=normal(5, 5))),
        "has a mapper.mapper_0, expected some of course_mapping",
    ),
    "fs3 alone": (npy(FS3), r"also needs --with statistics=FILE \(StyleCLIP's S_mean_std"),
}
REFUSED_WITH = {
    "other generator": (npy(unit(12, 5)), S_MEAN_STD, "fs3 measures 12 channels.* have 11"),
    "no unit rows": (npy(2 * FS3), S_MEAN_STD, "a row has not the length 1"),
    "no lists": (npy(FS3), dumps({"std": 1}), "is no S_mean_std"),
    "S itself": (npy(FS3), dumps([["a", "b"], [normal(2, 4)]]), "is no S_mean_std"),
    "no arrays": (npy(FS3), dumps([[1, 2], ["a", "b"]]), r"std\.0: expected a tensor"),
    "negative": (npy(FS3), dumps([statistics()[0]] * 2), "no standard deviations"),
    "styles": (npy(FS3), dumps(statistics((4, 4, 7))), "two styles at 4 px"),
}


@pytest.mark.parametrize("case", [*REFUSED, *REFUSED_WITH])
def test_refused_in_one_line_and_nothing_written(case, tmp_path, capsys):
    data, reason = (REFUSED.get(case) or REFUSED_WITH[case])[:: 1 if case in REFUSED else 2]
    (tmp_path / "source").write_bytes(data)
    arguments = ["auto", str(tmp_path / "source"), str(tmp_path / "out")]
    if case in REFUSED_WITH:
        (tmp_path / "S_mean_std").write_bytes(REFUSED_WITH[case][1])
        arguments += ["--with", f"statistics={tmp_path / 'S_mean_std'}"]
    before = sorted(tmp_path.iterdir())
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(reason, line), line
    assert sorted(tmp_path.iterdir()) == before


def test_a_suite_has_directions_by_name_that_fit_its_generator(tmp_path, random_network):
    sizes = {"channel_base": 24, "channel_max": 4, "mapping_layers": 1}
    generator = random_network("Generator", GeneratorConfig(8, z_dim=4, w_dim=6, **sizes))
    jaxface.save_network(tmp_path / "generator.safetensors", generator)
    sources = tmp_path / "sources"
    sources.mkdir()

    def put(stem, data, **options):
        network, _ = converted(data, sources, **options)
        jaxface.save_network(tmp_path / f"{stem}.safetensors", network)

    put("direction_smile", npy(unit(1, 6)))
    put("direction_age", npy(unit(1, 4)), network="z")
    put("text_mapper_afro", torch_zip(mapper(dim=6, layers=1)))
    put("style_mapper_afro", torch_zip(style_mapper(layers=1)))
    put("style_directions", npy(FS3), extras={"statistics": S_MEAN_STD})
    suite = jaxface.load_suite(tmp_path)
    suite.check()
    assert list(suite.directions) == ["age", "smile"]
    assert suite.directions["age"].config.space == "z"
    assert list(suite.text_mappers) == list(suite.style_mappers) == ["afro"]
    assert suite.style_directions.config.widths == suite.generator.config.style_widths
    for stem, data, reason in (
        ("direction_smile", npy(unit(1, 4)), "direction_smile moves 1 x 4 in w, where .* 4 x 6"),
        ("direction_smile", npy(unit(1, 3, 6)), "moves 3 x 6 in w, where the generator has 4 x 6"),
        ("text_mapper_afro", torch_zip(mapper(layers=1)), "maps W of 5, the generator's has 6"),
        (
            "style_mapper_afro",
            torch_zip(style_mapper((4, 4, 4, 2, 2), layers=1)),
            "style_mapper_afro edits 5 styles of 16 channels, the generator has 5 of 18",
        ),
    ):
        before = (tmp_path / f"{stem}.safetensors").read_bytes()
        put(stem, data)
        with pytest.raises(jaxface.SuiteError, match=reason):
            jaxface.load_suite(tmp_path).check()
        (tmp_path / f"{stem}.safetensors").write_bytes(before)
    wider = random_network("Generator", GeneratorConfig(8, z_dim=4, w_dim=6, channel_max=4))
    jaxface.save_network(tmp_path / "generator.safetensors", wider)
    with pytest.raises(
        jaxface.SuiteError, match="edits 5 styles of 18 channels, the generator has"
    ):
        jaxface.load_suite(tmp_path).check()
