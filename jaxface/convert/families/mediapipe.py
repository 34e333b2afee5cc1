"""MediaPipe's face landmarker, three TensorFlow Lite graphs: detector, mesh and blendshapes.

Beside them lies the canonical face, a protocol buffer (``face_geometry``'s
``GeometryPipelineMetadata``): in field 1 a mesh, whose field 3 are vertices of x, y, z, u, v; each
field 2 a point, its number and its weight in the fit of the pose.

Their tensors' names mean nothing, so each graph is read as the list of operators with weights, in
the order of execution, and our networks' layers are the same list: an operator of another kind or
shape at any place is refused. Convolutions are stored [out, H, W, in] with a bias, depthwise ones
[1, H, W, C], slopes of PReLU [1, 1, C]; dense layers are 1 x 1 convolutions.
"""

import struct
from collections.abc import Iterator, Sequence

import numpy as np

from jaxface.convert import hooks
from jaxface.convert.formats.protobuf import fields
from jaxface.convert.formats.tflite import Operator
from jaxface.convert.plan import Entry, Plan
from jaxface.convert.refusal import Refusal
from jaxface.morphable.anatomy import HEAD_FILE
from jaxface.morphable.mesh_reconstruction import MeshReconstructionConfig, head_arrays
from jaxface.nets.landmarks.blendshapes import EPSILON, BlendshapesConfig
from jaxface.nets.landmarks.canonical_face import CanonicalFaceConfig
from jaxface.nets.landmarks.face_detector import FaceDetectorConfig
from jaxface.nets.landmarks.face_mesh import FaceMeshConfig

Layer = tuple[str, tuple[tuple[str, hooks.Hook] | str, ...]]
"""An operator's kind, and for each of its constants where it goes, or why it is not needed."""

WEIGHTS = ("CONV_2D", "DEPTHWISE_CONV_2D", "PRELU")
SCALARS = ("ADD", "MUL", "CONCATENATION")
"""Kinds whose floating-point constants are weights; other kinds have none."""

SECOND_LOGIT = "a second logit of a face, which MediaPipe does not read either"
NORMALISATION = f"the normalisation's epsilon, {EPSILON}"


def detector_plan(operators: Sequence[Operator], config: FaceDetectorConfig | None = None) -> Plan:
    """How to convert ``face_detector.tflite``.

    Raises:
        Refusal: if it is another network.
    """
    config = config or FaceDetectorConfig()
    return _plan("FaceDetector", config, operators, detector_layers(config))


def detector_layers(config: FaceDetectorConfig) -> list[Layer]:
    """The detector's operators with weights."""
    layers = [_conv("stem")]
    for i in range(len(config.channels)):
        layers += [_depthwise(f"blocks.{i}.depthwise"), _conv(f"blocks.{i}.pointwise")]
    heads = ("fine_scores", "coarse_scores", "fine_boxes", "coarse_boxes")
    return layers + [_conv(head) for head in heads]


def mesh_plan(operators: Sequence[Operator], config: FaceMeshConfig | None = None) -> Plan:
    """How to convert ``face_landmarks_detector.tflite``; see `detector_plan`."""
    config = config or FaceMeshConfig()
    return _plan("FaceMesh", config, operators, mesh_layers(config))


def mesh_layers(config: FaceMeshConfig) -> list[Layer]:
    """The mesh network's operators with weights."""
    layers = [_conv("stem"), _slopes("activation")]
    for i in range(len(config.channels)):
        if i > 0:
            layers += _bottleneck(f"downs.{i - 1}")
        for j in range(config.blocks):
            layers += _bottleneck(f"stages.{i}.{j}")
    seconds = ("CONV_2D", (SECOND_LOGIT, SECOND_LOGIT))
    return [*layers, seconds, _conv("presence"), _conv("points")]


def blendshapes_plan(
    operators: Sequence[Operator], config: BlendshapesConfig | None = None
) -> Plan:
    """How to convert ``face_blendshapes.tflite``; see `detector_plan`."""
    config = config or BlendshapesConfig()
    plan = _plan("Blendshapes", config, operators, blendshapes_layers(config))
    for key, reason in plan.ignored.items():
        value = plan.arrays[key]
        if reason == NORMALISATION and not np.isclose(value, EPSILON, rtol=1e-3).all():
            raise Refusal(f"{key} is {value}, expected the normalisation's epsilon, {EPSILON}")
    return plan


def blendshapes_layers(config: BlendshapesConfig) -> list[Layer]:
    """The blendshape network's operators with weights."""
    layers: list[Layer] = [
        ("MUL", (("gain", hooks.same),)),
        _dense("to_tokens"),
        _dense("to_channels"),
        ("CONCATENATION", (("token", np.ravel),)),
    ]
    for i in range(config.blocks):
        for kind in ("token", "channel"):
            layers += [
                ("ADD", (NORMALISATION,)),
                ("MUL", ((f"blocks.{i}.{kind}_norm.scale", hooks.same),)),
                _dense(f"blocks.{i}.{kind}_in"),
                _dense(f"blocks.{i}.{kind}_out"),
            ]
    return [*layers, _dense("head")]


