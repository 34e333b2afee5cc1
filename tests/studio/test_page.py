"""The page in a real browser, against the real server with the embedded suite.

With JAXFACE_STUDIO_PICTURES=DIR the last test also writes the documentation's pictures there.
"""

import json
import os
import re
import shlex
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jaxface
from jaxface.cli import main
from jaxface.media.images import read_image, to_uint8

pytestmark = pytest.mark.slow

PHOTOGRAPH = Path(jaxface.__file__).parent / "assets/samples/grace_hopper.jpg"

DRAG = """async (seconds) => {
  const canvas = document.getElementById("canvas"), box = canvas.getBoundingClientRect();
  const x = box.left + box.width / 2, y = box.top + box.height / 2;
  const hand = (kind, right, down) => canvas.dispatchEvent(new PointerEvent(kind, {
    clientX: x + right, clientY: y + down, pointerId: 1, button: 0, bubbles: true }));
  canvas.setPointerCapture = () => {};
  hand("pointerdown", 0, 0);
  studio.stage.forget();
  const first = Number(canvas.dataset.frames), start = performance.now();
  await new Promise((done) => {
    const move = () => {
      const time = (performance.now() - start) / 1000;
      hand("pointermove", 80 * Math.sin(4 * time), 20 * Math.sin(2.6 * time));
      if (time > seconds) done(); else requestAnimationFrame(move);
    };
    requestAnimationFrame(move);
  });
  const rate = (Number(canvas.dataset.frames) - first) / ((performance.now() - start) / 1000);
  const sorted = studio.stage.latencies().sort((a, b) => a - b);
  hand("pointerup", 0, 0);
  return { rate, p95: sorted[Math.floor(0.95 * sorted.length)] };
}"""
"""A hand that does not rest, in the page itself: a driver's own steps take longer than pictures."""


@pytest.fixture
def page(new_page, studio):
    page = new_page(studio).open()
    yield page
    page.close()


def test_a_drag_turns_the_head_by_the_asked_angle_as_it_is_read(page):
    before = page.shown
    command = page.drag(0.1)
    # A head's radius is 0.3 of the portrait's side, and turns it by a radian.
    asked = before["yaw"] + np.rad2deg(0.1 / 0.3)
    assert page.edit["values"]["yaw"] == pytest.approx(asked, abs=0.2)
    assert page.shown["yaw"] == pytest.approx(asked, abs=2.0)
    assert page.shown["pitch"] == pytest.approx(before["pitch"], abs=2.0)
    assert f"--yaw={page.edit['values']['yaw']:g}" in command
    page.drag(0.0, -0.05)
    assert page.shown["pitch"] == pytest.approx(before["pitch"] - np.rad2deg(0.05 / 0.3), abs=2.5)
    rolled = page.edit["values"].get("roll", page.shown["roll"])
    page.drag(0.0, -0.08, shift=True, start=(0.9, 0.5))  # to the right of the middle, upwards
    assert page.edit["values"]["roll"] == pytest.approx(
        rolled + np.rad2deg(np.arctan(0.08 / 0.4)), abs=0.5
    )


def test_keys_undo_compare_and_groups(page):
    keyboard, state = page.page.keyboard, page.edit
    assert state == {"values": {}, "light": None, "moves": {}}
    page.page.locator("#canvas").focus()
    for _ in range(3):
        keyboard.press("ArrowLeft")
    page.rest()
    turned = page.edit["values"]["yaw"]
    for _ in range(4):
        keyboard.press("s")
    page.rest()
    keyboard.press("Alt+ArrowRight")
    page.rest()
    assert page.edit["light"] == [5, 20, 0.8]
    assert set(page.edit["values"]) == {"yaw", "smile"}
    keyboard.press("Control+z")
    keyboard.press("Control+z")
    command = page.rest()
    assert page.edit == {"values": {"yaw": turned}, "light": None, "moves": {}}
    assert "--light" not in command
    keyboard.press("Control+Shift+z")
    page.rest()
    assert "smile" in page.edit["values"]
    page.page.get_by_role("button", name="Reset Head").click()
    page.rest()
    assert set(page.edit["values"]) == {"smile"}
    unedited = "studio.state.edit"
    keyboard.down("v")
    page.rest()
    assert page.page.locator("#compare").get_attribute("aria-pressed") == "true"
    assert page.shown["smile"] == pytest.approx(page.page.evaluate("studio.stage.before.smile"))
    keyboard.up("v")
    page.rest()
    assert page.page.evaluate(unedited)["values"]
    keyboard.press("Control+c")
    keyboard.press("PageDown")
    page.rest()
    assert page.edit["values"] == {}
    keyboard.press("Control+v")
    page.rest()
    assert set(page.edit["values"]) == {"smile"}
    keyboard.press("n")
    page.rest()
    assert page.shown["yaw"] == pytest.approx(0, abs=2.0)
    keyboard.press("0")
    page.rest()
    assert page.edit == {"values": {}, "light": None, "moves": {}}


