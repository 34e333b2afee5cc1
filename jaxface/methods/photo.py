"""Inversion of real photographs with the photo suite (docs/photo_suite.md).

In W at 256 px, then in W+ at full size with a pull towards W, since the generator was trained with
one w for all rows; then pivotal tuning, which draws what W+ cannot.

The features are HED's, of VGG-16's widths but thinned by its training for edges, so that published
weights of VGG-16 mean nothing here. A layer's weight is one over its mean squared difference
between two portraits, over 28 pairs of two photographs and six samples of the generator at 256 px:
each layer's distance is about 1 between strangers. They see portraits at 128 px: at 256 they take
half of a step's time, and little of the result. The tuning changes the blocks up to 128 px: with
those of higher resolutions a step takes more than twice as long, and the first tens of steps leave
a weave over the whole image.
"""

import dataclasses

from jaxface.methods import pie, pti

LAYERS = (("relu1_2", 3.0e-4), ("relu2_2", 1.5e-3), ("relu3_3", 6.8e-3), ("relu4_3", 6.7e-2))

PIVOT = pie.Settings(
    l2_weight=1.0,
    perceptual_weight=0.1,
    layers=LAYERS,
    optimizer=pie.Adam(),
    w_steps=50,
    w_step_size=0.1,
    w_resolution=256,
    w_plus_steps=90,
    w_plus_step_size=0.05,
    decay_rate=0.1,
    decay_steps=90,
    terms=("synthesis", pie.SPREAD),
    spread_weight=0.02,
    perceptual_resolution=128,
)

PIE = dataclasses.replace(
    PIVOT,
    terms=("synthesis", "identity", "edit", "invariance", pie.SPREAD),
    groups=("pose",),
    psi="descriptor",
    bank=64,
    **pie.FACE_WEIGHTS,
)
"""PIE's energy, for portraits whose pose a RigNet is to edit: the weights of the embedded suite's
preset, and the pull towards W. The wheels have no recognition network; with dlib's in the folder of
the suite the terms `recognition` and `edit_recognition` can be added."""

TUNING = pti.Settings(
    lpips_weight=0.1,
    steps=100,
    learning_rate=5e-4,
    stop_below=None,
    resolution=128,
    distance="perceptual",
    last_resolution=128,
    tunes_rgb=False,
)

PHOTO = pti.PivotalTuning(PIVOT, TUNING)
"""For quality."""

PHOTO_FAST = pti.PivotalTuning(
    dataclasses.replace(PIVOT, w_steps=18, w_plus_steps=25, decay_steps=25),
    dataclasses.replace(TUNING, steps=35),
)
"""About a third of the steps in W and W+, and tuning in larger ones."""
