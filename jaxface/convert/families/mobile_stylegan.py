"""MobileStyleGAN's generator as the package ``random_face`` ships it: two OpenVINO graphs.

``MappingNetwork`` holds eight dense layers, a matrix [out, in] and a bias each, in order, with the
multiplier and the equalised learning rate folded in: they are taken out again, so that the mapping
network is StyleGAN2's. ``SynthesisNetwork`` names the trained constants and not the folded ones,
the kernels and the noise maps, which are known by the graph: behind a convolution stand the noise
and the bias, which has kept its name; before a 1 x 1 stands the depthwise convolution, which has,
too. (``i`` is a block)::

    m.input.input                                   synthesis.const
    m.conv1                                         synthesis.first
    m.layers.{i}.up                                 synthesis.blocks.{i}.up
    m.layers.{i}.conv{1, 2}                         synthesis.blocks.{i}.conv{1, 2}
        .conv.modulation.{weight, bias}                 .affine.{weight, bias}
        .conv.weight_dw                                 .depthwise
        (the 1 x 1, or of conv1 the 3 x 3, kernel)      .weight
        (the map)                                       .noise
        .bias                                           .bias
    m.layers.{last}.to_img                          synthesis.to_image
        .conv.{modulation, weight}, .bias               .affine, .weight, .bias

Ahead of an inverse wavelet transform the channels are the C of the low band, then the other three
bands of each channel in turn; ours are whole bands side by side, so the outputs of the layer before
and the scales of ``up`` are permuted. The mean of W is in no file and is taken over latents of a
seeded generator.
"""

import re
from collections.abc import Mapping

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.families.sizes import channel_schedule, shape_of
from jaxface.convert.formats.openvino import Node
from jaxface.convert.formats.words import one_line
from jaxface.convert.plan import Entry, Plan, make_config
from jaxface.convert.refusal import Refusal
from jaxface.nets.mobile_stylegan.config import BANDS, MobileGeneratorConfig

Graph = Mapping[int, Node]

LR_MULTIPLIER = 0.01
MEAN_SAMPLES, MEAN_SEED = 100_000, 0
"""Of the mean of W: its standard error is 0.3 % of W's deviation."""


def plan(mapping: Graph, synthesis: Graph) -> Plan:
    """How to convert the generator.

    Args:
        mapping, synthesis: the graphs, as ``read_ir`` gives them.

    Raises:
        Refusal: if a graph is not the network described above.
    """
    arrays = {**_mapping_arrays(mapping), **_synthesis_arrays(synthesis)}
    blocks = len({found[1] for key in arrays if (found := re.match(r"layers\.(\d+)\.up\.", key))})
    widths = {4: shape_of(arrays, "conv1.bias", 4)[1]}
    widths |= {8 << i: shape_of(arrays, f"layers.{i}.conv2.bias", 4)[1] for i in range(blocks)}
    base, most = channel_schedule(widths)
    z_dim = shape_of(arrays, "mapping.0.weight", 2)[1]
    layers = sum(key.startswith("mapping.") for key in arrays) // 2
    config = make_config(
        MobileGeneratorConfig,
        resolution=8 << blocks,
        z_dim=z_dim,
        w_dim=shape_of(arrays, f"mapping.{layers - 1}.weight", 2)[0],
        mapping_layers=layers,
        channel_base=base,
        channel_max=most,
    )
    arrays["w_mean"] = _mean_of_w(arrays, layers, z_dim)
    return Plan("MobileGenerator", config, arrays, tuple(entries(config)))


def entries(config: MobileGeneratorConfig) -> list[Entry]:
    """The name map."""
    found = [Entry("w_mean", "mapping.w_mean")]
    for i in range(config.mapping_layers):
        found += [
            Entry(f"mapping.{i}.weight", f"mapping.layers.{i}.weight", _unfolded_matrix),
            Entry(f"mapping.{i}.bias", f"mapping.layers.{i}.bias", _unfolded_bias),
        ]
    last = config.blocks - 1
    found.append(Entry("input.input", "synthesis.const", hooks.batched_constant))
    found += _layer("conv1", "synthesis.first", bands=True)
    for i in range(config.blocks):
        target = f"synthesis.blocks.{i}"
        found += _style(f"layers.{i}.up", f"{target}.up", bands=True)
        found += _layer(f"layers.{i}.conv1", f"{target}.conv1", bands=False)
        found += _layer(f"layers.{i}.conv2", f"{target}.conv2", bands=i < last)
    head, target = f"layers.{last}.to_img", "synthesis.to_image"
    found += _style(f"{head}.conv", f"{target}.affine", bands=False)
    return [
        *found,
        Entry(f"{head}.conv.weight", f"{target}.weight", _banded(hooks.pointwise)),
        Entry(f"{head}.bias", f"{target}.bias", _banded(hooks.image_bias)),
    ]


def _style(source: str, target: str, *, bands: bool) -> list[Entry]:
    weight, bias = hooks.dense, np.ravel
    if bands:
        weight, bias = _banded(weight), _banded(bias)
    return [
        Entry(f"{source}.modulation.weight", f"{target}.weight", weight),
        Entry(f"{source}.modulation.bias", f"{target}.bias", bias),
    ]


