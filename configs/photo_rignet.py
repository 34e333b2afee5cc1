"""The photo suite's RigNets: StyleRig's training over its generator, without labels.

    jaxface train rignet --config configs/photo_rignet.py --set method.group=pose

Faces are read by the suite's `MeshReconstruction`: MediaPipe's mesh with version 3's head fitted to
it, differentiable in the image. No latents are mixed: the generator was trained with one w for all
rows, and W is what its people are drawn from.

Expect, after 40 steps on two cores of an AMD EPYC (13 minutes of processor time, 5 of them for
reading 512 samples, with JAX_NUM_CPU_DEVICES=1), on 8 held-out latents: pose 9.3 degrees off
before, 2.9 after; landmarks 6.5% of the face's size, then 2.2%. The loss falls from 0.73 to 0.52.
All 100 steps have not been measured.
"""

from jaxface.data.sources import Latents
from jaxface.methods.rignet import RigNetSettings
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """400 edits."""
    return Experiment(
        method=RigNetSettings(
            group="pose",
            steps=100,
            batch_size=4,
            learning_rate=5e-4,
            warmup_steps=10,
            mixing_probability=0.0,
            ema_half_life=80.0,
            resolution=512,
            begins_linear=True,
        ),
        data=Latents(num_test=8),
        suite="suites/photo",
        log_every=5,
        eval_every=100,
    )
