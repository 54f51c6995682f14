"""The probe tells a model that answers, or is busy, from one that is dead, where the server's own page cannot."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from taemi_edge.errors import CheckFailedError, OptionError, UsageError
from taemi_edge.scale.triton.probe import probe_model
from tests.conftest import Cli
from tests.fleet.conftest import free_port
from tests.scale.triton.server import TritonServer, triton_server

pytestmark = [pytest.mark.once, pytest.mark.slow]

#: Two slots for sequences; a hop takes as long as its `end_s` says.
CONFIG = """
backend: "python"
max_batch_size: 2
input [ { name: "end_s", data_type: TYPE_FP64, dims: [ 1 ] } ]
output [ { name: "presence", data_type: TYPE_FP64, dims: [ 1 ] } ]
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  oldest { max_candidate_sequences: 2 }
}
"""
MODEL = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        given = [np.from_dlpack(pb_utils.get_input_tensor_by_name(request, "end_s")) for request in requests]
        time.sleep(max(float(end_s.max()) for end_s in given))
        return [pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("presence", end_s + 1)]) for end_s in given]
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TritonServer]:
    (tmp_path / "model" / "1").mkdir(parents=True)
    (tmp_path / "model" / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "model" / "1" / "model.py").write_text(MODEL, encoding="utf-8")
    with triton_server(tmp_path) as running:
        yield running


def _hop(server: TritonServer, sequence: int, seconds: float = 0.0, *, start: bool = False, end: bool = False) -> None:
    import numpy as np
    import tritonclient.grpc as triton

    end_s = triton.InferInput("end_s", [1, 1], "FP64")
    end_s.set_data_from_numpy(np.array([[seconds]]))
    with triton.InferenceServerClient(server.grpc) as client:
        client.infer("model", [end_s], sequence_id=sequence, sequence_start=start, sequence_end=end)


@pytest.mark.nightly  # test_faults.py asks the probe about the served bundle
def test_all_that_may_be_wrong_with_a_model(server: TritonServer, cli_here: Cli) -> None:
    pytest.importorskip("tritonclient.grpc", reason="needs the extra `triton`")
    address = f"http://{server.http}"
    assert probe_model(address, "model").startswith("answered in ")
    assert cli_here("triton-probe", address, "model").returncode == 0
    with pytest.raises(CheckFailedError, match="other at .* is not available"):
        probe_model(address, "other")

    _hop(server, 1, start=True)
    _hop(server, 2, start=True)
    over = threading.Event()
    with pytest.raises(CheckFailedError, match="got none, nor did any source"):
        probe_model(address, "model", timeout_s=0.5)  # sources that hold every slot and give nothing

    def go_on() -> None:
        while not over.wait(0.05):
            _hop(server, 1)

    source = threading.Thread(target=go_on)
    source.start()
    try:
        assert probe_model(address, "model", timeout_s=1.0).startswith("busy: every slot is taken, and ")
    finally:
        over.set()
        source.join()

    _hop(server, 2, end=True)
    [stub] = server.stubs()
    os.kill(stub, signal.SIGKILL)
    ended = cli_here("triton-probe", address, "model")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.endswith("expected a prediction, got status 500: Stub process 'model_0' is not healthy.\n")
    assert (server.get("/v2/health/ready")[0], server.get("/v2/models/model/ready")[0]) == (200, 200)


def test_no_server_at_all(cli_here: Cli) -> None:
    port = free_port()
    ended = cli_here("triton-probe", f"http://127.0.0.1:{port}", "model")
    assert ended.returncode == 1
    assert (
        ended.stderr
        == f"taemi-edge: model at 127.0.0.1:{port}: expected a Triton server, got none: Connection refused\n"
    )


@pytest.mark.parametrize(
    "address",
    ["ftp://here", "http://", "http://here:port", "https://here:8000", f"http://{'a' * 70}:1", "http://a..b:1"],
)
def test_an_address_that_is_none(address: str) -> None:
    with pytest.raises(UsageError, match=r"expected the address of a server, http://HOST:PORT"):
        probe_model(address, "model")


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf"), 1e10])
def test_a_time_that_cannot_be(timeout_s: float) -> None:
    with pytest.raises(OptionError, match="expected seconds above 0, at most 3600"):
        probe_model("http://localhost:1", "model", timeout_s)


def test_an_address_behind_a_path_with_a_blank_is_asked() -> None:
    with pytest.raises(CheckFailedError, match="expected a Triton server, got none"):
        probe_model(f"http://127.0.0.1:{free_port()}/a path", "model")
