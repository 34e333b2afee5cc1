"""How portraits are embedded, as options: what every command that embeds has in common."""

import argparse
from typing import Any

from jaxface.cli.argument_types import seed
from jaxface.cli.settings_options import add_changes_argument
from jaxface.cli.suite_options import add_suite_arguments, fit_for_use
from jaxface.errors import UsageError


def add_alignment_arguments(parser: argparse.ArgumentParser) -> None:
    """How faces are found; shared with `jaxface benchmark input`."""
    parser.add_argument(
        "--align",
        action="store_true",
        help="inputs are photographs: find their faces, cut them out",
    )
    parser.add_argument(
        "--face",
        choices=("all", "largest"),
        help="with --align: every face of a photograph, or only its largest (all)",
    )
    parser.add_argument(
        "--landmarks",
        metavar="FILE",
        help="with --align: a converted landmark network, FAN or face-api's, that places the 68 "
        "points in dlib's boxes (the suite's own face networks, or else dlib's predictor)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        metavar="N",
        help="with --align: processes that look for faces (one a core; 0, none beside this one)",
    )
    parser.add_argument(
        "--any-way-up",
        action="store_true",
        help="with --align: an image without an upright face is turned by quarters and looked "
        "through again, which takes up to four times as long",
    )


def add_method_arguments(parser: argparse.ArgumentParser) -> None:
    """How inputs are embedded; shared with `jaxface demo`, `compile` and `benchmark input`."""
    add_suite_arguments(parser)
    parser.add_argument(
        "--preset",
        default="pie_embedded",
        metavar="NAME",
        help="the method: pie_embedded, pie_embedded_fast, pie_paper, image2stylegan; with PIE's "
        "whole energy pie_embedded_all, pie_paper_all, and without the stage in W each with "
        "_direct added; in Z z_embedded; by the suite's encoder psp, e4e, w_encoder, restyle; with "
        "a tuned generator pti, pti_e4e, pti_embedded, and for the photo suite photo, photo_fast "
        "and PIE's for it photo_pie (pie_embedded)",
    )
    add_changes_argument(
        parser,
        "change a setting of the preset, such as w_plus_steps=500, terms=synthesis,identity "
        "or, of pti, tuning.steps=100",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="what networks compute in; latents, losses and the optimiser are float32 (bfloat16 on "
        "TPUs and on NVIDIA's GPUs since Ampere, else float32)",
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of the random keys (0)")
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="portraits that are embedded together, split over the devices (16 for each, on CPU 4, "
        "or fewer if the memory wants it)",
    )


def alignment_of(arguments: argparse.Namespace) -> Any:
    """The `Alignment` that the arguments of `add_alignment_arguments` ask for, or None."""
    if not arguments.align:
        for name in ("face", "landmarks", "workers", "any_way_up"):
            if getattr(arguments, name) not in (None, False):
                raise UsageError(f"--{name.replace('_', '-')} requires --align")
        return None
    if arguments.workers is not None and arguments.workers < 0:
        raise UsageError(f"--workers: expected 0 or more, got {arguments.workers}")

    from jaxface.jobs.inputs.portraits import Alignment
    from jaxface.media.detection import DlibFaces

    if arguments.landmarks is None:
        find_faces: Any = _detector_of(arguments.suite)
    else:
        from jaxface.media.landmarking import NetworkLandmarks

        find_faces = DlibFaces(landmarks=NetworkLandmarks(arguments.landmarks))
    if arguments.any_way_up:
        from jaxface.media.upright import AnyWayUp

        find_faces = AnyWayUp(find_faces)
    return Alignment(find_faces, arguments.face or "all", arguments.workers)


def _detector_of(suite: str) -> Any:
    """The suite's own networks, where it has them, or dlib."""
    from jaxface import load_suite
    from jaxface.media.detection import DlibFaces
    from jaxface.media.mesh_detection import MeshFaces

    return MeshFaces.of_suite(load_suite(suite)) or DlibFaces()


def inversion_of(
    arguments: argparse.Namespace,
    alignment: Any = None,
    *,
    fleet: Any = None,
    keep_images: bool = True,
    max_pixels: int = 2**27,
    own: tuple[str, Any] | None = None,
) -> Any:
    """The `Inversion` that the arguments of `add_method_arguments` ask for.

    What networks compute in is the fleet's to choose, where there is one, or this process's.

    Args:
      own: the name and the `Inverter` where no preset is named.
    """
    from jaxface import load_suite
    from jaxface.jobs.inversion import Inversion
    from jaxface.methods.presets import preset
    from jaxface.runtime.devices import compute_dtype
    from jaxface.settings import apply_overrides

    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise UsageError(f"--batch-size: expected at least 1, got {arguments.batch_size}")
    if any(change.partition("=")[0].endswith("dtype") for change in arguments.changes):
        raise UsageError("--set dtype: --dtype says what networks compute in")
    name: str = arguments.preset
    chosen = None
    if arguments.preset is None and own is not None:
        name, chosen = own
    settings = apply_overrides(preset(name) if chosen is None else chosen, arguments.changes)
    dtype = arguments.dtype
    if dtype is None and fleet is not None:
        from jaxface.jobs.ray_backend import actors_dtype

        dtype = actors_dtype(fleet)
    elif dtype is None:
        dtype = compute_dtype()
    return Inversion(
        fit_for_use(load_suite(arguments.suite), arguments),
        name,
        settings.computing_in(dtype),
        arguments.seed,
        alignment,
        keep_images,
        max_pixels,
    )
