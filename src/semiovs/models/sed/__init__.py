"""SED: open-vocabulary segmentation by cost aggregation (Xie et al., CVPR 2024)."""

from semiovs.models.sed.aggregator import Aggregator, AggregatorSizes
from semiovs.models.sed.dense_encoder import ClipDense, Dense, DenseEncoder, TimmDense, build_clip, build_dense
from semiovs.models.sed.network import Sed, build_sed

__all__ = [
    "Aggregator",
    "AggregatorSizes",
    "ClipDense",
    "Dense",
    "DenseEncoder",
    "Sed",
    "TimmDense",
    "build_clip",
    "build_dense",
    "build_sed",
]
