"""Opens an address with the reader that fits it: FFmpeg for cameras and files, GStreamer for pipelines, and others."""

from __future__ import annotations

from taemi_edge.bundle.streams import StreamSpec
from taemi_edge.errors import UsageError
from taemi_edge.live.capture.addresses import Address
from taemi_edge.live.capture.readers import Reader
from taemi_edge.live.capture.recording_reader import RecordingAddress, RecordingReader
from taemi_edge.live.capture.sensors.sensor_reader import parser_of
from taemi_edge.live.capture.settings import WatchSettings


def check_address(address: Address, stream: StreamSpec) -> None:
    """Find what is wrong with an address of rows, words or messages before anything is connected.

    Args:
        address: one that feeds one stream.
        stream: what that stream takes.

    Raises:
        UsageError: the address cannot feed such a stream, or one of its options cannot be used.
        MissingExtraError: a library that its reader needs is not installed.
    """
    if address.kind == "ros":
        from taemi_edge.live.capture.sensors.ros_reader import check_topic

        check_topic(address, stream)
        return
    if address.kind == "mqtt":
        from taemi_edge.live.capture.sensors.mqtt_reader import check_mqtt as check
    elif address.kind == "serial":
        from taemi_edge.live.capture.sensors.serial_reader import check_serial as check
    elif address.kind == "datagram":
        from taemi_edge.live.capture.sensors.datagram_reader import check_datagrams as check
    else:
        raise UsageError(f"{address.shown}: expected another address, since {address.kind} is not read yet")
    parser_of(address, stream)
    check(address)


def open_reader(address: Address, settings: WatchSettings, stream: StreamSpec | None = None) -> Reader:
    """Connect to an address.

    Args:
        address: what to connect to.
        settings: its timeouts.
        stream: what the stream takes that it feeds; None for cameras, microphones and files, which feed any.

    Returns:
        A reader, to be closed by the caller.

    Raises:
        SourceGoneError: the address cannot be reached, or gives nothing that can be used.
    """
    if address.kind == "gst":
        from taemi_edge.live.capture.gst_reader import GstReader

        return GstReader(address.target, settings)
    if stream is not None and isinstance(address, RecordingAddress):
        return RecordingReader(address, settings, stream)
    if address.kind == "ros" and stream is not None:
        from taemi_edge.live.capture.sensors.ros_reader import RosReader

        return RosReader(address, settings, stream)
    if stream is not None:
        return _sensor_reader(address, settings, stream)
    from taemi_edge.live.capture.av_reader import AvReader

    return AvReader(address, settings)


def _sensor_reader(address: Address, settings: WatchSettings, stream: StreamSpec) -> Reader:
    if address.kind == "mqtt":
        from taemi_edge.live.capture.sensors.mqtt_reader import MqttReader

        return MqttReader(address, settings, stream)
    if address.kind == "serial":
        from taemi_edge.live.capture.sensors.serial_reader import SerialReader

        return SerialReader(address, settings, stream)
    from taemi_edge.live.capture.sensors.datagram_reader import DatagramReader

    return DatagramReader(address, settings, stream)
