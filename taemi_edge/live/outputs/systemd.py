"""What a service manager wants to hear (sd_notify): ready, alive, stopping; silence where none listens."""

from __future__ import annotations

import os
import socket

from taemi_edge.live.loop import HopCounts, Moment
from taemi_edge.live.outputs.base import QuietOutput


class ServiceNotifier(QuietOutput):
    """Tells systemd `READY=1` with the first hop, `WATCHDOG=1` with every later one, and `STOPPING=1`.

    https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
    """

    def __init__(self, counts: HopCounts) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._counts = counts
        self._ready = False

    def on_moment(self, moment: Moment) -> None:
        if not self._address:
            return
        live = [m for m, state in moment.prediction.presence.items() if state == "live"]
        lines = [] if self._ready else ["READY=1"]
        status = f"STATUS={self._counts.made} hops, {moment.prediction.source}: {', '.join(live) or 'nothing'} live"
        self._send("\n".join([*lines, "WATCHDOG=1", status]))
        self._ready = True

    def close(self) -> None:
        if self._address:
            self._send("STOPPING=1\nSTATUS=stopping")

    def _send(self, message: str) -> None:
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as service:
                service.setblocking(False)
                service.sendto(message.encode(), address)
        except OSError:
            return  # nobody listens any more: nothing that could be done about it here
