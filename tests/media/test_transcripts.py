"""Transcripts: every format, every fault of the list, and cues that come back as they were written."""

from __future__ import annotations

import html
from itertools import pairwise
from pathlib import Path

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taemi_edge.errors import TranscriptError
from taemi_edge.media.transcripts import (
    Cue,
    Word,
    parse_jsonl,
    parse_srt,
    parse_vtt,
    read_transcript,
    vtt_from_words,
    words_from_cues,
)

VTT = """WEBVTT - a talk

STYLE
::cue { color: white }

NOTE what follows is spoken

1
00:00:01.000 --> 00:00:02.500 align:start position:0%
<v Anna>Well, <b>hello</b> &amp; welcome

00:03.250 --> 00:04.000
two
lines
"""
SRT = """1
00:00:01,000 --> 00:00:02,500
Well, {\\an8}<i>hello</i> & welcome

2
00:00:03,250 --> 00:00:04,000
two
lines
"""
JSONL = """{"start": 1.0, "end": 2.5, "text": "Well, hello & welcome", "speaker": 1}

{"start": 3.25, "end": 4, "text": "two lines"}
"""
CUES = [(1.0, 2.5, "Well, hello & welcome"), (3.25, 4.0, "two lines")]


@pytest.mark.parametrize(("parse", "text"), [(parse_vtt, VTT), (parse_srt, SRT), (parse_jsonl, JSONL)])
def test_all_formats_give_the_same_cues(parse, text):
    assert [(cue.start_s, cue.end_s, cue.text) for cue in parse(text)] == CUES


def test_line_ends_of_windows_and_a_byte_order_mark_are_fine(tmp_path: Path):
    file = tmp_path / "talk.srt"
    file.write_bytes(b"\xef\xbb\xbf" + SRT.replace("\n", "\r\n").encode())
    assert [word.text for word in read_transcript(file, None)] == ["Well,", "hello", "&", "welcome", "two", "lines"]


def test_words_fill_their_cue_in_proportion_to_their_length():
    words = words_from_cues([Cue(2.0, 4.0, "a bbb")])
    assert [(w.start_s, w.end_s, w.text) for w in words] == [(2.0, 2.5, "a"), (2.5, 4.0, "bbb")]


def test_a_text_without_times_is_spread_over_the_clip(tmp_path: Path):
    file = tmp_path / "talk.txt"
    file.write_text("aa bb\ncc")
    assert [(w.text, w.end_s) for w in read_transcript(file, 6.0)] == [("aa", 2.0), ("bb", 4.0), ("cc", 6.0)]
    with pytest.raises(TranscriptError, match="no times and the clip does not say how long it lasts"):
        read_transcript(file, None)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.vtt", b"", "line 1: expected WEBVTT, got an empty file"),
        ("a.vtt", b"hello\n", "line 1: expected WEBVTT, got 'hello'"),
        ("a.vtt", b"WEBVTT\n\nNOTE nothing is said\n", "expected at least one line of speech, found none"),
        ("a.srt", b"", "expected at least one line of speech, found none"),
        ("a.txt", b" \n", "expected at least one line of speech, found none"),
        ("a.jsonl", b"\n", "expected at least one line of speech, found none"),
        ("a.vtt", b"WEBVTT\n\n00:02.000 --> 00:01.000\nhi\n", "line 3: expected 0 <= start < end, got 2 s to 1 s"),
        (
            "a.vtt",
            b"WEBVTT\n\n00:02.000 --> 00:2x.000\nhi\n",
            "line 3: expected a time as HH:MM:SS.mmm, got '00:2x.000'",
        ),
        ("a.vtt", b"WEBVTT\n\n00:02.000 -->\nhi\n", "line 3: expected 'START --> END'"),
        ("a.srt", b"1\n00:00:61,000 --> 00:01:02,000\nhi\n", "line 2: expected a time"),
        (
            "a.srt",
            b"1\n00:00:01,000 --> 00:00:05,000\nhi\n\n2\n00:00:03,000 --> 00:00:06,000\nho\n",
            "line 6: the cue 3 s to 6 s overlaps the one before it, which ends at 5 s",
        ),
        (
            "a.srt",
            "1\n00:00:01,000 --> 00:00:02,000\ncaf\xe9\n".encode("latin-1"),
            "line 3: expected UTF-8, got the byte 0xe9",
        ),
        ("a.jsonl", b'{"start": 1, "end": 2}\n', "line 1: expected .*required field `text`"),
        ("a.jsonl", b'{"start": 1, "end": 2, "text": "hi"}\nhi\n', "line 2: expected .*malformed"),
        ("a.jsonl", b'{"start": -1, "end": 2, "text": "hi"}\n', "line 1: expected 0 <= start < end"),
        ("a.doc", b"hi", "ends in .vtt, .srt, .txt or .jsonl"),
    ],
)
def test_faults_are_one_sentence_with_the_line(tmp_path: Path, name: str, content: bytes, message: str):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(TranscriptError, match=message) as caught:
        read_transcript(file, 10.0)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_sentence(tmp_path: Path):
    with pytest.raises(TranscriptError, match="cannot read it: No such file"):
        read_transcript(tmp_path / "none.vtt", None)


