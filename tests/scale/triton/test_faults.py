"""What clients, sources, the model's process and the server may do wrong: each is refused or ends in one sentence."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tritonclient.grpc", reason="needs the extra `triton`")
pytest.importorskip("torch", reason="the model is exported with torch")

import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from taemi_edge.bundle.values import Array
from taemi_edge.scale.triton.config import ServingOptions
from taemi_edge.scale.triton.probe import probe_model
from taemi_edge.scale.triton.repository import export_repository
from tests.conftest import Cli
from tests.scale.triton.asking import infer
from tests.scale.triton.server import TritonServer, triton_server

pytestmark = [pytest.mark.once, pytest.mark.slow]

MODEL, VICTIM = "taemi-tiny", "victim"
IDLE_S, SLOTS = 3.0, 8


@pytest.fixture(scope="module")
def server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """The same bundle twice, each in a process of its own: one of them is killed."""
    repository = tmp_path_factory.mktemp("faults") / "repository"
    for name in (MODEL, VICTIM):
        export_repository(
            tiny_folder, repository, name=name, options=ServingOptions(slots=SLOTS, threads=1, idle_s=IDLE_S)
        )
    with triton_server(repository) as running:
        yield running


@pytest.fixture
def client(server: TritonServer) -> Iterator[Any]:
    with triton.InferenceServerClient(server.grpc) as connected:
        yield connected


def _hop(end_s: float, **others: Array) -> dict[str, Array]:
    return {"end_s": np.array([[end_s]]), **others}


def _ends(client: Any, sequence: int) -> None:
    infer(client, MODEL, _hop(900.0), sequence_id=sequence, sequence_end=True)


def _frames(count: int = 2, height: int = 48, width: int = 64) -> Array:
    return np.random.default_rng(5).integers(0, 256, (1, count, height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        (_hop(0.5, vision=_frames().astype(np.float32)), "'vision' data-type is 'FP32', but model .* expects 'UINT8'"),
        (_hop(0.5, vision=_frames()[..., :2]), "unexpected shape for input 'vision'"),
        (_hop(0.5, vision=_frames()), "expected the input vision_times_s beside vision, found none"),
        (_hop(0.5, audio=np.full((1, 8), np.nan, np.float32)), "audio: expected finite numbers, got NaN"),
        (_hop(0.5, thermal=_frames()), "unexpected inference input 'thermal'"),
        (_hop(float("nan")), "end_s: expected a time in seconds, got nan"),
        ({"text": np.zeros((1, 3), np.uint8)}, "expected the input end_s, which says where the hop ends, found none"),
    ],
    ids=["type", "channels", "no times", "NaN", "unknown", "no time", "no end"],
)
def test_an_input_that_cannot_be(client: Any, tensors: dict[str, Array], said: str) -> None:
    with pytest.raises(InferenceServerException, match=said) as refusal:
        infer(client, MODEL, tensors, sequence_id=11, sequence_start=True)
    assert "Traceback" not in str(refusal.value)
    _start_and_end(client, 11)  # nothing of it is left


def _start_and_end(client: Any, sequence: int) -> dict[str, Array]:
    return infer(client, MODEL, _hop(0.5), sequence_id=sequence, sequence_start=True, sequence_end=True)


def test_a_sequence_without_a_start(client: Any) -> None:
    with pytest.raises(
        InferenceServerException, match="sequence 12 .* must specify the START flag on the first request"
    ):
        infer(client, MODEL, _hop(0.5), sequence_id=12)
    with pytest.raises(InferenceServerException, match="must specify a non-zero or non-empty correlation ID"):
        infer(client, MODEL, _hop(0.5), sequence_start=True)


def test_nine_sequences_for_eight_slots(server: TritonServer, client: Any) -> None:
    started = range(21, 21 + SLOTS)
    for sequence in started:
        infer(client, MODEL, _hop(0.5), sequence_id=sequence, sequence_start=True)
    with pytest.raises(InferenceServerException, match="expected at most 8 sequences at once, got 99 beside them"):
        infer(client, MODEL, _hop(0.5), sequence_id=99, sequence_start=True)
    assert probe_model(server.http, MODEL) == "answered that every slot is taken"
    for sequence in started:  # none of them was disturbed, and a slot that is free is given away
        infer(client, MODEL, _hop(1.0), sequence_id=sequence, sequence_end=True)
    assert _start_and_end(client, 99)["presence"].tolist() == [[2, 2, 2]]


def test_clients_that_vanish_give_their_slots_back(server: TritonServer, client: Any) -> None:
    with triton.InferenceServerClient(server.grpc) as vanishing:
        for sequence in range(31, 31 + SLOTS):
            infer(vanishing, MODEL, _hop(0.5), sequence_id=sequence, sequence_start=True)
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            infer(client, MODEL, _hop(0.5), sequence_id=41, sequence_start=True)
            break
        except InferenceServerException as refusal:
            assert "expected at most 8 sequences at once" in str(refusal)
            time.sleep(0.2)
    else:
        raise AssertionError("no slot came free")
    _ends(client, 41)
    with pytest.raises(InferenceServerException, match="must specify the START flag|say that it starts one"):
        infer(client, MODEL, _hop(1.0), sequence_id=31)  # dropped: it never ended, and it is too late


def test_the_models_process_is_killed(server: TritonServer, client: Any, cli_here: Cli) -> None:
    [stub] = [stub for stub in server.stubs() if f"/{VICTIM}/" in Path(f"/proc/{stub}/cmdline").read_text()]
    infer(client, VICTIM, _hop(0.5), sequence_id=61, sequence_start=True)
    os.kill(stub, signal.SIGKILL)
    with pytest.raises(InferenceServerException, match="Stub process 'victim_0_0' is not healthy"):
        infer(client, VICTIM, _hop(1.0), sequence_id=61)
    assert (server.get("/v2/health/ready")[0], server.get(f"/v2/models/{VICTIM}/ready")[0]) == (200, 200)
    ended = cli_here("triton-probe", f"http://{server.http}", VICTIM)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "expected a prediction, got status 500: Stub process 'victim_0_0' is not healthy" in ended.stderr
    assert cli_here("triton-probe", f"http://{server.http}", MODEL).returncode == 0  # the other model goes on


def test_the_server_is_told_to_end_in_the_middle(server: TritonServer) -> None:
    """The last test here: sources that go on get answers until the server's time is up, and then one error each."""
    ended: dict[int, str] = {}
    answered = dict.fromkeys(range(71, 75), 0)
    told = threading.Event()

    def stream(sequence: int) -> None:
        with triton.InferenceServerClient(server.grpc) as own:
            try:
                for number in range(1, 100_000):
                    infer(own, MODEL, _hop(number * 0.5), sequence_id=sequence, sequence_start=number == 1)
                    answered[sequence] += told.is_set()
                    time.sleep(0.05)
            except InferenceServerException as error:
                ended[sequence] = str(error)

    sources = [threading.Thread(target=stream, args=(sequence,)) for sequence in answered]
    for source in sources:
        source.start()
    time.sleep(0.5)
    server.process.terminate()
    told.set()
    for source in sources:
        source.join(60)
    assert set(ended) == set(answered), ended
    assert all("unavailable" in error.lower() for error in ended.values()), ended
    assert min(answered.values()) >= 1
