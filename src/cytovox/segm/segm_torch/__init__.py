"""Segmenters that run a trained model with PyTorch (``pip install "cytovox[torch]"``).

A model is a program. It runs only if its SHA-256 is named in the recipe
(segmenter option ``model_sha256``) or trusted otherwise
(`cytovox.recipe.trust`), and only in a worker that has images to segment.
Importing this package does not import torch.
"""

from .segm_torch_mpo import SegmentTorchMPO
from .segm_torch_sto import SegmentTorchSTO
from .segm_torch_uni import SegmentTorchUNI

__all__ = ["SegmentTorchMPO", "SegmentTorchSTO", "SegmentTorchUNI"]