def test_cues_that_overlap_by_rounding_are_cut_to_fit():
    words = words_from_cues([Cue(0.0, 1.02, "one"), Cue(1.0, 2.0, "two")])
    assert [(w.start_s, w.end_s) for w in words] == [(0.0, 1.02), (1.02, 2.0)]


Lengths = st.lists(
    st.tuples(st.integers(0, 5000), st.integers(1, 9000), st.text("abc é,.", min_size=1)), min_size=1, max_size=8
)


def _clock(ms: int, point: str) -> str:
    return f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d}{point}{ms % 1000:03d}"


@given(Lengths)
def test_written_cues_come_back(lengths: list[tuple[int, int, str]]):
    now, cues = 0, []
    for pause, length, text in lengths:
        cues.append((now + pause, now + pause + length, " ".join(text.split()) or "x"))
        now = cues[-1][1]
    vtt = "WEBVTT\n\n" + "\n\n".join(f"{_clock(a, '.')} --> {_clock(b, '.')}\n{text}" for a, b, text in cues)
    srt = "\n\n".join(f"{i}\n{_clock(a, ',')} --> {_clock(b, ',')}\n{text}" for i, (a, b, text) in enumerate(cues))
    for parsed in (parse_vtt(vtt), parse_srt(srt)):
        assert [(cue.start_s, cue.end_s, cue.text) for cue in parsed] == [(a / 1000, b / 1000, t) for a, b, t in cues]
        words = words_from_cues(parsed)
        assert [w.text for w in words] == " ".join(t for _, _, t in cues).split()
        assert all(w.start_s < w.end_s for w in words)
        assert all(x.end_s <= y.start_s + 1e-9 for x, y in pairwise(words))


@given(st.text())
def test_no_text_makes_a_parser_crash(text: str):
    for parse in (parse_vtt, parse_srt, parse_jsonl):
        try:
            words_from_cues(parse(text))
        except TranscriptError as error:
            assert str(error)


TEXTS = st.one_of(
    st.sampled_from(
        ["-->", "NOTE", "WEBVTT", "STYLE", "<v", "<b>", "&", "&amp;", "&#60;", "{\\an8}", "00:01", "1", "}"]
    ),
    st.text(st.characters(codec="utf-8"), max_size=8),
)
SPOKEN = st.lists(st.builds(Word, st.floats(0, 4e5), st.floats(0, 4e5), TEXTS), max_size=12)


@given(SPOKEN)
def test_words_are_read_back_as_they_were_written(words):
    text = vtt_from_words(words)
    said = [
        part for w in sorted(words, key=lambda w: (w.end_s, w.start_s)) for part in w.text.replace("\0", "").split()
    ]
    read = words_from_cues(parse_vtt(text))
    assert [word.text for word in read] == said
    assert all(first.end_s <= second.start_s + 1e-9 for first, second in pairwise(read))


def test_ffmpeg_reads_recorded_words_alike(tmp_path: Path):
    words = ["-->", "NOTE", "WEBVTT", "<v", "R&B", "{\\an8}", "a<b>c", "so"]
    file = tmp_path / "words.vtt"
    file.write_text(vtt_from_words([Word(at + 0.9999, at + 1.9996, text) for at, text in enumerate(words)]))
    with av.open(str(file)) as container:
        packets = [packet for packet in container.demux() if packet.size]
    assert [html.unescape(bytes(packet).decode()) for packet in packets] == words
    assert [packet.pts for packet in packets] == [1000 * at for at in range(1, 9)]
