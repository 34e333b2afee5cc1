"""Pivotal Tuning for Latent-based Editing of Real Images (Roich et al., ACM TOG 2022): PTI.

A portrait's latent, the pivot, stays where an inversion put it, and the generator's weights move
until they draw the portrait there:

    L = lambda_L2 |x - G(w_p)|^2 + lambda_P LPIPS(x, G(w_p)) + L_R

with, where nearby identities are to stay as they are (locality regularisation), for
samples w_z of the mapping network

    w_r = w_p + alpha (w_z - w_p) / |w_z - w_p|
    L_R = lambda_L2^R |G(w_r) - G_0(w_r)|^2 + lambda_P^R LPIPS(G(w_r), G_0(w_r))

alpha is a distance: the authors' ``criteria/localitly_regulizer.py`` norms the difference over all
rows of W+ together. G_0 is the generator as it was. Squared differences are means over pixels in
[-1, 1]. Images are drawn with the stored noise maps in L and without noise in L_R, and LPIPS sees
them at their full size.

PVP's account of PTI (Lin et al. 2023, equation 3) has the same three terms, LPIPS with the weight 1
and L_R kept. It gives at most 350 steps, as here, and an LPIPS threshold of 0.03 (section 5.1)
where the authors' code has 0.06; the other constants it leaves to PTI.

Each portrait is a problem of its own for `jaxface.solving.solver`, whose variables are the
parameters of the synthesis network; the mapping network and the noise maps stay. The pivot is the
caller's. The authors find it by StyleGAN2's projector in W, whose schedule has its own learning
rate, 0.01: their ``first_inv_lr`` is overwritten at every step.
"""

from jaxface.methods.pti.inversion import PTI_E4E, PTI_EMBEDDED, PTI_REPO, PivotalTuning
from jaxface.methods.pti.settings import PAPER, REPO, Rows, Settings
from jaxface.methods.pti.tuning import (
    Networks,
    Targets,
    Tuning,
    changed_generator,
    distance_network,
    energy,
    evaluate,
    features,
    fitted,
    locality,
    locality_latents,
    procedure,
    project_to_sphere,
    read_targets,
    stage,
    start,
    tune,
    tuned_generator,
)

__all__ = [
    "PAPER",
    "PTI_E4E",
    "PTI_EMBEDDED",
    "PTI_REPO",
    "REPO",
    "Networks",
    "PivotalTuning",
    "Rows",
    "Settings",
    "Targets",
    "Tuning",
    "changed_generator",
    "distance_network",
    "energy",
    "evaluate",
    "features",
    "fitted",
    "locality",
    "locality_latents",
    "procedure",
    "project_to_sphere",
    "read_targets",
    "stage",
    "start",
    "tune",
    "tuned_generator",
]
