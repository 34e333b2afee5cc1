"""PVP: Personalized Video Prior for Editable Dynamic Portraits using StyleGAN (Lin et al. 2023).

A clip of one person gives a generator of that person and two small networks, the mappers, and every
frame is drawn from head pose and expression:

    image = G_p(w_rot + dw),   w_rot = sum_i alpha_i w_i,   alpha = F_rot(pitch, yaw),
    dw = F_expr(jaw, expression)

Key frames are chosen (`key_frames`), embedded, and one generator is tuned to all of them
(`tuning`); the mappers learn on it by seven losses (`training`, `losses`); `avatar` is what can be
driven then, `reenactment` the same behind the common seam.

Chosen here, where the paper and the authors' code leave it open: faces are read in the aligned
image, frames and renders alike, where the authors' code reads frames in crops of the video and
renders by those crops' places in the aligned image; landmarks of L_cons likewise.
"""

from jaxface.methods.pvp.avatar import Avatar, Edit
from jaxface.methods.pvp.personalise import (
    Personalisation,
    Personalised,
    personalise,
    see,
    split_frames,
)
from jaxface.methods.pvp.reenactment import PVPReenactment
from jaxface.methods.pvp.settings import (
    EMBEDDED,
    FAST,
    PAPER,
    PRETRAINED,
    PVP_PRESETS,
    REPO,
    KeyFrameSettings,
    MapperSettings,
    PVPSettings,
    pvp_preset,
)

__all__ = [
    "EMBEDDED",
    "FAST",
    "PAPER",
    "PRETRAINED",
    "PVP_PRESETS",
    "REPO",
    "Avatar",
    "Edit",
    "KeyFrameSettings",
    "MapperSettings",
    "PVPReenactment",
    "PVPSettings",
    "Personalisation",
    "Personalised",
    "personalise",
    "pvp_preset",
    "see",
    "split_frames",
]
