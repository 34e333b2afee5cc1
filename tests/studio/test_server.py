"""The server as a page sees it, and as others must not: with random networks, in this process."""

import asyncio
import json
import os
import struct
import threading
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from aiohttp.test_utils import TestServer
from PIL import Image

from jaxface.errors import UsageError
from jaxface.media.images import read_image
from jaxface.studio import server as module
from jaxface.studio.beginning import PLAIN, Beginning
from jaxface.studio.edits import AskedEdit
from jaxface.studio.engine import Engine
from jaxface.studio.front import LOADING, Front, token_of
from jaxface.studio.server import LARGEST, Server
from jaxface.studio.serving import serve
from jaxface.studio.session import IN_FLIGHT
from jaxface.studio.subjects import LatentGallery
from jaxface.suite import load_suite

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def engine(studio_suite):
    return Engine(load_suite(studio_suite))


@pytest.fixture
def serving(engine, tmp_path):
    """Runs a coroutine with a client and the gallery of a server."""

    def run(test):
        async def main():
            gallery = LatentGallery(engine, tmp_path / "out", refinement="image2stylegan")
            gallery.open([])
            front = Front(TOKEN, lambda: Server(gallery), Beginning(gallery.folder, []))
            await front.open()
            async with (
                TestServer(front.application()) as server,
                aiohttp.ClientSession() as client,
            ):
                address = str(server.make_url(f"/{TOKEN}/"))
                await asyncio.wait_for(test(client, address, gallery), 200)

        asyncio.run(main())

    return run


class Page:
    """What the page does with its socket."""

    def __init__(self, socket):
        self.socket, self.told, self.pictures = socket, [], []

    async def until(self, found, *, drawn=True):
        """Listens until `found(message)` is true of something that came; returns it."""
        while True:
            message = await self.socket.receive(timeout=100)
            if message.type == aiohttp.WSMsgType.BINARY:
                length = struct.unpack("<I", message.data[:4])[0]
                told = json.loads(message.data[4 : 4 + length])
                told |= {"is": "picture", "data": message.data[4 + length :]}
                self.pictures.append(told)
                if drawn:
                    await self.socket.send_json({"do": "drawn"})
            else:
                told = json.loads(message.data)
                self.told.append(told)
            if found(told):
                return told

    async def hello(self):
        """What a page is told once everything is compiled."""
        return await self.until(lambda told: told["is"] == "hello" and not told["preparing"])

    async def ask(self, number, portrait, moving=False, **edit):
        message = {"do": "edit", "number": number, "at": 1.5, "moving": moving}
        await self.socket.send_json({**message, "portrait": portrait["key"], "edit": edit})

    async def picture(self, number):
        return await self.until(lambda told: told.get("number") == number and "data" in told)


def test_an_edit_comes_back_as_a_picture_that_tells_of_itself(serving, tmp_path):
    async def test(client, address, gallery):
        async with client.ws_connect(address + "socket") as socket:
            page = Page(socket)
            hello = await page.hello()
            assert hello["size"] == 16
            assert len(hello["portraits"]) == 8
            first, second = hello["portraits"][:2]
            await page.ask(1, first)
            unedited = await page.picture(1)
            assert unedited["at"] == 1.5
            assert set(unedited["before"]) == set(hello["controls"]["values"])
            assert unedited["command"] == ""
            await page.ask(2, first, values={"yaw": 20})
            turned = await page.picture(2)
            assert "--yaw=20" in turned["command"]
            assert turned["read"]["yaw"] != unedited["read"]["yaw"]
            path = tmp_path / "turned.png"
            path.write_bytes(turned["data"])
            subject = gallery.subject(first["key"])
            drawn = gallery.engine.draw(subject, AskedEdit({"yaw": 20.0}))
            stored = np.asarray(Image.open(path))
            np.testing.assert_array_equal(stored, drawn.pixels)
            await page.ask(3, second, moving=True, values={"yaw": 20})
            moving = await page.picture(3)
            assert moving["moving"]
            assert "command" not in moving
            assert moving["portrait"] == second["key"]

    serving(test)


