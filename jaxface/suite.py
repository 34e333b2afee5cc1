"""A suite: the named set of networks that belong together.

On disk it is a folder of ``<role>.safetensors`` files, each written by
:func:`jaxface.weights.save_network`; a role of several networks has one file for each,
``<prefix>_<name>.safetensors``. The roles are the attributes of :class:`Suite`. A network that
several suites use need be there only once: ``shared.json`` maps roles to files of other folders,
such as ``{"perceptual": "../ffhq/perceptual.safetensors"}``; a relative path begins at its folder.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, overload

from jaxface.errors import SuiteError, WeightsError, did_you_mean
from jaxface.morphable.basel import BaselModel
from jaxface.morphable.flame import FLAME
from jaxface.morphable.mesh_reconstruction import MeshReconstruction
from jaxface.nets import (
    FAN,
    IRSE,
    LPIPS,
    VGG16,
    AlexNetReconstruction,
    AvatarPrior,
    Blendshapes,
    CanonicalFace,
    DECAEncoder,
    Deep3D,
    DirectionMatrix,
    Discriminator,
    DlibResNet,
    E4EEncoder,
    FaceDetector,
    FaceLandmarkNet,
    FaceMesh,
    FaceNet,
    FaceReconstruction,
    Generator,
    HopeNet,
    InceptionV3,
    InDomainEncoder,
    KeypointEncoder,
    LandmarkNet,
    LatentDifferenceEncoder,
    LatentDirections,
    LatentMapper,
    MobileGenerator,
    MobileGeneratorConfig,
    NaiveEncoder,
    PSPEncoder,
    ResNetReconstruction,
    RestyleE4EEncoder,
    RestylePSPEncoder,
    RigNet,
    RigNetConfig,
    StyleDirections,
    StyleGAN1Discriminator,
    StyleMapper,
    TransferNetwork,
    VGGFace,
    VGGFaceReconstruction,
    WEncoder,
)
from jaxface.nets.mobile_stylegan import rows_known, teacher_rows
from jaxface.runtime.files import read_regular, sha256
from jaxface.weights import config_of, load_network, read_header

ASSETS = Path(__file__).parent / "assets"
SHARED_FILE = "shared.json"

N = TypeVar("N")


class Role(Generic[N]):
    """An attribute of a suite that is one network of one of these classes."""

    def __init__(self, *classes: type[N]):
        self.classes = classes

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, suite: None, owner: type) -> "Role[N]": ...
    @overload
    def __get__(self, suite: "Suite", owner: type) -> N: ...
    def __get__(self, suite: "Suite | None", owner: type) -> "Role[N] | N":
        return self if suite is None else suite.network(self.name)


class NamedRole(Generic[N]):
    """An attribute of a suite that is any number of networks of one of these classes, by name.

    ``suite.<attribute>`` is a dictionary, and the network of name n is in the file
    ``<prefix>_n.safetensors``.
    """

    def __init__(self, prefix: str, *classes: type[N]):
        self.prefix = f"{prefix}_"
        self.classes = classes

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, suite: None, owner: type) -> "NamedRole[N]": ...
    @overload
    def __get__(self, suite: "Suite", owner: type) -> dict[str, N]: ...
    def __get__(self, suite: "Suite | None", owner: type) -> "NamedRole[N] | dict[str, N]":
        return self if suite is None else suite.networks(self.name)


@dataclasses.dataclass(frozen=True)
class Suite:
    """Networks by role, loaded when first asked for.

    A role that the suite lacks raises :class:`SuiteError` on access; ``"encoder" in suite`` tells
    without loading.
    """

    name: str
    files: dict[str, Path]
    """By role; by ``<prefix>_<name>`` where a role is several networks."""
    _loaded: dict[str, Any] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    _digests: dict[str, str] = dataclasses.field(default_factory=dict, repr=False, compare=False)

    generator = Role[Generator](Generator, MobileGenerator)
    """StyleGAN2's generator (its running average, where it was trained with one), or a student."""
    discriminator = Role(Discriminator)
    """StyleGAN2's discriminator."""
    encoder = Role(PSPEncoder, E4EEncoder, WEncoder, RestylePSPEncoder, RestyleE4EEncoder)
    """Portraits to W+; ReStyle's also take what the generator made so far."""
    perceptual = Role(VGG16)
    """Features for perceptual distances."""
    lpips = Role(LPIPS)
    """The learned perceptual distance of two images."""
    recognition = Role(IRSE)
    """Embeddings of identity, of portraits aligned as FFHQ's."""
    descriptor = Role(VGGFace, FaceNet, DlibResNet)
    """Embeddings of identity, of faces that the caller has cropped."""
    reconstruction = Role(
        FaceReconstruction,
        AlexNetReconstruction,
        VGGFaceReconstruction,
        ResNetReconstruction,
        Deep3D,
        MeshReconstruction,
    )
    """Portraits to PIE's 257 face parameters."""
    face_model = Role(BaselModel)
    """What the parameters of ``reconstruction`` mean, where that is no head of the package's."""
    rignets = NamedRole("rignet", RigNet)
    """Edits of a semantic group's parameters, by the group."""
    deca = Role(DECAEncoder)
    """Portraits to DECA's 236 parameters of a FLAME head, its light and its camera."""
    flame = Role(FLAME)
    """FLAME's parameters to heads."""
    landmarks = Role(LandmarkNet, FAN, FaceLandmarkNet)
    """Portraits to 68 landmarks in their pixels; official ones want the face's crop instead."""
    face_detector = Role(FaceDetector)
    """Squares to faces in them."""
    face_mesh = Role(FaceMesh)
    """Faces to 478 points, which the 68 can be read from."""
    blendshapes = Role(Blendshapes)
    """The 478 points to 52 coefficients of expression."""
    canonical_face = Role(CanonicalFace)
    """The points of a face that looks straight ahead, which a head's rotation is fitted to."""
    pose = Role(HopeNet)
    """Portraits to yaw, pitch and roll."""
    attributes = Role(FaceReconstruction)
    """Portraits to gaze, opening of the jaw and glasses: a judge, which no training reads."""
    inception = Role(InceptionV3)
    """Features for the Fréchet distance."""
    directions = NamedRole("direction", LatentDirections)
    """Editing directions in Z, W or W+; those of a student's teacher in the student's rows."""
    direction_matrix = Role(DirectionMatrix)
    """Changes of pose and expression to changes of W+."""
    style_directions = Role(StyleDirections)
    """Texts to edits of style space."""
    text_mappers = NamedRole("text_mapper", LatentMapper)
    """Edits of W+, each trained for one text."""
    style_mappers = NamedRole("style_mapper", StyleMapper)
    """Edits of style space, each trained for one text."""
    avatar_prior = Role(AvatarPrior)
    """What the mappers of a person's avatar begin with."""
    transfer = Role(TransferNetwork)
    """An identity's code and a driving frame to W+."""
    in_domain_encoder = Role(InDomainEncoder)
    """Portraits to W+, by in-domain inversion; a second encoder beside ``encoder``."""
    latent_difference = Role(LatentDifferenceEncoder, KeypointEncoder, NaiveEncoder)
    """A code of W+, or a portrait, and landmarks to the code of the portrait with them."""
    landmark_discriminator = Role(Discriminator, StyleGAN1Discriminator)
    """Realness of portraits beside their landmark images."""

    def __contains__(self, role: str) -> bool:
        return bool(self._stems(role))

    def digest(self, role: str) -> str:
        """SHA-256 of a network's file: it tells the network from another of the same name.

        Raises:
            SuiteError: the suite has no such network.
        """
        if role not in self._digests:
            self._digests[role] = sha256(self._file(role))
        return self._digests[role]

    def metadata(self, role: str) -> dict[str, str]:
        """The header of a network's file: configuration, source, versions."""
        return read_header(self._file(role))

    def network(self, role: str) -> Any:
        """The network in a role, or the one of a role of several, by ``<prefix>_<name>``.

        Raises:
            SuiteError: if the suite has none, or the file holds another class of network.
            WeightsError: if its file is damaged.
        """
        if role not in self._loaded:
            network = load_network(self._file(role))
            check_role(role, type(network).__name__, where=self.files[role])
            check_group(role, network.config, where=self.files[role])
            if isinstance(network, LatentDirections) and network.config.rows > 1:
                network = self._in_own_rows(network)
            self._loaded[role] = network
        return self._loaded[role]

    def _in_own_rows(self, directions: LatentDirections) -> LatentDirections:
        """Directions of W+ in the rows of the suite's generator, where they are its teacher's."""
        config = self._config("generator") if "generator" in self.files else None
        if not isinstance(config, MobileGeneratorConfig) or directions.config.rows == config.num_ws:
            return directions
        return directions.of_rows(teacher_rows(config.resolution))

    def networks(self, role: str) -> dict[str, Any]:
        """The networks of a role of several, by name.

        Raises:
            SuiteError: if the suite has none, or a file holds another class of network.
            WeightsError: if a file is damaged.
        """
        prefix = NAMED_ROLES[role].prefix
        stems = self._stems(role) or [f"{prefix}<name>"]  # which no suite has: raises
        return {stem.removeprefix(prefix): self.network(stem) for stem in stems}

    def require(self, roles: Mapping[str, str]) -> None:
        """Insist on the networks that a method needs, without loading them.

        Args:
            roles: each with a sentence on what needs it.

        Raises:
            SuiteError: if one is missing; the message ends with its sentence.
        """
        for role, reason in roles.items():
            try:
                self.metadata(role)
            except SuiteError as error:
                raise SuiteError(f"{error}. {reason}") from error

    def check(self, *, staged: Path | None = None) -> None:
        """Insist that every network can play its role and fits the others, from the headers alone.

        Args:
            staged: a folder that has another name later: files in it are told without it.

        Raises:
            SuiteError: naming the file of the first that does not.
            WeightsError: if a file is damaged.
        """
        told = {
            stem: path.relative_to(staged) if staged and path.is_relative_to(staged) else path
            for stem, path in self.files.items()
        }
        headers = {stem: self.metadata(stem) for stem in self.files}
        for stem, header in headers.items():
            check_role(stem, header["network"], where=told[stem])
        configs = {stem: self._config(stem) for stem in self.files}
        for stem, config in configs.items():
            check_group(stem, config, where=told[stem])
        _check_fit(configs, told)

    def _config(self, role: str) -> Any:
        """A network's configuration, from its file's header."""
        header = self.metadata(role)
        try:
            return config_of(header)
        except WeightsError as error:
            raise WeightsError(f"{self.files[role]}: {error}") from error

    def _stems(self, role: str) -> list[str]:
        if role in NAMED_ROLES:
            return [stem for stem in sorted(self.files) if role_of(stem) is NAMED_ROLES[role]]
        return [role] if role in self.files else []

    def _file(self, role: str) -> Path:
        if role not in self.files:
            raise SuiteError(
                f"suite {self.name!r} has no {role}; it has {', '.join(sorted(self.files))}. "
                f"Add {role}.safetensors to its folder"
            )
        return self.files[role]


