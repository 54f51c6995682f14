"""Files that exist as ONNX only: they are what their script makes, and as awkward as such files are."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="the contract of a model lies in the half that has PyTorch")

import onnxruntime

from tests.examples.loading import EXAMPLES, load_example

FOLDER = EXAMPLES / "only-onnx"


def _session(name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(FOLDER / f"{name}.onnx"), providers=["CPUExecutionProvider"])


def test_ids_and_masks_are_int64_under_other_names():
    assert {i.name: i.type for i in _session("words").get_inputs()} == {
        "input_ids": "tensor(int64)",
        "attention_mask": "tensor(int64)",
    }
    assert [o.name for o in _session("head").get_outputs()] == ["logits", "score"]


def test_the_declaration_names_every_input_and_output():
    declared = load_example("only-onnx").build()
    assert list(declared.streams["words"].encoder.inputs) == ["input_ids", "attention_mask"]
    assert set(declared.head.outputs.values()) == set(declared.outputs)
    assert len(declared.read_samples()) == 8


def test_the_files_are_what_the_script_makes(tmp_path, monkeypatch):
    make = load_example("only-onnx", "make_onnx.py")
    monkeypatch.setattr(make, "HERE", tmp_path)
    make.main()
    ids = np.array([[5, 9, 30]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    again = onnxruntime.InferenceSession(str(tmp_path / "words.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(_session("words").run(None, feeds)[0], again.run(None, feeds)[0], atol=1e-6)


def test_the_toml_declares_what_the_function_does():
    from taemi_edge.export.onnx_model import load_onnx_model

    by_toml, by_code = load_onnx_model(FOLDER / "model.toml"), load_example("only-onnx").build()
    assert by_toml.output_specs() == by_code.output_specs()
    assert by_toml.head.outputs == by_code.head.outputs
    for name, stream in by_code.streams.items():
        other = by_toml.streams[name]
        assert (other.encoder.inputs, other.missing, type(other.kind)) == (
            stream.encoder.inputs,
            stream.missing,
            type(stream.kind),
        )
    for one, other in zip(by_toml.read_samples(), by_code.read_samples(), strict=True):
        assert {key: value.tolist() for key, value in one.items()} == {k: v.tolist() for k, v in other.items()}
