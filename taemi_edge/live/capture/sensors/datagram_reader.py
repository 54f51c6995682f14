"""Reads the datagrams (UDP) of a sensor: each holds one row of numbers, several, or words.

A port is for one sensor. Where two senders use it, the rows of the one that was first are taken, until it has been
silent for as long as a loss takes.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import re
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Sequence

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.errors import UsageError
from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.readers import SourceGoneError
from taemi_edge.live.capture.sensors.payloads import MOST_BYTES
from taemi_edge.live.capture.sensors.sensor_reader import MOST_AT_ONCE, SensorReader
from taemi_edge.live.capture.settings import WatchSettings

_PLACE = re.compile(r"udp://@?(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[A-Za-z0-9_.-]*):(?P<port>[0-9]{1,5})/?")
#: What the kernel may hold while nobody fetches it, in bytes, where it allows so many.
_KERNEL_BYTES = 4 * 2**20
#: Linux' socket option whose last number says how much of what came was lost; Python has no name for it.
_SO_MEMINFO, _MEMINFO = 55, struct.Struct("@9I")
#: Senders of one machine that are remembered by their ports.
_MOST_PORTS = 64

Sender = tuple[str, int]


class SenderChoice:
    """Decides whose datagrams are taken.

    Programs that make a new socket for each datagram send from another port each time: as long as no port comes twice,
    all ports of a machine are one sender.

    Args:
        silent_s: after such a silence of the chosen sender, in seconds, another one takes its place.

    Example:
        >>> choice = SenderChoice(silent_s=1.0)
        >>> [choice.takes((host, 5000), now_s) for host, now_s in (("a", 0.0), ("b", 0.1), ("a", 0.2), ("b", 1.5))]
        [True, False, True, True]
    """

    def __init__(self, silent_s: float) -> None:
        self._silent_s = silent_s
        self._chosen: Sender | None = None
        self._heard_s = 0.0
        self._count = 0
        self._left: deque[Sender] = deque(maxlen=_MOST_PORTS)

    def takes(self, sender: Sender, now_s: float) -> bool:
        """Whether a datagram of a sender is taken, which came at `now_s`."""
        chosen = self._chosen
        if sender == chosen:
            self._count += 1
        elif chosen is None or now_s - self._heard_s > self._silent_s:
            self._left.clear()
            self._chosen, self._count = sender, 1
        elif self._count == 1 and sender[0] == chosen[0] and sender not in self._left:
            self._left.append(chosen)
            self._chosen = sender
        else:
            return False
        self._heard_s = now_s
        return True


class DatagramReader(SensorReader):
    """Listens on one port; see `Reader`.

    Args:
        address: udp://HOST:PORT, where HOST is an address of this machine, a multicast group, or nothing for all.
        settings: how long a sender must be silent before another one takes its place.
        stream: what the stream takes that it feeds.

    Raises:
        SourceGoneError: nothing can listen there.
    """

    def __init__(self, address: Address, settings: WatchSettings, stream: StreamSpec) -> None:
        super().__init__(address, settings, stream)
        host, port = host_and_port_of(address)
        try:
            self._socket = _listening(host, port, address.options.get("interface", ""))
        except OSError as error:
            raise SourceGoneError(_why(error), settings.retry_dear_s if _is_lasting(error) else 2.0) from error
        self._senders = SenderChoice(settings.lost_after_s)
        self._lost = 0
        self._waiting = select.poll()
        self._waiting.register(self._socket, select.POLLIN)

    def receive(self, wait_s: float) -> Sequence[bytes]:
        if not self._waiting.poll(wait_s * 1e3):
            return ()
        now_s = time.monotonic()
        datagrams, others = [], 0
        for _ in range(MOST_AT_ONCE):
            try:
                datagram, sender = self._socket.recvfrom(MOST_BYTES + 1)
            except BlockingIOError:
                break
            except OSError as error:
                raise SourceGoneError(_why(error), self.settings.retry_most_s) from error
            if self._senders.takes(sender[:2], now_s):
                datagrams.append(datagram)
            else:
                others += 1
        if (lost := _lost_in_kernel(self._socket)) > self._lost:
            self.damaged_packets += lost - self._lost
            self._lost = lost
            self.say("datagrams come faster than they can be read: some are lost")
        if others:
            self.damaged_packets += others
            self.say("two senders use this port: those of the second are left out until the first is silent")
        return datagrams

    def close(self) -> None:
        self._socket.close()


def check_datagrams(address: Address) -> None:
    """Find what is wrong with the address of datagrams before anything listens there.

    Raises:
        UsageError: it is no HOST:PORT, or an interface is named without a multicast group.
    """
    host, _ = host_and_port_of(address)
    if address.options.get("interface") and not _is_group(host):
        raise UsageError(f"{address.shown}: ?interface=: expected a multicast group before it, got another address")


def host_and_port_of(address: Address) -> tuple[str, int]:
    """Where an address listens; the host is "" for all addresses of this machine.

    Raises:
        UsageError: it is no udp://HOST:PORT.
    """
    match = _PLACE.fullmatch(address.target)
    if match is None or not 0 < int(match["port"]) <= 65_535:
        raise UsageError(f"{address.shown}: expected udp://HOST:PORT with a port from 1 to 65535, got another address")
    return match["host"].removeprefix("[").removesuffix("]"), int(match["port"])


def _listening(host: str, port: int, interface: str) -> socket.socket:
    """A socket that is bound, and a member of the group where the host is one."""
    both = not host and socket.has_dualstack_ipv6()
    named = "::" if both else host or "0.0.0.0"  # noqa: S104  (the user asks for all addresses)
    family, _, _, _, place = socket.getaddrinfo(named, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)[0]
    listening = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if both:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        with contextlib.suppress(OSError):  # a kernel that allows less still works
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BYTES)
        if _is_group(host):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        if _is_group(host):
            _join(listening, family, str(place[0]).partition("%")[0], interface)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _lost_in_kernel(listening: socket.socket) -> int:
    """How many datagrams were lost since nobody fetched them in time; 0 where the system does not say it."""
    if sys.platform != "linux":
        return 0
    try:
        return int(_MEMINFO.unpack(listening.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _MEMINFO.size))[-1])
    except (OSError, struct.error):  # before Linux 4.12
        return 0


def _join(listening: socket.socket, family: int, group: str, interface: str) -> None:
    """Ask the network for what is sent to a group, on the interface of a name or an address."""
    packed = socket.inet_pton(family, group)
    index = 0 if not interface or _is_address(interface) else socket.if_nametoindex(interface)
    if family == socket.AF_INET6:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, packed + struct.pack("@I", index))
        return
    own = socket.inet_aton(interface) if _is_address(interface) else bytes(4)
    listening.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, packed + own + struct.pack("@i", index))


def _is_address(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _is_group(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_multicast
    except ValueError:
        return False


def _is_lasting(error: OSError) -> bool:
    """Whether another try will probably fail alike."""
    return isinstance(error, socket.gaierror) or error.errno in (errno.EACCES, errno.EPERM)


def _why(error: OSError) -> str:
    """Why nothing can listen, and what to do."""
    if isinstance(error, socket.gaierror):
        return "its host is unknown here"
    if error.errno == errno.EADDRINUSE:
        return "another program listens on its port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "its host is no address of this machine, where its datagrams could arrive"
    return f"it cannot be listened to: {error.strerror or error}"
