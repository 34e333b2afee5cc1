"""`jaxface studio`: portraits under the hand, on one page in the browser."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxface.cli.reenact_avatar import is_avatar
from jaxface.cli.refusals import refuse_options
from jaxface.cli.suite_options import add_commercial_argument, fit_for_use
from jaxface.errors import UsageError

if TYPE_CHECKING:
    from jaxface.studio.server import Server

NAME = "studio"
HELP = "turn, animate and light portraits by hand, in the browser"

PORT = 8765

_EPILOG = """\
INPUT is what `jaxface invert` or `jaxface edit` wrote (its output folder, or a file of latents), a
photograph, which is embedded first, or one avatar of `jaxface personalise`. Without one the page
begins with portraits of nobody; photographs are dropped on it.

The page is for this machine alone, unless --host says otherwise, and its address holds a token.
Whatever is dropped on it stays here, in DIR, beside what is saved and recorded. The same command
again has the same address and the same photographs. See docs/studio.md.

exit status: 0, stopped by Ctrl-C or SIGTERM; 2, the call was wrong
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "inputs", nargs="*", metavar="INPUT", help="embeddings, photographs, an avatar"
    )
    parser.add_argument(
        "--out",
        default="jaxface-studio",
        metavar="DIR",
        help="folder for photographs and results (jaxface-studio)",
    )
    parser.add_argument(
        "--suite",
        metavar="NAME|DIR",
        help="the networks (those that embeddings were made with, else embedded)",
    )
    add_commercial_argument(parser)
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="how photographs are embedded behind the encoder, see jaxface invert (the suite's "
        "best for edits)",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="NAME",
        help="the address to listen at; any other than this machine's own lets others in who know "
        "the token (127.0.0.1)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=PORT,
        metavar="N",
        help=f"of the address; 0: a free one ({PORT})",
    )
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def run(arguments: argparse.Namespace) -> int:
    if not 0 <= arguments.port <= 65535:
        raise UsageError(f"--port: expected 0 to 65535, got {arguments.port}")
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "the studio needs aiohttp, which is not installed: python -m pip install "
            "'jaxface[studio]'"
        ) from error
    for each in arguments.inputs:
        if not Path(each).exists():
            raise UsageError(f"{each!r}: no such file or folder")

    from jaxface.studio.beginning import Beginning
    from jaxface.studio.serving import serve

    folder = Path(arguments.out)
    inputs = [str(Path(each).absolute()) for each in arguments.inputs]
    call = [*inputs, f"--suite={arguments.suite}", f"--commercial={arguments.commercial}"]
    return serve(
        lambda: _opened(arguments, folder),
        folder,
        Beginning(folder, call),
        host=arguments.host,
        port=arguments.port,
        show=arguments.open,
    )


def _opened(arguments: argparse.Namespace, folder: Path) -> "Server":
    """Loads what draws, and takes up who is to be on the page.

    Raises:
      JaxfaceError: the call was wrong, or a file is damaged.
    """
    from jaxface.jobs.inputs.latent_survey import survey_latents
    from jaxface.jobs.inputs.latents import find_latents
    from jaxface.methods.presets import preset
    from jaxface.runtime.progress import note
    from jaxface.studio.engine import Engine
    from jaxface.studio.server import Server
    from jaxface.studio.subjects import LatentGallery
    from jaxface.suite import load_suite

    embeddings, photographs = _kinds(arguments.inputs)
    if any(map(is_avatar, arguments.inputs)):
        return _avatar(arguments, folder)
    if arguments.preset is not None:
        preset(arguments.preset)  # or it is unknown
    name = arguments.suite
    if embeddings:
        survey = survey_latents(find_latents(embeddings).items)
        suite = survey.suite() if name is None else load_suite(name)
        survey.check_shapes(suite)
    else:
        suite = load_suite(name or "embedded")
    gallery = LatentGallery(
        Engine(fit_for_use(suite, arguments)), folder, refinement=arguments.preset
    )
    for remark in gallery.open(embeddings):
        note(f"note: {remark}")
    server = Server(gallery)
    for path in photographs:
        server.bring(path)
    return server


def _avatar(arguments: argparse.Namespace, folder: Path) -> "Server":
    from jaxface.studio.avatars import AvatarGallery
    from jaxface.studio.server import Server

    if len(arguments.inputs) > 1:
        raise UsageError("an avatar is alone on its page; name it and nothing else")
    refuse_options(arguments, add_arguments, ("preset",), "is of photographs; INPUT is an avatar")
    gallery = AvatarGallery.read(arguments.inputs[0], folder, suite=arguments.suite)
    fit_for_use(gallery.engine.suite, arguments)
    gallery.open([])
    return Server(gallery)


def _kinds(inputs: list[str]) -> tuple[list[str], list[Any]]:
    """Embeddings, and photographs."""
    from jaxface.jobs.inputs.foreign_latents import SUFFIXES

    embeddings, photographs = [], []
    for each in inputs:
        path = Path(each)
        if path.is_dir() or path.suffix.lower() in {*SUFFIXES, ".safetensors"}:
            embeddings.append(each)
        else:
            photographs.append(path)
    return embeddings, photographs
