"""The page in a browser, with random networks of 16 px: that it draws, follows, and takes back."""


def test_a_drag_is_drawn_and_taken_back(small_studio, new_page, tmp_path):
    page = new_page(small_studio)
    page.page.goto(small_studio.address)
    page.until(lambda: page.frames > 0)
    frames = page.frames
    page.drag(0.1, wait=False)
    page.until(lambda: page.frames > frames)
    assert page.edit["values"]["yaw"] > 0
    page.page.keyboard.press("Control+z")
    assert page.edit == {"values": {}, "light": None, "moves": {}}
    page.page.keyboard.press("s")
    assert page.edit["values"]["smile"] != 0
    (tmp_path / "notes.txt").write_text("no picture")
    page.page.locator("#photograph").set_input_files(tmp_path / "notes.txt")
    page.until(page.page.locator(".task.failed", has_text="notes").count)
    page.errors = [error for error in page.errors if "415" not in error]
    assert page.page.locator("#gaze-0").count() == 0  # of which the suite knows nothing
    page.close()
