"""A graph is compared with FP32 on clips: the same graph is the same, a part with less precision is near."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.precisions import Flavour
from taemi_edge.calibration.clip_spool import ClipSpool, spool_clips, thin_clip
from taemi_edge.calibration.graph_comparison import compare_graph
from taemi_edge.calibration.sensitivity import ComparisonSetup
from taemi_edge.parity.judge import Judge
from taemi_edge.taemi.names import PARTS
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.calibration.recipes import few


@pytest.fixture(scope="module")
def spool(corpus_folder, tiny: Bundle, tmp_path_factory) -> ClipSpool:
    clips = open_corpus(corpus_folder).split("train")[:3]
    return spool_clips(clips, tiny, tmp_path_factory.mktemp("spool"), longest_s=5.0, workers=1)


def _compare(part: str, flavour: Flavour, tiny: Bundle, calibrated: Bundle, spool: ClipSpool):
    setup = ComparisonSetup(tiny, spool, few(), Judge(tiny.manifest.outputs, "pearson"), 1)
    file = calibrated.folder / calibrated.manifest.graphs[part][flavour]
    return compare_graph(setup.task(part, flavour, file=file))


@pytest.mark.parametrize("part", PARTS)
def test_fp32_is_itself_and_int8_is_near(part: str, tiny: Bundle, calibrated: Bundle, spool: ClipSpool):
    same, near = (_compare(part, flavour, tiny, calibrated, spool) for flavour in ("fp32", "int8"))
    assert same.closeness.max_abs < 1e-4
    assert same.closeness.pearson == pytest.approx(1, abs=1e-6)
    assert same.closeness.max_abs < near.closeness.max_abs < 1
    assert len(near.features) == (0 if part == "fusion" else len(spool))


def test_thinned_clips_keep_the_features_of_their_frames(tiny: Bundle, spool: ClipSpool):
    clip = next(clip for clip in spool if len(clip.features["vision"]) > 4)
    thin = thin_clip(clip, tiny, 4)
    assert len(thin.inputs["vision"].feeds[0]["pixels"]) == len(thin.features["vision"]) == 4
    assert (thin.features["vision"][-1] == clip.features["vision"][-1]).all()
    again = thin_clip(thin, tiny, 4)
    assert again.features["vision"] is thin.features["vision"]
