"""PIE: Portrait Image Embedding for Semantic Control (Tewari et al., ACM TOG 39(6), 2020).

A portrait I is inverted to the latent w whose image I_w minimises an energy (equation 6), first in
W, then in W+ (section 4.4). `settings` holds the weights and the schedule, `energy` the terms,
`sampling` what they are expectations over, `networks` what they need of a suite, `inversion` the
optimisation, and `editing` what is done with a latent afterwards. All numbers of equations,
sections and tables are the paper's.

What its text settles, and `PAPER_ALL` follows:

* An inversion has one group tau, which the user chooses (section 4); the paper evaluates the pose
  (Table 2) and edits the other groups from there (section 5.4).
* Every iteration samples another v (section 4.4).
* theta_w is read from I_w (equation 5). In equations 8 to 13 it is a function of the variable w,
  so it passes on a gradient.
* The edited face keeps v's parameters but for tau (equation 11); the face of the invariance term
  has the edit's parameters, with tau read from I (equation 13).
* The landmarks of I and I_v are detected in the images (equation 10).
* Each stage has a starting step size of its own (section 5), so the decay starts anew in W+.

What it leaves open, and what is chosen here:

* The range of the pixels, the size at which a face is compared and the unit of its landmarks: see
  `published_weights` and `published_editing_weights`.
* The filter that downsamples I by 4 before phi: a box average.
* Where the optimisation starts in W: the mean latent. rho and epsilon of Adadelta: its author's.
* The generator's noise inputs: its stored maps, so that w alone explains the portrait.
* The distribution of v, left to StyleRig: mapping(z), without truncation unless the settings say
  so.
* How an inversion for several groups would sample them, which the paper does not do: one of the
  groups in each iteration, drawn anew, or all; the terms are means over the groups either way.

What differs:

* The generator is StyleGAN2, not StyleGAN.
* tau of the pose is rotation and translation, as RigNet's pose; the paper's is the rotation.
* The landmarks are a network's, not those of the tracker of Saragih et al. (2011); with `landmarks`
  "model", those of the face model with what is read from the image.
* The norm over the face is taken at the model's visible vertices, not at all its pixels.
* psi's features have unit length.
"""

from jaxface.latents import interpolate
from jaxface.methods.inversion import Inversion
from jaxface.methods.pie.editing import (
    Edit,
    Target,
    edit,
    edit_groups,
    edit_together,
    read_parameters,
)
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
    EMBEDDED_FAST,
    FACE_WEIGHTS,
    PAPER,
    PAPER_ALL,
    SPREAD,
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
    "EMBEDDED_FAST",
    "FACE_WEIGHTS",
    "PAPER",
    "PAPER_ALL",
    "SPREAD",
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
    "edit_together",
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
