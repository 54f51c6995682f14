"""Runs a GStreamer pipeline and reads the pictures and the sound that its appsinks get.

The pipeline runs in a process of its own (`gst_child.py`), which can be killed when its decoder hangs.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import av
import numpy as np

from taemi_edge.live.capture.decode_level import DecodeLevel
from taemi_edge.live.capture.gst_errors import error_text
from taemi_edge.live.capture.readers import DecodedPicture, DecodedSound, SourceGoneError, Track
from taemi_edge.live.capture.settings import WatchSettings

_HEADER = struct.Struct("<c3iqI")
_CHILD = Path(__file__).with_name("gst_child.py")
#: Channels of the pixels, and whether blue comes first, in the order of the child's FORMATS.
_FORMATS = ((3, False), (3, True), (4, False), (4, False), (4, True), (4, True))
#: An 8K picture; more is damage.
_MAX_BYTES = 7680 * 4320 * 4
_LAYOUTS = {1: "mono", 2: "stereo"}
BINDINGS = "sudo apt-get install python3-gi gir1.2-gst-plugins-base-1.0"


class GstReader:
    """One run of a pipeline; see `Reader`.

    `absent` stays empty: which tracks a pipeline gives is known only once they arrive.

    Args:
        pipeline: as gst-launch-1.0 takes it, with an appsink for picture, for sound, or one for each.
        settings: its timeouts.

    Raises:
        SourceGoneError: no Python with GStreamer's bindings is installed.
    """

    def __init__(self, pipeline: str, settings: WatchSettings) -> None:
        self.absent: dict[Track, str] = {}
        self.losses: dict[Track, str] = {}
        self.unusable: dict[Track, str] = {}
        self.damaged_packets = 0
        self.waited_s = self.lag_s = 0.0
        self._settings = settings
        python = find_gst_python()
        if python is None:
            raise SourceGoneError(f"no Python here has GStreamer's bindings: {BINDINGS}", settings.retry_dear_s)
        self._child = subprocess.Popen(
            [python, "-I", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._pipeline = pipeline
        self._pipe = cast("IO[bytes]", self._child.stdout)
        self._send(pipeline.encode(errors="replace"))
        self._waits_s = settings.open_timeout_s

    def items(self) -> Iterator[DecodedPicture | DecodedSound]:
        while True:
            kind, first, second, layout, pts_ns, size = _HEADER.unpack(self._read(_HEADER.size))
            if size > _MAX_BYTES:
                raise SourceGoneError("the pipeline's process talks nonsense", self._settings.retry_most_s)
            content = self._read(size)
            pts_s = None if pts_ns < 0 else pts_ns / 1e9
            if kind == b"V":
                self._waits_s = self._settings.read_timeout_s
                channels, is_bgr = _FORMATS[layout]
                pixels = np.frombuffer(content, np.uint8).reshape(second, first, channels)
                yield DecodedPicture(pts_s, pixels[..., 2::-1] if is_bgr else pixels[..., :3])
            elif kind == b"A":
                self._waits_s = self._settings.read_timeout_s
                values = np.frombuffer(content, np.float32)[None]
                sound = av.AudioFrame.from_ndarray(values, format="flt", layout=_LAYOUTS.get(second, f"{second}c"))
                sound.sample_rate = first
                yield DecodedSound(pts_s, sound)
            elif kind == b"E":
                said = error_text(self._pipeline, content.decode(errors="replace"), code=first)
                raise SourceGoneError(f"GStreamer: {said}", self._settings.retry_most_s * 4)
            else:
                raise SourceGoneError("the pipeline ended", self._settings.retry_most_s)

    def set_decode_level(self, level: DecodeLevel) -> None:
        """Do nothing: appsinks drop what is not fetched, and the pipeline chooses its own decoder."""

    def close(self) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):  # what was not sent to it is of no use any more
                    pipe.close()

    def _send(self, pipeline: bytes) -> None:
        """Hand the pipeline to its process: not by its arguments, which everybody on the machine can read."""
        pipe = cast("IO[bytes]", self._child.stdin)
        try:
            pipe.write(b"%d " % len(pipeline) + pipeline)
            pipe.flush()
        except OSError as error:
            self.close()
            raise SourceGoneError("the pipeline's process ended", self._settings.retry_most_s * 4) from error

    def _read(self, size: int) -> bytes:
        """Read exactly so many bytes; a pipeline that gives nothing for too long is given up."""
        content = bytearray()
        while len(content) < size:
            asked_s = time.monotonic()
            ready = select.select([self._pipe], [], [], self._waits_s)[0]
            self.waited_s += time.monotonic() - asked_s
            if not ready:
                raise SourceGoneError(f"nothing came for {self._waits_s:g} s", self._settings.retry_most_s)
            piece = os.read(self._pipe.fileno(), size - len(content))
            if not piece:
                raise SourceGoneError("the pipeline's process ended", self._settings.retry_most_s * 4)
            content += piece
        return bytes(content)


def find_gst_python() -> str | None:
    """A Python with GStreamer's bindings: TAEMI_EDGE_GST_PYTHON, this one, or the system's; None without one."""
    candidates = (os.environ.get("TAEMI_EDGE_GST_PYTHON"), sys.executable, "/usr/bin/python3", shutil.which("python3"))
    probe = "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstApp', '1.0')"
    for python in dict.fromkeys(candidate for candidate in candidates if candidate):
        if (
            Path(python).exists()
            and subprocess.run([python, "-c", probe], capture_output=True, check=False).returncode == 0
        ):
            return python
    return None
