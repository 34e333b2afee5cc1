"""Flax networks: architecture only. No file, no network access, no losses."""

from jaxface.nets.edits.avatar import AvatarConfig, AvatarMappers
from jaxface.nets.edits.avatar_prior import AvatarPrior, AvatarPriorConfig
from jaxface.nets.edits.direction_matrix import DirectionMatrix, DirectionMatrixConfig
from jaxface.nets.edits.latent_difference import (
    KeypointConfig,
    KeypointEncoder,
    LatentDifferenceConfig,
    LatentDifferenceEncoder,
    NaiveConfig,
    NaiveEncoder,
)
from jaxface.nets.edits.latent_mapper import LatentMapper, LatentMapperConfig
from jaxface.nets.edits.linear_directions import DirectionsConfig, LatentDirections
from jaxface.nets.edits.rignet import RigNet, RigNetConfig
from jaxface.nets.edits.style_directions import StyleDirections, StyleDirectionsConfig
from jaxface.nets.edits.style_mapper import StyleMapper, StyleMapperConfig
from jaxface.nets.edits.transfer import TransferConfig, TransferNetwork
from jaxface.nets.encoders import (
    E4EEncoder,
    EncoderConfig,
    PSPEncoder,
    RestyleE4EEncoder,
    RestylePSPEncoder,
    WEncoder,
)
from jaxface.nets.encoders.in_domain import InDomainConfig, InDomainEncoder
from jaxface.nets.features.alexnet import AlexNet, AlexNetConfig
from jaxface.nets.features.inception import InceptionConfig, InceptionV3
from jaxface.nets.features.lpips import LPIPS, LPIPSConfig
from jaxface.nets.features.resnet import ResNetConfig, ResNetFeatures
from jaxface.nets.features.vgg import VGG16, VGGConfig
from jaxface.nets.landmarks.blendshapes import Blendshapes, BlendshapesConfig
from jaxface.nets.landmarks.canonical_face import CanonicalFace, CanonicalFaceConfig
from jaxface.nets.landmarks.face_detector import FaceDetector, FaceDetectorConfig
from jaxface.nets.landmarks.face_landmarks import FaceLandmarkConfig, FaceLandmarkNet
from jaxface.nets.landmarks.face_mesh import FaceMesh, FaceMeshConfig
from jaxface.nets.landmarks.fan import FAN, FANConfig
from jaxface.nets.landmarks.heatmaps import LandmarkConfig, LandmarkNet
from jaxface.nets.mobile_stylegan import MobileGenerator, MobileGeneratorConfig
from jaxface.nets.recognition.dlib_resnet import DlibResNet, DlibResNetConfig
from jaxface.nets.recognition.facenet import FaceNet, FaceNetConfig
from jaxface.nets.recognition.irse import IRSE, IRSEConfig
from jaxface.nets.recognition.vgg_face import VGGFace, VGGFaceConfig
from jaxface.nets.reconstruction.backbones import (
    AlexNetReconstruction,
    AlexNetReconstructionConfig,
    ResNetReconstruction,
    ResNetReconstructionConfig,
    VGGFaceReconstruction,
    VGGFaceReconstructionConfig,
)
from jaxface.nets.reconstruction.deca import DECAEncoder, DECAEncoderConfig
from jaxface.nets.reconstruction.deep3d import Deep3D, Deep3DConfig
from jaxface.nets.reconstruction.hopenet import HopeNet, HopeNetConfig
from jaxface.nets.reconstruction.regressor import FaceReconstruction, ReconstructionConfig
from jaxface.nets.stylegan2 import (
    Discriminator,
    DiscriminatorConfig,
    Generator,
    GeneratorConfig,
    StyleGAN1Discriminator,
    StyleGAN1DiscriminatorConfig,
)

__all__ = [
    "FAN",
    "IRSE",
    "LPIPS",
    "VGG16",
    "AlexNet",
    "AlexNetConfig",
    "AlexNetReconstruction",
    "AlexNetReconstructionConfig",
    "AvatarConfig",
    "AvatarMappers",
    "AvatarPrior",
    "AvatarPriorConfig",
    "Blendshapes",
    "BlendshapesConfig",
    "CanonicalFace",
    "CanonicalFaceConfig",
    "DECAEncoder",
    "DECAEncoderConfig",
    "Deep3D",
    "Deep3DConfig",
    "DirectionMatrix",
    "DirectionMatrixConfig",
    "DirectionsConfig",
    "Discriminator",
    "DiscriminatorConfig",
    "DlibResNet",
    "DlibResNetConfig",
    "E4EEncoder",
    "EncoderConfig",
    "FANConfig",
    "FaceDetector",
    "FaceDetectorConfig",
    "FaceLandmarkConfig",
    "FaceLandmarkNet",
    "FaceMesh",
    "FaceMeshConfig",
    "FaceNet",
    "FaceNetConfig",
    "FaceReconstruction",
    "Generator",
    "GeneratorConfig",
    "HopeNet",
    "HopeNetConfig",
    "IRSEConfig",
    "InDomainConfig",
    "InDomainEncoder",
    "InceptionConfig",
    "InceptionV3",
    "KeypointConfig",
    "KeypointEncoder",
    "LPIPSConfig",
    "LandmarkConfig",
    "LandmarkNet",
    "LatentDifferenceConfig",
    "LatentDifferenceEncoder",
    "LatentDirections",
    "LatentMapper",
    "LatentMapperConfig",
    "MobileGenerator",
    "MobileGeneratorConfig",
    "NaiveConfig",
    "NaiveEncoder",
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
    "StyleGAN1Discriminator",
    "StyleGAN1DiscriminatorConfig",
    "StyleMapper",
    "StyleMapperConfig",
    "TransferConfig",
    "TransferNetwork",
    "VGGConfig",
    "VGGFace",
    "VGGFaceConfig",
    "VGGFaceReconstruction",
    "VGGFaceReconstructionConfig",
    "WEncoder",
]
