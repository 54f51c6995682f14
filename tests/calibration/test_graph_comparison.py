"""A graph is compared with FP32 on clips: the same graph is the same, a part with less precision is near."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")

from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.spec import PARTS
from taemi_edge.bundle.values import Flavour
from taemi_edge.calibration.clip_spool import ClipSpool, spool_clips
from taemi_edge.calibration.graph_comparison import compare_graph, thin_frames
from taemi_edge.calibration.sensitivity import ComparisonSetup
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.calibration.recipes import few


@pytest.fixture(scope="module")
def spool(corpus_folder, tiny: Bundle, tmp_path_factory) -> ClipSpool:
    corpus = open_corpus(corpus_folder)
    folder = tmp_path_factory.mktemp("spool")
    return spool_clips(corpus, list(corpus.clips)[:3], tiny.folder, folder, longest_s=5.0, workers=1)


def _compare(part: str, flavour: Flavour, calibrated: Bundle, spool: ClipSpool):
    graphs = calibrated.manifest.graphs
    fp32 = {name: calibrated.folder / graphs[name]["fp32"] for name in PARTS}
    setup = ComparisonSetup(fp32, spool, calibrated.tokens, few(), 1)
    return compare_graph(setup.task(part, flavour, file=calibrated.folder / graphs[part][flavour]))


@pytest.mark.parametrize("part", PARTS)
def test_fp32_is_itself_and_int8_is_near(part: str, calibrated: Bundle, spool: ClipSpool):
    same, near = (_compare(part, flavour, calibrated, spool) for flavour in ("fp32", "int8"))
    assert same.closeness.max_abs < 1e-4
    assert same.closeness.pearson == pytest.approx(1, abs=1e-6)
    assert same.closeness.max_abs < near.closeness.max_abs < 1
    assert len(near.features) == (0 if part == "fusion" else len(spool))


def test_thinned_clips_keep_the_features_of_their_frames(spool: ClipSpool):
    clip = next(clip for clip in spool if len(clip.pixels) > 4)
    thin = thin_frames(clip, 4)
    assert len(thin.pixels) == len(thin.features["vision"]) == 4
    assert (thin.features["vision"][-1] == clip.features["vision"][-1]).all()
    assert thin_frames(thin, 4) is thin
