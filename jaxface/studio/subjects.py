"""Who is on the page: embeddings that the user named, photographs that were dropped, samples.

Everything that comes about here is kept in the studio's folder, on this machine:

::

    DIR/
      photographs/<name>             as they were dropped
      embedded/<name>/<preset>/      what `jaxface invert` would write of one
      samples/                       portraits of nobody, where nothing else was named
      drivers/<name>                 clips and files of motion
      saved/<name>-<k>/              what `jaxface edit` would write
      recorded/                      gestures: clips and motion templates
"""

import abc
import dataclasses
import functools
import hashlib
import importlib.util
import io
import re
import shlex
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxface.api import generate
from jaxface.errors import UsageError
from jaxface.jobs.inputs.items import Item, find_inputs
from jaxface.jobs.inputs.latents import LatentError, find_latents, read_latent
from jaxface.jobs.inputs.portraits import Alignment
from jaxface.jobs.inversion import Inversion
from jaxface.jobs.job import run_job
from jaxface.jobs.outputs.results import ResultsFolder
from jaxface.jobs.runner import Runner
from jaxface.media.detection import DlibFaces, NoFaceError
from jaxface.media.mesh_detection import MeshFaces
from jaxface.methods.presets import preset
from jaxface.nets import E4EEncoder, PSPEncoder, RestyleE4EEncoder, RestylePSPEncoder, WEncoder
from jaxface.runtime.devices import compute_dtype
from jaxface.runtime.progress import JobProgress
from jaxface.studio.drawing import Drawer, Subject
from jaxface.studio.edits import AskedEdit
from jaxface.studio.engine import Engine, LatentSubject
from jaxface.suite import Suite

SAMPLES = 8
"""Portraits of nobody that a studio without inputs begins with."""

MOST = 2000
"""Portraits of the filmstrip; of a larger folder the first ones are shown."""

THUMBNAIL = 96
"""Pixels a side."""

KEPT = 64
"""Portraits that are kept ready to be edited."""

_ENCODER_PRESETS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((RestylePSPEncoder, RestyleE4EEncoder), "restyle"),
    ((E4EEncoder,), "e4e"),
    ((PSPEncoder,), "psp"),
    ((WEncoder,), "w_encoder"),
)


@dataclasses.dataclass(frozen=True)
class Portrait:
    """Somebody on the page.

    Attributes:
      key: in the page's addresses; from the file's path, so the same after a restart.
      name: to be shown.
      item: of `find_latents`.
      how: what it was embedded by, such as a preset's name; "sample"; "" where nothing tells.
      photograph: the file that it is of, where that is known.
      pastes: whether an edit can be put back into it.
      made_by: the command line that embeds it again; "" where it was not embedded here.
    """

    key: str
    name: str
    item: Item
    how: str = ""
    photograph: str | None = None
    pastes: bool = False
    made_by: str = ""

    def to_json(self) -> dict[str, Any]:
        """For the page."""
        return {
            "key": self.key,
            "name": self.name,
            "how": self.how,
            "photograph": self.photograph is not None,
            "pastes": self.pastes,
            "group": group_of(self),
        }


def group_of(portrait: Portrait) -> str:
    """What portraits of one face have in common, whatever they were embedded by."""
    return _key(
        f"{portrait.photograph}:{portrait.item.id}" if portrait.photograph else portrait.key
    )


