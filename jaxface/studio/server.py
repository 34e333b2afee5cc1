"""What the studio's pages ask for, once the networks are loaded: images, uploads, tasks."""

import asyncio
import contextlib
import filecmp
import functools
import json
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiohttp import web

from jaxface import __version__
from jaxface.errors import JaxfaceError, UsageError, on_one_line
from jaxface.jobs.inputs.clips import CLIP_SUFFIXES
from jaxface.jobs.inputs.motion_files import RECORDING, SUFFIX
from jaxface.media.images import ImageError, read_image
from jaxface.runtime.progress import note
from jaxface.runtime.stopping import Stopped
from jaxface.studio.beginning import Beginning
from jaxface.studio.drivers import LoadedDriver, drives, load_driver
from jaxface.studio.edits import AskedEdit
from jaxface.studio.exports import Gesture, record, save, saved_image
from jaxface.studio.session import FAILURES, Session, Wanted, draw_frame, link_of
from jaxface.studio.subjects import Gallery, LatentGallery, Portrait, new_path

LARGEST = 50 * 2**20
"""Bytes of an upload."""

STRIP = 32
"""Thumbnails that are kept for the next start: a page shows about twenty."""

ALONE = "an avatar is alone on its page; without it the studio opens photographs and saves edits"

PATIENCE = 0.4
"""Seconds for which work in the background rests after a hand has moved."""


