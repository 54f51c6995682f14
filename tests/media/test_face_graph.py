"""The graph of the face detector is what its tool makes of the original."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
ORIGINAL = Path(__file__).parent / "blazeface_full_range_sparse.tflite"


def test_the_notice_names_the_original():
    notice = (files("taemi_edge") / "assets" / "NOTICE.md").read_text()
    assert hashlib.sha256(ORIGINAL.read_bytes()).hexdigest() in re.findall(r"[0-9a-f]{64}", notice)


@pytest.mark.once
def test_the_tool_makes_the_graph_that_ships(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("tflite", reason="the extra `dev` has it")
    made = tmp_path / "made.onnx"
    tool = [sys.executable, ROOT / "tools" / "convert_face_detector.py", ORIGINAL, made]
    subprocess.run(tool, check=True, capture_output=True)
    shipped = (files("taemi_edge") / "assets" / "blazeface_full_range.onnx").read_bytes()
    assert onnx.load_from_string(shipped) == onnx.load(made)
