"""Convert published checkpoints into jaxface's safetensors files.

``jaxface convert FAMILY IN OUT``, where FAMILY is

=====================  ==========================================================================
``arcface``            ``model_ir_se50.pth`` of InsightFace_Pytorch: face recognition
``deca``               ``deca_model.tar`` of DECA: the coarse encoder
``deep3d``             ``epoch_20.pth`` of Deep3DFaceRecon_pytorch
``direction_matrix``   ``A_matrix.pt`` of stylegan_directions_face_reenactment
``face_api``           ``*-weights_manifest.json`` of ``@vladmandic/face-api``: face recognition,
                       landmarks
``facenet``            ``20180402-114759-vggface2.pt``, ``20180408-102900-casia-webface.pt`` of
                       facenet-pytorch
``fan``                ``2DFAN4-*.pth.tar`` of face-alignment
``flame``              ``generic_model.pkl`` of FLAME, with DECA's landmarks
``ganspace``           ``*_w.npz`` of GANSpace, ``ffhq_pca.pt``: components of W
``hopenet``            ``hopenet_robust_alpha1.pkl`` and its siblings
``inception``          ``pt_inception-2015-12-05-*.pth`` of pytorch-fid
``interfacegan``       ``*_boundary.npy`` of InterFaceGAN: a direction of W or Z
``lpips``              state dictionary of an ``lpips.LPIPS``, on VGG-16 or AlexNet
``nvidia_pytorch``     ``.pkl`` of stylegan2-ada-pytorch, or of stylegan3's StyleGAN2
                       configurations
``nvidia_tensorflow``  ``.pkl`` of stylegan2 (configurations E and F) and stylegan2-ada
``psp``, ``e4e``,      ``*_ffhq_encode.pt`` of pixel2style2pixel, encoder4editing and
``restyle``            restyle-encoder: ``encoder`` and ``decoder``
``rosinality``         ``.pt`` of rosinality/stylegan2-pytorch: ``g_ema`` and ``latent_avg``, or a
                       training checkpoint
``styleclip_global``   ``fs3.npy`` of StyleCLIP, with its ``S_mean_std``
``styleclip_mapper``   latent mappers of StyleCLIP
``torchvision``        ``.pth`` of torchvision's ``vgg16`` and ``alexnet``; their features, or LPIPS
                       with the ``lpips`` package's heads
``transfer``           a checkpoint of Pose-and-Expression-Transfer: ``transfer`` (motion encoder
                       and mapper) and ``decoder``
``vgg_face``           VGG-Face: ``vgg_face_dag.pth``, state dictionaries of Torch's, and
                       MatConvNet's ``.mat``
``auto``               whichever of these the file is
=====================  ==========================================================================

``suite SUITE.toml OUT/`` converts several files into a suite (``suites.py``), ``photo WHEELS/
OUT/`` makes the photo suite of three downloaded wheels (``photo.py``), and ``--check`` runs what
was converted (``check.py``).

Neither PyTorch nor TensorFlow is needed, and nothing in the file is executed
(``pickle_machine.py``).  The family's file is its specification: the name map with the source's
layout and settings in words; how tensors are turned is in ``hooks.py``.  Every source key must be
used or named as ignored with a reason, and every array of the network filled, with its shape
checked; anything else is refused.
"""

from jaxface.convert.convert import CONVERTER_VERSION, FAMILIES, Conversion, convert
from jaxface.convert.photo import convert_photo
from jaxface.convert.refusal import Refusal
from jaxface.convert.suites import convert_suite

__all__ = [
    "CONVERTER_VERSION",
    "FAMILIES",
    "Conversion",
    "Refusal",
    "convert",
    "convert_photo",
    "convert_suite",
]
