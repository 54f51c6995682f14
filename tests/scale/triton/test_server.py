"""The server of these tests itself: it runs a Python model that nobody at home wrote, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.scale.triton.server import SHARED_MEMORY, TritonServer, triton_server

pytest.importorskip("tritonclient.grpc", reason="needs the extra `triton`")

pytestmark = [pytest.mark.once, pytest.mark.slow, pytest.mark.nightly]  # what it is for is tried with every server

CONFIG = """
backend: "python"
input [ { name: "X", data_type: TYPE_FP32, dims: [ -1 ] } ]
output [ { name: "Y", data_type: TYPE_FP32, dims: [ -1 ] }, { name: "WHERE", data_type: TYPE_UINT8, dims: [ -1 ] } ]
"""

#: NumPy goes through DLPack: the `as_numpy` of this server's stubs reads a NumPy 2 wrongly.
MODEL = """
import numpy as np
import taemi_edge
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        where = np.frombuffer(taemi_edge.__file__.encode(), dtype=np.uint8).copy()
        return [
            pb_utils.InferenceResponse([
                pb_utils.Tensor.from_dlpack(
                    "Y", 2 * np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "X"))
                ),
                pb_utils.Tensor.from_dlpack("WHERE", where),
            ])
            for request in requests
        ]
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    model = tmp_path / "repository" / "twice"
    (model / "1").mkdir(parents=True)
    (model / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
    (model / "1" / "model.py").write_text(MODEL, encoding="utf-8")
    return tmp_path / "repository"


def test_a_model_answers_and_nothing_is_left(repository: Path) -> None:
    import numpy as np
    import tritonclient.grpc as triton

    with triton_server(repository) as server:
        numbers = triton.InferInput("X", [3], "FP32")
        numbers.set_data_from_numpy(np.array([1, 2, 3], np.float32))
        with triton.InferenceServerClient(server.grpc) as client:
            answer = client.infer("twice", [numbers])
        assert answer.as_numpy("Y").tolist() == [2.0, 4.0, 6.0]
        tree = Path(__file__).parents[3]
        assert Path(answer.as_numpy("WHERE").tobytes().decode()) == tree / "taemi_edge" / "__init__.py"
        assert _counted(server, "twice") == 1
        assert len(server.stubs()) == 1
    assert server.process.poll() is not None
    assert not server.stubs()
    assert not list(SHARED_MEMORY.glob(f"{server.log.parent.name}*"))
    assert not server.log.parent.exists()


def _counted(server: TritonServer, model: str) -> float:
    """How many requests the metrics have counted; they do so after the answer, so this waits until there are any."""
    until = time.monotonic() + 60
    while (counted := server.metric("nv_inference_request_success", model)) == 0 and time.monotonic() < until:
        time.sleep(0.05)
    return counted


def test_a_killed_server_leaves_nothing_either(repository: Path) -> None:
    with triton_server(repository) as server:
        assert server.stubs()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
    assert not server.stubs()
    assert not list(SHARED_MEMORY.glob(f"{server.log.parent.name}*"))


def test_a_server_that_does_not_start_says_why(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (repository / "twice" / "config.pbtxt").write_text('backend: "nothing"', encoding="utf-8")
    with pytest.raises(AssertionError, match="tritonserver ended with 1"), triton_server(repository):
        pass
    assert "nothing" in capsys.readouterr().err
