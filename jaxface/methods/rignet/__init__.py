"""StyleRig: Rigging StyleGAN for 3D Control over Portrait Images (Tewari et al., CVPR 2020).

RigNet learns, without labels, to give a latent w the face parameters of another latent v. F reads
the parameters of the image of a latent, p_w = F(I_w); for a semantic group (pose, expression or
light) the edited latent is w' = RigNet(w, p_v), and p_w' = F(I_w') says what became of it:

* reconstruction, ||RigNet(w, p_w) - w||^2: one's own parameters change nothing;
* edit, L_render(I_v, p_edit), p_edit = p_v with the group of p_w': the group has v's values;
* consistency, L_render(I_w, p_consist), p_consist = p_w' with the group of p_w: nothing else moved.

L_render draws a face beside an image: photometric distance and 66 landmarks (`mofa.render_terms`).
Parameters are compared as images because their own distances say little of what is seen. Each
pair is used both ways, v also takes the parameters of w. The terms carry the paper's names; it was
not at hand, so they have no equation numbers here.

What differs from the paper, or is chosen here:

* F reads synthesised images, as in PIE (Tewari et al. 2020, section 3.1); StyleRig's F reads w.
* One network a group, as in PIE.
* The landmarks of an image are those that F finds in it.
* The photometric distance is MoFA's robust one, as F was trained: without it hair and glasses in
  front of the face pull F's reading of an edit, and so the edit, off its colours.
* Reconstruction is a mean in units of the variance of W, so that its weight fits any generator.
* Latents are W+ by style mixing in a share of cases: embedded portraits are not in W either.
* Adam, with a fall to zero, and an average of the weights; the paper has Adadelta at 0.01.

Batches are ``{"key": uint32 [N, 2]}``: the words of an item's key, N even; neighbours are pairs.
The generator, F and the face model are constants: only RigNet is trained.
"""

from jaxface.methods.rignet.latents import Models, frozen_models
from jaxface.methods.rignet.scores import edit_scores, edit_sheet, held_out_latents
from jaxface.methods.rignet.training import (
    RigNetSettings,
    initial_state,
    rig_losses,
    rig_phase,
)

__all__ = [
    "Models",
    "RigNetSettings",
    "edit_scores",
    "edit_sheet",
    "frozen_models",
    "held_out_latents",
    "initial_state",
    "rig_losses",
    "rig_phase",
]
