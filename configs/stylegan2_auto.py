"""StyleGAN2 on any folder of images: configuration ``auto``, a start for a new data set.

    jaxface train generator --config configs/stylegan2_auto.py --set data.path=/path/to/images

Settings: `cfg_specs["auto"]` in `train.py` of stylegan2-ada-pytorch, here for 256 px and one
device: batch 16, half the channels, R1 weight 0.0002 * 256**2 / 16 = 0.82, EMA half-life 5 kimg.
Another resolution or device count is another call of `published`, since widths, batch and R1 weight
follow from them.

Expect: not run with this code. Of its own code at 256 px the source's README says 6 hours 36
minutes for 1,000 kimg and 6 days 21 hours for 25,000 kimg on one V100 GPU.
"""

from jaxface.data.sources import ImageFolder
from jaxface.methods.stylegan2 import published
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """25 million images at batch 16."""
    return Experiment(
        method=published("auto", resolution=256, devices=1),
        data=ImageFolder("images", resolution=256),
        log_every=100,
        checkpoint_every=5_000,
        eval_every=5_000,
    )
