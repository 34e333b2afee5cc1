"""Convert StyleGAN2 checkpoints into jaxface's safetensors files.

``python -m tools.convert_weights FAMILY IN OUT``, from the repository's root.  FAMILY is

=====================  ==========================================================================
``nvidia_pytorch``     ``.pkl`` of stylegan2-ada-pytorch, or of stylegan3's StyleGAN2
                       configurations
``nvidia_tensorflow``  ``.pkl`` of stylegan2 (configurations E and F) and stylegan2-ada
``rosinality``         ``.pt`` of rosinality/stylegan2-pytorch: ``g_ema`` and ``latent_avg``, or a
                       training checkpoint
``auto``               whichever of these the file is
=====================  ==========================================================================

Neither PyTorch nor TensorFlow is needed, and nothing in the file is executed
(``pickle_machine.py``).  The family's file is its specification: the name map with the source's
layout and settings in words; how tensors are turned is in ``hooks.py``.  Every source key must be
used or named as ignored with a reason, and every array of the network filled, with its shape
checked; anything else is refused.
"""

from tools.convert_weights.convert import CONVERTER_VERSION, FAMILIES, Conversion, convert
from tools.convert_weights.refusal import Refusal

__all__ = ["CONVERTER_VERSION", "FAMILIES", "Conversion", "Refusal", "convert"]
