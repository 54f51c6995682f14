"""ONNX Runtime sessions: wrong feeds, and devices that are not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from taemi_edge.bench.feeds import Feeds
from taemi_edge.bundle.folder import Bundle
from taemi_edge.bundle.values import PartSpec, TensorSpec
from taemi_edge.errors import BackendError, UsageError
from taemi_edge.runtime.onnx_sessions import OrtSession, optimise
from taemi_edge.runtime.opening import open_sessions
from taemi_edge.runtime.sessions import Sessions


def test_wrong_feeds_are_named_all_at_once(tiny: Bundle):
    with open_sessions(tiny, threads=1) as sessions, pytest.raises(BackendError) as caught:
        sessions["text"].run({"ids": np.zeros((1, 2), np.int64), "words": np.zeros(1)})
    assert "ids: expected int32 (batch, tokens), got int64 (1, 2)" in str(caught.value)
    assert "missing input 'mask'" in str(caught.value)
    assert "unknown input 'words'" in str(caught.value)


def test_a_device_that_is_not_there_is_one_sentence(tiny: Bundle):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("CUDA is here")
    with pytest.raises(UsageError, match="--device cuda needs ONNX Runtime with CUDAExecutionProvider"):
        open_sessions(tiny, "cuda")


def test_nothing_is_reported_to_the_maker_of_onnx_runtime(tiny_folder: Path, tmp_path: Path):
    """From 1.29 on it keeps an identifier and its reports in the user's cache folder, but not on a CI server."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    code = "import sys; from taemi_edge import load; load(sys.argv[1]).close()"
    command = [sys.executable, "-c", code, str(tiny_folder)]
    subprocess.run(command, env={**environment, "HOME": str(tmp_path), "XDG_CACHE_HOME": ""}, check=True)
    assert not list(tmp_path.rglob("*onnxruntime*"))


def test_no_residual_is_put_together_with_its_normalisation(tmp_path: Path):
    """ONNX Runtime takes names of optimisers that it does not have without a word: the operator must be gone."""
    onnx = pytest.importorskip("onnx")
    import onnxruntime

    helper = onnx.helper
    nodes = [
        helper.make_node("Relu", ["x"], ["positive"]),
        helper.make_node("Add", ["x", "positive"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "w", "w"], ["out"]),
    ]
    seams = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["a", "b", 6]) for name in ("x", "out")]
    weight = onnx.numpy_helper.from_array(np.ones(6, np.float32), "w")
    graph = helper.make_graph(nodes, "graph", seams[:1], seams[1:], [weight])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "as_it_comes.onnx")
    onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    optimise(content, tmp_path / "ours.onnx")
    found = {file.stem: [n.op_type for n in onnx.load(file).graph.node] for file in tmp_path.glob("*.onnx")}
    assert found["as_it_comes"] == ["Relu", "SkipLayerNormalization"]
    assert found["ours"] == ["Relu", "Add", "LayerNormalization"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize(("threads", "expected"), [(1, "ran"), (2, "text: expected the process that opened it")])
def test_a_forked_process_does_not_wait_for_threads_that_it_does_not_have(tiny: Bundle, threads, expected):
    feeds, _ = Feeds(tiny).part("text", 1)
    session = OrtSession(tiny, "text", threads=threads)
    session.run(feeds)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # where it waits, it ends
        try:
            session.run(feeds)
            said = "ran"
        except BackendError as error:
            said = str(error)
        os.write(writing, said.encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as stream:
        assert stream.read().startswith(expected)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("sixteen_bits", ["FLOAT16", "BFLOAT16"])
def test_a_cast_between_a_transpose_and_a_product_ends_no_process(sixteen_bits: str, tmp_path: Path):
    """What follows a recurrence in FP16: ONNX Runtime 1.32 dies of it, so another process tries."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, getattr(onnx.TensorProto, sixteen_bits)
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=kind),
        helper.make_node("Transpose", ["half"], ["turned"], perm=[1, 0, 2]),
        helper.make_node("Cast", ["turned"], ["whole"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Cast", ["w"], ["weight"], to=onnx.TensorProto.FLOAT),
        helper.make_node("MatMul", ["whole", "weight"], ["y"]),
    ]
    seams = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["a", "b", 6]) for name in ("x", "y")]
    weight = helper.make_tensor("w", kind, [6, 6], np.eye(6).ravel())
    graph = helper.make_graph(nodes, "graph", seams[:1], seams[1:], [weight])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    (tmp_path / "given.onnx").write_bytes(content)
    code = """
import sys
from pathlib import Path

import numpy as np

from taemi_edge.bundle.values import PartSpec, TensorSpec
from taemi_edge.runtime.onnx_sessions import OrtSession, optimise

given, built = Path(sys.argv[1], "given.onnx"), Path(sys.argv[1], "built.onnx")
optimise(given.read_bytes(), built)
inputs, outputs = ((TensorSpec(name=name, dtype="float32", shape=("a", "b", 6)),) for name in "xy")
spec = PartSpec(file="p.onnx", opset=17, precision="fp16", parameters=0, inputs=inputs, outputs=outputs)
for file in (given, built):
    session = OrtSession.from_file(file, "part", spec, threads=1)
    assert session.run({"x": np.ones((2, 3, 6), np.float32)})["y"].shape == (3, 2, 6)
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_a_graph_that_takes_its_range_from_all_rows_says_so():
    """One loud row changes what another one gets, so whoever batches must know."""
    pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy")
    quantise = helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "scale", "zero"])
    back = helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"])
    copy = helper.make_node("Identity", ["x"], ["y"])
    tensor = {"dtype": "float32", "shape": ("batch", 3)}
    inputs, outputs = ((TensorSpec(name=name, **tensor),) for name in "xy")
    spec = PartSpec(file="p.onnx", opset=17, precision="fp32", parameters=0, inputs=inputs, outputs=outputs)
    found = {}
    for name, nodes in (("dynamic", [quantise, back]), ("plain", [copy])):
        graph = helper.make_graph(nodes, name, [x], [y])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        found[name] = OrtSession.from_bytes(model.SerializeToString(), name, "part", spec, threads=1)
    quiet, loud = np.full((1, 3), 0.123, np.float32), np.full((1, 3), 1000.0, np.float32)
    alone = found["dynamic"].run({"x": quiet})["y"]
    assert np.abs(found["dynamic"].run({"x": np.concatenate([quiet, loud])})["y"][:1] - alone).max() > 0.1
    assert [session.mixes_rows for session in found.values()] == [True, False]
    sessions = Sessions(found)
    assert [sessions.mixes_rows(name) for name in found] == [True, False]
