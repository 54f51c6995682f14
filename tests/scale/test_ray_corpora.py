"""Corpora on Ray: the same stores and results as from processes, whatever stops in between."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="a cluster needs the extra `ray`")

from taemi_edge.bundle.recipe import load_recipe
from taemi_edge.corpora.evaluate import EvaluateOptions, evaluate_on
from taemi_edge.corpora.extract import ExtractOptions, extract_features
from taemi_edge.errors import OutputError
from taemi_edge.scale.clusters.watch import speaks_http2
from taemi_edge.scale.ray_workers import RayWorkers
from taemi_edge.taemi.vidmimic2 import open_corpus
from tests.conftest import FEW_CLIPS, Cli
from tests.live.servers import free_port
from tests.scale.clusters import started

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def address(cluster) -> str:
    return str(cluster.address)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def one_process(corpus_folder, tiny_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "store"
    extract_features(open_corpus(corpus_folder), str(tiny_folder), folder, ExtractOptions(workers=1))
    return folder


def test_two_nodes_make_the_store_of_one_process(address, corpus_folder, tiny_folder, one_process, tmp_path, cli: Cli):
    words = ("extract", tiny_folder, "--data", corpus_folder, "--output", tmp_path / "store", "--ray", address)
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert "note: workers run at nice 15" in done.stderr
    assert _files(tmp_path / "store") == _files(one_process)


@pytest.mark.nightly  # tests/scale/test_ray_workers.py kills one of workers that have nothing to open
def test_a_killed_worker_leaves_the_store_whole(address, corpus_folder, tiny_folder, one_process, tmp_path):
    killer = _Killer()
    with RayWorkers(address) as pool:
        options = ExtractOptions(workers=pool)
        extract_features(open_corpus(corpus_folder), str(tiny_folder), tmp_path / "store", options, progress=killer)
    assert killer.counts == list(range(15))
    assert _files(tmp_path / "store") == _files(one_process)


class _Killer:
    """A progress that kills a worker when the first clips are done."""

    def __init__(self) -> None:
        self.counts: list[float] = []

    def stage(self, text: str) -> None: ...

    def count(self, done: float, total: float | None, what: str) -> None:
        self.counts.append(done)
        if len(self.counts) == 3:
            os.kill(_a_worker(), signal.SIGKILL)


def _a_worker() -> int:
    found = subprocess.run(["/usr/bin/ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    return int(next(line for line in found.stdout.splitlines() if "ray::Worker.work" in line).split()[0])


@pytest.mark.nightly
def test_a_full_disk_ends_the_work_in_one_sentence(address, corpus_folder, tiny_folder, tmp_path):
    mount = "/usr/bin/mount"
    disk = tmp_path / "disk"
    disk.mkdir()
    words = [mount, "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if os.geteuid() or subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("a disk that fills up needs the rights to mount one")
    try:
        with (
            RayWorkers(address) as pool,
            pytest.raises(OutputError, match=r"clip \d+, on node [\d.]+: .*no space left"),
        ):
            options = ExtractOptions(workers=pool)
            extract_features(open_corpus(corpus_folder), str(tiny_folder), disk / "store", options)
        assert not [file for file in disk.rglob("*") if ".draft-" in file.name]
    finally:
        subprocess.run(["/usr/bin/umount", str(disk)], check=False)


def test_nothing_is_written_where_a_cluster_cannot_work(corpus_folder, tiny_folder, tmp_path, cli_here):
    words = ("--data", corpus_folder, "--ray", f"127.0.0.1:{free_port()}")
    for command in ("extract", "evaluate", "calibrate"):
        output = ("--store" if command == "evaluate" else "--output", tmp_path / command)
        done = cli_here(command, tiny_folder, *words, *output)
        assert done.returncode == 2
        assert "no cluster answers at 127.0.0.1" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_driver_leaves_nothing_and_is_gone_on_with(
    number: int, corpus_folder, tiny_folder, one_process, tmp_path
):
    words = ["extract", tiny_folder, "--data", corpus_folder, "--output", tmp_path / "store", "--ray", "local"]
    temporary = tmp_path / "t"
    temporary.mkdir()
    command = [sys.executable, "-m", "taemi_edge", *map(str, words)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    pending = tmp_path / "store" / "pending"
    try:
        until = time.monotonic() + 120
        while not list(pending.glob("*.safetensors")) and running.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        os.killpg(running.pid, number)  # as a terminal and systemd do: to all processes of the group
        assert "interrupted" in running.communicate(timeout=120)[1]
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 128 + number
    assert _processes_of(running.pid) == []
    assert not list(tmp_path.rglob(".draft-*"))
    options = ExtractOptions(workers=1)
    extract_features(open_corpus(corpus_folder), str(tiny_folder), tmp_path / "store", options)
    assert _files(tmp_path / "store") == _files(one_process)


def test_a_start_whose_server_is_gone_ends_at_a_signal(corpus_folder, tiny_folder, tmp_path):
    words = ["extract", tiny_folder, "--data", corpus_folder, "--output", tmp_path / "store", "--ray", "local"]
    command = [sys.executable, "-m", "taemi_edge", *map(str, words)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while not (found := _servers_of(running.pid)) and running.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(found[0], signal.SIGKILL)  # as a signal to the group does, before it has told its port
        time.sleep(1)
        os.killpg(running.pid, signal.SIGTERM)
        assert "interrupted" in running.communicate(timeout=20)[1]  # Ray alone waits for half a minute
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 128 + signal.SIGTERM
    assert _processes_of(running.pid) == []
    assert list(tmp_path.iterdir()) == []


def _servers_of(session: int) -> list[int]:
    """Ray's own servers among the processes of a session."""
    found = subprocess.run(["/usr/bin/ps", "-eo", "pid,sid,comm"], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in found.stdout.splitlines()]
    return [int(pid) for pid, sid, name in rows if sid == str(session) and name == "gcs_server"]


