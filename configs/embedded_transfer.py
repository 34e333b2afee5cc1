"""Transfer on the embedded suite: a motion encoder and a mapper over its generator.

    jaxface data --clips 2 --frames 50 --world 2.0.0 --out DATA --resolution 64 --train 140 --test 4
    jaxface train transfer --config configs/embedded_transfer.py --set data.path=DATA/SET \\
        --out START --set method.identity_weight=0 --set method.pixel_crop_weight=0 \\
        --set method.perceptual_crop_weight=0 --set method.latent_weight=1 \\
        --set method.learning_rate=1e-3 --set method.steps=600
    jaxface train transfer --config configs/embedded_transfer.py --set data.path=DATA/SET \\
        --out RUN --begin START

with DATA/SET the folder that the first command prints. The second line trains E_m and M on the
codes of frames, without the generator, and is not the paper's; the third one has the paper's
losses. The clips are of the world that the suite knows, version 2. Its encoder gives the
identities' codes; another suite: --set suite=DIR --set data.suite=DIR. Its recognition, landmark
and reconstruction networks judge.

The variants: --set method.train_generator=True (Gen), --set method.contrast_weight=0.1 (Cos).

Not the paper's, for a training in an hour on one core: the small motion encoder, which begins with
the trunk of the recognition network; M as the identity's code and a matrix of rank 128, 2.0 million
weights (--set method.network.rank=None trains the paper's of 52 million, whose gradient and update
take 1.7 s of one core of an AMD EPYC a step, beside 0.05 s; learning_rate=2e-5 then); batches of
16, learning rates and their decay; the recognition network's own crop; and the suite's own
perceptual trunk in place of AlexNet, on the crop alone. That one's distances are not calibrated and
some times larger, so the weight is smaller. Equation 3 compares with t_B itself, as the paper words
it, which saves a pass of the generator. Every third frame of a clip is used, where the paper takes
every twelfth: key poses are half a second apart here.
"""

from jaxface.data.transfer_pairs import TransferPairs
from jaxface.methods.transfer import TransferSettings
from jaxface.nets import TransferConfig
from jaxface.training.experiment import Experiment

NETWORK = TransferConfig(
    channels=(16, 32, 64, 128),
    units=(1, 2, 2, 1),
    reduction=4,
    num_ws=10,
    resolution=64,
    pool=4,
    hidden=256,
    rank=128,
)


def get_config() -> Experiment:
    """12,800 pairs."""
    return Experiment(
        method=TransferSettings(
            NETWORK,
            steps=800,
            batch_size=16,
            learning_rate=3e-4,
            encoder_learning_rate=1e-3,
            last_learning_rate=0.05,
            distance="perceptual",
            perceptual_weight=0.0,
            perceptual_crop_weight=0.05,
            identity_target="target",
            identity_crop="face",
            encoder_start="recognition",
            mapper_start="identity",
        ),
        data=TransferPairs("data/clips", every=3, frames=17, window=24),
        suite="embedded",
        checkpoint_every=250,
        eval_every=250,
    )
