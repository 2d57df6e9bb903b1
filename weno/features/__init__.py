"""From tiles to numbers: encoders, the extraction job, the feature files."""

from __future__ import annotations

from weno.features.adopt import Adopted, AdoptReport, adopt
from weno.features.encoders import Encoder, get_encoder
from weno.features.estimate import Estimate, estimate
from weno.features.extraction import extract, extract_slide
from weno.features.on_cluster import extract_on
from weno.features.pretrained import TimmEncoder
from weno.features.reports import ExtractReport, ExtractResult
from weno.features.store import (
    FeatureHeader,
    SlideFeatures,
    read_features,
    read_header,
    write_features,
)
from weno.features.texture import TextureEncoder

__all__ = [
    "AdoptReport",
    "Adopted",
    "Encoder",
    "Estimate",
    "ExtractReport",
    "ExtractResult",
    "FeatureHeader",
    "SlideFeatures",
    "TextureEncoder",
    "TimmEncoder",
    "adopt",
    "estimate",
    "extract",
    "extract_on",
    "extract_slide",
    "get_encoder",
    "read_features",
    "read_header",
    "write_features",
]
