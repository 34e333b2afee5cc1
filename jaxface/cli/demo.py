"""`jaxface demo`: what a suite can do, on the portraits that ship with the package.

Renders are embedded, and where the suite can edit them turned and lit from another side, with a
short animation; photographs come last. With a suite for photographs, one that finds faces itself:
the photographs alone, aligned; then `jaxface edit` where the suite has directions of motion, put
back into the photographs.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jaxface
from jaxface.cli import edit, invert
from jaxface.cli.inversion_options import add_method_arguments

NAME = "demo"
HELP = "embed and edit the portraits that ship with the package, and show the result"

SAMPLES = Path(jaxface.__file__).parent / "assets" / "samples"
PHOTOGRAPHS = "*.jpg"
TURN = ("--yaw", "12")
SMILE = ("--smile", "0.6", "--paste-back")
"""What is done to photographs: heads turn; one smiles less, the other more, and that is put back. A
head that turned does not cover the hair that it had, so it is not."""
RENDER_EDIT = ("--yaw", "25", "--frames", "9", "--seconds", "1.5")
"""What is done to some of the renders."""
EDITED_RENDERS = 4
SHEET_SIDE = 384
"""Pixels of a photograph on the sheet."""
EDITED, TURNED = "edited", "turned"
"""The folders of it, inside the demo's."""
WHY = (
    "This suite has seen renders only, so a photograph comes back as its nearest rendered "
    "relative. With a suite for photographs (docs/photo_suite.md): jaxface demo --suite DIR"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", default="jaxface-demo", metavar="DIR", help="folder for the results (jaxface-demo)"
    )
    add_method_arguments(parser)
    parser.set_defaults(preset=None)


def run(arguments: argparse.Namespace) -> int:
    from jaxface import load_suite
    from jaxface.media.mesh_detection import MeshFaces
    from jaxface.methods.motion_editing import edits_motion

    suite = load_suite(arguments.suite)
    out = Path(arguments.out)
    if MeshFaces.of_suite(suite) is None:
        arguments.preset = arguments.preset or _preset(suite)
        return _of_renders(suite, out, arguments)
    arguments.preset = arguments.preset or "photo_fast"
    return _of_photographs(out, arguments, edited=edits_motion(suite))


def _preset(suite: Any) -> str:
    """Of renders: the one of seconds, where the suite has what it begins with."""
    return "pie_embedded_fast" if "encoder" in suite else "pie_embedded"


def _of_renders(suite: Any, out: Path, arguments: argparse.Namespace) -> int:
    """The demo of a suite that was trained on renders."""
    options = _parsed(invert, [str(SAMPLES), "--out", arguments.out], arguments)
    status = invert.embed(options, lambda rows: invert.report(sorted(rows, key=_photographs_last)))
    if status != 0:
        return status
    rows = sorted(_rows(out), key=_photographs_last)
    edited: list[dict[str, Any]] = []
    if {"reconstruction", "rignet_pose"} <= suite.files.keys():
        latents = [str(out / row["latents"]) for row in rows[:EDITED_RENDERS]]
        call = [*latents, "--out", str(out / EDITED), "--suite", arguments.suite, *RENDER_EDIT]
        status = edit.run(_parsed(edit, call))
        if status > 1:  # stopped
            return status
        edited = [row for row in _rows(out / EDITED) if row["status"] == "ok"]
    _draw(out, rows, edited)
    print(f"\nRenders, an edit and photographs: {out / 'contact_sheet.png'}")
    for row in edited[:1]:
        print(f"Animation:                        {out / EDITED / row['sequence'][0]}")
    print(f"\n{WHY}")
    return status


def _of_photographs(out: Path, arguments: argparse.Namespace, *, edited: bool) -> int:
    """The demo of a suite for photographs."""
    photographs = [str(path) for path in sorted(SAMPLES.glob(PHOTOGRAPHS))]
    options = _parsed(invert, [*photographs, "--align", "--out", arguments.out], arguments)
    status = invert.run(options)
    if status != 0 or not edited:
        return status
    for folder, change in ((TURNED, TURN), (EDITED, SMILE)):
        call = [arguments.out, "--out", str(out / folder), "--suite", arguments.suite, *change]
        status = max(status, edit.run(_parsed(edit, call)))
        if status > 1:  # stopped
            return status
    _draw_photographs(out)
    print(f"\nPhotographs, embedded, edited and put back: {out / 'contact_sheet.png'}")
    return status


