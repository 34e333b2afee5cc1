"""How PIE inverts a portrait: terms, weights, optimisers, schedule, and the published choices."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import jax
import optax

from jaxface.methods.inversion import ComputesIn
from jaxface.morphable import EDITABLE_GROUPS
from jaxface.nets import GeneratorConfig
from jaxface.runtime.devices import Dtype
from jaxface.settings import check_words
from jaxface.solving.procedure import Procedure
from jaxface.suite import Suite


@dataclasses.dataclass(frozen=True)
class Adadelta:
    """PIE's optimiser (section 4.4), with the constants of its author's experiments.

    PIE gives the step sizes and neither rho nor epsilon; these are Zeiler's (2012).
    """

    rho: float = 0.95
    eps: float = 1e-6

    def transformation(self, step_size: optax.Schedule) -> optax.GradientTransformation:
        """The optax transformation with a schedule of step sizes."""
        return optax.adadelta(step_size, rho=self.rho, eps=self.eps)


@dataclasses.dataclass(frozen=True)
class Adam:
    """Adam with its authors' constants (Kingma and Ba 2015, algorithm 1)."""

    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def transformation(self, step_size: optax.Schedule) -> optax.GradientTransformation:
        """The optax transformation with a schedule of step sizes."""
        return optax.adam(step_size, b1=self.b1, b2=self.b2, eps=self.eps)


TERMS = ("synthesis", "identity", "edit", "invariance", "recognition", "edit_recognition")
"""The terms of the energy by name, in the order of equation 6, the last two those of equation 15;
see `jaxface.methods.pie.energy`."""

EDITING_TERMS = ("edit", "invariance", "edit_recognition")
"""Those that edit the portrait."""

SPREAD = "spread"
"""A term that is not PIE's: how far the rows of W+ lie from their mean."""


