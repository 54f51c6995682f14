"""The parts of a live run that need no server: clocks, waits, mailboxes, checks of signals, addresses, settings."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.errors import MediaError, RecipeError, UsageError
from taemi_edge.live.capture.addresses import default_name, looks_live, parse_address, split_name
from taemi_edge.live.capture.backoff import Backoff
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.clock import JUMP_S, SessionClock, StreamClock
from taemi_edge.live.capture.decoding_relief import Relief
from taemi_edge.live.capture.gst_reader import RawPicture
from taemi_edge.live.capture.mailbox import Mailbox
from taemi_edge.live.capture.readers import Picture
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.capture.signals import PictureCheck, SoundCheck
from taemi_edge.live.config import LiveConfig, host_and_port, load_live_config
from taemi_edge.media.hops import Frame, Samples
from taemi_edge.runtime.json_lines import JsonLines

SETTINGS = WatchSettings()


# ------------------------------------------------------------------------------------------------------- clocks


@given(
    start=st.floats(-1e6, 1e9),
    delays=st.lists(st.floats(0, 0.4), min_size=2, max_size=60),
    drift=st.floats(0.98, 1.02),
)
def test_a_stream_is_placed_in_the_past_and_near_its_arrival(start: float, delays: list[float], drift: float):
    clock, now_s = StreamClock(), 0.0
    for index, delay in enumerate(delays):
        sent_s = index * 0.2
        now_s = max(now_s, 5.0 + sent_s + delay)
        time_s = clock.place(start + sent_s * drift, now_s)
        assert time_s <= now_s + 1e-5
        assert now_s - time_s < 0.4 + 0.02 * sent_s + 1e-5


@pytest.mark.parametrize("jump_s", [-1000.0, -5.0, 5.0, 86_400.0])
def test_a_clock_that_jumps_is_followed_at_once(jump_s: float):
    clock = StreamClock()
    before = [clock.place(100 + i * 0.04, 1 + i * 0.04) for i in range(50)]
    after = [clock.place(102 + jump_s + i * 0.04, 3 + i * 0.04) for i in range(50)]
    assert before == pytest.approx([1 + i * 0.04 for i in range(50)])
    assert after == pytest.approx([3 + i * 0.04 for i in range(50)])


def test_a_clock_that_runs_fast_does_not_lead_into_the_past():
    clock = StreamClock()
    for index in range(0, 60_000, 40):  # a minute, two per cent fast
        now_s = index / 1e3
        time_s = clock.place(now_s * 1.02, now_s)
        assert abs(now_s - time_s) < 0.02 * 11 + 0.01


def test_what_comes_late_after_a_hang_lies_where_it_was_sent():
    clock = StreamClock()
    for index in range(25):
        clock.place(index * 0.04, 10 + index * 0.04)
    assert clock.place(1.0, 16.0) == pytest.approx(11.0)
    assert clock.lag_s == pytest.approx(5.0)
    assert JUMP_S >= 1


def test_times_of_the_wall_clock_are_placed_by_their_age(monkeypatch):
    import taemi_edge.live.capture.clock as module

    clock = SessionClock()
    monkeypatch.setattr(module.time, "time", lambda: 2e9)
    assert clock.of_unix(2e9 - 3) == pytest.approx(clock.now_s() - 3, abs=0.1)


@given(seed=st.integers(0, 1000), first=st.floats(0.01, 1), cap=st.floats(0.01, 100))
def test_waits_grow_up_to_their_cap(seed: int, first: float, cap: float):
    backoff = Backoff(first, random.Random(seed))
    waits = [backoff.next_s(cap) for _ in range(12)]
    assert all(0 < wait <= 1.2 * cap for wait in waits)
    assert waits[-1] >= 0.8 * min(cap, first * 2**11)
    backoff.reset()
    assert backoff.next_s(cap) <= 1.2 * min(first, cap)


def judged(relief: Relief, seconds: int, busy: float, lag_s: float, start_s: float = 0.0) -> float:
    """A reader goes on so for a while; when that ends."""
    for second in range(seconds):
        relief.judge(busy, lag_s, start_s + second)
    return start_s + seconds


def test_a_machine_that_was_busy_for_a_while_decodes_all_again():
    relief = Relief()
    end_s = judged(relief, 5, busy=1.0, lag_s=1.0)
    assert relief.level == 2
    end_s = judged(relief, 30, busy=0.3, lag_s=0.0, start_s=end_s)
    assert relief.level == 2
    end_s = judged(relief, 2, busy=0.3, lag_s=0.0, start_s=end_s)
    assert relief.level == 0
    end_s = judged(relief, 5, busy=1.0, lag_s=1.0, start_s=end_s)  # that was too much: twice the patience
    end_s = judged(relief, 58, busy=0.3, lag_s=0.0, start_s=end_s)
    assert relief.level == 2
    judged(relief, 4, busy=0.3, lag_s=0.0, start_s=end_s)
    assert relief.level == 0


def test_who_waits_for_data_or_catches_up_is_not_relieved():
    relief = Relief()
    judged(relief, 60, busy=0.5, lag_s=3.0)
    assert relief.level == 0
    levels = [relief.judge(1.0, lag_s, 100.0 + lag_s) for lag_s in (2.8, 2.4, 1.5, 0.9, 0.5, 0.2)]
    assert set(levels[1:]) == {0}


class LatePicture:
    """A reader whose server hangs: what its parser still held comes late, and later, if at all, the rest."""

    def __init__(self, comes_back: threading.Event) -> None:
        self.absent: dict[str, str] = {}
        self.damaged_packets = 0
        self.waited_s = self.lag_s = 0.0
        self._comes_back = comes_back
        self.has_woken = threading.Event()

    def items(self) -> Iterator[Picture]:
        for index in range(12):
            yield Picture(index * 0.04, frame(0.0).picture)
            time.sleep(0.04)
        time.sleep(0.5)
        yield Picture(0.48, frame(0.0).picture)
        self.has_woken.set()
        self._comes_back.wait(10)
        for index in range(13, 200):
            yield Picture(index * 0.04, frame(0.0).picture)
            time.sleep(0.04)

    def relieve(self, level: int) -> None: ...
    def close(self) -> None: ...


def test_one_late_picture_does_not_hide_a_loss():
    comes_back, settings = threading.Event(), WatchSettings(lost_after_s=0.3)
    reader, clock = LatePicture(comes_back), SessionClock()
    capture = Capture(
        "x",
        parse_address("rtsp://cam/1"),
        frozenset({"vision"}),
        Mailbox(16_000, None, keep_s=60.0),
        clock,
        settings,
        opener=lambda *_: reader,
    )
    capture.start()
    try:
        assert reader.has_woken.wait(10)
        time.sleep(0.05)
        assert capture.losses(clock.now_s()) == {"vision": "nothing came for more than 0.3 s"}
        comes_back.set()
        time.sleep(0.2)
        assert capture.losses(clock.now_s()) == {}
    finally:
        capture.stop()


# --------------------------------------------------------------------------------------------------- hand-over


def frame(time_s: float, value: int = 128, noise: int = 3) -> Frame:
    pixels = np.random.default_rng(round(time_s * 1000)).integers(-noise, noise + 1, (48, 64, 3)) + value
    return Frame(time_s, RawPicture(np.clip(pixels, 0, 255).astype(np.uint8), is_bgr=False))


def sound(time_s: float, level: float) -> Samples:
    return Samples(time_s, np.full(1600, level, np.float32))


def test_a_mailbox_nobody_empties_keeps_the_newest_and_counts_the_rest():
    mailbox = Mailbox(16_000, 5.0, keep_s=1.0)
    for index in range(1000):
        mailbox.put_frame(frame(index * 0.04))
        mailbox.put_sound(sound(index * 0.1, 0.1))
    letters = mailbox.take(200.0)
    assert len(letters.frames) <= 6
    assert letters.frames[-1].time_s == pytest.approx(39.8, abs=0.21)
    assert len(letters.samples) <= 11
    assert mailbox.dropped_frames == 200 - len(letters.frames)
    assert mailbox.dropped_sounds == 1000 - len(letters.samples)
    assert mailbox.newest is not None
    assert mailbox.newest.time_s == pytest.approx(39.96)


def test_a_mailbox_cuts_sound_at_the_hop():
    mailbox = Mailbox(16_000, None, keep_s=5.0)
    mailbox.put_sound(Samples(0.9, np.arange(3200, dtype=np.float32)))
    assert [len(piece.values) for piece in mailbox.take(1.0).samples] == [1600]
    [rest] = mailbox.take(2.0).samples
    assert rest.time_s == pytest.approx(1.0)
    assert rest.values[0] == 1600


# ----------------------------------------------------------------------------------------------------- signals


def test_a_frozen_picture_counts_for_a_while_and_then_is_a_loss():
    check, still = PictureCheck(SETTINGS), frame(0.0)
    reasons = []
    for index in range(20):
        usable, reason = check.usable([Frame(index * 0.2, still.picture)])
        assert bool(usable) == (reason is None)
        reasons.append(reason)
    assert reasons[:8] == [None] * 8  # its first frame is no repetition
    assert reasons[9:] == ["frozen picture"] * 11
    assert check.usable([frame(4.0)])[1] is None  # it moves again


def test_a_black_picture_and_digital_silence_are_losses_after_a_while():
    pictures, sounds = PictureCheck(SETTINGS), SoundCheck(SETTINGS)
    problems = [pictures.usable([frame(i * 0.2, value=8)])[1] for i in range(12)]
    assert problems[:7] == [None] * 7
    assert problems[8:] == ["black picture"] * 4
    problems = [sounds.usable([sound(i * 0.1, 1e-6)])[1] for i in range(20)]
    assert problems[:15] == [None] * 15
    assert problems[16:] == ["digital silence"] * 4
    assert sounds.usable([sound(2.0, 0.001)])[1] is None  # a quiet room is not silent


@given(levels=st.lists(st.sampled_from([0.0, 1e-6, 0.01]), max_size=60))
def test_silence_is_never_told_before_its_time(levels: list[float]):
    check, quiet = SoundCheck(SETTINGS), 0
    for index, level in enumerate(levels):
        quiet = quiet + 1 if level < 1e-4 else 0
        _, reason = check.usable([sound(index * 0.1, level)])
        assert (reason is not None) == (quiet > round(SETTINGS.silent_after_s / 0.1))


def test_a_picture_that_cannot_be_converted_is_a_loss_and_no_failure():
    class Strange:
        def to_ndarray(self, **_: object) -> None:
            raise ValueError("conversion from p010be is not supported")

    frames, reason = PictureCheck(SETTINGS).usable([frame(0.0), Frame(0.2, Strange())])
    assert [f.time_s for f in frames] == [0.0]
    assert reason == "its picture cannot be converted"


# --------------------------------------------------------------------------------------------------------- lines


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"time_s": 1}\n', b'{"time_s": 1}\n'),
        (b'{"time_s": 1}\n{"time', b'{"time_s": 1}\n'),  # cut by a power cut
        (b'{"time_s": 1}\n{"presence":{"text":"live"}', b'{"time_s": 1}\n'),
        (b'{"time_s": 1}', b'{"time_s": 1}\n'),
        (b"my own notes", b"my own notes\n"),
        (None, b""),
    ],
)
def test_a_run_that_is_started_again_keeps_earlier_lines(tmp_path, before, after):
    file = tmp_path / "predictions.jsonl"
    if before is not None:
        file.write_bytes(before)
    with JsonLines(file, append=True) as lines:
        lines.write("{}")
    assert file.read_bytes() == after + b"{}\n"


# ---------------------------------------------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("text", "kind", "shown"),
    [
        ("rtsp://me:secret@cam/1", "url", "rtsp://***@cam/1"),
        ("http://cam/live.m3u8?token=abc&x=1", "url", "http://cam/live.m3u8?token=***&x=***"),
        ("rtsp://me:se@secret@cam:554/1", "url", "rtsp://***@cam:554/1"),
        ("rtsp://me:secret/0@cam/1", "url", "rtsp://***@cam/1"),
        ("rtsp://cam:554/stream@2", "url", "rtsp://cam:554/stream@2"),
        ("rtsp://cam/stream@2", "url", "rtsp://cam/stream@2"),
        ("udp://127.0.0.1:5000", "url", "udp://127.0.0.1:5000"),
        ("v4l2:/dev/video7", "v4l2", "v4l2:/dev/video7"),
        ("alsa:hw:1,0", "alsa", "alsa:hw:1,0"),
        ("pulse:default", "gst", "pulse:default"),
        (
            "gst:rtspsrc location=rtsp://a:b@c/1 user-pw=x ! decodebin ! appsink",
            "gst",
            "gst:rtspsrc location=rtsp://***@c/1 user-pw=*** ! decodebin ! appsink",
        ),
    ],
)
def test_addresses_are_told_apart_and_shown_without_secrets(text: str, kind: str, shown: str):
    address = parse_address(text)
    assert (address.kind, address.shown) == (kind, shown)
    assert looks_live(text)
    assert "secret" not in repr(address)
    assert default_name(text) == shown


def test_what_is_no_address_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="got the scheme 'rtps'"):
        parse_address("rtps://cam/1")
    with pytest.raises(UsageError, match="expected something behind rtsp:"):
        parse_address("rtsp://")
    with pytest.raises(MediaError, match="expected a video or audio file"):
        parse_address(str(tmp_path / "nothing.mp4"))
    file = tmp_path / "a=b.mp4"
    file.touch()
    assert split_name(str(file)) == (None, str(file))
    assert split_name("door=rtsp://x") == ("door", "rtsp://x")
    assert not looks_live(str(file))


# -------------------------------------------------------------------------------------------------- configuration


def config(**values: object) -> LiveConfig:
    return load_live_config(None, {"source": [{"name": "a", "uri": "rtsp://a/1"}], **values})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"source": []}, "at least one"),
        ({"source": [{"name": "a", "uri": "x"}] * 2}, "'a' twice"),
        ({"source": [{"name": "a"}]}, "not neither"),
        ({"source": [{"name": "a", "uri": "x", "video": "y"}]}, "not all of them"),
        ({"source": [{"name": "a", "uri": "x", "transcript": "-", "asr": True}]}, "either a transcript or asr"),
        ({"serve": {"address": "example.org:80"}}, "HOST:PORT"),
        ({"serve": {"address": "127.0.0.1:99999"}}, "HOST:PORT"),
        ({"serve": {"tls_key": "k"}}, "together"),
        ({"mqtt": {"broker": "b:1", "topic": "a/#"}}, "without"),
        ({"record": {"folder": "x", "most_mib": -1}}, "most_mib > 0"),
        ({"watch": {"lost_after_s": 0}}, "lost_after_s"),
        ({"watch": {"lost_afer_s": 1}}, "did you mean `lost_after_s`"),
        ({"hop_s": -1}, "hop_s"),
        ({"sorce": []}, "did you mean `source`"),
    ],
)
def test_a_wrong_configuration_is_one_sentence(values: dict[str, object], words: str):
    with pytest.raises(RecipeError, match=words):
        config(**values)


def test_a_file_is_read_and_what_is_typed_goes_over_it(tmp_path):
    file = tmp_path / "live.toml"
    file.write_text(
        'bundle = "b"\nhop_s = 1.0\n[[source]]\nname = "a"\nuri = "rtsp://a/1"\n[serve]\naddress = "[::1]:1"\n'
    )
    loaded = load_live_config(file, {"hop_s": 0.5, "serve": {"token_file": "t"}}, {"watch.lost_after_s": "3"})
    assert (loaded.hop_s, loaded.bundle, loaded.watch.lost_after_s) == (0.5, "b", 3.0)
    assert loaded.serve is not None
    assert (loaded.serve.host, loaded.serve.port, loaded.serve.is_loopback) == ("::1", 1, True)
    file.write_text("bundle = ")
    with pytest.raises(RecipeError, match="expected TOML"):
        load_live_config(file)
    assert host_and_port("broker.local:1883", names=True) == ("broker.local", 1883)


def test_the_packaged_configuration_is_valid(pytestconfig):
    loaded = load_live_config(pytestconfig.rootpath / "packaging" / "live.toml")
    assert loaded.record is not None
    assert loaded.source[0].name == "door"
