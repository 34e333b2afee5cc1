"""Contact sheets: the images of an item side by side, with a caption."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jaxface.media.images import encode_png, to_uint8
from jaxface.runtime.files import atomic_writer

SHEET_CELLS = 64  # results on a sheet; more would make an image too large to open
SIDE = 192  # pixels of one image on the sheet
LARGE = 256  # of one on the sheets of jobs: four times the embedded suite's
GAP = 12
INNER = 4  # between the images of a cell
LINE = 16
INK = (32, 32, 32)
QUIET_INK = (110, 110, 110)
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
      remark: a third line, which warns: of a missed target, or an outlier.
    """

    name: str
    result: str
    images: tuple[np.ndarray | None, ...]
    remark: str = ""


def write_contact_sheet(
    path: str | os.PathLike[str],
    cells: Sequence[Cell],
    *,
    title: str,
    columns: int = 4,
    labels: Sequence[str] = (),
    side: int = SIDE,
) -> None:
    """Writes `draw_contact_sheet` as a PNG."""
    sheet = draw_contact_sheet(cells, title=title, columns=columns, labels=labels, side=side)
    write_sheets(path, [sheet])


def write_sheets(path: str | os.PathLike[str], sheets: Sequence[Image.Image]) -> None:
    """Writes a PNG of sheets, one below the other."""
    size = (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets))
    whole = Image.new("RGB", size, "white")
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    with atomic_writer(path) as file:
        file.write(encode_png(np.asarray(whole), kind="composite"))


def draw_contact_sheet(
    cells: Sequence[Cell],
    *,
    title: str,
    columns: int = 4,
    labels: Sequence[str] = (),
    side: int = SIDE,
) -> Image.Image:
    """An image of cells, in rows of at most `columns`; each shows its images side by side.

    Args:
      cells: in their order.
      title: above all.
      columns: most cells in a row.
      labels: of a cell's images, above each.
      side: pixels of an image on the sheet.
    """
    columns = max(1, min(columns, len(cells)))
    rows = -(-len(cells) // columns)
    count = max((len(cell.images) for cell in cells), default=1)
    cell_width = count * side + (count - 1) * INNER + GAP
    lines = 3 if any(cell.remark for cell in cells) else 2
    over = LINE + 2 if labels else 0
    cell_height = over + side + lines * LINE + 6 + GAP
    header = 40
    size = (columns * cell_width + GAP, header + rows * cell_height + GAP)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(16), ImageFont.load_default(13)
    draw.text((GAP, GAP), _fitted(title, font, size[0] - 2 * GAP), INK, font)
    for index, cell in enumerate(cells):
        left = GAP + index % columns * cell_width
        top = header + index // columns * cell_height
        for place, label in enumerate(labels):
            where = (left + place * (side + INNER), top)
            draw.text(where, _fitted(label, small, side), QUIET_INK, small)
        top += over
        for place, image in enumerate(cell.images):
            sheet.paste(_thumbnail(image, side), (left + place * (side + INNER), top))
        failed = cell.images[-1] is None
        inks = (INK, FAILURE_INK if failed else INK, FAILURE_INK)
        captions = (cell.name, cell.result, cell.remark)
        for line, (text, ink) in enumerate(zip(captions, inks, strict=True)):
            where = (left, top + side + 3 + line * LINE)
            draw.text(where, _fitted(text, small, cell_width - GAP), ink, small)
    return sheet


def _thumbnail(pixels: np.ndarray | None, side: int) -> Image.Image:
    if pixels is None:
        return Image.new("RGB", (side, side), BLANK)
    image = Image.fromarray(np.asarray(to_uint8(pixels)))
    kernel = Image.Resampling.BICUBIC if max(image.size) <= side else Image.Resampling.BOX
    longest = max(image.size)
    width, height = (max(1, round(side * length / longest)) for length in image.size)
    shown = Image.new("RGB", (side, side), "white")
    shown.paste(image.resize((width, height), kernel), ((side - width) // 2, (side - height) // 2))
    return shown


def _fitted(text: str, font, width: int) -> str:
    """The text, its middle left out where it is too wide."""
    whole = text = text.encode("ascii", "replace").decode()  # all that the built-in font is sure of
    for keep in range(len(whole) - 1, 1, -1):
        if font.getlength(text) <= width:
            break
        text = f"{whole[: keep // 2]}...{whole[keep // 2 - keep :]}"
    return text
