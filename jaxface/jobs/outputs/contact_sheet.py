"""Contact sheets: the images of an item side by side, with a caption."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxface.media.images import to_uint8
from jaxface.runtime.files import atomic_writer

SHEET_CELLS = 64  # results on a sheet; more would make an image too large to open
SIDE = 192  # pixels of one image on the sheet
GAP = 12
CAPTION = 38
INK = (32, 32, 32)
FAILURE_INK = (170, 20, 20)
BLANK = (225, 225, 225)


@dataclass(frozen=True)
class Cell:
    """One item on the sheet.

    Attributes:
      name: the first line of the caption.
      result: the second line, such as "31.2 dB" or a failure's name.
      images: each [H, W, 3] in [-1, 1], or None if there is none. Without the last one, the
        result, the item counts as failed.
    """

    name: str
    result: str
    images: tuple[np.ndarray | None, ...]


def write_contact_sheet(
    path: str | os.PathLike[str], cells: Sequence[Cell], *, title: str, columns: int = 4
) -> None:
    """Writes a PNG of cells, in rows of at most `columns`; each shows its images side by side."""
    columns = max(1, min(columns, len(cells)))
    rows = -(-len(cells) // columns)
    cell_width = max(len(cell.images) for cell in cells) * SIDE + GAP
    cell_height = SIDE + CAPTION + GAP
    header = 40
    size = (columns * cell_width + GAP, header + rows * cell_height + GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(16), ImageFont.load_default(13)
    draw.text((GAP, GAP), _fitted(title, font, size[0] - 2 * GAP), INK, font)
    for index, cell in enumerate(cells):
        left = GAP + index % columns * cell_width
        top = header + index // columns * cell_height
        for place, image in enumerate(cell.images):
            sheet.paste(_thumbnail(image), (left + place * SIDE, top))
        name = _fitted(cell.name, small, cell_width - GAP)
        failed = cell.images[-1] is None
        draw.text((left, top + SIDE + 3), name, INK, small)
        draw.text((left, top + SIDE + 19), cell.result, FAILURE_INK if failed else INK, small)
    with atomic_writer(path) as file:
        sheet.save(file, format="PNG")


def _thumbnail(pixels: np.ndarray | None) -> Image.Image:
    if pixels is None:
        return Image.new("RGB", (SIDE, SIDE), BLANK)
    image = Image.fromarray(np.asarray(to_uint8(pixels)))
    kernel = Image.Resampling.BICUBIC if image.width <= SIDE else Image.Resampling.BOX
    return image.resize((SIDE, SIDE), kernel)


def _fitted(text: str, font, width: int) -> str:
    """The text, its middle left out where it is too wide."""
    whole = text = text.encode("ascii", "replace").decode()  # all that the built-in font is sure of
    for keep in range(len(whole) - 1, 1, -1):
        if font.getlength(text) <= width:
            break
        text = f"{whole[: keep // 2]}...{whole[keep // 2 - keep :]}"
    return text