class Gallery(abc.ABC):
    """Portraits of one kind in the filmstrip's order; safe for several threads.

    Args:
      engine: draws them.
      folder: the studio's.
    """

    def __init__(self, engine: Drawer, folder: Path):
        self.engine, self.folder = engine, folder
        self._lock = threading.Lock()
        self._portraits: dict[str, Portrait] = {}
        self._subjects: dict[str, Subject] = {}
        self._thumbnails: dict[str, bytes] = {}

    @abc.abstractmethod
    def open(self, inputs: Sequence[str]) -> list[str]:
        """Takes up who the command line names.

        Returns:
          Remarks, one line each.

        Raises:
          JaxfaceError: one cannot be.
        """

    @abc.abstractmethod
    def load(self, portrait: Portrait) -> Subject:
        """Makes a portrait ready to be edited.

        Raises:
          JaxfaceError: its file cannot be read, or is of another generator.
        """

    @abc.abstractmethod
    def files(self) -> list[str]:
        """The files that portraits and images come of."""

    @abc.abstractmethod
    def command_lines(
        self,
        portrait: Portrait,
        edit: AskedEdit,
        *,
        driver: str | None = None,
        relative: bool = False,
    ) -> str:
        """The commands that make what is shown: the embedding, where it was made here, and the
        edit.

        Args:
          portrait: who.
          edit: what.
          driver: the file that moves the portrait; None for none.
          relative: whether its changes are added.
        """

    def portraits(self) -> list[Portrait]:
        """All of them."""
        with self._lock:
            return list(self._portraits.values())

    def portrait(self, key: Any) -> Portrait:
        """One of them.

        Raises:
          UsageError: there is none of that key.
        """
        with self._lock:
            if not isinstance(key, str) or key not in self._portraits:
                raise UsageError("this portrait is not here any more")
            return self._portraits[key]

    def subject(self, key: Any) -> Subject:
        """A portrait, ready to be edited.

        Raises:
          UsageError: there is none of that key.
          JaxfaceError: its file cannot be read, or is of another generator.
        """
        portrait = self.portrait(key)
        with self._lock:
            known = self._subjects.get(portrait.key)
        if known is not None:
            return known
        subject = self.load(portrait)
        with self._lock:
            self._subjects[portrait.key] = subject
            while len(self._subjects) > KEPT:
                self._subjects.pop(next(iter(self._subjects)))
        return subject

    def thumbnail(self, key: str) -> bytes:
        """A small PNG of a portrait.

        Raises:
          As `subject`.
        """
        with self._lock:
            known = self._thumbnails.get(key)
        if known is not None:
            return known
        image = Image.fromarray(self.subject(key).pixels)
        file = io.BytesIO()
        image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC).save(file, format="PNG")
        with self._lock:
            self._thumbnails[key] = file.getvalue()
        return file.getvalue()

    def _add(self, portraits: Iterable[Portrait]) -> list[Portrait]:
        added = list(portraits)
        with self._lock:
            self._portraits.update((each.key, each) for each in added)
        return added


