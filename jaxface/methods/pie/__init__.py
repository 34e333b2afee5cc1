"""PIE: Portrait Image Embedding for Semantic Control (Tewari et al., ACM TOG 39(6), 2020).

A portrait I is embedded as the latent w whose image I_w minimises an energy (equation 6), first in
W, then in W+ (section 4.4). `settings` holds the weights and the schedule, `energy` the terms,
`sampling` what they are expectations over, `networks` what they need of a suite, `inversion` the
optimisation, and `editing` what is done with a latent afterwards.

What the paper leaves open, and what is chosen here:

* The range of the pixels and whether a norm is a sum: see `published_weights`.
* The filter that downsamples I before phi: a box average.
* The generator's noise inputs: its stored maps, so that w alone explains the portrait.
* The distribution of v: mapping(z), without truncation unless the settings say so, one new v for
  each iteration of each portrait. How many of the groups tau an iteration edits: one of them, drawn
  anew, or all; the terms are means over the groups either way.
* Which tau the invariance term's face has: that read from I. What theta_w is read from: I_w, with
  its gradient.
* The norms of l: means over the face model's visible vertices and over the landmarks. The landmarks
  of I and I_v: those of the face model with what is read from them, or a landmark network's.
* Whether the step size starts anew in W+: it does, at its own starting value, and decays by its own
  count of steps.
"""

from jaxface.latents import interpolate
from jaxface.methods.inversion import Inversion
from jaxface.methods.pie.editing import Edit, Target, edit, edit_groups, read_parameters
from jaxface.methods.pie.energy import Targets, energy
from jaxface.methods.pie.inversion import invert, procedure, stages
from jaxface.methods.pie.networks import (
    Bank,
    FaceEstimate,
    Networks,
    missing,
    networks_of,
    required_roles,
)
from jaxface.methods.pie.sampling import draw_bank
from jaxface.methods.pie.settings import (
    EDITING_TERMS,
    EMBEDDED,
    EMBEDDED_ALL,
    PAPER,
    PAPER_ALL,
    TERMS,
    VGG_LAYERS,
    Adadelta,
    Adam,
    Settings,
    ablate,
    published_editing_weights,
    published_weights,
    without_w_stage,
)

__all__ = [
    "EDITING_TERMS",
    "EMBEDDED",
    "EMBEDDED_ALL",
    "PAPER",
    "PAPER_ALL",
    "TERMS",
    "VGG_LAYERS",
    "Adadelta",
    "Adam",
    "Bank",
    "Edit",
    "FaceEstimate",
    "Inversion",
    "Networks",
    "Settings",
    "Target",
    "Targets",
    "ablate",
    "draw_bank",
    "edit",
    "edit_groups",
    "energy",
    "interpolate",
    "invert",
    "missing",
    "networks_of",
    "procedure",
    "published_editing_weights",
    "published_weights",
    "read_parameters",
    "required_roles",
    "stages",
    "without_w_stage",
]