def _layer(source: str, target: str, *, bands: bool) -> list[Entry]:
    """`bands`: whether an inverse wavelet transform reads its output."""
    first = source == "conv1"
    weight, bias = (hooks.kernel if first else hooks.pointwise), hooks.image_bias
    if bands:
        weight, bias = _banded(weight), _banded(bias)
    depthwise = [] if first else [Entry(f"{source}.conv.weight_dw", f"{target}.depthwise", _taps)]
    return [
        *_style(f"{source}.conv", f"{target}.affine", bands=False),
        *depthwise,
        Entry(f"{source}.kernel", f"{target}.weight", weight),
        Entry(f"{source}.noise", f"{target}.noise", hooks.noise_map),
        Entry(f"{source}.bias", f"{target}.bias", bias),
    ]


def _banded(hook: hooks.Hook) -> hooks.Hook:
    """The hook, then the last axis from C lows and C triples to whole bands."""

    def banded(x: np.ndarray) -> np.ndarray:
        x = hook(x)
        if x.shape[-1] % BANDS:
            raise ValueError(f"expected a multiple of {BANDS} channels")
        lows = x.shape[-1] // BANDS
        triples = [lows + band + 3 * np.arange(lows) for band in range(BANDS - 1)]
        return x[..., np.concatenate([np.arange(lows), *triples])]

    return banded


def _taps(x: np.ndarray) -> np.ndarray:
    """[C, 1, 1, 3, 3] to [3, 3, C]."""
    if x.ndim != 5:
        raise ValueError("expected 5 dimensions")
    return x[:, 0, 0].transpose(1, 2, 0)


def _unfolded_matrix(x: np.ndarray) -> np.ndarray:
    """[out, in] with the gains folded in, to StyleGAN2's [in, out]."""
    return hooks.dense(x) * (np.sqrt(x.shape[1]) / LR_MULTIPLIER)


def _unfolded_bias(x: np.ndarray) -> np.ndarray:
    return x.ravel() / LR_MULTIPLIER


def _mapping_arrays(graph: Graph) -> dict[str, np.ndarray]:
    """The dense layers: their constants are the only ones that are not scalars or shapes."""
    found = [node.value for node in graph.values() if node.value is not None]
    found = [value for value in found if value.dtype.kind == "f" and value.size > 1]
    if not found or len(found) % 2:
        raise Refusal(f"a mapping network of {len(found)} arrays, expected two for each layer")
    arrays = {}
    for i, (matrix, bias) in enumerate(zip(found[::2], found[1::2], strict=True)):
        if matrix.ndim != 2 or bias.size != len(matrix):
            raise Refusal(f"layer {i} of the mapping network is {matrix.shape} and {bias.shape}")
        arrays |= {f"mapping.{i}.weight": matrix, f"mapping.{i}.bias": bias}
    return arrays


def _synthesis_arrays(graph: Graph) -> dict[str, np.ndarray]:
    """The constants by their names, those without one by what stands around them."""
    arrays = {
        node.name.removeprefix("m."): node.value
        for node in graph.values()
        if node.value is not None and node.name.startswith("m.")
    }
    for node in graph.values():
        kernel = _constant(graph, node) if node.kind == "Convolution" else None
        if kernel is None or kernel.name.startswith("m."):  # the image head has kept its name
            continue
        noise, bias = _behind(graph, node)
        stem = one_line(bias.name.removeprefix("m.").removesuffix(".bias"))
        before = graph[node.reads[0]]
        if before.kind == "GroupConvolution":
            taps = _constant(graph, before)
            if taps is None or taps.name != f"m.{stem}.conv.weight_dw":
                raise Refusal(f"{stem}: its depthwise kernel does not stand before its 1 x 1")
        arrays |= {f"{stem}.kernel": _value(kernel), f"{stem}.noise": _value(noise)}
    return arrays


def _behind(graph: Graph, node: Node) -> tuple[Node, Node]:
    """The noise and the bias that are added to a convolution's output."""
    found, at = [], node
    for _ in range(2):
        if len(at.readers) != 1 or graph[at.readers[0]].kind != "Add":
            raise Refusal(f"{one_line(node.name)}: no noise and bias stand behind it")
        at = graph[at.readers[0]]
        found.append(_constant(graph, at))
    noise, bias = found
    if noise is None or bias is None or not bias.name.endswith(".bias"):
        raise Refusal(f"{one_line(node.name)}: no noise and bias stand behind it")
    return noise, bias


def _constant(graph: Graph, node: Node) -> Node | None:
    """The constant that a layer reads, if it reads one."""
    return next((graph[key] for key in node.reads if graph[key].kind == "Const"), None)


def _value(node: Node) -> np.ndarray:
    if node.value is None:
        raise Refusal(f"{one_line(node.name)} is no constant")
    return node.value


def _mean_of_w(arrays: Mapping[str, np.ndarray], layers: int, z_dim: int) -> np.ndarray:
    """Over latents of a seeded generator: [w_dim]."""
    random, chunk = np.random.default_rng(MEAN_SEED), 10_000
    total = np.zeros(arrays[f"mapping.{layers - 1}.weight"].shape[0])
    for _ in range(MEAN_SAMPLES // chunk):
        x = random.standard_normal((chunk, z_dim), np.float32)
        x /= np.sqrt(np.mean(np.square(x), axis=1, keepdims=True) + 1e-8)
        for i in range(layers):
            x = x @ arrays[f"mapping.{i}.weight"].T + arrays[f"mapping.{i}.bias"].ravel()
            x = np.maximum(x, 0.2 * x) * np.float32(np.sqrt(2))
        total += x.sum(axis=0, dtype=np.float64)
    return (total / MEAN_SAMPLES).astype(np.float32)
