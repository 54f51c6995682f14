"""Sends the annotated picture and its sound to a media server, by RTMP, RTSP, SRT or UDP.

Where the server goes away, what comes meanwhile is left out, and the output connects again as soon as it can.
"""

from __future__ import annotations

import logging
import time
from fractions import Fraction
from typing import Any

import av

from taemi_edge.bundle.spec import Manifest
from taemi_edge.errors import UsageError
from taemi_edge.live.capture.addresses import address_of_variable
from taemi_edge.live.capture.backoff import Backoff
from taemi_edge.live.outputs.context import OutputContext
from taemi_edge.live.outputs.output import BaseOutput, HopResult, face_of
from taemi_edge.media.opencv import opencv
from taemi_edge.media.places import shown_place
from taemi_edge.runtime.annotate import AnnotatedStream

log = logging.getLogger("taemi_edge.live")

_FORMATS = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "rtsps": "rtsp", "srt": "mpegts", "udp": "mpegts"}
_OPEN_TIMEOUT_S, _WRITE_TIMEOUT_S = 5.0, 5.0


class PushOutput(BaseOutput):
    """Sends the annotated stream to one address. The network may block: run it in a `ThreadedOutput`.

    Args:
        target: the address, such as rtmp://host/app/key; it may hold a password, which is never logged.
        manifest: of the model whose predictions are drawn.

    Raises:
        UsageError: nothing can be pushed to an address of this kind.
    """

    def __init__(self, target: str, manifest: Manifest) -> None:
        if target.startswith("env:"):
            target = address_of_variable(target.removeprefix("env:"))
        scheme, _, rest = target.partition(":")
        if scheme.lower() not in _FORMATS or not rest.startswith("//"):
            wanted = ", ".join(f"{name}://" for name in _FORMATS)
            raise UsageError(f"--push {shown_place(target)}: expected an address with one of {wanted}")
        self._target, self._shown, self._format = target, shown_place(target), _FORMATS[scheme.lower()]
        self._manifest = manifest
        self._backoff = Backoff(0.5)
        self._next_try_s = 0.0
        self._container: Any = None
        self._stream: AnnotatedStream | None = None
        #: How often it has connected.
        self.connections = 0

    def on_hop(self, result: HopResult) -> None:
        stream = self._stream
        if stream is None and result.hop.frames:
            stream = self._connect()
        if stream is None:
            return
        try:
            stream.say(result.hop.words)
            stream.add(self._container, result.hop, result.prediction, face_of(result))
        except (av.FFmpegError, OSError) as error:
            self._lose(error)
        else:
            self._backoff.reset()

    def close(self) -> None:
        if self._container is None or self._stream is None:
            return
        try:
            self._stream.end(self._container)
            self._container.close()
        except (av.FFmpegError, OSError):
            log.warning("--push %s: the server was gone before the end", self._shown)

    def _connect(self) -> AnnotatedStream | None:
        if time.monotonic() < self._next_try_s:
            return None
        try:
            self._container = av.open(
                self._target,
                "w",
                format=self._format,
                options={"rtsp_transport": "tcp"} if self._format == "rtsp" else {},
                timeout=(_OPEN_TIMEOUT_S, _WRITE_TIMEOUT_S),
            )
        except (av.FFmpegError, OSError, ValueError) as error:
            self._lose(error)
            return None
        self._stream = AnnotatedStream(self._manifest, Fraction(25), live=True)
        self.connections += 1
        return self._stream

    def _lose(self, error: Exception) -> None:
        wait_s = self._backoff.next_s(30.0)
        log.warning("--push %s: lost (%s): trying again in %.1f s", self._shown, type(error).__name__, wait_s)
        self._next_try_s = time.monotonic() + wait_s
        container, self._container, self._stream = self._container, None, None
        if container is not None:
            try:
                container.close()
            except (av.FFmpegError, OSError):
                return  # it is gone already


def open_push(context: OutputContext) -> None:
    """Push the annotated stream where `push` names an address.

    Raises:
        MissingExtraError: OpenCV, which draws, is not installed.
    """
    if context.config.push:
        context.require_picture("--push")
        opencv("--push")
        push = PushOutput(context.config.push, context.state.manifest)
        context.add_in_thread(push, "push")
        context.count("push connections", lambda: push.connections)
