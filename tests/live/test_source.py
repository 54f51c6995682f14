"""One source of a live run: its hops, and which of its streams are lost."""

from __future__ import annotations

from taemi_edge.live.capture.addresses import parse_address
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.capture.connection import CaptureSpec
from taemi_edge.live.capture.mailbox import Mailbox
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.source import LiveSource
from taemi_edge.live.words import WordInbox
from taemi_edge.media.hops import Samples
from tests.live.frames import frame, sound


def live_source(words: WordInbox | None = None) -> LiveSource:
    """A source whose camera is not connected; sound and frames are put into its mailbox by the tests."""
    settings, mailbox = WatchSettings(), Mailbox(16_000, None, keep_s=60.0)
    spec = CaptureSpec("door", parse_address("rtsp://door/1"), frozenset({"vision"}))
    return LiveSource("door", [Capture(spec, mailbox, SessionClock(), settings)], mailbox, settings, words)


def test_a_hop_holds_what_came_and_why_streams_are_lost():
    source = live_source(WordInbox("nobody has sent a transcript yet"))
    source.mailbox.put_frame(frame(0.2))
    source.mailbox.put_sound(sound(0.2, 0.1))
    hop = source.take(0.5, now_s=0.6)
    assert [f.time_s for f in hop.frames] == [0.2]
    assert len(hop.samples) == 1
    assert hop.losses == {"vision": "connecting", "text": "nobody has sent a transcript yet"}


def test_digital_silence_is_left_out_and_named_until_there_is_sound_again():
    source, heard = live_source(), list[Samples]()
    source.on_sound = heard.extend
    for index in range(20):
        source.mailbox.put_sound(sound(index * 0.1, 0.0))
    hop = source.take(2.0, now_s=2.1)
    assert hop.losses["audio"] == "digital silence"
    assert heard == hop.samples
    assert len(heard) == 15  # so long silence counts as good
    source.mailbox.put_sound(sound(2.0, 0.1))
    assert "audio" not in source.take(2.5, now_s=2.6).losses
