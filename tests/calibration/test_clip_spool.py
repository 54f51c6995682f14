"""Clips on disk: what each part is fed while ranges are found."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


from taemi_edge.calibration.clip_spool import part_feeds, spool_clips
from taemi_edge.corpora.labelled_clips import SPLITS
from taemi_edge.taemi.vidmimic2 import open_corpus


def test_the_fusion_head_is_fed_tokens_in_every_pattern(corpus_folder, tiny, tmp_path):
    clips = [clip for split in SPLITS for clip in open_corpus(corpus_folder).split(split)]
    spool = spool_clips(clips[:9], tiny, tmp_path, longest_s=5.0, workers=1)
    fed = part_feeds(spool, tiny, "fusion", 4, 2)
    live = {
        frozenset(m for m in tiny.manifest.streams if not np.array_equal(feeds[m][0], tiny.tokens[m])) for feeds in fed
    }
    assert live == set(tiny.manifest.patterns)
