"""`jaxface reenact`: a driver's motion in, the same portraits moving as it does out."""

import argparse
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxface.cli.argument_types import seed
from jaxface.cli.clip_options import (
    ALIGNED_ONLY,
    add_clip_reading_arguments,
    add_clip_writing_arguments,
    clip_alignment_of,
    clip_reading_of,
    clip_writing_of,
    write_clips_of,
)
from jaxface.cli.driver_options import (
    add_driver_arguments,
    check_driver_arguments,
    with_driver_sound,
)
from jaxface.cli.inversion_options import add_alignment_arguments, alignment_of, inversion_of
from jaxface.cli.job_options import JobCall, add_job_arguments
from jaxface.cli.reenact_avatar import (
    add_avatar_arguments,
    is_avatar,
    reenact_avatar,
    refuse_avatar_options,
)
from jaxface.cli.reenact_drivers import (
    check_driven_by_images,
    check_identity,
    random_path,
    read_driven,
    retargeting_of,
    write_random_portrait,
)
from jaxface.cli.settings_options import add_changes_argument
from jaxface.cli.suite_options import add_commercial_argument, fit_for_use
from jaxface.errors import UsageError

NAME = "reenact"
HELP = "make portraits move as a clip, an image or a recording does"

TABLE_ROWS = 40  # a longer table is replaced by a summary
SOURCES = "sources"

