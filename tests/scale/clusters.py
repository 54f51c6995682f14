"""Real Ray clusters on this machine for tests, which end with the `with` block, whatever happens in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: What a node's memory for objects is; and heartbeats so short that a lost node is noticed in about two seconds.
_STORE_BYTES = 80 << 20
_HEARTBEATS = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 300,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
}


@contextmanager
def two_nodes() -> Iterator[Any]:
    """A head without processors and two nodes with one each; its drivers need no token."""
    from ray.cluster_utils import Cluster

    # a socket's path is short, and no other test's `--ray auto` shall find this cluster
    with _short_folder() as folder:
        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": _STORE_BYTES, "temp_dir": folder}
        cluster = Cluster(initialize_head=True, head_node_args=head | {"_system_config": _HEARTBEATS})
        try:
            for _ in range(2):
                add_node(cluster)
            cluster.wait_for_nodes()
            yield cluster
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]


def add_node(cluster: Any) -> Any:
    return cluster.add_node(num_cpus=1, object_store_memory=_STORE_BYTES)


@contextmanager
def started(*words: str, environment: Mapping[str, str], before: str = "") -> Iterator[None]:
    """`ray start` in a process of its own; in its own view of the file system where `before` mounts something."""
    with _short_folder() as folder:
        ray = [str(Path(sys.executable).with_name("ray")), "start", *words, "--block", "--disable-usage-stats"]
        command = [*ray, "--object-store-memory", str(_STORE_BYTES), "--num-cpus", "1"]
        command += ["--temp-dir", folder] if "--head" in words else []
        if before:
            command = ["unshare", "-m", "sh", "-c", f'{before} && exec "$@"', "sh", *command]
        process = subprocess.Popen(
            command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            process.terminate()  # `ray start --block` ends all that it has started
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def _short_folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="tr-", dir="/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
