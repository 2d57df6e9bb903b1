"""From tiles to numbers: encoders, the extraction job, the feature files."""

from __future__ import annotations

from weno.features.adopt import Adopted, AdoptReport, adopt
from weno.features.encoders import (
    MODELS,
    Encoder,
    HfEncoder,
    PathologyEncoder,
    PathologyModel,
    Preparation,
    TextureEncoder,
    TimmEncoder,
    check_name,
    find_model,
    get_encoder,
    quick_encoder,
)
from weno.features.estimate import (
    Estimate,
    duration,
    estimate,
    seconds_to_encode,
)
from weno.features.extraction import extract, extract_slide
from weno.features.on_cluster import extract_on
from weno.features.outlines import TissueReport, cost_text, find_tissue
from weno.features.reports import ExtractReport, ExtractResult
from weno.features.store import (
    QUALITY_COLUMNS,
    FeatureHeader,
    SlideFeatures,
    read_features,
    read_header,
    write_features,
)

__all__ = [
    "MODELS",
    "QUALITY_COLUMNS",
    "AdoptReport",
    "Adopted",
    "Encoder",
    "Estimate",
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
    "TissueReport",
    "adopt",
    "check_name",
    "cost_text",
    "duration",
    "estimate",
    "extract",
    "extract_on",
    "extract_slide",
    "find_model",
    "find_tissue",
    "get_encoder",
    "quick_encoder",
    "read_features",
    "read_header",
    "seconds_to_encode",
    "write_features",
]
