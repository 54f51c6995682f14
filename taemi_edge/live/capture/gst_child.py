"""Runs a GStreamer pipeline with the system's Python, and writes what its appsinks get to standard output.

    printf '39 videotestsrc ! videoconvert ! appsink' | /usr/bin/python3 gst_child.py

The pipeline comes on standard input, its length in bytes before it: every user of the machine can read the arguments
of a process, and a pipeline may hold a password. GStreamer's messages may repeat it, so only their kind is passed on.

GStreamer's bindings come with the system (JetPack, Debian), not from PyPI, and a hardware decoder that hangs can only
be stopped with its process. Each message is a header (kind, three numbers, time in ns or -1, size) and its bytes: "V"
width, height, which of FORMATS, pixels; "A" rate, channels, 0, float32 interleaved; "E" the kind of an error (its
domain, and its code as the first number), or a sentence; "Z" the end.
It ends when its standard input is closed. It imports nothing of this package, which the system's Python does not have.
"""

import os
import re
import struct
import sys
import threading
from typing import Any

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstApp", "1.0")
from gi.repository import GLib, Gst, GstApp  # noqa: E402, F401  GstApp gives appsinks their methods

HEADER = struct.Struct("<c3iqI")
#: Those with a fourth byte are what a Jetson's nvvidconv gives: nothing is left to convert on the CPU.
FORMATS = ("RGB", "BGR", "RGBx", "RGBA", "BGRx", "BGRA")
CAPS = f"video/x-raw,format={{ {', '.join(FORMATS)} }};audio/x-raw,format=F32LE,layout=interleaved"
TAKES = "an appsink takes RGB, BGR, RGBA or BGRx and F32LE: put videoconvert or audioconvert before it"

lock = threading.Lock()


def send(kind: bytes, numbers: tuple[int, int, int] = (0, 0, 0), pts: int = -1, content: bytes = b"") -> None:
    """Write a message to standard output, whole."""
    try:
        with lock:
            sys.stdout.buffer.write(HEADER.pack(kind, *numbers, pts, len(content)))
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
    except OSError:
        os._exit(0)  # nobody reads any more


def pull(sink: Any) -> None:
    """Pass on all that a sink gets."""
    while True:
        sample = sink.try_pull_sample(200 * Gst.MSECOND)
        if sample is None:
            if sink.is_eos():
                return
            continue
        structure, buffer = sample.get_caps().get_structure(0), sample.get_buffer()
        pts = -1 if buffer.pts == Gst.CLOCK_TIME_NONE else buffer.pts
        content = buffer.extract_dup(0, buffer.get_size())
        if structure.get_name() == "video/x-raw":
            width, height = structure.get_value("width"), structure.get_value("height")
            layout = structure.get_value("format")
            row, stride = width * (3 if len(layout) == 3 else 4), len(content) // height
            if stride != row:  # GStreamer pads rows to four bytes
                content = b"".join(content[y * stride : y * stride + row] for y in range(height))
            send(b"V", (width, height, FORMATS.index(layout)), pts, content)
        else:
            send(b"A", (structure.get_value("rate"), structure.get_value("channels"), 0), pts, content)


def read_pipeline() -> str:
    """The pipeline, from standard input: its length in bytes, a space, and so many bytes."""
    length = b""
    while (sign := sys.stdin.buffer.read(1)).isdigit():
        length += sign
    return sys.stdin.buffer.read(int(length)).decode()


def send_error(error: Any) -> None:
    """Pass on which error it is; its text may repeat a password. An element's name that is unknown goes along."""
    unknown = re.search(r'no element "([^"]*)"', error.message)
    send(b"E", (error.code, 0, 0), content="\n".join([error.domain, unknown[1] if unknown else ""]).encode())


def main() -> None:
    description = read_pipeline()
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
    Gst.init(None)
    try:
        pipeline = Gst.parse_launch(description)
    except GLib.Error as error:
        send_error(error)
        return
    if not isinstance(pipeline, Gst.Pipeline):  # a lone element
        send(b"E", content=b"expected a pipeline that ends in an appsink")
        return
    iterator, sinks = pipeline.iterate_sinks(), []
    while (found := iterator.next())[0] == Gst.IteratorResult.OK:
        if found[1].get_factory().get_name() == "appsink":
            sinks.append(found[1])
    if not sinks:
        send(b"E", content=b"expected a pipeline that ends in an appsink")
        return
    for sink in sinks:
        sink.set_property("caps", Gst.Caps.from_string(CAPS))
        sink.set_property("max-buffers", 10)
        sink.set_property("drop", True)
    if pipeline.set_state(Gst.State.PLAYING) == Gst.StateChangeReturn.FAILURE:
        bus_error(pipeline)
        return
    threads = [threading.Thread(target=pull, args=(sink,), daemon=True) for sink in sinks]
    for thread in threads:
        thread.start()
    bus_error(pipeline)


def bus_error(pipeline: Any) -> None:
    """Wait for an error or the end, and pass it on."""
    kinds = Gst.MessageType.ERROR | Gst.MessageType.EOS
    message = pipeline.get_bus().timed_pop_filtered(Gst.CLOCK_TIME_NONE, kinds)
    if message.type == Gst.MessageType.ERROR:
        error, details = message.parse_error()
        if "not-negotiated" in (details or ""):
            send(b"E", content=TAKES.encode())
        else:
            send_error(error)
    else:
        send(b"Z")


if __name__ == "__main__":
    main()
    os._exit(0)  # pipeline and threads end with the process: nothing here has to be put away
