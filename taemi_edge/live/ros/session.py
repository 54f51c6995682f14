"""Sessions of Zenoh: one for each place in a process, shared by all streams and outputs that name the same place.

By default nothing is opened to other machines. A session listens on the loopback address alone, as the nodes of
rmw_zenoh do, and looks for nobody by multicast: it connects to the router that it is told, and through it learns of the
nodes of this machine. Nothing here calls Python from Zenoh's threads: what comes waits in channels of Zenoh, from which
it is taken in batches, so that ten thousand messages a second do not ask for the interpreter ten thousand times.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import re
import threading
import time
from importlib.util import find_spec
from typing import Any

from taemi_edge.errors import MissingExtraError, UsageError, first_line, in_one_line
from taemi_edge.live.ros.names import OwnEntity, token_of_node
from taemi_edge.live.ros.place import ZenohPlace

#: How long the first connection may take; afterwards Zenoh itself connects again whenever it is lost.
OPEN_TIMEOUT_S = 1.0
_RETRY_MS = {"period_init_ms": 100, "period_max_ms": 500, "period_increase_factor": 2}
_LISTEN = ["tcp/localhost:0"]
#: What Zenoh listens on where a configuration says nothing: every interface.
_ZENOH_LISTENS = {"router": ["tcp/[::]:7447"], "peer": ["tcp/[::]:0"]}


class UnreachableError(Exception):
    """A session cannot be opened; the message says why, and what to do.

    Args:
        reason: in one sentence.
        lasting: whether only a change of the configuration helps.
    """

    def __init__(self, reason: str, lasting: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.lasting = reason, lasting


def require_zenoh(purpose: str) -> None:
    """Check that the packages of the extra `zenoh` are installed.

    Raises:
        MissingExtraError: one is not.
    """
    for module, package in (("zenoh", "eclipse-zenoh"), ("rosbags", "rosbags")):
        if find_spec(module) is None:
            raise MissingExtraError(package, "zenoh", purpose)


def check_configuration(place: ZenohPlace, purpose: str) -> None:
    """Find what is wrong with the user's configuration of Zenoh before anything is opened.

    Args:
        place: how Zenoh is reached.
        purpose: what the message begins with.

    Raises:
        UsageError: the configuration cannot be used.
    """
    import zenoh

    try:
        _config(zenoh, place)
    except (zenoh.ZError, OSError, ValueError) as error:
        raise UsageError(f"{purpose}: {place.shown} cannot be used: {_said(error)}") from error


class ZenohSession:
    """A session, open until as many have closed it as opened it.

    Attributes:
        zenoh: the session of the library.
        id: its id, as tokens spell it.
        node: the name of this process as a node of ROS 2.
    """

    def __init__(self, place: ZenohPlace, session: Any) -> None:
        self.zenoh, self._place = session, place
        self.id = str(session.zid())
        self.node = f"taemi_edge_{os.getpid()}"
        self.users = 1
        self._numbers = itertools.count(1)
        self._nodes: dict[int, Any] = {}
        self._lock = threading.Lock()

    def next_number(self) -> int:
        """A number that no other publisher or subscription of this session has."""
        return next(self._numbers)

    def declare(self, entity: OwnEntity) -> Any:
        """Hold the token of a publisher or a subscription, and that of this node, so that others see them.

        Returns:
            The token, to be withdrawn with `undeclare`.
        """
        liveliness = self.zenoh.liveliness()
        with self._lock:
            if entity.domain not in self._nodes:
                token = token_of_node(entity.domain, self.id, self.node)
                self._nodes[entity.domain] = liveliness.declare_token(token)
        return liveliness.declare_token(entity.token)

    def is_connected(self) -> bool:
        """Whether any router or peer is connected at this moment."""
        info = self.zenoh.info
        return bool(info.routers_zid() or info.peers_zid())

    def close(self) -> None:
        """Give the session up; the last one who does so ends it."""
        with _SESSIONS_LOCK:
            self.users -= 1
            if self.users > 0:
                return
            if _SESSIONS.get(self._place) is self:
                del _SESSIONS[self._place]
        self.zenoh.close()


_SESSIONS: dict[ZenohPlace, ZenohSession] = {}
_SESSIONS_LOCK = threading.Lock()
#: Held while the session of a place is opened, so that streams of one place do not open one each.
_OPENING: dict[ZenohPlace, threading.Lock] = {}
#: When opening failed last, and how: those who waited meanwhile have the same answer.
_FAILED: dict[ZenohPlace, tuple[float, UnreachableError]] = {}


def open_session(place: ZenohPlace) -> ZenohSession:
    """The session of a place, opened where it is not open yet. It may take a second.

    Args:
        place: how Zenoh is reached.

    Returns:
        A session, to be closed by the caller.

    Raises:
        UnreachableError: nobody answers there, or the configuration cannot be used.
    """
    asked_s = time.monotonic()
    with _SESSIONS_LOCK:
        opening = _OPENING.setdefault(place, threading.Lock())
    with opening:
        with _SESSIONS_LOCK:
            session = _SESSIONS.get(place)
            if session is not None and not session.zenoh.is_closed():
                session.users += 1
                return session
            failed_s, failure = _FAILED.get(place, (0.0, None))
        if failure is not None and failed_s > asked_s:
            raise failure
        try:
            session = ZenohSession(place, _open(place))
        except UnreachableError as error:
            _FAILED[place] = (time.monotonic(), error)
            raise
        with _SESSIONS_LOCK:
            _SESSIONS[place] = session
        return session


def _open(place: ZenohPlace) -> Any:
    import zenoh

    try:
        config = _config(zenoh, place)
    except (zenoh.ZError, OSError, ValueError) as error:
        raise UnreachableError(f"{place.shown} cannot be used: {_said(error)}", lasting=True) from error
    try:
        return zenoh.open(config)
    except zenoh.ZError as error:
        if place.config:
            raise UnreachableError(f"no session by {place.shown}: {_said(error)}") from error
        raise UnreachableError(
            f"no Zenoh router answers at {place.router}: start one (`ros2 run rmw_zenoh_cpp rmw_zenohd`), or name "
            f"another with ?router="
        ) from error


def _config(zenoh: Any, place: ZenohPlace) -> Any:
    """The configuration of a session; a file of the user's says all but what would open this machine unasked."""
    if place.config:
        config = zenoh.Config.from_file(place.config)
        if json.loads(config.get_json("scouting/multicast/enabled")) is None:
            config.insert_json5("scouting/multicast/enabled", "false")
        if json.loads(config.get_json("listen/endpoints")) == _ZENOH_LISTENS:
            config.insert_json5("listen/endpoints", json.dumps(_LISTEN))
        return config
    settings = {
        "mode": place.mode,
        "connect": {
            "endpoints": [place.router],
            "timeout_ms": int(OPEN_TIMEOUT_S * 1000),
            "exit_on_failure": True,
            "retry": _RETRY_MS,
        },
        "listen": {"endpoints": _LISTEN if place.mode == "peer" else []},
        "scouting": {"multicast": {"enabled": False}, "gossip": {"enabled": True}},
        "timestamping": {"enabled": True},
    }
    return zenoh.Config.from_json5(json.dumps(settings))


def _said(error: Exception) -> str:
    """What the library says, without the line of its source."""
    said = in_one_line(first_line(error).split(" at /")[0].rstrip(". "))
    where = re.fullmatch(r"--> (\d+):(\d+)", said)  # what follows shows the line itself, which may hold a password
    return said if where is None else f"line {where[1]}, column {where[2]} is no JSON5"


@atexit.register
def _close_all() -> None:
    """End what threads that were left behind still hold: an open session could keep the process from ending."""
    with _SESSIONS_LOCK:
        sessions = list(_SESSIONS.values())
        _SESSIONS.clear()
    for session in sessions:
        session.zenoh.close()
