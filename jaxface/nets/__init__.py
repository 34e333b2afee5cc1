"""Flax networks: architecture only. No file, no network access, no losses."""

from jaxface.nets.alexnet import AlexNet, AlexNetConfig
from jaxface.nets.deca import DECAEncoder, DECAEncoderConfig
from jaxface.nets.deep3d import Deep3D, Deep3DConfig
from jaxface.nets.directions import DirectionsConfig, LatentDirections
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
from jaxface.nets.landmarks import LandmarkConfig, LandmarkNet
from jaxface.nets.latent_mapper import LatentMapper, LatentMapperConfig
from jaxface.nets.lpips import LPIPS, LPIPSConfig
from jaxface.nets.reconstruction import FaceReconstruction, ReconstructionConfig
from jaxface.nets.resnet import ResNetConfig, ResNetFeatures
from jaxface.nets.rignet import RigNet, RigNetConfig
from jaxface.nets.style_directions import StyleDirections, StyleDirectionsConfig
from jaxface.nets.style_mapper import StyleMapper, StyleMapperConfig
from jaxface.nets.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
)
from jaxface.nets.trunk_reconstruction import (
    AlexNetReconstruction,
    AlexNetReconstructionConfig,
    ResNetReconstruction,
    ResNetReconstructionConfig,
    VGGFaceReconstruction,
    VGGFaceReconstructionConfig,
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
    "AlexNetReconstruction",
    "AlexNetReconstructionConfig",
    "DECAEncoder",
    "DECAEncoderConfig",
    "Deep3D",
    "Deep3DConfig",
    "DirectionsConfig",
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
    "LandmarkConfig",
    "LandmarkNet",
    "LatentDirections",
    "LatentMapper",
    "LatentMapperConfig",
    "PSPEncoder",
    "ReconstructionConfig",
    "ResNetConfig",
    "ResNetFeatures",
    "ResNetReconstruction",
    "ResNetReconstructionConfig",
    "RestyleE4EEncoder",
    "RestylePSPEncoder",
    "RigNet",
    "RigNetConfig",
    "StyleDirections",
    "StyleDirectionsConfig",
    "StyleMapper",
    "StyleMapperConfig",
    "VGGConfig",
    "VGGFace",
    "VGGFaceConfig",
    "VGGFaceReconstruction",
    "VGGFaceReconstructionConfig",
    "WEncoder",
]
