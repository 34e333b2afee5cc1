"""The progress bar of a job."""

import sys

from tqdm import tqdm


class Bar:
    """A bar over portraits that also moves while they are under way, so its ETA is known early."""

    def __init__(self, pending: int, done: int, show: bool):
        self._bar = tqdm(
            total=done + pending,
            initial=done,
            disable=not show,
            # A terminal sees it move; a log gets a line now and then.
            mininterval=0.5 if sys.stderr.isatty() else 30,
            bar_format="{l_bar}{bar}| {n:.1f}/{total} [{elapsed}<{remaining}{postfix}]",
        )
        self._done = done

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_) -> None:
        self._bar.close()

    def compiling(self) -> None:
        """Programs are being compiled, which takes a while before the bar moves."""
        self._bar.set_postfix_str("compiling")

    def advance(self, under_way: float) -> None:
        """Called after each chunk with what is done of the portraits under way, in portraits."""
        self._bar.set_postfix_str("", refresh=False)
        self._to(self._done + under_way)

    def update(self, count: int) -> None:
        """`count` more portraits have their rows."""
        self._done += count
        self._to(self._done)

    def add_total(self, count: int) -> None:
        """`count` more portraits are to be done than was known."""
        self._bar.total += count

    def _to(self, position: float) -> None:
        self._bar.update(position - self._bar.n)