class Server:
    """What the front of the studio hands on to; it draws for all pages.

    Args:
      gallery: who is on the page.
    """

    def __init__(self, gallery: Gallery):
        self.gallery = gallery
        self._sessions: dict[Session, asyncio.Task] = {}
        self._drivers: dict[str, LoadedDriver] = {}
        self._drawing = ThreadPoolExecutor(1, thread_name_prefix="draw")
        # Embedding takes minutes, and one after another; what else is asked for does not wait.
        self._embedding = ThreadPoolExecutor(1, thread_name_prefix="embed")
        self._working = ThreadPoolExecutor(2, thread_name_prefix="work")
        self._tasks: set[asyncio.Task] = set()
        self._numbers = 0
        self._moved = 0.0
        self._brought: list[Path] = []
        self._closing, self._warming = False, True
        self._running_tasks = 0
        self._ready = asyncio.Event()
        self._said = "starting"

    @property
    def busy(self) -> bool:
        """Whether something is being computed in the background."""
        return not self._ready.is_set() or self._warming or self._running_tasks > 0

    @property
    def _latents(self) -> LatentGallery:
        """The gallery, for what can be done with latents alone.

        Raises:
          UsageError: it is an avatar's.
        """
        if not isinstance(self.gallery, LatentGallery):
            raise UsageError(ALONE)
        return self.gallery

    def begin(self, beginning: Beginning) -> None:
        """Compiles what draws; of the running loop.

        Args:
          beginning: keeps what the next start begins with.
        """
        self._keep(self._prepare(beginning))

    def close(self) -> None:
        """Ends what is under way."""
        self._closing = True
        for task in [*self._tasks]:
            task.cancel()
        for pool in (self._drawing, self._embedding, self._working):
            pool.shutdown(wait=False, cancel_futures=True)

    async def _prepare(self, beginning: Beginning) -> None:
        """Compiles before an image is asked for, and tells the pages how far it is."""
        loop = asyncio.get_running_loop()

        def say(text: str) -> None:
            self._said = text
            loop.call_soon_threadsafe(self._tell_all, {"is": "preparing", "text": text})

        gallery = self.gallery
        say("compiling the first image")
        try:
            first = gallery.portraits()[0].key
            subject = await loop.run_in_executor(self._drawing, gallery.subject, first)
            self._ready.set()
            self._tell_all(self._hello())
            prepare = functools.partial(gallery.engine.prepare, subject, tell=say)
            await loop.run_in_executor(self._embedding, prepare)
            self._said = ""
            await self._remember(beginning)
        except FAILURES as error:  # which the first image will tell the page, too
            note(f"jaxface: {on_one_line(str(error))}")
        self._ready.set()
        self._said = ""
        self._tell_all(self._hello())
        for path in self._brought:
            self._take(path)
        try:
            with contextlib.suppress(*FAILURES):  # which a photograph will tell
                await loop.run_in_executor(self._embedding, self._latents.warm)
        finally:
            self._warming = False

    async def _remember(self, beginning: Beginning) -> None:
        """Keeps the page as it begins, for the next start."""
        gallery, loop = self.gallery, asyncio.get_running_loop()
        portraits = gallery.portraits()
        plain = Wanted(0, portraits[0], AskedEdit(), False, 0.0)
        first = await loop.run_in_executor(self._drawing, draw_frame, gallery, plain, None)
        thumbnails = {
            each.key: await loop.run_in_executor(self._drawing, gallery.thumbnail, each.key)
            for each in portraits[:STRIP]
        }
        keep = functools.partial(beginning.keep, self._hello(), first, thumbnails)
        await loop.run_in_executor(self._working, keep, gallery.files())

    async def thumbnail(self, key: str) -> bytes:
        """A portrait's thumbnail, a PNG.

        Raises:
          HTTPNotFound: there is no such portrait.
        """
        await self._ready.wait()
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._drawing, self.gallery.thumbnail, key
            )
        except JaxfaceError as error:
            raise web.HTTPNotFound(text=str(error)) from error

    async def file(self, request: web.Request) -> web.StreamResponse:
        """A file that was recorded or saved, as a download."""
        root = self.gallery.folder.resolve()
        path = (root / request.match_info["path"]).resolve()
        within = any(path.is_relative_to(root / name) for name in ("saved", "recorded"))
        if not within or not path.is_file():
            raise web.HTTPNotFound()
        told = f"attachment; filename*=UTF-8''{quote(path.name)}"
        return web.FileResponse(path, headers={"Content-Disposition": told})

    async def photograph(self, request: web.Request) -> web.StreamResponse:
        """Takes a photograph: it is checked, and embedded by the encoder, then better."""
        if not isinstance(self.gallery, LatentGallery):
            return _refused(ALONE, 415)
        path = await self._uploaded(request, "photographs")
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._working, read_image, path)
        except JaxfaceError as error:
            path.unlink()
            return _refused(f"{path.name}: {error}", 415)
        self._take(path)
        return web.json_response({"name": path.name})

    def bring(self, path: Path) -> None:
        """Takes a photograph of the command line as if it had been dropped on the page.

        Raises:
          UsageError: it is no usable image.
        """
        try:
            read_image(path)
        except ImageError as error:
            raise UsageError(f"{path}: {error}") from error
        own = self.gallery.folder / "photographs" / path.name
        if not own.exists() or not filecmp.cmp(path, own, shallow=False):
            own = new_path(own.parent, path.name)
            shutil.copyfile(path, own)
        self._brought.append(own)

    def _take(self, path: Path) -> None:
        """Embeds a photograph of the studio's folder: at once, and better behind that."""
        first, then = self._latents.first_preset, self._latents.refinement
        at_once = functools.partial(self._embed, path, first or then)
        self._begin(f"embedding {path.name}", at_once, pool=self._embedding)
        if first is not None:
            better = functools.partial(self._embed, path, then)
            self._begin(f"refining {path.name}", better, pool=self._embedding)

    async def driver(self, request: web.Request) -> web.StreamResponse:
        """Takes a clip or a file of motion, and reads it."""
        if not drives(self.gallery.engine):
            return _refused("there are no RigNets here that could follow a driver", 415)
        name = request.query.get("name", "")
        known = {*CLIP_SUFFIXES, ".gif", SUFFIX, RECORDING}
        if Path(name).suffix.lower() not in known:
            return _refused(
                f"{name}: what drives is a clip ({', '.join(sorted({*CLIP_SUFFIXES, '.gif'}))}), "
                f"a motion template ({SUFFIX}) or a recording ({RECORDING})",
                415,
            )
        path = await self._uploaded(request, "drivers")

        def read(tell: Callable[[float], None]) -> dict[str, Any]:
            del tell
            try:
                driver = load_driver(self.gallery.engine, path)
            except JaxfaceError:
                path.unlink()
                raise
            self._drivers[driver.name] = driver
            remarks = [driver.remark] if driver.remark else []
            return {"driver": {"name": driver.name, "seconds": driver.seconds}, "remarks": remarks}

        self._begin(f"reading {path.name}", read)
        return web.json_response({"name": path.name})

    async def _uploaded(self, request: web.Request, kind: str) -> Path:
        """Writes an upload into the studio's folder.

        Raises:
          HTTPException: it is too large, or empty.
        """
        too_large = f"larger than {LARGEST // 2**20} MB, which is the most that is taken"
        if (request.content_length or 0) > LARGEST:
            # What comes is read and dropped, or the page would not see the answer.
            async for _ in request.content.iter_chunked(2**20):
                pass
            raise web.HTTPRequestEntityTooLarge(
                LARGEST, request.content_length or 0, text=json.dumps({"error": too_large})
            )
        path = new_path(self.gallery.folder / kind, request.query.get("name", ""))
        written = 0
        try:
            with path.open("wb") as file:
                async for part in request.content.iter_chunked(2**20):
                    written += len(part)
                    if written <= LARGEST:
                        file.write(part)
        except BaseException as error:  # the page is gone, the disk is full
            path.unlink(missing_ok=True)
            if not isinstance(error, OSError) or isinstance(error, ConnectionError):
                raise
            told = f"cannot be kept: {error.strerror or error}"
            raise web.HTTPInsufficientStorage(text=json.dumps({"error": told})) from error
        if not 0 < written <= LARGEST:
            path.unlink()
            told = too_large if written else "the file is empty"
            raise web.HTTPRequestEntityTooLarge(LARGEST, written, text=json.dumps({"error": told}))
        return path

    async def attend(self, socket: web.WebSocketResponse) -> Session:
        """Begins to draw for a page."""
        session = Session(socket, self.gallery, self._drawing)
        self._sessions[session] = asyncio.ensure_future(self._serve(session))
        try:
            if self._ready.is_set():
                await session.tell(self._hello())
            else:
                await session.tell({"is": "preparing", "text": self._said})
        except BaseException:  # the page is gone already
            self.leave(session)
            raise
        return session

    def leave(self, session: Session) -> None:
        """The page is gone."""
        self._sessions.pop(session).cancel()

    async def heard(self, session: Session, message: Any) -> None:
        """Does what a page asks for, or tells it why not."""
        try:
            self._do(session, message)
        except JaxfaceError as error:
            await session.tell({"is": "refused", "text": str(error)})

    async def _serve(self, session: Session) -> None:
        await self._ready.wait()
        with contextlib.suppress(ConnectionError):  # the page is gone
            await session.serve()

    def _do(self, session: Session, message: Any) -> None:
        """Does what a page asks for.

        Raises:
          UsageError: it is nothing that can be asked for.
        """
        if not isinstance(message, dict):
            raise UsageError("a message is a JSON object")
        do = message.get("do")
        if do == "edit":
            session.want(message)
            if message.get("moving") is True:
                self._moved = time.monotonic()
        elif do == "drawn":
            session.drawn()
        elif do == "record":
            session.gesture = Gesture()
            session.gesture.add(time.monotonic(), self._edit(message))
        elif do == "stop":
            self._stop_recording(session, message)
        elif do == "play":
            driver = self._drivers.get(str(message.get("driver")))
            if driver is None:
                raise UsageError("this driver is not here any more")
            session.play(driver, relative=message.get("relative") is True)
        elif do == "pause":
            session.play(None)
        elif do == "save":
            portrait, edit = self.gallery.portrait(message.get("portrait")), self._edit(message)
            paste = message.get("paste") is True and portrait.pastes
            work = functools.partial(self._save, portrait, edit, paste)
            self._begin(f"saving {portrait.name}", work, session)
        elif do == "tune":
            portrait, tuning = self.gallery.portrait(message.get("portrait")), self._latents.tuning
            if tuning is None or portrait.photograph is None:
                raise UsageError("a generator is tuned to a photograph, and by a suite that can")
            path = Path(portrait.photograph)
            work = functools.partial(self._embed, path, tuning)
            self._begin(f"tuning to {path.name}", work, pool=self._embedding)
        else:
            raise UsageError(f"nothing is known of {str(do)[:40]!r}")

    def _edit(self, message: dict[str, Any]) -> AskedEdit:
        return AskedEdit.of_json(message.get("edit"), self.gallery.engine.controls)

    def _stop_recording(self, session: Session, message: dict[str, Any]) -> None:
        gesture, session.gesture = session.gesture, None
        if gesture is None:
            raise UsageError("nothing is being recorded")
        portrait = self.gallery.portrait(message.get("portrait"))
        gesture.add(time.monotonic(), self._edit(message))
        kinds = message.get("kinds")
        if not isinstance(kinds, list) or not kinds:
            raise UsageError("say what a gesture is to become")

        def work(tell: Callable[[float], None]) -> dict[str, Any]:
            paths = record(self.gallery, portrait, gesture, list(map(str, kinds)), tell=tell)
            return {"links": [link_of(self.gallery, path) for path in paths]}

        self._begin(f"drawing {gesture.seconds:.1f} s of {portrait.name}", work, session)

    def _save(
        self, portrait: Portrait, edit: AskedEdit, paste: bool, tell: Callable[[float], None]
    ) -> dict[str, Any]:
        del tell
        folder = save(self._latents, portrait, edit, paste_back=paste)
        return {"links": [link_of(self.gallery, saved_image(folder))], "folder": str(folder)}

    def _embed(self, path: Path, how: str, tell: Callable[[float], None]) -> dict[str, Any]:
        found, remarks = self._latents.embed(path, how, tell=tell, stop=lambda: self._closing)
        return {
            "portraits": [each.to_json() for each in found],
            "remarks": remarks,
            "show": self._latents.first_preset in (None, how),
        }

    def _begin(
        self,
        text: str,
        work: Callable[[Callable[[float], None]], dict[str, Any]],
        session: Session | None = None,
        pool: ThreadPoolExecutor | None = None,
    ) -> None:
        """Begins a task in the background, and tells of it: one page, or all."""
        self._numbers += 1
        number, loop = self._numbers, asyncio.get_running_loop()
        told: dict[str, Any] = {"is": "task", "number": number, "text": text}

        def say(message: dict[str, Any]) -> None:
            if session is None:
                self._tell_all(told | message)
            else:
                self._keep(session.tell(told | message))

        said = -1.0

        def tell(share: float) -> None:
            nonlocal said
            # The hand goes first: the work rests while it moves.
            while time.monotonic() - self._moved < PATIENCE and not self._closing:
                time.sleep(0.05)
            # Between the last iteration and the row nothing is in flight: it does not go back.
            if not self._closing and share >= said + 0.005:
                said = share
                loop.call_soon_threadsafe(say, {"state": "running", "share": round(share, 3)})

        async def run() -> None:
            await self._ready.wait()
            self._running_tasks += 1
            try:
                found = await loop.run_in_executor(pool or self._working, work, tell)
                say({"state": "done", **found})
            except Stopped:
                pass
            except FAILURES as error:
                say({"state": "failed", "text": on_one_line(str(error))})
            finally:
                self._running_tasks -= 1

        say({"state": "waiting", "share": 0.0})
        self._keep(run())

    def _hello(self) -> dict[str, Any]:
        gallery, engine = self.gallery, self.gallery.engine
        return {
            "is": "hello",
            "version": __version__,
            "suite": engine.suite.name,
            "size": engine.size,
            "controls": engine.controls.to_json(),
            "portraits": [each.to_json() for each in gallery.portraits()],
            "drivers": [
                {"name": each.name, "seconds": each.seconds} for each in self._drivers.values()
            ],
            "drives": drives(engine),
            "opens": isinstance(gallery, LatentGallery),
            "tunes": isinstance(gallery, LatentGallery) and gallery.tuning is not None,
            "largest": LARGEST,
            "folder": str(gallery.folder),
            "preparing": self._said,
        }

    def _tell_all(self, message: dict[str, Any]) -> None:
        for session in [*self._sessions]:
            self._keep(session.tell(message))

    def _keep(self, coroutine: Any) -> None:
        """Runs something to its end; the loop itself holds tasks weakly."""
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _refused(text: str, status: int) -> web.Response:
    return web.json_response({"error": text}, status=status)