ROLES: dict[str, Role] = {k: v for k, v in vars(Suite).items() if isinstance(v, Role)}
NAMED_ROLES: dict[str, NamedRole] = {
    k: v for k, v in vars(Suite).items() if isinstance(v, NamedRole)
}


def role_of(stem: str) -> Role | NamedRole | None:
    """The role that a file of a suite plays, by its name without the ending; None for no role."""
    if stem in ROLES:
        return ROLES[stem]
    for role in NAMED_ROLES.values():
        if stem.startswith(role.prefix) and stem != role.prefix:
            return role
    return None


def check_role(stem: str, class_name: str, *, where: object) -> None:
    """Insist that a network of this class can play the role.

    Args:
        stem: a role, or ``<prefix>_<name>``.
        class_name: of the network.
        where: what the error begins with.

    Raises:
        SuiteError: if there is no such role, or another class plays it.
    """
    role = role_of(stem)
    if role is None:
        raise SuiteError(f"{where}: {stem!r} is no role; expected {_role_names()}")
    names = [each.__name__ for each in role.classes]
    if class_name not in names:
        raise SuiteError(f"{where}: expected a {' or '.join(names)} as {stem}, got a {class_name}")


def check_group(stem: str, config: Any, *, where: object) -> None:
    """Insist that a RigNet is named after the group it edits.

    Args:
        stem: ``<prefix>_<name>``, or a role, which has no group.
        config: of the network.
        where: what the error begins with.

    Raises:
        SuiteError: if it edits another.
    """
    if isinstance(config, RigNetConfig) and stem != f"rignet_{config.group}":
        wanted = stem.removeprefix(NAMED_ROLES["rignets"].prefix)
        raise SuiteError(f"{where}: expected a RigNet of {wanted}, got one of {config.group}")