@dataclasses.dataclass(frozen=True)
class Settings(ComputesIn):
    """How a portrait is inverted. Hashable: equal settings share compiled programs.

    Attributes:
      l2_weight: of the mean squared difference of images in [-1, 1].
      perceptual_weight: of the perceptual distance.
      layers: (layer, weight) pairs of the perceptual distance, each layer's squared difference
        averaged over its scalars.
      perceptual_resolution: larger images are downsampled to it before phi. Section 4.1: by 4 at
        1024.
      noise: "const": the generator's stored maps; "none"; "random": new ones at every step, from
        the item's key.
      optimizer: `Adadelta` or `Adam`.
      w_steps: iterations in W; 0 starts in W+ (Table 2's "direct opt.").
      w_step_size: at the first of them.
      w_resolution: what the portrait and its edits are drawn at and compared at in W; None: the
        generator's. Not the paper's: a lower one makes those steps cheaper, and needs a `skip`
        generator, whose RGB outputs up to there are an image. The stage in W+ refines in full.
      w_plus_steps: iterations in W+; 0 ends in W.
      w_plus_step_size: at the first of them.
      decay_rate: the step size is multiplied by it, exponentially, every `decay_steps` iterations
        of a stage.
      decay_steps: see `decay_rate`.
      stop_below: a portrait whose energy is below this leaves the stage; None: never.
      terms: which of `TERMS` the energy has, and whether `SPREAD`. The weights of the others are of
        no effect.
      identity_weight: lambda_id, of the mean squared entry of w - RigNet(w, theta_w).
      photometric_weight: lambda_ph, inside the edit and the invariance term, of the mean over the
        face's vertices of the squared RGB distance, in [-1, 1].
      occluded: colour distance (of RGB in [-1, 1]) beyond which a vertex counts as hidden, by hair
        or glasses, and hardly adds to the distance over the face; None: all count in full.
      landmark_weight: lambda_lm, beside it, of the mean squared distance of the 66 landmarks, in
        units of the portrait's side.
      edit_weight: lambda_e.
      invariance_weight: lambda_inv.
      recognition_weight: lambda_rw, of the squared distance of features of unit length.
      edit_recognition_weight: lambda_rw^, of the same for the edited portrait.
      spread_weight: of the mean square, over rows and entries, of w less the mean of its rows: a
        pull towards W, for generators that were trained without style mixing, whose rows do not
        vary freely.
      groups: the semantic groups tau, out of `EDITABLE_GROUPS`; terms are means over them. The
        paper's inversions have one.
      groups_per_step: "one": each iteration of a portrait takes one of the groups, drawn from its
        key; "all": takes them all, at so many times the cost. The expectation is the same.
      truncation: psi of the sampled v.
      bank: 0: every iteration of a portrait samples a new v; else how many a bank holds that
        replace them, see `jaxface.methods.pie.draw_bank`.
      face_resolution: larger images are downsampled to it before the face model is compared with
        them.
      landmarks: where the landmarks of the portrait and of v's image come from: "model": the face
        model with the parameters that the reconstruction network reads; "network": the suite's
        landmark network. The paper detects them in the image (equation 10).
      dtype: what the generator and the networks that read images compute in. Weights, latents,
        styles, demodulation, the sum of the RGB outputs, what networks read, losses and the
        optimiser are float32. With "float32" a generator whose own configuration reduces some
        resolutions (a converted one) does so.
      psi: the role of the suite whose network psi is: "recognition"; or "descriptor", which sees
        the face alone, `jaxface.nets.recognition.crops.face_square`, and can be VGG-Face, the
        paper's.
      start: "mean": W's mean, the paper's; "encoder": the codes of the suite's encoder, in W+, with
        no stage in W.
    """

    l2_weight: float
    perceptual_weight: float
    layers: tuple[tuple[str, float], ...]
    optimizer: Adadelta | Adam
    w_steps: int
    w_step_size: float
    w_plus_steps: int
    w_plus_step_size: float
    decay_rate: float
    decay_steps: int
    w_resolution: int | None = None
    perceptual_resolution: int = 256
    noise: Literal["const", "none", "random"] = "const"
    stop_below: float | None = None
    terms: tuple[str, ...] = ("synthesis",)
    identity_weight: float = 0.0
    photometric_weight: float = 0.0
    occluded: float | None = None
    landmark_weight: float = 0.0
    edit_weight: float = 0.0
    invariance_weight: float = 0.0
    recognition_weight: float = 0.0
    edit_recognition_weight: float = 0.0
    spread_weight: float = 0.0
    groups: tuple[str, ...] = tuple(EDITABLE_GROUPS)
    groups_per_step: Literal["one", "all"] = "one"
    truncation: float = 1.0
    bank: int = 0
    face_resolution: int = 256
    landmarks: Literal["model", "network"] = "model"
    dtype: Dtype = "float32"
    psi: Literal["recognition", "descriptor"] = "recognition"
    start: Literal["mean", "encoder"] = "mean"

    row_losses = ("perceptual", "loss")
    tunes_generator = False

    def __post_init__(self):
        check_words(self)
        if min(self.w_steps, self.w_plus_steps) < 0 or self.w_steps + self.w_plus_steps < 1:
            raise ValueError(
                "Settings: w_steps and w_plus_steps must be >= 0 and not both 0, got "
                f"{self.w_steps} and {self.w_plus_steps}."
            )
        if self.w_resolution is not None and not self.w_steps:
            raise ValueError("Settings: w_resolution is of the steps in W, and w_steps is 0.")
        if self.start == "encoder" and self.w_steps:
            raise ValueError(
                "Settings: an encoder's codes are in W+, so start='encoder' needs w_steps=0, got "
                f"{self.w_steps}."
            )
        _check_names("terms", self.terms, (*TERMS, SPREAD))
        _check_names("groups", self.groups, tuple(EDITABLE_GROUPS))
        if self.bank < 0:
            raise ValueError(f"Settings: bank must be >= 0, got {self.bank}.")
        if self.occluded is not None and self.occluded <= 0.0:
            raise ValueError(f"Settings: occluded must be positive or None, got {self.occluded}.")

    @property
    def editing_terms(self) -> tuple[str, ...]:
        """The chosen terms that edit the portrait, and so need a sampled v."""
        return tuple(term for term in self.terms if term in EDITING_TERMS)

    def sampled(self) -> "Settings":
        """The same without a bank."""
        return dataclasses.replace(self, bank=0)

    # An `jaxface.methods.inversion.Inverter`. What does the work needs the settings: imported here.

    def roles(self) -> Mapping[str, str]:
        """See `Inverter`."""
        from jaxface.methods.pie.networks import needed_by, required_roles

        return {role: needed_by(term) for role, term in required_roles(self).items()}

    def networks(self, suite: Suite, key: jax.Array) -> Any:
        """See `Inverter`: `jaxface.methods.pie.Networks`; the bank is drawn from the key."""
        from jaxface.methods.pie.networks import networks_of
        from jaxface.methods.pie.sampling import draw_bank

        bank = draw_bank(suite, self, key) if self.bank and self.editing_terms else None
        return networks_of(suite, self, models=None, bank=bank)

    def procedure(self, config: GeneratorConfig) -> Procedure:
        """See `Inverter` and `jaxface.methods.pie.inversion.procedure`."""
        from jaxface.methods.pie.inversion import procedure

        return procedure(self, config.num_ws)


