"""The field's words: code and pages say image, so that a reader's search finds them all."""

import re

from source import ROOT

AVOIDED = re.compile(r"\bpictures?\b", re.IGNORECASE)
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "jaxface").rglob("*.py")]


def test_images_are_called_images():
    wrong = [
        f"{page.relative_to(ROOT)}:{number}"
        for page in PAGES
        for number, line in enumerate(page.read_text().splitlines(), 1)
        if AVOIDED.search(line)
    ]
    assert not wrong
