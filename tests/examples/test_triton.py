"""The client of examples/triton under a real server, and its manifests under what checks manifests."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import taemi_edge as te
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.scale.triton.config import ServingOptions
from taemi_edge.scale.triton.repository import export_repository
from tests.conftest import ROOT
from tests.examples.manifests import KSERVE, KUBERNETES, KServe, Kubernetes, wheel
from tests.fleet.conftest import free_port
from tests.scale.triton.server import TritonServer, triton_server

pytestmark = [pytest.mark.once, pytest.mark.slow]

EXAMPLE = ROOT / "examples" / "triton"


@pytest.fixture(scope="module")
def server(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    pytest.importorskip("tritonclient.grpc", reason="needs the extra `triton`")
    repository = tmp_path_factory.mktemp("client") / "repository"
    export_repository(tiny_folder, repository, options=ServingOptions(threads=1))
    with triton_server(repository) as running:
        yield running


def _client(server: TritonServer, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE / "client.py"), "--address", server.grpc, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False)


def test_the_client_streams_a_video(server: TritonServer, tiny_folder: Path, demo_video: Path, demo_vtt: Path) -> None:
    done = _client(server, demo_video, "--transcript", demo_vtt, "--model", "taemi-tiny", "--source", "door")
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    bundle, words = te.open_bundle(tiny_folder), read_transcript(demo_vtt, None)
    with te.MediaFile(demo_video, streams=bundle.manifest.streams) as media, te.Pipeline(bundle, threads=1) as pipeline:
        expected = []
        for hop in media.hops(0.5):
            hop.pieces["text"] = [word for word in words if hop.end_s - 0.5 < word.end_s <= hop.end_s]
            expected.append(pipeline.predict(hop))
    assert len(found) == len(expected) > 20
    assert found[10]["presence"] == dict.fromkeys(bundle.manifest.streams, "live")
    for served, wanted in zip(found, expected, strict=True):
        assert (served["source"], served["time_s"], served["presence"]) == ("door", wanted.time_s, wanted.presence)
        assert served["intensities"] == pytest.approx(wanted.outputs["intensities"], abs=1e-5)


def test_short_hops_without_a_picture_do_not_lose_the_camera(server: TritonServer, demo_video: Path) -> None:
    done = _client(server, demo_video, "--model", "taemi-tiny", "--hop", 0.25, "--frames", 2)
    assert (done.returncode, done.stderr) == (0, "")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["presence"]["vision"] for line in found[8:]].count("missing") == 0
    assert {line["reason"]["text"] for line in found} == {"not in the request"}  # nobody wrote the words down


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing.mp4",), "client.py: nothing.mp4: expected a video or audio file, found nothing\n"),
        (
            ("VIDEO", "--transcript", "no.vtt"),
            "no.vtt: expected a transcript, cannot read it: No such file or directory\n",
        ),
        (("VIDEO", "--hop", "0"), "argument --hop: 0: expected a number above 0\n"),
        (("VIDEO", "--frames", "nan"), "argument --frames: nan: expected a number above 0\n"),
    ],
    ids=["no video", "no transcript", "no hop", "no frames"],
)
def test_what_the_client_cannot_read(server: TritonServer, demo_video: Path, words: tuple[str, ...], said: str) -> None:
    named = [str(demo_video) if word == "VIDEO" else word for word in words]
    done = _client(server, *named, "--model", "taemi-tiny")
    assert done.returncode in (1, 2)
    assert done.stderr.endswith(said)
    assert "Traceback" not in done.stderr


def test_a_model_that_is_not_there_is_said(server: TritonServer, demo_video: Path) -> None:
    done = _client(server, demo_video, "--model", "other")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.nightly
def test_prometheus_scrapes_the_server(server: TritonServer, demo_video: Path, tmp_path: Path) -> None:
    if shutil.which("prometheus") is None:
        pytest.skip("needs Prometheus: apt-get install --no-install-recommends prometheus")
    assert _client(server, demo_video, "--model", "taemi-tiny").returncode == 0
    shutil.copy(EXAMPLE / "alerts.yml", tmp_path)
    ours = (EXAMPLE / "prometheus.yml").read_text(encoding="utf-8")
    written = ours.replace("localhost:8002", server.metrics).replace("scrape_interval: 15s", "scrape_interval: 1s")
    assert written != ours
    (tmp_path / "prometheus.yml").write_text(written, encoding="utf-8")
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", "--config.file", str(tmp_path / "prometheus.yml"), "--web.listen-address", address]
    with (tmp_path / "log.txt").open("wb") as log:
        command += ["--storage.tsdb.path", str(tmp_path / "data")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        found = _answer(address, 'nv_inference_request_success{model="taemi-tiny"}')
    finally:
        process.terminate()
        process.wait(60)
    assert float(found["value"][1]) > 20
    assert found["metric"]["job"] == "triton"


def _answer(address: str, query: str) -> Any:
    """What Prometheus says to a query, once it says anything."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            page = f"http://{address}/api/v1/query?query={urllib.parse.quote(query)}"
            with urllib.request.urlopen(page, timeout=20) as answer:
                if result := json.load(answer)["data"]["result"]:
                    return result[0]
        except (OSError, urllib.error.HTTPError):
            pass
        time.sleep(0.2)
    raise AssertionError("Prometheus has nothing")


def test_promtool_takes_the_configuration() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("needs Prometheus: apt-get install --no-install-recommends prometheus")
    done = subprocess.run(
        [promtool, "check", "config", str(EXAMPLE / "prometheus.yml")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 rules found" in done.stdout


def _resources(file: str) -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml", reason="reads manifests")
    return list(yaml.safe_load_all((EXAMPLE / file).read_text(encoding="utf-8")))


@pytest.mark.network
@pytest.mark.parametrize("version", ["1.27", "1.37"])
def test_kubernetes_takes_the_deployment(version: str) -> None:
    kubernetes = Kubernetes(wheel(*KUBERNETES), version)
    deployment, service = _resources("deployment.yaml")
    assert kubernetes.problems(deployment) == kubernetes.problems(service) == []
    deployment["spec"]["template"]["spec"]["containers"][0]["liveness"] = {}
    assert any("liveness" in problem for problem in kubernetes.problems(deployment))


@pytest.mark.network
def test_kserve_takes_the_inference_service() -> None:
    kserve = KServe(wheel(*KSERVE), Kubernetes(wheel(*KUBERNETES), "1.37"))
    runtime, service = _resources("inference-service.yaml")
    assert kserve.problems(runtime) == kserve.problems(service) == []
    service["spec"]["predictor"]["model"]["runtimes"] = "taemi-triton"
    runtime["spec"]["containers"][0]["args"] = 5
    assert kserve.problems(service) == ["InferenceService.spec.predictor.model: V1beta1ModelSpec has no runtimes"]
    assert any("args: 5 is not of type" in problem for problem in kserve.problems(runtime))