def canonical_face_plan(message: bytes, config: CanonicalFaceConfig | None = None) -> Plan:
    """How to convert ``geometry_pipeline_metadata_landmarks.binarypb``.

    Raises:
        Refusal: if it is another message.
    """
    config = config or CanonicalFaceConfig()
    values: list[float] = []
    weights = np.zeros(config.points, np.float32)
    for number, value in fields(message):
        if number == 1 and isinstance(value, bytes):
            values += [_float(each) for key, each in fields(value) if key == 3]
        elif number == 2 and isinstance(value, bytes):
            point = dict(fields(value))
            index = point.get(1, 0)
            if not isinstance(index, int) or index >= config.points:
                raise Refusal(f"a weight of point {index}, of {config.points}")
            weights[index] = _float(point.get(2))
    if len(values) != 5 * config.points or not weights.any():
        raise Refusal(
            f"a mesh of {len(values)} numbers and {np.count_nonzero(weights)} weights, expected "
            f"{5 * config.points} and some"
        )
    vertices = np.array(values, np.float32).reshape(-1, 5)[:, :3]
    arrays = {"canonical_mesh": vertices, "procrustes_landmark_basis": weights}
    entries = (
        Entry("canonical_mesh", "vertices"),
        Entry("procrustes_landmark_basis", "weights"),
    )
    return Plan("CanonicalFace", config, arrays, entries)


def reconstruction_plan(mesh: Plan, blendshapes: Plan) -> Plan:
    """How to make a `MeshReconstruction`: of two converted networks and the package's own head.

    Args:
        mesh: of `mesh_plan`.
        blendshapes: of `blendshapes_plan`.
    """
    arrays, entries, ignored = {}, [], {}
    for name, plan in (("face_mesh", mesh), ("blendshapes", blendshapes)):
        arrays |= {f"{name}: {key}": value for key, value in plan.arrays.items()}
        ignored |= {f"{name}: {key}": reason for key, reason in plan.ignored.items()}
        entries += [
            Entry(f"{name}: {each.source}", f"{name}.{each.target}", each.hook)
            for each in plan.entries
        ]
    head = head_arrays()
    arrays |= {f"{HEAD_FILE.name}: {key}": value for key, value in head.items()}
    entries += [Entry(f"{HEAD_FILE.name}: {key}", key) for key in head]
    config = MeshReconstructionConfig.of(mesh.config, blendshapes.config)
    return Plan("MeshReconstruction", config, arrays, tuple(entries), ignored)


def _float(value: object) -> float:
    if not isinstance(value, bytes) or len(value) != 4:
        raise Refusal(f"a number of {value!r}, expected 4 bytes")
    return struct.unpack("<f", value)[0]


def _conv(target: str) -> Layer:
    return "CONV_2D", ((f"{target}.weight", _kernel), (f"{target}.bias", hooks.same))


def _depthwise(target: str) -> Layer:
    return "DEPTHWISE_CONV_2D", (
        (f"{target}.weight", hooks.unbatched),
        (f"{target}.bias", hooks.same),
    )


def _dense(target: str) -> Layer:
    return "CONV_2D", ((f"{target}.weight", _matrix), (f"{target}.bias", hooks.same))


def _slopes(target: str) -> Layer:
    return "PRELU", ((f"{target}.slope", np.ravel),)


def _bottleneck(target: str) -> list[Layer]:
    return [
        _conv(f"{target}.reduce"),
        _slopes(f"{target}.reduced"),
        _depthwise(f"{target}.depthwise"),
        _conv(f"{target}.expand"),
        _slopes(f"{target}.activation"),
    ]


def _kernel(x: np.ndarray) -> np.ndarray:
    """[out, H, W, in] to HWIO."""
    return x.transpose(1, 2, 3, 0)


def _matrix(x: np.ndarray) -> np.ndarray:
    """[out, 1, 1, in] to [in, out]."""
    if x.ndim != 4 or x.shape[1:3] != (1, 1):
        raise ValueError("expected [out, 1, 1, in]")
    return x[:, 0, 0].T


def _weighted(operators: Sequence[Operator]) -> Iterator[tuple[str, list[np.ndarray]]]:
    """The operators that carry weights."""
    for operator in operators:
        if operator.kind in (*WEIGHTS, *SCALARS):
            found = [value for value in operator.constants if value.dtype.kind == "f"]
            if found:
                yield operator.kind, found


def _plan(
    class_name: str, config: object, operators: Sequence[Operator], layers: Sequence[Layer]
) -> Plan:
    found = list(_weighted(operators))
    if len(found) != len(layers):
        raise Refusal(f"a graph of {len(found)} operators with weights, expected {len(layers)}")
    arrays, entries, ignored = {}, [], {}
    for n, ((kind, values), (wanted, targets)) in enumerate(zip(found, layers, strict=True)):
        if kind != wanted or len(values) != len(targets):
            raise Refusal(
                f"operator {n} is {kind} of {len(values)} arrays, expected {wanted} of "
                f"{len(targets)}"
            )
        for j, (value, target) in enumerate(zip(values, targets, strict=True)):
            key = f"{n}.{kind}.{j}"
            arrays[key] = value
            if isinstance(target, str):
                ignored[key] = target
            else:
                entries.append(Entry(key, *target))
    return Plan(class_name, config, arrays, tuple(entries), ignored)
