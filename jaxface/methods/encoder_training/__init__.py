"""Encoders into W+, trained on portraits and on a generator's own samples: pSp, e4e, ReStyle.

A portrait goes through the encoder and the frozen generator, and what comes out is compared with
it. The objectives of three papers are terms of one loss, each with its weight:

* pSp (Richardson et al. 2021, section 3.2): pixels, LPIPS, identity, and the distance of the codes
  from the mean of W+;
* e4e (Tov et al. 2021, section 4): the same, with few and small deviations between the styles of an
  image: a style has a deviation of its own only from some step on, and its length is a term. The
  latent discriminator, which the paper has beside it, is left out;
* ReStyle (Alaluf et al. 2021, section 3): several passes, each of which sees what the one before
  it made. Every pass has the loss, and no gradient goes from one to another, as in
  restyle-encoder's ``training/coach_restyle_psp.py``.

A generator knows the codes of its own samples, so these have one term more: the squared distance of
the codes from the true ones. It also holds the codes near W, which is what e4e's discriminator is
for. Portraits of the data have no such term. A run may begin with this term alone (`latent_steps`):
no gradient goes through the generator then, and a step is cheap. Batches are ``{"image": [N, R, R,
3] uint8 or float32 in [-1, 1]}``; samples are drawn on the device.

Batch normalisation works by the statistics of the whole batch, over all devices, while the network
learns, and its running statistics follow; what is saved and scored uses these. As in the references
images are compared at the encoder's resolution, unless the settings name another. Noise is the
stored one, where the references draw it, and the optimiser Adam with a falling rate, where they
have Ranger with a constant one.
"""

from jaxface.methods.encoder_training.objective import Judges
from jaxface.methods.encoder_training.settings import EncoderSettings
from jaxface.methods.encoder_training.training import (
    EncoderState,
    encoder_phase,
    initial_state,
    inversion_scores,
    latent_phase,
)

__all__ = [
    "EncoderSettings",
    "EncoderState",
    "Judges",
    "encoder_phase",
    "initial_state",
    "inversion_scores",
    "latent_phase",
]
