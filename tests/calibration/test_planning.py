"""Plans from another machine: the same graphs of the same weights, and no others."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")

import msgspec

from taemi_edge.bundle.folder import open_bundle
from taemi_edge.calibration.calibrate import CalibrationOptions, calibrate_bundle
from taemi_edge.calibration.planning import RangesFile
from taemi_edge.errors import CalibrationError
from tests.calibration.recipes import few
from tests.cli.checks import refused


def test_another_machine_makes_the_same_graphs_of_the_ranges(calibrated, tiny_folder, tmp_path):
    ranges = calibrated.folder / "ranges.json"
    again = calibrate_bundle(
        tiny_folder, None, few(), tmp_path / "again", options=CalibrationOptions(ranges=ranges)
    ).bundle
    files = [file for flavours in calibrated.manifest.graphs.values() for file in flavours.values()]
    assert {f: again.manifest.sha256[f] for f in files} == {f: calibrated.manifest.sha256[f] for f in files}
    assert again.manifest.calibration.closeness == {}
    assert again.manifest.calibration.clips == 6


def test_ranges_of_other_weights_are_refused(calibrated, tiny_folder, tmp_path):
    content = msgspec.json.decode((calibrated.folder / "ranges.json").read_bytes(), type=RangesFile)
    other = msgspec.structs.replace(content.parts["text"], weights_sha256="0" * 64)
    file = tmp_path / "ranges.json"
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(content, parts={**content.parts, "text": other})))
    with pytest.raises(CalibrationError, match="expected the weights that the ranges were made for"):
        calibrate_bundle(tiny_folder, None, few(), tmp_path / "out", options=CalibrationOptions(ranges=file))
    assert not (tmp_path / "out").exists()


def test_a_ranges_file_that_is_none(cli_here, tiny_folder, tmp_path):
    (tmp_path / "r.json").write_text("{}")
    done = cli_here("calibrate", tiny_folder, "--ranges", tmp_path / "r.json", "--output", tmp_path / "out")
    refused(done, "expected the ranges.json of a calibrated bundle")


def test_ranges_that_were_made_before_there_were_graphs_for_processors(calibrated, cli_here, tiny_folder, tmp_path):
    content = msgspec.json.decode((calibrated.folder / "ranges.json").read_bytes(), type=RangesFile)
    old = {part: msgspec.structs.replace(plan, host=None) for part, plan in content.parts.items()}
    file = tmp_path / "ranges.json"
    file.write_bytes(msgspec.json.encode(msgspec.structs.replace(content, parts=old)))
    assert b'"host"' not in file.read_bytes()
    words = ("calibrate", tiny_folder, "--recipe", "taemi-tiny", "--ranges", file, "--output", tmp_path / "out")
    refused(
        cli_here(*words), "for processors, the file was made without them: calibrate anew, or pass --set host=false"
    )
    assert cli_here(*words, "--set", "host=false").returncode == 0
    graphs = open_bundle(tmp_path / "out").manifest.graphs
    assert all(set(of_part) == {"fp32", "fp16", "int8", "int8-fp16"} for of_part in graphs.values())