_EPILOG = """\
SOURCE is a photograph or a folder of them, a clip, what `jaxface invert` wrote (its output folder
or a file of latents), or an avatar of `jaxface personalise` (see docs/pvp.md). Photographs and
clips are embedded first, into DIR/sources/, as `jaxface invert` does; with --align their faces are
found, cut out, and put back into the clips that come out. A photograph of several faces gives a
result for each.

The driver is a clip, an image, a folder of numbered images (with --fps), the output folder of
`jaxface invert` of a clip, a motion template (--save-motion of an earlier call), or a recording of
Live Link Face (CSV). With --motion relative its changes are added to what the source shows.
--regions and --gain say what follows: pose, expression, mouth, eyes or all. --method transfer is
driven by the images themselves: none of these options and no file of motion is for it.

DIR receives results.jsonl (a row for each frame), latents/, edits/, contact_sheet.png, and, unless
the driver is one image, clips/ with the driver's times and sound. Of a source clip the times and
the sound stay, and the driver is resampled by time. The same command again goes on where a stopped
one ended. See docs/reenactment.md.

exit status: 0, every frame is drawn; 1, some are not; 2, the call was wrong; 130, stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="who is to move")
    parser.add_argument(
        "--driving", metavar="FILE|DIR", help="what moves them (an avatar without: its own clip)"
    )
    parser.add_argument(
        "--method",
        default="pie_rignet",
        metavar="NAME",
        help="how: a name of jaxface.methods.reenactment_presets (pie_rignet)",
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--identity",
        choices=("random",),
        help="with --method transfer, in place of a SOURCE: a person who does not exist, of --seed",
    )
    add_commercial_argument(parser)
    motion = parser.add_argument_group("motion")
    motion.add_argument(
        "--motion",
        choices=("absolute", "relative"),
        default="absolute",
        help="become what the driver shows, or add the driver's changes (absolute)",
    )
    motion.add_argument(
        "--neutral-first",
        action="store_true",
        help="with --motion relative: count changes from the driver's first frame (from the mean)",
    )
    motion.add_argument(
        "--regions",
        default="all",
        metavar="NAME,...",
        help="what follows: pose, expression, mouth, eyes, all (all)",
    )
    motion.add_argument(
        "--gain",
        action="append",
        default=[],
        dest="gains",
        metavar="REGION=G",
        help="so many times the driver's motion in a region, such as pose=1.2; may be repeated",
    )
    motion.add_argument(
        "--save-motion",
        metavar="FILE",
        help="write the driver's motion alone as a template (safetensors); without a SOURCE "
        "nothing else is done",
    )
    add_driver_arguments(motion, of="with a driving clip")
    embedding = parser.add_argument_group("sources that are embedded first, see jaxface invert")
    embedding.add_argument(
        "--suite",
        metavar="NAME|DIR",
        help="the networks (those that embeddings were made with, else embedded)",
    )
    embedding.add_argument("--preset", metavar="NAME", help="how they are embedded (the method's)")
    add_changes_argument(embedding, "change a setting of the preset")
    embedding.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="what networks compute in while sources are embedded",
    )
    embedding.add_argument("--seed", type=seed, default=0, metavar="N", help="of random keys (0)")
    add_alignment_arguments(parser)
    add_avatar_arguments(parser)
    add_clip_reading_arguments(parser.add_argument_group("a driving clip"))
    parser.add_argument(
        "--paste-back",
        action="store_true",
        help="with a driver of one image: put results back into the photographs (of --align)",
    )
    parser.add_argument(
        "--gif", action="store_true", help="the aligned frames as DIR/sequences/*.gif, too"
    )
    parser.add_argument(
        "--batch-size", type=int, metavar="N", help="frames drawn together (16; on CPU 8)"
    )
    add_clip_writing_arguments(parser)
    add_job_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    # Mistakes in the call are found before JAX is set up and networks are loaded.
    if any(map(is_avatar, arguments.sources)):
        return reenact_avatar(arguments, add_arguments)
    refuse_avatar_options(arguments)
    _check(arguments)
    if arguments.identity is not None:
        arguments.sources = [str(random_path(arguments))]
    kinds = _kinds(arguments.sources)
    if not (kinds["image"] or kinds["clip"]):
        for name in ("preset", "dtype", "changes"):
            if getattr(arguments, name):
                option = "set" if name == "changes" else name
                raise UsageError(f"--{option} is of sources that are embedded, and no SOURCE is")
    reading, found = clip_reading_of(arguments), alignment_of(_with_suite(arguments))
    call = JobCall(arguments)
    call.set_up()

    from jaxface import load_suite
    from jaxface.jobs.driven_task import frames_of
    from jaxface.jobs.inputs.driving import driving_notes, is_embedded, is_motion_file
    from jaxface.jobs.inputs.latent_survey import survey_latents
    from jaxface.methods.reenactment_presets import is_image_driven, mover
    from jaxface.runtime.progress import note

    method: Any = mover(arguments.method, "--motion relative")
    if is_image_driven(method):
        check_driven_by_images(arguments)
    else:
        method = method.following(retargeting_of(arguments).groups)
    given = _survey_of(kinds["embedding"])
    of_embeddings = not arguments.suite and kinds["embedding"]
    opened = given.suite() if of_embeddings else load_suite(arguments.suite or "embedded")
    arguments.suite = opened.name
    suite = fit_for_use(opened, arguments)
    suite.require(method.driving_roles())
    driver_alignment = found
    if arguments.identity is not None:
        write_random_portrait(arguments, suite, method)
        found = None  # of the source, which is aligned
    if driver_alignment is not None and not is_motion_file(arguments.driving):
        driver_alignment = clip_alignment_of(arguments, driver_alignment, suite)
    driven = read_driven(
        arguments,
        suite,
        method,
        reading=reading,
        alignment=None if is_embedded(arguments.driving) else driver_alignment,
    )
    driving = driven.driving
    clips = [*kinds["clip"], *dict.fromkeys(header["path"] for header in given.frames)]
    for remark in (*driven.remarks, *driving_notes(driving, clips)):
        note(f"note: {remark}")
    if arguments.save_motion is not None:
        from jaxface.jobs.inputs.motion_files import write_motion

        write_motion(arguments.save_motion, driving.whole, driving.driver.times)
        print(f"motion:        {arguments.save_motion}, {len(driving.driver.times)} frames")
        if not arguments.sources:
            return 0

    if kinds["image"] or kinds["clip"]:
        status = _invert(arguments, call, kinds, method, found)
        if status > 1:  # stopped
            return status
    subjects, failed = _embedded(arguments, kinds)
    survey = survey_latents(subjects)
    survey.check_shapes(suite)
    frames = frames_of(subjects, driving, arguments.beyond or "hold")
    writing = _writing(arguments, survey, driving)
    task = driven.task(
        frames,
        {
            "beyond": arguments.beyond or "hold",
            "steady": arguments.steady or 0.0,
            "paste_back": arguments.paste_back,
        },
        arguments.paste_back,
        keep_unedited=writing is not None and survey.aligned,
    )
    then = None if writing is None else functools.partial(_write, how=writing, gif=arguments.gif)
    return call.run([*failed, *frames.items], task, lambda rows: _report(rows, task), then=then)


def _check(arguments: argparse.Namespace) -> None:
    from jaxface.jobs.inputs.items import matching_paths

    if arguments.driving is None:
        raise UsageError("--driving FILE is missing: what moves the SOURCE")
    check_identity(arguments)
    if not arguments.sources and arguments.save_motion is None and arguments.identity is None:
        raise UsageError("no SOURCE given; name who is to move (or --save-motion FILE alone)")
    if (arguments.sources or arguments.identity is not None) and arguments.out is None:
        raise UsageError("--out DIR is missing: the folder for the results")
    arguments.sources = [str(path) for each in arguments.sources for path in matching_paths(each)]
    if arguments.shard_size is not None:
        raise UsageError(
            "--shard-size: frames are put together in one folder; embed sources in shards with "
            "jaxface invert, merge them, and name that folder as SOURCE"
        )
    if arguments.batch_size is not None and arguments.batch_size < 1:
        raise UsageError(f"--batch-size: expected at least 1, got {arguments.batch_size}")
    check_driver_arguments(arguments)
    for name in ALIGNED_ONLY:
        if getattr(arguments, name) is not None and not arguments.align:
            raise UsageError(f"--{name.replace('_', '-')} requires --align")
    _check_reading(arguments)
    out = Path(arguments.out or ".").resolve()
    if arguments.out and any(Path(each).resolve() == out for each in arguments.sources):
        raise UsageError(f"{arguments.out}: holds the embeddings; name another --out")
    retargeting_of(arguments)


def _check_reading(arguments: argparse.Namespace) -> None:
    """Refuses options of clips that the driver has no use for."""
    from jaxface.jobs.inputs.driving import is_clip, is_embedded

    driving = arguments.driving
    recording, folder = driving.lower().endswith(".csv"), Path(driving).is_dir()
    clip = is_clip(driving) and not is_embedded(driving)
    if arguments.fps is not None and not (recording or (folder and clip)):
        raise UsageError("--fps is of folders of images and of recordings (CSV)")
    for name in ("start", "end", "every", "deinterlace", "allow_truncated"):
        if getattr(arguments, name) not in (None, False) and not clip:
            raise UsageError(f"--{name.replace('_', '-')} is of a driving clip")


def _kinds(sources: Sequence[str]) -> dict[str, list[str]]:
    """The sources by what they are: "embedding", "clip", "image".

    Raises:
      UsageError: one is motion, which has no face, or clips are named beside others.
    """
    from jaxface.jobs.inputs.clips import CLIP_SUFFIXES
    from jaxface.jobs.inputs.driving import is_embedded
    from jaxface.jobs.inputs.foreign_latents import SUFFIXES
    from jaxface.jobs.inputs.motion_files import is_motion_file

    kinds: dict[str, list[str]] = {"embedding": [], "clip": [], "image": []}
    for source in sources:
        suffix = Path(source).suffix.lower()
        if is_motion_file(source):
            raise UsageError(
                f"{source}: holds motion and no face, so it cannot be a SOURCE; it drives others "
                f"with --driving {source}"
            )
        if is_embedded(source) or suffix in {*SUFFIXES, ".safetensors"}:
            kinds["embedding"].append(source)
        elif suffix in CLIP_SUFFIXES:
            kinds["clip"].append(source)
        else:
            kinds["image"].append(source)
    if kinds["clip"] and (kinds["image"] or kinds["embedding"]):
        other = (kinds["image"] + kinds["embedding"])[0]
        raise UsageError(
            f"{kinds['clip'][0]} is a clip and {other} is not: give them different --out"
        )
    return kinds


def _with_suite(arguments: argparse.Namespace) -> argparse.Namespace:
    """The arguments with the suite whose networks would find faces."""
    return argparse.Namespace(**{**vars(arguments), "suite": arguments.suite or "embedded"})


def _survey_of(embeddings: Sequence[str]) -> Any:
    """What the embeddings among the sources say together."""
    from jaxface.jobs.inputs.latent_survey import survey_latents
    from jaxface.jobs.inputs.latents import find_latents

    return survey_latents(find_latents(embeddings).items if embeddings else [])


def _embedded(
    arguments: argparse.Namespace, kinds: Mapping[str, Sequence[str]]
) -> tuple[list[Any], list[Any]]:
    """The subjects' embeddings, and items that stand for sources that have none."""
    from jaxface.jobs.inputs.latents import failed_inputs, find_latents
    from jaxface.runtime.progress import note

    named, failed = list(kinds["embedding"]), []
    if kinds["image"] or kinds["clip"]:
        folder = Path(arguments.out) / SOURCES
        failed = failed_inputs(folder)
        if _ok_rows(folder):
            named.append(str(folder))
    if not named:
        return [], failed
    latents = find_latents(named)
    for remark in latents.remarks:
        note(f"note: {remark}")
    return list(latents.items), failed


