"""Sequences on a GPU's executor (here on the stand-in for a GPU): TensorRT runs inside the model, in its own thread."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the models of these tests are exported with torch")
pytest.importorskip("onnx", reason="torch exports through onnx")

from taemi_edge.media.hops import Hop
from taemi_edge.runtime.own_thread import OwnThreadExecutor
from taemi_edge.runtime.pipeline import Pipeline
from taemi_edge.runtime.tensorrt.executor import TrtExecutor
from taemi_edge.scale.triton.config import ServingOptions, settle
from taemi_edge.scale.triton.serving import Answer, Request, SequenceServer
from tests.runtime.tensorrt import stand_in_gpu
from tests.runtime.tensorrt.mixed import HEADS, as_engines, mixed_profiles, write_mixed_bundle
from tests.scale.triton.asking import hops_of_noise, tensors_of

pytestmark = pytest.mark.once

STREAMS = ("front", "mic", "imu", "heart")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> stand_in_gpu.Device:
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


def test_a_lost_device_without_graphs_is_said_to_each_request_from_then_on(device: stand_in_gpu.Device, tmp_path: Path):
    graphs = write_mixed_bundle(tmp_path / "bundle", HEADS["rings"], STREAMS)
    engines, [first, second, third] = as_engines(graphs), hops_of_noise(3, STREAMS)
    graphs.folder.rename(tmp_path / "elsewhere")
    lost = re.compile(
        r"the GPU was lost .*; there is no bundle of graphs to go on with .*; the server has to be started again"
    )

    def ask(server: SequenceServer, hop: Hop, *, starts: bool) -> Answer:
        [answer] = server.answer([Request("door", starts, tensors=tensors_of(graphs.manifest, hop))])
        return answer

    with SequenceServer(engines, settle(engines, ServingOptions(slots=2))) as server:
        try:
            assert isinstance(ask(server, first, starts=True), dict)
            device.broken = True
            assert lost.fullmatch(str(ask(server, second, starts=False)))
            assert lost.fullmatch(str(ask(server, second, starts=True)))
            assert lost.fullmatch(str(ask(server, third, starts=True)))
        finally:
            device.broken = False


def test_a_lost_device_with_graphs_goes_on_with_the_cpu(device: stand_in_gpu.Device, tmp_path: Path):
    graphs = write_mixed_bundle(tmp_path / "bundle", HEADS["rings"], STREAMS)
    engines, hops = as_engines(graphs), hops_of_noise(4, STREAMS)
    backends = []
    with SequenceServer(engines, settle(engines, ServingOptions(slots=2))) as server:
        for number, hop in enumerate(hops):
            device.broken = number == 2
            [answer] = server.answer([Request("door", number == 0, tensors=tensors_of(graphs.manifest, hop))])
            assert isinstance(answer, dict), answer
            backends.append(json.loads(bytes(answer["prediction"][0]))["backend"])
    assert backends[2:] == ["cpu", "cpu"]
    assert "cpu" not in backends[:2]
