"""How clips are read, their faces followed, and clips written, as options of commands."""

import argparse
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from jaxface.errors import UsageError

CLIP_ONLY = (
    *("fps", "start", "end", "every", "deinterlace", "allow_truncated"),
    *("coherent", "smoothness"),
)
ALIGNED_ONLY = ("track", "smoothing", "max_gap")


def add_clip_arguments(parser: argparse.ArgumentParser) -> None:
    """Which inputs are clips, which of their frames are read, and whose face is meant."""
    clips = parser.add_argument_group("clips, whose frames are the inputs")
    clips.add_argument(
        "--clip",
        action="store_true",
        help="every INPUT is a clip, folders of numbered images too (files named as video are)",
    )
    add_clip_reading_arguments(clips)
    clips.add_argument(
        "--coherent",
        metavar="DIR",
        help="an earlier --out of the same clips: a frame begins in W+, at the mean of its face's "
        "codes there (where the method begins)",
    )
    clips.add_argument(
        "--smoothness",
        type=float,
        metavar="X",
        help="with --coherent: weight of the mean squared distance of W+ to the codes there, "
        "averaged over 0.12 s (0)",
    )


def add_clip_reading_arguments(clips: Any) -> None:
    """Which frames of clips are read, and whose face is meant, as options of a group."""
    clips.add_argument(
        "--fps",
        type=_fraction,
        metavar="N",
        help="frames a second of a folder, such as 25, 30/1.001",
    )
    clips.add_argument(
        "--start", type=_fraction, metavar="S", help="seconds after the first frame (0)"
    )
    clips.add_argument("--end", type=_fraction, metavar="S", help="the same (the clip's end)")
    clips.add_argument("--every", type=int, metavar="N", help="take each n-th frame (1)")
    clips.add_argument("--deinterlace", action="store_true", help="of interlaced clips")
    clips.add_argument(
        "--allow-truncated",
        action="store_true",
        help="a clip that ends early is no failure: its good frames are the clip",
    )
    clips.add_argument(
        "--track",
        metavar="WHO",
        help="with --align: largest over the clip, all, N from left to right, from 1, or a "
        "photograph of the person (largest)",
    )
    clips.add_argument(
        "--smoothing",
        metavar="C,A",
        help="with --align: seconds over which a face's place, and its size and direction are "
        "averaged (0.04,0.12; 0,0 for none)",
    )
    clips.add_argument(
        "--max-gap",
        type=_fraction,
        metavar="S",
        help="with --align: seconds for which a face that is not seen is filled in (0.2)",
    )


def clips_of(arguments: argparse.Namespace) -> tuple[list[str], Any]:
    """The clips among the inputs and how they are read; no clips and None for images.

    Raises:
      UsageError: options that do not go together, or clips and images in one call.
    """
    from jaxface.jobs.inputs.clips import part_clips

    clips, others = part_clips(arguments.inputs, all_clips=arguments.clip)
    if not clips:
        for name in (*CLIP_ONLY, *ALIGNED_ONLY, *(["clip"] if arguments.clip else [])):
            if getattr(arguments, name) not in (None, False):
                raise UsageError(f"--{name.replace('_', '-')} is of clips, and no INPUT is one")
        return [], None
    if others or arguments.manifest:
        other = (others or arguments.manifest)[0]
        raise UsageError(f"{clips[0]} is a clip and {other} is not: give them different --out")
    if arguments.face is not None:
        raise UsageError("--face is of photographs; of clips --track says who is meant")
    for name in ALIGNED_ONLY:
        if getattr(arguments, name) is not None and not arguments.align:
            raise UsageError(f"--{name.replace('_', '-')} requires --align")
    if arguments.fps is not None and not any(Path(clip).is_dir() for clip in clips):
        raise UsageError("--fps is of folders of images; files have their own times")
    return clips, clip_reading_of(arguments)


def clip_reading_of(arguments: argparse.Namespace) -> Any:
    """The `ClipReading` that the arguments of `add_clip_arguments` ask for.

    Raises:
      UsageError: numbers that make no part of a clip.
    """
    from jaxface.jobs.inputs.clips import ClipReading

    if arguments.every is not None and arguments.every < 1:
        raise UsageError(f"--every: expected at least 1, got {arguments.every}")
    reading = ClipReading(
        fps=arguments.fps,
        start=arguments.start or Fraction(0),
        end=arguments.end,
        every=arguments.every or 1,
        deinterlace=arguments.deinterlace,
        allow_truncated=arguments.allow_truncated,
    )
    try:
        reading.span  # noqa: B018 (which refuses parts that are none)
    except ValueError as error:
        raise UsageError(f"--start, --end: {error}") from error
    return reading


def clip_alignment_of(arguments: argparse.Namespace, found: Any, suite: Any) -> Any:
    """The `ClipAlignment` that the arguments ask for.

    Args:
      arguments: of `add_clip_arguments`.
      found: the `Alignment`, how faces are found.
      suite: whose network of identity tells persons apart.
    """
    import dataclasses

    from jaxface.jobs.inputs.clip_survey import ClipAlignment
    from jaxface.jobs.inputs.likeness import Likeness
    from jaxface.jobs.inputs.workers import num_cores
    from jaxface.media.following.smoothing import Smoothing
    from jaxface.media.following.tracks import Matching

    if found.workers is None:
        found = dataclasses.replace(found, workers=num_cores())
    likeness = Likeness.of_suite(suite)
    who, told = _track(arguments.track or "largest", found, likeness)
    matching, smoothing = Matching(), Smoothing()
    if arguments.max_gap is not None:
        matching = Matching(max_gap=float(arguments.max_gap))
    if arguments.smoothing is not None:
        try:
            center, axes = map(float, arguments.smoothing.split(","))
            smoothing = Smoothing(center, axes)
        except ValueError as error:
            raise UsageError(
                f"--smoothing: expected two numbers from 0 on, such as 0.04,0.12; got "
                f"{arguments.smoothing!r}"
            ) from error
    return ClipAlignment(found, who, told, matching, smoothing, likeness)


