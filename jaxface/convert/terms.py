"""Under which terms the files of each family are published; docs/weights.md says where."""

from jaxface.licences import Terms

NVIDIA = "LicenseRef-NVIDIA-Source-Code-NC"

_OF_NVIDIA = Terms(
    NVIDIA,
    "no",
    "NVIDIA's published weights, trained on FFHQ (CC BY-NC-SA 4.0); one that you trained yourself "
    "has the terms of the code and of your data",
)
_ENCODER = Terms(
    note="the code is MIT, and states no terms for the file; trained on FFHQ (CC BY-NC-SA 4.0) "
    "with a generator of NVIDIA's, which is for non-commercial use"
)
_DIRECTION = "; the generator that it was computed from has terms of its own"

TERMS: dict[str, Terms] = {
    "arcface": Terms(note="the code is MIT, and states no terms for the file"),
    "basel": Terms(
        "LicenseRef-Basel-Face-Model",
        note="the licence that the University of Basel asks each user to accept; expressions of "
        "3DFace are for research only",
    ),
    "deca": Terms("LicenseRef-DECA", "no", "for non-commercial scientific research"),
    "deep3d": Terms(
        note="the code is MIT, and states no terms for the file; its coefficients belong to the "
        "Basel Face Model"
    ),
    "direction_matrix": Terms(
        note="the repository has no licence file; the networks were trained on VoxCeleb"
    ),
    "e4e": _ENCODER,
    "face_api": Terms("MIT", "unstated", "the package, which states no other terms for its models"),
    "facenet": Terms(note="the code is MIT; trained on VGGFace2 or CASIA-WebFace"),
    "fan": Terms(note="the code is BSD-3-Clause, and states no terms for the file"),
    "flame": Terms("LicenseRef-FLAME", note="the terms that each user accepts on FLAME's site"),
    "ganspace": Terms("Apache-2.0", "unstated", f"the code{_DIRECTION}"),
    "hopenet": Terms(note="the code is Apache-2.0, and states no terms for the file"),
    "inception": Terms(note="the code is Apache-2.0; a port of TensorFlow's graph"),
    "interfacegan": Terms("MIT", "unstated", f"the repository that holds the file{_DIRECTION}"),
    "lpips": Terms(
        "BSD-2-Clause", "unstated", "the heads; the trunk was trained on ImageNet, see torchvision"
    ),
    "nvidia_pytorch": _OF_NVIDIA,
    "nvidia_tensorflow": _OF_NVIDIA,
    "psp": _ENCODER,
    "restyle": _ENCODER,
    "rosinality": Terms(
        note="the code is MIT; weights converted from NVIDIA's are for non-commercial use"
    ),
    "styleclip_global": Terms("MIT", "unstated", f"the repository that holds the file{_DIRECTION}"),
    "styleclip_mapper": Terms(note="the code is MIT, and states no terms for the files"),
    "torchvision": Terms(
        "BSD-3-Clause",
        "unstated",
        "the code; weights may have terms derived from ImageNet, which they were trained on",
    ),
    "transfer": Terms(note="the code is GPL-2.0; of files that others trained, ask them"),
    "vgg_face": Terms(note="see the authors' page"),
}
"""By family, of its networks."""

DECODER = Terms(NVIDIA, "no", "the generator inside an encoder's file is NVIDIA's")


def family_terms(family: str, network: str) -> Terms:
    """The terms of a network of a family's file.

    Args:
      family: a key of `TERMS`.
      network: one of its ``NETWORKS``.
    """
    return DECODER if network == "decoder" else TERMS[family]
