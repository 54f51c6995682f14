"""What a calibrated bundle says of itself."""

from __future__ import annotations

import msgspec
import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")

from taemi_edge.bundle.folder import RANGES, Bundle, sha256_of
from taemi_edge.bundle.recipe import recipe_hash
from taemi_edge.calibration.judging import Judgement
from taemi_edge.calibration.planning import RangesFile
from taemi_edge.calibration.record import SensitivityFile, make_record, write_ranges
from taemi_edge.taemi.names import PARTS
from tests.calibration.recipes import few


def test_the_record_names_recipe_and_ranges_by_their_hashes(calibrated: Bundle):
    record = calibrated.manifest.calibration
    assert record.recipe_sha256 == recipe_hash(few())
    assert record.ranges_sha256 == sha256_of(calibrated.folder / RANGES)
    assert calibrated.manifest.provenance.made_by.startswith("taemi-edge ")


def test_ranges_are_one_line_and_the_sensitivity_is_read_by_people(calibrated: Bundle):
    assert (calibrated.folder / RANGES).read_bytes().count(b"\n") == 1
    text = (calibrated.folder / "sensitivity.json").read_bytes()
    assert text.count(b"\n") > 50
    assert set(msgspec.json.decode(text, type=SensitivityFile).parts) == set(PARTS)


def test_a_foreign_quantiser_has_no_alphas_and_no_layer_errors(calibrated: Bundle, tmp_path):
    ranges = msgspec.json.decode((calibrated.folder / RANGES).read_bytes(), type=RangesFile)
    write_ranges(tmp_path, ranges)
    record = make_record(tmp_path, ranges, few(), "nvidia-modelopt 0.47", Judgement(), None, 1.26)
    assert (record.quantiser, record.alphas, record.layer_error) == ("nvidia-modelopt 0.47", {}, {})
    assert record.methods == dict.fromkeys(PARTS, "max")
    assert (record.held_out, record.closeness, record.seconds) == (0, {}, 1.3)
    assert sha256_of(tmp_path / RANGES) == sha256_of(calibrated.folder / RANGES)