def _processes_of(session: int) -> list[str]:
    found = subprocess.run(["/usr/bin/ps", "-eo", "sid,stat,args"], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in found.stdout.splitlines()]
    return [args for sid, state, args in rows if sid == str(session) and not state.startswith("Z")]


@pytest.mark.nightly
def test_a_lost_head_ends_the_command_which_is_gone_on_with(corpus_folder, tiny_folder, one_process, tmp_path):
    port = free_port()
    words = ["extract", tiny_folder, "--data", corpus_folder, "--output", tmp_path / "store", "--workers", "1"]
    command = [sys.executable, "-m", "taemi_edge", *map(str, words), "--ray", f"127.0.0.1:{port}"]
    environment = {"RAY_AUTH_MODE": "disabled"}
    with started("--head", "--port", str(port), "--include-dashboard=false", environment=environment):
        _wait_for_server(port)
        running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | environment)
        try:
            until = time.monotonic() + 120
            while not list(tmp_path.glob("store/pending/*")) and running.poll() is None and time.monotonic() < until:
                time.sleep(0.02)
            os.kill(_server_at(port), signal.SIGKILL)
            told = running.communicate(timeout=90)[1]
        finally:
            running.kill()
            running.wait()
    assert running.returncode == 2
    assert f"the Ray cluster at 127.0.0.1:{port} has lost its head, which has not answered for 3" in told
    assert told.splitlines()[-1].startswith("taemi-edge: ")
    extract_features(open_corpus(corpus_folder), str(tiny_folder), tmp_path / "store", ExtractOptions(workers=1))
    assert _files(tmp_path / "store") == _files(one_process)


def _wait_for_server(port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(OSError):
            _server_at(port)
            if speaks_http2("127.0.0.1", port, 1.0):
                break
        time.sleep(0.2)
    time.sleep(5)  # until the node itself has come


def _server_at(port: int) -> int:
    """The process of the head that listens at a port."""
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if b"gcs_server" in (words := file.read_bytes()) and f"port={port}\0".encode() in words:
                return int(file.parent.name)
    raise ProcessLookupError(port)


@pytest.mark.nightly
def test_evaluate_calibrate_and_ablate_give_what_processes_give(corpus_folder, tiny_folder, one_process, tmp_path):
    pytest.importorskip("torch", reason="training needs the extra `train`")
    from taemi_edge.calibration.calibrate import calibrate_bundle
    from taemi_edge.calibration.recipe import CalibrationRecipe
    from taemi_edge.taemi.ablation import find_variants, make_setting, run_ablation

    recipe = load_recipe("calibration", "taemi-tiny", CalibrationRecipe, FEW_CLIPS)
    setting = make_setting("taemi-tiny", one_process, quick=False)
    found = []
    with RayWorkers("local", 2) as pool:
        for number, workers in enumerate((pool, 1)):
            options = EvaluateOptions(workers=workers)
            [evaluation] = evaluate_on(tiny_folder, corpus_folder, "all", options)
            output = tmp_path / str(number)
            result = calibrate_bundle(tiny_folder, open_corpus(corpus_folder), recipe, output, workers=workers)
            ablation = run_ablation(setting, 1, find_variants(["full", "V"], setting), workers=workers)
            found.append((evaluation, result.bundle.manifest.sha256["text.onnx"], result.misses, ablation.rows))
    assert found[0] == found[1]


@pytest.mark.nightly
def test_a_cluster_takes_the_users_token_and_no_other(corpus_folder, tiny_folder, one_process, tmp_path, cli: Cli):
    port, token = free_port(), "a" * 64
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    words = ("extract", tiny_folder, "--data", corpus_folder, "--output", tmp_path / "store", "--workers", "1")
    head = ("--head", "--port", str(port), "--include-dashboard=false")
    with started(*head, environment={"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}):
        until = time.monotonic() + 60
        while True:
            done = cli(*words, "--ray", f"127.0.0.1:{port}", env=environment | {"RAY_AUTH_TOKEN": "b" * 64})
            assert done.returncode == 2
            if "no cluster answers" not in done.stderr or time.monotonic() > until:
                break
        assert "refuses this user's token" in done.stderr
        assert list(tmp_path.iterdir()) == []
        done = cli(*words, "--ray", f"127.0.0.1:{port}", env=environment | {"RAY_AUTH_TOKEN": token})
        assert done.returncode == 0, done.stderr
    assert _files(tmp_path / "store") == _files(one_process)