class LatentGallery(Gallery):
    """Embeddings, photographs and samples.

    Args:
      engine: draws them.
      folder: the studio's.
      refinement: the preset that photographs are embedded by, after the encoder; None for the
        suite's best.
    """

    def __init__(self, engine: Engine, folder: Path, *, refinement: str | None = None):
        super().__init__(engine, folder)
        self.engine: Engine
        self._refinement = refinement

    def open(self, inputs: Sequence[str]) -> list[str]:
        """Takes up embeddings, and what an earlier studio left in the folder.

        Args:
          inputs: as `jaxface edit` takes embeddings.

        Returns:
          Remarks, one line each.

        Raises:
          UsageError: one is no embedding.
        """
        remarks: list[str] = []
        if inputs:
            found = find_latents(inputs)
            remarks += found.remarks
            if len(found.items) > MOST:
                remarks.append(f"{len(found.items)} embeddings; the first {MOST} are shown")
            remarks += self._take_up(found.items[:MOST])
            if not self._portraits:
                raise UsageError(f"none of the embeddings can be shown: {remarks[-1]}")
        for results in sorted(self.folder.glob("embedded/*/*/results.jsonl")):
            try:
                items = find_latents([str(results.parent)]).items
            except UsageError:  # of a photograph whose embedding had not ended
                continue
            self._take_up(items)
        if not self._portraits:
            self._add(self._samples())
        return remarks

    def _take_up(self, items: Iterable[Item]) -> list[str]:
        """Adds those that can be read and are of the suite's generator; a remark on each other."""
        config = self.engine.suite.generator.config
        own, remarks = self.engine.suite.digest("generator"), []
        for item in items:
            try:
                latent = read_latent(item, (config.num_ws, config.w_dim))
            except LatentError as error:
                remarks.append(str(error))
                continue
            if latent.header.get("settings.generator", own) != own:
                remarks.append(f"{item.path}: was embedded with another generator")
                continue
            self._add([self._embedding(item)])
        return remarks

    def files(self) -> list[str]:
        own = [re.sub(r"#\d+$", "", each.item.path) for each in self.portraits()]  # rows of shards
        return [*map(str, self.engine.suite.files.values()), *own]

    def load(self, portrait: Portrait) -> LatentSubject:
        config = self.engine.suite.generator.config
        return self.engine.subject(read_latent(portrait.item, (config.num_ws, config.w_dim)))

    def command_lines(
        self,
        portrait: Portrait,
        edit: AskedEdit,
        *,
        driver: str | None = None,
        relative: bool = False,
    ) -> str:
        embedding, suite = self.embedding_file(portrait), self.engine.suite.name
        lines = [portrait.made_by] if portrait.made_by else []
        if driver is not None:
            words = ["jaxface", "reenact", embedding, f"--suite={suite}", f"--driving={driver}"]
            words += ["--motion=relative"] if relative else []
            lines.append(" ".join(map(shlex.quote, [*words, "--out=moved"])))
        elif not edit.empty:
            more = "--paste-back" if portrait.pastes else ""
            lines.append(edit.command(self.engine.controls, embedding, suite=suite, more=more))
        return "\n".join(lines)

    def embedding_file(self, portrait: Portrait) -> str:
        """The file that a command line names; of a code without one of its own a copy."""
        if Path(portrait.item.path).is_file() and portrait.item.path.endswith(".safetensors"):
            return portrait.item.path
        from safetensors.numpy import save_file

        path = self.folder / "copies" / f"{portrait.key}.safetensors"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            latent: Any = portrait.item.load()
            code = self.load(portrait).w_plus[0]
            save_file({"w_plus": code}, path, {**latent.header, "id": portrait.item.id})
        return str(path)

    def embed(
        self,
        photograph: Path,
        how: str,
        *,
        tell: Callable[[float], None] = lambda share: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> tuple[list[Portrait], list[str]]:
        """Embeds the faces of a photograph, as `jaxface invert` does; they join the filmstrip.

        Args:
          photograph: a file of the studio's folder.
          how: a preset's name.
          tell: receives the share that is done.
          stop: whether to give up.

        Returns:
          The portraits, and remarks: a photograph without a face counts as an aligned portrait.

        Raises:
          UsageError: the photograph cannot be embedded.
          JaxfaceError: as `run_job`.
        """
        (item,) = find_inputs([str(photograph)]).items
        faces = self._faces
        remarks: list[str] = []
        rows: list[dict[str, Any]] = []
        folder = self.folder / "embedded" / photograph.name / how
        for alignment in ([Alignment(faces, workers=0)] if faces else []) + [None]:
            if alignment is None:
                folder = folder.with_name(f"{how}_square")
            task = self._inversion(how, alignment)
            with ResultsFolder(folder, task.description(), files=task.files) as results:
                results.retry_failed([item])
                run_job(
                    [item], results, task, batch_size=1, show_progress=False, tell=tell, stop=stop
                )
                rows = [row for found in results.finished([item]) for row in found]
            if [row["status"] for row in rows] != [NoFaceError.status]:
                break
            remarks = ["no face was found, so the middle of the image is taken as one"]
        good = [row for row in rows if row["status"] == "ok"]
        if not good:
            raise UsageError(f"{photograph.name}: {rows[0]['reason'] if rows else 'not embedded'}")
        remarks += [note for row in good for note in row["notes"]]
        items = find_latents([str(folder)]).items
        return self._add(self._embedding(each) for each in items), list(dict.fromkeys(remarks))

    def warm(self) -> None:
        """Compiles what embeds a photograph at once, and loads what finds its face.

        Raises:
          JaxfaceError: the suite cannot embed.
        """
        if self.first_preset is None:
            return
        if self._faces is not None:
            self._faces(np.zeros((64, 64, 3), np.float32))
        task = self._inversion(self.first_preset, None)
        with JobProgress(1, 0, False) as bar:
            Runner(task, batch_size=1, inputs=1, bar=bar).compile()

    @functools.cached_property
    def _faces(self) -> Any:
        return _face_finder(self.engine.suite)

    def _inversion(self, how: str, alignment: Alignment | None) -> Inversion:
        settings = preset(how).computing_in(compute_dtype())
        return Inversion(self.engine.suite, how, settings, 0, alignment)

    @functools.cached_property
    def first_preset(self) -> str | None:
        """How a photograph is embedded at once: by the suite's encoder, if it has one."""
        if "encoder" not in self.engine.suite:
            return None
        network = self.engine.suite.encoder
        return next(
            (name for classes, name in _ENCODER_PRESETS if isinstance(network, classes)), None
        )

    @functools.cached_property
    def refinement(self) -> str:
        """How it is embedded behind that.

        PIE's whole energy where the suite has the networks for it; the photo suite's own otherwise.
        """
        if self._refinement is not None:
            return self._refinement
        suite = self.engine.suite
        if MeshFaces.of_suite(suite) is not None:
            return "photo_fast"
        return _first_possible(suite, ("pie_embedded_all", "pie_embedded", "image2stylegan"))

    @functools.cached_property
    def tuning(self) -> str | None:
        """How a photograph gets a generator of its own (PTI); None where the suite cannot."""
        suite = self.engine.suite
        if MeshFaces.of_suite(suite) is not None:
            return "photo"
        for name in ("pti_embedded", "pti"):
            if preset(name).roles().keys() <= suite.files.keys():
                return name
        return None

    def _embedding(self, item: Item) -> Portrait:
        latent: Any = item.load()
        header = latent.header
        pastes = "transform" in header
        photograph = header.get("path") if pastes else None
        path, name = Path(header.get("path", item.id)), item.id.rpartition("/")[2]
        how = header.get("settings.preset", "")
        made_by = ""
        if self.folder / "photographs" in path.parents:
            align = ["--align"] if pastes else []
            folder = str(Path(item.path).parents[len(Path(item.id).parts)])
            suite = f"--suite={self.engine.suite.name}"
            words = ["jaxface", "invert", str(path), *align, suite, f"--preset={how}"]
            made_by = " ".join(map(shlex.quote, [*words, f"--out={folder}"]))
            photograph = str(path)
        return Portrait(_key(item.path), name, item, how, photograph, pastes, made_by)

    def _samples(self) -> list[Portrait]:
        folder = self.folder / "samples" / self.engine.suite.digest("generator")[:12]
        if len(list(folder.glob("latents/*.safetensors"))) < SAMPLES:
            generate(SAMPLES, suite=self.engine.suite, seed=3).save(folder)
        files = sorted(map(str, folder.glob("latents/*.safetensors")))
        return [
            Portrait(_key(item.path), item.id.replace("_", " "), item, "sample")
            for item in find_latents(files).items
        ]


def _new_file(path: Path) -> None:
    path.touch(exist_ok=False)


def new_path(folder: Path, name: str, *, make: Callable[[Path], None] = _new_file) -> Path:
    """Makes a file or folder that was not there, though several threads may want one name.

    Args:
      folder: is created.
      name: as a client calls it; its harmless letters are taken, and a number where those are.
      make: an empty file by default; `Path.mkdir` for a folder.
    """
    base = re.split(r"[/\\]", name)[-1]
    base = re.sub(r"[^\w.\- ]", "_", base).strip(" .")[-80:] or "file"
    folder.mkdir(parents=True, exist_ok=True)
    stem, dot, suffix = base.rpartition(".")
    stem, ending = (stem, dot + suffix) if stem else (base, "")
    path, number = folder / base, 2
    while True:
        try:
            make(path)
        except FileExistsError:
            path, number = folder / f"{stem}-{number}{ending}", number + 1
        else:
            return path


def _face_finder(suite: Suite) -> Any:
    """What finds faces: the suite's networks or dlib; None where there is neither."""
    own = MeshFaces.of_suite(suite)
    if own is not None:
        return own
    needed = ("dlib", "face_recognition_models")
    return DlibFaces() if all(map(importlib.util.find_spec, needed)) else None


def _first_possible(suite: Suite, names: Sequence[str]) -> str:
    for name in names:
        if preset(name).roles().keys() <= suite.files.keys():
            return name
    return names[-1]


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]
