"""The studio's tests: a suite of random weights, and a server on this machine with a browser."""

import contextlib
import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import pytest

ARGUMENTS = ("--no-sandbox", "--use-angle=swiftshader")
"""Of a Chromium that runs as root, on a machine without a graphics processor."""

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def studio_suite(tiny_suite, random_network, tmp_path_factory):
    """A 16 px suite with every kind of edit but directions of motion."""
    from jaxface.morphable import EDITABLE_GROUPS
    from jaxface.nets import ReconstructionConfig, RigNetConfig
    from jaxface.nets.edits.linear_directions import directions_of
    from jaxface.weights import save_network

    folder = tmp_path_factory.mktemp("studio") / "suite"
    shutil.copytree(tiny_suite, folder)
    reconstruction = random_network(
        "FaceReconstruction", ReconstructionConfig(resolution=16, channels=(4, 4), hidden=8)
    )
    reconstruction.scale[...] = jnp.full(257, 0.5)
    reconstruction.out.weight[...] = 1e-4 * reconstruction.out.weight[...]
    save_network(folder / "reconstruction.safetensors", reconstruction)
    for group in EDITABLE_GROUPS:
        rignet = random_network("RigNet", RigNetConfig(group, num_ws=6, w_dim=32, hidden=2))
        rignet.decoder[...] = 1e-2 * rignet.decoder[...]  # feedback stays finite
        save_network(folder / f"rignet_{group}.safetensors", rignet)
    directions = directions_of(["old", "glad"], jnp.eye(2, 32), units=jnp.array([1.0, 2.0]))
    save_network(folder / "direction_age.safetensors", directions)
    return folder


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium of the machine; nothing is downloaded.

    Playwright has an event loop running until it ends, beside which other modules could run none.
    """
    sync_api = pytest.importorskip("playwright.sync_api")
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS])
        yield browser
        browser.close()


class Studio:
    """`jaxface studio` in a process of its own, as a person starts it."""

    def __init__(self, folder: Path, *options: object, port: int = 0):
        self.folder, self._options, self.port = folder, [*map(str, options)], port
        self.address = ""
        self._process: subprocess.Popen | None = None

    def start(self) -> float:
        """Starts it; returns the seconds until it said its address."""
        start = time.monotonic()
        # As users run it: with XLA's optimisations, which the tests' own process leaves out.
        environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
        command = [sys.executable, "-m", "jaxface", "studio", *self._options]
        self._process = subprocess.Popen(
            [*command, "--out", str(self.folder), "--port", str(self.port)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = re.search(r"http://\S+:(\d+)/\S+", line)
        assert found, line
        self.address, self.port = found[0], int(found[1])
        return time.monotonic() - start

    def until_kept(self) -> None:
        """Waits until the next start has something to begin with."""
        end = time.monotonic() + 100
        while not (self.folder / "beginning" / "hello.json").is_file():
            assert time.monotonic() < end
            time.sleep(0.05)

    def stop(self) -> int:
        """Ends it as Ctrl-C does; returns the exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(30)
        self._process = None
        return status


class Page:
    """A page of the studio, and what a person does with it."""

    def __init__(self, browser, studio, **options):
        self.studio = studio
        self.context = browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, **options}
        )
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _said(self, message):
        # A socket that finds no server is told to the console, by the browser.
        if message.type in ("error", "warning") and "WebSocket connection" not in message.text:
            self.errors.append(message.text)

    def open(self):
        self.page.goto(self.studio.address)
        return self.ready()

    def ready(self):
        """Waits until everything is compiled and a picture is shown."""
        self.until(lambda: self.page.locator("#status").get_attribute("class") == "on")
        self.until(lambda: self.frames > 0)
        return self

    def until(self, found, seconds=300.0):
        end = time.monotonic() + seconds
        while not (value := found()):
            assert time.monotonic() < end, self.page.locator("body").inner_text()
            time.sleep(0.02)
        return value

    @property
    def frames(self):
        return int(self.page.locator("#canvas").get_attribute("data-frames"))

    @property
    def edit(self):
        return self.page.evaluate("studio.state.edit")

    @property
    def shown(self):
        """What is read of the picture at rest."""
        return self.page.evaluate("studio.stage.shown")

    def rest(self):
        """Waits until the newest edit is drawn at rest."""
        time.sleep(0.35)
        at_rest = """studio.stage.last?.moving === false
          && studio.stage.last.number === studio.link.number"""
        self.until(lambda: self.page.evaluate(at_rest))
        return self.page.locator("#command").input_value()

    def drag(self, right, down=0.0, *, shift=False, start=(0.5, 0.5), wait=True):
        """Drags the head, in sides of the portrait, and waits for its picture at rest."""
        box = self.page.locator("#canvas").bounding_box()
        x, y = box["x"] + start[0] * box["width"], box["y"] + start[1] * box["height"]
        mouse = self.page.mouse
        mouse.move(x, y)
        if shift:
            self.page.keyboard.down("Shift")
        mouse.down()
        for share in (0.25, 0.5, 0.75, 1.0):
            mouse.move(x + share * right * box["width"], y + share * down * box["height"])
        mouse.up()
        if shift:
            self.page.keyboard.up("Shift")
        return self.rest() if wait else ""

    def close(self):
        self.context.close()
        assert self.errors == []


