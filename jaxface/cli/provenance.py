"""`jaxface provenance FILE...`: what images and clips say of their making, and signing that."""

import argparse
import dataclasses
import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

from jaxface.errors import JaxfaceError, UsageError, printable

if TYPE_CHECKING:
    from jaxface.media.credentials import Credentials
    from jaxface.media.marks import Marks

NAME = "provenance"
HELP = "tell what images and clips say of their making, or sign it (Content Credentials)"

_EPILOG = """\
With pip install "jaxface[provenance]" what jaxface writes is signed, unless JAXFACE_C2PA=off;
--sign signs what it wrote without. A signature is a C2PA manifest: the program, whether the file is
synthetic or a composite, and the photograph that it was made from, by its hash. DIR is the output
folder of jaxface invert, edit or reenact; every image and clip in it is signed, with the input of
its row as the source.

The certificate is the one that JAXFACE_C2PA_CERTIFICATE and JAXFACE_C2PA_KEY name (PEM files: its
chain and its key), or one of your own making, kept in ~/.config/jaxface/c2pa, which shows that a
file is unchanged since, not who signed it.

exit status: 0, every file says it (or was signed); 1, some say nothing or cannot be read; 2, the
call was wrong"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE|DIR",
        help="a PNG, JPEG, WebP or GIF file, or a clip; a folder stands for all in it",
    )
    parser.add_argument("--json", action="store_true", help="a JSON object a line, for programs")
    parser.add_argument("--sign", action="store_true", help="add Content Credentials to the files")
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="FILE",
        help="with --sign: what the files were made from, where no row says it; may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    if arguments.source and not arguments.sign:
        raise UsageError("--source requires --sign")
    for source in arguments.source:
        if not Path(source).is_file():
            raise UsageError(f"--source {source}: no such file")
    if arguments.sign:
        from jaxface.media.certificates import load_signer

        load_signer()  # a mistake of the environment is told before any file is touched
    status = 0
    for path, sources in _files(arguments.files, arguments.source).items():
        marks, credentials, problem = None, None, None
        try:
            marks, credentials = _read(path)
            if arguments.sign:
                credentials = _sign(path, marks, sources)
        except JaxfaceError as error:
            told = getattr(error, "status", None)
            problem = str(error) if told is None else f"{told}: {error}"
        good = problem is None and (marks is not None or credentials is not None)
        status = status if good else 1
        _tell(path, marks, credentials, problem, as_json=arguments.json)
    return status


def _files(named: list[str], sources: list[str]) -> dict[str, list[str]]:
    """Every file, with what it was made from: by the rows of its folder, or as the call says."""
    from jaxface.media.credentials import TYPES

    found: dict[str, list[str]] = {}
    for each in named:
        if not Path(each).is_dir():
            found[each] = sources
            continue
        of_rows = _sources_in(Path(each))
        inside = sorted(path for path in Path(each).rglob("*") if path.suffix.lower() in TYPES)
        if not inside:
            raise UsageError(f"{each}: holds no image and no clip")
        for path in inside:
            known = of_rows.get(path.relative_to(each).as_posix())
            found[str(path)] = sources if known is None else [known]
    return found


def _sources_in(folder: Path) -> dict[str, str]:
    """The inputs of a job's files, by their paths in its folder."""
    from jaxface.jobs.outputs.rows import FILES, rows_in

    results = folder / "results.jsonl"
    if not results.is_file():
        return {}
    found = {}
    columns = {kind.column for kind in FILES.values()}
    for row in rows_in(results.read_bytes(), str(results)):
        for column in columns & row.keys():
            names = [row[column]] if isinstance(row[column], str) else row[column] or []
            found |= dict.fromkeys(names, row.get("source") or row["path"])
    return found


def _read(path: str) -> "tuple[Marks | None, Credentials | None]":
    from jaxface.media.credentials import TYPES, read_credentials
    from jaxface.media.marks import read_marks

    marks = read_marks(path)
    if Path(path).suffix.lower() not in TYPES or importlib.util.find_spec("c2pa") is None:
        return marks, None
    return marks, read_credentials(path)


def _sign(path: str, marks: "Marks | None", sources: list[str]) -> "Credentials | None":
    from jaxface.media.credentials import CredentialsError, read_credentials, sign

    if marks is None or marks.kind is None:
        raise CredentialsError("not signed: it does not say that jaxface made it")
    sign(path, marks.kind, sources=sources)
    return read_credentials(path)


def _tell(
    path: str,
    marks: "Marks | None",
    credentials: "Credentials | None",
    problem: str | None,
    *,
    as_json: bool,
) -> None:
    if as_json:
        said = {} if marks is None else dataclasses.asdict(marks) | {"kind": marks.kind}
        if credentials is not None:
            said |= {"credentials": dataclasses.asdict(credentials)}
        print(json.dumps({"path": path, "problem": problem} | said))
        return
    told = []
    if problem is not None:
        told.append(problem)
    elif marks is not None:
        kind = marks.kind or marks.source_type or "of no stated kind"
        told.append(f"{kind}, by {marks.maker or 'a program that it does not name'}")
    if credentials is not None:
        made = (
            f", made from {', '.join(credentials.ingredients)}" if credentials.ingredients else ""
        )
        told.append(
            f"Content Credentials: {credentials.state.lower()}, by {credentials.maker}, signed by "
            f"{credentials.issuer}{made}"
        )
    print(printable(f"{path}: {'; '.join(told) or 'says nothing of its making'}"))
