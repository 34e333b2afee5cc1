"""What avatars of the embedded suite begin with: mappers pre-trained over many persons (PVP).

    jaxface data --clips 1 --frames 100 --every 6 --world 2.0.0 --out DATA --resolution 64 \\
        --train 144 --test 16
    jaxface train avatar_prior --config configs/embedded_avatar_prior.py --set data.path=DATA/SET \\
        --out RUN

with DATA/SET the folder that the first command prints. The suite's encoder and reader see every
frame once; the training itself draws no image and takes minutes of one core. Another suite: --set
suite=DIR --set data.suite=DIR, with method.network.num_ws and .expression as its generator and
reader have them (FLAME: 53).

Every sixth frame is taken, two of each key pose, so that few frames show much of a person. Expect,
of the shipped weights (float16, 600 such steps before there was an EMA of the weights): codes of
32 frames of 16 persons that are not trained on are missed by 0.122, 19% of the squares that the
mean of a clip's 48 anchors leaves (65% before the first step). 96 persons with 125 frames at 25 a
second, of a quarter as many key poses each, gave avatars whose held-out frames were 0.3 dB worse.
Some minutes of one core. What it is worth to an avatar is in docs/pvp.md.
"""

from jaxface.data.coded_clips import CodedClips
from jaxface.methods.pvp.prior import AvatarPriorSettings
from jaxface.nets import AvatarPriorConfig
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """4,800 clips of 80 frames each."""
    return Experiment(
        method=AvatarPriorSettings(
            AvatarPriorConfig(num_ws=10, expression=67), steps=600, batch_size=8
        ),
        data=CodedClips("data/clips"),
        suite="embedded",
        checkpoint_every=200,
        eval_every=200,
    )
