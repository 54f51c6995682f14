"""Reports to systemd that the service is ready, alive or stopping; does nothing where it was not started by systemd.

The protocol is sd_notify: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import os
import socket

from taemi_edge.live.loop import LiveLoop
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.output import BaseOutput, HopResult


class ServiceNotifier(BaseOutput):
    """Sends `READY=1` with the first hop, `WATCHDOG=1` with every hop, and `STOPPING=1` at the end.

    Args:
        loop: has the counts and the load, for the status line that `systemctl status` shows.
    """

    def __init__(self, loop: LiveLoop) -> None:
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._loop = loop
        self._ready = False

    def on_hop(self, result: HopResult) -> None:
        if not self._address:
            return
        live = [m for m, state in result.prediction.presence.items() if state == "live"]
        lines = [] if self._ready else ["READY=1"]
        load, made = self._loop.load, self._loop.counts.made
        status = f"STATUS={made} hops, {result.prediction.source}: {', '.join(live) or 'nothing'} live"
        status += f"; degraded: {load.reason}" if load.reason is not None else ""
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
            return  # systemd does not listen any more, and nothing can be done about it here


def open_service_notifier(context: OutputContext) -> None:
    """Report to systemd; the notifier does nothing where the variable NOTIFY_SOCKET is not set."""
    context.add(ServiceNotifier(context.state.loop))
