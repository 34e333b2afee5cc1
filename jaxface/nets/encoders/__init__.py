"""Encoders of portraits into StyleGAN2's W+: pSp, e4e, ReStyle's two, and the encoder into W."""

from jaxface.nets.encoders.pyramid import E4EEncoder, PSPEncoder
from jaxface.nets.encoders.restyle import RestyleE4EEncoder, RestylePSPEncoder
from jaxface.nets.encoders.styles import EncoderConfig
from jaxface.nets.encoders.w import WEncoder

__all__ = [
    "E4EEncoder",
    "EncoderConfig",
    "PSPEncoder",
    "RestyleE4EEncoder",
    "RestylePSPEncoder",
    "WEncoder",
]
