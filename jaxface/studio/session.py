"""A client: what it wants drawn, what it records, what it plays. Each page has one of its own.

Of edits only the newest is kept, and at most `IN_FLIGHT` images are on their way to the page,
which says of each that it has drawn it: nothing queues, however slow a line or a page is.
"""

import asyncio
import functools
import io
import json
import time
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

import jax
from aiohttp import web
from PIL import Image

from jaxface.errors import JaxfaceError, UsageError, on_one_line
from jaxface.media.images import encode_png
from jaxface.methods.pie import Target
from jaxface.studio.beginning import packed
from jaxface.studio.drivers import DrivenPath, LoadedDriver
from jaxface.studio.edits import AskedEdit
from jaxface.studio.exports import Gesture
from jaxface.studio.subjects import Gallery, Portrait

IN_FLIGHT = 2
"""Images that the page may not have drawn yet: one on the line while the next is computed."""

LARGE = 256
"""Pixels a side above which images of a moving hand go as JPEG: a PNG takes longer to make."""

QUALITY = 90
"""Of JPEG."""

FAILURES = (JaxfaceError, OSError, ValueError, MemoryError, jax.errors.JaxRuntimeError)
"""What a page is told of in a line, and the studio goes on."""


class Wanted(NamedTuple):
    """An image that a page asked for.

    Attributes:
      number: the page's own.
      portrait: who.
      edit: what.
      moving: whether the hand moves.
      at: the page's clock when it asked, returned as it is.
    """

    number: int
    portrait: Portrait
    edit: AskedEdit
    moving: bool
    at: float


class Playing:
    """A driver that a page plays; its clock begins with its first image.

    Args:
      driver: it.
      relative: whether its changes are added.
    """

    def __init__(self, driver: LoadedDriver, *, relative: bool):
        self.driver, self.relative = driver, relative
        self._paths: dict[str, DrivenPath] = {}
        self._begun: float | None = None

    def targets(self, engine: Any, key: str, subject: Any) -> dict[str, Target]:
        """What a portrait is to become now."""
        if key not in self._paths:
            self._paths[key] = self.driver.path_of(engine, subject, relative=self.relative)
        if self._begun is None:
            self._begun = time.monotonic()
        return self._paths[key].targets(self.elapsed)

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return 0.0 if self._begun is None else time.monotonic() - self._begun

    @property
    def share(self) -> float:
        """Of it that is over, in [0, 1]."""
        return min(1.0, self.elapsed / max(self.driver.seconds, 1e-3))


class Session:
    """A client's state.

    Args:
      socket: to the page.
      gallery: of all clients.
      drawing: the thread that draws for all of them, one image at a time.
    """

    def __init__(self, socket: web.WebSocketResponse, gallery: Gallery, drawing: Executor):
        self.gallery = gallery
        self._socket, self._drawing = socket, drawing
        self._wanted: Wanted | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._speaking = asyncio.Lock()
        self._out = 0
        self.gesture: Gesture | None = None
        self.playing: Playing | None = None

    def want(self, message: dict[str, Any]) -> None:
        """Takes an edit, in place of one that was not drawn yet.

        Raises:
          UsageError: it is none.
        """
        number, at = message.get("number"), message.get("at")
        if not isinstance(number, int) or not isinstance(at, int | float):
            raise UsageError("an edit has a number and a time")
        edit = AskedEdit.of_json(message.get("edit"), self.gallery.engine.controls)
        portrait = self.gallery.portrait(message.get("portrait"))
        self._wanted = Wanted(number, portrait, edit, message.get("moving") is True, float(at))
        if self.gesture is not None:
            self.gesture.add(time.monotonic(), edit)
        self._news.set()

    def drawn(self) -> None:
        """The page has drawn an image."""
        if self._out > 0:
            self._out -= 1
            self._room.release()

    def play(self, driver: LoadedDriver | None, *, relative: bool = False) -> None:
        """Plays a driver from its beginning, or none."""
        self.playing = None if driver is None else Playing(driver, relative=relative)
        self._news.set()

    async def serve(self) -> None:
        """Draws what is wanted until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            await self._room.acquire()
            self._out += 1
            self._news.clear()
            wanted, playing = self._wanted, self.playing
            if wanted is None:
                self.drawn()
                continue
            if playing is not None:
                if playing.elapsed > playing.driver.seconds:
                    self.playing = None
                self._news.set()  # the next image is wanted as soon as this one is drawn
            try:
                frame = await loop.run_in_executor(
                    self._drawing, functools.partial(draw_frame, self.gallery, wanted, playing)
                )
            except FAILURES as error:
                self.drawn()
                self.playing = None
                await self.tell({"is": "refused", "text": on_one_line(str(error))})
                continue
            await self._socket.send_bytes(frame)

    async def tell(self, message: dict[str, Any]) -> None:
        """Sends words to the page, in the order in which it is called, unless the page is gone."""
        async with self._speaking:
            if not self._socket.closed:
                await self._socket.send_str(json.dumps(message))


def draw_frame(gallery: Gallery, wanted: Wanted, playing: Playing | None) -> bytes:
    """An image as it goes to the page, see `packed`.

    Raises:
      JaxfaceError: the portrait cannot be read.
    """
    start = time.perf_counter()
    engine, portrait = gallery.engine, wanted.portrait
    subject = gallery.subject(portrait.key)
    header: dict[str, Any] = {"number": wanted.number, "at": wanted.at, "portrait": portrait.key}
    driven, driver = None, None
    if playing is not None:
        driver, driven = playing.driver, playing.targets(engine, portrait.key, subject)
        header["playing"] = playing.share
    moving = wanted.moving or (playing is not None and playing.driver.seconds > 0)
    image = engine.draw(
        subject,
        wanted.edit,
        plan=engine.moving if moving else engine.resting,
        driven=driven,
    )
    if moving and len(image.pixels) > LARGE:
        data, kind = _encoded(image.pixels, "JPEG", quality=QUALITY), "image/jpeg"
    elif moving:
        data, kind = _encoded(image.pixels, "PNG", compress_level=1), "image/png"
    else:
        data, kind = encode_png(image.pixels), "image/png"
        header["before"] = engine.told(subject.before)
        header["command"] = gallery.command_lines(
            portrait,
            wanted.edit,
            driver=None if driver is None else driver.path,
            relative=playing is not None and playing.relative,
        )
    if image.after is not None:
        header["read"] = engine.told(image.after)
    header |= {
        "moving": moving,
        "size": len(image.pixels),
        "kind": kind,
        "ms": round(1000 * (time.perf_counter() - start), 1),
    }
    return packed(header, data)


def _encoded(pixels: Any, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=kind, **options)
    return file.getvalue()


def link_of(gallery: Gallery, path: Path) -> str:
    """A file of the studio's folder as the page asks for it."""
    return "files/" + path.resolve().relative_to(gallery.folder.resolve()).as_posix()
