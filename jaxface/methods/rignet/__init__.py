"""StyleRig: Rigging StyleGAN for 3D Control over Portrait Images (Tewari et al., CVPR 2020).

RigNet learns, without labels, to give a latent w the face parameters of another latent v. F reads
the parameters of the image of a latent, p_w = F(I_w); for a semantic group (pose, expression or
light) the edited latent is w' = RigNet(w, p_v), and p_w' = F(I_w') says what became of it:

* reconstruction, ||RigNet(w, p_w) - w||^2: one's own parameters change nothing;
* edit, L_render(I_v, p_edit), p_edit = p_v with the group of p_w': the group has v's values;
* consistency, L_render(I_w, p_consist), p_consist = p_w' with the group of p_w: nothing else moved.

L_render compares a rendered face with an image: photometric distance and 66 landmarks
(`mofa.render_terms`). Parameters are compared as images because their own distances say little of
what is seen. Each pair is used both ways, v also takes the parameters of w.

The source is PIE (Tewari et al., ACM TOG 39(6), 2020), which sums StyleRig up in section 3.1 and
bases the terms of its section 4.2 on it. The three losses are those terms, with a network to train
in place of a latent: reconstruction is equation 8, edit equations 9 to 11, consistency equations 12
and 13. PIE says of RigNet:

* w' = RigNet(w, theta^tau), one network for each group, all trained on the same data (section 5.4);
* the parameters are transformed before the network reads them; the transform is left to PIE's
  supplement. Here: less the mean, over one scale for each field, of sampled latents;
* the original F reads a latent; PIE's F, MoFA, reads an image, as here.

It gives neither the layers nor the training of RigNet. Chosen here:

* The layers, see `jaxface.nets.RigNet`, and all weights and steps of `RigNetSettings`.
* The group pose is rotation and translation; PIE's tau is the rotation alone (section 4).
* The landmarks of an image are those that F reads from it.
* The photometric distance is MoFA's robust one, as F was trained: without it hair and glasses in
  front of the face pull F's reading of an edit, and so the edit, off its colours.
* Reconstruction is a mean in units of the variance of W, so that its weight fits any generator.
* Latents are W+ by style mixing in a share of cases: inverted portraits are not in W either.
* Adam with a learning rate that falls to zero, and an EMA of the weights.

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
