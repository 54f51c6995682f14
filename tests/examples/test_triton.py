"""The client of examples/triton under a real server, and its manifests under what checks manifests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import taemi_edge as te
from taemi_edge.media.transcripts import read_transcript
from taemi_edge.scale.triton.config import ServingOptions
from taemi_edge.scale.triton.repository import export_repository
from tests.conftest import ROOT
from tests.scale.triton.server import TritonServer, triton_server

pytestmark = pytest.mark.once

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
        assert (served["time_s"], served["presence"]) == (wanted.time_s, wanted.presence)
        assert served["intensities"] == pytest.approx(wanted.outputs["intensities"], abs=1e-5)


def test_a_model_that_is_not_there_is_said(server: TritonServer, demo_video: Path) -> None:
    done = _client(server, demo_video, "--model", "other")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