def test_the_wheel_moves_the_direction_that_was_touched(page):
    page.page.get_by_label("Set of directions").select_option("expression")
    slider = page.page.locator("#moves-expression\\.smile")
    slider.focus()
    box = page.page.locator("#canvas").bounding_box()
    page.page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.page.mouse.wheel(0, -240)
    command = page.rest()
    assert page.edit["moves"]["expression.smile"] > 0
    assert "--direction=expression.smile=" in command
    page.page.get_by_role("button", name="Reset Directions").click()
    page.rest()
    assert page.edit["moves"] == {}


def test_the_command_line_reproduces_the_picture(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page.page.locator("#lamp-0").fill("45")
    page.page.locator("#values-smile").fill("2")
    command = page.drag(0.08, 0.03)
    assert "--together" in command
    with page.page.expect_download() as download:
        page.page.locator("#png").click()
    picture = to_uint8(read_image(download.value.path()).pixels)
    program, *words = shlex.split(command)
    assert program == "jaxface"
    assert main(words) == 0
    (row,) = map(json.loads, Path("edited/results.jsonl").read_text().splitlines())
    drawn = to_uint8(read_image(Path("edited") / row["edited"]).pixels)
    # Two programs of two optimisation levels: within a grey level.
    assert np.abs(picture.astype(int) - drawn.astype(int)).max() <= 1
    page.page.locator("#save").click()
    page.until(lambda: page.page.locator("#tasks a").count())
    (row_file,) = (page.studio.folder / "saved").glob("*/results.jsonl")
    assert json.loads(row_file.read_text())["settings"]["together"] is True


def test_two_pages_have_a_state_each(page, new_page):
    other = new_page(page.studio).open()
    page.drag(0.1)
    other.drag(-0.1)
    assert page.edit["values"]["yaw"] > 10 > -10 > other.edit["values"]["yaw"]
    assert page.shown["yaw"] > 10 > -10 > other.shown["yaw"]
    other.close()


def test_a_restarted_server_is_found_again_with_the_edit_kept(page):
    page.drag(0.1)
    asked, frames = page.edit, page.frames
    assert page.studio.stop() == 0
    page.until(lambda: "off" in page.page.locator("#status").get_attribute("class"))
    page.page.keyboard.press("ArrowRight")  # the hand goes on meanwhile
    page.studio.start()
    page.until(lambda: page.page.locator("#status").get_attribute("class") == "on")
    page.until(lambda: page.frames > frames)
    command = page.rest()
    yaw = asked["values"]["yaw"] + 2
    assert page.edit["values"]["yaw"] == pytest.approx(yaw)
    assert f"--yaw={yaw:g}" in command
    page.page.reload()
    page.ready()
    assert page.rest() == command
    page.page.evaluate("sessionStorage.clear()")


def test_what_is_no_photograph_is_refused(page, tmp_path):
    text, large = tmp_path / "notes.txt", tmp_path / "large.png"
    text.write_text("no picture")
    with large.open("wb") as file:
        file.truncate(100 * 2**20)
    for path, told in ((text, "notes"), (large, "larger than 50 MB")):
        page.page.locator("#photograph").set_input_files(path)
        failed = page.page.locator(".task.failed", has_text=told)
        page.until(failed.count)
        failed.get_by_role("button", name="Close").click()
    # The page looks first; the server does so too.
    answer = page.page.evaluate(
        """async () => {
          const body = new Blob([new Uint8Array(100 * 2 ** 20)]);
          const answer = await fetch("photographs?name=a.png", { method: "POST", body });
          return [answer.status, (await answer.json()).error];
        }"""
    )
    assert answer[0] == 413
    assert "the most that is taken" in answer[1]
    assert not [*(page.studio.folder / "photographs").glob("*")]
    page.errors = [error for error in page.errors if "413" not in error and "415" not in error]


def test_the_keyboard_alone_and_words_for_readers(page):
    unnamed = page.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, canvas, [role]")]
          .filter((each) => each.checkVisibility() && each.getAttribute("aria-hidden") !== "true")
          .filter((each) => !(each.getAttribute("aria-label") || each.labels?.length
            || each.textContent.trim() || each.title))
          .map((each) => each.outerHTML)"""
    )
    assert unnamed == []
    keyboard, seen = page.page.keyboard, set()
    page.page.locator("body").evaluate("(body) => body.focus()")
    for _ in range(120):
        keyboard.press("Tab")
        seen.add(
            page.page.evaluate("document.activeElement.id || document.activeElement.className")
        )
    visible = page.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, textarea, canvas[tabindex]")]
          .filter((each) => each.checkVisibility() && !each.disabled && each.tabIndex >= 0)
          .map((each) => each.id || each.className)"""
    )
    assert set(visible) - seen == set()
    page.page.locator("#values-yaw").focus()
    keyboard.press("ArrowRight")
    page.rest()
    assert "yaw" in page.edit["values"]
    assert "°" in page.page.locator("#values-yaw").get_attribute("aria-valuetext")
    page.page.locator('#film [aria-selected="true"]').focus()
    keyboard.press("ArrowRight")
    selected = page.page.locator('#film [aria-selected="true"]')
    assert selected.evaluate("(each) => each === document.activeElement")
    keyboard.press("?")
    assert page.page.locator("dialog[open]").count() == 1
    keyboard.press("Escape")
    assert page.page.locator("dialog[open]").count() == 0


