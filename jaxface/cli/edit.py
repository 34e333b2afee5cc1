"""`jaxface edit`: embeddings in, the same portraits with another pose, expression or light out."""

import argparse
import dataclasses
import functools
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxface.cli.clip_options import add_clip_writing_arguments, clip_writing_of, write_clips_of
from jaxface.cli.driver_options import (
    add_driver_arguments,
    with_driver_sound,
)
from jaxface.cli.edit_checks import check_arguments, check_reach
from jaxface.cli.job_options import JobCall, add_job_arguments
from jaxface.cli.suite_options import add_commercial_argument, fit_for_use
from jaxface.errors import UsageError, printable
from jaxface.vocabulary import (
    ANGLES,
    EDITABLE_GROUPS,
    EXPRESSION_NAMES,
    LANDMARKS,
    UNIT_LIMIT,
)

NAME = "edit"
HELP = "change pose, expression, light or other attributes of embedded portraits"

TABLE_ROWS = 40  # a longer table is replaced by a summary

_EPILOG = """\
EMBEDDING is what `jaxface invert` wrote: its output folder, for all of its embeddings, or a file of
latents; or another tool's codes of W or W+ in a .npy, .npz or .pt file, with --suite.
Angles are what the head's pose becomes: positive pitch looks down, positive yaw to the
image's right, positive roll turns anticlockwise. Expressions are in standard deviations from the
neutral face, or in ARKit's units, 0 to 1, with a suite whose direction_motion edits them. With
--relative both are added to what the portrait has. Left and right are the image's. Several edits
are made in the order landmarks, pose, expression, light, directions.

Embeddings of a clip's frames, by the folder, give the clip back: in DIR/clips/, with its times and
its sound, and only the faces changed. See docs/video.md.

DIR receives results.jsonl (one row per embedding), latents/, edits/ and contact_sheet.png, pasted/
with --paste-back, and sequences/ with --frames. What it wrote can be edited again. The same command
again goes on where a stopped one ended; inputs that failed are tried again with --retry-failed.

exit status: 0, every embedding is edited; 1, some are not; 2, the call was wrong; 130, stopped
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("embeddings", nargs="+", metavar="EMBEDDING", help="folder or latents file")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--suite",
        metavar="NAME|DIR",
        help="the networks (those that the embedding was made with, by its file)",
    )
    add_commercial_argument(parser)
    pose = parser.add_argument_group("pose, in degrees")
    for name in ANGLES:
        pose.add_argument(f"--{name}", type=_number, metavar="DEG")
    expression = parser.add_argument_group("expression, in standard deviations or ARKit's units")
    for name in EXPRESSION_NAMES:
        expression.add_argument(f"--{name.replace('_', '-')}", type=_number, metavar="S")
    light = parser.add_argument_group("light")
    light.add_argument(
        "--light",
        metavar="NAME",
        help="where the lamp is: left, above, front, ..., or degrees to the image's right and "
        "upwards, --light=40,-10",
    )
    light.add_argument(
        "--strength", type=_number, metavar="S", help="with --light: 0, ambient, to 1, lamp (0.8)"
    )
    like = parser.add_argument_group("from a reference")
    like.add_argument(
        "--like",
        metavar="IMAGE|DIR",
        help="an aligned portrait to take a group from, or what jaxface invert wrote of a clip, "
        "which drives the embeddings",
    )
    like.add_argument(
        "--group",
        action="append",
        choices=(*EDITABLE_GROUPS, LANDMARKS),
        default=[],
        dest="groups",
        help="with --like: what to take; may be repeated; landmarks by the suite's "
        "latent_difference",
    )
    like.add_argument(
        "--landmarks",
        metavar="FILE",
        help="redraw by these landmarks: 66, 68, 98 or 478 points, text, JSON, .pts or .npy",
    )
    like.add_argument(
        "--landmarks-size",
        type=_number,
        metavar="N",
        help="with --landmarks: pixels per side of the aligned portrait that they are of (shares "
        "of the side, or the generator's)",
    )
    like.add_argument(
        "--proportions",
        choices=("own", "taken"),
        help="of landmarks: the edited face's own, or taken with them (own with --like, which "
        "reads the other face; taken with --landmarks)",
    )
    like.add_argument(
        "--neutral",
        metavar="WHICH",
        help="with a driver: add its difference to its first portrait, to their mean, or to "
        "number N, from 0, to what the embeddings show (become what it shows)",
    )
    add_driver_arguments(like, of="with a driver")
    linear = parser.add_argument_group("linear directions, such as InterFaceGAN's and GANSpace's")
    linear.add_argument(
        "--direction",
        action="append",
        metavar="SET.NAME=S",
        default=[],
        dest="directions",
        help="move S units along a direction of the suite's direction_SET, SET=S where it has one; "
        "or of its direction_matrix: pose.yaw=20 in degrees, expression.smile=1.5 in deviations; "
        "may be repeated",
    )
    linear.add_argument(
        "--rows", metavar="A-B", help="with --direction: only these rows of W+, from 0 (all)"
    )
    parser.add_argument(
        "--relative", action="store_true", help="add angles and expressions to what is there"
    )
    parser.add_argument(
        "--together",
        action="store_true",
        help="edit pose, expression and light in one step of their RigNets, not one after another",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="edit towards targets that no generator has learnt to show, too",
    )
    parser.add_argument(
        "--feedback",
        type=int,
        metavar="N",
        help="rounds of feedback; 0 for none (1; along directions of motion 2)",
    )
    parser.add_argument(
        "--paste-back",
        action="store_true",
        help="put each edit back into the photograph that it was cut from (of invert --align)",
    )
    parser.add_argument(
        "--frames", type=int, metavar="N", help="a sequence of N images to the edit, as GIF"
    )
    parser.add_argument(
        "--seconds", type=_number, metavar="S", help="with --frames: of the way there (2)"
    )
    parser.add_argument(
        "--mp4", action="store_true", help='with --frames: as MP4 too (needs the extra "video")'
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        help="embeddings edited together (16 for each device; on CPU 4)",
    )
    add_clip_writing_arguments(parser)
    add_job_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    # Mistakes in the call are found before JAX is set up and networks are loaded.
    check_arguments(arguments)
    call = JobCall(arguments)
    from jaxface.jobs.inputs.latent_survey import survey_latents
    from jaxface.jobs.inputs.latents import find_latents
    from jaxface.jobs.outputs.edited_clips import check_sources
    from jaxface.media.video import load_av
    from jaxface.runtime.progress import note

    latents = find_latents(arguments.embeddings)
    for remark in latents.remarks:
        note(f"note: {remark}")
    if any(Path(arguments.out).resolve() == Path(each).resolve() for each in arguments.embeddings):
        raise UsageError(f"{arguments.out}: holds the embeddings; name another --out")
    if arguments.mp4:
        load_av()
    folders = any(Path(each).is_dir() for each in arguments.embeddings)
    survey = survey_latents(latents.items)
    drives = arguments.like is not None and Path(arguments.like).is_dir()
    writing = clip_writing_of(arguments, frames=drives or (folders and bool(survey.frames)))
    if writing is not None:
        check_sources([header["path"] for header in survey.frames])
        load_av()
    call.set_up()

    from jaxface import load_suite
    from jaxface.jobs.editing import FEEDBACK, MOTION_FEEDBACK, Animation, Editing

    suite = load_suite(arguments.suite) if arguments.suite else survey.suite()
    fit_for_use(suite, arguments)
    survey.check_shapes(suite)
    targets, reference, asked = _targets(arguments, suite)
    items, driven = latents.items, None
    if drives:
        items, driven, writing = _driven(
            arguments, suite, latents.items, targets.groups, asked, writing
        )
    landmarks = _landmarks(arguments, suite, reference)
    if landmarks is not None:
        asked |= {"proportions": landmarks.proportions}
        if arguments.landmarks is not None:
            asked |= {"landmarks": landmarks.like.points.ravel().tolist()}
    moves = _moves(arguments, suite)
    if moves:
        asked |= {"moves": [dataclasses.asdict(move) for move in moves]}
    if arguments.paste_back:
        asked |= {"paste_back": True}
    if arguments.together:
        asked |= {"together": True}
    animation = None
    if arguments.frames is not None:
        animation = Animation(arguments.frames, arguments.seconds or 2.0, arguments.mp4)
    feedback = FEEDBACK if targets.motion is None else MOTION_FEEDBACK
    if arguments.feedback is not None:
        feedback = arguments.feedback
    editing = Editing(
        suite,
        targets.groups,
        moves,
        asked,
        targets.attributes,
        feedback,
        animation,
        survey.tuned,
        targets.motion,
        arguments.paste_back,
        reference,
        frames=drives or bool(survey.frames),
        keep_unedited=writing is not None,
        driven=driven,
        together=arguments.together,
        landmarks=landmarks,
    )
    if (hint := _hint(survey.presets_for_fit, suite)) is not None:
        note(f"note: {hint}")
    then = None if writing is None else functools.partial(write_clips_of, how=writing)
    return call.run(items, editing, lambda rows: _report(rows, editing), then=then)


def _driven(
    arguments: argparse.Namespace,
    suite: Any,
    items: Sequence[Any],
    targets: dict[str, Any],
    asked: dict[str, Any],
    writing: Any,
) -> tuple[Sequence[Any], Any, Any]:
    """Embeddings that a driver moves, what each becomes, and how the clips are written.

    Its groups are added to `targets`, and what decides them to `asked`.
    """
    import numpy as np

    from jaxface.jobs.inputs.clips import clip_digest
    from jaxface.jobs.inputs.drivers import driven_items, read_driver
    from jaxface.methods import pie

    groups = sorted(set(arguments.groups))
    driver, neutral = read_driver(arguments.like, suite, groups), arguments.neutral
    steady = arguments.steady or 0.0
    if steady:
        driver = driver.smoothed(steady)
    if neutral is not None:
        driver = driver.relative_to(int(neutral) if neutral.isdecimal() else neutral)
    beyond = arguments.beyond or "hold"
    found, wanted = driven_items(items, driver, beyond)
    for group in groups:
        values: Any = np.zeros((1, driver.values[group].shape[1]), np.float32)
        target = pie.Target.of_values(values)
        targets[group] = target.replace(relative=np.float32(neutral is not None))  # type: ignore
    asked |= {
        "driver": clip_digest(driver.clip),
        "portraits": len(driver.times),
        "groups": groups,
        "neutral": neutral,
        "beyond": beyond,
        "steady": steady,
    }
    return found, wanted, with_driver_sound(writing, driver, arguments)


def _hint(presets: Collection[str], suite: Any) -> str | None:
    """What to embed with in place of presets that fit the image alone, where there is a better one.

    Args:
      presets: of embeddings that were made for the fit alone.
      suite: whose edits are to be made.
    """
    if not presets or "reconstruction" not in suite:
        return None
    name = min(presets)
    better = "pie_paper_all" if name.startswith("pie_paper") else "pie_embedded_all"
    return (
        f"these embeddings (--preset {name}) fit the image alone; those of jaxface invert --preset "
        f"{better} take longer, and their edits stay nearer to the person"
    )


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected a finite number, got {text!r}")
    return value


def _targets(arguments: argparse.Namespace, suite: Any) -> tuple[Any, Any, dict[str, Any]]:
    """The `EditTargets`, the `Reference` or None, and what was asked for, JSON-like."""
    from jaxface.jobs.editing import Reference
    from jaxface.media.images import ImageError, read_image, to_square
    from jaxface.methods.edit_targets import STRENGTH, edit_targets
    from jaxface.methods.motion_editing import edits_motion
    from jaxface.runtime.files import sha256

    given = {name: getattr(arguments, name) for name in (*ANGLES, *EXPRESSION_NAMES)}
    values = {name: value for name, value in given.items() if value is not None}
    if values and edits_motion(suite):
        check_reach(arguments, UNIT_LIMIT)
    asked: dict[str, Any] = dict(values)
    asked |= {"relative": True} if arguments.relative else {}
    reference, strength = None, arguments.strength
    if arguments.light is not None:
        strength = STRENGTH if strength is None else strength
        asked |= {"light": arguments.light, "strength": strength}
    if arguments.like is not None and not Path(arguments.like).is_dir():
        try:
            image = to_square(read_image(arguments.like), suite.generator.resolution)
        except ImageError as error:
            raise UsageError(f"--like {arguments.like}: {error}") from error
        asked |= {"like": sha256(arguments.like), "groups": sorted(set(arguments.groups))}
        reference = Reference(Path(arguments.like).name, image.pixels)
    targets = edit_targets(
        suite,
        values,
        relative=arguments.relative,
        light=arguments.light,
        strength=strength,
        like=None if reference is None else reference.pixels,
        groups=[group for group in arguments.groups if group != LANDMARKS],
    )
    return targets, reference, asked


def _landmarks(arguments: argparse.Namespace, suite: Any, reference: Any) -> Any:
    """The `LandmarkWish` of --landmarks, or of --like with --group landmarks; None without."""
    if arguments.landmarks is None and LANDMARKS not in arguments.groups:
        return None
    import jax
    import jax.numpy as jnp

    from jaxface.jobs.editing import LandmarkWish
    from jaxface.media.landmark_files import read_landmarks
    from jaxface.methods.latent_difference.redrawing import Seen, redrawing_of, see
    from jaxface.morphable import FaceParameters

    size = suite.generator.resolution
    points: Any = None
    if arguments.landmarks is not None:
        points = read_landmarks(arguments.landmarks, arguments.landmarks_size, size)
    networks = redrawing_of(suite)
    if points is None:
        like = jax.device_get(jax.jit(see)(networks, jnp.asarray(reference.pixels)[None]))
        return LandmarkWish(reference.name, like, arguments.proportions or "own")
    # Of points alone the face is not known, and "taken" does not ask for it.
    face = FaceParameters.from_flat(jnp.zeros((1, 257)))
    like = jax.device_get(Seen(jnp.asarray(points)[None], face))
    return LandmarkWish(Path(str(arguments.landmarks)).name, like, "taken")


def _moves(arguments: argparse.Namespace, suite: Any) -> list[Any]:
    """The moves that `--direction` asks for, each tried, so that none fails later."""
    import jax.numpy as jnp

    from jaxface.errors import SuiteError
    from jaxface.methods.direction_matrix import direction_sets
    from jaxface.methods.linear_directions import Move

    config = suite.generator.config
    rows, moves = _rows(arguments.rows), []
    for text in arguments.directions:
        wanted, _, strength = text.rpartition("=")
        key, _, name = wanted.partition(".")
        try:
            value = _number(strength)
        except (ValueError, argparse.ArgumentTypeError) as error:
            raise UsageError(
                f"--direction: expected such as age.boundary=2, got {text!r}"
            ) from error
        try:
            found = direction_sets(suite)
            if key not in found:
                raise UsageError(
                    f"--direction {text}: the suite has directions {', '.join(found)}, no {key!r}"
                )
            names: Any = found[key].names
            if not name and len(names) > 1:
                raise UsageError(f"--direction {text}: say which: {', '.join(names)}")
            move = Move(key, name or names[0], value, rows)
            trial: Any = jnp.zeros((1, config.num_ws, config.w_dim))
            found[key].move(trial, move.name, value, rows=rows)
        except (SuiteError, ValueError) as error:
            raise UsageError(f"--direction {text}: {error}") from error
        moves.append(move)
    return moves


def _rows(text: str | None) -> tuple[int, ...] | None:
    """Rows of W+ from such as "0-3" or "2"; None for all."""
    if text is None:
        return None
    first, _, last = text.partition("-")
    try:
        rows = tuple(range(int(first), int(last or first) + 1))
    except ValueError:
        rows = ()
    if not rows:
        raise UsageError(f"--rows: expected such as 0-3, got {text!r}")
    return rows


def _report(rows: Sequence[Mapping[str, Any]], editing: Any) -> str:
    """A line for each row, or for those that failed where there are many, and a summary."""
    from jaxface.jobs.edit_outcomes import IDENTITY, MISSED, identity_told
    from jaxface.jobs.outputs import outliers

    ok = [row for row in rows if row["status"] == "ok"]
    remarks = outliers.outliers(ok, IDENTITY)
    shown = rows if len(rows) <= TABLE_ROWS else [row for row in rows if row["status"] != "ok"]
    width = max((len(row["id"]) for row in shown[:TABLE_ROWS]), default=0)
    lines = []
    for row in shown[:TABLE_ROWS]:
        if row["status"] == "ok":
            told = [*row["notes"], *([remarks[row["id"]]] if row["id"] in remarks else [])]
            notes = "".join(f"  ({note})" for note in told)
            same = identity_told(row)
            lines.append(f"{row['id']:<{width}}  ok  {editing.described(row)}{same}{notes}")
        else:
            lines.append(f"{row['id']:<{width}}  {row['status']}  {row['reason']}")
    lines = [printable(line, lines=False) for line in lines]
    if len(shown) > TABLE_ROWS:
        lines.append(f"... and {len(shown) - TABLE_ROWS} more that are not ok")
    summary = f"{len(ok)} of {len(rows)} edited"
    if missed := sum(any(note.startswith(MISSED) for note in row["notes"]) for row in ok):
        summary += f", {missed} missed their targets"
    return "\n".join([*lines, "", summary + outliers.summary(ok, IDENTITY)])
