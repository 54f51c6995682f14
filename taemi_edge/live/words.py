"""Live transcripts: reads lines of JSON from a speech recogniser, and puts their words on the clock of the session.

    {"text": "so it is", "start": 12.4, "end": 13.1, "source": "door"}

`start` and `end` are seconds of the session, as in the predictions, or Unix time (anything above 10^9); a line without
them was said just now. `source` is needed only where there are several. A line that is anything else is counted,
logged and left out.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import msgspec

from taemi_edge.live.capture.clock import SessionClock
from taemi_edge.live.lines import of_source
from taemi_edge.media.transcripts import Word, spread_words

_MAX_WORDS = 4096
#: What was said "just now" took about this long a word.
_WORD_S = 0.3
#: No time of the run and no Unix time lies further away.
_FARTHEST_S = 1e12


class TranscriptLine(msgspec.Struct):
    """One line of a live transcript.

    Attributes:
        text: what was said.
        start: when it began, in seconds of the session or as Unix time; None for "just now".
        end: when it ended, alike.
        source: the name of its source; None where there is only one.
    """

    text: str
    start: float | None = None
    end: float | None = None
    source: str | None = None


class WordInbox:
    """Collects the words of one stream of a source until the loop takes them; safe to use from several threads.

    Args:
        absent_reason: why there are no words before anybody sends any; None where somebody else knows.

    Attributes:
        loss: why no speech is recognised at the moment; None while it is.
        ended: whether no words will ever come again.
        dropped: words that were thrown away because nobody fetched them.

    Example:
        >>> inbox = WordInbox("nobody has sent a transcript yet")
        >>> inbox.put([Word(1.0, 1.4, "so"), Word(1.4, 1.9, "it")])
        >>> [[word.text for word in inbox.take(end_s)[0]] for end_s in (1.5, 2.0)]
        [['so'], ['it']]
    """

    def __init__(self, absent_reason: str | None) -> None:
        self._lock = threading.Lock()
        self._words: list[Word] = []
        self.loss = absent_reason
        self.ended = False
        self.dropped = 0

    def put(self, words: list[Word]) -> None:
        """Add words, in any order; of very many the newest are kept."""
        with self._lock:
            words = sorted(words, key=lambda word: word.end_s)
            in_order = not (self._words and words) or words[0].end_s >= self._words[-1].end_s
            self._words += words
            if not in_order:  # recognisers correct themselves now and then; sorting with each line would take long
                self._words.sort(key=lambda word: word.end_s)
            self.dropped += max(0, len(self._words) - _MAX_WORDS)
            del self._words[:-_MAX_WORDS]

    def take(self, end_s: float) -> tuple[list[Word], None]:
        """Take the words that ended by `end_s` and were not taken before, in the order of time."""
        with self._lock:
            ready = [word for word in self._words if word.end_s <= end_s]
            self._words = self._words[len(ready) :]
        return ready, None


class TranscriptLines:
    """Puts the words of lines into the inboxes of their source; see `taemi_edge.live.lines.LineParser`.

    Args:
        inboxes: by the name of a source, the inboxes of its streams: each of them gets all words.
        clock: the clock of the session.
    """

    name, what, option = "transcript", "the transcript", "--transcript "

    def __init__(self, inboxes: Mapping[str, Sequence[WordInbox]], clock: SessionClock) -> None:
        self._inboxes, self._clock = inboxes, clock

    def take_line(self, line: bytes) -> None:
        """Put the words of a line into the inboxes of its source.

        Raises:
            ValueError: the line is no JSON of the expected form, or names no source of ours.
        """
        try:
            spoken = msgspec.json.decode(line, type=TranscriptLine)
        except (ValueError, RecursionError) as error:
            raise ValueError(f'expected {{"text": "...", "start": s, "end": s}}: {error}') from error
        inboxes = of_source(self._inboxes, spoken.source)
        words = words_of(spoken, self._clock)
        for inbox in inboxes:
            inbox.put(words)

    def set_loss(self, reason: str | None) -> None:
        """Note why no words can come; None where they can."""
        for inbox in self._all():
            inbox.loss = reason

    def end(self) -> None:
        """Note that no words will ever come again."""
        for inbox in self._all():
            inbox.ended = True

    def _all(self) -> list[WordInbox]:
        return [inbox for inboxes in self._inboxes.values() for inbox in inboxes]


def words_of(spoken: TranscriptLine, clock: SessionClock) -> list[Word]:
    """The words of a line, spread over its time; none of them lies in the future.

    Args:
        spoken: the line.
        clock: the clock of the session.

    Returns:
        The words in the order of time, in seconds of the session.

    Raises:
        ValueError: the line ends before it starts, or its times are beyond all reason.
    """
    now_s = clock.now_s()
    for given_s in (spoken.start, spoken.end):
        if given_s is not None and not abs(given_s) < _FARTHEST_S:
            raise ValueError(f"expected times in seconds of the run or in Unix time, got {given_s:g}")
    texts = spoken.text.split()
    end_s = now_s if spoken.end is None else clock.of_given(spoken.end)
    end_s = min(end_s, now_s)
    start_s = end_s - _WORD_S * max(1, len(texts)) if spoken.start is None else clock.of_given(spoken.start)
    if spoken.start is not None and spoken.end is not None and not spoken.start < spoken.end:
        raise ValueError(f"expected start < end, got {spoken.start:g} and {spoken.end:g}")
    return spread_words(min(start_s, end_s - 0.01), end_s, texts)


def words_at(end_s: float, text: str, length_s: float | None) -> list[Word]:
    """The words of a text that ended at `end_s`, spread over its length, or over an ordinary one.

    >>> [(round(word.start_s, 2), word.text) for word in words_at(2.0, "so it is", None)]
    [(1.1, 'so'), (1.4, 'it'), (1.7, 'is')]
    """
    texts = text.split()
    usual_s = _WORD_S * len(texts)
    return spread_words(end_s - (length_s or usual_s), end_s, texts) if texts else []