def test_a_phone_has_it_all_without_overlap(new_page, studio):
    page = new_page(studio, viewport={"width": 390, "height": 844}, has_touch=True).open()
    wide = page.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 390
    for name in ("#canvas", "#undo", "#open", "#values-yaw", "#save"):
        page.page.locator(name).scroll_into_view_if_needed()
        box = page.page.locator(name).bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= 390, name
    apart = page.page.evaluate(
        """() => {
          const side = (each, name) => each.getBoundingClientRect()[name];
          return [...document.querySelectorAll(".row")].filter((row) => row.checkVisibility()
            && [...row.children].some((each, place, all) => place
              && side(each, "left") < side(all[place - 1], "right") - 1));
        }"""
    )
    assert apart == []
    shown, speed = (page.page.locator(name).bounding_box() for name in ("#shown", "#speed"))
    assert speed is None or shown["x"] + shown["width"] <= speed["x"]
    strip, panel = (page.page.locator(name).bounding_box() for name in ("#strip", "#panel"))
    assert strip["y"] + strip["height"] <= panel["y"] + 1
    page.close()


def test_eyes_that_are_dragged_look_there(new_page, looking_studio):
    page = new_page(looking_studio).open()
    sliders = page.page.get_by_label("Set of directions").locator("option")
    assert set(sliders.all_inner_texts()) == {"age", "arkit: mouth"}  # the eight are one group
    page.drag(0.06, 0.024, start=(0.61, 0.47))
    across = {"InRight": 0.25, "OutLeft": 0.25, "OutRight": -0.25, "InLeft": -0.25}
    down = {"DownRight": 0.1, "DownLeft": 0.1, "UpRight": -0.1, "UpLeft": -0.1}
    wanted = {f"arkit.eyeLook{name}": value for name, value in (across | down).items()}
    assert page.edit["moves"] == pytest.approx(wanted, abs=0.011)
    assert page.edit["values"] == {}
    page.page.locator("#gaze-0").fill("-0.2")
    page.rest()
    assert page.edit["moves"]["arkit.eyeLookInLeft"] == 0.1
    page.drag(-0.3, start=(0.39, 0.47))
    assert page.edit["moves"]["arkit.eyeLookInLeft"] == 0.25  # and no further
    page.page.get_by_role("button", name="Reset Gaze").click()
    page.rest()
    assert page.edit["moves"] == {}
    page.close()


