"""The direction matrix on a StyleGAN2 of 256 or 1024 px: Finding Directions, as published.

    jaxface train direction_matrix --config configs/direction_matrix_ffhq.py \\
        --set suite=SUITE --set method.portraits.path=FFHQ --set method.pairs.path=CLIPS

The suite has a generator, its e4e encoder, DECA with FLAME and FAN, IR-SE50 and VGG-16, converted
(docs/weights.md). FFHQ: a folder of aligned images. CLIPS: a data set of clips (docs/data.md). A
generator of VoxCeleb takes the same settings; the authors leave the roll out for FFHQ, whose faces
are level: --set "method.angles=('yaw','pitch')" --set method.expressions=12.

Settings: `jaxface.methods.direction_matrix.PAPER`, the paper's text (section 4: batch 12, Adam
1e-4, 20,000 steps on synthetic and real portraits, 150,000 on pairs); `CODE` is what the authors'
code does. Embedded portraits are held on the device, 0.2 MB each at 256 px and 3 MB at 1024.

Expect: not run with this code. The paper gives no hardware; 0.66 CSIM, a pose error of 1.1 and an
expression error of 0.8 in self-reenactment on VoxCeleb (Table 1).
"""

import dataclasses

from jaxface.data.clip_groups import TwoOfOneClip
from jaxface.data.sources import ClipGroups, ImageFolder, Latents
from jaxface.methods.direction_matrix import PAPER
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """170,000 steps at batch 12."""
    method = dataclasses.replace(
        PAPER,
        portraits=ImageFolder("ffhq", resolution=256),
        pairs=ClipGroups("clips", TwoOfOneClip()),
        embedded=20_000,
    )
    return Experiment(
        method=method,
        data=Latents(num_test=200),
        suite="suite",
        log_every=10,
        checkpoint_every=1_000,
        eval_every=1_000,
    )
