"""Live transcripts: lines on standard input and on a socket, and what is wrong with them."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.lines import MAX_LINE, LineListener
from taemi_edge.live.words import TranscriptLines, WordInbox
from taemi_edge.media.transcripts import Word
from tests.live.running import LiveRun


@pytest.fixture
def clock(monkeypatch) -> SessionClock:
    """A session that has run for a hundred seconds."""
    clock = SessionClock()
    clock._start_s -= 100
    return clock


def listener(clock: SessionClock, *names: str) -> tuple[LineListener, dict[str, WordInbox]]:
    inboxes = {name: WordInbox("nobody yet") for name in names or ("only",)}
    lines = TranscriptLines({name: [inbox] for name, inbox in inboxes.items()}, clock)
    return LineListener("-", lines), inboxes


def test_words_are_spread_over_their_time_and_given_when_they_are_due(clock):
    reader, inboxes = listener(clock)
    reader.take_line(b'{"text": "so it is", "start": 90.0, "end": 92.0, "speaker": "x"}')
    assert [word.text for word in inboxes["only"].take(91.5)[0]] == ["so", "it"]
    assert [(word.text, word.end_s) for word in inboxes["only"].take(95.0)[0]] == [("is", 92.0)]
    assert inboxes["only"].take(99.0)[0] == []


def test_times_may_be_of_the_wall_clock_or_left_out_but_never_in_the_future(clock):
    reader, inboxes = listener(clock)
    now = time.time()
    reader.take_line(json.dumps({"text": "a", "start": now - 3, "end": now - 2}).encode())
    reader.take_line(b'{"text": "b"}')
    reader.take_line(b'{"text": "c", "start": 500, "end": 501}')
    words = {word.text: word.end_s for word in inboxes["only"].take(1000.0)[0]}
    assert words["a"] == pytest.approx(98, abs=0.2)
    assert words["b"] == pytest.approx(100, abs=0.2)
    assert words["c"] == pytest.approx(100, abs=0.2)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"hello", "expected {"),
        (b'{"txt": "x"}', "expected {"),
        (b'{"text": 3}', "expected {"),
        (b'{"text": "x", "start": 2, "end": 1, "source": "a"}', "expected start < end"),
        (b'{"text": "x", "source": "nobody"}', "to be one of a, b"),
        (b'{"text": "x"}', "to be one of a, b"),
        (b'"' + b"x" * MAX_LINE + b'"', "at most"),
        (b"\xff\xfe", "expected {"),
    ],
)
def test_a_line_that_is_something_else_is_refused(clock, line: bytes, words: str):
    reader, _ = listener(clock, "a", "b")
    with pytest.raises(ValueError, match=words):
        reader.take_line(line)


@given(lines=st.lists(st.binary(max_size=40), max_size=20))
def test_whatever_comes_is_counted_and_never_ends_the_reading(lines: list[bytes]):
    reader, inboxes = listener(SessionClock())
    good = b'{"text": "x"}\n'
    reader._read(io.BytesIO(b"\n".join(lines) + b"\n" + good))
    assert reader.good_lines >= 1
    assert inboxes["only"].take(1e9)[0][-1].text == "x"


def test_words_go_to_every_text_stream_of_their_place():
    inboxes = [WordInbox("nobody yet"), WordInbox("nobody yet")]
    lines = TranscriptLines({"door": inboxes}, SessionClock())
    lines.take_line(b'{"text": "so"}')
    assert [[word.text for word in inbox.take(1e9)[0]] for inbox in inboxes] == [["so"], ["so"]]
    lines.set_loss("gone")
    assert [inbox.loss for inbox in inboxes] == ["gone", "gone"]


@pytest.mark.once
def test_a_transcript_over_a_socket_comes_and_goes(tiny_folder, demo_video, tmp_path):
    path = tmp_path / "words.sock"
    words = (f"demo={demo_video}", "--loop", "--transcript", f"unix:{path}")
    with LiveRun(tmp_path, tiny_folder, *words) as run:
        run.wait_until(lambda: len(run.predictions) >= 2)
        assert run.predictions[-1]["reason"]["text"] == "nobody has sent a transcript yet"
        with socket.socket(socket.AF_UNIX) as speaker:
            speaker.connect(str(path))
            speaker.sendall(b'rubbish\n{"text": "two years of negotiations"}\n')
            run.wait_for("text", "live")
            run.wait_for("text", "missing", timeout_s=8)  # nothing more is said: stale after 2 s, missing after 4
            assert run.predictions[-1]["reason"]["text"] == "no new data for more than 4 s"
            run.wait_for_event("text", "missing")  # events are written after the prediction that caused them
            assert [e["to"] for e in run.events if e["modality"] == "text"] == ["live", "stale", "missing"]
            speaker.sendall(b'{"text": "and so on"}\n')
            run.wait_for("text", "live")
        run.wait_for("text", "missing")
        assert run.predictions[-1]["reason"]["text"] == "the transcript's sender hung up"
        assert sum("transcript: line 1 left out" in line for line in run.log) == 1
    assert not path.exists()


def test_a_transcript_on_standard_input(tiny_folder, demo_video, tmp_path):
    words = (f"demo={demo_video}", "--loop", "--transcript", "-")
    with LiveRun(tmp_path, tiny_folder, *words, stdin=subprocess.PIPE) as run:
        assert run.process.stdin is not None
        run.process.stdin.write('{"text": "good morning"}\n')
        run.process.stdin.flush()
        run.wait_for("text", "live")
        run.process.stdin.close()
        run.wait_for("text", "missing")
        assert run.predictions[-1]["reason"]["text"] == "the transcript on standard input ended"


@pytest.mark.parametrize(
    "line",
    [
        b'{"text": "so", "deep": ' + b"[" * 60_000,
        b'{"text": "so it is", "start": -1e308, "end": 1e308}',
        b'{"text": "so it is", "end": -1e13}',
    ],
    ids=["deep", "far apart", "long ago"],
)
def test_a_line_beyond_all_reason_is_refused(clock, line):
    inbox = WordInbox("nobody yet")
    with pytest.raises(ValueError, match="expected"):
        TranscriptLines({"only": [inbox]}, clock).take_line(line)
    assert inbox.take(1e9)[0] == []


def test_words_come_in_the_order_of_time_and_the_newest_stay():
    inbox = WordInbox("nobody yet")
    for end_s in (1.0, 3.0, 2.0, 4.0):
        inbox.put([Word(end_s - 0.5, end_s, str(end_s))])
    assert [word.end_s for word in inbox.take(3.5)[0]] == [1.0, 2.0, 3.0]
    inbox.put([])
    inbox.put([Word(4.5, 4.9, "b"), Word(4.5, 4.7, "a")])
    assert [word.text for word in inbox.take(4.95)[0]] == ["4.0", "a", "b"]
    inbox.put([Word(5.0, 5.0 + index / 1000, "so") for index in range(5000)])
    assert inbox.dropped == 5000 - 4096
    assert inbox.take(100.0)[0][-1].end_s == 5.0 + 4.999
