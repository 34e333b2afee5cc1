"""`jaxface benchmark networks`: what is counted, and the command at tiny sizes."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import multiply_adds
import numpy as np
import pytest
from jax.extend.core import ClosedJaxpr, Jaxpr

from jaxface.benchmark import flops, networks
from jaxface.benchmark.networks import NETWORKS, Network, random_network, workload
from jaxface.cli import main
from jaxface.weights import abstract_network

# From a documented count of the generator at 1024 px, forward, to images.
GENERATOR_FLOP = 149.5e9

MULTIPLY_ADDS = {
    "ir-se50": multiply_adds.irse(),
    "deca": multiply_adds.DECA,
    "vgg16": multiply_adds.vgg16(256),
    "lpips-vgg": 2 * multiply_adds.vgg16(256),
    "e4e": multiply_adds.pyramid_encoder(),
}


def traced(name, *, tiny, dtype="float32", batch=1):
    """A network's call on shapes alone."""
    case = NETWORKS[name]
    size = case.tiny if tiny else case.published
    parts = tuple(
        abstract_network(part.network.__name__, networks._in_dtype(part.config, dtype))
        for part in size.parts.values()
    )
    images = [jax.ShapeDtypeStruct((batch, size.side, size.side, 3), jnp.float32)]
    forward = functools.partial(networks._forward, call=case.call, dtype=dtype)
    return jax.jit(forward).trace(parts, *images * case.images)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "e4e" else name
        for name in MULTIPLY_ADDS
    ],
)
def test_flop_is_that_of_the_published_layers(name):
    call = traced(name, tiny=False)
    ratio = flops.count(call, call.lower()) / (2 * MULTIPLY_ADDS[name])
    # Norms, activations, pooling and sums come on top: up to 0.5%, most in ResNet-50.
    assert 1 < ratio < 1.006


@pytest.mark.slow
def test_flop_of_restyle_counts_all_five_iterations():
    """An iteration is a step of the encoder and an image; before the first there is another."""
    call = traced("restyle-e4e", tiny=False)
    expected = 5 * 2 * multiply_adds.restyle_step() + 6 * GENERATOR_FLOP
    assert flops.count(call, call.lower()) == pytest.approx(expected, rel=2e-3)


def test_loops_count_by_their_length():
    matrix = jnp.ones((8, 8))

    def product(x, _):
        return x @ matrix, None

    def outer(x, _):
        x = jax.lax.scan(product, x, length=3)[0]
        return jnp.sin(x @ matrix), None

    @jax.jit
    def nested(x):
        return jax.lax.scan(outer, x, length=5)[0] @ matrix

    call = nested.trace(matrix)
    products, count = 5 * (3 + 1) + 1, flops.count(call, call.lower())
    # The loops' counters are operations too.
    assert products * 2 * 8**3 <= count < products * 2 * 8**3 + 100
    assert flops.has_loop(call)
    assert not flops.has_loop(jax.jit(lambda x: x @ x).trace(matrix))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "inception" else name
        for name in NETWORKS
    ],
)
def test_every_network_takes_any_batch_and_computes_in_the_dtype(name):
    call = traced(name, tiny=True, dtype="bfloat16", batch=3)
    shapes = jax.tree.leaves(call.out_info)
    assert len(shapes) == len(NETWORKS[name].outputs)
    assert all(shape.shape[0] == 3 and shape.dtype == jnp.float32 for shape in shapes)
    kinds = {str(e.invars[0].aval.dtype) for e in equations(call.jaxpr.jaxpr) if is_conv(e)}
    assert kinds == {"bfloat16"}


def is_conv(equation):
    return equation.primitive.name == "conv_general_dilated"


def equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                if isinstance(part, ClosedJaxpr):
                    yield from equations(part.jaxpr)
                elif isinstance(part, Jaxpr):
                    yield from equations(part)


