"""The studio's address: the page, who may see it, and what is shown until the networks are loaded.

Everything is below an address that holds a token, and only for the host names that it was begun
with: a page of another site can neither guess the one nor, by a name of its own that leads here, be
the other. A websocket or an upload that names another page as its origin is refused.

Nothing here imports JAX. What draws, `jaxface.studio.server.Server`, is made in a thread; until it
is there a page has what `Beginning` kept, and the newest edit that it asked for waits.
"""

import asyncio
import contextlib
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from jaxface.studio.beginning import Beginning

if TYPE_CHECKING:
    from jaxface.studio.server import Server
    from jaxface.studio.session import Session

PAGE = Path(__file__).parent / "page"

LOOPBACK = ("127.0.0.1", "localhost", "::1")

LOADING = "loading the networks"

_MESSAGE = 2**16  # bytes of a message of a page; an edit has some hundreds
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob:; connect-src 'self'; font-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_TYPES |= {".svg": "image/svg+xml"}


def token_of(folder: Path) -> str:
    """The token of a studio's folder, made when it is first asked for.

    It is kept there, readable for its owner alone, so that the same command has the same address
    again and open pages find it.
    """
    path = folder / ".token"
    with contextlib.suppress(OSError):
        told = path.read_text().strip()
        if len(told) >= 16 and told.isascii() and told.replace("-", "").replace("_", "").isalnum():
            return told
    token = secrets.token_urlsafe(16)
    folder.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(token + "\n")
    return token


class Front:
    """What is asked for at the address, and who answers it.

    Args:
      token: in the address.
      opening: makes what draws, in a thread, or raises.
      beginning: what is shown until then.
      hosts: names that it may be asked for by; those of the loopback always.
    """

    def __init__(
        self,
        token: str,
        opening: Callable[[], "Server"],
        beginning: Beginning,
        *,
        hosts: tuple[str, ...] = (),
    ):
        self._token, self._opening, self._beginning = token, opening, beginning
        self._hosts = {*LOOPBACK, *hosts}
        self._opened: asyncio.Future[Server] | None = None

    def open(self) -> "asyncio.Future[Server]":
        """Begins to make what draws; at a second call nothing more."""
        if self._opened is None:
            self._opened = asyncio.ensure_future(self._open())
        return self._opened

    async def _open(self) -> "Server":
        server = await asyncio.get_running_loop().run_in_executor(None, self._opening)
        server.begin(self._beginning)
        return server

    @property
    def busy(self) -> bool:
        """Whether something is being computed in the background."""
        opened = self.open()
        return not opened.done() or opened.result().busy

    def application(self) -> web.Application:
        """The routes, below the token."""
        found = web.Application(middlewares=[self._guard])
        base = f"/{self._token}"
        found.router.add_get(base, self._to_the_page)
        found.router.add_get(f"{base}/", self._page)
        found.router.add_get(f"{base}/socket", self._socket)
        found.router.add_get(f"{base}/thumbnails/{{key}}", self._thumbnail)
        found.router.add_get(f"{base}/files/{{path:.+}}", self._file)
        found.router.add_post(f"{base}/photographs", self._photograph)
        found.router.add_post(f"{base}/drivers", self._driver)
        found.router.add_get(f"{base}/{{name}}", self._asset)
        found.cleanup_ctx.append(self._running)
        return found

    async def _running(self, application: web.Application) -> AsyncIterator[None]:
        del application
        opened = self.open()
        yield
        if opened.done() and opened.exception() is None:
            opened.result().close()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Refuses other hosts, other origins and other tokens; adds the headers."""
        first = request.path.split("/")[1]
        named = urlsplit(f"//{request.host}").hostname
        if named not in self._hosts or not hmac.compare_digest(
            first.encode(), self._token.encode()
        ):
            raise web.HTTPNotFound(text="Nothing is here. The address has a token: see jaxface.\n")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            raise web.HTTPForbidden(text="This page is not the studio's.\n")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
        return response

    async def _to_the_page(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(f"{request.path}/")

    async def _page(self, request: web.Request) -> web.StreamResponse:
        del request
        return web.Response(text=(PAGE / "index.html").read_text(), content_type="text/html")

    async def _asset(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        path = PAGE / name
        if path.suffix not in _TYPES or path.parent != PAGE or not path.is_file():
            raise web.HTTPNotFound()
        return web.Response(
            body=path.read_bytes(), content_type=_TYPES[path.suffix], charset="utf-8"
        )

    async def _thumbnail(self, request: web.Request) -> web.StreamResponse:
        key = request.match_info["key"]
        data = self._beginning.thumbnail(key)
        if data is None:
            data = await (await self._server()).thumbnail(key)
        return web.Response(body=data, content_type="image/png")

    async def _file(self, request: web.Request) -> web.StreamResponse:
        return await (await self._server()).file(request)

    async def _photograph(self, request: web.Request) -> web.StreamResponse:
        return await (await self._server()).photograph(request)

    async def _driver(self, request: web.Request) -> web.StreamResponse:
        return await (await self._server()).driver(request)

    async def _server(self) -> "Server":
        return await asyncio.shield(self.open())

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        """Hears a page, and hands it on to what draws as soon as that is there."""
        socket = web.WebSocketResponse(max_msg_size=_MESSAGE, heartbeat=20.0, compress=False)
        await socket.prepare(request)
        server: Server | None = None
        session: Session | None = None
        newest: list[Any] = []  # an edit that waits

        async def attend() -> None:
            nonlocal server, session
            opened = self.open()
            await asyncio.wait([opened])
            if opened.exception() is not None:  # which the command tells, as it ends
                return
            server = opened.result()
            session = await server.attend(socket)
            for message in newest:
                await server.heard(session, message)

        if not self.open().done():
            hello = self._beginning.hello
            told = {"is": "preparing", "text": LOADING}
            await _tell(socket, told if hello is None else hello | {"preparing": LOADING})
        attending = asyncio.ensure_future(attend())
        try:
            async for received in socket:
                if received.type != WSMsgType.TEXT:
                    break
                try:
                    message = json.loads(received.data)
                except (ValueError, RecursionError):
                    message = None
                if server is not None and session is not None:
                    await server.heard(session, message)
                else:
                    newest = await self._meanwhile(socket, message) or newest
        finally:
            attending.cancel()
            if server is not None and session is not None:
                server.leave(session)
        return socket

    async def _meanwhile(self, socket: web.WebSocketResponse, message: Any) -> list[Any]:
        """Answers a page before there is anything that draws.

        Returns:
          The message, if it is an edit, which has to wait.
        """
        do = message.get("do") if isinstance(message, dict) else None
        if do == "edit":
            if frame := self._beginning.answer(message):
                await socket.send_bytes(frame)
            return [message]
        if do != "drawn":
            await _tell(socket, {"is": "refused", "text": "the networks are still being loaded"})
        return []


async def _tell(socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
    await socket.send_str(json.dumps(message))
