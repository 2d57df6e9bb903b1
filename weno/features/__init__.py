"""From tiles to numbers: encoders, the extraction job, the feature files."""

from __future__ import annotations

from weno.features.encoders import Encoder, check_name, get_encoder
from weno.features.extraction import (
    ExtractReport,
    ExtractResult,
    extract,
    extract_slide,
)
from weno.features.hub import HfEncoder
from weno.features.model_table import MODELS, find_model
from weno.features.models import PathologyModel, Preparation
from weno.features.pathology import PathologyEncoder
from weno.features.pretrained import TimmEncoder
from weno.features.store import (
    FeatureHeader,
    SlideFeatures,
    read_features,
    read_header,
    write_features,
)
from weno.features.texture import TextureEncoder

__all__ = [
    "MODELS",
    "Encoder",
    "ExtractReport",
    "ExtractResult",
    "FeatureHeader",
    "HfEncoder",
    "PathologyEncoder",
    "PathologyModel",
    "Preparation",
    "SlideFeatures",
    "TextureEncoder",
    "TimmEncoder",
    "check_name",
    "extract",
    "extract_slide",
    "find_model",
    "get_encoder",
    "read_features",
    "read_header",
    "write_features",
]
