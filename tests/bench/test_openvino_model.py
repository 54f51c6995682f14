"""The contender OpenVINO, where it is installed; and what is said where it is not."""

from __future__ import annotations

import json
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.bench import openvino_model
from taemi_edge.bench.feeds import Feeds
from taemi_edge.bench.openvino_model import OpenVinoModel
from taemi_edge.bundle.folder import Bundle
from taemi_edge.errors import MissingExtraError, UsageError
from taemi_edge.parity.metrics import pearson_of
from tests.bench.checks import require_pytorchs_parts, require_pytorchs_windows

installed = pytest.mark.skipif(find_spec("openvino") is None, reason="openvino is an extra of its own")


@pytest.mark.parametrize(("precision", "package"), [("fp32", "openvino"), ("nncf", "nncf")])
def test_a_package_that_is_missing_is_named_with_the_command(tiny: Bundle, monkeypatch, precision, package):
    monkeypatch.setattr(openvino_model, "find_spec", lambda name: None if name == package else object())
    with pytest.raises(MissingExtraError, match=rf"run `pip install 'taemi-edge\[{package}\]'`"):
        OpenVinoModel(tiny, precision, 1, None)


@installed
@pytest.mark.parametrize("kind", ["hop", "window"])
def test_a_window_gives_what_pytorch_gave(tiny: Bundle, kind):
    require_pytorchs_windows(OpenVinoModel(tiny, "fp32", 1, None), tiny, kind)


@installed
def test_a_part_gives_what_pytorch_gave(tiny: Bundle):
    require_pytorchs_parts(OpenVinoModel(tiny, "fp32", 1, None), tiny)


@installed
def test_a_flavour_that_the_bundle_lacks_is_named(tiny: Bundle):
    with pytest.raises(UsageError, match="has no int8 graph of vision"):
        OpenVinoModel(tiny, "int8", 1, None)


@installed
def test_graphs_with_pairs_are_read(calibrated: Bundle):
    with closing(OpenVinoModel(calibrated, "int8", 1, None)) as model:
        assert "Q/DQ" in model.describe()["quantised by"]
        feeds, expected = Feeds(calibrated).part("vision", 1)
        with closing(model.part("vision", feeds)) as run:
            run.run()
            assert pearson_of(run.output().ravel(), expected.ravel()) > 0.9


@installed
def test_an_operator_that_it_does_not_know_fails_its_part_alone(tiny: Bundle, monkeypatch):
    onnx = pytest.importorskip("onnx")
    strange = onnx.load_from_string(tiny.read_graph("text.onnx"))
    strange.graph.node[0].op_type, strange.graph.node[0].domain = "FoldTwice", "some.vendor"
    strange.opset_import.append(onnx.helper.make_opsetid("some.vendor", 1))
    read = Bundle.read_graph
    monkeypatch.setattr(
        Bundle,
        "read_graph",
        lambda self, name: strange.SerializeToString() if name == "text.onnx" else read(self, name),
    )
    with closing(OpenVinoModel(tiny, "fp32", 1, None)) as model:
        text, vision = (model.part(part, Feeds(tiny).part(part, 1)[0]) for part in ("text", "vision"))
        with pytest.raises(UsageError, match="OpenVINO cannot compile text: .*FoldTwice"):
            text.run()
        vision.run()


@installed
def test_its_own_int8_needs_a_corpus(tiny: Bundle):
    pytest.importorskip("nncf")
    with closing(OpenVinoModel(tiny, "nncf", 1, None)) as model:
        run = model.part("vision", Feeds(tiny).part("vision", 1)[0])
        with pytest.raises(UsageError, match="pass --data CORPUS"):
            run.run()


@installed
@pytest.mark.nightly
def test_its_own_int8_is_near_to_pytorch(tiny: Bundle, tmp_path: Path):
    pytest.importorskip("nncf")
    for part in tiny.manifest.part_names:
        feeds = [Feeds(tiny).part(part, batch)[0] for batch in (1, 2)]
        arrays = {f"{i}|{name}": value for i, of_one in enumerate(feeds) for name, value in of_one.items()}
        np.savez(tmp_path / f"{part}.npz", **arrays)
    listed = {"described": "on golden feeds", "left_out": {}}
    (tmp_path / "calibration.json").write_text(json.dumps(listed))
    with closing(OpenVinoModel(tiny, "nncf", 1, tmp_path)) as model:
        assert model.describe()["quantised by"].endswith("on golden feeds")
        for part in ("vision", "text", "fusion"):
            feeds, expected = Feeds(tiny).part(part, 1)
            with closing(model.part(part, feeds)) as run:
                run.run()
                assert pearson_of(run.output().ravel(), expected.ravel()) > 0.9, part