def _ok_rows(folder: Path) -> list[Any]:
    from jaxface.jobs.outputs.rows import rows_in

    path = folder / "results.jsonl"
    return [row for row in rows_in(path.read_bytes(), str(path)) if row["status"] == "ok"]


def _invert(
    arguments: argparse.Namespace,
    call: JobCall,
    kinds: Mapping[str, Sequence[str]],
    method: Any,
    found: Any,
) -> int:
    """Embeds photographs or clips into DIR/sources, as `jaxface invert` does; its exit status."""
    from jaxface.cli.clip_options import frames_of
    from jaxface.cli.invert import report
    from jaxface.jobs.inputs.clips import ClipReading
    from jaxface.jobs.inputs.items import find_inputs
    from jaxface.runtime.progress import note

    folder = Path(arguments.out) / SOURCES
    inversion = inversion_of(arguments, found, own=(arguments.method, method.inversion))
    if kinds["clip"]:
        alignment = found
        if found is not None:
            whole = {"track": None, "smoothing": None, "max_gap": None}
            alignment = clip_alignment_of(
                argparse.Namespace(**{**vars(arguments), **whole}), found, inversion.suite
            )
        inversion = dataclasses.replace(inversion, alignment=alignment, clips=ClipReading())
        items = frames_of(kinds["clip"], inversion, folder=str(folder))
    else:
        inputs = find_inputs(kinds["image"], outside=arguments.out)
        items = inputs.items
        for remark in inputs.remarks:
            note(f"note: {remark}")
    return call.run(items, inversion, report, out=folder)