def test_only_the_newest_edit_is_drawn_and_nothing_queues(serving):
    async def test(client, address, gallery):
        async with client.ws_connect(address + "socket") as socket:
            page = Page(socket)
            portrait = (await page.hello())["portraits"][0]
            for number in range(1, 201):
                values = {"yaw": number / 10}
                await page.ask(number, portrait, moving=number < 200, values=values)
            last = await page.until(
                lambda told: told.get("number") == 200 and "data" in told, drawn=False
            )
            assert not last["moving"]
            # A page that never says that it has drawn gets no more than are on their way.
            assert len(page.pictures) <= IN_FLIGHT
            for number in range(201, 261):
                await page.ask(number, portrait, values={"yaw": 1})
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(socket.receive(), 0.5)
            for _ in range(IN_FLIGHT):
                await socket.send_json({"do": "drawn"})
            assert (await page.picture(260))["number"] == 260

    serving(test)


def test_two_clients_have_a_state_each(serving):
    async def test(client, address, gallery):
        async with (
            client.ws_connect(address + "socket") as one,
            client.ws_connect(address + "socket") as other,
        ):
            pages = [Page(one), Page(other)]
            hellos = [await page.hello() for page in pages]
            portrait = hellos[0]["portraits"][0]
            await pages[0].ask(1, portrait, values={"yaw": 30})
            await pages[1].ask(1, portrait, values={"yaw": -30})
            found = [await page.picture(1) for page in pages]
            assert ["--yaw=30" in each["command"] for each in found] == [True, False]
            assert found[0]["data"] != found[1]["data"]
            await pages[0].socket.send_json({"do": "stop", "portrait": portrait["key"], "edit": {}})
            refused = await pages[0].until(lambda told: told["is"] == "refused")
            assert refused["text"] == "nothing is being recorded"
            assert all(told["is"] != "refused" for told in pages[1].told)

    serving(test)


@pytest.mark.parametrize(
    "message",
    [
        "{",
        "[1]",
        '{"do": "fly"}',
        '{"do": "edit"}',
        '{"do": "edit", "number": 1, "at": 0, "edit": {"values": {"yaw": 1e999}}}',
        '{"do": "save", "portrait": "../../etc", "edit": {}}',
        '{"do": "play", "driver": "none"}',
        '{"do": "tune", "portrait": null}',
        "[" * 5000,
    ],
)
def test_a_message_that_says_nothing_is_answered_and_harms_nothing(serving, message):
    async def test(client, address, gallery):
        async with client.ws_connect(address + "socket") as socket:
            page = Page(socket)
            portrait = (await page.hello())["portraits"][0]
            await socket.send_str(message)
            assert (await page.until(lambda told: told["is"] == "refused"))["text"]
            await page.ask(7, portrait)
            assert await page.picture(7)

    serving(test)


def test_strangers_find_nothing(serving):
    async def test(client, address, gallery):
        root = address.removesuffix(f"{TOKEN}/")
        for url in (root, root + "wrong/", root + f"{TOKEN[:-1]}/", address + "../studio.css"):
            async with client.get(url) as answer:
                assert answer.status == 404, url
        elsewhere = {"Origin": "https://evil.example"}
        async with client.get(address, headers={"Host": "evil.example"}) as answer:
            assert answer.status == 404
        async with client.post(address + "photographs?name=a.png", headers=elsewhere) as answer:
            assert answer.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await client.ws_connect(address + "socket", headers=elsewhere)
        for path in (
            "..%2F..%2Fsubjects.py",
            "server.py",
            "files/saved/..%2F.token",
            "files/.token",
        ):
            async with client.get(aiohttp.client.URL(address + path, encoded=True)) as answer:
                assert answer.status == 404, path
        async with client.get(address) as answer:
            assert answer.status == 200
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Referrer-Policy"] == "no-referrer"
        for name in ("studio.css", "main.js", "icon.svg"):
            async with client.get(address + name) as answer:
                assert answer.status == 200

    serving(test)


