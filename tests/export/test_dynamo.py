"""The dynamo exporter works in a process of its own, names dimensions as described, and tells what went wrong."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="export starts from PyTorch")
pytest.importorskip("onnxscript", reason="the dynamo exporter writes with onnxscript")

import onnx

from taemi_edge.bundle.values import TensorSpec
from taemi_edge.export import dynamo
from taemi_edge.export.causes import TraceError
from taemi_edge.export.checks import spectral_operators
from taemi_edge.export.example_feeds import Examples
from taemi_edge.export.graph_problems import graph_problems
from taemi_edge.export.reference_cases import Declared, reference_cases

X = TensorSpec(name="x", dtype="float32", shape=("batch", "steps", 4))
MASK = TensorSpec(name="x_mask", dtype="int32", shape=("batch", "steps"))
Y = TensorSpec(name="y", dtype="float32", shape=("batch", "steps", 8))
LENGTHS = {"batch": 2, "steps": 7}


class Recurrent(torch.nn.Module):
    """Of a class that lives in a function or a script, it cannot be pickled; and its LSTM exports once a process."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(4, 8, batch_first=True)
        self.hook = lambda: None

    def forward(self, x, x_mask):
        return self.lstm(x)[0] * x_mask.unsqueeze(-1)


def test_an_lstm_exports_twice_with_its_length_dynamic_and_nothing_is_printed(
    tmp_path: Path, capfd: pytest.CaptureFixture
):
    for file in (tmp_path / "first.onnx", tmp_path / "second.onnx"):
        declared = Declared(Recurrent().eval(), Examples((X, MASK)), (Y,))
        dynamo.trace_in_child(declared, file, lengths=LENGTHS, opset=18)
        assert graph_problems(file, declared, reference_cases(declared, LENGTHS), LENGTHS) == []
        graph = onnx.load(file).graph
        shapes = [[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in graph.input]
        assert shapes == [["batch", "steps", 4], ["batch", "steps"]]
    assert capfd.readouterr() == ("", "")


class Spectrum(torch.nn.Module):
    """Complex numbers inside; TorchScript's exporter has no Fourier transform."""

    def forward(self, x, x_mask):
        return torch.fft.rfft(x * x_mask.unsqueeze(-1), n=14).abs()


def test_a_fourier_transform_is_exported_and_named(tmp_path: Path):
    declared = Declared(Spectrum().eval(), Examples((X, MASK)), (Y,))
    dynamo.trace_in_child(declared, tmp_path / "x.onnx", lengths=LENGTHS, opset=18)
    assert graph_problems(tmp_path / "x.onnx", declared, reference_cases(declared, LENGTHS), LENGTHS) == []
    assert spectral_operators((tmp_path / "x.onnx").read_bytes()) == ["DFT"]


class Raising(Recurrent):
    def forward(self, x, x_mask):
        if x_mask.all():
            return x
        return super().forward(x, x_mask)


def test_what_was_raised_comes_with_the_lines_of_the_module(tmp_path: Path):
    declared = Declared(Raising().eval(), Examples((X, MASK)), (Y,))
    with pytest.raises(TraceError, match="data-dependent") as failed:
        dynamo.trace_in_child(declared, tmp_path / "x.onnx", lengths=LENGTHS, opset=18)
    assert "if x_mask.all():" in [place.source for place in failed.value.places]
    assert list(tmp_path.iterdir()) == []


class Dying(Recurrent):
    def forward(self, x, x_mask):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_is_told(tmp_path: Path):
    declared = Declared(Dying().eval(), Examples((X, MASK)), (Y,))
    with pytest.raises(TraceError, match="its process ended with code -9: is there enough memory"):
        dynamo.trace_in_child(declared, tmp_path / "x.onnx", lengths=LENGTHS, opset=18)


class Hanging(Recurrent):
    def forward(self, x, x_mask):
        signal.pause()


def test_a_process_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(dynamo, "LIMIT_S", 0.5)
    declared = Declared(Hanging().eval(), Examples((X, MASK)), (Y,))
    with pytest.raises(TraceError, match=r"no result after 0.5 s"):
        dynamo.trace_in_child(declared, tmp_path / "x.onnx", lengths=LENGTHS, opset=18)
