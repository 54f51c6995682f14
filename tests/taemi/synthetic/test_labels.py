"""Synthetic labels are sparse, and the texts drawn for them are many."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="synthetic voices need the extra `synth`")

from taemi_edge.taemi.synthetic.clip_plan import plan_clip
from taemi_edge.taemi.synthetic.labels import draw_labels, standardise


def test_texts_are_many_and_labels_are_sparse():
    plans = [plan_clip(np.random.default_rng([3, i])) for i in range(500)]
    assert len({" ".join(s.text for s in p.shots) for p in plans}) > 495
    labels = draw_labels(np.random.default_rng(4), 2000)
    assert labels.any(1).all()
    assert (labels > 0).mean() == pytest.approx(0.35, abs=0.03)
    z = standardise(labels)
    assert (z.mean(), z.std()) == pytest.approx((0, 1), abs=0.05)
