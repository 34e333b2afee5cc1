"""Where a clip cuts from one shot to another.

Two differences between neighbouring frames must both be high: one of colours (histograms of four
quarters, which a pan hardly changes from frame to frame) and one of shapes (small images without
their brightness and contrast, which a change of light does not touch). A cut stands out from the
frames around it; a pan is a run of frames with equal differences.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from PIL import Image

THUMBNAIL, BINS = 16, 16


@dataclasses.dataclass(frozen=True)
class CutSettings:
    """When a difference is a cut.

    Attributes:
      threshold: of the difference, in [0, 1].
      times: how many times the differences of the frames around it a cut's must be.
      around: frames on each side that count as around.
    """

    threshold: float = 0.15
    times: float = 2.0
    around: int = 2


class Differences:
    """The difference of each frame to the one before it, in [0, 1]; 0 for the first."""

    def __init__(self):
        self.values: list[float] = []
        self._before: tuple[np.ndarray, np.ndarray] | None = None

    def add(self, pixels: np.ndarray):
        """The next frame, uint8 [H, W, 3]."""
        size = (2 * THUMBNAIL, 2 * THUMBNAIL)
        image = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
        small = np.asarray(image, np.float32)
        now = (_histograms(small), _shape(small))
        if self._before is None:
            self.values.append(0.0)
        else:
            colours = np.abs(now[0] - self._before[0]).sum(-1).mean() / 2
            shapes = (1 - (now[1] * self._before[1]).mean()) / 2
            self.values.append(float(min(colours, 2 * shapes)))
        self._before = now


def find_cuts(differences: Sequence[float], settings: CutSettings | None = None) -> list[int]:
    """Frames with which a new shot begins.

    Args:
      differences: `Differences.values` of a whole clip.
      settings: None for the defaults.
    """
    settings = settings or CutSettings()
    values, found = np.asarray(differences, np.float64), []
    for place in np.flatnonzero(values >= settings.threshold).tolist():
        low = max(1, place - settings.around)
        others = np.delete(values[low : place + settings.around + 1], place - low)
        if not len(others) or values[place] >= settings.times * others.max():
            found.append(place)
    return found


def _histograms(small: np.ndarray) -> np.ndarray:
    """[4 quarters, 3 channels, BINS], each summing to 1; a value counts for its two bins."""
    quarters = small.reshape(2, THUMBNAIL, 2, THUMBNAIL, 3).transpose(0, 2, 4, 1, 3)
    places = quarters.reshape(4, 3, -1, 1) * ((BINS - 1) / 255)
    return (1 - np.abs(places - np.arange(BINS))).clip(0).mean(2)


def _shape(small: np.ndarray) -> np.ndarray:
    """Grey values with a mean of 0 and a variance of 1; 0 where the frame is flat."""
    grey = small.mean(-1)
    return (grey - grey.mean()) / max(float(grey.std()), 1.0)
