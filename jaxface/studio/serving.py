"""Serves a studio until it is told to stop."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from jaxface.errors import UsageError
from jaxface.runtime.progress import note
from jaxface.studio.beginning import Beginning
from jaxface.studio.front import LOOPBACK, Front, token_of

if TYPE_CHECKING:
    from jaxface.studio.server import Server


def serve(
    opening: Callable[[], "Server"],
    folder: Path,
    beginning: Beginning,
    *,
    host: str,
    port: int,
    show: bool = False,
) -> int:
    """Serves the page until Ctrl-C or SIGTERM.

    Args:
      opening: loads the networks and makes what draws, in a thread.
      folder: the studio's.
      beginning: the page until then. Where there is none, `opening` ends first, so that mistakes
        are told before anything is served.
      host: to listen at.
      port: of it; 0 for a free one.
      show: whether the browser opens it.

    Returns:
      The exit status, 0.

    Raises:
      UsageError: the address cannot be listened at.
      Whatever `opening` raises.
    """
    return asyncio.run(_serve(opening, folder, beginning, host, port, show))


async def _serve(
    opening: Callable[[], "Server"],
    folder: Path,
    beginning: Beginning,
    host: str,
    port: int,
    show: bool,
) -> int:
    hosts = () if host in LOOPBACK else (host, socket.gethostname())
    front = Front(token := token_of(folder), opening, beginning, hosts=hosts)
    opened = front.open()
    if beginning.hello is None:
        await opened
    runner = web.AppRunner(front.application(), access_log=None, shutdown_timeout=2.0)
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
    print(f"studio:  {address}\nfolder:  {folder}\nstop it with Ctrl-C", flush=True)
    if show:
        webbrowser.open(address)
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, stopped.set)
    stopping = asyncio.ensure_future(stopped.wait())
    await asyncio.wait({stopping, opened}, return_when=asyncio.FIRST_COMPLETED)
    if opened.done() and opened.exception() is not None:
        await runner.cleanup()
        opened.result()
    await stopping
    busy = front.busy
    await runner.cleanup()
    if busy:
        # Python would wait for a thread that may compile for a minute. What is stored is whole, and
        # an embedding that was under way begins again.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    return 0