def _check_fit(configs: Mapping[str, Any], told: Mapping[str, Path]) -> None:
    """Refuse networks between which no latents or images could pass.

    Args:
        configs: of the networks, by role.
        told: their files, as the error names them.
    """

    def refuse(role: str, text: str) -> NoReturn:
        raise SuiteError(f"{told[role]}: {text}")

    generator = configs.get("generator")
    if generator is None:
        return
    rows, width = generator.num_ws, generator.w_dim
    known = rows_known(generator)
    encoder = configs.get("encoder")
    if encoder and (encoder.num_ws not in known or encoder.w_dim != width):
        refuse(
            "encoder",
            f"the encoder gives W+ of {encoder.num_ws} x {encoder.w_dim}, the generator takes "
            f"{rows} x {width}; take both from one file (network decoder is its generator)",
        )
    matrix = configs.get("direction_matrix")
    if matrix and (matrix.rows > rows or matrix.w_dim != width):
        refuse(
            "direction_matrix",
            f"the direction_matrix moves {matrix.rows} rows of {matrix.w_dim}, the generator takes "
            f"W+ of {rows} x {width}; take one made for this generator",
        )
    for role in ("transfer", "in_domain_encoder", "latent_difference"):
        config = configs.get(role)
        if config and (config.num_ws, config.w_dim) != (rows, width):
            refuse(
                role,
                f"{role} gives W+ of {config.num_ws} x {config.w_dim}, the generator takes "
                f"{rows} x {width}; take one trained on this generator",
            )
    discriminator = configs.get("discriminator")
    for name in ("resolution", "image_channels", "c_dim"):
        wanted = getattr(generator, name)
        if discriminator and getattr(discriminator, name) != wanted:
            refuse(
                "discriminator",
                f"the discriminator's {name} is {getattr(discriminator, name)}, the generator's "
                f"{wanted}; take both from one file (network D)",
            )
    of_styles = (ROLES["style_directions"], NAMED_ROLES["style_mappers"])
    spaces = {"z": ((1,), generator.z_dim), "w": (known, width)}
    for stem, config in configs.items():
        role = role_of(stem)
        if role in of_styles and config.widths != generator.style_widths:
            refuse(
                stem,
                f"{stem} edits {len(config.widths)} styles of {sum(config.widths)} channels, the "
                f"generator has {len(generator.style_widths)} of {sum(generator.style_widths)}, or "
                "others; take one made for this generator",
            )
        if role is NAMED_ROLES["directions"]:
            own, dim = spaces[config.space]
            if config.dim != dim or config.rows not in (1, *own):
                refuse(
                    stem,
                    f"{stem} moves {config.rows} x {config.dim} in {config.space}, where the "
                    f"generator has {own[0]} x {dim}; take one made for this generator",
                )
        elif role is NAMED_ROLES["rignets"] and (config.num_ws, config.w_dim) != (rows, width):
            refuse(
                stem,
                f"{stem} edits W+ of {config.num_ws} x {config.w_dim}, the generator takes "
                f"{rows} x {width}; take one trained on this generator",
            )
        elif role is NAMED_ROLES["text_mappers"] and config.w_dim != width:
            refuse(
                stem,
                f"{stem} maps W of {config.w_dim}, the generator's has {width}; take one made for "
                "this generator",
            )


