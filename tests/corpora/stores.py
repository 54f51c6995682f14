"""Making and comparing feature stores in tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from taemi_edge.corpora.extract import ExtractOptions, extract_features
from taemi_edge.corpora.feature_store import FeatureStore
from taemi_edge.taemi.names import MODALITIES
from taemi_edge.taemi.vidmimic2 import open_corpus


def extracted(corpus: Path, bundle: Path, output: Path, **options: object) -> FeatureStore:
    return extract_features(open_corpus(corpus), str(bundle), output, ExtractOptions(workers=1, **options)).store


def same_features(a: FeatureStore, b: FeatureStore) -> bool:
    ours, theirs = dict(a.features(a.ids("all"))), dict(b.features(b.ids("all")))
    return ours.keys() == theirs.keys() and all(
        np.array_equal(ours[i][m], theirs[i][m]) for i in ours for m in MODALITIES
    )
