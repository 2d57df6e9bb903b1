"""From tiles to numbers: encoders, the extraction job, the feature files."""

from __future__ import annotations

from weno.features.encoders import Encoder, get_encoder
from weno.features.extraction import (
    ExtractReport,
    ExtractResult,
    extract,
    extract_slide,
)
from weno.features.outlines import (
    TissueReport,
    cost_text,
    duration,
    find_tissue,
    try_out,
)
from weno.features.pretrained import TimmEncoder
from weno.features.store import (
    QUALITY_COLUMNS,
    FeatureHeader,
    SlideFeatures,
    read_features,
    read_header,
    write_features,
)
from weno.features.texture import TextureEncoder

__all__ = [
    "QUALITY_COLUMNS",
    "Encoder",
    "ExtractReport",
    "ExtractResult",
    "FeatureHeader",
    "SlideFeatures",
    "TextureEncoder",
    "TimmEncoder",
    "TissueReport",
    "cost_text",
    "duration",
    "extract",
    "extract_slide",
    "find_tissue",
    "get_encoder",
    "read_features",
    "read_header",
    "try_out",
    "write_features",
]