@pytest.mark.slow
def test_networks_beside_peers(tmp_path, capsys):
    out = tmp_path / "networks.json"
    options = ["--only", "vgg16", "face-landmarks", "--tiny", "--batch", "2", "--repeats", "2"]
    peers = ["--peer", "toy_peers:tiny_vgg", "--out", str(out)]
    assert main(["benchmark", "networks", *options, *peers]) == 0
    printed = capsys.readouterr()
    expected = "note: peer toy_peers:tiny_vgg takes no part in face-landmarks (tiny) 112 px"
    notes = [line for line in printed.err.splitlines() if line.startswith("note: ")]
    assert notes == [expected]  # beside lines of progress, where it takes long
    assert "vgg16 (tiny) 32 px" in printed.out

    report = json.loads(out.read_text())
    assert [run["settings"] for run in report["runs"]] == [
        {
            "network": name,
            "resolution": side,
            "tiny": True,
            "dtype": "float32",
            "repeats": 2,
            "seed": 0,
        }
        for name, side in (("vgg16", 32), ("face-landmarks", 112))
    ]
    vgg, landmarks = (run["measurements"] for run in report["runs"])
    both = ("jaxface", "toy_peers:tiny_vgg")
    methods = ("forward", "forward_backward")
    order = [(row["batch"], row["method"], row["contender"]) for row in vgg]
    assert order == [(2, m, c) for m in methods for c in both]
    for row in vgg:
        if row["contender"] != "jaxface":
            assert len(row["differences"]) == (1 if row["method"] == "forward" else 2)
            # The same program but for its constants: rounding.
            assert max(difference["relative"] for difference in row["differences"]) < 1e-5
    # VGG-16's gradient is what perceptual losses pay; nothing differentiates these landmarks.
    (row,) = landmarks
    assert row["method"] == "forward"
    assert row["memory_bytes"] > 2 * 112 * 112 * 3 * 4  # two images at least


def test_unknown_networks_are_one_line(capsys):
    assert main(["benchmark", "networks", "--only", "e5e"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--only e5e: expected some of e4e, psp" in line


def test_weights_leave_nothing_at_zero_or_one_and_keep_activations_finite():
    problem = random_network("restyle-psp", dtype="float32", tiny=True, seed=0)
    assert set(problem.weights) == {"encoder", "generator"}
    for arrays in problem.weights.values():
        for name, array in arrays.items():
            assert array.dtype == np.float32
            assert not np.any((array == 0) | (array == 1)), name
            if name.endswith("variance"):
                assert array.min() > 0


# Below, the package's networks at published widths on small images.


def outputs(problem, contender):
    """By method, what a contender gives, as NumPy arrays."""
    found = {}
    for call in workload(problem, batch=2, rng=np.random.default_rng(0)).calls:
        inputs = call.inputs
        if isinstance(contender, Network):
            program = getattr(contender, call.method)
            program.compile(*inputs)
            given = program(*inputs)
            found[call.method] = [np.asarray(output) for output in given]
        else:
            given = getattr(contender, call.method)(*map(contender.put, inputs))
            given = given if isinstance(given, tuple) else (given,)
            found[call.method] = [contender.get(output) for output in given]
    return found


@pytest.mark.parametrize(("name", "side"), [("lpips-alex", 64), ("vgg16", 32)])
def test_torch_peers_agree(name, side):
    pytest.importorskip("torchvision", reason="the extra `peers`")
    pytest.importorskip("lpips", reason="the extra `peers`")
    from jaxface.benchmark import torch_peers

    problem = dataclasses.replace(random_network(name, dtype="float32", seed=0), side=side)
    factory = torch_peers.vgg16 if name == "vgg16" else torch_peers.lpips
    ours, theirs = outputs(problem, Network(problem)), outputs(problem, factory(problem))
    for method, expected in ours.items():
        for a, b in zip(expected, theirs[method], strict=True):
            assert a.shape == b.shape
            # Sums in another order; a gradient also meets ReLUs and poolings' ties near zero.
            limit = 1e-5 if method == "forward" else 1e-3
            assert np.abs(a - b).max() < limit * np.abs(a).max()
    other = "fan" if name == "vgg16" else "vgg16"
    assert factory(random_network(other, dtype="float32", tiny=True, seed=0)) is None
