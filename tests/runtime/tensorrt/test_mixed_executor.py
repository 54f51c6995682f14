"""What holds of the executor on TAEMI holds on a model of four streams of four kinds, whatever its head."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the models of these tests are exported with torch")
pytest.importorskip("onnx", reason="torch exports through onnx")

from taemi_edge.bundle.folder import Bundle
from tests.runtime.tensorrt import stand_in_gpu
from tests.runtime.tensorrt.executor_checks import *  # noqa: F403  the tests that hold of any GPU
from tests.runtime.tensorrt.mixed import HEADS, as_engines, mixed_profiles, write_mixed_bundle


@pytest.fixture(scope="module")
def device():
    patch = pytest.MonkeyPatch()
    yield stand_in_gpu.install(patch, mixed_profiles())
    patch.undo()


@pytest.fixture(scope="module", params=HEADS)
def engines(request: pytest.FixtureRequest, device, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("mixed") / "bundle"
    return as_engines(write_mixed_bundle(folder, HEADS[request.param], ("front", "mic", "words", "imu")))
