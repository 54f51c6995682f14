"""Workers on a real cluster of two nodes: tasks, losses of workers and nodes, and what is refused."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

ray = pytest.importorskip("ray", reason="a cluster needs the extra `ray`")

import taemi_edge
from taemi_edge.bundle.workers import require_shared, run_parallel
from taemi_edge.errors import ClusterError, MediaError, MissingExtraError, UsageError
from taemi_edge.scale.clusters import crew
from taemi_edge.scale.clusters.jobs import Job, libraries
from taemi_edge.scale.clusters.places import ReadPlace
from taemi_edge.scale.ray_workers import RayWorkers, run_on_ray
from tests.live.servers import free_port
from tests.scale import tasks
from tests.scale.clusters import add_node, started

pytestmark = pytest.mark.once


@pytest.fixture(scope="class")
def workers(cluster) -> Iterator[RayWorkers]:
    with RayWorkers(cluster.address) as pool:
        yield pool


class TestOneConnection:
    def test_every_node_works_and_each_worker_is_prepared_once(self, workers, tmp_path):
        words = bytes(1_000_000)
        found = list(run_parallel(tasks.told, range(8), workers, tasks.prepare, (words, tmp_path)))
        assert sorted(number for number, *_ in found) == list(range(8))
        assert len({pid for _, pid, *_ in found}) == 2
        assert {(size, threads) for *_, size, threads in found} == {(1_000_000, "1")}
        assert len(list(tmp_path.iterdir())) == 8

    def test_what_a_task_raises_ends_the_work_and_says_where(self, workers):
        with pytest.raises(MediaError, match=r"^task 4, on node [\d.]+: x.mp4: cannot be read$"):
            list(run_parallel(tasks.fails_at_4, range(6), workers))
        with pytest.raises(ZeroDivisionError) as caught:
            list(run_parallel(tasks.breaks_at_4, range(6), workers))
        assert "in breaks_at_4" in str(caught.value.__cause__)
        with pytest.raises(MediaError, match=r"^on node [\d.]+: x.mp4: cannot be read$"):
            list(run_parallel(tasks.square, range(6), workers, tasks.prepare_badly, (1,)))
        assert sorted(run_parallel(tasks.square, range(3), workers)) == [0, 1, 4]

    def test_a_killed_worker_is_replaced_and_its_task_done_again(self, workers, tmp_path, caplog):
        todo = [(number, tmp_path / "mark") for number in range(6)]
        with caplog.at_level(logging.WARNING, "taemi_edge.scale"):
            assert sorted(run_parallel(tasks.dies_once, todo, workers)) == list(range(6))
        assert "lost 1 worker (node " in caplog.text
        assert "the process was killed) and did 1 task again: " in caplog.text

    def test_a_task_that_kills_every_worker_is_given_up(self, workers):
        with pytest.raises(ClusterError, match="task 3 has ended 3 workers, the last one on node "):
            list(run_parallel(tasks.dies, range(6), workers))

    def test_workers_that_cannot_be_prepared_are_given_up(self, workers, monkeypatch):
        monkeypatch.setattr(crew, "MOST_LOSSES", 1)
        with pytest.raises(ClusterError, match="no worker of the Ray cluster at .* could be prepared: the last"):
            list(run_parallel(tasks.square, range(3), workers, tasks.prepare_never))
        assert sorted(run_parallel(tasks.square, range(3), workers)) == [0, 1, 4]

    def test_nodes_that_have_all_become_unfit_end_the_work(self, workers, monkeypatch):
        monkeypatch.setattr(crew, "_NODES_S", 0.5)
        lost = Job(tasks.square, None, (), os.getcwd(), (ReadPlace("/no/such/share", ()),), libraries())
        with pytest.raises(ClusterError, match=r"node [\d.]+ has no /no/such/share, which is here"):
            list(workers._session.crew.run(lost, range(3)))
        assert sorted(run_parallel(tasks.square, range(3), workers)) == [0, 1, 4]


@pytest.mark.nightly
def test_a_node_that_is_killed_and_replaced_costs_nothing_but_time(cluster, tmp_path, caplog):
    node = add_node(cluster)
    todo = [(number, tmp_path) for number in range(40)]
    with RayWorkers(cluster.address) as pool, caplog.at_level(logging.WARNING, "taemi_edge.scale"):
        results = run_parallel(tasks.slow, todo, pool)
        found = [next(results) for _ in range(6)]
        cluster.remove_node(node, allow_graceful=False)
        add_node(cluster)
        found += results
    assert sorted(found) == list(range(40))
    assert {int(file.name.partition("-")[0]) for file in tmp_path.iterdir()} == set(range(40))
    assert "the node was lost" in caplog.text


def test_work_that_is_not_gone_on_with_leaves_nothing(cluster, tmp_path):
    results = run_on_ray(tasks.slow, ((number, tmp_path) for number in range(100)), cluster.address, count=2)
    next(results)
    results.close()
    written = len(list(tmp_path.iterdir()))
    assert written <= 6
    time.sleep(0.5)
    assert len(list(tmp_path.iterdir())) == written
    assert not ray.is_initialized()


def test_a_cluster_of_this_machine_is_reached_from_it_alone_and_leaves_the_process_as_it_was():
    before, others = dict(os.environ), _listening(_this_process_and_below())
    with RayWorkers("local", 1) as pool:
        assert sorted(run_parallel(tasks.square, range(3), pool)) == [0, 1, 4]
        found = _listening(_this_process_and_below()) - others
        assert len(found) > 3
        assert {address for address, _ in found} <= {"0100007F", "0000000000000000FFFF00000100007F"}
    assert not ray.is_initialized()
    assert before.items() <= os.environ.items()
    assert set(os.environ) - set(before) <= {"RAY_CLIENT_MODE"}


def test_a_connection_that_a_program_has_is_used_and_left_open(cluster):
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        assert sorted(run_on_ray(tasks.square, range(3), "auto")) == [0, 1, 4]
        with pytest.raises(UsageError, match=r"this program is connected to the Ray cluster at .*: give auto"):
            list(run_on_ray(tasks.square, [3], "local"))
        assert ray.is_initialized()
    finally:
        ray.shutdown()


def _this_process_and_below() -> set[str]:
    found = subprocess.run(["/usr/bin/ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True)
    pairs = [line.split() for line in found.stdout.splitlines()]
    known, size = {str(os.getpid())}, 0
    while size < len(known):
        size = len(known)
        known |= {pid for pid, parent in pairs if parent in known}
    return known


def _listening(pids: set[str]) -> set[tuple[str, str]]:
    """The addresses on which processes accept TCP connections, as the kernel writes them, each with its socket."""
    sockets = set()
    for pid in pids:
        with suppress(OSError):
            sockets |= {os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir()}
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {(row[1].partition(":")[0], row[9]) for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def test_another_version_on_a_node_is_refused(cluster, monkeypatch):
    monkeypatch.setattr(taemi_edge, "__version__", "0.0.1")
    with pytest.raises(ClusterError, match=r"node [\d.]+ has taemi-edge [\d.]+\S*, expected 0.0.1 as here: install"):
        list(run_on_ray(tasks.square, range(3), cluster.address))


def test_a_cluster_without_what_workers_need_is_refused(cluster, monkeypatch):
    monkeypatch.setattr(crew, "_NODES_S", 0.5)
    with pytest.raises(ClusterError, match="has no node with GPUs"):
        list(RayWorkers(cluster.address, gpus=1).run(tasks.square, range(3)))


@pytest.mark.nightly
def test_a_node_with_other_files_is_refused(cluster, tmp_path):
    unshare = shutil.which("unshare") or "false"
    if os.geteuid() or subprocess.run([unshare, "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a node with a file system of its own needs the rights to mount one")
    corpus, output = tmp_path / "corpus", tmp_path / "out"
    for folder in (corpus, output):
        folder.mkdir()
    (corpus / "labels.csv").write_text("id\n1\n")
    bundle = tmp_path / "bundle" / "manifest.json"
    bundle.parent.mkdir()
    bundle.write_text("{}")
    before = f"mount -t tmpfs none {corpus} && mount -t tmpfs none {output} && mount -t tmpfs none {tmp_path}/bundle"
    words = ("--address", cluster.address)
    with started(*words, environment={}, before=before):
        _wait_for_processors(cluster, 4)
        with pytest.raises(ClusterError, match=r"node .* sees another .*corpus than is here: .*labels.csv"):
            _require(cluster, reads=[corpus])
        with pytest.raises(ClusterError, match=r"node .* does not see the .*out of this machine"):
            _require(cluster, writes=[output])
        with pytest.raises(ClusterError, match=r"node .* sees another .*bundle than is here"):
            _require(cluster, reads=[bundle.parent])
    assert list(output.iterdir()) == []


def _wait_for_processors(cluster: Any, count: int) -> None:
    until = time.monotonic() + 60
    with RayWorkers(cluster.address) as pool:
        require_shared(pool)
        while ray.cluster_resources().get("CPU", 0) < count and time.monotonic() < until:
            time.sleep(0.2)


def _require(cluster: Any, **places: Any) -> None:
    with RayWorkers(cluster.address) as pool:
        require_shared(pool, **places)


@pytest.mark.parametrize("address", ["nonsense", "host:", ":6379", "host:99999999", "host:0"])
def test_what_is_no_address_is_refused(address: str):
    with pytest.raises(UsageError, match="expected auto, local, host:port or ray://host:port"):
        list(run_on_ray(tasks.square, range(3), address))


def test_an_address_without_a_cluster_is_refused_within_seconds():
    port, began = free_port(), time.monotonic()
    with pytest.raises(ClusterError, match=f"no cluster answers at 127.0.0.1:{port}"):
        list(run_on_ray(tasks.square, range(3), f"127.0.0.1:{port}"))
    with pytest.raises(ClusterError, match="no cluster answers at no.such.host.invalid:6379"):
        list(run_on_ray(tasks.square, range(3), "no.such.host.invalid:6379"))
    other = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with pytest.raises(ClusterError, match="another server answers there|no cluster answers"):
            list(run_on_ray(tasks.square, range(3), f"127.0.0.1:{port}"))
    finally:
        other.kill()
        other.wait()
    assert time.monotonic() - began < 60


def test_without_ray_the_message_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'taemi-edge\[ray\]'"):
        list(run_on_ray(tasks.square, range(3), "local"))