def test_uploads_are_checked_as_every_input_is(serving, monkeypatch, tmp_path):
    async def test(client, address, gallery):
        folder = gallery.folder / "photographs"

        async def send(data, name="a.png", kind="photographs"):
            url = f"{address}{kind}?name={name}"
            async with client.post(url, data=data) as answer:
                return answer.status, (await answer.json(content_type=None))

        status, told = await send(b"just words, and no picture at all")
        assert status == 415
        assert "a.png" in told["error"]
        assert (await send(b""))[0] == 413
        small = tmp_path / "small.png"
        Image.new("RGB", (8, 8)).save(small)
        assert (await send(small.read_bytes()))[0] == 415
        assert (await send(b"x", "clip.exe", "drivers"))[0] == 415
        monkeypatch.setattr(module, "LARGEST", 1000)

        async def pieces():
            for _ in range(50):
                yield b"x" * 100

        for data in (b"x" * 5000, pieces()):  # with its length, and without
            status, told = await send(data)
            assert status == 413
            assert "the most that is taken" in told["error"]
        assert not [*folder.glob("*")]

    assert LARGEST == 50 * 2**20
    serving(test)


def test_a_photograph_joins_the_filmstrip_for_all_pages(serving, tmp_path):
    picture = tmp_path / "anna.png"
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    Image.fromarray(noise).save(picture)

    async def test(client, address, gallery):
        gallery.__dict__["_faces"] = None  # random pixels hold no face
        async with client.ws_connect(address + "socket") as socket:
            page = Page(socket)
            await page.hello()
            url = f"{address}photographs?name=anna.png"
            async with client.post(url, data=picture.read_bytes()) as answer:
                assert answer.status == 200
            done = await page.until(lambda told: told.get("state") in ("done", "failed"))
            assert done["state"] == "done", done
            (found,) = done["portraits"]
            assert found["how"] == "image2stylegan"
            assert "centre-cropped from 20x24 to 20x20" in done["remarks"]
            shares = [told["share"] for told in page.told if told.get("state") == "running"]
            assert shares == sorted(shares)
            assert len(shares) > 2
            await page.ask(1, found, values={"yaw": 5})
            told = await page.picture(1)
            invert, edit = told["command"].splitlines()
            assert "--preset=image2stylegan" in invert
            assert invert.startswith("jaxface invert")
            assert edit.startswith("jaxface edit")
            async with client.get(f"{address}thumbnails/{found['key']}") as answer:
                assert answer.status == 200
            message = {"do": "save", "portrait": found["key"], "edit": {"values": {"yaw": 5}}}
            await socket.send_json({**message, "paste": True})
            done = await page.until(
                lambda told: told.get("state") in ("done", "failed") and "saving" in told["text"]
            )
            (link,) = done["links"]
            async with client.get(address + link) as answer:
                assert answer.status == 200
                assert "attachment" in answer.headers["Content-Disposition"]
                (tmp_path / "saved.png").write_bytes(await answer.read())
            assert read_image(tmp_path / "saved.png").pixels.shape == (16, 16, 3)

    serving(test)


def test_a_gesture_is_recorded(serving):
    async def test(client, address, gallery):
        async with client.ws_connect(address + "socket") as socket:
            page = Page(socket)
            portrait = (await page.hello())["portraits"][0]
            say = {"portrait": portrait["key"], "edit": {}}
            await socket.send_json({"do": "record", **say})
            for number in range(1, 6):
                await asyncio.sleep(0.05)
                await page.ask(number, portrait, moving=True, values={"yaw": 4 * number})
            say["edit"] = {"values": {"yaw": 20}}
            await socket.send_json({"do": "stop", **say, "kinds": ["gif", "motion"]})
            done = await page.until(lambda told: told.get("state") in ("done", "failed"))
            assert done["state"] == "done", done
            assert [link.rpartition(".")[2] for link in done["links"]] == ["gif", "safetensors"]

    serving(test)


