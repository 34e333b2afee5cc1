"""MoFA with the Basel Face Model: VGG-Face's trunk, learning from portraits without labels.

    jaxface train reconstruction --config configs/mofa_basel.py --set data.path=/path/to/portraits

Data: a TFDS data set with ``image``, square, and ``landmarks``, [68, 2] in pixels of it; the
paper's come from a landmark detector. ``basel/`` holds two converted files (docs/weights.md)::

    jaxface convert basel BFM_model_front.mat basel/face_model.safetensors
    jaxface convert vgg_face vgg_face_dag.pth basel/trunk.safetensors

The paper (Tewari et al. 2017) takes VGG-Face or AlexNet; `AlexNetReconstructionConfig` and
`ResNetReconstructionConfig` size the others, whose trunks torchvision's ``alexnet`` and
``resnet50`` begin. Terms' weights and the optimiser are `MoFASettings`' own, not the paper's.

Expect: not run yet.
"""

from jaxface.data.sources import PreparedDataset
from jaxface.methods.mofa import MoFASettings
from jaxface.nets import VGGFaceReconstructionConfig
from jaxface.training.experiment import Experiment


def get_config() -> Experiment:
    """3.2 million images."""
    return Experiment(
        method=MoFASettings(
            network=VGGFaceReconstructionConfig(),
            steps=100_000,
            learning_rate=1e-4,
            ema_half_life=100_000.0,
        ),
        data=PreparedDataset("portraits"),
        networks={
            "face_model": "basel/face_model.safetensors",
            "trunk": "basel/trunk.safetensors",
        },
    )
