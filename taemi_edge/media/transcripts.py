"""Reads transcripts (.vtt, .srt, .txt, .jsonl) as words with their times, in the order of time.

The words of a cue, which is a line of a transcript, are spread over the cue's time in proportion to their length. A
window then takes the words that were spoken in it and none from the future, whatever the format.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from taemi_edge.errors import TranscriptError
from taemi_edge.media.places import shown_place

#: What a transcript may end in.
ENDINGS = (".vtt", ".srt", ".txt", ".jsonl")
#: Cues that overlap by no more than this (rounding) are cut to fit.
MAX_OVERLAP_S = 0.05


class EmptyTranscriptError(TranscriptError):
    """A transcript without words: in a corpus this is a missing stream, for a single clip it is a mistake."""


@dataclass(frozen=True)
class Cue:
    """A line of a transcript and when it was spoken, in seconds; `line` is where it stands in its file."""

    start_s: float
    end_s: float
    text: str
    line: int = 0


@dataclass(frozen=True)
class Word:
    """One word and when it was spoken, in seconds."""

    start_s: float
    end_s: float
    text: str


def read_transcript(path: Path, duration_s: float | None) -> list[Word]:
    """Read a transcript; the ending of its name says which format it has.

    Args:
        path: a .vtt, .srt, .txt or .jsonl file.
        duration_s: how long the clip lasts; a .txt, which has no times, is spread over all of it.

    Raises:
        TranscriptError: not there, not UTF-8, empty, bad or overlapping times, an unknown ending.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "talk.srt"
        ...     _ = file.write_text("1\\n00:00:01,000 --> 00:00:02,000\\nso it\\n")
        ...     read_transcript(file, None)[0]
        Word(start_s=1.0, end_s=1.5, text='so')
    """
    parsers = {".vtt": parse_vtt, ".srt": parse_srt, ".jsonl": parse_jsonl}
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise TranscriptError(f"{shown_place(path)}: expected a transcript that ends in .vtt, .srt, .txt or .jsonl")
    text = _read_text(path)
    try:
        cues = parsers[ending](text) if ending in parsers else _parse_txt(text, duration_s)
        words = words_from_cues(cues)
    except TranscriptError as error:
        raise TranscriptError(f"{path}: {error}") from error
    if not words:
        raise EmptyTranscriptError(
            f"{path}: expected at least one line of speech, found none: leave --transcript away to run without"
        )
    return words


def parse_vtt(text: str) -> list[Cue]:
    """The cues of a WebVTT file (https://www.w3.org/TR/webvtt1/); notes, styles, settings and tags are left out."""
    lines = text.splitlines()
    if not lines or not re.match(r"WEBVTT(\s|$)", lines[0]):
        raise TranscriptError(f"line 1: expected WEBVTT, got {_short(lines[0]) if lines else 'an empty file'}")
    return _parse_blocks(lines)


def parse_srt(text: str) -> list[Cue]:
    """The cues of a SubRip file.

    Raises:
        TranscriptError: a line that should be a timing and is none.
    """
    return _parse_blocks(text.splitlines())


def parse_jsonl(text: str) -> list[Cue]:
    """The cues of a file with one JSON object a line: `start` and `end` in seconds, and `text`; other keys are ignored.

    Raises:
        TranscriptError: a line that is not such an object.
    """
    cues = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entry = msgspec.json.decode(line, type=_JsonCue)
        except (ValueError, RecursionError) as error:
            raise TranscriptError(
                f'line {number}: expected {{"start": s, "end": s, "text": "..."}}: {error}'
            ) from error
        cues.append(Cue(entry.start, entry.end, entry.text, number))
    return cues


def words_from_cues(cues: Iterable[Cue]) -> list[Word]:
    """Spread each cue's words over its time by their number of characters.

    Raises:
        TranscriptError: a cue that ends before it starts, starts before 0, or overlaps the one before it.

    Example:
        >>> [(w.text, w.end_s) for w in words_from_cues([Cue(1.0, 3.0, "so it is")])]
        [('so', 1.6666666666666665), ('it', 2.333333333333333), ('is', 3.0)]
    """
    words: list[Word] = []
    previous: Cue | None = None
    for cue in cues:
        _check_times(cue, previous)
        start_s = max(cue.start_s, previous.end_s) if previous else cue.start_s
        words += spread_words(start_s, cue.end_s, cue.text.split())
        previous = cue
    return words


def vtt_from_words(words: Iterable[Word]) -> str:
    """Write words as a WebVTT file, one cue each, that `parse_vtt` and other readers read back.

    What WebVTT takes for its own signs is escaped. Words are written in the order of time: one that overlaps the one
    before it begins at that one's end, and each lasts a millisecond or more.

    Example:
        >>> print(vtt_from_words([Word(0.0, 0.5, "-->"), Word(0.4, 0.9, "R&B")]))
        WEBVTT
        <BLANKLINE>
        00:00:00.000 --> 00:00:00.500
        --&gt;
        <BLANKLINE>
        00:00:00.500 --> 00:00:00.900
        R&amp;B
        <BLANKLINE>
    """
    cues, until_ms = ["WEBVTT"], 0
    for word in sorted(words, key=lambda word: (word.end_s, word.start_s)):
        text = " ".join(word.text.split()).replace("\0", "")
        if not text:
            continue
        start_ms = max(until_ms, round(word.start_s * 1000))
        until_ms = max(start_ms + 1, round(word.end_s * 1000))
        spoken = html.escape(text, quote=False).replace("{", "&#123;")
        cues.append(f"{_stamp(start_ms)} --> {_stamp(until_ms)}\n{spoken}")
    return "\n\n".join(cues) + "\n"


def _stamp(time_ms: int) -> str:
    minutes, rest_ms = divmod(time_ms, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest_ms // 1000:02d}.{rest_ms % 1000:03d}"


class _JsonCue(msgspec.Struct):
    start: float
    end: float
    text: str


def _read_text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise TranscriptError(
            f"{path}, line {line}: expected UTF-8, got the byte 0x{error.object[error.start]:02x}: "
            f"convert it, for example with `iconv -f latin1 -t utf-8`"
        ) from error
    except OSError as error:
        raise TranscriptError(
            f"{shown_place(path)}: expected a transcript, cannot read it: {error.strerror}"
        ) from error


def _parse_txt(text: str, duration_s: float | None) -> list[Cue]:
    if not text.split():
        return []
    if not duration_s:
        raise TranscriptError(
            "a .txt has no times and the clip does not say how long it lasts: give a .vtt, .srt or .jsonl"
        )
    return [Cue(0.0, duration_s, text, 1)]


_TIMING = re.compile(r"\s*(?P<start>\S+)\s+-->\s+(?P<end>\S+)(\s.*)?$")
_CLOCK = re.compile(r"(?:([0-9]{1,6}):)?([0-5]?[0-9]):([0-5][0-9])[.,]([0-9]{3})$")


def _parse_blocks(lines: list[str]) -> list[Cue]:
    """WebVTT and SubRip alike: a timing line, then text up to an empty line; whatever else there is, is skipped."""
    cues: list[Cue] = []
    number = 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if line.startswith(("NOTE", "STYLE", "REGION")):
            number = _after_block(lines, number)
        elif "-->" in line:
            timing = _TIMING.match(line)
            if timing is None:
                raise TranscriptError(f"line {number}: expected 'START --> END', got {_short(line)}")
            start_s, end_s = (_seconds(timing[key], number) for key in ("start", "end"))
            after = _after_block(lines, number)
            spoken = _plain(" ".join(lines[number:after]))
            cues.append(Cue(start_s, end_s, spoken.strip(), number))
            number = after
    return cues


def _plain(text: str) -> str:
    """A line without tags, and with the signs that it escapes."""
    spoken = re.sub(r"<[^<>]*>|\{\\[^{}]*\}", "", text)
    return html.unescape(re.sub(r"&#[0-9]{8,};?", "\ufffd", spoken))  # Python reads no number of 4301 digits


def _after_block(lines: list[str], number: int) -> int:
    while number < len(lines) and lines[number].strip() and "-->" not in lines[number]:
        number += 1
    return number


def _seconds(clock: str, line: int) -> float:
    match = _CLOCK.match(clock)
    if match is None:
        raise TranscriptError(f"line {line}: expected a time as HH:MM:SS.mmm, got {_short(clock)}")
    hours, minutes, seconds, milliseconds = (int(group or 0) for group in match.groups())
    return ((hours * 60 + minutes) * 60_000 + seconds * 1000 + milliseconds) / 1000


def _check_times(cue: Cue, previous: Cue | None) -> None:
    where = f"line {cue.line}" if cue.line else "cue"
    if not (math.isfinite(cue.start_s) and math.isfinite(cue.end_s) and 0 <= cue.start_s < cue.end_s):
        raise TranscriptError(
            f"{where}: expected 0 <= start < end, got {cue.start_s:g} s to {cue.end_s:g} s: correct its times"
        )
    if (previous and cue.start_s < previous.end_s - MAX_OVERLAP_S) or (previous and cue.end_s <= previous.end_s):
        raise TranscriptError(
            f"{where}: the cue {cue.start_s:g} s to {cue.end_s:g} s overlaps the one before it, which ends at "
            f"{previous.end_s:g} s: merge the two or correct their times"
        )


def spread_words(start_s: float, end_s: float, texts: list[str]) -> list[Word]:
    """Spread words over a stretch of time; each lasts as long as its share of the letters.

    >>> [(word.text, word.end_s) for word in spread_words(0.0, 4.0, ["one", "two", "go"])]
    [('one', 1.5), ('two', 3.0), ('go', 4.0)]
    """
    total = sum(len(text) for text in texts)
    words: list[Word] = []
    done = 0
    for text in texts:
        begin_s = start_s + (end_s - start_s) * done / total
        done += len(text)
        words.append(Word(begin_s, start_s + (end_s - start_s) * done / total, text))
    return words


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