def coherence_of(arguments: argparse.Namespace, inversion: Any, items: Sequence[Any]) -> Any:
    """The `Coherence` that the arguments ask for, or None.

    Args:
      arguments: of `add_clip_arguments`.
      inversion: the `Inversion` that it is for.
      items: its frames.

    Raises:
      UsageError: options that do not go together, or codes of other clips or another generator.
    """
    smoothness = 0.0 if arguments.smoothness is None else arguments.smoothness
    if arguments.coherent is None:
        if arguments.smoothness is not None:
            raise UsageError("--smoothness requires --coherent")
        return None
    if not 0 <= smoothness < float("inf"):
        raise UsageError(f"--smoothness: expected 0 or more, got {smoothness}")

    from jaxface.jobs.inputs.coherence import read_coherence
    from jaxface.methods.coherent import has_stage_in_w_plus

    config = inversion.suite.generator.config
    if not has_stage_in_w_plus(inversion.settings.procedure(config)):
        raise UsageError(f"--coherent: {inversion.preset} as it is set has no stage in W+")
    found = read_coherence(arguments.coherent, (config.num_ws, config.w_dim), smoothness)
    found.check({item.columns["frame"]["clip"] for item in items if "frame" in item.columns})
    return found


def add_clip_writing_arguments(parser: argparse.ArgumentParser) -> None:
    """How edited clips are written; see `clip_writing_of`."""
    clips = parser.add_argument_group("clips, of embeddings that are a clip's frames")
    clips.add_argument(
        "--clip-format",
        choices=("mp4", "mov", "mkv", "webm", "png"),
        help="what DIR/clips/ receives; png: a folder of images (the source's, or mp4)",
    )
    clips.add_argument("--no-audio", action="store_true", help="leave the source's sound out")
    clips.add_argument(
        "--rate",
        type=_fraction,
        metavar="N",
        help="a constant rate, such as 25, 30/1.001: frames are chosen by their times (the "
        "source's times)",
    )
    clips.add_argument(
        "--lossless",
        action="store_true",
        help="H.264 of RGB without any loss, mkv or mp4, for programs that read it again",
    )


def clip_writing_of(arguments: argparse.Namespace, *, frames: bool) -> Any:
    """The `ClipWriting` that the arguments ask for; None where no embedding is of a frame.

    Args:
      arguments: of `add_clip_writing_arguments`.
      frames: whether there are frames.

    Raises:
      UsageError: options that do not go together.
    """
    given = [n for n in ("clip_format", "no_audio", "rate", "lossless") if getattr(arguments, n)]
    if not frames:
        if given:
            name = given[0].replace("_", "-")
            raise UsageError(f"--{name}: no folder of embeddings is of a clip's frames")
        return None
    if arguments.rate == 0:
        raise UsageError("--rate: expected more than 0 frames a second")
    if arguments.lossless and arguments.clip_format not in (None, "mp4", "mkv"):
        raise UsageError("--lossless: of --clip-format mkv and mp4; folders of PNGs always are")
    if arguments.shard_size is not None:
        raise UsageError("--shard-size: edited clips are put together in one folder; leave it out")

    from jaxface.jobs.outputs.edited_clips import ClipWriting
    from jaxface.media.video.writing import Encoding

    return ClipWriting(
        container=arguments.clip_format,
        sound=not arguments.no_audio,
        rate=arguments.rate,
        encoding=Encoding(lossless=arguments.lossless),
    )


def _track(text: str, found: Any, likeness: Any) -> tuple[Any, Any]:
    """Who is meant, and that as JSON holds it."""
    from jaxface.runtime.files import sha256

    if text in ("largest", "all"):
        return text, text
    if text.isdecimal():
        if int(text) < 1:
            raise UsageError("--track: faces are counted from 1, from left to right")
        return int(text) - 1, int(text)
    if not Path(text).is_file():
        raise UsageError(
            f"--track: expected largest, all, a number, or a photograph's file; got {text!r}"
        )
    if likeness is None:
        raise UsageError("--track: the suite has no network that could compare a photograph")
    return likeness.of_image(text, found.find_faces), {"like": sha256(text)}


def _fraction(text: str) -> Fraction:
    """A number, exactly as it is written: 0.2, 25, 30000/1001, 30/1.001."""
    above, _, below = text.partition("/")
    try:
        value = Fraction(above) / Fraction(below or "1")
    except (ValueError, ZeroDivisionError) as error:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from error
    if value < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {text!r}")
    return value


def frames_of(clips: Sequence[str], inversion: Any, *, folder: str) -> Sequence[Any]:
    """The items of an `Inversion` of clips; reads them."""
    from jaxface.jobs.inputs.clip_survey import frame_items
    from jaxface.jobs.inputs.items import find_clips

    return frame_items(
        find_clips(clips),
        inversion.clips,
        inversion.alignment,
        size=inversion.suite.generator.resolution,
        folder=folder,
    )


def write_clips_of(rows: Sequence[Any], results: Any, *, how: Any, stop: Any) -> list[str]:
    """Writes the clips that the edits are of; a line for each."""
    from jaxface.jobs.outputs.edited_clips import write_clips
    from jaxface.runtime.progress import note

    lines = []
    for clip in write_clips(rows, results, how, stop=stop):
        for remark in clip.notes:
            note(f"note: {clip.path}: {remark}")
        lines.append(f"clip:          {clip.path}, {clip.edited} frames edited of {clip.frames}")
    return lines
