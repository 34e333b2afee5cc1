"""Flax networks: architecture only. No file, no network access, no losses."""

from jaxface.nets.alexnet import AlexNet, AlexNetConfig
from jaxface.nets.deca import DECAEncoder, DECAEncoderConfig
from jaxface.nets.deep3d import Deep3D, Deep3DConfig
from jaxface.nets.dlib_resnet import DlibResNet, DlibResNetConfig
from jaxface.nets.encoders import (
    E4EEncoder,
    EncoderConfig,
    PSPEncoder,
    RestyleE4EEncoder,
    RestylePSPEncoder,
    WEncoder,
)
from jaxface.nets.face_landmarks import FaceLandmarkConfig, FaceLandmarkNet
from jaxface.nets.facenet import FaceNet, FaceNetConfig
from jaxface.nets.fan import FAN, FANConfig
from jaxface.nets.hopenet import HopeNet, HopeNetConfig
from jaxface.nets.inception import InceptionConfig, InceptionV3
from jaxface.nets.irse import IRSE, IRSEConfig
from jaxface.nets.lpips import LPIPS, LPIPSConfig
from jaxface.nets.reconstruction import FaceReconstruction, ReconstructionConfig
from jaxface.nets.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
)
from jaxface.nets.vgg import VGG16, VGGConfig
from jaxface.nets.vgg_face import VGGFace, VGGFaceConfig

__all__ = [
    "FAN",
    "IRSE",
    "LPIPS",
    "VGG16",
    "AlexNet",
    "AlexNetConfig",
    "DECAEncoder",
    "DECAEncoderConfig",
    "Deep3D",
    "Deep3DConfig",
    "Discriminator",
    "DiscriminatorConfig",
    "DlibResNet",
    "DlibResNetConfig",
    "E4EEncoder",
    "EncoderConfig",
    "FANConfig",
    "FaceLandmarkConfig",
    "FaceLandmarkNet",
    "FaceNet",
    "FaceNetConfig",
    "FaceReconstruction",
    "Generator",
    "GeneratorConfig",
    "HopeNet",
    "HopeNetConfig",
    "IRSEConfig",
    "InceptionConfig",
    "InceptionV3",
    "LPIPSConfig",
    "PSPEncoder",
    "ReconstructionConfig",
    "RestyleE4EEncoder",
    "RestylePSPEncoder",
    "VGGConfig",
    "VGGFace",
    "VGGFaceConfig",
    "WEncoder",
]
