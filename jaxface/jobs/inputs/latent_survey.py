"""What latent codes say together before any is edited: one reading of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxface.errors import UsageError
from jaxface.jobs.inputs.items import Item
from jaxface.jobs.inputs.latents import LatentError, fits, load_latent

if TYPE_CHECKING:
    from jaxface.suite import Suite

_FIT_ALONE = ("('synthesis',)", "['synthesis']")  # of a file's own, of a row in a shard


@dataclass(frozen=True)
class LatentSurvey:
    """What the codes that can be read say; the others get rows of their own.

    Attributes:
      suites: the names of those that they were inverted with.
      generators: the digests of their generators.
      shapes: of the codes, each with whether it may be one of W.
      presets_for_fit: the presets of those that were inverted for the fit alone.
      tuned: whether one has a generator of its own.
      aligned: whether one's portrait was cut out of a photograph or a frame.
      frames: of those that are frames of clips, what their files say.
    """

    suites: frozenset[str]
    generators: frozenset[str]
    shapes: frozenset[tuple[tuple[int, ...], bool]]
    presets_for_fit: frozenset[str]
    tuned: bool
    aligned: bool
    frames: tuple[dict[str, str], ...]

    def suite(self) -> "Suite":
        """The suite that the codes were inverted with.

        Raises:
          UsageError: they tell of several, or of none, or the suite of that name has another
            generator by now.
          SuiteError: there is no such suite any more.
        """
        if len(self.suites) != 1:
            told = ", ".join(sorted(self.suites)) or "no suite"
            raise UsageError(
                f"the embeddings' files name {told}; say with --suite which one to use"
            )
        from jaxface.suite import load_suite  # sets up JAX, which a wrong call need not wait for

        suite = load_suite(next(iter(self.suites)))
        if self.generators - {suite.digest("generator")}:
            raise UsageError(
                f"the embeddings were made with another generator than the suite {suite.name!r} "
                f"has now; embed again, or use it all the same with --suite {suite.name}"
            )
        return suite

    def check_shapes(self, suite: "Suite") -> None:
        """Insists that the suite's generator takes some of the codes.

        Raises:
          UsageError: it takes none of those that can be read.
        """
        config = suite.generator.config
        wanted = (config.num_ws, config.w_dim)
        if self.shapes and not any(fits(shape, wanted, in_w) for shape, in_w in self.shapes):
            told = " or ".join(str(list(shape)) for shape in sorted(dict(self.shapes))[:3])
            raise UsageError(
                f"--suite {suite.name}: the embeddings are {told}, and its generator takes "
                f"{list(wanted)}; name the suite that they were made with"
            )


def survey_latents(items: Sequence[Item]) -> LatentSurvey:
    """Reads every code once."""
    suites, generators, shapes, presets = set(), set(), set(), set()
    tuned, aligned, frames = False, False, []
    for item in items:
        try:
            latent = load_latent(item)
        except LatentError:
            continue
        header = latent.header
        suites |= _of(header, "settings.suite")
        generators |= _of(header, "settings.generator")
        shapes.add((latent.w_plus.shape, latent.may_be_of_w))
        if header.get("settings.terms") in _FIT_ALONE and "settings.preset" in header:
            presets.add(header["settings.preset"])
        tuned |= latent.weights is not None
        aligned |= "transform" in header
        if "frame" in header:
            frames.append(header)
    return LatentSurvey(
        frozenset(suites),
        frozenset(generators),
        frozenset(shapes),
        frozenset(presets),
        tuned,
        aligned,
        tuple(frames),
    )


def _of(header: dict[str, str], name: str) -> set[str]:
    return {header[name]} if name in header else set()
