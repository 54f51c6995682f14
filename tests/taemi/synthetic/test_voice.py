"""The espeak-ng voice: it follows its parameters, and says the same in every process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from taemi_edge.taemi.synthetic.voice import speak


def test_pitch_rate_and_loudness_follow_their_parameters():
    pytest.importorskip("espeakng_loader")
    plain = speak("hello there my friend")
    assert [word.text for word in plain.words] == ["hello", "there", "my", "friend"]
    assert len(speak("hello there my friend", words_per_minute=260).samples) < 0.8 * len(plain.samples)
    quiet = speak("hello there my friend", loudness=40)
    assert np.abs(quiet.samples).mean() < 0.6 * np.abs(plain.samples).mean()
    assert plain.samples.dtype == np.float32


def test_every_voice_says_the_same_in_every_process():
    pytest.importorskip("espeakng_loader")
    script = (
        "import hashlib\nfrom taemi_edge.taemi.synthetic.voice import restart_voice, speak\n"
        "from taemi_edge.taemi.synthetic.clip_plan import VOICES\n"
        "for voice in VOICES:\n    speak('something else', pitch=20)\n    restart_voice()\n"
        "    print(hashlib.sha256(speak('what a joyful morning', voice=voice).samples.tobytes()).hexdigest())\n"
    )
    said = {subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout for _ in range(5)}
    assert len(said) == 1
