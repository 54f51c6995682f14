"""Watches the head of a cluster while work goes on, so that a lost one ends the work with a sentence.

Ray itself waits a minute for a head and then ends the process from native code, without an exception. Here a thread
asks the head every few seconds, as any client of its protocol would, and the work ends before Ray ends the process.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from taemi_edge.errors import ClusterError

#: How an HTTP/2 connection begins, as gRPC makes it, and the kind of frame that every server answers with.
_PREFACE, _SETTINGS = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0", 4
#: How often a head is asked, and how long it may take to answer, in seconds.
_EVERY_S, _ANSWER_S = 2.0, 5.0
#: How long Ray waits for a head, in seconds, where no one has said otherwise, and by what name one does.
_RAYS_S, _RAYS_NAME = 60.0, "RAY_gcs_rpc_server_reconnect_timeout_s"


def speaks_http2(host: str, port: int, patience_s: float) -> bool:
    """Whether the server at an address is of the kind that Ray's are.

    Raises:
        OSError: there is no server, or it does not answer in time.
    """
    with socket.create_connection((host, port), patience_s) as line:
        line.settimeout(patience_s)
        line.sendall(_PREFACE)
        answer = line.recv(9)
    return len(answer) == 9 and answer[3] == _SETTINGS


class HeadWatch:
    """Asks a head whether it is there, until it is closed.

    Args:
        cluster: what messages call the cluster.
        address: host:port of the head, or of its server for clients; "" where it is not known, and nothing is asked.
    """

    def __init__(self, cluster: str, address: str) -> None:
        self._cluster = cluster
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), port if port.isdigit() else ""
        self._silent_since: float | None = None
        self._closed = threading.Event()
        if self._port:
            threading.Thread(target=self._ask, name="head-watch", daemon=True).start()

    @property
    def answers(self) -> bool:
        """Whether the head answered when it was asked last: Ray's calls that need it wait otherwise."""
        return self._silent_since is None

    @property
    def lost(self) -> bool:
        """Whether the head has not answered for so long that it is given up: half as long as Ray would wait."""
        since = self._silent_since
        return since is not None and time.monotonic() - since > _patience_s()

    def require_head(self) -> None:
        """End the work where the head is lost.

        Raises:
            ClusterError: it is.
        """
        if self.lost:
            raise self._loss()

    @contextmanager
    def tells_of_losses(self) -> Iterator[None]:
        """Say of what Ray raises where a head is gone that it is: its client for clusters elsewhere raises such errors.

        Raises:
            ClusterError: Ray lost the connection, and the head does not answer.
        """
        try:
            yield
        except ConnectionError as error:
            self._look()
            if self.answers:
                raise
            raise self._loss() from error

    def _loss(self) -> ClusterError:
        silent = time.monotonic() - (self._silent_since or time.monotonic())
        return ClusterError(
            f"{self._cluster} has lost its head, which has not answered for {silent:.0f} s: run the same command once "
            f"the cluster works: it goes on with its store"
        )

    def close(self) -> None:
        """Ask no more."""
        self._closed.set()

    def _ask(self) -> None:
        while not self._closed.wait(_EVERY_S):
            self._look()

    def _look(self) -> None:
        began, there = time.monotonic(), not self._port
        with suppress(OSError):
            there = there or speaks_http2(self._host, int(self._port), _ANSWER_S)
        if there:
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = began


def _patience_s() -> float:
    try:
        return float(os.environ.get(_RAYS_NAME, _RAYS_S)) / 2
    except ValueError:
        return _RAYS_S / 2
