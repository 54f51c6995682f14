"""Recognises speech while it is spoken, with faster-whisper (extra `asr`), and never delays a hop.

A thread of low priority recognises again and again the sound that has come since the last certain word. A word is
certain once half a second of sound, or silence, has followed it. A word that is recognised too late for its hop counts
with a later one; the presence of text shows that.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from taemi_edge.bundle.values import Array
from taemi_edge.live.words import WordInbox
from taemi_edge.media.hops import SoundPiece
from taemi_edge.media.recognition import SAMPLE_RATE_HZ, open_recogniser, timed_words
from taemi_edge.media.transcripts import Word

log = logging.getLogger("taemi_edge.live")

#: How much new sound is waited for before it is recognised again.
STEP_S = 2.0
#: How much sound must follow a word before it counts as certain.
CERTAIN_AFTER_S = 0.5
#: No more sound than this is recognised at once; what is older is given up.
MOST_S = 8.0
_GAP_S = 0.2
_LOW_PRIORITY = 10
#: A language that is less likely than this is detected again with the next sound.
_SURE = 0.6


class LiveRecogniser:
    """Recognises the speech in the sound that `hear` gets, and puts its words into inboxes.

    Args:
        inboxes: where words go, one for each text stream; their `loss` is None while recognition works.
        model: the name or the folder of the model.
        sample_rate_hz: the rate of the sound; it must be 16 kHz.

    Raises:
        MissingExtraError: the extra `asr` is not installed.
        InputError: the model cannot be opened.
        ValueError: the sound has another rate.
    """

    def __init__(self, inboxes: Sequence[WordInbox], model: str, sample_rate_hz: int) -> None:
        if sample_rate_hz != SAMPLE_RATE_HZ:
            raise ValueError(f"expected sound at {SAMPLE_RATE_HZ} Hz, got {sample_rate_hz}")
        self._inboxes, self._model_name = inboxes, model
        self._changed = threading.Condition()
        self._sound = np.zeros(0, np.float32)
        self._start_s = 0.0
        self._fresh = 0
        self._stopped = False
        self._language: str | None = None
        self._failure: Exception | None = None
        self._given_up_s = 0.0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recognise", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise self._failure

    def hear(self, samples: Sequence[SoundPiece]) -> None:
        """Add sound, on the clock of the session; returns at once."""
        with self._changed:
            for piece in samples:
                self._append(piece)
            if self._fresh >= STEP_S * SAMPLE_RATE_HZ:
                self._changed.notify()

    def seconds_given_up(self) -> int:
        """How many seconds of sound were left out because recognition did not keep up."""
        return round(self._given_up_s)

    def stop(self) -> None:
        """End recognition; a call of the model that is under way is left behind after 10 s."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join(10)

    def _append(self, piece: SoundPiece) -> None:
        gap_s = piece.time_s - (self._start_s + len(self._sound) / SAMPLE_RATE_HZ)
        if not len(self._sound) or not -_GAP_S < gap_s < 1.0:
            self._sound, self._start_s, gap_s = np.zeros(0, np.float32), piece.time_s, 0.0
        silence = np.zeros(max(0, round(gap_s * SAMPLE_RATE_HZ)), np.float32)
        self._sound = np.concatenate([self._sound, silence, piece.values])
        self._fresh += len(piece.values)
        excess = len(self._sound) - round(2 * MOST_S * SAMPLE_RATE_HZ)
        if excess > 0:
            self._forget(excess)
            self._given_up_s += excess / SAMPLE_RATE_HZ

    def _set_loss(self, reason: str | None) -> None:
        for inbox in self._inboxes:
            inbox.loss = reason

    def _forget(self, samples: int) -> None:
        self._sound = self._sound[samples:]
        self._start_s += samples / SAMPLE_RATE_HZ

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOW_PRIORITY)  # CTranslate2's threads inherit it
        try:
            recogniser = open_recogniser(self._model_name, threads=1, compute_type="int8")
        except Exception as error:  # noqa: BLE001  raised in the thread that opens
            self._failure = error
            return
        finally:
            self._ready.set()
        self._set_loss(None)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._fresh >= STEP_S * SAMPLE_RATE_HZ)
                if self._stopped:
                    return
                self._fresh = 0
                excess = len(self._sound) - round(MOST_S * SAMPLE_RATE_HZ)
                if excess > 0:
                    self._forget(excess)
                    self._given_up_s += excess / SAMPLE_RATE_HZ
                sound, start_s = self._sound.copy(), self._start_s
            try:
                self._recognise(recogniser, sound, start_s)
            except Exception as error:  # the model's failure costs words, not the run
                log.exception("speech recognition failed")
                self._set_loss(f"speech recognition failed ({type(error).__name__})")
                return

    def _recognise(self, recogniser: Any, sound: Array, start_s: float) -> None:
        length_s = len(sound) / SAMPLE_RATE_HZ
        if self._language is None:  # detecting it costs as much again as recognising: once is enough
            self._language = _language_of(recogniser, sound)
        words = timed_words(recogniser, sound, beam_size=1, temperature=0.0, vad_filter=True, language=self._language)
        tail = sound[-round(CERTAIN_AFTER_S * SAMPLE_RATE_HZ) :]
        over = float(np.abs(tail).max(initial=0)) < 0.01 or length_s >= MOST_S
        certain = [word for word in words if over or word.end_s <= length_s - CERTAIN_AFTER_S]
        spoken = [Word(start_s + word.start_s, start_s + word.end_s, word.text) for word in certain]
        for inbox in self._inboxes:
            inbox.put(spoken)
        done_s = certain[-1].end_s if certain else max(0.0, length_s - MOST_S / 2) if not words else 0.0
        with self._changed:
            done = round((start_s + done_s - self._start_s) * SAMPLE_RATE_HZ)
            self._forget(int(np.clip(done, 0, len(self._sound))))


def _language_of(recogniser: Any, sound: Array) -> str | None:
    """The language that is spoken; None while it is not certain enough."""
    language, probability, _ = recogniser.detect_language(sound)
    return str(language) if probability >= _SURE else None
