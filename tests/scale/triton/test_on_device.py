"""Sequences on a GPU's executor (here on the stand-in for a GPU): TensorRT runs inside the model, in its own thread."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the models of these tests are exported with torch")
pytest.importorskip("onnx", reason="torch exports through onnx")

from taemi_edge.runtime.own_thread import OwnThreadExecutor
from taemi_edge.runtime.pipeline import Pipeline
from taemi_edge.runtime.tensorrt.executor import TrtExecutor
from taemi_edge.scale.triton.config import ServingOptions, settle
from taemi_edge.scale.triton.serving import Request, SequenceServer
from tests.runtime.tensorrt import stand_in_gpu
from tests.runtime.tensorrt.mixed import HEADS, as_engines, mixed_profiles, write_mixed_bundle
from tests.scale.triton.asking import hops_of_noise, tensors_of

pytestmark = pytest.mark.once

STREAMS = ("front", "mic", "imu", "heart")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> object:
    return stand_in_gpu.install(monkeypatch, mixed_profiles())


def test_three_sequences_on_a_device(device: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    graphs = write_mixed_bundle(tmp_path / "bundle", HEADS["rings"], STREAMS)
    engines, hops = as_engines(graphs), hops_of_noise(4, STREAMS)
    served = settle(engines, ServingOptions(slots=3))
    assert served.device == "tensorrt"
    threads = set()
    execute = TrtExecutor.execute
    monkeypatch.setattr(
        TrtExecutor, "execute", lambda self, works: threads.add(threading.current_thread().name) or execute(self, works)
    )
    with SequenceServer(engines, served) as server, Pipeline(graphs, threads=1) as reference:
        assert isinstance(server._fleet.executor, OwnThreadExecutor)
        for at, hop in enumerate(hops):
            late = [max(0, at - index) for index in range(3)]  # the second begins a hop later, the third another one
            asked = [
                Request(f"camera {index}", at == index, tensors=tensors_of(graphs.manifest, hops[number]))
                for index, number in enumerate(late)
                if at >= index
            ]
            answers = server.answer(asked)
            reference.predict(hop)
            want = reference.fleet.outputs[0]
            assert isinstance(answers[0], dict), answers
            assert want is not None
            for name, spec in graphs.manifest.outputs.items():
                np.testing.assert_allclose(answers[0][name][0], spec.values(want[name]), atol=1e-5)
                if at == 3:
                    assert not np.allclose(answers[0][name], answers[1][name])
    assert threads == {"device_0"}
