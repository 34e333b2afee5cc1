"""Faces of a clip's frames, looked for in processes ahead of whoever uses them."""

import concurrent.futures
import multiprocessing
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from jaxface.media.detection import FindFaces, NoFaceError, in_order, in_two_steps
from jaxface.media.images import from_uint8
from jaxface.media.video.frames import Frame


def detect_ahead(
    frames: Iterable[Frame], find_faces: FindFaces, *, workers: int = 0, ahead: int = 4
) -> Iterator[tuple[Frame, np.ndarray]]:
    """Each frame with its faces' landmarks, float64 [N, 68, 2] from left to right, in order.

    Args:
      frames: read as far ahead as the processes are.
      find_faces: a detector; one in two steps looks in the processes and places its points here,
        where the device is.
      workers: processes; 0 looks in this one.
      ahead: frames that wait for each process.
    """
    two = in_two_steps(find_faces)
    first: Callable[[np.ndarray], Any] = find_faces.preprocess if two else find_faces  # type: ignore

    def landmarks(seen: Any) -> np.ndarray:
        try:
            return in_order(find_faces.predict(seen) if two else seen, find_faces)  # type: ignore
        except NoFaceError:
            return np.zeros((0, 68, 2))

    if not workers:
        for frame in frames:
            yield frame, landmarks(_seen(first, frame.pixels))
        return
    waiting: deque[tuple[Frame, concurrent.futures.Future]] = deque()
    spawn = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=spawn) as pool:
        try:
            for frame in frames:
                waiting.append((frame, pool.submit(_seen, first, frame.pixels)))
                if len(waiting) > workers * ahead:
                    done, future = waiting.popleft()
                    yield done, landmarks(future.result())
            while waiting:
                done, future = waiting.popleft()
                yield done, landmarks(future.result())
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _seen(look: Callable[[np.ndarray], Any], pixels: np.ndarray) -> Any:
    return look(from_uint8(pixels))