def identity_network(suite: Suite) -> Any | None:
    """What judges whether two portraits show one person: ``recognition``, or else ``descriptor``.

    Returns:
        None, if the suite has neither. `jaxface.nets.recognition.crops.portrait_embeddings` applies
        it.
    """
    if "recognition" in suite:
        return suite.recognition
    return suite.descriptor if "descriptor" in suite else None


def drawn_by(suite: Suite, generator: Any) -> Suite:
    """The suite with another generator, such as one that was tuned to a person."""
    if generator is suite.generator:
        return suite
    return dataclasses.replace(suite, _loaded={**suite._loaded, "generator": generator})


HUB = "hf:"
"""What names of suites on the Hugging Face Hub begin with."""


def overlaid(suite: Suite, folder: str | os.PathLike[str]) -> Suite:
    """A suite in which the networks of a folder take the place of its own.

    Raises:
        SuiteError: no such folder, or one without networks.
    """
    other = load_suite(folder)
    files = {**suite.files, **other.files}
    return dataclasses.replace(suite, files=files, _loaded={}, _digests={})


def load_suite(name_or_path: str | os.PathLike[str] = "embedded") -> Suite:
    """Open a suite by the name of a shipped one, or by its folder.

    Args:
        name_or_path: ``"embedded"`` (64 px), ``"embedded-128"`` or ``"embedded-3"``, a folder of
            ``<role>.safetensors`` files, or ``"hf:owner/name@revision"`` on the Hugging Face Hub,
            see :func:`jaxface.sharing.fetch_suite`.

    Raises:
        SuiteError: if there is no such suite, its folder holds no network, or its ``shared.json``
            names files that are not there.
    """
    folder = Path(name_or_path)
    if str(name_or_path).startswith(HUB) and not folder.is_dir():
        from jaxface.sharing import fetch_suite

        folder = fetch_suite(str(name_or_path))
    # A folder of results may have the name of a shipped suite; one with networks is meant itself.
    networks = any(folder.glob("*.safetensors")) or os.path.lexists(folder / SHARED_FILE)
    if str(name_or_path) in shipped_suites() and not networks:
        folder = ASSETS / str(name_or_path)
    if not folder.is_dir():
        shipped = shipped_suites()
        hint = did_you_mean(str(name_or_path), shipped, cutoff=0.6)
        told = ", ".join(shipped) or "(none shipped)"
        raise SuiteError(
            f"suite {str(name_or_path)!r}: expected a folder or one of {told}"
            + (f"; {hint}" if hint.startswith("did") else "")
        )
    files = {path.stem: path for path in sorted(folder.glob("*.safetensors"))}
    files = {stem: path for stem, path in files.items() if role_of(stem) and path.is_file()}
    files = dict(sorted((_shared(folder) | files).items()))
    if not files:
        raise SuiteError(
            f"{folder}: holds no network; expected files such as generator.safetensors"
        )
    return Suite(name=str(name_or_path), files=files)


def _shared(folder: Path) -> dict[str, Path]:
    """Networks of other folders that a suite's folder names in `SHARED_FILE`, by role."""
    path = folder / SHARED_FILE
    if not os.path.lexists(path):
        return {}
    try:
        named = json.loads(read_regular(path))
        files = {stem: Path(os.path.realpath(folder / file)) for stem, file in named.items()}
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SuiteError(f"{path}: expected a JSON object of roles and files ({reason})") from error
    for stem, file in files.items():
        if role_of(stem) is None:
            raise SuiteError(f"{path}: {stem!r} is no role; expected {_role_names()}")
        if not file.is_file():
            raise SuiteError(f"{path}: {stem} is to be {file}, which is not there")
    return files


def shipped_suites() -> list[str]:
    """Names of the suites inside the package."""
    return sorted(path.parent.name for path in ASSETS.glob("*/generator.safetensors"))


def _role_names() -> str:
    named = [f"{role.prefix}<name>" for role in NAMED_ROLES.values()]
    return ", ".join([*ROLES, *named])
