"""NVIDIA ModelOpt is an extra of its own."""

from __future__ import annotations

import importlib.util

import pytest

pytest.importorskip("onnx", reason="graphs are quantised with onnx")


from tests.cli.checks import refused


def test_modelopt_is_an_extra_of_its_own(cli_here, tiny_folder, corpus_folder, tmp_path):
    if importlib.util.find_spec("modelopt"):
        pytest.skip("nvidia-modelopt is installed")
    done = cli_here(
        *("calibrate", tiny_folder, "--data", corpus_folder, "--quantiser", "modelopt", "--output", tmp_path / "o")
    )
    refused(done, "--quantiser modelopt needs the package 'nvidia-modelopt'")
