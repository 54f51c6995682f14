"""Sources are opened as they were planned: boxes of the right kind, and one listener for each place."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from taemi_edge.errors import UsageError
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.mailbox import FrameBox, RowBox, SoundBox
from taemi_edge.live.config import LiveConfig, SourceConfig
from taemi_edge.live.health import LiveState
from taemi_edge.live.source_opening import make_live_source, start_listeners
from taemi_edge.live.source_plans import plan_sources
from taemi_edge.live.words import WordInbox
from tests.live.specs import CAMERA, MICROPHONE, SERIES, WORDS

STREAMS = {"left": CAMERA, "right": CAMERA, "mic": MICROPHONE, "imu": SERIES, "heart": SERIES, "said": WORDS}


def opened(*sources: SourceConfig) -> tuple[list[Any], LiveState]:
    """Plans, and sources that are made of them and not started."""
    config = LiveConfig(source=sources)
    plans, clock = plan_sources(config, STREAMS), SessionClock()
    made = [make_live_source(plan, config, STREAMS, 0.5, clock) for plan in plans]
    loop: Any = SimpleNamespace(sources=made, clock=clock)
    manifest: Any = SimpleNamespace(streams=STREAMS)
    return plans, LiveState(loop, manifest)


def test_each_stream_that_may_come_has_a_box_of_its_kind():
    streams = {"imu": "unix:/run/imu.sock", "said": "-"}
    _, state = opened(SourceConfig("rig", uri="rtsp://rig/1", streams=streams))
    [source] = state.loop.sources
    kinds = {name: type(box) for name, box in source.boxes.items()}
    assert kinds == {"left": FrameBox, "right": FrameBox, "mic": SoundBox, "imu": RowBox, "said": WordInbox}
    assert source.losses(0.0)["imu"] == "nobody has sent imu yet"
    assert source.losses(0.0)["said"] == "nobody has sent a transcript yet"


def test_streams_and_sources_share_a_listener(tmp_path):
    place = f"unix:{tmp_path}/rig.sock"
    sources = [SourceConfig(name, streams={"imu": place, "heart": place}) for name in ("one", "two")]
    plans, state = opened(*sources)
    with ExitStack() as stack:
        start_listeners(stack, plans, state)
        [listener] = state.listeners
        listener.take_line(b'{"source": "two", "heart": [1, 2, 3, 4, 5, 6]}')
    one, two = state.loop.sources
    assert one.boxes["heart"].take(9.0)[0] == []
    assert len(two.boxes["heart"].take(9.0)[0]) == 1


def test_words_and_rows_do_not_come_from_one_place(tmp_path):
    place = f"unix:{tmp_path}/rig.sock"
    plans, state = opened(SourceConfig("rig", streams={"imu": place, "said": place}))
    with ExitStack() as stack, pytest.raises(UsageError, match="use two sockets"):
        start_listeners(stack, plans, state)
