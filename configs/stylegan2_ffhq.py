"""StyleGAN2 on FFHQ at 1024 px: configuration ``stylegan2`` with adaptive augmentation.

    jaxface train generator --config configs/stylegan2_ffhq.py --set data.path=/path/to/ffhq

Settings: `cfg_specs["stylegan2"]` in `train.py` of stylegan2-ada-pytorch (Karras et al. 2020b), the
widths and losses of Karras et al. 2020a; mirrored as its FFHQ networks were. Data: the 70,000
aligned images of https://github.com/NVlabs/ffhq-dataset in one folder.

Expect: not run with this code. Of its own code at 1024 px the source's README says 6 days 3 hours
for 25,000 kimg on eight V100 GPUs (with ``auto``), that 5,000 kimg look reasonable already, and
that ``stylegan2`` reaches a considerably better FID on FFHQ than ``auto``.
"""

from jaxface.data.sources import ImageFolder
from jaxface.methods.stylegan2 import published
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """25 million images at batch 32."""
    return Experiment(
        method=published("stylegan2", resolution=1024),
        data=ImageFolder("ffhq", resolution=1024, mirror=True),
        log_every=100,
        checkpoint_every=5_000,
        eval_every=5_000,
    )
