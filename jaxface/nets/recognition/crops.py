"""Squares of portraits aligned as FFHQ's that networks of another alignment want to see.

Which square follows from one face: the 68 points that Deep3DFaceRecon ships for standard
(``BFM/similarity_Lm3D_all.mat``; x right, y up, decimetres), whose eyes are at (-0.316, 0.296) and
(0.315, 0.296) and whose mouth's corners are at (-0.252, -0.381) and (0.248, -0.381). FFHQ's formula
(`jaxface.media.alignment.ffhq_transform`) makes of it a portrait of 2.524 decimetres around
(-0.001, 0.228): the distance of the eyes decides. Faces of other proportions differ by some
percent.
"""

from typing import Any, NamedTuple

from jaxtyping import Array, Float

from jaxface.nets.recognition.dlib_resnet import DlibResNet
from jaxface.nets.recognition.facenet import FaceNet
from jaxface.nets.recognition.vgg_face import VGGFace


class Square(NamedTuple):
    """Of a portrait, in units of its side, from its upper left corner."""

    left: float
    top: float
    side: float


FACE = Square(0.177, 0.283, 0.647)
"""What face-api's rule for dlib's network (``FaceLandmarks.alignDlib``, see
`jaxface.nets.recognition.dlib_resnet`) cuts out around the standard face. FaceNet's crop is a
detector's box with a margin (``models/mtcnn.py`` of facenet-pytorch): brows, ears and chin too, so
about this square, and it is chosen for VGG-Face as well."""

DEEP3D = Square(0.0653, 0.1553, 0.8701)
"""What Deep3DFaceRecon's ``align_img`` cuts out of a face seen from the front: 224 / 102 decimetres
around the standard face's origin, which reaches a little beyond the portrait's lower edge."""

EXPECTS_FACE_CROP: tuple[type, ...] = (VGGFace, FaceNet, DlibResNet)
"""Networks that leave the crop to the caller."""


def face_square(portraits: Float[Array, "n r r c"]) -> Float[Array, "n s s c"]:
    """The faces of portraits [N, R, R, C] aligned as FFHQ's: [N, r, r, C], the pixels of `FACE`."""
    size = portraits.shape[1]
    side = max(1, round(FACE.side * size))
    top, left = round(FACE.top * size), round(FACE.left * size)
    return portraits[:, top : top + side, left : left + side]


def portrait_embeddings(network: Any, portraits: Float[Array, "n r r 3"]) -> Float[Array, "n d"]:
    """What a network of identity says of portraits.

    Args:
        network: one that reads portraits (`jaxface.nets.IRSE`), or one of `EXPECTS_FACE_CROP`.
        portraits: [N, R, R, 3] in [-1, 1], aligned as FFHQ's.

    Returns:
        [N, D], of any length.
    """
    return network(face_square(portraits) if isinstance(network, EXPECTS_FACE_CROP) else portraits)
