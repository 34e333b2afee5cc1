"""Pose and Facial Expression Transfer by using StyleGAN (Jahoda and Cech, CVWW 2024).

A driving frame s and a target portrait t give a portrait of t that looks as s does, in one pass:

    g = G(M(E_i(t), E_m(s)))

G is StyleGAN2 and E_i an encoder of portraits (ReStyle-pSp in the paper); both are frozen. The
motion encoder E_m and the mapper M, one linear layer, are trained on clips without labels
(`TransferSettings`): a frame driven by another of its clip is to be the frame itself, and a frame
driven by another person is to keep its identity. `TransferReenactment` is what comes of it,
`LatentArithmetic` the baseline that needs no training.

Chosen here, where the paper and the authors' code leave it open, is what each module says; the
presets `PAPER`, `CODE`, `GEN` and `COS` are named after their sources.
"""

from jaxface.methods.transfer.arithmetic import LatentArithmetic
from jaxface.methods.transfer.reenactment import TransferReenactment
from jaxface.methods.transfer.settings import CODE, COS, GEN, PAPER, TransferSettings

__all__ = [
    "CODE",
    "COS",
    "GEN",
    "PAPER",
    "LatentArithmetic",
    "TransferReenactment",
    "TransferSettings",
]