@pytest.fixture(scope="module")
def new_page(browser):
    """Makes a page of a studio's."""
    return functools.partial(Page, browser)


class Others:
    """The share of the cores that other processes have, from the beginning of a `with` to its end.

    This process and what it started, the server and the browser among them, are no others.
    """

    def __enter__(self) -> "Others":
        self.share = 0.0
        self._begin = self._ticks()
        return self

    def __exit__(self, *error: object) -> None:
        if self._begin is not None:
            (own, busy, total), (o, b, t) = self._ticks() or (0, 0, 0), self._begin
            self.share = max(0.0, (busy - b) - (own - o)) / max(total - t, 1)

    @staticmethod
    def _ticks() -> tuple[int, int, int] | None:
        """Of this process's tree, of all processes, and of all cores, since the machine's start."""
        if not Path("/proc/stat").is_file():
            return None
        cores = [int(each) for each in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        parents, spent = {}, {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it has just ended
                # Behind the name, which may hold anything: state, parent, ..., four times.
                fields = path.read_text().rpartition(")")[2].split()
                parents[int(path.parent.name)] = int(fields[1])
                spent[int(path.parent.name)] = sum(map(int, fields[11:15]))
        own, more = {os.getpid()}, True
        while more:
            more = {each for each, parent in parents.items() if parent in own} - own
            own |= more
        return sum(spent.get(each, 0) for each in own), sum(cores) - sum(cores[3:5]), sum(cores)

    def skip_if_busy(self, reached: object) -> None:
        """Skips a measurement that missed its goal while others had more than a tenth."""
        if self.share > 0.1:
            pytest.skip(f"{reached}, while other processes had {self.share:.0%} of the cores")


@pytest.fixture
def others():
    """Measures what other processes take of the cores."""
    return Others()


@contextlib.contextmanager
def serving(folder: Path, *options: object):
    """A studio that has been started."""
    server = Studio(folder, *options)
    server.start()
    try:
        yield server
    finally:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.stop()


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    """The embedded suite's studio, with its samples; photographs are refined by the preset of
    seconds, where the studio's own choice takes minutes."""
    folder = tmp_path_factory.mktemp("studio") / "out"
    with serving(folder, "--preset", "pie_embedded_fast") as server:
        yield server


@pytest.fixture(scope="module")
def looking_studio(browser, studio_suite, tmp_path_factory):
    """That of a suite with directions of ARKit's units of looking, and one more."""
    from jaxface.morphable.motion import motion_names
    from jaxface.nets.edits.linear_directions import directions_of
    from jaxface.weights import save_network

    del browser
    folder = tmp_path_factory.mktemp("looking") / "suite"
    shutil.copytree(studio_suite, folder)
    names = [*(name for name in motion_names() if name.startswith("eyeLook")), "jawOpen"]
    units = ["ARKit unit"] * len(names)
    directions = directions_of(names, jnp.eye(len(names), 32), unit_names=units)
    save_network(folder / "direction_arkit.safetensors", directions)
    with serving(tmp_path_factory.mktemp("looking") / "out", "--suite", folder) as server:
        yield server


@pytest.fixture(scope="module")
def small_studio(browser, studio_suite, tmp_path_factory):
    """That of the suite of random weights."""
    del browser  # or the tests skip before a server is started
    with serving(tmp_path_factory.mktemp("small") / "out", "--suite", studio_suite) as server:
        yield server
