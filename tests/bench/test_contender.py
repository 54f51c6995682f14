"""Contenders in processes of their own: what they answer when they cannot open, and when they die."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from taemi_edge.bench import contender as contenders
from taemi_edge.bench.contender import Contender
from taemi_edge.bench.report import OURS
from taemi_edge.bench.worker import Opening, Request
from taemi_edge.errors import UsageError


def test_a_rival_that_cannot_run_says_why(tiny_folder: Path, tmp_path: Path):
    opening = Opening(contender="onnxruntime-cuda", bundle=str(tiny_folder), graphs=str(tiny_folder))
    with pytest.raises(UsageError, match="--device cuda needs ONNX Runtime with CUDAExecutionProvider"):
        Contender("onnxruntime-cuda fp32", opening, sys.executable, tmp_path / "log")


def test_a_contender_that_dies_says_its_last_words(tiny_folder: Path, tmp_path: Path):
    opening = Opening(contender="runtime", bundle=str(tiny_folder), device="cpu")
    with Contender(OURS, opening, sys.executable, tmp_path / "log") as contender:
        assert contender.ask(Request(do="run")).failure == "nothing is prepared"
        (tmp_path / "log").write_text("CUDA error: out of memory\n")
        contender._process.kill()
        contender._process.wait()
        assert contender.ask(Request(do="ceilings")).failure == "its process died: CUDA error: out of memory"


def test_another_interpreter_gets_this_package_and_nothing_beside_it(monkeypatch, tmp_path: Path):
    installed = tmp_path / "site-packages" / "taemi_edge" / "bench"
    installed.mkdir(parents=True)
    (tmp_path / "site-packages" / "numpy").mkdir()
    monkeypatch.setattr(contenders, "__file__", str(installed / "contender.py"))
    folder = Path(contenders.import_path("/usr/bin/python-other", tmp_path))
    assert [entry.name for entry in folder.iterdir()] == ["taemi_edge"]
    assert (folder / "taemi_edge").resolve() == installed.parent
    assert contenders.import_path(sys.executable, tmp_path).split(os.pathsep)[0] == str(tmp_path / "site-packages")
