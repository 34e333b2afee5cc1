"""The embedded suite's direction matrix: Finding Directions over its generator, without labels.

    jaxface train direction_matrix --config configs/embedded_direction_matrix.py

The paper's second stage, half of whose sources are embedded portraits, takes the suite's encoder:
give the settings `portraits` and a stage "mixed"; for the third `pairs` and a stage "paired".
`jaxface evaluate reenactment --tables` compares short ones (docs/results/reenactment.md).

Columns: yaw, pitch, roll and the 14 expressions that have names (m_e = 14). The other 50 modes are
small, and the reconstruction network hardly reads them: the correlation of what it reads from 512
renders with the truth is 0.15 in the mean over those, 0.52 over the named ones (0.95 for jaw_open,
0.90 for smile).

Expect, of the shipped weights (float16), which are those of step 695 of the 1,000, on 128 sources
that are driven by renders of others turned by at most 0.6 rad, beside the truth (in brackets with a
round of feedback on the angles): rotation 0.025 rad off (0.016), 0.179 before; landmarks 2.7% of
the face's size (2.1%), 19.7% before; identity 96.6% of the reconstruction's (95.8%). Portraits
that are embedded first, with two rounds of feedback: docs/results/reenactment.md. A step of 12
sources takes about 0.7 s of one core of an AMD EPYC that had other work.
"""

import dataclasses

from jaxface.data.sources import Latents
from jaxface.methods.direction_matrix import EMBEDDED
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """12,000 sources."""
    return Experiment(
        method=dataclasses.replace(EMBEDDED, known_scenes=True),
        data=Latents(num_test=256),
        suite="embedded",
        log_every=20,
        checkpoint_every=100,
        eval_every=100,
    )
