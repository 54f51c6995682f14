"""Opens an address with the reader that fits it: GStreamer for pipelines, FFmpeg for everything else."""

from __future__ import annotations

from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.readers import Reader
from taemi_edge.live.capture.settings import WatchSettings


def open_reader(address: Address, settings: WatchSettings) -> Reader:
    """Connect to an address.

    Args:
        address: what to connect to.
        settings: its timeouts.

    Returns:
        A reader, to be closed by the caller.

    Raises:
        SourceGoneError: the address cannot be reached, or gives nothing that can be used.
    """
    if address.kind == "gst":
        from taemi_edge.live.capture.gst_reader import GstReader

        return GstReader(address.target, settings)
    from taemi_edge.live.capture.av_reader import AvReader

    return AvReader(address, settings)
