"""Slots that solve nothing: for tests of signals, processes and files, which compile nothing."""

import time

import numpy as np

from jaxface.jobs import runner
from jaxface.solving.continuous_batching import Outcome, Snapshot
from jaxface.solving.solver import Status


class QuickSlots:
    """Takes half a second for a batch. Portraits that are stopped count as begun.

    Args:
      size: slots.
      seconds: how long a batch takes, in five chunks.
      diverging: names that diverge.
    """

    def __init__(self, size, seconds=0.5, diverging=()):
        self.size, self.seconds, self.diverging = size, seconds, diverging
        self._under_way = []

    def run(self, networks, problems, *, stop, progress):
        problems, more = iter(problems), True
        while more and not stop():
            while len(self._under_way) < self.size:
                problem = next(problems, None)
                if problem is None:
                    more = False
                    break
                self._under_way.append(problem)
            for chunk in range(5):
                if stop():
                    return
                time.sleep(self.seconds / 5)
                progress(len(self._under_way) * chunk / 5)
            ended, self._under_way = self._under_way, []
            if ended:
                yield [self._outcome(problem) for problem in ended]

    def _outcome(self, problem):
        image = problem.inputs
        pixels = np.zeros(image.shape, np.uint8)
        measures = {"psnr": np.float32(20), "ssim": np.float32(0.5), "pixels": pixels}
        losses = {"loss": np.float32(1), "perceptual": np.float32(1)}
        lost = any(problem.name.endswith(name) for name in self.diverging)
        return Outcome(
            name=problem.name,
            status=Status.DIVERGED if lost else Status.RUNNING,
            steps=len(problem.saved.leaves),  # tells that it was gone on with
            restarted=lost,
            result=None if lost else (np.full((6, 32), image.mean()), losses, measures, None),
            seconds=self.seconds,
        )

    def ended(self):
        return []

    def in_flight(self):
        under_way, self._under_way = self._under_way, []
        return under_way

    def saved(self):
        leaves = (np.zeros(3, np.float32),)
        return {p.name: Snapshot(0, begun=True, leaves=leaves) for p in self.in_flight()}


def install(monkeypatch=None, make=QuickSlots):
    """Makes `jaxface invert` use them: in a test, or for good in a process of its own."""
    put = setattr if monkeypatch is None else monkeypatch.setattr
    put(runner.Runner, "_batcher_of", lambda self, size: make(size))
    put(runner.Runner, "_fitting_batcher", lambda self: make(self.size))
