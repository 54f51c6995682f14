"""One source of a live run: takes a hop from its captures and its transcript, and says which streams are lost."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from taemi_edge.bundle.spec import Modality
from taemi_edge.live.capture.capture import Capture
from taemi_edge.live.capture.content_checks import PictureCheck, SoundCheck
from taemi_edge.live.capture.mailbox import Mailbox
from taemi_edge.live.capture.settings import WatchSettings
from taemi_edge.live.words import WordInbox
from taemi_edge.media.hops import Hop, Samples

#: Called with the sound of each hop that passed its check.
SoundTap = Callable[[Sequence[Samples]], None]


@dataclass
class LiveSource:
    """The picture, the sound and the words of one person, which may come from different places.

    Attributes:
        name: the name of the source in predictions.
        captures: what feeds the mailbox; each modality is captured by at most one of them.
        mailbox: where frames and sound wait for the next hop.
        settings: how long frozen and black pictures and digital silence count as good.
        words: the words of a live transcript; None where there is none.
        on_sound: called with the sound of each hop that can be used: the speech recogniser listens here.
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
        #: Streams that arrive and are useless, each with why, as found with the last hop.
        self._useless: dict[Modality, str] = {}

    @property
    def ended(self) -> bool:
        """Whether all of its captures are files that are at their end."""
        return all(capture.ended for capture in self.captures)

    def take(self, end_s: float, now_s: float) -> Hop:
        """The hop that ends at `end_s`: what came since the last one, without what is useless.

        Args:
            end_s: the end of the hop, in seconds of the session.
            now_s: the time of the session at this moment, a little later.
        """
        arrivals = self.mailbox.take(end_s)
        frames, picture_problem = self._pictures.usable(arrivals.frames)
        samples, sound_problem = self._sounds.usable(arrivals.samples)
        if arrivals.frames:
            self._judge("vision", picture_problem, now_s)
        if arrivals.samples:
            self._judge("audio", sound_problem, now_s)
        if self.on_sound is not None:
            self.on_sound(samples)
        words = self.words.take(end_s) if self.words is not None else ()
        faults = {"audio": arrivals.audio_fault} if arrivals.audio_fault else {}
        pieces: dict[str, list[Any]] = {"vision": frames, "audio": samples, "text": list(words)}
        return Hop(end_s, pieces, faults, self.losses(now_s))

    def losses(self, now_s: float) -> dict[Modality, str]:
        """Which streams are lost at this moment, each with why. May be called from any thread."""
        losses: dict[Modality, str] = {}
        for capture in self.captures:
            losses |= capture.losses(now_s)
        for modality, reason in dict(self._useless).items():
            losses.setdefault(modality, reason)
        if self.words is not None and self.words.loss is not None:
            losses["text"] = self.words.loss
        return losses

    def watch(self, now_s: float) -> None:
        """Look after the captures; to be called a few times a second."""
        for capture in self.captures:
            capture.watch(now_s)

    def _judge(self, modality: Modality, problem: str | None, now_s: float) -> None:
        with self._lock:
            if problem is None:
                self._useless.pop(modality, None)
            else:
                self._useless[modality] = problem
        for capture in self.captures:
            if modality in capture.modalities:
                capture.suspect(modality, now_s, problem is not None)
