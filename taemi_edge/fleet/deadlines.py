"""Connections that give up on a server that answers a byte at a time.

A time-out of a socket begins anew with each byte that comes, so a server that sends one every twenty seconds holds its
caller for ever. Here the head of an answer must be complete within a time. Who reads the body watches its speed
(`transfer.py`).
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

#: For the head of an answer, all redirects and log-ins apart: servers that check a large upload take some seconds.
HEAD_LIMIT_S = 60.0


class _Deadline:
    """Mixed into a connection: cuts it where the head of the answer takes too long."""

    sock: Any
    limit_s = HEAD_LIMIT_S
    _was_cut = False

    def getresponse(self) -> Any:
        timer = threading.Timer(self.limit_s, self._cut)
        timer.daemon = True
        timer.start()
        try:
            response = super().getresponse()  # type: ignore[misc] # of the connection that it is mixed into
        finally:
            timer.cancel()
        if self._was_cut:  # half a head looks like a whole one
            response.close()
            raise TimeoutError("no whole head in time")
        return response

    def _cut(self) -> None:
        self._was_cut = True
        with suppress(OSError, TypeError):  # it is closed already
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)


class _Connection(_Deadline, HTTPConnection):
    pass


class _SafeConnection(_Deadline, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SafePool(HTTPSConnectionPool):
    ConnectionCls = _SafeConnection


class DeadlineAdapter(HTTPAdapter):  # type: ignore[misc] # requests has no types
    """To be mounted in a session of `requests`: its connections have deadlines, through a proxy too."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools of connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SafePool}

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        """Make the pools of connections to a proxy."""
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SafePool}
        return manager