def _check_names(field: str, names: tuple[str, ...], known: tuple[str, ...]) -> None:
    if not isinstance(names, tuple) or not names or len(set(names)) < len(names):
        raise ValueError(f"Settings: {field} must be a tuple of distinct names, got {names!r}.")
    for name in names:
        if name not in known:
            raise ValueError(f"Settings: {field} are out of {', '.join(known)}; got {name!r}.")


def ablate(settings: Settings, *terms: str) -> Settings:
    """The settings less some terms of the energy.

    Raises:
      ValueError: a name that the settings do not have, or nothing is left.
    """
    for term in terms:
        if term not in settings.terms:
            raise ValueError(f"ablate: {term!r} is none of {', '.join(settings.terms)}.")
    kept = tuple(term for term in settings.terms if term not in terms)
    return dataclasses.replace(settings, terms=kept)


def without_w_stage(settings: Settings) -> Settings:
    """Table 2's "direct opt.": all iterations in W+, from the mean latent, at W+'s step sizes.

    The paper gives no schedule for it; the number of iterations is kept.
    """
    return dataclasses.replace(
        settings,
        w_steps=0,
        w_plus_steps=settings.w_steps + settings.w_plus_steps,
        w_resolution=None,
    )


VGG_LAYERS = {"conv1_1": (1, 64), "conv1_2": (1, 64), "conv3_2": (4, 256), "conv4_2": (8, 512)}
"""The layers of VGG-16 in phi (section 4.1): downsampling of the image, channels."""


_GREY_LEVELS = 127.5  # of 0..255, for one unit of images in [-1, 1]


