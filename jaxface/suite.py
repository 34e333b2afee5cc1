"""A suite: the named set of networks that belong together.

On disk it is a folder of ``<role>.safetensors`` files, each written by
:func:`jaxface.weights.save_network`.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

from jaxface.errors import SuiteError
from jaxface.nets import (
    IRSE,
    VGG16,
    Discriminator,
    E4EEncoder,
    FaceReconstruction,
    Generator,
    PSPEncoder,
    RestyleE4EEncoder,
    RestylePSPEncoder,
    WEncoder,
)
from jaxface.weights import load_network, read_header

Encoder = PSPEncoder | E4EEncoder | WEncoder | RestylePSPEncoder | RestyleE4EEncoder

# Role to the classes of network that can play it.
ROLES: dict[str, tuple[type, ...]] = {
    "generator": (Generator,),
    "discriminator": (Discriminator,),
    "encoder": (PSPEncoder, E4EEncoder, WEncoder, RestylePSPEncoder, RestyleE4EEncoder),
    "perceptual": (VGG16,),
    "recognition": (IRSE,),
    "reconstruction": (FaceReconstruction,),
}

ASSETS = Path(__file__).parent / "assets"


@dataclasses.dataclass(frozen=True)
class Suite:
    """Networks by role, loaded when first asked for.

    ``suite.generator``, ``suite.discriminator``, ``suite.encoder``, ``suite.perceptual``,
    ``suite.recognition``, ``suite.reconstruction``; a role that the suite lacks raises
    :class:`SuiteError` on access. ``in suite`` tells without loading.
    """

    name: str
    files: dict[str, Path]
    _loaded: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    def __contains__(self, role: str) -> bool:
        return role in self.files

    def metadata(self, role: str) -> dict[str, str]:
        """The header of a network's file: configuration, source, versions."""
        return read_header(self._file(role))

    def network(self, role: str) -> Any:
        """The network in a role.

        Raises:
            SuiteError: if the suite has none, or the file holds another class of network.
            WeightsError: if its file is damaged.
        """
        if role not in self._loaded:
            network = load_network(self._file(role))
            if not isinstance(network, ROLES[role]):
                expected = " or ".join(each.__name__ for each in ROLES[role])
                raise SuiteError(
                    f"{self.files[role]}: expected a {expected} as {role}, got a "
                    f"{type(network).__name__}"
                )
            self._loaded[role] = network
        return self._loaded[role]

    @property
    def generator(self) -> Generator:
        """StyleGAN2's generator (its running average, where it was trained with one)."""
        return self.network("generator")

    @property
    def discriminator(self) -> Discriminator:
        """StyleGAN2's discriminator."""
        return self.network("discriminator")

    @property
    def encoder(self) -> Encoder:
        """Portraits to W+; ReStyle's also take what the generator made so far."""
        return self.network("encoder")

    @property
    def perceptual(self) -> VGG16:
        """Features for perceptual distances."""
        return self.network("perceptual")

    @property
    def recognition(self) -> IRSE:
        """Embeddings of identity."""
        return self.network("recognition")

    @property
    def reconstruction(self) -> FaceReconstruction:
        """Portraits to face parameters."""
        return self.network("reconstruction")

    def _file(self, role: str) -> Path:
        if role not in self.files:
            raise SuiteError(
                f"suite {self.name!r} has no {role}; it has {', '.join(sorted(self.files))}. "
                f"Add {role}.safetensors to its folder"
            )
        return self.files[role]


def load_suite(name_or_path: str | os.PathLike[str] = "embedded") -> Suite:
    """Open a suite by the name of a shipped one, or by its folder.

    Args:
        name_or_path: ``"embedded"``, or a folder of ``<role>.safetensors`` files.

    Raises:
        SuiteError: if there is no such suite, or its folder holds no network.
    """
    folder = Path(name_or_path)
    if not folder.is_dir() and str(name_or_path) in shipped_suites():
        folder = ASSETS / str(name_or_path)
    if not folder.is_dir():
        raise SuiteError(
            f"suite {str(name_or_path)!r}: expected a folder or one of "
            f"{', '.join(shipped_suites()) or '(none shipped)'}"
        )
    files = {role: folder / f"{role}.safetensors" for role in ROLES}
    files = {role: file for role, file in files.items() if file.is_file()}
    if not files:
        raise SuiteError(
            f"{folder}: holds no network; expected files such as generator.safetensors"
        )
    return Suite(name=str(name_or_path), files=files)


def shipped_suites() -> list[str]:
    """Names of the suites inside the package."""
    return sorted(path.parent.name for path in ASSETS.glob("*/generator.safetensors"))