def test_a_page_begins_as_before_while_networks_are_loaded(engine, tmp_path):
    """Another start of the same command: strip, first portrait, and the edit that waits."""

    async def test():
        gallery = LatentGallery(engine, tmp_path / "out")
        gallery.open([])
        first = Beginning(gallery.folder, ["a call"])
        front = Front(TOKEN, lambda: Server(gallery), first)
        async with TestServer(front.application()) as server, aiohttp.ClientSession() as client:
            address = server.make_url(f"/{TOKEN}/")
            async with client.ws_connect(address / "socket") as socket:
                page = Page(socket)
                portrait = (await page.hello())["portraits"][0]
                await page.ask(1, portrait, **PLAIN)
                still = await page.picture(1)
            while Beginning(gallery.folder, ["a call"]).hello is None:
                await asyncio.sleep(0.05)
        assert Beginning(gallery.folder, ["another"]).hello is None

        let = threading.Event()

        def opening():
            assert let.wait(100)
            return Server(gallery)

        front = Front(TOKEN, opening, Beginning(gallery.folder, ["a call"]))
        async with TestServer(front.application()) as server, aiohttp.ClientSession() as client:
            address = server.make_url(f"/{TOKEN}/")
            async with client.ws_connect(address / "socket") as socket:
                page = Page(socket)
                hello = await page.until(lambda told: told["is"] == "hello")
                assert hello["preparing"] == LOADING
                await page.ask(1, portrait, **PLAIN)
                shown = await page.picture(1)
                assert shown["data"] == still["data"]
                assert shown["before"] == still["before"]
                async with client.get(address / f"thumbnails/{portrait['key']}") as answer:
                    assert answer.status == 200
                await socket.send_json({"do": "save", "portrait": portrait["key"], "edit": {}})
                assert "loaded" in (await page.until(lambda told: "text" in told))["text"]
                for number in (2, 3):
                    await page.ask(number, portrait, values={"yaw": 10 * number})
                let.set()
                await page.picture(3)
                assert [each["number"] for each in page.pictures] == [1, 3]
        path = Path(gallery.portraits()[3].item.path)
        os.utime(path, ns=(0, 0))  # another portrait may be in it now
        assert Beginning(gallery.folder, ["a call"]).hello is None

    asyncio.run(asyncio.wait_for(test(), 200))


def test_a_page_that_goes_as_it_comes_is_not_kept(engine, tmp_path):
    class Gone:
        closed = False

        async def send_str(self, text):
            raise ConnectionResetError

    async def test():
        gallery = LatentGallery(engine, tmp_path / "out")
        server = Server(gallery)
        with pytest.raises(ConnectionResetError):
            await server.attend(Gone())
        assert not server._sessions
        server.close()

    asyncio.run(test())


def test_warming_that_fails_ends(engine, tmp_path, monkeypatch):
    def fail(self):
        raise OSError("the encoder's file is gone")

    async def test():
        gallery = LatentGallery(engine, tmp_path / "out")
        gallery.open([])
        monkeypatch.setattr(LatentGallery, "warm", fail)
        server = Server(gallery)
        server.begin(Beginning(gallery.folder, []))
        while server.busy:
            await asyncio.sleep(0.05)
        server.close()

    asyncio.run(asyncio.wait_for(test(), 100))


def test_a_start_that_fails_behind_its_page_is_told_once(engine, tmp_path, capsys):
    gallery = LatentGallery(engine, tmp_path / "out")
    gallery.open([])
    beginning = Beginning(gallery.folder, [])
    beginning.keep({"portraits": []}, b"", {}, gallery.files())

    def opening():
        raise UsageError("the suite is damaged")

    beginning = Beginning(gallery.folder, [])
    assert beginning.hello is not None
    with pytest.raises(UsageError, match="is damaged"):
        serve(opening, gallery.folder, beginning, host="127.0.0.1", port=0)
    printed = capsys.readouterr()
    assert printed.out.startswith("studio: ")
    assert printed.err == ""


def test_a_token_lasts_and_is_its_owners(tmp_path):
    token = token_of(tmp_path / "studio")
    assert len(token) >= 20
    assert token_of(tmp_path / "studio") == token
    assert token_of(tmp_path / "other") != token
    assert (tmp_path / "studio/.token").stat().st_mode & 0o077 == 0
    (tmp_path / "other/.token").write_text("x\n")
    assert len(token_of(tmp_path / "other")) >= 20