def _writing(arguments: argparse.Namespace, survey: Any, driving: Any) -> Any:
    """The `ClipWriting` of what comes out; None for single images."""
    from jaxface.jobs.outputs.edited_clips import PNG, check_sources
    from jaxface.media.video import load_av

    clips = bool(survey.frames)
    moving = driving.moves or clips
    for name in ("beyond", "audio"):
        if getattr(arguments, name) is not None and not clips:
            raise UsageError(f"--{name} is of source clips, and no SOURCE is one")
    if moving and arguments.paste_back:
        raise UsageError("--paste-back is of single images; into clips faces are put back anyway")
    writing = clip_writing_of(arguments, frames=moving)
    if writing is None:
        if arguments.gif:
            raise UsageError("--gif: the driver is one image, and so are the results")
        return None
    check_sources([header["path"] for header in survey.frames])
    if writing.container != PNG:
        load_av()
    if not driving.driver.clip:
        if arguments.audio == "driver":
            raise UsageError("--audio driver: a file of motion has no sound")
        return writing
    return with_driver_sound(writing, driving.driver, arguments)


def _write(rows: Sequence[Any], results: Any, *, how: Any, gif: bool, stop: Any) -> list[str]:
    """Writes the clips, and their GIFs; a line for each."""
    from jaxface.jobs.outputs.gifs import write_gifs

    lines = write_clips_of(rows, results, how=how, stop=stop)
    return lines + (list(write_gifs(rows, results)) if gif else [])


def _report(rows: Sequence[Mapping[str, Any]], task: Any) -> str:
    """A line for each subject, or for those that failed where there are many, and a summary."""
    ok = [row for row in rows if row["status"] == "ok"]
    wrong = [row for row in rows if row["status"] != "ok"]
    lines = [f"{row['id']}  {row['status']}  {row['reason']}" for row in wrong[:TABLE_ROWS]]
    if len(wrong) > TABLE_ROWS:
        lines.append(f"... and {len(wrong) - TABLE_ROWS} more that are not ok")
    subjects: dict[str, list[Mapping[str, Any]]] = {}
    for row in ok:
        subjects.setdefault(row["path"], []).append(row)
    if len(subjects) <= TABLE_ROWS:
        for found in subjects.values():
            what = task.described(found[0]) if len(found) == 1 else task.span(found)
            name = found[0]["id"] if len(found) == 1 else found[0]["id"].rpartition("/")[0]
            lines.append(", ".join(filter(None, (f"{name}  ok  {len(found)} frames", what))))
    seconds = sum(row["seconds"] for row in ok)
    speed = f", {len(ok) / seconds:.1f} frames/s" if seconds > 0 and math.isfinite(seconds) else ""
    return "\n".join([*lines, "", f"{len(ok)} of {len(rows)} frames drawn{speed}"])