def published_weights() -> tuple[float, float, tuple[tuple[str, float], ...]]:
    """The weights of equation 7 in this library's units.

    lambda_l2 = lambda_p = 1e-6 (section 5) are factors of squared l2-norms, that is of sums of
    squares (section 4.1). The text does not give the range of the pixels: 0..255 is taken, at the
    paper's size of 1024 (phi at a quarter of it); with these the two terms are of one order. The
    losses of this library are means over images in [-1, 1], so that they compare between
    resolutions; hence

        l2:  lambda_l2 * 3 * 1024^2 * 127.5^2
        layer j:  lambda_p * N_j * 57.6^2

    with N_j the scalars of layer j, and 57.6 = 255 * 0.226 grey levels the unit of torchvision's
    VGG-16, whose input is divided by ImageNet's standard deviation (features scale with the input,
    but for biases). Adadelta's step does not depend on the energy's overall scale.

    Returns:
      l2_weight, perceptual_weight, layers.
    """
    lambda_l2, lambda_p = 1e-6, 1e-6
    size, perceptual_size, vgg_unit = 1024, 256, 57.6
    layers = tuple(
        (name, float(channels * (perceptual_size // stride) ** 2))
        for name, (stride, channels) in VGG_LAYERS.items()
    )
    return lambda_l2 * 3 * size**2 * _GREY_LEVELS**2, lambda_p * vgg_unit**2, layers


def published_editing_weights() -> dict[str, float]:
    """The weights of the other terms in this library's units, by field of `Settings`.

    lambda_id = 1, lambda_ph = 0.001, lambda_lm = 0.2, lambda_e = lambda_inv = 10, lambda_rw =
    lambda_rw^ = 0.1 (section 5), as factors

    * identity: of the squared l2-norm of 18 x 512 differences (equation 8): lambda_id * 18 * 512;
    * photometric: of the mean squared RGB distance over the face, in grey levels of 0..255:
      lambda_ph * 127.5^2;
    * landmark: of the mean squared distance of the landmarks, in pixels of an image of side S:
      lambda_lm * S^2;
    * recognition: of the squared norm of differences of VGG-Face's features (equation 14).

    Equation 10 writes the photometric and the landmark term as norms over all foreground pixels and
    all landmarks. As sums they do not fit Table 2, where the terms that have them leave the PSNR at
    30.15 dB: docs/pie.md has the measurement. The text gives no S; it is this library's
    `face_resolution`, 256.

    Features have unit length here. Table 2 gives the paper's a scale: its recognition error, "the
    second term in Eq. 15", lambda_rw^ with it, is 275.40 for Image2StyleGAN's edits, whose identity
    is lost; that is taken for the squared distance 1 of unit vectors, a cosine of 0.5.
    """
    rows, width, side, lost = 18, 512, 256, 275.40 / 0.1
    return {
        "identity_weight": 1.0 * rows * width,
        "photometric_weight": 0.001 * _GREY_LEVELS**2,
        "landmark_weight": 0.2 * side**2,
        "edit_weight": 10.0,
        "invariance_weight": 10.0,
        "recognition_weight": 0.1 * lost,
        "edit_recognition_weight": 0.1 * lost,
    }


_L2_WEIGHT, _PERCEPTUAL_WEIGHT, _LAYERS = published_weights()

PAPER = Settings(
    l2_weight=_L2_WEIGHT,
    perceptual_weight=_PERCEPTUAL_WEIGHT,
    layers=_LAYERS,
    optimizer=Adadelta(),
    w_steps=2000,
    w_step_size=50.0,
    w_plus_steps=1000,
    w_plus_step_size=10.0,
    decay_rate=0.1,
    decay_steps=2000,
)
"""The synthesis term as published (sections 4.1, 4.4 and 5)."""

PAPER_ALL = dataclasses.replace(
    PAPER, terms=TERMS, groups=("pose",), landmarks="network", **published_editing_weights()
)
"""All terms as published: about 10 minutes a portrait at 1024 on a V100 (section 5).

tau is one group that the user chooses (section 4); here it is the pose, as in Table 2 and in
sequential editing (section 5.4). Landmarks are detected in the images (equation 10).
"""

EMBEDDED = Settings(
    l2_weight=1.0,
    perceptual_weight=0.01,
    layers=tuple((name, 1.0) for name in VGG_LAYERS),
    optimizer=Adam(),
    w_steps=200,
    w_step_size=0.2,
    w_plus_steps=400,
    w_plus_step_size=0.1,
    decay_rate=0.1,
    decay_steps=400,
)
"""The synthesis term for the embedded suite at 64 px, tuned on 16 held-out renders. Five times the
perceptual weight costs about a decibel there, half the steps and step sizes half a decibel."""

EMBEDDED_FAST = dataclasses.replace(EMBEDDED, start="encoder", w_steps=0, w_plus_steps=80)
"""The same from the encoder's codes, with an eighth of the steps: six renders that ship come
back with 29.7 dB for 31.0, and edits of the pose stay nearer to the person."""

FACE_WEIGHTS: Mapping[str, float] = {
    "identity_weight": 1.0,
    "photometric_weight": 5.0,
    "occluded": 0.1,
    "landmark_weight": 100.0,
    "edit_weight": 0.3,
    "invariance_weight": 0.3,
    "recognition_weight": 0.015,
    "edit_recognition_weight": 0.015,
}
"""Weights of the terms beside synthesis, for the embedded suite and the photo suite."""

EMBEDDED_ALL = dataclasses.replace(EMBEDDED, terms=TERMS, bank=512, **FACE_WEIGHTS)
"""All terms for the embedded suite, tuned on 16 held-out renders other than the evaluation's:
docs/pie.md has the figures."""