def test_it_keeps_up_with_the_hand(page, others):
    """At least 15 pictures a second on the canvas, and 95 of 100 within 120 ms of the hand."""
    page.rest()
    page.page.evaluate(DRAG, 1.0)  # warms the browser up
    for _ in range(4):
        with others:
            found = page.page.evaluate(DRAG, 3.0)
        print(found, f"others had {others.share:.0%}")
        if (found["rate"] >= 15 and found["p95"] < 120) or others.share < 0.02:
            break
    else:
        others.skip_if_busy(found)
    assert found["rate"] >= 15, found
    assert found["p95"] < 120, found


def test_a_warm_start_shows_a_picture_at_once(new_page, studio, others):
    """The same command again, in a new process and a new window: two seconds from its start."""
    new_page(studio).open().close()
    studio.until_kept()
    for _ in range(3):
        assert studio.stop() == 0
        page = new_page(studio)
        with others:
            start = time.monotonic()
            said = studio.start()
            page.page.goto(studio.address)
            page.until(lambda: page.frames > 0)  # noqa: B023
            took = time.monotonic() - start
        page.ready()
        page.rest()
        whole = time.monotonic() - start
        print(
            f"address {said:.2f} s, picture {took:.2f} s, all edits {whole:.2f} s after the start; "
            f"others had {others.share:.0%}"
        )
        page.close()
        if took < 2.0 or others.share < 0.02:
            break
    else:
        others.skip_if_busy(f"the first picture came after {took:.2f} s")
    assert took < 2.0


def test_a_photograph_is_opened_turned_and_lit(new_page, studio):
    """From the dropped file to the saved photograph, and the documentation's pictures."""
    folder = os.environ.get("JAXFACE_STUDIO_PICTURES")

    def picture(page, name):
        if folder:
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.page.screenshot(path=Path(folder) / f"{name}.jpg", type="jpeg", quality=90)

    page = new_page(studio).open()
    loaded = "[...document.images].every((each) => each.complete)"
    page.until(lambda: page.page.evaluate(loaded))
    time.sleep(0.5)  # the cover fades
    picture(page, "begin")
    page.page.locator("#photograph").set_input_files(PHOTOGRAPH)
    portraits = page.page.locator("#film button").count()
    page.until(lambda: page.page.locator("#film button").count() > portraits)
    page.rest()
    first = page.page.locator("#film button").last.get_attribute("aria-label")
    assert first == "grace_hopper.jpg, e4e"
    picture(page, "opened")
    page.drag(0.13, 0.02)
    page.page.locator("#lamp-0").fill("-55")
    page.page.locator("#values-smile").fill("2.2")
    page.rest()
    assert page.shown["yaw"] > 15
    picture(page, "lit")
    page.until(lambda: page.page.locator("#film button").count() > portraits + 1)
    command = page.rest()
    assert "--preset=pie_embedded_fast" in command.splitlines()[0]
    assert "--paste-back" in command
    assert page.edit["values"]["smile"] == 2.2  # the edit stays on the better embedding
    page.until(lambda: not page.page.locator(".task.running").count())
    page.page.locator("#save").click()
    link = page.page.locator("#tasks a")
    page.until(link.count)
    with page.page.expect_download() as download:
        link.first.click()
    with Image.open(download.value.path()) as pasted, Image.open(PHOTOGRAPH) as photograph:
        assert pasted.size == photograph.size
    page.page.locator("#kind").select_option("motion")
    page.page.locator("#record").click()
    page.drag(-0.2)
    page.drag(0.15)
    page.page.locator("#record").click()
    page.until(lambda: page.page.locator("#tasks a", has_text=".safetensors").count())
    (template,) = (studio.folder / "recorded").glob("*.safetensors")
    page.page.locator("#driver").set_input_files(template)
    page.until(lambda: page.page.locator("#drivers option").count())
    frames = page.frames
    page.page.locator("#play").click()
    page.until(lambda: page.frames > frames + 5)
    page.close()
    phone = new_page(studio, viewport={"width": 390, "height": 844}).open()
    phone.page.locator("#film button").last.click()
    phone.drag(0.1)
    picture(phone, "phone")
    assert re.search(r"--yaw=\d", phone.rest())
    phone.close()
