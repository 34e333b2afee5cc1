"""Settings of an avatar, each with its source, and the presets.

"Code" is the authors' release (``configs/``, ``models/latent_module.py``, ``scripts``), "paper" is
Lin et al. 2023 with its appendix. Where the two differ both can be chosen.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from jaxface.errors import UsageError, did_you_mean
from jaxface.methods import encoder, pti
from jaxface.methods.inversion import Inverter
from jaxface.methods.pie.reenactment import EMBEDDED_ENCODER as MOVED
from jaxface.methods.pvp.features import Layout
from jaxface.methods.pvp.pivots import MOVING_ROLES
from jaxface.runtime.devices import Dtype
from jaxface.settings import check_words

TERMS = (
    "perceptual",
    "pixel",
    "identity",
    "expression",
    "pose",
    "consistency",
    "locality",
    "gaze",
)
"""The seven losses of equation 15 and that of gaze, each with a weight of its name; 0 leaves one
out."""

CODE_CROP = (13 / 512, 441 / 512, 44 / 512, 472 / 512)
"""First row, row after the last, and columns so, of what the code's identity loss sees of an
aligned image, in shares of its side."""


@dataclasses.dataclass(frozen=True)
class KeyFrameSettings:
    """Which frames the generator is tuned to (section 4.1).

    Attributes:
      count: K; of a clip with fewer training frames all are key frames.
      choice: "clusters" as published: one frame of each cluster of head poses and expressions;
        "uniform": frames at equal distances in time, which the paper compares with.
      restarts: of k-means; scipy's, which the code calls, has as many.
    """

    count: int = 200
    choice: Literal["clusters", "uniform"] = "clusters"
    restarts: int = 20

    def __post_init__(self):
        check_words(self)
        if min(self.count, self.restarts) < 1:
            raise ValueError(
                f"KeyFrameSettings: count and restarts must be >= 1, got {self.count} and "
                f"{self.restarts}."
            )


@dataclasses.dataclass(frozen=True)
class MapperSettings:
    """The training of F_rot and F_expr (section 4.3 and appendix B).

    Attributes:
      steps: of `batch_size` frames each.
      batch_size: the code's LPIPS is of use for one frame alone; losses of several are averaged.
      learning_rate: of Adam.
      last_learning_rate: share of it that is left after the last step, on a half cosine; 1 for a
        constant one, as published.
      pixel_weight: lambda_L2, mean over pixels in [-1, 1].
      perceptual_weight: lambda_LPIPS.
      identity_weight: lambda_id.
      expression_weight: lambda_expr; a mean over the numbers, as in the code.
      pose_weight: lambda_pose, likewise.
      consistency_weight: lambda_cons.
      locality_weight: lambda_local; the sum of both branches' mean squares, as in the code.
      gaze_weight: of gaze read in the perturbed image beside the one that it was drawn from, a mean
        square of radians as they are standardised; without effect where the reader knows no gaze,
        as DECA. Not the paper's.
      sigma: standard deviation of what perturbs expressions, as they are standardised.
      perturb_jaw: whether the jaw is perturbed too, and read (equation 11); the code leaves it.
      resolution: larger images are averaged down to it before they are compared.
      distance: whose features compare: "lpips", the suite's network of that role; or "perceptual",
        its VGG-16 with heads that were not learned.
      identity_crop: what the recognition network sees: "code", `CODE_CROP`; or "network", the crop
        that it was made with.
      standardise: whether inputs are standardised by the training frames' mean and deviation;
        published ones are radians and coefficients as they are.
      deviation_floor: of the largest deviation, the least by which an expression is standardised.
      angles: of the head's that F_rot reads: 2, pitch and yaw, as published, where alignment has
        taken roll out of the frames; or 3, roll too. Key frames are clustered by as many.
      hidden: width of the MLPs.
      expression_rows: of W+ that expressions move: those of blocks up to 32 px, or all there are;
        by share a generator of 64 px would have 4 of its 10.
      beta, sharpness: of the dilated hull; the code's, which the paper leaves out.
      rotation: see `jaxface.nets.AvatarConfig`.
      start: "torch" as in the code; "zero", where the first image is the centroid's; or "prior",
        the suite's network of the role ``avatar_prior`` over the key frames, with its sizes, hull
        and standardisation (`jaxface.nets.AvatarPrior`).
      train_noise: whether the generator's noise maps are trained with the MLPs, as in the code.
    """

    steps: int = 50_000
    batch_size: int = 1
    learning_rate: float = 5e-4
    last_learning_rate: float = 1.0
    pixel_weight: float = 10.0
    perceptual_weight: float = 10.0
    identity_weight: float = 0.5
    expression_weight: float = 0.1
    pose_weight: float = 0.1
    consistency_weight: float = 1.0
    locality_weight: float = 0.5
    gaze_weight: float = 0.0
    sigma: float = 0.5
    perturb_jaw: bool = True
    resolution: int = 512
    distance: Literal["lpips", "perceptual"] = "lpips"
    identity_crop: Literal["code", "network"] = "code"
    standardise: bool = False
    deviation_floor: float = 0.1
    angles: Literal[2, 3] = 2
    hidden: int = 128
    expression_rows: int = 8
    beta: float = 0.02
    sharpness: float = 100.0
    rotation: Literal["blend", "direct"] = "blend"
    start: Literal["torch", "zero", "prior"] = "torch"
    train_noise: bool = False

    def __post_init__(self):
        check_words(self)
        for name in ("steps", "batch_size", "resolution", "hidden", "expression_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"MapperSettings: {name} must be >= 1, got {getattr(self, name)}.")
        for name in (*(f"{term}_weight" for term in TERMS), "sigma", "beta"):
            if getattr(self, name) < 0:
                raise ValueError(f"MapperSettings: {name} must be >= 0, got {getattr(self, name)}.")
        if self.start == "prior" and self.rotation != "blend":
            raise ValueError("MapperSettings: start='prior' has weights; set rotation='blend'.")
        if not 0 < self.last_learning_rate <= 1:
            raise ValueError(
                f"MapperSettings: last_learning_rate must be in (0, 1], got "
                f"{self.last_learning_rate}."
            )

    @property
    def weights(self) -> Mapping[str, float]:
        """Of `TERMS`."""
        return {term: getattr(self, f"{term}_weight") for term in TERMS}

    @property
    def perturbs(self) -> bool:
        """Whether a term compares the perturbed image, which is drawn only then."""
        return self.reads or bool(self.consistency_weight)

    @property
    def reads(self) -> bool:
        """Whether a term reads the perturbed face."""
        return any(self.weights[term] for term in ("expression", "pose", "gaze"))

    def knowing(self, layout: Layout) -> "MapperSettings":
        """The same without L_gaze where faces have no gaze."""
        return self if layout.gaze else dataclasses.replace(self, gaze_weight=0.0)


@dataclasses.dataclass(frozen=True)
class PVPSettings:
    """Everything that decides an avatar.

    Attributes:
      key_frames: see `KeyFrameSettings`.
      pivot: how key frames are embedded: e4e in the paper.
      pivots: "inverted": each key frame is, as published; "moved": one is, the nearest to their
        mean pose and expression, and the suite's RigNets move its code to those of the others.
      tuning: of the one generator over all key frames (equation 5). Its `steps` are the updates
        that each key frame takes part in (epochs), and the tuning ends when the mean LPIPS of an
        epoch is below its `stop_below`. L_R is the mean over `samples` key frames of each batch,
        the first of its random order; `rows` has no meaning here.
      tuning_batch: key frames of an update.
      mappers: see `MapperSettings`.
      held_out: share of the clip's frames, its last, that nothing is learned from: the report
        judges by them.
      selection: share before those, by whose PSNR the mappers' best step is chosen; 0: the last
        step, as the paper; the code chooses by the frames that it reports.
      gap: seconds between the parts, as long as the smoothing of squares reaches.
      dtype: what the generator computes in.
    """

    key_frames: KeyFrameSettings = dataclasses.field(default_factory=KeyFrameSettings)
    pivot: Inverter = encoder.E4E
    pivots: Literal["inverted", "moved"] = "inverted"
    tuning: pti.Settings = dataclasses.field(
        default_factory=lambda: dataclasses.replace(pti.PAPER, stop_below=0.03)
    )
    tuning_batch: int = 1
    mappers: MapperSettings = dataclasses.field(default_factory=MapperSettings)
    held_out: float = 0.1
    selection: float = 0.0
    gap: float = 0.36
    dtype: Dtype = "float32"

    def __post_init__(self):
        check_words(self)
        if self.tuning_batch < 1:
            raise ValueError(f"PVPSettings: tuning_batch must be >= 1, got {self.tuning_batch}.")
        if self.tuning.rows is not None:
            raise ValueError("PVPSettings: tuning.rows is of one generator an image; leave it out.")
        if min(self.held_out, self.selection, self.gap) < 0 or self.held_out + self.selection > 0.9:
            raise ValueError(
                "PVPSettings: held_out, selection and gap must be >= 0 and leave a tenth of the "
                f"frames to learn from, got {self.held_out}, {self.selection} and {self.gap}."
            )
        if self.pivot.tunes_generator:
            raise ValueError("PVPSettings: pivot must embed without tuning a generator.")
        if self.tuning.locality and self.tuning.samples > self.tuning_batch:
            raise ValueError(
                f"PVPSettings: tuning.samples, {self.tuning.samples}, are key frames of a batch of "
                f"{self.tuning_batch}."
            )

    def computing_in(self, dtype: Dtype) -> "PVPSettings":
        """The same with generator and tuning in another dtype."""
        return dataclasses.replace(
            self,
            dtype=dtype,
            pivot=self.pivot.computing_in(dtype),
            tuning=self.tuning.computing_in(dtype),
        )

    def roles(self) -> dict[str, str]:
        """The roles of a suite that are needed beside those that read faces."""
        weights = self.mappers.weights
        found = {**self.pivot.roles(), "generator": "It is tuned to the person"}
        found[self.tuning.distance] = "The tuning compares images by it"
        if self.pivots == "moved":
            because = "Pivots are moved by it; pivots=inverted embeds every key frame"
            found |= dict.fromkeys(MOVING_ROLES, because)
        if weights["perceptual"]:
            found[self.mappers.distance] = "The mappers' perceptual loss needs it"
        if self.mappers.start == "prior":
            found["avatar_prior"] = (
                "The mappers begin with it; mappers.start=zero trains them from nothing"
            )
        if weights["identity"]:
            found["recognition"] = "The mappers' identity loss needs it"
        return found


PAPER = PVPSettings()
"""Sections 4 and 5 and appendix B, with PTI's constants, the code's hull, and last-step mappers.
Key frames are embedded by e4e; the generator stays fixed while the mappers learn."""

REPO = dataclasses.replace(
    PAPER,
    tuning=dataclasses.replace(pti.REPO, stop_below=None),
    mappers=dataclasses.replace(PAPER.mappers, perturb_jaw=False, train_noise=True),
)
"""As the authors' code does it: no regularisation and no end but 350 rounds over the key frames,
jaws as they are, and noise maps that are trained with the mappers."""

FAST = dataclasses.replace(
    PAPER,
    tuning=dataclasses.replace(PAPER.tuning, steps=60, learning_rate=1e-3, samples=2),
    tuning_batch=8,
    mappers=dataclasses.replace(
        PAPER.mappers,
        steps=6_000,
        batch_size=8,
        learning_rate=2e-3,
        last_learning_rate=0.05,
        gaze_weight=0.1,
        standardise=True,
        start="zero",
    ),
)
"""Batches of eight at some three times the learning rates: 1,500 updates of the generator in place
of 70,000, and the mappers see as many frames as in the paper. Not published."""

EMBEDDED = dataclasses.replace(
    FAST,
    key_frames=KeyFrameSettings(count=96, restarts=5),
    pivot=encoder.Settings(),
    tuning=dataclasses.replace(
        FAST.tuning, distance="perceptual", lpips_weight=0.1, steps=40, samples=1
    ),
    mappers=dataclasses.replace(
        FAST.mappers,
        steps=1_500,
        distance="perceptual",
        perceptual_weight=1.0,
        identity_crop="network",
    ),
)
"""For the embedded suites on two cores, which have no LPIPS network: its form on their perceptual
features, whose distances are some ten times as large."""

PRETRAINED = dataclasses.replace(
    EMBEDDED,
    pivot=MOVED.inversion,
    pivots="moved",
    mappers=dataclasses.replace(
        EMBEDDED.mappers, start="prior", steps=150, learning_rate=1e-4, angles=3
    ),
)
"""`EMBEDDED` from the suite's ``avatar_prior`` on, in a tenth of the steps, over pivots that are
moved, as the prior's are. Steps of 2e-3 undo what the prior says: its last layer is small. Not
published."""

PVP_PRESETS: Mapping[str, PVPSettings] = {
    "paper": PAPER,
    "repo": REPO,
    "fast": FAST,
    "embedded": EMBEDDED,
    "pretrained": PRETRAINED,
}


def pvp_preset(name: str) -> PVPSettings:
    """The settings of a name of `PVP_PRESETS`.

    Raises:
      UsageError: there is none; the message gives the nearest.
    """
    if name not in PVP_PRESETS:
        raise UsageError(f"--preset {name}: {did_you_mean(name, PVP_PRESETS)}")
    return PVP_PRESETS[name]


def described(settings: PVPSettings) -> dict[str, Any]:
    """The settings as JSON holds them."""
    pivot = settings.pivot
    method = {"method": f"{type(pivot).__module__}.{type(pivot).__name__}"}
    return dataclasses.asdict(settings) | {"pivot": method | dataclasses.asdict(pivot)}  # pyright: ignore
