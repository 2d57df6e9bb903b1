"""What turns tiles into features: the built-in one, and neural networks."""

from __future__ import annotations

from weno.features.encoders.hub import HfEncoder
from weno.features.encoders.model_table import MODELS, find_model
from weno.features.encoders.models import PathologyModel, Preparation
from weno.features.encoders.pathology import PathologyEncoder
from weno.features.encoders.pretrained import TimmEncoder
from weno.features.encoders.registry import (
    Encoder,
    check_name,
    get_encoder,
    quick_encoder,
)
from weno.features.encoders.texture import TextureEncoder

__all__ = [
    "MODELS",
    "Encoder",
    "HfEncoder",
    "PathologyEncoder",
    "PathologyModel",
    "Preparation",
    "TextureEncoder",
    "TimmEncoder",
    "check_name",
    "find_model",
    "get_encoder",
    "quick_encoder",
]
