"""The settings that say when a live stream counts as lost, and when its source is connected again."""

from __future__ import annotations

from typing import Literal

import msgspec

from taemi_edge.bundle.values import Frozen


class WatchSettings(Frozen, frozen=True):
    """When a stream counts as lost and how its source is built anew; times are in seconds.

    Attributes:
        lost_after_s: silence of a stream that is noticed as a loss. A camera of one frame a second needs more.
        frozen_after_s, black_after_s, silent_after_s: how long the same picture, a black one, or digital silence
            counts as good data.
        open_timeout_s, read_timeout_s: for a connection to be made, and to give anything at all.
        retry_first_s, retry_most_s: the first wait before the next try and the longest, where a try costs little.
        retry_dear_s: the longest wait where a try costs much: a wrong password, a stream that cannot be decoded.
        rebuild_after_s: how long one of several streams may be lost before the whole connection is made anew; it
            doubles each time that this does not help.
        stuck_after_s: how long a driver may not answer before its thread is given up.
        lag_most_s: how far a stream may fall behind before it is connected anew.
        rtsp_transport: tcp passes every router; udp loses packets instead of time.
    """

    lost_after_s: float = 1.25
    frozen_after_s: float = 1.5
    black_after_s: float = 1.5
    silent_after_s: float = 1.5
    open_timeout_s: float = 3.0
    read_timeout_s: float = 1.5
    retry_first_s: float = 0.1
    retry_most_s: float = 0.25
    retry_dear_s: float = 30.0
    rebuild_after_s: float = 10.0
    stuck_after_s: float = 20.0
    lag_most_s: float = 2.0
    rtsp_transport: Literal["tcp", "udp"] = "tcp"

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not 0.01 <= value <= 86_400:
                raise ValueError(f"expected {field.name} from 0.01 to 86400 seconds, got {value:g}")
        if self.retry_first_s > self.retry_most_s:
            raise ValueError(
                f"expected retry_first_s <= retry_most_s, got {self.retry_first_s:g} and {self.retry_most_s:g}"
            )
