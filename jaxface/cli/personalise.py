"""`jaxface personalise`: a clip of a person in, an avatar that can be driven out."""

import argparse
import sys
from pathlib import Path

from jaxface.cli.argument_types import seed
from jaxface.cli.clip_options import (
    ALIGNED_ONLY,
    add_clip_reading_arguments,
    clip_alignment_of,
    clip_reading_of,
)
from jaxface.cli.inversion_options import add_alignment_arguments, alignment_of
from jaxface.cli.settings_options import add_changes_argument
from jaxface.cli.suite_options import add_suite_arguments, fit_for_use
from jaxface.errors import UsageError

NAME = "personalise"
HELP = "learn an avatar of a person from a clip"

_EPILOG = """\
CLIP shows one person, best for some twenty seconds with the head turned and the face moved as the
avatar is to do it. Its frames are aligned portraits, or with --align the face is found, followed
and cut out. PVP (Lin et al. 2023): key frames are chosen by pose and expression and embedded, one
generator is tuned to all of them, and two small networks learn to draw every frame from head pose
and expression.

DIR receives avatar/, key_frames.png, held_out.png (frames that were not learned from, beside what
the avatar draws), report.md and report.json, and what the stages keep: the same command again goes
on where a stopped one ended. `jaxface reenact DIR` drives the avatar. See docs/pvp.md.

exit status: 0, the avatar is there; 2, the clip or the call is of no use; 130 and 143, stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("clip", metavar="CLIP", help="a clip, or a folder of numbered images")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the avatar")
    add_suite_arguments(parser)
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="paper, repo (the authors' code), fast, or embedded, for suites without LPIPS "
        "(embedded for such a suite, else fast); pretrained: as embedded, with mappers that begin "
        "with the suite's avatar_prior",
    )
    add_changes_argument(
        parser,
        "change a setting of the preset, such as key_frames.count=100, tuning.steps=30 or "
        "mappers.consistency_weight=0",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="what the generator computes in (bfloat16 on TPUs and on NVIDIA's GPUs since Ampere, "
        "else float32)",
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of random keys (0)")
    parser.add_argument(
        "--mattes",
        metavar="FILE|DIR",
        help="a clip or a folder of images of the same frames, white where the person is: all "
        "else is made black",
    )
    add_alignment_arguments(parser)
    add_clip_reading_arguments(parser.add_argument_group("which frames"))


def run(arguments: argparse.Namespace) -> int:
    if not Path(arguments.clip).exists():
        raise UsageError(f"{arguments.clip}: no such file or folder")
    if arguments.mattes is not None and not Path(arguments.mattes).exists():
        raise UsageError(f"--mattes {arguments.mattes}: no such file or folder")
    if arguments.face is not None:
        raise UsageError("--face is of photographs; of clips --track says who is meant")
    for name in ALIGNED_ONLY:
        if getattr(arguments, name) is not None and not arguments.align:
            raise UsageError(f"--{name.replace('_', '-')} requires --align")
    if arguments.track == "all":
        raise UsageError("--track all: an avatar is of one person")
    if arguments.fps is not None and not Path(arguments.clip).is_dir():
        raise UsageError("--fps is of folders of images; files have their own times")
    if any(change.partition("=")[0].endswith("dtype") for change in arguments.changes):
        raise UsageError("--set dtype: --dtype says what the generator computes in")
    reading, found = clip_reading_of(arguments), alignment_of(arguments)

    import signal

    from jaxface import load_suite
    from jaxface.jobs.outputs.results import ResultsFolder
    from jaxface.jobs.personalisation import (
        PersonalisationJob,
        Source,
        job_description,
        tell_unknown_gaze,
    )
    from jaxface.methods.pvp import pvp_preset
    from jaxface.runtime.devices import compute_dtype, tell_devices
    from jaxface.runtime.stopping import EXIT_STATUS, Stopped, stop_requests
    from jaxface.settings import apply_overrides

    tell_devices()
    suite = fit_for_use(load_suite(arguments.suite), arguments)
    name = arguments.preset or ("fast" if "lpips" in suite else "embedded")
    settings = apply_overrides(pvp_preset(name), arguments.changes)
    settings = settings.computing_in(arguments.dtype or compute_dtype())
    suite.require(settings.roles())
    if any(change.startswith("mappers.gaze_weight=") for change in arguments.changes):
        tell_unknown_gaze(suite, settings)
    alignment = None if found is None else clip_alignment_of(arguments, found, suite)
    source = Source(
        arguments.clip, reading, alignment, arguments.track is not None, arguments.mattes
    )
    out = Path(arguments.out)
    described = job_description(source, suite, settings, seed=arguments.seed)
    with (
        stop_requests((signal.SIGTERM, signal.SIGINT), grace=None) as stop,
        ResultsFolder(out, described, files=()),
    ):
        job = PersonalisationJob(out, source, suite, settings, seed=arguments.seed, stop=stop)
        try:
            report = job.run()
        except Stopped:
            print("jaxface: stopped; the same command goes on from there", file=sys.stderr)
            return 130 if stop.number == signal.SIGINT else EXIT_STATUS
    scores = report["scores"].get("held_out", report["scores"]["training"])
    print(f"avatar:        {out / 'avatar'}")
    print(f"key frames:    {out / 'key_frames.png'}, {report['key_frames']}")
    print(f"report:        {out / 'report.md'}")
    for what, row in scores.items():
        print(f"{row['psnr']:.2f} dB: {what}")
    return 0
