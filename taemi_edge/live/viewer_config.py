"""The tables `[mcap]` and `[foxglove]` of a live run: what is kept of it, and who may watch it."""

from __future__ import annotations

import ipaddress
from typing import Any, Literal

from taemi_edge.bundle.values import Frozen
from taemi_edge.live.host_port import host_and_port

#: What the name of a recording ends in.
MCAP = ".mcap"


class McapConfig(Frozen, frozen=True):
    """The `[mcap]` table: a recording of what the model was given and what it predicted.

    Attributes:
        file: where it is written; its name ends in .mcap. Where it is there already, and for each further part, a
            number is added to the name: run-2.mcap.
        most_mib: how much of the disk it may take, in MiB: one file, or all parts together, also those of earlier runs.
        split_mib: how large a part becomes before the next one begins, in MiB; the oldest parts are removed to keep
            within `most_mib`. 0 writes one file for each run, which ends there.
        pictures: as H.264 video, or each by itself as JPEG.
        quality: of the pictures, from 1 to 100.
        lossless: pictures as PNG and sound as floats, so that the same inputs come back to the last bit.
    """

    file: str = ""
    most_mib: float = 4096.0
    split_mib: float = 0.0
    pictures: Literal["h264", "jpeg"] = "h264"
    quality: int = 90
    lossless: bool = False

    def __post_init__(self) -> None:
        if self.file and not self.file.lower().endswith(MCAP):
            raise ValueError(f"expected mcap.file to end in {MCAP}, got {self.file!r:.200}")
        if not 0 < self.most_mib < 1e9:
            raise ValueError(f"expected mcap.most_mib above 0 and below 1e9, got {self.most_mib:g}")
        if not 0 <= self.split_mib <= self.most_mib / 2:
            raise ValueError(
                f"expected mcap.split_mib from 0 to half of most_mib, which is {self.most_mib:g}, got "
                f"{self.split_mib:g}"
            )
        if not 1 <= self.quality <= 100:
            raise ValueError(f"expected mcap.quality from 1 to 100, got {self.quality}")


class FoxgloveConfig(Frozen, frozen=True):
    """The `[foxglove]` table: a WebSocket that Foxglove connects to.

    Attributes:
        address: HOST:PORT; "" serves nothing.
        everyone: whether another host than loopback may be served: there is no token, so whoever reaches the port sees
            and hears everything.
        tls_certificate, tls_key: PEM files; both or none.
        layout: where a layout for the model is written, for Foxglove to import; "" writes none.
    """

    address: str = ""
    everyone: bool = False
    tls_certificate: str = ""
    tls_key: str = ""
    layout: str = ""

    def __post_init__(self) -> None:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("expected foxglove.tls_certificate and foxglove.tls_key together, got one of them")
        if not self.address:
            return
        host, _ = host_and_port(self.address)
        if not self.everyone and host != "localhost" and not ipaddress.ip_address(host).is_loopback:
            raise ValueError(
                f"foxglove.address {self.address}: expected a loopback address, as whoever reaches the port would see "
                f"and hear everything: reach it through a tunnel (ssh -L), or set foxglove.everyone = true"
            )

    @property
    def host(self) -> str:
        """The host of the address."""
        return host_and_port(self.address)[0]

    @property
    def port(self) -> int:
        """The port of the address; 0 lets the system choose one."""
        return host_and_port(self.address)[1]


def is_recording(place: Any) -> bool:
    """Whether `--record` names a recording, and not a folder for clips around losses.

    >>> is_recording("run.mcap"), is_recording("losses"), is_recording(None)
    (True, False, False)
    """
    return str(place or "").lower().endswith(MCAP)
