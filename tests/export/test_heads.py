"""The patterns of published heads: each exports, or the refusal names the cause and the line to change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="export starts from PyTorch")

import numpy as np
import onnx
import onnxruntime

from taemi_edge.bundle.values import PartSpec, TensorSpec
from taemi_edge.errors import ExportError
from taemi_edge.export.tracing import export_module
from tests.export import heads
from tests.export.heads import LENGTHS, SCORES, SOUND, SOUND_MASK, WORDS, WORDS_MASK

LEVEL = TensorSpec(name="level", dtype="float32", shape=("batch", 1))


def export(
    module: torch.nn.Module, folder: Path, *inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (SCORES,)
) -> PartSpec:
    torch.manual_seed(0)
    return export_module(module, folder / "head.onnx", inputs, outputs, lengths=LENGTHS, opset=17)


def refusal(module: torch.nn.Module, folder: Path, *inputs: TensorSpec) -> str:
    with pytest.raises(ExportError) as refused:
        export(module, folder, *inputs)
    assert os.listdir(folder) == []
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_where_torchscript_freezes_the_batch_the_dynamo_exporter_makes_the_graph(tmp_path: Path):
    part = export(heads.TensorFusion(), tmp_path, SOUND, WORDS)
    assert (part.exporter, part.opset) == ("dynamo", 18)
    graph = onnx.load(tmp_path / part.file).graph
    assert {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.input} == {
        "sound": ["batch", "sound_steps", 5],
        "words": ["batch", "words_steps", 6],
    }
    assert b"heads.py" not in (tmp_path / part.file).read_bytes()
    assert os.listdir(tmp_path) == ["head.onnx"]


def test_a_convolution_that_wants_several_steps_is_tried_at_lengths_that_it_takes(tmp_path: Path):
    assert export(heads.Crossmodal(), tmp_path, SOUND, WORDS).exporter == "torchscript"


def test_a_packed_sequence_is_refused_with_its_line_and_what_to_write(tmp_path: Path):
    text = refusal(heads.Packed(), tmp_path, SOUND, SOUND_MASK)
    line = next(n for n, text in enumerate(Path(heads.__file__).read_text().splitlines(), 1) if "packed = pack" in text)
    assert f"the cause is pack_padded_sequence at heads.py, line {line} (`packed = pack_padded_sequence(" in text
    assert text.endswith("gather its state at the last step whose mask is 1")


def test_what_the_refusal_of_a_packed_sequence_says_gives_the_same_and_exports(tmp_path: Path):
    packed, gathered = heads.Packed().eval(), heads.Gathered().eval()
    gathered.load_state_dict(packed.state_dict())
    x, mask = torch.randn(2, 5, 5), torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], dtype=torch.int32)
    torch.testing.assert_close(packed(x, mask), gathered(x, mask))
    assert export(gathered, tmp_path, SOUND, SOUND_MASK).exporter == "torchscript"


def test_masks_that_a_branch_leaves_out_stay_in_the_graph_and_count(tmp_path: Path):
    module = heads.MaskBranch()
    part = export(module, tmp_path, SOUND, SOUND_MASK, WORDS, WORDS_MASK)
    session = onnxruntime.InferenceSession(str(tmp_path / part.file), providers=["CPUExecutionProvider"])
    feeds = {
        "sound": torch.randn(3, 4, 5),
        "sound_mask": torch.tensor([[1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 0, 0]], dtype=torch.int32),
        "words": torch.randn(3, 2, 6),
        "words_mask": torch.ones(3, 2, dtype=torch.int32),
    }
    (got,) = session.run(None, {name: value.numpy() for name, value in feeds.items()})
    np.testing.assert_allclose(got, module(*feeds.values()).detach().numpy(), atol=1e-6)


def test_a_branch_on_values_is_refused_with_its_line(tmp_path: Path):
    text = refusal(heads.ValueBranch(), tmp_path, SOUND, SOUND_MASK)
    assert "the TorchScript exporter gives other values than PyTorch" in text
    assert "the cause is a branch on values at heads.py, line" in text
    assert "(`if sound_mask.sum() > 20:`); write one way for all values, such as torch.where(mask, a, b)" in text


def test_an_input_that_nothing_reads_is_refused_by_its_name(tmp_path: Path):
    text = refusal(heads.Deaf(), tmp_path, SOUND, SOUND_MASK)
    assert "made a graph that does not read sound_mask, and forward does not use it either" in text


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path):
    text = refusal(heads.Undefined(), tmp_path, SOUND, SOUND_MASK)
    assert text == "head: expected finite numbers in scores, PyTorch itself gives NaN or infinity at the traced lengths"


@pytest.mark.parametrize("module", [heads.ByName(), heads.InOrder()])
def test_several_outputs_are_named_as_declared(tmp_path: Path, module: torch.nn.Module):
    part = export(module, tmp_path, SOUND, SOUND_MASK, outputs=(SCORES, LEVEL))
    assert [spec.name for spec in part.outputs] == ["scores", "level"]
    session = onnxruntime.InferenceSession(str(tmp_path / part.file), providers=["CPUExecutionProvider"])
    assert [(value.name, value.shape) for value in session.get_outputs()] == [
        ("scores", ["batch", 3]),
        ("level", ["batch", 1]),
    ]
    assert not any(layer.training for layer in module.modules())
