"""What avatars of the embedded suite begin with: mappers pre-trained over many persons (PVP).

    jaxface data --clips 1 --frames 125 --world 2.0.0 --out DATA --resolution 64 --train 96 --test 8
    jaxface train avatar_prior --config configs/embedded_avatar_prior.py --set data.path=DATA/SET \\
        --out RUN

with DATA/SET the folder that the first command prints. The suite's encoder and reader see every
frame once; the training itself draws no image and takes minutes of one core. Another suite: --set
suite=DIR --set data.suite=DIR, with method.network.num_ws and .expression as its generator and
reader have them (FLAME: 53).

Expect, of the shipped weights (float16): codes of 8 clips of persons that are not trained on are
missed by 0.070, 12% of the squares that the mean of a clip's 48 anchors leaves; three minutes of
one core beside other work, four more for 13,000 codes. What it is worth to an avatar is in
docs/pvp.md.
"""

from jaxface.data.coded_clips import CodedClips
from jaxface.methods.pvp.prior import AvatarPriorSettings
from jaxface.nets import AvatarPriorConfig
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """6,400 clips of 80 frames each."""
    return Experiment(
        method=AvatarPriorSettings(
            AvatarPriorConfig(num_ws=10, expression=67), steps=800, batch_size=8
        ),
        data=CodedClips("data/clips"),
        suite="embedded",
        checkpoint_every=200,
        eval_every=200,
    )
