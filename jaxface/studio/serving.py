"""Serves a studio until it is told to stop."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from jaxface.errors import UsageError
from jaxface.runtime.progress import note
from jaxface.studio.server import LOOPBACK, Server, token_of
from jaxface.studio.subjects import Gallery


def serve(
    gallery: Gallery,
    *,
    host: str,
    port: int,
    photographs: Sequence[Path] = (),
    show: bool = False,
) -> int:
    """Serves the page until Ctrl-C or SIGTERM.

    Args:
      gallery: who is on the page, and the folder.
      host: to listen at.
      port: of it; 0 for a free one.
      photographs: are embedded as if they were dropped on the page.
      show: whether the browser opens it.

    Returns:
      The exit status, 0.

    Raises:
      UsageError: the address cannot be listened at, or a photograph cannot be read.
    """
    return asyncio.run(_serve(gallery, host, port, photographs, show))


async def _serve(
    gallery: Gallery, host: str, port: int, photographs: Sequence[Path], show: bool
) -> int:
    token = token_of(gallery.folder)
    hosts = () if host in LOOPBACK else (host, socket.gethostname())
    server = Server(gallery, token, hosts=hosts)
    for path in photographs:
        server.bring(path)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise UsageError(
            f"{host}:{port} cannot be listened at: {error.strerror or error}; name another --port"
        ) from error
    bound = runner.addresses[0]
    name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    address = f"http://{name}:{bound[1]}/{token}/"
    if host not in LOOPBACK:
        note("note: whoever knows this address can use the studio; it is not encrypted")
    print(f"studio:  {address}\nfolder:  {gallery.folder}\nstop it with Ctrl-C", flush=True)
    if show:
        webbrowser.open(address)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stopped.set)
    await stopped.wait()
    busy = server.busy
    await runner.cleanup()
    if busy:
        # Python would wait for a thread that may compile for a minute. What is stored is whole, and
        # an embedding that was under way begins again.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0
