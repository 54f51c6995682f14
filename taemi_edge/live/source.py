"""Captures, a transcript and their checks in; one source's hops out, each with which streams are gone and why."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from taemi_edge.bundle.spec import Modality
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.mailbox import Mailbox
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.capture.signals import PictureCheck, SoundCheck
from taemi_edge.live.words import WordInbox
from taemi_edge.media.hops import Hop, Samples

#: Takes a source's sound as it is used.
SoundTap = Callable[[Sequence[Samples]], None]


@dataclass
class LiveSource:
    """One person's picture, sound and words, from wherever each of them comes.

    Attributes:
        captures: what feeds the mailbox; each modality is served by at most one.
        words: None where there is no transcript, or where all of it is known beforehand.
        on_sound: told all sound that counts, for who recognises speech in it.
    """

    name: str
    captures: Sequence[Capture]
    mailbox: Mailbox
    settings: WatchSettings
    words: WordInbox | None = None
    on_sound: SoundTap | None = None

    def __post_init__(self) -> None:
        self._pictures, self._sounds = PictureCheck(self.settings), SoundCheck(self.settings)
        self._lock = threading.Lock()
        #: Streams that come and are worth nothing, as found with the last hop.
        self._worthless: dict[Modality, str] = {}

    @property
    def ended(self) -> bool:
        """Whether all of it were files that are through."""
        return all(capture.ended for capture in self.captures)

    def take(self, end_s: float, now_s: float) -> Hop:
        """What came since the last hop, without what is worth nothing."""
        letters = self.mailbox.take(end_s)
        frames, picture_problem = self._pictures.usable(letters.frames)
        samples, sound_problem = self._sounds.usable(letters.samples)
        if letters.frames:
            self._judge("vision", picture_problem, now_s)
        if letters.samples:
            self._judge("audio", sound_problem, now_s)
        if self.on_sound is not None:
            self.on_sound(samples)
        words = self.words.take(end_s) if self.words is not None else ()
        return Hop(end_s, frames, samples, letters.audio_fault, self.losses(now_s), words)

    def losses(self, now_s: float) -> dict[Modality, str]:
        """Which streams are gone at this moment, and why; may be asked from any thread."""
        losses: dict[Modality, str] = {}
        for capture in self.captures:
            losses |= capture.losses(now_s)
        for modality, reason in dict(self._worthless).items():
            losses.setdefault(modality, reason)
        if self.words is not None and self.words.loss is not None:
            losses["text"] = self.words.loss
        return losses

    def watch(self, now_s: float) -> None:
        """See to the captures; to be called a few times a second."""
        for capture in self.captures:
            capture.watch(now_s)

    def _judge(self, modality: Modality, problem: str | None, now_s: float) -> None:
        with self._lock:
            if problem is None:
                self._worthless.pop(modality, None)
            else:
                self._worthless[modality] = problem
        for capture in self.captures:
            if modality in capture.modalities:
                capture.suspect(modality, now_s, problem is not None)