def _draw_photographs(out: Path) -> None:
    """The contact sheet of photographs: each, embedded, turned, with a smile, and that put back."""
    from jaxface.jobs.outputs.contact_sheet import Cell, write_contact_sheet
    from jaxface.media.images import read_image

    turned, edited = ({row["id"]: row for row in _rows(out / name)} for name in (TURNED, EDITED))

    def changed(folder: str, row: Mapping[str, Any], name: str) -> Any:
        if row["status"] != "ok":
            return None
        return read_image(str(out / folder / row[name])).pixels

    cells = []
    for row in _rows(out):
        turn, smile = turned[row["id"]], edited[row["id"]]
        images = (
            read_image(row["path"]).pixels,
            read_image(str(out / row["reconstruction"])).pixels,
            changed(TURNED, turn, "edited"),
            changed(EDITED, smile, "edited"),
            changed(EDITED, smile, "pasted"),
        )
        told = f"yaw {TURN[1]} degrees{_outcome(turn)}; smile {SMILE[1]}{_outcome(smile)}"
        cells.append(Cell(row["id"], told, images))
    title = "Photographs of the public domain, by networks for non-commercial use"
    labels = ("photograph", "embedded, aligned", "turned", "another smile", "that, put back")
    write_contact_sheet(
        out / "contact_sheet.png", cells, title=title, columns=1, labels=labels, side=SHEET_SIDE
    )


def _outcome(row: Mapping[str, Any]) -> str:
    """After what was asked for: the identity, where the suite judges it, or what went wrong."""
    from jaxface.jobs.edit_outcomes import identity_told

    if row["status"] != "ok":
        return f", {row['status']}"
    return identity_told(row).replace("  ", ", ", 1)


def _draw(
    out: Path, rows: Sequence[Mapping[str, Any]], edited: Sequence[Mapping[str, Any]]
) -> None:
    """The contact sheet: renders, edits, and photographs last."""
    from jaxface.jobs.edit_outcomes import identity_told
    from jaxface.jobs.inversion import measured
    from jaxface.jobs.outputs.contact_sheet import LARGE, Cell, draw_contact_sheet, write_sheets
    from jaxface.jobs.outputs.outliers import distance_of
    from jaxface.media.images import read_image

    distance = distance_of(rows)

    def pixels(path: str | Path) -> Any:
        return read_image(str(path)).pixels

    def embedded(row: Mapping[str, Any]) -> Cell:
        shown = (pixels(row["path"]), pixels(out / row["reconstruction"]))
        return Cell(row["id"], measured(row, distance), shown)

    def changed(row: Mapping[str, Any]) -> Cell:
        before = pixels(out / "reconstructions" / f"{row['id']}.png")
        told = f"yaw {RENDER_EDIT[1]} degrees{identity_told(row)}"
        return Cell(row["id"], told, (before, pixels(out / EDITED / row["edited"])))

    pairs = ("portrait", "embedded")
    parts: list[tuple[str, list[Cell], tuple[str, ...]]] = [
        ("Renders", [embedded(row) for row in rows if not _photographs_last(row)], pairs),
        ("An edit of the pose", [changed(row) for row in edited], ("embedded", "edited")),
        (
            "Photographs, as rendered relatives: this suite has seen renders only",
            [embedded(row) for row in rows if _photographs_last(row)],
            pairs,
        ),
    ]
    sheets = [
        draw_contact_sheet(cells, title=title, columns=2, labels=labels, side=LARGE)
        for title, cells, labels in parts
        if cells
    ]
    write_sheets(out / "contact_sheet.png", sheets)


def _photographs_last(row: Mapping[str, Any]) -> bool:
    """Whether it is one."""
    return Path(row["id"]).match(PHOTOGRAPHS)


def _rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def _parsed(
    verb: Any, options: Sequence[str], arguments: argparse.Namespace | None = None
) -> argparse.Namespace:
    """A verb's arguments: options of its own, and those of the demo in place of its defaults."""
    parser = argparse.ArgumentParser()
    verb.add_arguments(parser)
    whole = vars(parser.parse_args(options))
    return argparse.Namespace(**(whole | vars(arguments or argparse.Namespace())))
